//! Reads history for whoever asks: the API of an instance, or `dormouse backfill` with a store of its own.

use std::num::NonZeroU64;
use std::path::Path;
use std::sync::Arc;

use dormouse_aws::{AwsOptions, ConfigError};
use dormouse_cloudtrail::Decoder;
use dormouse_history::{BackfillRequest, JobHandle, Jobs, StartError};
use dormouse_model::Clock;
use dormouse_pipeline::HistoryIntake;
use dormouse_server::{NotStarted, Pace, ReadHistory};
use dormouse_sources::objects::{Bandwidth, BoxFuture, FolderObjects, ObjectName, ObjectStore, S3Objects};

use crate::config::HistoryConfig;

/// Where a bucket is looked for first if nothing names a Region; S3 says there where it is.
const FIRST_REGION: &str = "us-east-1";

/// Reads history into one pipeline, by the configuration's rules.
pub(crate) struct Historian {
    jobs: Jobs,
    config: HistoryConfig,
    aws: AwsOptions,
    intake: HistoryIntake,
    decoder: Arc<Decoder>,
    clock: Arc<dyn Clock>,
}

impl Historian {
    /// What is read goes into `intake`. `aws` says how AWS is reached where the configuration does not.
    pub(crate) fn new(
        config: &HistoryConfig,
        aws: &AwsOptions,
        intake: HistoryIntake,
        decoder: Arc<Decoder>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let aws = AwsOptions {
            region: config.region.clone().or_else(|| aws.region.clone()),
            endpoint_url: config.endpoint_url.clone().or_else(|| aws.endpoint_url.clone()),
            ..aws.clone()
        };
        Self { jobs: Jobs::default(), config: config.clone(), aws, intake, decoder, clock }
    }

    /// Cancels the job that is running, if there is one, and waits until it has ended.
    pub(crate) async fn stop(&self) {
        if let Some(job) = self.jobs.running() {
            job.cancel();
            job.wait().await;
        }
    }

    async fn start(&self, request: BackfillRequest) -> Result<JobHandle, NotStarted> {
        request.check(self.clock.now_seconds()).map_err(refused)?;
        let store = match (&request.bucket, &request.local) {
            (Some(bucket), _) => self.bucket(bucket, &request).await?,
            (None, Some(folder)) => folder_store(folder)?,
            // Refused by the check.
            (None, None) => return Err(refused("name either a bucket or a folder to read from")),
        };
        let (intake, decoder) = (self.intake.clone(), Arc::clone(&self.decoder));
        let started = self.jobs.start(request, store, intake, decoder, &*self.clock);
        started.map_err(|error| match error {
            StartError::Busy(id) => NotStarted::Busy(id),
            StartError::Request(error) => refused(error),
        })
    }

    async fn bucket(
        &self,
        bucket: &str,
        request: &BackfillRequest,
    ) -> Result<Arc<dyn ObjectStore>, NotStarted> {
        let allowed = self.config.allowed().map_err(refused)?;
        let root = ObjectName::new(bucket, request.root());
        if !self.config.buckets.is_empty() && !allowed.allows(&root) {
            return Err(refused(format!("{root} is not among [history] buckets: {allowed}")));
        }
        let sdk = match dormouse_aws::load_config(&self.aws).await {
            Err(ConfigError::NoRegion) => {
                let somewhere = AwsOptions { region: Some(FIRST_REGION.to_owned()), ..self.aws.clone() };
                dormouse_aws::load_config(&somewhere).await
            }
            loaded => loaded,
        };
        let objects = S3Objects::new(&sdk.map_err(refused)?);
        Ok(match request.bandwidth.and_then(NonZeroU64::new) {
            Some(bound) => Arc::new(objects.with_bandwidth(Arc::new(Bandwidth::new(bound)))),
            None => Arc::new(objects),
        })
    }
}

fn refused(reason: impl ToString) -> NotStarted {
    NotStarted::Refused(reason.to_string())
}

fn folder_store(folder: &Path) -> Result<Arc<dyn ObjectStore>, NotStarted> {
    // What a relative path means is different for whoever asks and whoever reads.
    if !folder.is_absolute() {
        return Err(refused(format!("local: {:?} must begin at the root", folder.display().to_string())));
    }
    let objects = FolderObjects::new(folder);
    let objects =
        objects.map_err(|error| refused(format!("local: {:?}: {error}", folder.display().to_string())))?;
    Ok(Arc::new(objects))
}

impl ReadHistory for Historian {
    fn pace(&self) -> Pace {
        Pace { concurrency: self.config.concurrency, bandwidth: self.config.bandwidth }
    }

    fn start(&self, request: BackfillRequest) -> BoxFuture<'_, Result<JobHandle, NotStarted>> {
        Box::pin(Self::start(self, request))
    }

    fn jobs(&self) -> &Jobs {
        &self.jobs
    }
}
