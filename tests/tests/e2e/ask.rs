//! `keys`, `key`, `status` and `quarantine` say the same whether an instance or its store is asked, find what they are
//! asked for, and do no harm to the terminal that shows it.

use dormouse_simulate::records::{Generated, Mix};
use dormouse_tests::program::{Finished, Running, dormouse, finish, finish_on_terminal};
use dormouse_tests::scene::Scene;
use dormouse_tests::traffic::{bodies, everything, records};
use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

/// A running instance that has taken in this traffic, and how either side is asked.
struct Both {
    // Dropped before the folder that its log is in.
    running: Running,
    scene: Scene,
    url: String,
    store: String,
}

impl Both {
    async fn with(bodies: &[String]) -> Self {
        let scene = Scene::new().await;
        scene.send(bodies);
        let mut running = scene.run();
        let url = running.url().await;
        scene.drained(&mut running).await;
        let store = scene.store().to_str().unwrap().to_owned();
        Self { scene, running, url, store }
    }

    fn instance(&self, arguments: &[&str]) -> Finished {
        finish(&mut dormouse(&[arguments, &["--url", &self.url]].concat()))
    }

    fn store(&self, arguments: &[&str]) -> Finished {
        finish(&mut dormouse(&[arguments, &["--store", &self.store]].concat()))
    }

    /// What both say, which is the same.
    #[track_caller]
    fn ask(&self, arguments: &[&str]) -> Finished {
        let (by_url, by_store) = (self.instance(arguments), self.store(arguments));
        assert_eq!(by_url.code(), by_store.code(), "{arguments:?}: {by_url:#?} {by_store:#?}");
        assert_eq!(by_url.stdout, by_store.stdout, "{arguments:?}");
        by_url
    }

    #[track_caller]
    fn json(&self, arguments: &[&str]) -> Value {
        let finished = self.ask(&[arguments, &["--output", "json"]].concat());
        assert_eq!(finished.code(), 0, "{finished:#?}");
        finished.json()
    }

    fn keys(&self, arguments: &[&str]) -> Vec<Value> {
        self.json(&[&["keys"], arguments].concat())["keys"].as_array().unwrap().clone()
    }

    async fn end(self) {
        assert!(self.running.stop().await.success());
    }
}

fn is_harmless(text: &str) -> bool {
    let bad = |c: char| c.is_control() && c != '\n' || ('\u{202a}'..='\u{202e}').contains(&c);
    !text.contains(bad)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instance_and_its_store_say_the_same() {
    let both = Both::with(&bodies(21, &everything(21, 6_000))).await;
    let all = both.keys(&[]);
    assert!(all.len() > 20, "{} keys", all.len());
    let arns: Vec<&str> = all.iter().map(|key| key["arn"].as_str().unwrap()).collect();
    assert!(arns.is_sorted(), "sorted by ARN");

    let alias = all.iter().find_map(|key| key["aliases"][0].as_str()).unwrap();
    let account = all[0]["account"].as_str().unwrap();
    for question in [
        &["--account", account][..],
        &["--region", "eu-west-1,us-east-1", "--sort", "uses"],
        &["--alias", alias],
        &["--state", "disabled,PendingDeletion"],
        &["--wanted"],
        &["--wanted", "false", "--limit", "3"],
        &["--search", &arns[0][arns[0].len() - 12..]],
        &["--idle-for", "1h", "--reverse"],
        &["--verdict", "in_use", "--sort", "last_use", "--order", "asc"],
    ] {
        let found = both.json(&[&["keys"], question].concat());
        let keys = found["keys"].as_array().unwrap();
        assert!(keys.len() <= found["total"].as_u64().unwrap().try_into().unwrap());
        assert!(keys.iter().all(|key| all.contains(key)), "{question:?}");
        assert_eq!(found["next"], Value::Null);
    }
    assert!(both.keys(&["--account", account]).iter().all(|key| key["account"] == account));
    assert!(both.keys(&["--wanted"]).iter().all(|key| key["wanted"]["count"].as_u64().unwrap() > 0));
    assert_eq!(both.keys(&["--limit", "2"]), all[..2]);
    assert_eq!(both.keys(&["--all", "--reverse"]), all.iter().rev().cloned().collect::<Vec<_>>());

    let csv = both.ask(&["keys", "--output", "csv"]).stdout;
    assert_eq!(csv.lines().count(), all.len() + 1);
    both.json(&["key", arns[0]]);
    both.json(&["key", all[0]["id"].as_str().unwrap()]);

    let (by_url, by_store) = (
        both.instance(&["status", "--output", "json"]).json(),
        both.store(&["status", "--output", "json"]).json(),
    );
    assert_eq!(by_url["records"], by_store["records"]);
    assert_eq!(by_url["keys"], all.len());
    assert_eq!(by_url["instance"]["sources"][0]["name"], "bus");
    assert!(by_store.get("instance").is_none());
    let shown = both.instance(&["status"]).stdout;
    assert!(shown.contains("source") && shown.contains("lag") && shown.contains("started"), "{shown}");
    both.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_keys_than_a_page_holds_come_whole() {
    let folder = records(22, 9_000, Mix::only(&[("Decrypt", 1)]));
    let both = Both::with(&folder.iter().map(many_keys).collect::<Vec<_>>()).await;
    let all = both.keys(&[]);
    assert!(all.len() > 2_000, "{} keys", all.len());
    assert_eq!(both.keys(&["--limit", "1500"]).len(), 1_500);
    assert_eq!(both.ask(&["keys", "--output", "csv"]).stdout.lines().count(), all.len() + 1);
    // Whoever has read enough ends it quietly.
    for place in [["--url", &both.url], ["--store", &both.store]] {
        let pipe = format!("{} keys --output json {} {} | head -1", "\"$0\"", place[0], place[1]);
        let mut command = dormouse(&[]);
        let program = command.get_program().to_owned();
        command = std::process::Command::new("sh");
        let ended = finish(command.args(["-c", &pipe]).arg(program));
        assert_eq!((ended.code(), ended.stderr.as_str()), (0, ""), "{ended:#?}");
    }
    both.end().await;
}

/// The record, about one of thousands of keys.
fn many_keys(original: &Generated) -> String {
    let number =
        original.event_id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)))
            % 3_000;
    let record = serde_json::from_str(&original.record).unwrap();
    about(record, original, &format!("0000{number:04x}-0000-4000-8000-000000000000"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_found_by_any_of_its_names() {
    let both = Both::with(&bodies(23, &everything(23, 6_000))).await;
    let all = both.keys(&[]);
    let named = |key: &Value| -> Vec<String> {
        key["aliases"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    };
    let names: Vec<String> = all.iter().flat_map(named).filter(|name| is_harmless(name)).collect();
    let times = |name: &String| names.iter().filter(|other| *other == name).count();
    let unique = names.iter().find(|name| times(name) == 1 && !name.contains([',', '*'])).unwrap();
    let found = both.json(&["key", unique]);
    assert!(named(&found).contains(unique));
    assert_eq!(both.json(&["key", unique.strip_prefix("alias/").unwrap()])["arn"], found["arn"]);
    let [region, account] = ["region", "account"].map(|member| found[member].as_str().unwrap());
    let alias_arn = format!("arn:aws:kms:{region}:{account}:{unique}");
    assert_eq!(both.json(&["key", &alias_arn])["arn"], found["arn"]);

    if let Some(shared) = names.iter().find(|name| times(name) > 1 && !name.contains([',', '*'])) {
        for finished in [both.instance(&["key", shared]), both.store(&["key", shared])] {
            assert_eq!(finished.code(), 3, "{finished:#?}");
            let listed = finished.stderr.lines().filter(|line| line.contains("arn:aws:kms:")).count();
            assert_eq!(listed, times(shared), "{}", finished.stderr);
        }
    }
    // The beginning of an id is enough, with the ellipsis of a narrow table or without; several keys are listed.
    for key in all.iter().take(5) {
        let beginning = &key["id"].as_str().unwrap()[..12];
        let fits = |key: &&Value| key["id"].as_str().unwrap().starts_with(beginning);
        let fitting = all.iter().filter(fits).count();
        for text in [beginning.to_owned(), format!("{beginning}…")] {
            let finished = both.ask(&["key", &text, "--output", "json"]);
            if fitting == 1 {
                assert_eq!(finished.json()["arn"], key["arn"], "{text}");
            } else {
                assert_eq!(finished.code(), 3, "{finished:#?}");
                let listed = finished.stderr.lines().filter(|line| line.contains("arn:aws:kms:")).count();
                assert_eq!(listed, fitting, "{}", finished.stderr);
            }
        }
        assert_eq!(both.ask(&["key", &beginning[..7]]).code(), 3, "too short to be a name");
    }
    for unknown in [
        "alias/nobody",
        "nobody",
        "arn:aws:kms:eu-west-1:111122223333:key/00000000-0000-4000-8000-00000000dead",
    ] {
        let finished = both.ask(&["key", unknown]);
        assert_eq!(finished.code(), 3, "{finished:#?}");
        assert!(finished.stderr.contains(unknown), "{}", finished.stderr);
    }
    assert_eq!(both.ask(&["key", "arn:aws:kms:nowhere"]).code(), 64);
    both.end().await;
}

/// A use whose texts a stranger chose.
fn hostile_use() -> String {
    let [original] = &records(99, 1, Mix::only(&[("Decrypt", 1)]))[..] else { unreachable!() };
    let mut record: Value = serde_json::from_str(&original.record).unwrap();
    record["requestParameters"] = json!({ "encryptionContext": {
        "aws:s3:arn": "=cmd|' /C calc'!A0\u{1b}]0;owned\u{7}\u{9b}31m\u{202e}gnp",
        "\u{1b}[2J": "日本語"
    }});
    record["userIdentity"] =
        json!({ "type": "IAMUser", "arn": "=1+1\u{1b}[31m", "accountId": original.account });
    about(record, original, "11110000-0000-4000-8000-000000000000")
}

/// The record as a message, about the key with this id.
fn about(mut record: Value, original: &Generated, id: &str) -> String {
    let arn = format!("arn:aws:kms:{}:{}:key/{id}", original.region, original.account);
    record["resources"] = json!([{ "type": "AWS::KMS::Key", "ARN": arn, "accountId": original.account }]);
    json!({ "Records": [record] }).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_texts_never_reach_a_terminal_as_they_are() {
    let mut traffic = bodies(24, &everything(24, 3_000));
    traffic.push(hostile_use());
    let both = Both::with(&traffic).await;
    for command in [&["keys"][..], &["keys", "--output", "json"], &["keys", "--output", "csv"], &["status"]] {
        let finished = both.instance(command);
        assert!(is_harmless(&finished.stdout), "{command:?}");
        assert!(is_harmless(&both.store(command).stdout), "{command:?}");
    }
    let bad =
        both.keys(&[]).into_iter().find(|key| key["last_use"]["principal"] == "=1+1\u{1b}[31m").unwrap();
    assert_eq!(bad["last_use"]["encryption_context"]["\u{1b}[2J"], "日本語", "JSON says what was said");
    let arn = bad["arn"].as_str().unwrap();
    let details = both.ask(&["key", arn]).stdout;
    assert!(is_harmless(&details) && details.contains("\\u{1b}[2J = 日本語"), "{details}");
    let csv = both.ask(&["key", arn, "--output", "csv"]).stdout;
    assert!(csv.contains(",'=1+1\\u{1b}[31m,"), "{csv}");

    // On a terminal only our own colours come through, and no line is wider than it is.
    let colors = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[2m", "\u{1b}[31m", "\u{1b}[32m", "\u{1b}[33m"];
    let key = ["key", arn];
    let commands = [&["keys", "--all"][..], &["keys", "--wanted"], &key, &["status"]];
    for (columns, command) in
        [40, 60, 80, 120, 200].into_iter().flat_map(|columns| commands.map(|command| (columns, command)))
    {
        let shown = finish_on_terminal(columns, &[command, &["--url", &both.url]].concat(), &[]);
        assert_eq!(shown.code(), 0, "{shown:#?}");
        let plain = colors.iter().fold(shown.stdout.replace('\r', ""), |text, color| text.replace(color, ""));
        assert!(is_harmless(&plain), "{plain}");
        if command[0] == "keys" {
            assert!(shown.stdout.contains("\u{1b}[1mKEY"), "coloured: {}", shown.stdout);
            let head = plain.lines().next().unwrap();
            assert!(columns < 80 || head.contains(" BY"), "{columns}: {head}");
            assert!(columns < 80 || command[1] != "--all" || head.contains(" FOR"), "{columns}: {head}");
        }
        for line in plain.lines() {
            assert!(line.width() <= columns.into(), "{command:?} at {columns}: {line}");
        }
    }
    both.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn colours_and_numbers_of_keys_are_for_terminals() {
    let both = Both::with(&bodies(25, &everything(25, 6_000))).await;
    let total = both.keys(&[]).len();
    assert!(total > 50, "{total} keys");
    let keys = ["keys", "--store", &both.store];
    let shown = finish_on_terminal(100, &keys, &[]).stdout;
    assert!(shown.contains(&format!("50 of {total} keys; --limit N for more, --all for all")), "{shown}");
    assert!(shown.contains('\u{1b}'));
    for variables in [&[("NO_COLOR", "1")][..], &[("TERM", "dumb")]] {
        let shown = finish_on_terminal(100, &keys, variables).stdout;
        assert!(!shown.contains('\u{1b}'), "{variables:?}: {shown}");
    }
    let never = finish_on_terminal(100, &[&keys[..], &["--color", "never"]].concat(), &[]).stdout;
    assert!(!never.contains('\u{1b}'));
    let piped = both.store(&["keys"]).stdout;
    assert!(!piped.contains('\u{1b}') && piped.contains(&format!("\n{total} keys\n")), "{piped}");
    assert!(both.store(&["keys", "--color", "always"]).stdout.contains('\u{1b}'));
    // Into a pipe everything goes, uncut.
    let head = piped.lines().next().unwrap();
    for column in
        ["KEY", "LAST USE", "OPERATION", "BY", "FOR", "USES", "STATE", "WANTED", "VERDICT", "ACCOUNT", "ID"]
    {
        assert!(head.contains(column), "{head}");
    }
    assert!(!piped.contains('…'));
    both.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quarantined_messages_are_tried_and_dropped() {
    let junk = ["no JSON at all \u{1b}[31m", "{\"hello\": 1}", "[1, 2"].map(str::to_owned);
    let both = Both::with(&junk).await;
    let listed = both.json(&["quarantine", "list"]);
    let ids: Vec<String> =
        listed["messages"].as_array().unwrap().iter().map(|message| message["id"].to_string()).collect();
    assert_eq!((ids.len(), &listed["next"]), (3, &Value::Null), "{listed:#}");
    let bodies: Vec<String> = ids.iter().map(|id| both.ask(&["quarantine", "show", id]).stdout).collect();
    assert!(junk.iter().all(|body| bodies.contains(body)), "{bodies:?}");
    assert!(is_harmless(&both.instance(&["quarantine", "list"]).stdout));

    let all = both.instance(&["quarantine", "retry", "--all"]);
    assert_eq!(all.code(), 1, "{all:#?}");
    assert_eq!(all.stdout.lines().filter(|line| line.contains("refused again")).count(), 3, "{}", all.stdout);
    let unasked = both.instance(&["quarantine", "drop", &ids[0]]);
    assert_eq!(unasked.code(), 64, "nobody can be asked: {unasked:#?}");
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    let dropped = both.instance(&["quarantine", "drop", "--yes", &ids[0], "4711"]);
    assert_eq!(dropped.code(), 3, "{dropped:#?}");
    assert!(dropped.stdout.contains(&format!("{}: dropped", ids[0])), "{}", dropped.stdout);
    assert_eq!(both.ask(&["quarantine", "show", &ids[0]]).code(), 3);
    assert_eq!(both.ask(&["quarantine", "show", "4711"]).code(), 3);

    // The store has one writer: the instance, as long as it runs.
    let locked = both.store(&["quarantine", "drop", "--yes", &ids[1]]);
    assert_eq!(locked.code(), 1, "{locked:#?}");
    assert!(locked.stderr.contains(&format!("pid {}", both.running.pid())), "{}", locked.stderr);
    let Both { scene, running, store, .. } = both;
    assert!(running.stop().await.success());
    let at_rest = |arguments: &[&str]| {
        finish(&mut dormouse(&[&["quarantine"], arguments, &["--store", &store]].concat()))
    };
    assert_eq!(at_rest(&["retry", &ids[1]]).code(), 1);
    assert_eq!(at_rest(&["drop", "--yes", &ids[1], &ids[2]]).code(), 0);
    assert_eq!(at_rest(&["drop", "--yes", &ids[1]]).code(), 3);
    assert!(at_rest(&["retry", "--all"]).stdout.contains("empty"));
    assert!(scene.quarantine().is_empty());
}

#[test]
fn a_store_that_is_not_there_is_not_made_by_dropping() {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("none.db");
    let finished =
        finish(&mut dormouse(&["quarantine", "drop", "--yes", "1", "--store", store.to_str().unwrap()]));
    assert_eq!(finished.code(), 1, "{finished:#?}");
    assert!(finished.stderr.contains("there is no store at") && !store.exists(), "{}", finished.stderr);
}

#[test]
fn completions_and_the_manual_are_whole() {
    let script = finish(&mut dormouse(&["completions", "bash"]));
    assert_eq!(script.code(), 0, "{script:#?}");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("dormouse.bash");
    std::fs::write(&file, &script.stdout).unwrap();
    let parsed = std::process::Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(parsed.status.success() && parsed.stderr.is_empty(), "{parsed:?}");
    for shell in ["zsh", "fish"] {
        assert!(finish(&mut dormouse(&["completions", shell])).stdout.contains("idle-for"), "{shell}");
    }

    let page = finish(&mut dormouse(&["man"])).stdout;
    for text in [".TH dormouse", "DORMOUSE KEYS", "EXIT STATUS", "DORMOUSE_HTTP_TOKEN"] {
        assert!(page.contains(text), "{text}");
    }
    let pages = finish(&mut dormouse(&["man", "--dir", folder.path().to_str().unwrap()]));
    assert_eq!(pages.code(), 0, "{pages:#?}");
    assert!(folder.path().join("dormouse-quarantine-retry.1").is_file());
}
