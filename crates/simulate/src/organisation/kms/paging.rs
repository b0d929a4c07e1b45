//! Lists by the page, as KMS cuts them.
//!
//! A marker names the last item that was handed out, so that items that come and go between two pages neither hide
//! others nor repeat them.

use std::ops::Bound;

use serde_json::{Value, json};

use super::{Refusal, refuse};

/// How long the pages of an operation may be.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) usual: usize,
    pub(crate) most: usize,
}

/// One page: its items and the marker of the next, if there is one.
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) next: Option<String>,
}

/// The page that the request asks for. `items` are sorted by the text that `name` gives.
pub(crate) fn page<T>(
    request: &Value,
    limits: Limits,
    items: impl IntoIterator<Item = T>,
    name: impl Fn(&T) -> String,
) -> Result<Page<T>, Refusal> {
    let limit = limit(request, limits)?;
    let Rest { after } = rest(request)?;
    let is_left = |item: &T| after.as_deref().is_none_or(|after| *name(item) > *after);
    let mut left: Vec<T> = items.into_iter().filter(is_left).take(limit + 1).collect();
    let next = (left.len() > limit)
        .then(|| left.truncate(limit))
        .and_then(|()| left.last())
        .map(|last| encode(&name(last)));
    Ok(Page { items: left, next })
}

/// What is left of a list behind the pages that were handed out.
pub(crate) struct Rest {
    after: Option<String>,
}

impl Rest {
    /// As a range of names, so that a long list need not be walked from its beginning for every page.
    pub(crate) fn bounds(&self) -> (Bound<&str>, Bound<&str>) {
        (self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)
    }
}

/// What the request's marker leaves.
pub(crate) fn rest(request: &Value) -> Result<Rest, Refusal> {
    let after = match request["Marker"].as_str() {
        Some(marker) => Some(decode(marker).ok_or_else(invalid_marker)?),
        None if request["Marker"].is_null() => None,
        None => return Err(invalid_marker()),
    };
    Ok(Rest { after })
}

/// The answer with the page in it under `name`, and `Truncated` and `NextMarker` beside it.
pub(crate) fn answer(name: &str, page: Page<Value>) -> Value {
    let mut answer = json!({ name: page.items, "Truncated": page.next.is_some() });
    if let Some(next) = page.next {
        answer["NextMarker"] = next.into();
    }
    answer
}

fn limit(request: &Value, limits: Limits) -> Result<usize, Refusal> {
    let Limits { usual, most } = limits;
    let asked = &request["Limit"];
    if asked.is_null() {
        return Ok(usual);
    }
    let bound = |relation: &str, bound: usize| {
        refuse(
            "ValidationException",
            format!(
                "1 validation error detected: Value '{asked}' at 'limit' failed to satisfy constraint: Member must \
                 have value {relation} than or equal to {bound}"
            ),
        )
    };
    match asked.as_i64() {
        Some(number) if number < 1 => Err(bound("greater", 1)),
        Some(number) => {
            usize::try_from(number).ok().filter(|number| *number <= most).ok_or_else(|| bound("less", most))
        }
        None => Err(refuse("SerializationException", "Limit is no number.")),
    }
}

const PREFIX: &str = "DM";

fn encode(name: &str) -> String {
    name.bytes().fold(PREFIX.to_owned(), |marker, byte| format!("{marker}{byte:02x}"))
}

fn decode(marker: &str) -> Option<String> {
    let digits = marker.strip_prefix(PREFIX)?;
    let pairs = digits.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
    String::from_utf8(bytes?).ok().filter(|name| encode(name) == marker)
}

fn invalid_marker() -> Refusal {
    refuse("InvalidMarkerException", "Could not deserialize marker.")
}

impl<T> Page<T> {
    /// The same page with other items.
    pub(crate) fn map<U>(self, other: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(other).collect(), next: self.next }
    }
}
