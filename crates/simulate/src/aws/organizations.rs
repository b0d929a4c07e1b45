//! Organizations: which accounts there are.

use serde_json::{Value, json};

use super::Core;
use super::service::{Calling, Refusal};
use crate::organisation::kms::{Limits, page};
use crate::organisation::names::UNITS;
use crate::organisation::state::{Member, State};

const ORGANISATION: &str = "o-dormouse01";
const ROOT: &str = "r-dorm";
const LONGEST_PAGE: Limits = Limits { usual: 20, most: 20 };

fn unit_id(place: usize) -> String {
    format!("ou-dorm-{:08}", place + 1)
}

fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(400, "InvalidInputException", message)
}

fn text<'a>(request: &'a Value, field: &str) -> Result<&'a str, Refusal> {
    request[field].as_str().ok_or_else(|| invalid(format!("You specified an invalid value for {field}.")))
}

/// One page of a list under its name.
fn listed(
    name: &str,
    request: &Value,
    items: impl IntoIterator<Item = (String, Value)>,
) -> Result<Value, Refusal> {
    let asked = json!({ "Limit": request["MaxResults"], "Marker": request["NextToken"] });
    let page = page(&asked, LONGEST_PAGE, items, |(id, _)| id.clone()).map_err(|refusal| {
        let code = refusal.0.code;
        invalid(if code == "InvalidMarkerException" {
            "You provided an invalid NextToken.".to_owned()
        } else {
            refusal.0.message
        })
    })?;
    let values: Vec<Value> = page.items.into_iter().map(|(_, value)| value).collect();
    let mut answer = json!({ name: values });
    if let Some(next) = page.next {
        answer["NextToken"] = next.into();
    }
    Ok(answer)
}

impl Core {
    pub(super) fn organizations(
        &self,
        calling: &Calling,
        operation: &str,
        request: &Value,
    ) -> Result<Value, Refusal> {
        let inner = self.organisation.lock();
        let state = &inner.state;
        let Some(management) = state.management() else {
            return Err(Refusal::new(400, "AWSOrganizationsNotInUseException", "There is no organization."));
        };
        let caller = calling.caller.account;
        let may_read = caller == management.id || self.options.delegated_administrators.contains(&caller);
        if operation == "DescribeOrganization" {
            return Ok(describe_organization(management));
        }
        if !may_read {
            let message = "You don't have permissions to access this resource.";
            return Err(Refusal::new(400, "AccessDeniedException", message));
        }
        let arn = |kind: &str, id: &str| {
            format!("arn:aws:organizations::{}:{kind}/{ORGANISATION}/{id}", management.id)
        };
        let account = |member: &Member| {
            (member.id.to_string(), account(member, &arn("account", &member.id.to_string())))
        };
        match operation {
            "ListAccounts" => listed("Accounts", request, sorted(state, |_| true).into_iter().map(account)),
            "DescribeAccount" => {
                let member = wanted_member(state, text(request, "AccountId")?)?;
                Ok(json!({ "Account": account(member).1 }))
            }
            "ListRoots" => {
                let root = json!({ "Id": ROOT, "Arn": arn("root", ROOT), "Name": "Root", "PolicyTypes": [] });
                listed("Roots", request, [(ROOT.to_owned(), root)])
            }
            "ListOrganizationalUnitsForParent" => {
                let parent = text(request, "ParentId")?;
                let unit = |place: usize| {
                    let id = unit_id(place);
                    (id.clone(), json!({ "Id": id, "Arn": arn("ou", &id), "Name": UNITS[place] }))
                };
                let count = match parent_of(parent)? {
                    None => UNITS.len(),
                    Some(_) => 0,
                };
                listed("OrganizationalUnits", request, (0..count).map(unit))
            }
            "ListAccountsForParent" => {
                // The management account hangs at the root itself.
                let parent = parent_of(text(request, "ParentId")?)?;
                let is_child = |member: &Member| {
                    let is_management = member.id == management.id;
                    parent.map_or(is_management, |unit| !is_management && member.unit == unit)
                };
                listed("Accounts", request, sorted(state, is_child).into_iter().map(account))
            }
            "ListTagsForResource" => {
                let id = text(request, "ResourceId")?;
                let tags = state.members.iter().find(|member| member.id.to_string() == id).map(tags);
                let tags = tags.ok_or_else(|| {
                    Refusal::new(400, "TargetNotFoundException", "You specified a target that doesn't exist.")
                })?;
                listed("Tags", request, tags)
            }
            _ => Err(Refusal::new(400, "UnknownOperationException", operation)),
        }
    }
}

fn describe_organization(management: &Member) -> Value {
    let id = management.id;
    json!({ "Organization": {
        "Id": ORGANISATION,
        "Arn": format!("arn:aws:organizations::{id}:organization/{ORGANISATION}"),
        "FeatureSet": "ALL",
        "MasterAccountArn": format!("arn:aws:organizations::{id}:account/{ORGANISATION}/{id}"),
        "MasterAccountId": id.to_string(),
        "MasterAccountEmail": management.email,
        "AvailablePolicyTypes": [],
    } })
}

fn account(member: &Member, arn: &str) -> Value {
    // The older word knows fewer states.
    let status = match member.state {
        "CLOSED" => "SUSPENDED",
        "PENDING_ACTIVATION" => "ACTIVE",
        state => state,
    };
    json!({
        "Id": member.id.to_string(),
        "Arn": arn,
        "Email": member.email,
        "Name": member.name,
        "Status": status,
        "State": member.state,
        "JoinedMethod": "CREATED",
        "JoinedTimestamp": member.joined.seconds(),
    })
}

fn sorted(state: &State, is_wanted: impl Fn(&Member) -> bool) -> Vec<&Member> {
    let mut members: Vec<&Member> = state.members.iter().filter(|member| is_wanted(member)).collect();
    members.sort_by_key(|member| member.id);
    members
}

fn wanted_member<'a>(state: &'a State, id: &str) -> Result<&'a Member, Refusal> {
    let not_found =
        || Refusal::new(400, "AccountNotFoundException", "You specified an account that doesn't exist.");
    id.parse().ok().and_then(|id| state.member(id)).ok_or_else(not_found)
}

/// The place of the organisational unit; `None` for the root.
fn parent_of(id: &str) -> Result<Option<usize>, Refusal> {
    if id == ROOT {
        return Ok(None);
    }
    let unit = (0..UNITS.len()).find(|&place| unit_id(place) == id);
    unit.map(Some).ok_or_else(|| {
        Refusal::new(400, "ParentNotFoundException", "You specified a parent that doesn't exist.")
    })
}

fn tags(member: &Member) -> Vec<(String, Value)> {
    let (team, environment) = member.name.rsplit_once('-').unwrap_or((&member.name, "prod"));
    let tag = |name: &str, value: &str| (name.to_owned(), json!({ "Key": name, "Value": value }));
    vec![tag("env", environment), tag("team", team)]
}
