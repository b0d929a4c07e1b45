//! The demo as a newcomer meets it: it comes up, what it prints can be pasted, and its account is right.

use std::process::{Child, Command, Stdio};

use dormouse_tests::program::{dormouse, finish};
use dormouse_tests::wait::until;
use tempfile::TempDir;

/// `dormouse demo` at work, with what it has printed so far. Killed when dropped.
struct Demo {
    child: Child,
    folder: TempDir,
}

impl Demo {
    fn start(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let out = std::fs::File::create(folder.path().join("out")).unwrap();
        let data = folder.path().join("data");
        let mut command = dormouse(&["demo", "--data", data.to_str().unwrap()]);
        let child = command.args(options).stdout(out).stderr(Stdio::piped()).spawn().unwrap();
        Self { child, folder }
    }

    fn printed(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("out")).unwrap()
    }

    /// Waits until it says that it is up, and returns its URL.
    async fn url(&mut self) -> String {
        until("the demo is up", || {
            assert_eq!(self.child.try_wait().unwrap(), None, "{}", self.printed());
            let printed = self.printed();
            let url = printed.split_once("is up at ").and_then(|(_, rest)| rest.split_once(". In another"));
            url.map(|(url, _)| url.to_owned()).ok_or(printed)
        })
        .await
    }

    /// Waits until it ends by itself, and returns what it printed; it must say that all is as it happened.
    async fn ended_well(mut self) -> String {
        let status = until("the demo ends", || self.child.try_wait().unwrap().ok_or("running")).await;
        let printed = self.printed();
        assert!(status.success(), "{status}: {printed}");
        assert!(printed.contains("Every key's counts and last use are as they happened"), "{printed}");
        printed
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The numbers in a line, in order.
fn numbers(line: &str) -> Vec<u64> {
    line.split(|c: char| !c.is_ascii_digit()).filter_map(|part| part.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_demos_beside_each_other_show_themselves_and_their_accounts_are_right() {
    let mut one = Demo::start(&["--for", "25s"]);
    let mut other = Demo::start(&["--for", "3s", "--seed", "2"]);
    let (url, other_url) = (one.url().await, other.url().await);
    assert_ne!(url, other_url);

    let lines: Vec<String> = one
        .printed()
        .lines()
        .filter(|line| line.starts_with("  ") && line.contains(&url))
        .map(str::to_owned)
        .collect();
    assert!(lines.len() >= 6, "{lines:#?}");
    for line in &lines {
        // As printed, comment and all; curl may not be installed here, what it would ask is asked all the same.
        let line = line.replace("curl -s ", "python3 -c 'import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1]).read().decode())' ");
        let mut command = Command::new("sh");
        let pasted = finish(command.args(["-c", &line]).stdin(Stdio::null()));
        assert!(pasted.status.success() && pasted.stdout.len() > 100, "{line}: {pasted:#?}");
    }

    let other = other.ended_well().await;
    let one = one.ended_well().await;
    for printed in [one, other] {
        let line = |text: &str| printed.lines().find(|line| line.contains(text)).unwrap().to_owned();
        let (told, happened) = (numbers(&line("Dormouse counted")), numbers(&line("What really happened")));
        assert_eq!(told[2..], happened[..], "{printed}");
        assert!(happened[0] > 20_000 && happened[1] > 100 && happened[2] > 50, "{printed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_signal_ends_the_demo_with_its_account_and_the_store_stays_where_it_was_asked_for() {
    let mut demo = Demo::start(&["--keys", "30"]);
    demo.url().await;
    let interrupt = format!("kill -INT {}", demo.child.id());
    assert!(Command::new("sh").args(["-c", &interrupt]).status().unwrap().success());
    let status = until("the demo ends", || demo.child.try_wait().unwrap().ok_or("running")).await;
    assert!(status.success() && demo.printed().contains("as they happened"), "{}", demo.printed());
    let data = demo.folder.path().join("data");
    let store = data.join("dormouse.db");
    let keys =
        dormouse_tests::program::ask(&["keys", "--store", store.to_str().unwrap(), "--output", "json"]);
    assert!(keys["total"].as_u64().unwrap() > 20, "{keys}");
    let again = finish(&mut dormouse(&["demo", "--data", data.to_str().unwrap()]));
    assert_eq!(again.code(), 1);
    assert!(again.stderr.contains("store of an earlier demo"), "{}", again.stderr);
}
