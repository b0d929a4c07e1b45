//! What the sources have done, from their own counters.

use std::sync::Arc;

use dormouse_aws::ErrorClass;
use dormouse_sources::Count;
use dormouse_sources::objects::ObjectStats;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::definitions::{
    Definition, OBJECT_BAD_RECORDS, OBJECT_BYTES, OBJECT_ERRORS, OBJECTS, OBJECTS_IN_PROGRESS, OBJECTS_LEFT,
    Row, SOURCE_ACKNOWLEDGED, SOURCE_BEHIND, SOURCE_DELETE_LOST, SOURCE_DELETE_RETRIES, SOURCE_DELETED,
    SOURCE_EMPTY_READS, SOURCE_EMPTY_RECEIVES, SOURCE_EXPIRED_ITERATORS, SOURCE_EXTENDED, SOURCE_IN_FLIGHT,
    SOURCE_IN_FLIGHT_BATCHES, SOURCE_LAPSED, SOURCE_LEFT, SOURCE_POLLERS, SOURCE_READS,
    SOURCE_RECEIVE_ERRORS, SOURCE_RECEIVED, SOURCE_RECEIVED_BYTES, SOURCE_REDELIVERED, SOURCE_RELEASED,
    SOURCE_SHARDS, SOURCE_SUBMITTED, SOURCE_THROTTLED, SOURCE_UNDELETED, SOURCE_UP, number,
};
use crate::instance::{SourceState, SourceStates, SourceStats};

/// Which metric is which of a source's numbers; `None` where sources of its type have no such number.
type Field = (&'static Definition, fn(&SourceStats) -> Option<&Count>);

const FIELDS: [Field; 21] = [
    (&SOURCE_RECEIVED, |stats| {
        Some(match stats {
            SourceStats::Sqs(stats) => &stats.received,
            SourceStats::Kinesis(stats) => &stats.received,
        })
    }),
    (&SOURCE_LEFT, |stats| {
        Some(match stats {
            SourceStats::Sqs(stats) => &stats.left,
            SourceStats::Kinesis(stats) => &stats.left,
        })
    }),
    (&SOURCE_SUBMITTED, |stats| stats.queue().map(|queue| &queue.submitted)),
    (&SOURCE_REDELIVERED, |stats| stats.queue().map(|queue| &queue.redelivered)),
    (&SOURCE_DELETED, |stats| stats.queue().map(|queue| &queue.deleted)),
    (&SOURCE_DELETE_RETRIES, |stats| stats.queue().map(|queue| &queue.delete_retries)),
    (&SOURCE_DELETE_LOST, |stats| stats.queue().map(|queue| &queue.delete_lost)),
    (&SOURCE_EXTENDED, |stats| stats.queue().map(|queue| &queue.extended)),
    (&SOURCE_LAPSED, |stats| stats.queue().map(|queue| &queue.lapsed)),
    (&SOURCE_RELEASED, |stats| stats.queue().map(|queue| &queue.released)),
    (&SOURCE_EMPTY_RECEIVES, |stats| stats.queue().map(|queue| &queue.empty_receives)),
    (&SOURCE_POLLERS, |stats| stats.queue().map(|queue| &queue.pollers)),
    (&SOURCE_IN_FLIGHT, |stats| stats.queue().map(|queue| &queue.in_flight)),
    (&SOURCE_UNDELETED, |stats| stats.queue().map(|queue| &queue.undeleted)),
    (&SOURCE_RECEIVED_BYTES, |stats| stats.stream().map(|stream| &stream.received_bytes)),
    (&SOURCE_ACKNOWLEDGED, |stats| stats.stream().map(|stream| &stream.acknowledged)),
    (&SOURCE_READS, |stats| stats.stream().map(|stream| &stream.reads)),
    (&SOURCE_EMPTY_READS, |stats| stats.stream().map(|stream| &stream.empty_reads)),
    (&SOURCE_THROTTLED, |stats| stats.stream().map(|stream| &stream.throttled)),
    (&SOURCE_EXPIRED_ITERATORS, |stats| stats.stream().map(|stream| &stream.expired_iterators)),
    (&SOURCE_IN_FLIGHT_BATCHES, |stats| stats.stream().map(|stream| &stream.in_flight)),
];

/// Reads the sources' counters at each scrape.
pub(crate) struct SourceMetrics {
    sources: Arc<SourceStates>,
    descs: Vec<Desc>,
}

impl SourceMetrics {
    pub(crate) fn new(sources: Arc<SourceStates>) -> Result<Self, prometheus::Error> {
        let fields = FIELDS.iter().map(|(definition, _)| *definition);
        let definitions = fields.chain([&SOURCE_UP, &SOURCE_RECEIVE_ERRORS, &SOURCE_BEHIND, &SOURCE_SHARDS]);
        let definitions = definitions.chain(OF_OBJECTS.iter().map(|(definition, _)| *definition));
        let descs: Result<_, _> = definitions.map(Definition::desc).collect();
        Ok(Self { sources, descs: descs? })
    }
}

impl Collector for SourceMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let sources = self.sources.all();
        let mut families = Vec::new();
        for (definition, field) in FIELDS {
            let row = |source: &SourceState| {
                let count = field(&source.stats)?;
                Some((vec![source.name.clone()], number(count.get())))
            };
            families.push(definition.family(sources.iter().filter_map(row)));
        }
        let up = sources.iter().map(|source| {
            let is_well = source.failure.is_none() && source.health.borrow().is_well();
            (vec![source.name.clone()], number(is_well.into()))
        });
        families.push(SOURCE_UP.family(up));
        families.push(SOURCE_RECEIVE_ERRORS.family(sources.iter().flat_map(errors)));
        families.push(SOURCE_BEHIND.family(sources.iter().filter_map(behind)));
        families.push(SOURCE_SHARDS.family(sources.iter().flat_map(shards)));
        for (definition, rows) in OF_OBJECTS {
            let rows = sources.iter().filter_map(|source| {
                let rows = rows(source.objects.as_deref()?);
                Some(rows.into_iter().map(|(label, count)| {
                    let name = source.name.clone();
                    let labels = std::iter::once(name).chain(label.map(str::to_owned)).collect();
                    (labels, number(count.get()))
                }))
            });
            families.push(definition.family(rows.flatten()));
        }
        families
    }
}

/// The numbers of announced objects, each with its second label, if it has one.
type ObjectRows = fn(&ObjectStats) -> Vec<(Option<&'static str>, &Count)>;

const OF_OBJECTS: [(&Definition, ObjectRows); 6] = [
    (&OBJECTS, |stats| {
        vec![
            (Some("fetched"), &stats.fetched),
            (Some("control"), &stats.control),
            (Some("refused"), &stats.refused),
            (Some("missing"), &stats.missing),
            (Some("damaged"), &stats.damaged),
        ]
    }),
    (&OBJECT_BYTES, |stats| {
        vec![(Some("packed"), &stats.packed_bytes), (Some("unpacked"), &stats.unpacked_bytes)]
    }),
    (&OBJECT_ERRORS, |stats| {
        let row = |class: ErrorClass| (Some(class.name()), &stats.errors[class.number()]);
        ErrorClass::ALL.map(row).into()
    }),
    (&OBJECT_BAD_RECORDS, |stats| vec![(None, &stats.bad_records)]),
    (&OBJECTS_LEFT, |stats| vec![(None, &stats.left)]),
    (&OBJECTS_IN_PROGRESS, |stats| vec![(None, &stats.in_progress)]),
];

fn errors(source: &SourceState) -> Vec<Row> {
    let errors = match &source.stats {
        SourceStats::Sqs(stats) => &stats.receive_errors,
        SourceStats::Kinesis(stats) => &stats.errors,
    };
    let row = |class: ErrorClass| {
        let count = errors[class.number()].get();
        (vec![source.name.clone(), class.name().to_owned()], number(count))
    };
    ErrorClass::ALL.map(row).into()
}

fn behind(source: &SourceState) -> Option<Row> {
    let millis = source.stats.stream()?.behind_millis.get();
    Some((vec![source.name.clone()], number(millis) / 1_000.0))
}

fn shards(source: &SourceState) -> Vec<Row> {
    let Some(stream) = source.stats.stream() else { return Vec::new() };
    let states = [
        ("open", &stream.shards_open),
        ("reading", &stream.shards_reading),
        ("finished", &stream.shards_finished),
    ];
    let row =
        |(state, count): (&str, &Count)| (vec![source.name.clone(), state.to_owned()], number(count.get()));
    states.map(row).into()
}
