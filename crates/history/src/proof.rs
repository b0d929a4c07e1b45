//! What a trail's digest files prove about one day of one place. Pure functions: digests in, spans out.
//!
//! That a folder was read proves nothing, because CloudTrail writes no log file for a quiet hour and somebody may have
//! removed one. A digest lists every log file that was delivered in its hour, with its hash, and names the digest
//! before it with *its* hash. So a run of digests that are joined this way proves that between its beginning and its
//! end no other log file was delivered; and if each listed one was read, no event was missed, up to the delivery
//! allowance before the end: an event from just before it may lie in a log file that only the next digest lists.
//!
//! What it promises: a span is covered only if some trail proves all of it. Where a listed log file is missing, damaged,
//! or another one than was delivered, the times of its events are not covered. A day on which the trail's log files
//! have no read-only record of KMS is not covered at all: a trail that was told to carry writes alone has every digest
//! and no use of any key.
//!
//! Its ceiling: the signatures of digests are not checked. Against loss this proves as much; against somebody who may
//! write to the bucket and forges a whole chain it does not.

use std::collections::{BTreeMap, HashMap, HashSet};

use dormouse_ledger::coverage::with;
use dormouse_ledger::{Gap, Span};
use dormouse_model::{Cell, EventTime};
use foldhash::fast::RandomState;

use crate::said;

/// Within so many seconds of an event its log file is delivered, nearly always: AWS speaks of five minutes on average.
/// What comes later is listed with its times all the same, in the digest of the hour in which it comes.
pub const DELIVERY_ALLOWANCE_SECONDS: u32 = 15 * 60;

/// So many gaps are told of a cell one by one.
const MOST_GAPS: usize = 100;
/// So many spans are kept of a cell, the longest.
const MOST_SPANS: usize = 1_000;

/// What is to be known of a digest file that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenDigest {
    /// The trail that it belongs to.
    pub trail: Box<str>,
    /// Its key, from `AWSLogs/` on.
    pub object: Box<str>,
    /// The SHA-256 of its text.
    pub hash: [u8; 32],
    /// The beginning of the hour whose deliveries it lists.
    pub start: EventTime,
    /// The first second behind it.
    pub end: EventTime,
    /// Key and hash of the digest before it; absent where a trail began to log.
    pub previous: Option<(Box<str>, [u8; 32])>,
    /// The log files that were delivered.
    pub files: Vec<ListedFile>,
}

/// A log file that a digest lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedFile {
    /// Its key, from `AWSLogs/` on.
    pub object: Box<str>,
    /// It lies in the bucket that is read.
    pub is_ours: bool,
    /// The SHA-256 of its text.
    pub hash: [u8; 32],
    /// The times of its first and last event, if the digest says.
    pub events: Option<(EventTime, EventTime)>,
}

/// A digest file that is there and tells nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadDigest {
    /// Its key, from `AWSLogs/` on.
    pub object: Box<str>,
    /// The trail, if its name says.
    pub trail: Option<Box<str>>,
    /// The end of its hour, if its name says.
    pub end: Option<EventTime>,
    /// Why.
    pub reason: Box<str>,
}

/// What became of a log file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadFile {
    /// The SHA-256 of its text, if it was read to its end.
    pub hash: Option<[u8; 32]>,
    /// Why not all of it was understood.
    pub problem: Option<Box<str>>,
    /// The days of which it has read-only records of KMS, logged in this place.
    pub read_only_days: Vec<u32>,
}

/// The log files that were read, or should have been, by their keys from `AWSLogs/` on.
pub type ReadFiles = HashMap<Box<str>, ReadFile, RandomState>;

/// What is proven of a cell, and why not all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proof {
    /// In order, apart from each other, within the day.
    pub covered: Vec<Span>,
    /// In order, within what is not covered; but if there are too many to be told, the last one stretches over the rest of
    /// the day, covered or not.
    pub gaps: Vec<Gap>,
    /// A log file that may have events of the day was delivered, as a digest says, and was not read.
    pub is_lacking: bool,
    /// Every log file that was delivered was read, whatever trails carry: if there was none, nothing was logged.
    pub is_all_delivered: bool,
}

/// What is known of one day of a place: of the folders of the day and of the day after. What else there is does no harm.
#[derive(Clone, Copy, Debug)]
pub struct DayOfPlace<'a> {
    /// The cell.
    pub cell: Cell,
    /// The digests that could be read.
    pub digests: &'a [SeenDigest],
    /// Those that could not.
    pub unread: &'a [UnreadDigest],
    /// The log files.
    pub files: &'a ReadFiles,
    /// Spans in which something happened that was not understood or that may have ended the delivery, and what.
    pub not_understood: &'a [Gap],
}

/// What the digests prove of the cell.
pub fn prove(known: DayOfPlace<'_>) -> Proof {
    let DayOfPlace { cell, digests, unread, files, not_understood } = known;
    let mut trails: BTreeMap<&str, Vec<&SeenDigest>> = BTreeMap::new();
    for digest in digests.iter().filter(|digest| digest.start < digest.end) {
        trails.entry(&digest.trail).or_default().push(digest);
    }
    let day = Span { from: cell.begin(), until: cell.end() };
    let (mut covered, mut delivered) = (Vec::new(), Vec::new());
    let mut gaps = Gaps::default();
    let mut is_lacking = false;
    let names_trails = trails.len() > 1;
    for (name, digests) in &mut trails {
        digests.sort_by(|a, b| (a.start, a.end, &a.object).cmp(&(b.start, b.end, &b.object)));
        let trail = Trail { day, cell, digests, unread, files, spans: Vec::new(), gaps: Vec::new() };
        let proven = trail.prove();
        covered.extend(proven.covered);
        delivered.extend(proven.delivered);
        is_lacking |= proven.is_lacking;
        for gap in proven.gaps {
            let reason =
                if names_trails { format!("trail {name}: {}", gap.reason).into() } else { gap.reason };
            gaps.add(gap.from, gap.until, reason);
        }
    }
    if trails.is_empty() {
        let reason = unread.first().map_or_else(|| "no digest files".into(), unread_reason);
        gaps.add(day.from, day.until, reason);
    }
    tell_unlisted_problems(known, day, &mut gaps);
    let mut instants = Vec::with_capacity(not_understood.len());
    for Gap { from, until, reason } in not_understood {
        let (from, until) = (*from.max(&day.from), *until.min(&day.until));
        if from < until {
            instants.push(Span { from, until });
            gaps.add(from, until, reason.clone());
        }
    }
    let mut covered = minus(joined(covered), &joined(instants));
    if covered.len() > MOST_SPANS {
        covered.sort_by_key(|span| std::cmp::Reverse(span.until.seconds_since(span.from)));
        covered.truncate(MOST_SPANS);
        covered.sort_by_key(|span| span.from);
    }
    let mut gaps = gaps.within(&minus(vec![day], &covered));
    for gap in &mut gaps {
        // They quote names that somebody else chose.
        gap.reason = said(&gap.reason);
    }
    let is_all_delivered = minus(vec![day], &joined(delivered)).is_empty();
    Proof { covered, gaps, is_lacking, is_all_delivered }
}

/// Of a log file that no digest lists nobody can say which events are missing.
fn tell_unlisted_problems(known: DayOfPlace<'_>, day: Span, gaps: &mut Gaps) {
    let mut problems: Vec<_> = known
        .files
        .iter()
        .filter_map(|(object, read)| read.problem.as_ref().map(|problem| (object, problem)))
        .collect();
    if problems.is_empty() {
        return;
    }
    let listed: HashSet<&str, RandomState> =
        known.digests.iter().flat_map(|digest| &digest.files).map(|file| &*file.object).collect();
    problems.retain(|(object, _)| !listed.contains(&***object));
    problems.sort_unstable();
    for (object, problem) in problems.into_iter().take(MOST_GAPS) {
        gaps.add(day.from, day.until, format!("{object}: {problem}").into());
    }
}

fn unread_reason(unread: &UnreadDigest) -> Box<str> {
    format!("the digest {} cannot be used: {}", unread.object, unread.reason).into()
}

/// One trail's digests on one day.
struct Trail<'a> {
    day: Span,
    cell: Cell,
    /// In the order of their beginnings.
    digests: &'a [&'a SeenDigest],
    unread: &'a [UnreadDigest],
    files: &'a ReadFiles,
    spans: Vec<Span>,
    gaps: Vec<Gap>,
}

/// What one trail's digests prove on one day.
struct ProvenByTrail {
    covered: Vec<Span>,
    /// Everything that was delivered of these spans was read.
    delivered: Vec<Span>,
    gaps: Vec<Gap>,
    is_lacking: bool,
}

impl Trail<'_> {
    fn prove(mut self) -> ProvenByTrail {
        self.follow_the_chain();
        let is_lacking = self.take_away_what_was_not_read();
        let delivered = within(&self.spans, self.day);
        if self.has_read_only_records() {
            return ProvenByTrail { covered: delivered.clone(), delivered, gaps: self.gaps, is_lacking };
        }
        let date = date(self.cell);
        let reason = format!("no read-only record of KMS was seen on {date}: the trail may not carry them");
        self.gap(self.day, reason);
        ProvenByTrail { covered: Vec::new(), delivered, gaps: self.gaps, is_lacking }
    }

    fn gap(&mut self, span: Span, reason: impl Into<Box<str>>) {
        let from = span.from.max(self.day.from);
        let until = span.until.min(self.day.until);
        if from < until {
            self.gaps.push(Gap { from, until, reason: reason.into() });
        }
    }

    /// Each digest proves from where its run of joined digests begins.
    fn follow_the_chain(&mut self) {
        let by_object: HashMap<&str, usize, RandomState> =
            self.digests.iter().enumerate().map(|(at, digest)| (&*digest.object, at)).collect();
        let mut begins: Vec<EventTime> = Vec::with_capacity(self.digests.len());
        let mut latest: Option<&SeenDigest> = None;
        for &digest in self.digests {
            // The one before has a smaller start: where its run begins is known.
            let before = digest.previous.as_ref().and_then(|(object, hash)| {
                let at = *by_object.get(&**object)?;
                let before = self.digests[at];
                (before.end == digest.start && before.hash == *hash).then_some(at)
            });
            let begin = before.and_then(|at| begins.get(at).copied());
            if begin.is_none() {
                self.tell_what_is_missing_before(digest, latest);
            }
            let begin = begin.unwrap_or(digest.start);
            begins.push(begin);
            let span = Span { from: begin, until: digest.end.minus(DELIVERY_ALLOWANCE_SECONDS) };
            self.spans = with(std::mem::take(&mut self.spans), span);
            latest = latest.filter(|latest| latest.end >= digest.end).or(Some(digest));
        }
        if let Some(last) = latest {
            let from = last.end.minus(DELIVERY_ALLOWANCE_SECONDS);
            let reason = self
                .unread_between(last.end, EventTime::from_seconds(u32::MAX))
                .unwrap_or_else(|| format!("what was delivered from {} on is in no digest", last.end).into());
            self.gap(Span { from, until: self.day.until }, reason);
        }
    }

    fn tell_what_is_missing_before(&mut self, digest: &SeenDigest, latest: Option<&SeenDigest>) {
        let Some(latest) = latest else {
            let unread = self.unread_between(EventTime::default(), digest.start);
            let reason = match (unread, &digest.previous) {
                (Some(unread), _) => unread,
                (None, None) => format!("the trail's first digest begins at {}", digest.start).into(),
                (None, Some(_)) => format!("the digest before {} is missing", digest.start).into(),
            };
            return self.gap(Span { from: self.day.from, until: digest.start }, reason);
        };
        let span = Span { from: latest.end.minus(DELIVERY_ALLOWANCE_SECONDS), until: digest.start };
        if latest.end > digest.start {
            return self.gap(span, format!("two digests that overlap at {} are not joined", digest.start));
        }
        let reason: Box<str> = match &digest.previous {
            _ if latest.end < digest.start => {
                self.unread_between(latest.end, digest.start).unwrap_or_else(|| {
                    format!("the digest of {} to {} is missing", latest.end, digest.start).into()
                })
            }
            None => format!("logging began anew at {}", digest.start).into(),
            Some((object, _)) if *object == latest.object => {
                format!("the digest {} does not match its successor's hash", latest.object).into()
            }
            Some(_) => format!("the digest {} is not the one that its successor names", latest.object).into(),
        };
        self.gap(span, reason);
    }

    fn unread_between(&self, from: EventTime, until: EventTime) -> Option<Box<str>> {
        let trail = self.digests.first().map(|digest| &digest.trail);
        let is_between = |end: EventTime| end > from && end <= until;
        let is_it = |unread: &&UnreadDigest| {
            unread.end.is_some_and(is_between) && (unread.trail.is_none() || unread.trail.as_ref() == trail)
        };
        self.unread.iter().find(is_it).map(unread_reason)
    }

    /// Whether a log file with events of the day was not read.
    fn take_away_what_was_not_read(&mut self) -> bool {
        let mut holes = Vec::new();
        for &digest in self.digests {
            for file in &digest.files {
                if let Some(reason) = self.why_not_read(file) {
                    let hole = times_of(file, digest);
                    holes.push(hole);
                    self.gap(hole, format!("{}: {reason}", file.object));
                }
            }
        }
        let holes = joined(holes);
        self.spans = minus(std::mem::take(&mut self.spans), &holes);
        !within(&holes, self.day).is_empty()
    }

    fn why_not_read(&self, file: &ListedFile) -> Option<&str> {
        if !file.is_ours {
            return Some("the log file was delivered to another bucket");
        }
        let Some(read) = self.files.get(&file.object) else {
            return Some("the log file is missing");
        };
        if let Some(problem) = &read.problem {
            return Some(problem);
        }
        match read.hash {
            Some(hash) if hash == file.hash => None,
            Some(_) => Some("the log file is not the one that was delivered"),
            None => Some("the log file was not read to its end"),
        }
    }

    fn has_read_only_records(&self) -> bool {
        let has = |file: &ListedFile| {
            self.files.get(&file.object).is_some_and(|read| read.read_only_days.contains(&self.cell.day))
        };
        self.digests.iter().any(|digest| digest.files.iter().any(has))
    }
}

/// When the events of a log file happened, as far as its digest says.
fn times_of(file: &ListedFile, digest: &SeenDigest) -> Span {
    match file.events {
        Some((oldest, newest)) if oldest <= newest => Span { from: oldest, until: newest.plus(1) },
        _ => {
            let until = digest.end.plus(DELIVERY_ALLOWANCE_SECONDS);
            Span { from: digest.start.minus(DELIVERY_ALLOWANCE_SECONDS), until }
        }
    }
}

fn date(cell: Cell) -> String {
    let mut text = cell.begin().to_string();
    text.truncate("2026-11-03".len());
    text
}

/// Spans in any order, as few as say the same, in order and apart from each other.
fn joined(mut spans: Vec<Span>) -> Vec<Span> {
    spans.retain(|span| span.from < span.until);
    spans.sort_unstable_by_key(|span| (span.from, span.until));
    let mut joined: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match joined.last_mut() {
            Some(last) if last.until >= span.from => last.until = last.until.max(span.until),
            _ => joined.push(span),
        }
    }
    joined
}

/// The spans without the holes; both in order and apart from each other. One pass over each.
fn minus(spans: Vec<Span>, holes: &[Span]) -> Vec<Span> {
    let mut rest = Vec::with_capacity(spans.len());
    let mut at = 0;
    for span in spans {
        while holes.get(at).is_some_and(|hole| hole.until <= span.from) {
            at += 1;
        }
        let mut from = span.from;
        // A hole may reach into the next span: it is looked at again.
        for hole in holes[at..].iter().take_while(|hole| hole.from < span.until) {
            if from < hole.from {
                rest.push(Span { from, until: hole.from });
            }
            from = from.max(hole.until);
        }
        if from < span.until {
            rest.push(Span { from, until: span.until });
        }
    }
    rest
}

fn within(spans: &[Span], bounds: Span) -> Vec<Span> {
    let clip = |span: &Span| Span { from: span.from.max(bounds.from), until: span.until.min(bounds.until) };
    spans.iter().map(clip).filter(|span| span.from < span.until).collect()
}

/// Reasons, and where they hold.
#[derive(Default)]
struct Gaps(Vec<Gap>);

impl Gaps {
    fn add(&mut self, from: EventTime, until: EventTime, reason: Box<str>) {
        self.0.push(Gap { from, until, reason });
    }

    /// What is said about these spans, which are in order; something is said about each.
    fn within(mut self, spans: &[Span]) -> Vec<Gap> {
        self.0.sort_by(|a, b| (a.from, a.until, &a.reason).cmp(&(b.from, b.until, &b.reason)));
        self.0.dedup();
        let mut gaps = Vec::new();
        for span in spans {
            let mut told_until = span.from;
            let begin = gaps.len();
            for gap in self.0.iter().take_while(|gap| gap.from < span.until) {
                let (from, until) = (gap.from.max(span.from), gap.until.min(span.until));
                if from >= until {
                    continue;
                }
                gaps.push(Gap { from, until, reason: gap.reason.clone() });
                if gaps.len() > MOST_GAPS {
                    return fewer(gaps, spans);
                }
                told_until = told_until.max(until);
            }
            if gaps.len() == begin || told_until < span.until {
                let from = told_until;
                gaps.push(Gap { from, until: span.until, reason: "no digest proves it".into() });
            }
        }
        if gaps.len() > MOST_GAPS { fewer(gaps, spans) } else { gaps }
    }
}

/// The first gaps, and one for all others.
fn fewer(mut gaps: Vec<Gap>, spans: &[Span]) -> Vec<Gap> {
    gaps.truncate(MOST_GAPS - 1);
    if let (Some(last), Some(end)) = (gaps.last(), spans.last()) {
        let from = last.from;
        gaps.push(Gap { from, until: end.until, reason: "more gaps than are told one by one".into() });
    }
    gaps
}

#[cfg(test)]
mod tests;
