//! What is said when nothing answers, somebody else answers, or the token is wrong.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use dormouse_tests::program::{Finished, dormouse, finish};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything};
use serde_json::{Value, json};

const SECRET: &str = "0123456789abcdef-the-secret";

fn keys(arguments: &[&str], variables: &[(&str, &str)]) -> Finished {
    let mut command = dormouse(&[&["keys", "--output", "json"], arguments].concat());
    let finished = finish(command.envs(variables.iter().copied()));
    assert!(!finished.stderr.contains("the-secret"), "the token was told: {}", finished.stderr);
    finished
}

#[track_caller]
fn assert_told(finished: &Finished, code: i32, words: &[&str]) {
    assert_eq!(finished.code(), code, "{finished:#?}");
    assert!(finished.stdout.is_empty(), "{finished:#?}");
    for word in words {
        assert!(finished.stderr.contains(word), "{word:?} is not told: {}", finished.stderr);
    }
}

/// A server that answers each request line as told, with status line, more of the head, and body.
fn server(answer: impl Fn(&str) -> (String, String) + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
            let (status, body) = answer(head.lines().next().unwrap_or_default());
            seen.lock().unwrap().push(head);
            let length = body.len();
            let text =
                format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}");
            let _ = stream.write_all(text.as_bytes());
        }
    });
    (url, heads)
}

#[test]
fn nothing_answers() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let refused = keys(&["--url", &url], &[]);
    assert_told(
        &refused,
        1,
        &["no instance answers at", &url, "connection refused", "dormouse run", "--store FILE"],
    );
    assert_told(&keys(&[], &[("DORMOUSE_URL", &url)]), 1, &[&url]);

    // Whoever names one needs no configuration: a missing or broken one is nobody's business.
    let broken = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(broken.path(), "no = [configuration").unwrap();
    for config in ["/nonexistent.toml", broken.path().to_str().unwrap()] {
        assert_told(&keys(&["--url", &url, "--config", config], &[]), 1, &["no instance answers at", &url]);
        let variables = [("DORMOUSE_URL", url.as_str()), ("DORMOUSE_CONFIG", config)];
        assert_told(&keys(&[], &variables), 1, &["no instance answers at", &url]);
    }

    // The configured one is asked if nobody names another.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dormouse.toml");
    std::fs::write(&file, format!("[http]\nlisten = {:?}\n", url.strip_prefix("http://").unwrap())).unwrap();
    assert_told(&keys(&["--config", file.to_str().unwrap()], &[]), 1, &["no instance answers at", &url]);
}

#[test]
fn wrong_usage_is_told_before_anybody_is_asked() {
    for (arguments, words) in [
        (&["--url", "ftp://host"][..], &["--url", "ftp"][..]),
        (&["--url", "http://user:the-secret@host"], &["--url"]),
        (&["--url", "http://127.0.0.1:1", "--store", "x"], &["--url", "--store"]),
        (&["--verdict", "asleep"], &["asleep", "in_use", "unknown"]),
        (&["--account", "12"], &["--account", "twelve digits"]),
        (&["--idle-for", "soon"], &["--idle-for", "90d"]),
        (&["--sort", "colour"], &["last_use", "arn"]),
        (&["--config", "/nonexistent.toml"], &["/nonexistent.toml"]),
        (&["--token-file", "/nonexistent"], &["/nonexistent"]),
    ] {
        assert_told(&keys(arguments, &[]), 64, words);
    }
    let plain = keys(&["--url", "http://192.0.2.1:9774"], &[("DORMOUSE_HTTP_TOKEN", SECRET)]);
    assert_told(&plain, 64, &["https", "--allow-plaintext-token"]);
}

#[test]
fn somebody_else_answers() {
    let (url, _) = server(|_| ("200 OK".into(), "<html>hello</html>".into()));
    assert_told(&keys(&["--url", &url], &[]), 1, &[&url, "is no Dormouse"]);
    let (url, _) = server(|_| ("404 Not Found".into(), "nothing here".into()));
    assert_told(&keys(&["--url", &url], &[]), 1, &["is no Dormouse", "404"]);
    let problem = json!({ "code": "too_busy", "detail": "ask\u{1b}[31m again", "status": 503, "title": "t", "type": "t" });
    let (url, _) =
        server(move |_| ("503 Busy\r\nContent-Type: application/problem+json".into(), problem.to_string()));
    let busy = keys(&["--url", &url], &[]);
    assert_told(&busy, 1, &["again"]);
    assert!(!busy.stderr.contains('\u{1b}'), "{}", busy.stderr);
}

#[test]
fn a_redirect_is_not_followed_and_gets_no_token() {
    let (other, seen_there) = server(|_| ("200 OK".into(), "{}".into()));
    let there = other.clone();
    let (url, seen) = server(move |_| (format!("302 Found\r\nLocation: {there}/"), String::new()));
    let finished = keys(&["--url", &url], &[("DORMOUSE_HTTP_TOKEN", SECRET)]);
    assert_told(&finished, 1, &["not followed", &other]);
    assert!(seen_there.lock().unwrap().is_empty());
    assert!(seen.lock().unwrap()[0].contains(SECRET), "the one that was named gets it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_is_gone_is_begun_again_and_no_key_comes_twice() {
    let scene = Scene::new().await;
    scene.send(bodies(31, &everything(31, 3_000)));
    let mut running = scene.run();
    scene.drained(&mut running).await;
    assert!(running.stop().await.success());
    let all = scene.keys();
    let (early, late) = all.split_at(all.len() / 2);
    let page =
        |keys: &[Value], next: Value| json!({ "keys": keys, "total": all.len(), "next": next }).to_string();
    // The second walk's pages are cut elsewhere.
    let first = page(early, "one".into());
    let (again, rest) = (page(&all[..all.len() / 3], "two".into()), page(&all[all.len() / 3..], Value::Null));
    let asked = Mutex::new(0);
    let answers_forever = late.is_empty();
    let (url, _) = server(move |line| {
        if line.contains("cursor=one") {
            let gone =
                json!({ "code": "listing_gone", "detail": "gone", "status": 410, "title": "t", "type": "t" });
            return ("410 Gone\r\nContent-Type: application/problem+json".into(), gone.to_string());
        }
        if line.contains("cursor=two") {
            return ("200 OK".into(), rest.clone());
        }
        let mut asked = asked.lock().unwrap();
        *asked += 1;
        ("200 OK".into(), if *asked == 1 || answers_forever { first.clone() } else { again.clone() })
    });
    let found = keys(&["--url", &url], &[]);
    assert_eq!(found.code(), 0, "{}", found.stderr);
    assert_eq!(found.json()["keys"].as_array().unwrap(), &all);
    assert_eq!(found.json()["total"], all.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_needed_and_comes_from_where_it_is_told() {
    let mut scene = Scene::new().await;
    let file = scene.folder.path().join("token");
    std::fs::write(&file, format!("{SECRET}\n")).unwrap();
    scene.set("http", "token_file", &format!("{file:?}"));
    let mut running = scene.run();
    let url = running.url().await;
    let url = ["--url", url.as_str()];
    let configuration = scene.configuration();

    assert_told(&keys(&url, &[]), 1, &["wants a token", "DORMOUSE_HTTP_TOKEN", "--token-file"]);
    let wrong = keys(&url, &[("DORMOUSE_HTTP_TOKEN", "another-the-secret")]);
    assert_told(&wrong, 1, &["does not accept the token from DORMOUSE_HTTP_TOKEN"]);
    assert_eq!(keys(&url, &[("DORMOUSE_HTTP_TOKEN", SECRET)]).code(), 0);
    let from_file = [&url[..], &["--token-file", file.to_str().unwrap()]].concat();
    assert_eq!(keys(&from_file, &[]).code(), 0);
    // The configured token is for the configured address, which is another one here.
    let configured = [&url[..], &["--config", configuration.to_str().unwrap()]].concat();
    assert_told(&keys(&configured, &[]), 1, &["wants a token"]);
    let place = url[1].strip_prefix("http://").unwrap();
    let at_its_address = std::fs::read_to_string(&configuration).unwrap().replace("127.0.0.1:0", place);
    std::fs::write(&configuration, at_its_address).unwrap();
    assert_eq!(keys(&configured, &[]).code(), 0);
    assert_eq!(keys(&["--config", configuration.to_str().unwrap()], &[]).code(), 0);
    assert!(running.stop().await.success());
}
