//! Answers that are cut into pages.
//!
//! A page is cut from the rows of the first answer, so that every key of it appears exactly once over the pages, however
//! much is written meanwhile. That means keeping the rows: four bytes a key, for a bounded number of answers, within a
//! bound of bytes, for a while after their last use. What has to go first are answers of which no second page was ever
//! asked for; a program that asks for first pages all day does not push out one that reads to the end.
//!
//! A cursor names the listing by a random number and the place in it, so it tells nothing and cannot be guessed. It is
//! not signed: whoever may ask for a cursor may ask any question anyway.

use std::collections::HashMap;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dormouse_ledger::query::{KeyQuery, Selection};
use tokio::time::Instant;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::problem::{Code, Problem};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Bytes of rows; a single listing may be larger, and is then the only one.
    pub(crate) bytes: usize,
    pub(crate) listings: usize,
    /// Since the last use.
    pub(crate) age: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { bytes: 128 << 20, listings: 256, age: Duration::from_secs(600) }
    }
}

/// Kept answers.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    bounds: Bounds,
    kept: Mutex<HashMap<u128, Listing>>,
}

#[derive(Debug)]
struct Listing {
    selection: Selection,
    question: u64,
    last_used: Instant,
    /// A second page was asked for.
    is_continued: bool,
}

/// A place in a listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    listing: u128,
    question: u64,
    place: u32,
}

impl Listings {
    #[cfg(test)]
    fn with(bounds: Bounds) -> Self {
        Self { bounds, kept: Mutex::default() }
    }

    /// Keeps an answer and returns the cursor to its place `place`.
    pub(crate) fn keep(
        &self,
        query: &KeyQuery,
        selection: Selection,
        place: usize,
    ) -> Result<Cursor, Problem> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| Problem::internal(&error))?;
        let cursor = Cursor {
            listing: u128::from_le_bytes(id),
            question: digest(query),
            // Rows are numbered by 32 bits, so places are, too.
            place: u32::try_from(place).unwrap_or(u32::MAX),
        };
        let listing =
            Listing { selection, question: cursor.question, last_used: Instant::now(), is_continued: false };
        let mut kept = self.lock();
        self.make_room(&mut kept, listing.selection.bytes());
        kept.insert(cursor.listing, listing);
        Ok(cursor)
    }

    /// The answer that a cursor names, and the place in it.
    pub(crate) fn find(&self, cursor: Cursor) -> Result<(Selection, usize), Problem> {
        let mut kept = self.lock();
        self.drop_old(&mut kept);
        let Some(listing) = kept.get_mut(&cursor.listing) else {
            return Err(Problem::new(
                Code::ListingGone,
                "the listing was not read on for too long, or others took its room; start again without a cursor",
            ));
        };
        let place = usize::try_from(cursor.place).unwrap_or(usize::MAX);
        if listing.question != cursor.question || place > listing.selection.len() {
            return Err(Cursor::bad());
        }
        listing.last_used = Instant::now();
        listing.is_continued = true;
        Ok((listing.selection.clone(), place))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Listing>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_old(&self, kept: &mut HashMap<u128, Listing>) {
        let now = Instant::now();
        kept.retain(|_, listing| now.duration_since(listing.last_used) <= self.bounds.age);
    }

    /// Drops what is too old, and then as much as it takes: what was never continued first, the longest unused first.
    fn make_room(&self, kept: &mut HashMap<u128, Listing>, bytes: usize) {
        self.drop_old(kept);
        let mut held: usize = kept.values().map(|listing| listing.selection.bytes()).sum();
        while !kept.is_empty()
            && (kept.len() >= self.bounds.listings || held.saturating_add(bytes) > self.bounds.bytes)
        {
            let first = kept.iter().min_by_key(|(_, listing)| (listing.is_continued, listing.last_used));
            let Some(id) = first.map(|(&id, _)| id) else {
                return;
            };
            if let Some(listing) = kept.remove(&id) {
                held = held.saturating_sub(listing.selection.bytes());
            }
        }
    }
}

/// The same question gives the same number, in this process.
fn digest(query: &KeyQuery) -> u64 {
    let mut hasher = Xxh3::new();
    query.hash(&mut hasher);
    hasher.finish()
}

/// Bytes of a cursor before its checksum.
const BARE: usize = 28;

impl Cursor {
    fn bad() -> Problem {
        Problem::new(Code::BadCursor, "use `next` of the page before, with the same question or with none")
    }

    /// The cursor to another place in the same listing.
    pub(crate) fn at(self, place: usize) -> Self {
        Self { place: u32::try_from(place).unwrap_or(u32::MAX), ..self }
    }

    /// Whether it belongs to an answer to this question.
    pub(crate) fn is_of(self, query: &KeyQuery) -> bool {
        self.question == digest(query)
    }

    /// The text that a caller hands back.
    pub(crate) fn text(self) -> String {
        let mut text = String::with_capacity((BARE + 4) * 2);
        let bare = self.bytes();
        for byte in bare.iter().chain(&checksum(&bare)) {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// The cursor in a text. The checksum tells a mistyped one from one whose listing is gone.
    pub(crate) fn parse(text: &str) -> Result<Self, Problem> {
        let bytes = from_hex(text).ok_or_else(Self::bad)?;
        let (bare, check) = bytes.split_at_checked(BARE).ok_or_else(Self::bad)?;
        if check != checksum(bare) {
            return Err(Self::bad());
        }
        let (listing, rest) = bare.split_first_chunk().ok_or_else(Self::bad)?;
        let (question, place) = rest.split_first_chunk().ok_or_else(Self::bad)?;
        Ok(Self {
            listing: u128::from_le_bytes(*listing),
            question: u64::from_le_bytes(*question),
            place: u32::from_le_bytes(place.try_into().map_err(|_| Self::bad())?),
        })
    }

    fn bytes(self) -> [u8; BARE] {
        let mut bytes = [0; BARE];
        bytes[..16].copy_from_slice(&self.listing.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.question.to_le_bytes());
        bytes[24..].copy_from_slice(&self.place.to_le_bytes());
        bytes
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    let [a, b, c, d, ..] = xxh3_64(bytes).to_le_bytes();
    [a, b, c, d]
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if text.len() != (BARE + 4) * 2 || !text.is_ascii() {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use dormouse_ledger::query::select;
    use std::sync::Arc;

    use dormouse_ledger::{Judge, Ledger, Rank, Rules};
    use dormouse_model::EventTime;
    use proptest::prelude::*;

    use super::*;

    fn selection() -> Selection {
        let rules = Arc::new(Rules::idle_after(1));
        let judge = Judge::without_witnesses(EventTime::from_seconds(1), rules);
        select(&Ledger::<Rank>::new(dormouse_ledger::Bounds::default()), &KeyQuery::default(), &judge)
    }

    fn keep(listings: &Listings) -> Cursor {
        listings.keep(&KeyQuery::default(), selection(), 0).unwrap()
    }

    fn code(outcome: Result<(Selection, usize), Problem>) -> Option<Code> {
        outcome.err().map(|problem| problem.code)
    }

    proptest! {
        #[test]
        fn a_cursor_survives_its_text(listing: u128, question: u64, place: u32, at in 0usize..64, digit in 0u8..16) {
            let cursor = Cursor { listing, question, place };
            let text = cursor.text();
            prop_assert_eq!(Cursor::parse(&text).unwrap(), cursor);
            let mut broken = text.clone().into_bytes();
            broken[at] = b"0123456789abcdef"[usize::from(digit)];
            let broken = String::from_utf8(broken).unwrap();
            prop_assert_eq!(Cursor::parse(&broken).is_ok(), broken == text);
        }

        #[test]
        fn any_other_text_is_no_cursor(text in ".{0,80}") {
            prop_assert!(Cursor::parse(&text).is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_listing_is_kept_for_a_while_after_its_last_use() {
        let listings = Listings::default();
        let cursor = keep(&listings);
        for _ in 0..3 {
            tokio::time::advance(Duration::from_secs(599)).await;
            assert_eq!(code(listings.find(cursor)), None);
        }
        tokio::time::advance(Duration::from_secs(601)).await;
        assert_eq!(code(listings.find(cursor)), Some(Code::ListingGone));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_never_continued_goes_first() {
        let listings = Listings::with(Bounds { listings: 3, ..Bounds::default() });
        let read = keep(&listings);
        assert_eq!(code(listings.find(read)), None);
        let mut others = Vec::new();
        for _ in 0..5 {
            tokio::time::advance(Duration::from_secs(1)).await;
            others.push(keep(&listings));
        }
        assert_eq!(code(listings.find(read)), None);
        assert_eq!(code(listings.find(others[2])), Some(Code::ListingGone));
        assert_eq!(code(listings.find(others[4])), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_outside_the_listing_is_forged() {
        let listings = Listings::default();
        let cursor = keep(&listings);
        assert_eq!(code(listings.find(cursor.at(1))), Some(Code::BadCursor));
        let foreign = Cursor { question: cursor.question ^ 1, ..cursor };
        assert_eq!(code(listings.find(foreign)), Some(Code::BadCursor));
    }
}
