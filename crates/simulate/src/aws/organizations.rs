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

/// How the token of a page begins that comes after an empty one.
const AFTER_EMPTY: &str = "EMPTY-";

/// A list as one request asks for it.
struct Asked<'a> {
    request: &'a Value,
    /// Whether an empty page comes before each page with something on it.
    empty_pages: bool,
}

impl Asked<'_> {
    /// The page that is asked for, under the list's name.
    fn listed(&self, name: &str, items: impl IntoIterator<Item = (String, Value)>) -> Result<Value, Refusal> {
        let mut token = self.request["NextToken"].clone();
        if self.empty_pages {
            match token.as_str().map(|text| text.strip_prefix(AFTER_EMPTY)) {
                Some(Some("")) => token = Value::Null,
                Some(Some(text)) => token = text.into(),
                Some(None) | None => {
                    let after = format!("{AFTER_EMPTY}{}", token.as_str().unwrap_or_default());
                    return Ok(json!({ name: [], "NextToken": after }));
                }
            }
        }
        let asked = json!({ "Limit": self.request["MaxResults"], "Marker": token });
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
        if !state.member(caller).is_some_and(Member::belongs) {
            let message = "Your account is not a member of an organization.";
            return Err(Refusal::new(400, "AWSOrganizationsNotInUseException", message));
        }
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
            let mut shown = account(member, &arn("account", &member.id.to_string()));
            if let Some(fields) = shown.as_object_mut().filter(|_| self.options.no_account_state) {
                fields.remove("State");
            }
            (member.id.to_string(), shown)
        };
        let asked = Asked { request, empty_pages: self.options.empty_pages };
        match operation {
            "ListAccounts" => asked.listed("Accounts", sorted(state, |_| true).into_iter().map(account)),
            "DescribeAccount" => {
                let member = wanted_member(state, text(request, "AccountId")?)?;
                Ok(json!({ "Account": account(member).1 }))
            }
            "ListRoots" => {
                let root = json!({ "Id": ROOT, "Arn": arn("root", ROOT), "Name": "Root", "PolicyTypes": [] });
                asked.listed("Roots", [(ROOT.to_owned(), root)])
            }
            "ListOrganizationalUnitsForParent" => {
                let parent = text(request, "ParentId")?;
                let parent = parent_of(parent)?;
                let unit = |place: usize| {
                    let id = unit_id(place);
                    (id.clone(), json!({ "Id": id, "Arn": arn("ou", &id), "Name": UNITS[place].0 }))
                };
                let children = (0..UNITS.len()).filter(|&place| UNITS[place].1 == parent);
                asked.listed("OrganizationalUnits", children.map(unit))
            }
            "ListAccountsForParent" => {
                // The management account hangs at the root itself.
                let parent = parent_of(text(request, "ParentId")?)?;
                let is_child = |member: &Member| {
                    let is_management = member.id == management.id;
                    parent.map_or(is_management, |unit| !is_management && member.unit == unit)
                };
                asked.listed("Accounts", sorted(state, is_child).into_iter().map(account))
            }
            "ListParents" => {
                let child = text(request, "ChildId")?;
                let unit = (0..UNITS.len()).find(|&place| unit_id(place) == child);
                let parent = match (unit, wanted_member(state, child)) {
                    (Some(unit), _) => UNITS[unit].1,
                    (None, Ok(member)) => Some(member.unit).filter(|_| member.id != management.id),
                    (None, Err(_)) => {
                        let message = "You specified a child that doesn't exist.";
                        return Err(Refusal::new(400, "ChildNotFoundException", message));
                    }
                };
                let id = parent.map_or_else(|| ROOT.to_owned(), unit_id);
                let kind = if parent.is_some() { "ORGANIZATIONAL_UNIT" } else { "ROOT" };
                asked.listed("Parents", [(id.clone(), json!({ "Id": id, "Type": kind }))])
            }
            "ListTagsForResource" => {
                let id = text(request, "ResourceId")?;
                let tags = wanted_member(state, id).ok().map(tags);
                let tags = tags.ok_or_else(|| {
                    Refusal::new(400, "TargetNotFoundException", "You specified a target that doesn't exist.")
                })?;
                asked.listed("Tags", tags)
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
    let belonging = state.members.iter().filter(|member| member.belongs());
    let mut members: Vec<&Member> = belonging.filter(|member| is_wanted(member)).collect();
    members.sort_by_key(|member| member.id);
    members
}

fn wanted_member<'a>(state: &'a State, id: &str) -> Result<&'a Member, Refusal> {
    let not_found =
        || Refusal::new(400, "AccountNotFoundException", "You specified an account that doesn't exist.");
    let member = id.parse().ok().and_then(|id| state.member(id)).filter(|member| member.belongs());
    member.ok_or_else(not_found)
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
