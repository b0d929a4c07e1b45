//! The inventory: keys reconciled a second, memory at 20,000 accounts' Regions, and what a steady week costs.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use dormouse_aws::{AwsOptions, RoleOptions, load_config};
use dormouse_cloudtrail::{Decoder, Limits};
use dormouse_inventory::memory::{MemoryCloud, MemoryKey, TokioClock};
use dormouse_inventory::{
    Accounts, ByAge, Cloud, InventoryOptions, Journal, MemoryJournal, Metrics, OrganizationFilter, Parts,
    PassOutcome, PassReport, Reconciler, Regions, Scope, SdkCloud, UsageOptions,
};
use dormouse_model::{AccountId, Clock, EventTime, KeyArn, OperationTable, Region, WallClock};
use dormouse_pipeline::{Pipeline, PipelineOptions};
use dormouse_simulate::aws::{AwsDouble, AwsDoubleOptions};
use dormouse_simulate::organisation::{Organisation, OrganisationOptions};
use dormouse_store::{SqliteOptions, SqliteStore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::million::resident_bytes;
use crate::paired::{print_bounded, time};

/// The arguments by which this program calls itself.
pub(crate) const ORGANISATION: &str = "--show-organisation";
pub(crate) const MEASURE: &str = "--measure-inventory";

const REGIONS: [&str; 20] = [
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eu-central-1",
    "eu-north-1",
    "eu-south-1",
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "sa-east-1",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "me-south-1",
    "af-south-1",
];

/// 2026-11-01T00:00:00Z.
const NOW: EventTime = EventTime::from_seconds(1_793_491_200);
const DAY: u32 = 86_400;

pub(crate) fn bench() -> anyhow::Result<()> {
    speed()?;
    memory()
}

fn region(name: &str) -> anyhow::Result<Region> {
    Ok(name.parse()?)
}

/// An organisation of so many accounts with so many keys in each of these Regions.
fn founded(accounts: u64, regions: &[&str], keys: u64) -> anyhow::Result<MemoryCloud> {
    let account = |number: u64| AccountId::from_number(111_122_220_000 + number).context("an account");
    let cloud = MemoryCloud::new(account(0)?, region(regions[0])?, Duration::ZERO);
    cloud.keep_no_requests();
    for number in 0..accounts {
        let account = account(number)?;
        cloud.put_account(account, "ACTIVE");
        for name in regions {
            for count in 0..keys {
                let number = (number * 1_000 + count).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let id = format!("{:08x}-0000-4000-8000-{:012x}", number >> 32, number & 0xffff_ffff_ffff);
                let key = KeyArn::from_parts(region(name)?, account, &id)?;
                cloud.put_key(key, MemoryKey::new(NOW.minus(100 * DAY)));
                cloud.put_alias(&format!("alias/key-{count}"), key, NOW.minus(100 * DAY));
            }
        }
    }
    Ok(cloud)
}

fn parts<C: Cloud, J: Journal>(
    cloud: C,
    journal: J,
    clock: Arc<dyn Clock>,
    options: InventoryOptions,
) -> anyhow::Result<Parts<C, J>> {
    let metrics = Arc::new(Metrics::new()?);
    Ok(Parts { cloud, journal, clock, metrics, candidates: Arc::new(ByAge::default()), options })
}

fn of_organisation(regions: &[&str]) -> anyhow::Result<InventoryOptions> {
    Ok(InventoryOptions {
        accounts: Accounts::Organization(OrganizationFilter::default()),
        regions: Regions::List(regions.iter().map(|name| region(name)).collect::<Result<_, _>>()?),
        first_pass_after: Duration::from_secs(86_400),
        heartbeat_every: None,
        usage: None,
        ..InventoryOptions::default()
    })
}

/// A pipeline over a new store, at work.
struct House {
    _folder: tempfile::TempDir,
    pipeline: Option<Pipeline>,
}

impl House {
    fn open() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = Arc::new(SqliteStore::open(SqliteOptions::at(folder.path().join("bench.db")))?);
        let decoder = Arc::new(Decoder::new(OperationTable::default(), Limits::default()));
        let pipeline = Pipeline::open(store, decoder, Arc::new(WallClock), PipelineOptions::default())?;
        Ok(Self { _folder: folder, pipeline: Some(pipeline) })
    }
}

async fn one_pass(reconciler: &Reconciler) -> anyhow::Result<PassReport> {
    let number = reconciler.ask(Scope::default())?;
    Ok(reconciler.ended(number).await?)
}

/// The first pass over an AWS that answers at once and has no quotas, with a durable journal behind it.
fn speed() -> anyhow::Result<()> {
    let regions = &REGIONS[..4];
    let cloud = founded(250, regions, 100)?;
    let mut options = of_organisation(regions)?;
    // Budgets would be all that is measured.
    (options.share_of_quotas, options.places_at_once) = (1.0, 256);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut house = House::open()?;
        let pipeline = house.pipeline.take().context("a pipeline")?;
        let journal = pipeline.inventory();
        let stop = CancellationToken::new();
        let running = tokio::spawn(pipeline.run(stop.clone()));
        let reconciler = Reconciler::start(parts(cloud, journal, Arc::new(WallClock), options)?);
        let began = Instant::now();
        let first = one_pass(&reconciler).await?;
        let took = began.elapsed().as_secs_f64();
        ensure!(first.outcome == Some(PassOutcome::Done), "{first:?}");
        #[expect(clippy::cast_precision_loss, reason = "a hundred thousand")]
        let rate = first.keys.new as f64 / took;
        let sent: u64 = first.requests.values().sum();
        println!(
            "{:<42} {rate:>12.0} keys/s   durable, {sent} requests, {} keys in {took:.1} s",
            "first pass, an AWS without latency", first.keys.new
        );
        let began = Instant::now();
        let second = one_pass(&reconciler).await?;
        let sent: u64 = second.requests.values().sum();
        println!(
            "{:<42} {:>12.2} s        {sent} requests, {} keys",
            "second pass, nothing changed",
            began.elapsed().as_secs_f64(),
            second.keys.listed
        );
        reconciler.stop().await;
        stop.cancel();
        running.await??;
        anyhow::Ok(())
    })
}

/// Ends the child with its parent's interest in it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Passes through 1,000 accounts × 20 Regions through the SDK, in a process of their own.
fn memory() -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let child = Command::new(&program)
        .arg(ORGANISATION)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("the organisation's process")?;
    let mut served = Served(child);
    let mut endpoint = String::new();
    let stdout = served.0.stdout.take().context("its output")?;
    BufReader::new(stdout).read_line(&mut endpoint)?;
    // As `dormouse run` has it: what is freed is given back at once.
    let output =
        Command::new(&program).env("MIMALLOC_PURGE_DELAY", "0").arg(MEASURE).arg(endpoint.trim()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures: Vec<f64> = text.split_whitespace().filter_map(|figure| figure.parse().ok()).collect();
    let [extra, idle, seconds, places] = figures[..] else {
        anyhow::bail!("the child failed: {}", String::from_utf8_lossy(&output.stderr));
    };
    print_bounded("memory over idle at 1,000 accounts × 20", extra, "MiB", 200.0);
    println!(
        "{:<42} {idle:>12.1} MiB idle; two passes, last uses and heartbeats over {places} places in {seconds:.0} s",
        ""
    );
    Ok(())
}

/// Shows a large organisation until standard input ends.
pub(crate) fn show_organisation() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let regions: Vec<Region> = REGIONS.iter().map(|name| region(name)).collect::<Result<_, _>>()?;
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let options = OrganisationOptions {
            recorded: Some(Vec::new()),
            ..OrganisationOptions::still(clock, 1_000, &regions, 20_000)
        };
        let doubles = AwsDoubleOptions { unlimited: true, ..AwsDoubleOptions::default() };
        let double = AwsDouble::start(Organisation::new(options), doubles).await?;
        println!("{}", double.endpoint());
        std::io::stdout().flush()?;
        let mut rest = String::new();
        tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut rest)).await??;
        anyhow::Ok(())
    })
}

/// Prints MiB over idle, MiB idle, seconds and places.
pub(crate) fn measure(endpoint: &str) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut house = House::open()?;
        let pipeline = house.pipeline.take().context("a pipeline")?;
        let journal = pipeline.inventory();
        let stop = CancellationToken::new();
        let running = tokio::spawn(pipeline.run(stop.clone()));
        let aws = AwsOptions {
            region: Some("eu-west-1".to_owned()),
            endpoint_url: Some(endpoint.to_owned()),
            is_double: true,
            ..AwsOptions::default()
        };
        let sdk = load_config(&aws).await?;
        let mut options = of_organisation(&REGIONS)?;
        (options.share_of_quotas, options.places_at_once) = (1.0, 64);
        (options.heartbeat_every, options.usage) =
            (Some(Duration::from_secs(60)), Some(UsageOptions::default()));
        let metrics = Arc::new(Metrics::new()?);
        let counter = Arc::<Metrics>::clone(&metrics);
        let cloud = SdkCloud::new(&sdk, RoleOptions::default(), counter)?;
        let idle = resident_bytes()?;
        let began = Instant::now();
        let clock: Arc<dyn Clock> = Arc::new(WallClock);
        let candidates = Arc::new(ByAge::default());
        let reconciler = Reconciler::start(Parts { cloud, journal, clock, metrics, candidates, options });
        let mut most = idle;
        let mut places = 0;
        for _ in 0..2 {
            let number = reconciler.ask(Scope::default())?;
            let ended = reconciler.ended(number);
            tokio::pin!(ended);
            let report = loop {
                tokio::select! {
                    report = &mut ended => break report?,
                    () = tokio::time::sleep(Duration::from_millis(100)) => most = most.max(resident_bytes()?),
                }
            };
            places = report.places.done;
            ensure!(report.outcome == Some(PassOutcome::Done), "{report:?}");
        }
        most = most.max(resident_bytes()?);
        #[expect(clippy::cast_precision_loss, reason = "megabytes")]
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let seconds = began.elapsed().as_secs_f64();
        println!("{} {} {seconds} {places}", mib(most - idle), mib(idle));
        reconciler.stop().await;
        stop.cancel();
        running.await??;
        anyhow::Ok(())
    })
}

/// The second week of 1,000 accounts with 100,000 keys in four Regions, on the defaults, in injected time.
pub(crate) fn week() -> anyhow::Result<()> {
    let regions = &REGIONS[..4];
    let cloud = founded(1_000, regions, 25)?;
    let options = InventoryOptions {
        seed: Some(1),
        accounts: Accounts::Organization(OrganizationFilter::default()),
        regions: Regions::List(regions.iter().map(|name| region(name)).collect::<Result<_, _>>()?),
        ..InventoryOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let (took, counts) = time(|| {
        runtime.block_on(async {
            let clock: Arc<dyn Clock> = Arc::new(TokioClock::at(NOW));
            let reconciler =
                Reconciler::start(parts(cloud.clone(), MemoryJournal::default(), clock, options)?);
            let week = Duration::from_secs(7 * 86_400);
            tokio::time::sleep(week).await;
            let before = cloud.counts();
            tokio::time::sleep(week).await;
            let after = cloud.counts();
            reconciler.stop().await;
            anyhow::Ok(difference(&after, &before))
        })
    });
    tell_costs(&counts?, took.as_secs_f64());
    Ok(())
}

fn difference<'a>(after: &BTreeMap<&'a str, u64>, before: &BTreeMap<&'a str, u64>) -> BTreeMap<&'a str, u64> {
    after.iter().map(|(action, count)| (*action, count - before.get(action).unwrap_or(&0))).collect()
}

/// Prices: KMS $0.03 per 10,000 requests, EventBridge $1 per million events forwarded to another account, and $2 per
/// 100,000 for who keeps a second copy of management events in a trail.
#[expect(clippy::cast_precision_loss, reason = "millions")]
fn tell_costs(counts: &BTreeMap<&str, u64>, took: f64) {
    println!(
        "a steady organisation of 1,000 accounts × 4 Regions with 100,000 keys (a week simulated in {took:.0} s):"
    );
    let (mut kms, mut lists) = (0.0, 0.0);
    for (action, &count) in counts.iter().filter(|(_, count)| **count > 0) {
        let a_day = count as f64 / 7.0;
        if action.starts_with("kms:") {
            kms += a_day;
        }
        if *action == "kms:ListKeys" {
            lists += a_day;
        }
        println!("    {action:<38} {a_day:>12.0} requests a day");
    }
    let dollars = |a_day: f64| a_day * 30.0;
    println!("    KMS: {kms:.0} requests a day, ${:.2} a month", dollars(kms * 0.03 / 10_000.0));
    println!("    EventBridge, for the heartbeats: ${:.2} a month", dollars(lists / 1_000_000.0));
    println!("    in a second copy of management events: ${:.2} a month", dollars(kms * 2.0 / 100_000.0));
}
