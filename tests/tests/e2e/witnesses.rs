//! The witnesses are at work: what the other tests hold ours against says what it should.

use std::convert::Infallible;
use std::sync::Arc;

use dormouse_tests::http;
use dormouse_tests::ministack::MiniStack;
use dormouse_tests::prometheus::{
    Prometheus, Target, complaints_about_configuration, complaints_about_metrics,
};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

const GOOD: &str = "\
# HELP nuts_buried_total Nuts buried so far.
# TYPE nuts_buried_total counter
nuts_buried_total{forest=\"north\"} 7
nuts_buried_total{forest=\"a \\\"quoted\\\" \\\\ one\"} 3
";

/// Serves [`GOOD`] to whoever shows the token and asks for the forest; returns where.
async fn serve() -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service_fn(expose)));
        }
    });
    (address, AbortOnDropHandle::new(serving))
}

async fn expose(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let token = request.headers().get(AUTHORIZATION).map(HeaderValue::as_bytes);
    let allowed = token == Some(b"Bearer acorn");
    let asked = request.uri() == "/nuts?forest=all+of+them";
    let status = match (allowed, asked) {
        (false, _) => 401,
        (true, false) => 404,
        (true, true) => 200,
    };
    let body = if status == 200 { GOOD } else { "" };
    Ok(Response::builder().status(status).body(Full::from(body)).unwrap())
}

#[tokio::test]
async fn prometheus_scrapes_what_it_is_told_to() {
    let (address, _serving) = serve().await;
    let parameters = vec![("forest".to_owned(), "all of them".to_owned())];
    let open = Target { path: "/nuts".to_owned(), parameters, ..Target::new("stranger", &address) };
    let known = Target { job: "friend".to_owned(), bearer: Some("acorn".to_owned()), ..open.clone() };
    let prometheus = Prometheus::start(&[open, known]).await;
    let scraped = prometheus.scraped().await;
    let health: Vec<(&str, &str)> = scraped.iter().map(|target| (&*target.job, &*target.health)).collect();
    assert_eq!(health, [("friend", "up"), ("stranger", "down")]);
    assert!(scraped[0].error.is_empty() && scraped[1].error.contains("401"), "{scraped:#?}");

    let nuts = prometheus.query("nuts_buried_total").await;
    assert_eq!(nuts.len(), 2, "{nuts:#?}");
    assert_eq!(prometheus.value("sum by (job) (nuts_buried_total)").await, Some(10.0));
    assert_eq!(prometheus.value(r#"nuts_buried_total{forest="a \"quoted\" \\ one"}"#).await, Some(3.0));
    assert_eq!(prometheus.value("nuts_lost_total").await, None);
    assert_eq!(prometheus.value("scalar(vector(2)) / 0").await, Some(f64::INFINITY));
}

#[test]
fn promtool_complains_about_what_is_wrong_and_nothing_else() {
    assert_eq!(complaints_about_metrics(GOOD), [""; 0]);
    let unnamed = GOOD.replace("_total", "").replace("# HELP nuts_buried Nuts buried so far.\n", "");
    let complaints = complaints_about_metrics(&unnamed).join("\n");
    assert!(complaints.contains("no help text") && complaints.contains("_total"), "{complaints}");
    let complaints = complaints_about_metrics(&GOOD.replace("} 7", "} seven")).join("\n");
    assert!(complaints.contains("error while linting"), "{complaints}");

    assert_eq!(complaints_about_configuration("scrape_configs: [{job_name: nuts}]"), [""; 0]);
    let complaints = complaints_about_configuration("scrape_configs: [{jobname: nuts}]").join("\n");
    assert!(complaints.contains("field jobname not found"), "{complaints}");
}

#[tokio::test]
async fn ministack_is_shared_while_somebody_holds_it() {
    let first = MiniStack::shared().await;
    let second = MiniStack::shared().await;
    assert!(Arc::ptr_eq(&first, &second));
    let alone = MiniStack::start().await;
    assert_ne!(first.endpoint(), alone.endpoint());
    for endpoint in [first.endpoint(), alone.endpoint()] {
        assert!(endpoint.starts_with("http://127.0.0.1:"), "{endpoint}");
        let answer = http::get(&format!("{endpoint}/_ministack/health")).await.unwrap();
        assert!(answer.body.contains("\"version\": \"1.5.33\""), "{answer:?}");
    }
    let endpoint = alone.endpoint();
    drop(alone);
    assert!(http::get(&endpoint).await.is_err(), "it outlived its owner");
}
