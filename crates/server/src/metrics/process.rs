//! Which version runs, since when, and whether all is well.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::definitions::{BUILD_INFO, Definition, READY, START_TIME, number};
use crate::api::health;
use crate::instance::Instance;

/// Asks the instance at each scrape.
pub(crate) struct ProcessMetrics {
    instance: Instance,
    descs: Vec<Desc>,
}

impl ProcessMetrics {
    pub(crate) fn new(instance: Instance) -> Result<Self, prometheus::Error> {
        let definitions = [&BUILD_INFO, &START_TIME, &READY];
        let descs: Result<_, _> = definitions.into_iter().map(Definition::desc).collect();
        // A registry that held itself would never be dropped.
        let instance = Instance { registry: prometheus::Registry::new(), ..instance };
        Ok(Self { instance, descs: descs? })
    }
}

impl Collector for ProcessMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let instance = &self.instance;
        let is_ready = health::reasons(instance).is_empty();
        vec![
            BUILD_INFO.family([(vec![instance.version.to_owned()], 1.0)]),
            START_TIME.single(f64::from(instance.started.seconds())),
            READY.single(number(is_ready.into())),
        ]
    }
}
