//! The description says what there is, and answers are as described.

use std::collections::BTreeSet;

use dormouse_ledger::VerdictKind;
use dormouse_ledger::query::{PARAMETERS, SortBy};
use dormouse_model::LifecycleState;
use serde_json::Value;

use super::house::House;
use crate::api::openapi::DOCUMENT;
use crate::problem::Code;
use crate::routes::ROUTES;

fn description() -> Value {
    serde_json::from_str(DOCUMENT).unwrap()
}

/// The path as the description writes it.
fn template(path: &str) -> String {
    path.replace("{*", "{")
}

fn follow<'a>(description: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str() {
        Some(place) => {
            description.pointer(place.trim_start_matches('#')).unwrap_or_else(|| panic!("{place}"))
        }
        None => value,
    }
}

/// Whether `value` is what `schema` says; fields that it does not name are wrong, too.
fn check(description: &Value, schema: &Value, value: &Value, place: &str) -> Result<(), String> {
    let schema = follow(description, schema);
    if let Some(choices) = schema["anyOf"].as_array() {
        let outcomes: Vec<_> =
            choices.iter().map(|choice| check(description, choice, value, place)).collect();
        if outcomes.iter().any(Result::is_ok) {
            return Ok(());
        }
        return outcomes.into_iter().next().unwrap_or(Ok(()));
    }
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Err(format!("{place}: no type")),
    };
    let is = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_i64() || number.is_u64() => "integer",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let fits = types.contains(&is) || (is == "integer" && types.contains(&"number"));
    if !fits {
        return Err(format!("{place} is {is}, not {types:?}"));
    }
    if let Some(choices) = schema["enum"].as_array()
        && !choices.contains(value)
    {
        return Err(format!("{place}: {value} is none of {choices:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        check(description, &schema["items"], item, &format!("{place}[{index}]"))?;
    }
    let Some(fields) = value.as_object() else {
        return Ok(());
    };
    for required in schema["required"].as_array().into_iter().flatten() {
        if !fields.contains_key(required.as_str().unwrap_or_default()) {
            return Err(format!("{place} lacks {required}"));
        }
    }
    for (name, field) in fields {
        let described = match (&schema["properties"][name], &schema["additionalProperties"]) {
            (Value::Null, Value::Null) => return Err(format!("{place}.{name} is not described")),
            (Value::Null, of_all) => of_all,
            (own, _) => own,
        };
        check(description, described, field, &format!("{place}.{name}"))?;
    }
    Ok(())
}

#[test]
fn every_route_and_nothing_else_is_described() {
    let description = description();
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(|method| (path.clone(), method.to_ascii_uppercase()))
        })
        .collect();
    let routed: BTreeSet<(String, String)> = ROUTES
        .iter()
        .flat_map(|route| route.methods.iter().map(|method| (template(route.path), (*method).to_owned())))
        .collect();
    assert_eq!(described, routed);
}

#[test]
fn every_parameter_value_and_code_is_described() {
    let description = description();
    let parameters = |path: &str| -> BTreeSet<String> {
        let parameters = description["paths"][path]["get"]["parameters"].as_array().unwrap();
        parameters.iter().map(|parameter| parameter["name"].as_str().unwrap().to_owned()).collect()
    };
    let filters: BTreeSet<String> = PARAMETERS.iter().map(ToString::to_string).collect();
    assert_eq!(parameters("/metrics/keys"), filters);
    let more = ["limit", "cursor"].map(str::to_owned);
    assert_eq!(parameters("/api/v1/keys"), filters.into_iter().chain(more).collect());

    let of_keys = description["paths"]["/api/v1/keys"]["get"]["parameters"].as_array().unwrap();
    let values = |name: &str| -> Vec<&str> {
        let schema = &of_keys.iter().find(|parameter| parameter["name"] == name).unwrap()["schema"];
        let list = schema["enum"].as_array().or(schema["items"]["enum"].as_array()).unwrap();
        list.iter().filter_map(Value::as_str).collect()
    };
    assert_eq!(values("verdict"), VerdictKind::ALL.map(VerdictKind::name));
    assert_eq!(values("state"), LifecycleState::ALL.map(LifecycleState::name));
    assert_eq!(values("sort"), SortBy::ALL.map(SortBy::name));
    let codes = description.pointer("/components/schemas/Problem/properties/code/enum").unwrap();
    assert_eq!(*codes, serde_json::json!(Code::ALL.map(Code::name)));
    assert!(Code::ALL.iter().all(|code| code.status().is_client_error() || code.status().is_server_error()));
}

#[test]
fn every_reference_leads_somewhere() {
    fn walk(description: &Value, value: &Value) {
        follow(description, value);
        for part in value
            .as_array()
            .into_iter()
            .flatten()
            .chain(value.as_object().into_iter().flat_map(|o| o.values()))
        {
            walk(description, part);
        }
    }
    let description = description();
    walk(&description, &description);
}

#[test]
fn every_route_answers_as_described() {
    let house = House::filled(2_000);
    house.submit((0..6).map(|n| format!("not JSON {n}")));
    let description = description();
    let arn = house.json("/api/v1/keys?limit=1")["keys"][0]["arn"].as_str().unwrap().to_owned();
    for route in &ROUTES {
        for method in route.methods {
            // Whatever removes a message takes another one than those that look at it.
            let id = if *method == "DELETE" { "2" } else { "1" };
            let path = route.path.replace("{*arn}", &arn).replace("{id}", id);
            let answer = house.request(method, &path, &[]);
            let described = &description["paths"][template(route.path)][method.to_ascii_lowercase()];
            let response = follow(&description, &described["responses"][answer.status.to_string()]);
            assert!(response.is_object(), "{method} {path}: {answer:?}");
            let media = answer.header("content-type").unwrap().split(';').next().unwrap();
            let content = &response["content"][media];
            assert!(content.is_object(), "{method} {path}: {media} is not described");
            if media.ends_with("json") && route.path != "/api/v1/openapi.json" {
                let outcome = check(&description, &content["schema"], &answer.json(), "answer");
                assert_eq!(outcome, Ok(()), "{method} {path}");
            }
        }
    }
    let all = house.json("/api/v1/keys?limit=1000");
    let schema = serde_json::json!({"$ref": "#/components/schemas/KeysPage"});
    assert_eq!(check(&description, &schema, &all, "answer"), Ok(()));
    let problem = house.get("/nothing").json();
    let schema = serde_json::json!({"$ref": "#/components/schemas/Problem"});
    assert_eq!(check(&description, &schema, &problem, "answer"), Ok(()));
}
