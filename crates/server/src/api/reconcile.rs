//! `/api/v1/reconcile`: AWS is asked which keys there are, now; and what the last passes found.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use dormouse_inventory::{Reconciler, Scope};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{encode, json};
use crate::problem::{Code, Problem};
use crate::routes::{App, RECONCILE};

/// A pass was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedDocument {
    /// The number of the pass that will answer; several that ask share one.
    pub pass: u64,
}

/// Asks for a pass: 202 with its number. Without a body it goes through everything.
pub(crate) async fn start(State(app): State<Arc<App>>, body: Bytes) -> Result<Response, Problem> {
    let reconciler = reconciler(&app)?;
    let scope = if body.trim_ascii().is_empty() { Scope::default() } else { parse(&body)? };
    check(&app, &scope)?;
    let pass = reconciler.ask(scope)?;
    tracing::info!(pass, "the inventory is reconciled by request");
    let answer = json(encode(&AskedDocument { pass })?);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, RECONCILE)], answer).into_response())
}

/// The pass that runs, the last one, and when the next begins.
pub(crate) async fn status(State(app): State<Arc<App>>) -> Result<Response, Problem> {
    Ok(json(encode(&reconciler(&app)?.status())?))
}

fn reconciler(app: &App) -> Result<&Reconciler, Problem> {
    let none = || {
        let detail = "nothing is asked of AWS: the configuration has no [inventory]";
        Problem::new(Code::NoInventory, detail)
    };
    app.instance.inventory.as_deref().ok_or_else(none)
}

/// Refuses what is not watched; before the first list nobody knows what is.
fn check(app: &App, scope: &Scope) -> Result<(), Problem> {
    let watched = app.instance.view.watched();
    if watched.is_empty() {
        return Ok(());
    }
    let unknown = |what: &str, name: &dyn std::fmt::Display| {
        let detail = format!("{what} {name} is not read by the inventory; /api/v1/accounts lists what is");
        Problem::new(Code::BadParameter, detail)
    };
    for account in &scope.accounts {
        if !watched.iter().any(|place| place.account == *account) {
            return Err(unknown("account", account));
        }
    }
    for region in &scope.regions {
        if !watched.iter().any(|place| place.region == *region) {
            return Err(unknown("Region", region));
        }
    }
    Ok(())
}

fn parse(body: &[u8]) -> Result<Scope, Problem> {
    let members = serde_json::from_slice::<Map<String, Value>>(body);
    members.and_then(|members| serde_json::from_value(Value::Object(members))).map_err(|error| {
        let example = r#"{"accounts": ["111122223333"], "regions": ["eu-west-1"]}"#;
        let detail = format!("{error}; the body is JSON like {example}, or nothing for everything");
        Problem::new(Code::BadBody, detail)
    })
}
