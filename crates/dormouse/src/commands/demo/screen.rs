//! One screen that says what is going on: how fast events come, how keys are judged, what changed last.
//!
//! On a terminal it is redrawn in place below the lines to try; elsewhere a line is printed now and then.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;

use dormouse_ledger::KeyDocument;
use dormouse_model::{EventTime, KeyArn, LifecycleState};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::show::who::caller;
use crate::show::{printable, say};

/// How many changes are shown.
const MOST_CHANGES: usize = 8;

/// What the screen shows, besides keys.
pub(super) struct Figures {
    /// Seconds since live traffic began.
    pub(super) seconds: u64,
    /// Records that were read since the start.
    pub(super) records: u64,
    /// Seconds from event to commit; `None` before the first live event.
    pub(super) lag_seconds: Option<u32>,
    /// Messages in the queue.
    pub(super) waiting: usize,
    /// Messages that could not be applied.
    pub(super) quarantined: u64,
}

/// The screen.
pub(super) struct Screen {
    bar: Option<ProgressBar>,
    last: HashMap<KeyArn, Seen>,
    changes: VecDeque<Line>,
    rate: Rate,
    /// Lines said about the history.
    lines: u64,
    /// When the next line about live traffic is due, in seconds.
    next_line: u64,
}

/// A change that is shown. A newer one of the same sort takes its place.
struct Line {
    key: KeyArn,
    sort: Sort,
    text: String,
}

/// The sorts of changes.
#[derive(Clone, Copy, PartialEq)]
enum Sort {
    New,
    State,
    Wanted,
    Awake,
}

/// What was known of a key when it was last looked at.
#[derive(Clone, Copy, PartialEq)]
struct Seen {
    state: Option<LifecycleState>,
    wanted: u64,
    last_use: Option<EventTime>,
}

/// Events a second, over the last few looks.
#[derive(Default)]
struct Rate {
    looks: VecDeque<(u64, u64)>,
}

impl Rate {
    fn note(&mut self, seconds: u64, records: u64) {
        self.looks.push_back((seconds, records));
        while self.looks.len() > 6 {
            self.looks.pop_front();
        }
    }

    fn per_second(&self) -> u64 {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else {
            return 0;
        };
        (last.1 - first.1).checked_div(last.0 - first.0).unwrap_or(0)
    }
}

/// Where there is no terminal the history takes about so many lines.
const HISTORY_LINES: u64 = 5;
/// Where there is no terminal a line is printed every so many seconds.
const LINE_INTERVAL: u64 = 5;

impl Screen {
    /// A screen on standard error if that is a terminal, lines on standard output if not.
    pub(super) fn new() -> Self {
        let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
        let bar = is_terminal.then(|| {
            let style =
                ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            bar.with_style(style)
        });
        Self {
            bar,
            last: HashMap::new(),
            changes: VecDeque::new(),
            rate: Rate::default(),
            lines: 0,
            next_line: 1,
        }
    }

    /// Says how far the history has come.
    pub(super) fn history(&mut self, done: u64, all: u64) -> std::io::Result<()> {
        let text = format!("reading a month of history: {done} of {all} events");
        if let Some(bar) = &self.bar {
            bar.set_message(text);
        } else if done * HISTORY_LINES > self.lines * all {
            self.lines = done * HISTORY_LINES / all.max(1) + 1;
            say(&text)?;
        }
        Ok(())
    }

    /// Shows the keys as they are now.
    pub(super) fn show(&mut self, keys: &[KeyDocument], figures: &Figures) -> std::io::Result<()> {
        self.note_changes(keys, figures.seconds);
        self.rate.note(figures.seconds, figures.records);
        if let Some(bar) = &self.bar {
            bar.set_message(self.whole(keys, figures));
        } else if figures.seconds >= self.next_line {
            self.next_line = figures.seconds + LINE_INTERVAL;
            say(&headline(keys, figures, self.rate.per_second()))?;
            for change in self.changes.drain(..).rev() {
                say(&format!("  {}", change.text))?;
            }
        }
        Ok(())
    }

    /// Takes the screen away.
    pub(super) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn whole(&self, keys: &[KeyDocument], figures: &Figures) -> String {
        let mut text = headline(keys, figures, self.rate.per_second());
        text.push_str("\nlatest:");
        for change in &self.changes {
            // Writing to a String cannot fail.
            let _ = write!(text, "\n  {}", change.text);
        }
        text
    }

    fn note_changes(&mut self, keys: &[KeyDocument], seconds: u64) {
        let is_first = self.last.is_empty();
        for key in keys {
            let seen = Seen {
                state: key.state,
                wanted: key.wanted.map_or(0, |wanted| wanted.count),
                last_use: key.last_use.as_ref().map(|last| last.at),
            };
            let before = self.last.insert(key.arn, seen);
            if is_first || before == Some(seen) {
                continue;
            }
            if let Some((sort, news)) = news(key, before, seen) {
                self.changes.retain(|line| (line.key, line.sort) != (key.arn, sort));
                let text = format!("{seconds:>4} s  {}", printable(&news));
                self.changes.push_front(Line { key: key.arn, sort, text });
                self.changes.truncate(MOST_CHANGES);
            }
        }
    }
}

/// A use after at least so many seconds without one is worth a line.
const LONG_SLEEP: u32 = 3 * 86_400;

/// What is new about a key, if it is worth a line: a busy key's next use is not.
fn news(key: &KeyDocument, before: Option<Seen>, now: Seen) -> Option<(Sort, String)> {
    let name = name_of(key);
    let Some(before) = before else {
        return Some((Sort::New, format!("{name} is new")));
    };
    if before.state != now.state {
        let state = now.state.map_or("unknown", LifecycleState::name);
        return Some((Sort::State, format!("{name} is {state} now")));
    }
    if now.wanted > before.wanted {
        let attempt = key.last_attempt.as_ref();
        let by = caller(attempt.and_then(|attempt| attempt.principal.as_deref()), None, key.account);
        return Some((
            Sort::Wanted,
            format!("{name} is still wanted: {} failed calls, the last by {by}", now.wanted),
        ));
    }
    let last_use = now.last_use?;
    let Some(slept) = before.last_use.map(|at| last_use.seconds_since(at)) else {
        return Some((Sort::Awake, format!("{name} was used: its first use ever seen")));
    };
    (slept >= LONG_SLEEP)
        .then(|| (Sort::Awake, format!("{name} woke up: its first use in {} days", slept / 86_400)))
}

/// The first alias, else the id.
fn name_of(key: &KeyDocument) -> &str {
    key.aliases.iter().flatten().next().unwrap_or(&key.id)
}

fn is_out_of_use(state: Option<LifecycleState>) -> bool {
    matches!(state, Some(LifecycleState::Disabled | LifecycleState::PendingDeletion))
}

fn headline(keys: &[KeyDocument], figures: &Figures, rate: u64) -> String {
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for key in keys {
        *verdicts.entry(key.verdict.kind.name()).or_default() += 1;
    }
    let verdicts: Vec<String> = verdicts.into_iter().map(|(name, count)| format!("{count} {name}")).collect();
    let wanted = keys.iter().filter(|key| key.wanted.is_some() && is_out_of_use(key.state)).count();
    let lag = figures.lag_seconds.map_or("-".to_owned(), |seconds| format!("{seconds} s"));
    format!(
        "{} s  {rate} events/s, lag {lag}, {} waiting, {} quarantined; {} keys: {}; {wanted} wanted though disabled or pending deletion",
        figures.seconds,
        figures.waiting,
        figures.quarantined,
        keys.len(),
        verdicts.join(", "),
    )
}
