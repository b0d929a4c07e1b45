//! Which keys a record names.
//!
//! The best evidence are the key ARNs among its `resources`, which KMS wrote after it had resolved whatever the caller
//! said. Only without any of them are the caller's own words taken, which may be an id, an ARN, an alias or nonsense.
//! An alias names no key by itself: where it pointed then, a [`NameResolver`] may know. Else it becomes
//! [`Unresolved`](crate::Unresolved).

use dormouse_model::{AccountId, EventTime, KeyArn, Kind, ParseKeyError, ParseRegionError, Region};

use crate::bounds::{self, cut};
use crate::shape::Record;
use crate::{Reason, Unresolved};

/// The part a key plays in a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// The only one there is.
    Only,
    /// The key that a ReEncrypt decrypts with.
    Source,
    /// The key that a ReEncrypt encrypts with.
    Destination,
    /// Both of them.
    SourceAndDestination,
}

/// The distinct keys of a record, and the texts that name none.
#[derive(Debug, Default)]
pub(crate) struct Named<'a> {
    pub(crate) keys: Vec<(KeyArn, Role)>,
    pub(crate) unresolved: Vec<(&'a str, Role)>,
}

impl<'a> Named<'a> {
    pub(crate) fn add(&mut self, key: KeyArn, role: Role) {
        match self.keys.iter_mut().find(|(known, _)| *known == key) {
            None => self.keys.push((key, role)),
            Some((_, known)) if *known != role => *known = Role::SourceAndDestination,
            Some(_) => {}
        }
    }

    fn add_text(&mut self, text: &'a str, role: Role, place: &Place) -> Result<(), Reason> {
        match place.resolve(text)? {
            Some(key) => self.add(key, role),
            None => self.unresolved.push((text, role)),
        }
        Ok(())
    }
}

/// Knows which key an alias pointed to.
pub trait NameResolver: Send + Sync {
    /// The key that an alias of this account and Region (`alias/…`) pointed to at this time, if that is known.
    fn key_of(&self, account: AccountId, region: Region, alias: &str, at: EventTime) -> Option<KeyArn>;
}

/// Where a record was logged, which is where a bare key id belongs to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) account: Option<AccountId>,
    pub(crate) region: Option<Region>,
    /// The call succeeded, so KMS knew the key that the caller named.
    pub(crate) succeeded: bool,
}

impl Place {
    /// The key that a caller's words stand for, if they stand for one.
    ///
    /// The words of a failed call are anybody's: they are only taken if they make no name that has to be remembered.
    fn resolve(&self, text: &str) -> Result<Option<KeyArn>, Reason> {
        if text.starts_with("arn:") {
            let is_harmless = self.succeeded || self.is_plain_arn_from_here(text);
            return if is_harmless { self.parse(text) } else { Ok(None) };
        }
        let (Some(account), Some(region), true) = (self.account, self.region, is_plain_id(text)) else {
            return Ok(None);
        };
        Ok(KeyArn::from_parts(region, account, text).ok())
    }

    fn is_plain_arn_from_here(&self, arn: &str) -> bool {
        let mut parts = arn.split(':').skip(3);
        let region = parts.next().unwrap_or_default();
        let id = parts.nth(1).and_then(|tail| tail.strip_prefix("key/"));
        id.is_some_and(is_plain_id) && self.region.is_some_and(|here| here.name() == region)
    }

    /// The key with this ARN; `None` if it is no key's. A failed call never fails the record.
    fn parse(&self, arn: &str) -> Result<Option<KeyArn>, Reason> {
        match arn.parse() {
            Ok(key) => Ok(Some(key)),
            Err(error) if self.succeeded && names_are_exhausted(error, arn) => {
                Err(Reason::NamesExhausted(error))
            }
            Err(_) => Ok(None),
        }
    }

    /// What is known of a use, attempt or change of a key that has no better name than this.
    pub(crate) fn unresolved<'a>(&self, text: &'a str, kind: Kind) -> Unresolved<'a> {
        let here = Unresolved {
            account: self.account,
            region: self.region,
            text: cut(text, bounds::KEY_TEXT),
            kind,
        };
        let mut parts = text.splitn(6, ':');
        let (Some("arn"), Some(_), Some("kms"), Some(region), Some(account), Some(_)) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return here;
        };
        // A failed call may name any place; only a real one is remembered.
        match (account.parse(), region.parse()) {
            (Ok(account), Ok(region)) if self.succeeded => {
                Unresolved { account: Some(account), region: Some(region), ..here }
            }
            _ => here,
        }
    }
}

/// The only key among the resources of a record that could not be applied, unless its name would have to be remembered.
pub(crate) fn only_listed_key(record: &Record<'_>) -> Option<KeyArn> {
    let mut listed = record.resources.items.iter().filter(|resource| resource.arn.contains(":key/"));
    let (only, None, false) = (listed.next()?, listed.next(), record.resources.more) else { return None };
    KeyArn::known(&only.arn).ok().flatten()
}

fn names_are_exhausted(error: ParseKeyError, arn: &str) -> bool {
    match error {
        ParseKeyError::TooManyIds | ParseKeyError::Region(ParseRegionError::TooMany) => true,
        ParseKeyError::Partition => arn.starts_with("arn:aws-"),
        _ => false,
    }
}

/// Whether an id has one of the forms that KMS gives to keys.
fn is_plain_id(id: &str) -> bool {
    let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let bytes = id.as_bytes();
    if bytes.len() != 36 {
        return false;
    }
    match bytes.strip_prefix(b"mrk-") {
        Some(digits) => digits.iter().all(|&byte| is_digit(byte)),
        None => bytes.iter().enumerate().all(|(place, &byte)| match place {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => is_digit(byte),
        }),
    }
}

/// The keys of a record.
pub(crate) fn named_by<'a>(record: &'a Record<'_>, place: &Place) -> Result<Named<'a>, Reason> {
    let listed = listed_keys(record, place)?;
    match (&*record.event_name, &*listed) {
        ("ReEncrypt", []) => named_by_reencrypt(record, place),
        ("ReEncrypt", &[only]) => named_beside(only, record, place),
        ("ReEncrypt", &[source, ref destinations @ ..]) => {
            let mut named = Named::default();
            named.add(source, Role::Source);
            destinations.iter().for_each(|&destination| named.add(destination, Role::Destination));
            Ok(named)
        }
        (_, []) => named_by_caller(record, place),
        (_, keys) => {
            let mut named = Named::default();
            keys.iter().for_each(|&key| named.add(key, Role::Only));
            Ok(named)
        }
    }
}

/// The keys among the resources, in their order, repeats and all.
fn listed_keys(record: &Record<'_>, place: &Place) -> Result<Vec<KeyArn>, Reason> {
    if record.resources.more {
        return Err(Reason::TooManyResources);
    }
    let mut keys = Vec::with_capacity(record.resources.items.len());
    for resource in &record.resources.items {
        if resource.arn.contains(":key/") {
            keys.extend(place.parse(&resource.arn)?);
        }
    }
    Ok(keys)
}

fn named_by_caller<'a>(record: &'a Record<'_>, place: &Place) -> Result<Named<'a>, Reason> {
    let metadata = &record.response.key_metadata;
    let request = &record.request;
    let candidates = match &*record.event_name {
        "CreateKey" => [&metadata.arn, &metadata.key_id],
        "CreateAlias" | "UpdateAlias" | "DeleteAlias" => [&request.target_key_id, &request.alias_name],
        _ => [&request.key_id, &record.service_event.key_id],
    };
    let text = candidates.iter().find_map(|text| text.given()).unwrap_or_default();
    let mut named = Named::default();
    named.add_text(text, Role::Only, place)?;
    Ok(named)
}

fn named_by_reencrypt<'a>(record: &'a Record<'_>, place: &Place) -> Result<Named<'a>, Reason> {
    let mut named = Named::default();
    named.add_text(&record.request.source_key_id, Role::Source, place)?;
    named.add_text(&record.request.destination_key_id, Role::Destination, place)?;
    Ok(named)
}

/// The only listed key of a ReEncrypt, and what else the caller named.
///
/// A call across accounts has a copy in each, which lists the keys of its own: there the other name is the other copy's.
fn named_beside<'a>(listed: KeyArn, record: &'a Record<'_>, place: &Place) -> Result<Named<'a>, Reason> {
    let mut named = Named::default();
    named.add(listed, role_of(listed, record));
    if record.shared_id.given().is_some() {
        return Ok(named);
    }
    let request = &record.request;
    for (text, role) in
        [(&request.source_key_id, Role::Source), (&request.destination_key_id, Role::Destination)]
    {
        if let Some(text) = text.given().filter(|text| !is_called(listed, text)) {
            named.add_text(text, role, place)?;
        }
    }
    Ok(named)
}

/// The part of the only listed key of a ReEncrypt, told by what the caller named.
fn role_of(key: KeyArn, record: &Record<'_>) -> Role {
    let is_source = is_called(key, &record.request.source_key_id);
    let is_destination = is_called(key, &record.request.destination_key_id);
    match (is_source, is_destination) {
        (true, true) => Role::SourceAndDestination,
        (false, true) => Role::Destination,
        _ => Role::Source,
    }
}

/// Whether a text is the ARN or the id of a key.
pub(crate) fn is_called(key: KeyArn, text: &str) -> bool {
    !text.is_empty() && (text == key.id() || text == key.to_string())
}
