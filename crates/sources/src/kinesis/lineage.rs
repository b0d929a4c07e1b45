//! Which shard may be read, and from where.
//!
//! A shard ends when it is split or merged; its children go on with the same partition keys. A record of a parent is
//! older than every record of its children with the same key, so a shard is read only when all its parents were read to
//! their end. That is decided here from the list of shards alone, whatever happened between two lists: a shard that
//! nobody has a position of is read from its oldest record, as soon as its parents are done. `ChildShards` in answers is
//! not needed.
//!
//! A parent that the list no longer has, and of which there is no position, is past: its records' retention is over.
//!
//! Positions are written down per *life* of a stream (its ARN and the second of its creation), because a stream that was
//! deleted and made again uses the same shard ids. Nothing here does I/O or tells time.

use std::collections::BTreeMap;
use std::sync::Arc;

use dormouse_model::{Checkpoint, EventTime, Lost, ShardPosition};

use super::options::Start;
use super::stream::{ListedShard, Summary};

/// A finished shard is forgotten when so many lists in a row were without it.
const LISTS_WITHOUT: u32 = 2;

/// A stream's shards, and how far each of them is.
#[derive(Debug)]
pub(crate) struct Lineage {
    life: Arc<str>,
    shards: BTreeMap<Arc<str>, Shard>,
}

/// What is to be handed over before anything is read.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// Where every shard starts, so that a crash before its first record does not start elsewhere.
    pub(crate) positions: Vec<Checkpoint>,
    /// What an earlier life of the stream may have held and nobody can read any more.
    pub(crate) lost: Option<Lost>,
    /// Positions in earlier lives of the stream, forgotten. To be handed over last.
    pub(crate) forgotten: Vec<Checkpoint>,
}

/// Numbers of shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    pub(crate) known: usize,
    pub(crate) open: usize,
    pub(crate) reading: usize,
    pub(crate) finished: usize,
}

#[derive(Debug)]
struct Shard {
    parents: Vec<Arc<str>>,
    is_open: bool,
    state: State,
    /// So many lists in a row were without it.
    lists_without: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// For its parents, or for a reader.
    Waiting(ShardPosition),
    Reading,
    /// Its end was handed over.
    Finished,
}

/// Which life of which stream a position belongs to.
pub(crate) fn life_of(summary: &Summary) -> String {
    format!("{}@{}", summary.arn, summary.created.seconds())
}

impl Lineage {
    /// Takes up a stream: what is known of it from `checkpoints`, what `list` shows now, and `start` if nothing is known.
    pub(crate) fn begin(
        summary: &Summary,
        list: &[ListedShard],
        checkpoints: &[Checkpoint],
        start: Start,
        now: EventTime,
    ) -> (Self, Beginning) {
        let life: Arc<str> = life_of(summary).into();
        let mut lineage = Self { life, shards: BTreeMap::new() };
        let mut beginning = Beginning::default();
        for checkpoint in checkpoints.iter().filter(|checkpoint| checkpoint.at != ShardPosition::Forgotten) {
            if *checkpoint.stream == *lineage.life {
                let state = State::of(checkpoint.at.clone());
                lineage.shards.insert(Arc::from(&*checkpoint.shard), Shard::unlisted(state));
            } else if let Some(created) = earlier_life(&checkpoint.stream, summary) {
                beginning.forget(checkpoint, created, summary.created);
            }
        }
        if !lineage.shards.is_empty() {
            // This life was taken up before, and what the earlier one lost was said then.
            beginning.lost = None;
            lineage.update(list);
            return (lineage, beginning);
        }
        let start = if beginning.lost.is_some() { Start::TrimHorizon } else { start };
        for listed in list {
            let position = first_position(start, listed, now);
            beginning.positions.push(lineage.checkpoint(&listed.id, position.clone()));
            lineage.shards.insert(Arc::clone(&listed.id), Shard::listed(listed, State::of(position)));
        }
        // What a crash in the middle of these leaves without a position is read from its oldest record: the open shards
        // last, because that is the least to read too much.
        beginning.positions.sort_by_key(|position| position.at != ShardPosition::End);
        (lineage, beginning)
    }

    /// Which life of the stream this is.
    pub(crate) fn life(&self) -> &str {
        &self.life
    }

    /// Takes a new list in. Returns what is to be forgotten.
    pub(crate) fn update(&mut self, list: &[ListedShard]) -> Vec<Checkpoint> {
        for shard in self.shards.values_mut() {
            shard.lists_without = shard.lists_without.saturating_add(1);
        }
        for listed in list {
            let shard = self
                .shards
                .entry(Arc::clone(&listed.id))
                .or_insert_with(|| Shard::unlisted(State::Waiting(ShardPosition::TrimHorizon)));
            shard.parents.clone_from(&listed.parents);
            shard.is_open = !listed.is_closed;
            shard.lists_without = 0;
        }
        let is_past = |shard: &Shard| shard.state == State::Finished && shard.lists_without >= LISTS_WITHOUT;
        let past: Vec<Arc<str>> =
            self.shards.iter().filter(|(_, shard)| is_past(shard)).map(|(id, _)| Arc::clone(id)).collect();
        past.iter().map(|id| self.forget(id)).collect()
    }

    /// Whether the newest list has this shard.
    pub(crate) fn is_listed(&self, id: &str) -> bool {
        self.shards.get(id).is_some_and(|shard| shard.lists_without == 0)
    }

    /// Whether a shard may have records in children that wait for it.
    pub(crate) fn may_be_past(&self, id: &str) -> bool {
        let is_waiting = |shard: &Shard| matches!(shard.state, State::Waiting(_));
        !self.shards.get(id).is_some_and(|shard| shard.is_open) && self.shards.values().any(is_waiting)
    }

    /// A position in every shard, for the next life to forget.
    pub(crate) fn remains(&self) -> Vec<Checkpoint> {
        self.shards.keys().map(|id| self.checkpoint(id, ShardPosition::End)).collect()
    }

    /// The shards that may be read now and are not yet; they count as being read from here on.
    pub(crate) fn take_readable(&mut self) -> Vec<(Arc<str>, ShardPosition)> {
        let readable: Vec<(Arc<str>, ShardPosition)> = self
            .shards
            .iter()
            .filter_map(|(id, shard)| match &shard.state {
                State::Waiting(position) if !self.waits_for_a_parent(shard) => {
                    Some((Arc::clone(id), position.clone()))
                }
                _ => None,
            })
            .collect();
        for (id, _) in &readable {
            self.enter(id, State::Reading);
        }
        readable
    }

    fn waits_for_a_parent(&self, shard: &Shard) -> bool {
        let is_unfinished = |parent: &Shard| parent.state != State::Finished;
        shard.parents.iter().any(|id| self.shards.get(id).is_some_and(is_unfinished))
    }

    /// A shard's end was handed over.
    pub(crate) fn finish(&mut self, id: &str) {
        self.enter(id, State::Finished);
    }

    /// A shard exists no more, finished or not.
    pub(crate) fn forget(&mut self, id: &str) -> Checkpoint {
        self.shards.remove(id);
        self.checkpoint(id, ShardPosition::Forgotten)
    }

    pub(crate) fn census(&self) -> Census {
        let mut census = Census { known: self.shards.len(), ..Census::default() };
        for shard in self.shards.values() {
            census.open += usize::from(shard.is_open);
            census.reading += usize::from(shard.state == State::Reading);
            census.finished += usize::from(shard.state == State::Finished);
        }
        census
    }

    pub(crate) fn checkpoint(&self, id: &str, at: ShardPosition) -> Checkpoint {
        Checkpoint { stream: (*self.life).into(), shard: id.into(), at }
    }

    fn enter(&mut self, id: &str, state: State) {
        if let Some(shard) = self.shards.get_mut(id) {
            shard.state = state;
        }
    }
}

impl Beginning {
    fn forget(&mut self, checkpoint: &Checkpoint, created: EventTime, created_again: EventTime) {
        self.forgotten.push(Checkpoint { at: ShardPosition::Forgotten, ..checkpoint.clone() });
        let from = self.lost.as_ref().map_or(created, |lost| lost.from.max(created)).min(created_again);
        let reason = "the stream was deleted and made again: what it held then and was not read is gone";
        self.lost = Some(Lost { from, until: created_again, reason: reason.into() });
    }
}

impl Shard {
    fn unlisted(state: State) -> Self {
        Self { parents: Vec::new(), is_open: false, state, lists_without: 0 }
    }

    fn listed(listed: &ListedShard, state: State) -> Self {
        Self { parents: listed.parents.clone(), is_open: !listed.is_closed, state, lists_without: 0 }
    }
}

impl State {
    fn of(position: ShardPosition) -> Self {
        match position {
            ShardPosition::End | ShardPosition::Forgotten => Self::Finished,
            other => Self::Waiting(other),
        }
    }
}

fn first_position(start: Start, listed: &ListedShard, now: EventTime) -> ShardPosition {
    match start {
        Start::Latest if listed.is_closed => ShardPosition::End,
        Start::Latest => ShardPosition::Time(now),
        Start::TrimHorizon => ShardPosition::TrimHorizon,
        // Kinesis refuses times that have not come.
        Start::Timestamp(time) => ShardPosition::Time(time.min(now)),
    }
}

/// When another life of the same stream was created, if that is what a position belongs to.
fn earlier_life(life: &str, summary: &Summary) -> Option<EventTime> {
    let (arn, created) = life.rsplit_once('@')?;
    let created = EventTime::from_seconds(created.parse().ok()?);
    (arn == summary.arn && created != summary.created).then_some(created)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREATED: EventTime = EventTime::from_seconds(1_000);
    const NOW: EventTime = EventTime::from_seconds(5_000);

    fn summary() -> Summary {
        Summary {
            arn: "arn:aws:kinesis:eu-west-1:111122223333:stream/s".to_owned(),
            created: CREATED,
            retention_seconds: 86_400,
            status: "ACTIVE".to_owned(),
            open_shards: 1,
            kms_key: None,
        }
    }

    fn shard(id: &str, parents: &[&str], is_closed: bool) -> ListedShard {
        ListedShard { id: id.into(), parents: parents.iter().map(|&id| id.into()).collect(), is_closed }
    }

    fn at(shard: &str, at: ShardPosition) -> Checkpoint {
        Checkpoint { stream: life_of(&summary()).into(), shard: shard.into(), at }
    }

    fn after(number: &str) -> ShardPosition {
        ShardPosition::After(number.into())
    }

    fn begin(list: &[ListedShard], checkpoints: &[Checkpoint], start: Start) -> (Lineage, Beginning) {
        Lineage::begin(&summary(), list, checkpoints, start, NOW)
    }

    fn readable(lineage: &mut Lineage) -> Vec<(String, ShardPosition)> {
        lineage.take_readable().into_iter().map(|(id, position)| (id.to_string(), position)).collect()
    }

    /// 0 was split into 1 and 2; these were merged into 3, which was split into 4 and 5.
    fn three_generations() -> Vec<ListedShard> {
        vec![
            shard("0", &[], true),
            shard("1", &["0"], true),
            shard("2", &["0"], true),
            shard("3", &["1", "2"], true),
            shard("4", &["3"], false),
            shard("5", &["3"], false),
        ]
    }

    #[test]
    fn latest_writes_down_now_for_open_shards_and_the_end_of_closed_ones() {
        let (mut lineage, beginning) = begin(&three_generations(), &[], Start::Latest);
        let ends = ["0", "1", "2", "3"].map(|id| at(id, ShardPosition::End));
        let opens = ["4", "5"].map(|id| at(id, ShardPosition::Time(NOW)));
        assert_eq!(beginning.positions, [&ends[..], &opens[..]].concat());
        assert_eq!(
            readable(&mut lineage),
            [("4".to_owned(), ShardPosition::Time(NOW)), ("5".to_owned(), ShardPosition::Time(NOW))]
        );
        assert_eq!(lineage.census(), Census { known: 6, open: 2, reading: 2, finished: 4 });
    }

    #[test]
    fn a_time_to_come_is_now() {
        let start = Start::Timestamp(NOW.plus(60));
        let (_, beginning) = begin(&[shard("0", &[], false)], &[], start);
        assert_eq!(beginning.positions, [at("0", ShardPosition::Time(NOW))]);
    }

    #[test]
    fn generations_follow_each_other_whatever_happened_while_nobody_looked() {
        let (mut lineage, beginning) = begin(&three_generations(), &[at("0", after("7"))], Start::Latest);
        assert_eq!(beginning.positions, [], "the start is of no effect where a position is known");
        assert_eq!(readable(&mut lineage), [("0".to_owned(), after("7"))]);
        assert_eq!(readable(&mut lineage), []);
        lineage.finish("0");
        let horizon = |id: &str| (id.to_owned(), ShardPosition::TrimHorizon);
        assert_eq!(readable(&mut lineage), [horizon("1"), horizon("2")]);
        lineage.finish("1");
        assert_eq!(readable(&mut lineage), [], "a merged shard waits for both");
        lineage.finish("2");
        assert_eq!(readable(&mut lineage), [horizon("3")]);
        lineage.finish("3");
        assert_eq!(readable(&mut lineage), [horizon("4"), horizon("5")]);
    }

    #[test]
    fn parents_that_are_past_are_not_waited_for() {
        let list = [shard("3", &["1", "2"], true), shard("4", &["3"], false)];
        let (mut lineage, _) = begin(&list, &[at("0", ShardPosition::End)], Start::Latest);
        assert_eq!(readable(&mut lineage), [("3".to_owned(), ShardPosition::TrimHorizon)]);
    }

    #[test]
    fn an_unfinished_parent_is_waited_for_until_it_is_known_to_be_gone() {
        let list = [shard("1", &["0"], false)];
        let (mut lineage, _) = begin(&list, &[at("0", after("7"))], Start::Latest);
        assert_eq!(readable(&mut lineage), [("0".to_owned(), after("7"))]);
        lineage.update(&list);
        assert!(!lineage.is_listed("0"));
        assert_eq!(lineage.forget("0"), at("0", ShardPosition::Forgotten));
        assert_eq!(readable(&mut lineage), [("1".to_owned(), ShardPosition::TrimHorizon)]);
    }

    #[test]
    fn a_finished_shard_is_forgotten_when_it_is_not_listed_twice() {
        let all = [shard("0", &[], true), shard("1", &["0"], false)];
        let (mut lineage, _) =
            begin(&all, &[at("0", ShardPosition::End), at("1", after("9"))], Start::Latest);
        readable(&mut lineage);
        assert_eq!(lineage.update(&all[1..]), []);
        assert_eq!(lineage.update(&all), []);
        assert_eq!(lineage.update(&all[1..]), []);
        assert_eq!(lineage.update(&all[1..]), [at("0", ShardPosition::Forgotten)]);
        assert_eq!(lineage.update(&[]), [], "an unfinished shard is not forgotten");
        assert_eq!(lineage.update(&[]), []);
        assert_eq!(lineage.census().known, 1);
    }

    #[test]
    fn a_stream_made_anew_is_read_whole_and_what_it_lost_is_said_once() {
        let old = |shard: &str, position| Checkpoint {
            stream: format!("{}@400", summary().arn).into(),
            ..at(shard, position)
        };
        let list = [shard("0", &[], false)];
        let known = [old("0", after("3")), old("9", ShardPosition::End)];
        let (mut lineage, beginning) = begin(&list, &known, Start::Latest);
        assert_eq!(beginning.positions, [at("0", ShardPosition::TrimHorizon)]);
        let lost = beginning.lost.unwrap();
        assert_eq!((lost.from.seconds(), lost.until), (400, CREATED));
        assert_eq!(
            beginning.forgotten,
            [old("0", ShardPosition::Forgotten), old("9", ShardPosition::Forgotten)]
        );
        assert_eq!(readable(&mut lineage), [("0".to_owned(), ShardPosition::TrimHorizon)]);

        let (_, again) = begin(&list, &[old("9", ShardPosition::End), at("0", after("4"))], Start::Latest);
        assert_eq!((again.lost, again.forgotten.len()), (None, 1));
    }

    #[test]
    fn another_streams_positions_are_let_alone() {
        let other = Checkpoint { stream: "arn:aws:kinesis:…/t@400".into(), ..at("0", after("3")) };
        let (_, beginning) = begin(&[shard("0", &[], false)], &[other], Start::Latest);
        assert_eq!(beginning.positions, [at("0", ShardPosition::Time(NOW))]);
        assert_eq!((beginning.lost, beginning.forgotten), (None, vec![]));
    }
}
