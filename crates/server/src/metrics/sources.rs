//! What the sources have done, from their own counters.

use std::sync::Arc;

use dormouse_aws::ErrorClass;
use dormouse_sources::Count;
use dormouse_sources::sqs::SqsStats;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::definitions::{
    Definition, SOURCE_DELETE_LOST, SOURCE_DELETE_RETRIES, SOURCE_DELETED, SOURCE_EMPTY_RECEIVES,
    SOURCE_EXTENDED, SOURCE_IN_FLIGHT, SOURCE_LAPSED, SOURCE_LEFT, SOURCE_POLLERS, SOURCE_RECEIVE_ERRORS,
    SOURCE_RECEIVED, SOURCE_REDELIVERED, SOURCE_RELEASED, SOURCE_SUBMITTED, SOURCE_UNDELETED, SOURCE_UP,
    number,
};
use crate::instance::SourceStates;

/// Which metric is which of a source's numbers.
type Field = (&'static Definition, fn(&SqsStats) -> &Count);

const FIELDS: [Field; 14] = [
    (&SOURCE_RECEIVED, |stats| &stats.received),
    (&SOURCE_SUBMITTED, |stats| &stats.submitted),
    (&SOURCE_REDELIVERED, |stats| &stats.redelivered),
    (&SOURCE_DELETED, |stats| &stats.deleted),
    (&SOURCE_DELETE_RETRIES, |stats| &stats.delete_retries),
    (&SOURCE_DELETE_LOST, |stats| &stats.delete_lost),
    (&SOURCE_LEFT, |stats| &stats.left),
    (&SOURCE_EXTENDED, |stats| &stats.extended),
    (&SOURCE_LAPSED, |stats| &stats.lapsed),
    (&SOURCE_RELEASED, |stats| &stats.released),
    (&SOURCE_EMPTY_RECEIVES, |stats| &stats.empty_receives),
    (&SOURCE_POLLERS, |stats| &stats.pollers),
    (&SOURCE_IN_FLIGHT, |stats| &stats.in_flight),
    (&SOURCE_UNDELETED, |stats| &stats.undeleted),
];

/// Reads the sources' counters at each scrape.
pub(crate) struct SourceMetrics {
    sources: Arc<SourceStates>,
    descs: Vec<Desc>,
}

impl SourceMetrics {
    pub(crate) fn new(sources: Arc<SourceStates>) -> Result<Self, prometheus::Error> {
        let fields = FIELDS.iter().map(|(definition, _)| *definition);
        let definitions = fields.chain([&SOURCE_UP, &SOURCE_RECEIVE_ERRORS]);
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
            let rows = sources.iter().map(|source| {
                let value = field(&source.stats).get();
                (vec![source.name.clone()], number(value))
            });
            families.push(definition.family(rows));
        }
        let up = sources.iter().map(|source| {
            let is_well = source.health.borrow().is_well();
            (vec![source.name.clone()], number(is_well.into()))
        });
        families.push(SOURCE_UP.family(up));
        let mut errors = Vec::new();
        for source in &sources {
            for class in ErrorClass::ALL {
                let count = source.stats.receive_errors[class.number()].get();
                errors.push((vec![source.name.clone(), class.name().to_owned()], number(count)));
            }
        }
        families.push(SOURCE_RECEIVE_ERRORS.family(errors));
        families
    }
}
