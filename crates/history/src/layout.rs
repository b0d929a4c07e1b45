//! The places below a trail's prefix, and the objects of each day.
//!
//! Account folders stand directly below `AWSLogs/`, or below an organisation's `o-…`; one bucket can hold both, and then
//! a place has several roots. Keys come in the order of their bytes, which is that of days, so a place's days are listed
//! with as few calls as its objects need, whatever days are empty.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dormouse_aws::Backoff;
use dormouse_cloudtrail::{TrailKey, TrailKeyKind};
use dormouse_model::{AccountId, Place};
use dormouse_sources::objects::{ListPage, ListRequest, ListedObject, ObjectFailure, ObjectStore};
use tokio::task::JoinSet;

use crate::request::{BackfillRequest, Day};

/// How long to wait before the next try: from the first to the longest.
pub(crate) const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));
/// So often something that fails in passing is tried; the store has tried a few times already, each time.
pub(crate) const TRIES: u32 = 5;
/// No organisation has as many accounts, and no account as many Regions.
const MOST_FOLDERS: usize = 100_000;
/// No place has as many objects in a day.
const MOST_OBJECTS: usize = 1_000_000;

/// What lies below an account's folder for one kind of object.
const LOGS: &str = "CloudTrail";
const DIGESTS: &str = "CloudTrail-Digest";

/// A bucket, or a folder laid out as one.
#[derive(Clone)]
pub(crate) struct Bucket {
    pub store: Arc<dyn ObjectStore>,
    pub name: Arc<str>,
}

impl Bucket {
    /// A page of a list; what fails in passing is tried again.
    async fn page(&self, request: &ListRequest) -> Result<ListPage, ObjectFailure> {
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        loop {
            match self.store.list(request.clone()).await {
                Err(failure) if failure.class().is_passing() && backoff.failures() + 1 < TRIES => {
                    tokio::time::sleep(backoff.next_delay()).await;
                }
                done => return done,
            }
        }
    }

    /// The names of the folders directly below this one, without their slashes.
    async fn folders(&self, below: &str) -> Result<Vec<String>, ObjectFailure> {
        let mut request = ListRequest {
            bucket: self.name.to_string(),
            prefix: below.to_owned(),
            delimiter: true,
            ..ListRequest::default()
        };
        let mut names = Vec::new();
        loop {
            let page = match self.page(&request).await {
                // A folder on disk that is not there.
                Err(ObjectFailure::Missing(_)) => return Ok(names),
                page => page?,
            };
            let name_of = |prefix: &String| Some(prefix.strip_prefix(below)?.strip_suffix('/')?.to_owned());
            names.extend(page.prefixes.iter().filter_map(name_of));
            match page.next {
                Some(token) if names.len() < MOST_FOLDERS => request.token = Some(token),
                _ => return Ok(names),
            }
        }
    }
}

/// An account's folder, and how often a place can have one.
pub(crate) type Roots = BTreeMap<Place, Vec<String>>;

/// The places that are asked for, with the account folders in which they are found.
pub(crate) async fn find_places(bucket: &Bucket, request: &BackfillRequest) -> Result<Roots, ObjectFailure> {
    let root = request.root();
    let mut accounts: Vec<(AccountId, String)> = Vec::new();
    for name in bucket.folders(&root).await? {
        if name.starts_with("o-") {
            let below = format!("{root}{name}/");
            for name in bucket.folders(&below).await? {
                accounts.extend(account_folder(&below, &name));
            }
        } else {
            accounts.extend(account_folder(&root, &name));
        }
    }
    if let Some(wanted) = &request.accounts {
        accounts.retain(|(account, _)| wanted.contains(account));
    }
    let mut found = Roots::new();
    let mut listing = JoinSet::new();
    let mut accounts = accounts.into_iter();
    loop {
        while listing.len() < request.concurrency
            && let Some((account, folder)) = accounts.next()
        {
            let bucket = bucket.clone();
            listing.spawn(async move { places_of(&bucket, account, folder).await });
        }
        let Some(listed) = listing.join_next().await else { break };
        // A task that was cancelled was cancelled together with this one.
        let Ok(listed) = listed else { continue };
        let (places, folder) = listed?;
        for place in places {
            if request.regions.as_ref().is_none_or(|wanted| wanted.contains(&place.region)) {
                found.entry(place).or_default().push(folder.clone());
            }
        }
    }
    for roots in found.values_mut() {
        roots.sort_unstable();
    }
    Ok(found)
}

fn account_folder(below: &str, name: &str) -> Option<(AccountId, String)> {
    Some((name.parse().ok()?, format!("{below}{name}/")))
}

/// A place of which nothing but digests is there is a place, too: a quiet one.
async fn places_of(
    bucket: &Bucket,
    account: AccountId,
    folder: String,
) -> Result<(BTreeSet<Place>, String), ObjectFailure> {
    let mut places = BTreeSet::new();
    for kind in [LOGS, DIGESTS] {
        for name in bucket.folders(&format!("{folder}{kind}/")).await? {
            if let Ok(region) = name.parse() {
                places.insert(Place { account, region });
            }
        }
    }
    Ok((places, folder))
}

/// Lists one kind of object of one place, day by day.
pub(crate) struct Days {
    bucket: Bucket,
    place: Place,
    kind: TrailKeyKind,
    /// What all keys begin with.
    prefix: String,
    request: Option<ListRequest>,
    has_more: bool,
    waiting: VecDeque<(u32, ListedObject)>,
    next_day: u32,
}

impl Days {
    pub(crate) fn new(bucket: Bucket, root: &str, place: Place, kind: TrailKeyKind) -> Self {
        let folder = if kind == TrailKeyKind::Digest { DIGESTS } else { LOGS };
        let prefix = format!("{root}{folder}/{}/", place.region);
        Self {
            bucket,
            place,
            kind,
            prefix,
            request: None,
            has_more: true,
            waiting: VecDeque::new(),
            next_day: 0,
        }
    }

    /// The objects in the folder of this day. Days must be asked for in their order.
    pub(crate) async fn of(&mut self, day: u32) -> Result<Vec<ListedObject>, ObjectFailure> {
        if self.request.is_none() || day > self.next_day {
            self.begin_at(day);
        }
        self.next_day = day + 1;
        let mut objects = Vec::new();
        loop {
            while let Some((found, object)) = self.waiting.pop_front() {
                if found > day {
                    self.waiting.push_front((found, object));
                    return Ok(objects);
                }
                if found == day && objects.len() < MOST_OBJECTS {
                    objects.push(object);
                }
            }
            if !self.has_more {
                return Ok(objects);
            }
            self.list_more().await?;
        }
    }

    fn begin_at(&mut self, day: u32) {
        // What waits is of days that are passed over, or comes again; a folder's name sorts before all keys in it.
        self.waiting.clear();
        self.has_more = true;
        self.request = Some(ListRequest {
            bucket: self.bucket.name.to_string(),
            prefix: self.prefix.clone(),
            start_after: Some(format!("{}{}", self.prefix, Day::from_number(day).folder())),
            ..ListRequest::default()
        });
    }

    async fn list_more(&mut self) -> Result<(), ObjectFailure> {
        let Some(request) = &mut self.request else {
            self.has_more = false;
            return Ok(());
        };
        let page = match self.bucket.page(request).await {
            Err(ObjectFailure::Missing(_)) => ListPage::default(),
            page => page?,
        };
        let (kind, place) = (self.kind, self.place);
        let day_of = |object: ListedObject| {
            let key = TrailKey::parse(&object.key)?;
            let is_ours = key.kind == kind && key.account == place.account && key.region == place.region;
            let day = key.day;
            is_ours.then_some((day, object))
        };
        self.waiting.extend(page.objects.into_iter().filter_map(day_of));
        self.has_more = page.next.is_some();
        request.token = page.next;
        Ok(())
    }
}

/// A key from `AWSLogs/` on, as far as it has one: the same wherever the objects were copied to.
pub(crate) fn from_root(key: &str) -> &str {
    key.rfind("AWSLogs/").map_or(key, |at| &key[at..])
}
