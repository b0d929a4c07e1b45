//! What `--help` and the manual say beside the options: examples, variables, exit statuses.

/// The exit statuses of all commands.
pub(crate) const EXIT_STATUSES: [(u8, &str); 5] = [
    (0, "done"),
    (1, "failed: nothing answers, a file cannot be read, a retried message was refused again"),
    (2, "some input of a replay, or some of a trail's history, could not be read whole"),
    (3, "no such key or message, or a name that several keys have"),
    (64, "wrong usage or configuration"),
];

/// The variables that all commands look at.
pub(crate) const VARIABLES: [(&str, &str); 8] = [
    ("DORMOUSE_CONFIG", "the configuration file, if there is no --config"),
    ("DORMOUSE_URL", "the instance to ask, if there is neither --url nor --store"),
    ("DORMOUSE_HTTP_TOKEN", "the token for the instance; goes before --token-file"),
    ("DORMOUSE_SECTION_KEY", "overrides KEY in [SECTION] of the configuration, as DORMOUSE_STORE_PATH does"),
    ("HTTPS_PROXY, NO_PROXY", "how an instance on another machine is reached"),
    ("SSL_CERT_FILE", "the certificates that an https:// instance is trusted by; by default the system's"),
    ("NO_COLOR", "if set, no colours"),
    ("COLUMNS", "the width of tables on a terminal that does not tell its own"),
];

/// The end of `dormouse --help`.
pub(crate) fn program() -> String {
    let mut text = String::from(
        "Examples:
  dormouse demo                        all of it at work; needs nothing
  dormouse replay ~/trail/             what trail files say; needs no AWS and no configuration
  dormouse --config my.toml run        follow the queue that my.toml names
  dormouse keys                        every key, the one used last first
  dormouse key alias/app               all about one key: who uses it, how, how often
  dormouse keys --wanted               keys with failed calls that showed a need
  dormouse keys --store dormouse.db    read a store instead of asking an instance

Variables:\n",
    );
    for (name, meaning) in VARIABLES {
        text.push_str(&format!("  {name:<24} {meaning}\n"));
    }
    text.push_str("\nExit status:\n");
    for (status, meaning) in EXIT_STATUSES {
        text.push_str(&format!("  {status:<3} {meaning}\n"));
    }
    text
}

pub(super) const RUN: &str = "Examples:
  dormouse run
  dormouse --config my.toml run

Every setting of the configuration outside its lists can be overridden by a variable: DORMOUSE_STORE_PATH is `path` in
[store]. AWS's own variables (AWS_REGION, AWS_PROFILE, …) are obeyed.
Exit status: 0 stopped by a signal, with everything received committed; 1 failed; 64 wrong configuration.";

pub(super) const DEMO: &str = "Examples:
  dormouse demo
  dormouse demo --for 30s
  dormouse demo --data /tmp/demo       keep the store, to look into it afterwards
  dormouse demo --keys 2000 --rate 500

Everything stays on 127.0.0.1. At the end what Dormouse says of every key is held against what really happened.
Exit status: 0 it is the same; 1 it differs, or failed.";

pub(super) const REPLAY: &str = "Examples:
  dormouse replay ~/trail/
  dormouse replay --output json ~/trail/ more.json.gz > keys.json
  zcat more.gz | dormouse replay -

Exit status: 0 done; 1 failed; 2 some input could not be read whole, and is named on standard error.";

pub(super) const CHECK: &str = "Examples:
  dormouse check
  dormouse --config my.toml check

Variable: DORMOUSE_CONFIG names the configuration. Exit status: 0 it is right; 64 it is not.";

pub(super) const KEYS: &str = "Examples:
  dormouse keys                                    the key used last comes first
  dormouse keys --wanted                           keys with failures that showed a need
  dormouse keys --wanted --state Disabled,PendingDeletion
                                                   those still out of use
  dormouse keys --idle-for 90d --reverse           the longest asleep first
  dormouse keys --alias 'alias/app-*' --tag team=pay --region eu-west-1
  dormouse keys --sort uses --limit 10
  dormouse keys --output csv > keys.csv

An option with several values takes them separated by commas, or is given more than once.
A terminal shows the columns that fit; into a pipe they all go, uncut.
Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG, NO_COLOR; see dormouse --help.
Exit status: 0 done; 1 failed; 64 wrong usage or configuration.";

pub(super) const KEY: &str = "Examples:
  dormouse key alias/app
  dormouse key 1234abcd                the beginning of an id, as a narrow table shows it
  dormouse key 1234abcd-12ab-34cd-56ef-1234567890ab
  dormouse key --output json arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab

Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG, NO_COLOR; see dormouse --help.
Exit status: 0 done; 1 failed; 3 no such key, or several, which are listed; 64 wrong usage or configuration.";

pub(super) const STATUS: &str = "Examples:
  dormouse status
  dormouse status --url https://dormouse.example.com --token-file ~/.dormouse-token
  dormouse status --store dormouse.db --output json

Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.
Exit status: 0 done; 1 failed; 64 wrong usage or configuration.";

pub(super) const ACCOUNTS: &str = "Examples:
  dormouse accounts
  dormouse accounts --account 111122223333 --region eu-west-1,us-east-1
  dormouse accounts --store dormouse.db --output json

RECEIVED is the latest span in which everything that reached the source was taken; HOLES counts what lies before and
between. That everything was put into the source is not said by it. PROVEN is what history shows to be complete: by the
trail's digest files, or by the word of the configuration ([[history.declared]]).
Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.
Exit status: 0 done; 1 failed; 64 wrong usage or configuration.";

pub(super) const RECONCILE: &str = "Examples:
  dormouse reconcile
  dormouse reconcile --account 111122223333 --region eu-west-1
  dormouse reconcile --output json --url http://127.0.0.1:9774

The instance asks by itself, too, as often as [inventory] says. A pass that runs is waited for; several that ask share one.
Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.
Exit status: 0 done; 1 failed; 2 done, but for what is named; 64 wrong usage or configuration.";

pub(super) const BACKFILL: &str = "Examples:
  dormouse backfill --bucket trail-logs --from 2026-01-01 --to 2026-06-30
  dormouse backfill --bucket trail-logs --prefix org --from 2026-06-01 --to 2026-06-30 --accounts 111122223333
  dormouse backfill --local /mnt/trail --from 2026-06-01 --to 2026-06-30 --store dormouse.db
  dormouse backfill --bucket trail-logs --from 2026-06-01 --to 2026-06-30 --url http://127.0.0.1:9774 --bandwidth 50MiB

A day that was read is not read again, so the same command goes on where it was interrupted. What is read of a day
replaces what was counted of it. Where an instance writes to the store, that instance does the work.
Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help. AWS's own are obeyed.
Exit status: 0 done; 1 failed or interrupted; 2 done, but for what is named; 64 wrong usage or configuration.";

pub(super) const QUARANTINE: &str = "Examples:
  dormouse quarantine list
  dormouse quarantine show 7
  dormouse quarantine retry --all        after an upgrade that understands more
  dormouse quarantine drop 7 8

Exit status: 0 done; 1 failed, or a message was refused again; 3 no such message; 64 wrong usage or configuration.";

pub(super) const QUARANTINE_LIST: &str = "Examples:
  dormouse quarantine list
  dormouse quarantine list --store dormouse.db --output json

Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.";

pub(super) const QUARANTINE_SHOW: &str = "Examples:
  dormouse quarantine show 7
  dormouse quarantine show 7 > message.json && dormouse replay message.json

Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.
Exit status: 0 done; 1 failed; 3 no such message.";

pub(super) const QUARANTINE_RETRY: &str = "Examples:
  dormouse quarantine retry 7 8
  dormouse quarantine retry --all
  dormouse --config my.toml quarantine retry --all --store dormouse.db

With --store no instance may be running: the store is written. What counts as use is then the configuration's business.
Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.
Exit status: 0 all were applied; 1 failed, or one was refused again; 3 no such message.";

pub(super) const QUARANTINE_DROP: &str = "Examples:
  dormouse quarantine drop 7
  dormouse quarantine drop --yes 7 8 9

With --store no instance may be running: the store is written.
Variables: DORMOUSE_URL, DORMOUSE_HTTP_TOKEN, DORMOUSE_CONFIG; see dormouse --help.
Exit status: 0 all were dropped; 1 failed; 3 no such message; 64 there is nobody to ask and no --yes.";

pub(super) const COMPLETIONS: &str = "Examples:
  dormouse completions bash > /etc/bash_completion.d/dormouse
  dormouse completions zsh > ~/.zfunc/_dormouse
  dormouse completions fish > ~/.config/fish/completions/dormouse.fish";

pub(super) const MAN: &str = "Examples:
  dormouse man | man -l -
  dormouse man --dir /usr/local/share/man/man1";
