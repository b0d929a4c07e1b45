//! Names for what is invented. They follow from places, so that a configuration can be written before anything runs.

/// The accounts; the first is the management account.
pub(super) const ACCOUNTS: &[&str] = &[
    "management",
    "payments-prod",
    "payments-staging",
    "orders-prod",
    "orders-staging",
    "identity-prod",
    "data-platform-prod",
    "data-platform-dev",
    "mobile-prod",
    "security-tooling",
    "logistics-prod",
    "reporting-prod",
    "search-prod",
    "billing-prod",
    "machine-learning-dev",
    "shared-services",
];

/// The accounts that are no longer active.
pub(super) const FORMER: &[(&str, &str)] =
    &[("legacy-shop", "SUSPENDED"), ("merger-2024", "PENDING_CLOSURE")];

/// The organisational units, each with the place of the one that it is in; `None`: right below the root. Accounts come
/// into the last one only when they are moved there.
pub(crate) const UNITS: &[(&str, Option<usize>)] = &[
    ("Infrastructure", None),
    ("Workloads", None),
    ("Security", None),
    ("Former", None),
    ("Pilots", Some(1)),
];

/// Applications, each with what it keeps under its keys.
pub(super) const APPLICATIONS: &[(&str, Data)] = &[
    ("ledger", Data::Table),
    ("checkout", Data::Own),
    ("card-vault", Data::Own),
    ("invoices", Data::Object),
    ("orders-db", Data::Database),
    ("order-events", Data::Object),
    ("sessions", Data::Table),
    ("customer-profile", Data::Secret),
    ("mail-sender", Data::Parameter),
    ("fraud-score", Data::Function),
    ("search-index", Data::Volume),
    ("warehouse", Data::Database),
    ("clickstream", Data::Object),
    ("build-artefacts", Data::Object),
    ("access-logs", Data::Logs),
    ("device-tokens", Data::Secret),
    ("feature-store", Data::Volume),
    ("price-import", Data::Function),
    ("refunds", Data::Own),
    ("partner-gateway", Data::Parameter),
    ("archive", Data::Object),
    ("audit-trail", Data::Logs),
    ("shipping-labels", Data::Own),
];

/// What a key protects: decides who calls and with what context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Data {
    /// An EBS volume.
    Volume,
    /// S3 objects.
    Object,
    /// Secrets Manager.
    Secret,
    /// Parameter Store.
    Parameter,
    /// DynamoDB.
    Table,
    /// CloudWatch Logs.
    Logs,
    /// RDS.
    Database,
    /// Lambda's environment variables.
    Function,
    /// Whatever the application encrypts itself.
    Own,
}

/// AWS managed keys: the alias behind `alias/aws/`, what it protects and how AWS describes it.
pub(super) const SERVICES: &[(&str, Data, &str)] = &[
    ("ebs", Data::Volume, "Default key that protects my EBS volumes when no other key is defined"),
    ("s3", Data::Object, "Default key that protects my S3 objects when no other key is defined"),
    (
        "secretsmanager",
        Data::Secret,
        "Default key that protects my Secrets Manager data when no other key is defined",
    ),
    ("ssm", Data::Parameter, "Default key that protects my SSM parameters when no other key is defined"),
    ("rds", Data::Database, "Default key that protects my RDS database volumes when no other key is defined"),
    ("lambda", Data::Function, "Default key that protects my Lambda functions when no other key is defined"),
    ("dynamodb", Data::Table, "Default key that protects my DynamoDB tables when no other key is defined"),
];
