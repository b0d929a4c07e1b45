//! Prometheus itself: what we expose is right when it says so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;

use serde_json::{Value, json};

use crate::http;
use crate::program::finish;
use crate::wait::eventually;
use crate::witness::{Server, command};

/// Something to be scraped, every second.
#[derive(Clone, Debug)]
pub struct Target {
    /// The `job` label of its series.
    pub job: String,
    /// Where it listens, `127.0.0.1:PORT`.
    pub address: String,
    /// Where its metrics are.
    pub path: String,
    /// The token that it wants to see, if it wants one.
    pub bearer: Option<String>,
    /// Parameters of the request.
    pub parameters: Vec<(String, String)>,
}

impl Target {
    /// A target at `/metrics` that asks for nothing.
    pub fn new(job: &str, address: &str) -> Self {
        let path = "/metrics".to_owned();
        Self { job: job.to_owned(), address: address.to_owned(), path, bearer: None, parameters: Vec::new() }
    }

    fn configuration(&self) -> Value {
        let mut parameters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, value) in &self.parameters {
            parameters.entry(name).or_default().push(value);
        }
        let mut configuration = json!({
            "job_name": self.job,
            "metrics_path": self.path,
            "params": parameters,
            "static_configs": [{ "targets": [self.address] }],
        });
        if let Some(token) = &self.bearer {
            configuration["authorization"] = json!({ "type": "Bearer", "credentials": token });
        }
        configuration
    }
}

/// One series at one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels, `__name__` among them if the query keeps it.
    pub labels: BTreeMap<String, String>,
    /// Its value.
    pub value: f64,
}

/// How the last scrape of a target went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scraped {
    /// The `job` label.
    pub job: String,
    /// `up` or `down`.
    pub health: String,
    /// What was wrong; empty if nothing was.
    pub error: String,
}

/// A running Prometheus with a database of its own. Killed when dropped.
#[derive(Debug)]
pub struct Prometheus {
    server: Server,
    targets: usize,
}

impl Prometheus {
    /// Starts one that scrapes `targets`, whose jobs have different names. The first scrape is after five seconds.
    pub async fn start(targets: &[Target]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let jobs: Vec<Value> = targets.iter().map(Target::configuration).collect();
        let global = json!({ "scrape_interval": "1s", "scrape_timeout": "1s" });
        // All JSON is YAML.
        let configuration = json!({ "global": global, "scrape_configs": jobs }).to_string();
        std::fs::write(folder.path().join("prometheus.yml"), configuration).unwrap();
        let mut command = command("prometheus/prometheus");
        command.args([
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--web.listen-address=127.0.0.1:0",
            // Its discovery tells of the targets after five seconds; its scraper would wait five more to hear of it.
            "--scrape.discovery-reload-interval=100ms",
        ]);
        let (announcement, health) = ("msg=\"Listening on\" address=", "/-/ready");
        let server = Server::start("Prometheus", &mut command, folder, announcement, health).await;
        Self { server, targets: targets.len() }
    }

    /// The samples that answer `promql` now, an instant vector or a scalar's one without labels.
    ///
    /// # Panics
    /// If it does not understand the query.
    pub async fn query(&self, promql: &str) -> Vec<Sample> {
        let data = self.ask(&format!("/api/v1/query?query={}", http::escaped(promql))).await;
        if data["resultType"] == "scalar" {
            return vec![sample(&json!({ "metric": {}, "value": data["result"] }))];
        }
        assert_eq!(data["resultType"], "vector", "{promql}");
        data["result"].as_array().unwrap().iter().map(sample).collect()
    }

    /// The value of the one series that answers `promql`; `None` if there is none.
    ///
    /// # Panics
    /// If there are several.
    pub async fn value(&self, promql: &str) -> Option<f64> {
        let samples = self.query(promql).await;
        assert!(samples.len() <= 1, "{promql} has several answers: {samples:#?}");
        samples.first().map(|sample| sample.value)
    }

    /// Waits until every target has been scraped, and returns how that went the last time, in the order of the jobs.
    pub async fn scraped(&self) -> Vec<Scraped> {
        eventually("every target is scraped", async || {
            let targets = self.targets().await;
            let scraped = targets.iter().filter(|target| target.health != "unknown").count();
            if scraped == self.targets { Ok(targets) } else { Err(targets) }
        })
        .await
    }

    /// Waits until the last scrape of every target went well.
    pub async fn all_up(&self) {
        eventually("all targets are up", async || {
            let targets = self.targets().await;
            let up = targets.iter().filter(|target| target.health == "up").count();
            if up == self.targets { Ok(()) } else { Err(targets) }
        })
        .await;
    }

    /// The targets that it has begun with, in the order of the jobs.
    async fn targets(&self) -> Vec<Scraped> {
        let data = self.ask("/api/v1/targets?state=active").await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let scraped = |target: &Value| Scraped {
            job: text(&target["labels"]["job"]),
            health: text(&target["health"]),
            error: text(&target["lastError"]),
        };
        let mut targets: Vec<Scraped> =
            data["activeTargets"].as_array().unwrap().iter().map(scraped).collect();
        targets.sort_by(|one, other| one.job.cmp(&other.job));
        targets
    }

    async fn ask(&self, path: &str) -> Value {
        let answer = http::get(&self.server.url(path)).await.unwrap();
        let mut json: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(json["status"], "success", "{path}: {json}");
        json["data"].take()
    }
}

fn sample(result: &Value) -> Sample {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let labels = result["metric"].as_object().unwrap();
    Sample {
        labels: labels.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        // NaN and +Inf are written as Rust reads them.
        value: result["value"][1].as_str().unwrap().parse().unwrap(),
    }
}

/// What `promtool check metrics` has against an exposition in the text format: one line a complaint, none if it is well.
pub fn complaints_about_metrics(exposition: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("metrics");
    File::create(&file).unwrap().write_all(exposition.as_bytes()).unwrap();
    let mut promtool = command("prometheus/promtool");
    complaints(promtool.args(["check", "metrics"]).stdin(File::open(file).unwrap()))
}

/// What `promtool check config` has against a configuration of Prometheus.
pub fn complaints_about_configuration(configuration: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("prometheus.yml");
    std::fs::write(&file, configuration).unwrap();
    complaints(command("prometheus/promtool").args(["check", "config"]).arg(file))
}

fn complaints(promtool: &mut std::process::Command) -> Vec<String> {
    let finished = finish(promtool);
    let said = finished.stderr.lines().filter(|line| !line.trim().is_empty());
    let complaints: Vec<String> = said.map(str::to_owned).collect();
    assert_eq!(finished.status.success(), complaints.is_empty(), "{finished:#?}");
    complaints
}
