//! `GET /api/v1/accounts`: what was received from each account and Region, and what history proves.

use std::sync::Arc;

use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use dormouse_model::{AccountId, Region};
use dormouse_pipeline::view::AccountsDocument;
use serde::{Deserialize, Serialize};

use super::{each_parameter, encode, json, number};
use crate::problem::{Code, Problem};
use crate::routes::App;

/// Accounts on a page if nobody says how many.
const USUAL_LIMIT: usize = 100;
const LARGEST_LIMIT: i64 = 1_000;
const PARAMETERS: [&str; 4] = ["account", "region", "after", "limit"];

/// Some of the accounts, by id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountsPage {
    /// These accounts, and all sources.
    #[serde(flatten)]
    pub known: AccountsDocument,
    /// What to ask for the next page with, as `after`; null on the last.
    pub next: Option<AccountId>,
}

/// A question.
#[derive(Debug, Default)]
struct Asked {
    accounts: Vec<AccountId>,
    regions: Vec<Region>,
    after: Option<AccountId>,
    limit: Option<usize>,
}

/// A page of the accounts.
pub(crate) async fn list(State(app): State<Arc<App>>, uri: Uri) -> Result<Response, Problem> {
    let asked = Asked::parse(uri.query())?;
    let page = {
        let app = Arc::clone(&app);
        app.clone().blocking.run(move || encode(&page(&app, &asked))).await?
    };
    Ok(json(page))
}

impl Asked {
    fn parse(query: Option<&str>) -> Result<Self, Problem> {
        let mut asked = Self::default();
        each_parameter(query, &PARAMETERS, |name, value| {
            match name {
                "account" => {
                    asked.accounts.extend(list_of::<AccountId>(name, value, "an account is 12 digits")?);
                }
                "region" => {
                    asked.regions.extend(list_of::<Region>(name, value, "a Region looks like eu-west-1")?);
                }
                "after" => asked.after = list_of(name, value, "an account is 12 digits")?.pop(),
                "limit" => asked.limit = usize::try_from(number(name, value, 1, LARGEST_LIMIT)?).ok(),
                _ => return Ok(false),
            }
            Ok(true)
        })?;
        Ok(asked)
    }
}

/// Values with commas between them.
fn list_of<T: std::str::FromStr>(name: &str, value: &str, allowed: &str) -> Result<Vec<T>, Problem> {
    let parse =
        |part: &str| part.parse().map_err(|_| Problem::new(Code::BadParameter, format!("{name}: {allowed}")));
    value.split(',').map(parse).collect()
}

fn page(app: &App, asked: &Asked) -> AccountsPage {
    let instance = &app.instance;
    let mut known = instance.view.accounts(&instance.declared);
    known.retain(&asked.accounts, &asked.regions);
    if let Some(after) = asked.after {
        known.accounts.retain(|account| account.account > after);
    }
    let limit = asked.limit.unwrap_or(USUAL_LIMIT);
    let has_more = known.accounts.len() > limit;
    known.accounts.truncate(limit);
    let next = known.accounts.last().filter(|_| has_more).map(|account| account.account);
    AccountsPage { known, next }
}
