//! The inventory of an instance: what the configuration says of it becomes a reconciler at work.

use std::sync::Arc;

use anyhow::Context;
use dormouse_aws::{AwsOptions, HubRole, RoleOptions, load_config};
use dormouse_inventory::{
    Accounts, Candidates, InventoryOptions, Metrics, OrganizationFilter, Parts, Reconciler, Regions,
    SdkCloud, UsageOptions,
};
use dormouse_ledger::{KeyState, Ledger, Rank, Registers, Thresholds};
use dormouse_model::{Clock, EventTime, KeyArn};
use dormouse_pipeline::InventoryIntake;
use prometheus::Registry;

use crate::config::{self, InventoryConfig, VerdictsConfig};

/// Starts it on the threads of whoever calls this. `aws` says how AWS is reached where the configuration does not.
pub(crate) async fn start(
    config: &InventoryConfig,
    verdicts: &VerdictsConfig,
    aws: &AwsOptions,
    (journal, ledger): (InventoryIntake, Arc<Ledger<Rank>>),
    clock: Arc<dyn Clock>,
    registry: &Registry,
) -> anyhow::Result<Reconciler> {
    let aws = AwsOptions {
        region: config.region.clone().or_else(|| aws.region.clone()),
        endpoint_url: config.endpoint_url.clone().or_else(|| aws.endpoint_url.clone()),
        ..aws.clone()
    };
    let sdk = load_config(&aws).await.context("[inventory]")?;
    let metrics = Arc::new(Metrics::new()?);
    metrics.register(registry)?;
    let roles = RoleOptions {
        name: config.role_name.clone(),
        path: config.role_path.clone(),
        external_id: config.external_id.clone(),
        session_name: config.session_name.clone(),
        duration: config.session_duration,
        hub: config.via_role.as_deref().map(hub).transpose()?,
    };
    let counter = Arc::<Metrics>::clone(&metrics);
    let cloud = SdkCloud::new(&sdk, roles, counter).context("[inventory]")?;
    let candidates = Arc::new(ByThreshold { thresholds: verdicts.thresholds()?, ledger });
    Ok(Reconciler::start(Parts { cloud, journal, clock, metrics, candidates, options: options(config) }))
}

/// Keys are asked about first that are about to be called unused, each by its own threshold.
struct ByThreshold {
    thresholds: Thresholds,
    ledger: Arc<Ledger<Rank>>,
}

impl Candidates for ByThreshold {
    fn unused_from(&self, key: KeyArn, state: &KeyState<Rank>) -> Option<EventTime> {
        let registers = state.registers();
        let usage = registers.and_then(Registers::facts).and_then(|facts| facts.usage.as_ref());
        let begin = state.last_used().or_else(|| registers.and_then(Registers::created))?;
        // KMS proves nothing from before it kept track.
        let begin = begin.max(usage.map(|usage| usage.said.tracked_from).unwrap_or_default());
        Some(begin.plus(self.thresholds.of(key, registers, self.ledger.aliases()).seconds))
    }
}

/// The role that is assumed first, by its ARN.
fn hub(arn: &str) -> anyhow::Result<HubRole> {
    let account = config::hub_account(arn)
        .with_context(|| format!("[inventory] via_role: {arn:?} names no account"))?;
    Ok(HubRole { arn: arn.to_owned(), account, external_id: None })
}

fn options(config: &InventoryConfig) -> InventoryOptions {
    let accounts = match &config.accounts {
        config::Accounts::Local => Accounts::Local,
        config::Accounts::List(list) => Accounts::List(list.iter().copied().collect()),
        config::Accounts::Organisation => Accounts::Organization(OrganizationFilter {
            units: config.organizational_units.iter().cloned().collect(),
            tags: config.account_tags.clone(),
        }),
    };
    let regions = match &config.regions {
        config::Regions::All => Regions::All,
        config::Regions::List(list) => Regions::List(list.clone()),
    };
    let usage = UsageOptions { every: config.last_usage_every, ..UsageOptions::default() };
    InventoryOptions {
        accounts,
        exclude_accounts: config.exclude_accounts.iter().copied().collect(),
        regions,
        interval: config.interval,
        deadline: config.deadline,
        redescribe_every: config.describe_every,
        places_at_once: config.concurrency,
        share_of_quotas: config.share_of_quotas,
        heartbeat_every: Some(config.heartbeat),
        usage: config.last_usage.then_some(usage),
        ..InventoryOptions::default()
    }
}
