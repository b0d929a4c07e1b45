//! `GET /metrics/keys`: two series a key, streamed.
//!
//! A million keys are 400 MB of text, so it is written as it is sent: one thread looks at a few hundred keys, writes
//! their lines, compresses them if asked to, and hands on pieces of 64 KiB. It waits for a slow caller between two looks,
//! never with a lock held; the bounds on the connection and on the whole answer end it if the caller goes away or sleeps.
//! An answer that ends early ends without the mark of its end, so that no scraper takes it for whole.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use dormouse_ledger::query::{KeyQuery, PARAMETERS, Selection};
use dormouse_ledger::{KeyState, Ledger, Rank, Trace};
use dormouse_model::{EventTime, KeyArn, printable};
use dormouse_pipeline::LiveView;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Frame;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::TEXT_FORMAT;
use super::definitions::{Definition, KEY_LAST_ATTEMPT, KEY_LAST_USE, KEY_SERIES_TRUNCATED};
use crate::api::each_parameter;
use crate::api::keys::set;
use crate::problem::{Code, Problem};
use crate::routes::App;

/// Keys looked at between two pieces.
const KEYS_AT_ONCE: usize = 256;
/// Bytes of a piece of the answer.
const PIECE: usize = 64 << 10;
/// Pieces that wait for the caller.
const PIECES_WAITING: usize = 4;
/// Bytes of a label's value.
const LONGEST_VALUE: usize = 256;

/// The series of the keys that the parameters of `/api/v1/keys` choose; if not all find room, the first in their order do.
pub(crate) async fn keys(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response, Problem> {
    let mut query = KeyQuery::default();
    each_parameter(uri.query(), &PARAMETERS, |name, value| set(&mut query, name, value))?;
    let place = Arc::clone(&app.key_streams).try_acquire_owned();
    let place = place
        .map_err(|_| Problem::new(Code::TooBusy, "others are reading all keys now; ask again in a while"))?;
    let is_compressed = takes_gzip(&headers);
    let (sender, pieces) = mpsc::channel(PIECES_WAITING);
    let is_whole = Arc::<AtomicBool>::default();
    let out = Pieces {
        sender,
        handle: Handle::current(),
        deadline: Instant::now() + app.limits.key_stream_time,
        patience: app.limits.key_stall_time,
        piece: Vec::with_capacity(PIECE),
    };
    let body = Streamed { pieces, is_whole: Arc::clone(&is_whole) };
    tokio::task::spawn_blocking(move || {
        let _place = place;
        let view = &app.instance.view;
        let selection = view.select(&query);
        match write_all(view, &selection, app.limits.max_key_series, is_compressed, out) {
            // The sender is gone by now, so this comes too late only if it is not needed.
            Ok(last) => {
                is_whole.store(true, Ordering::Release);
                drop(last);
            }
            Err(error) => tracing::debug!("an answer of /metrics/keys ended early: {error}"),
        }
    });
    let mut response = Response::new(Body::new(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, TEXT_FORMAT);
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    if is_compressed {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Ok(response)
}

/// Writes everything and hands on the last piece; what is returned has still to be dropped, which ends the answer.
fn write_all(
    view: &LiveView,
    selection: &Selection,
    most: usize,
    is_compressed: bool,
    mut out: Pieces,
) -> io::Result<Pieces> {
    if is_compressed {
        let mut encoder = GzEncoder::new(out, Compression::fast());
        write_families(view, selection, most, &mut encoder)?;
        out = encoder.finish()?;
    } else {
        write_families(view, selection, most, &mut out)?;
    }
    out.hand_on()?;
    Ok(out)
}

fn write_families(
    view: &LiveView,
    selection: &Selection,
    most: usize,
    out: &mut impl Write,
) -> io::Result<()> {
    let mut room = most;
    let mut left_out = 0;
    let last_use: Look = |state| state.last_use();
    let last_attempt: Look = |state| state.last_attempt();
    for (definition, look) in [(&KEY_LAST_USE, last_use), (&KEY_LAST_ATTEMPT, last_attempt)] {
        left_out += write_family(view, selection, definition, look, &mut room, out)?;
    }
    write_head(&KEY_SERIES_TRUNCATED, out)?;
    writeln!(out, "{} {left_out}", KEY_SERIES_TRUNCATED.name)
}

/// What a family is about.
type Look = fn(&KeyState<Rank>) -> Option<&Rank>;

/// Writes one family and returns how many series found no room.
fn write_family(
    view: &LiveView,
    selection: &Selection,
    definition: &Definition,
    look: Look,
    room: &mut usize,
    out: &mut impl Write,
) -> io::Result<u64> {
    write_head(definition, out)?;
    let ledger = view.ledger();
    let mut left_out = 0;
    let mut lines = String::new();
    for from in (0..selection.len()).step_by(KEYS_AT_ONCE) {
        lines.clear();
        for key in ledger.keys_in_rows(selection.rows(from, KEYS_AT_ONCE)) {
            let has_room = *room > 0;
            let seen = ledger.with(key, |state| {
                let at = look(state)?.time;
                Some((at, if has_room { first_alias(key, state, ledger) } else { String::new() }))
            });
            let Some((at, alias)) = seen.flatten() else {
                continue;
            };
            if has_room {
                *room -= 1;
                write_line(definition, key, &alias, at, &mut lines);
            } else {
                left_out += 1;
            }
        }
        out.write_all(lines.as_bytes())?;
    }
    Ok(left_out)
}

fn first_alias<T: Trace>(key: KeyArn, state: &KeyState<T>, ledger: &Ledger<T>) -> String {
    let aliases = state.registers().and_then(|registers| ledger.aliases().of_key(key, registers));
    aliases.and_then(|aliases| aliases.into_iter().next()).unwrap_or_default()
}

fn write_head(definition: &Definition, out: &mut impl Write) -> io::Result<()> {
    let Definition { name, help, .. } = definition;
    write!(out, "# HELP {name} {help}\n# TYPE {name} gauge\n")
}

fn write_line(definition: &Definition, key: KeyArn, alias: &str, at: EventTime, lines: &mut String) {
    let (account, region) = (key.account(), key.region().name());
    let alias = Escaped(&label_value(alias)).to_string();
    // Account, Region and ARN are of characters that need no escape. Writing to a String cannot fail.
    let _ = writeln!(
        lines,
        "{}{{arn=\"{key}\",account=\"{account}\",region=\"{region}\",alias=\"{alias}\"}} {}",
        definition.name,
        at.seconds()
    );
}

/// Text that somebody chose, harmless for whoever sees it on a dashboard, and no longer than a label should be.
fn label_value(text: &str) -> String {
    let mut value = printable(text).into_owned();
    value.truncate(value.floor_char_boundary(LONGEST_VALUE));
    value
}

/// A label's value as the text format wants it.
struct Escaped<'a>(&'a str);

impl std::fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether the caller takes gzip, by `Accept-Encoding`.
fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut takes = false;
    for value in headers.get_all(header::ACCEPT_ENCODING) {
        for coding in value.to_str().unwrap_or_default().split(',') {
            let mut parts = coding.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            let weight = parts.find_map(|part| part.strip_prefix("q="));
            let is_refused = weight.is_some_and(|weight| weight.parse() == Ok(0.0));
            if is_gzip {
                takes = !is_refused;
            }
        }
    }
    takes
}

/// Collects bytes into pieces and hands them on, waiting for the caller as long as a piece and the whole answer may take.
struct Pieces {
    sender: mpsc::Sender<Bytes>,
    handle: Handle,
    deadline: Instant,
    patience: Duration,
    piece: Vec<u8>,
}

impl Pieces {
    fn hand_on(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let deadline = self.deadline.min(Instant::now() + self.patience);
        let sending = timeout_at(deadline, self.sender.send(piece.into()));
        match self.handle.block_on(sending) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "the caller has gone")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "the caller reads too slowly")),
        }
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE.saturating_sub(self.piece.len()).max(1);
        let taken = bytes.len().min(room);
        self.piece.extend_from_slice(&bytes[..taken]);
        if self.piece.len() >= PIECE {
            self.hand_on()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The pieces as a body. Fails at its end unless everything was written.
struct Streamed {
    pieces: mpsc::Receiver<Bytes>,
    is_whole: Arc<AtomicBool>,
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let piece = ready!(self.pieces.poll_recv(context));
        Poll::Ready(match piece {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.is_whole.load(Ordering::Acquire) => None,
            None => Some(Err(io::ErrorKind::UnexpectedEof.into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;

    use super::*;

    #[test]
    fn a_label_is_short_and_harmless() {
        assert_eq!(label_value("alias/app é"), "alias/app é");
        assert_eq!(label_value("a\n\u{202e}b"), "a\\u{a}\\u{202e}b");
        let long = label_value(&"é".repeat(200));
        assert_eq!(long.len(), 256);
        assert_eq!(label_value(&format!("a{}", "é".repeat(200))).len(), 255);
        assert_eq!(Escaped("a\\u{a}\"b\n").to_string(), "a\\\\u{a}\\\"b\\n");
    }

    #[test]
    fn gzip_is_taken_unless_refused() {
        for (value, takes) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("gzip;q=0", false),
            ("gzip; q=0.0", false),
            ("identity", false),
            ("x-gzip", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, value.parse().unwrap());
            assert_eq!(takes_gzip(&headers), takes, "{value}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }

    fn pieces(most_time: Duration, patience: Duration) -> (Pieces, Streamed) {
        let (sender, pieces) = mpsc::channel(PIECES_WAITING);
        let deadline = Instant::now() + most_time;
        let out = Pieces { sender, handle: Handle::current(), deadline, patience, piece: Vec::new() };
        (out, Streamed { pieces, is_whole: Arc::default() })
    }

    const LONG: Duration = Duration::from_secs(600);

    /// What a body came to: its bytes, and whether it had its end.
    async fn read(mut body: Streamed) -> (usize, bool) {
        let mut bytes = 0;
        while let Some(frame) = body.frame().await {
            match frame {
                Ok(frame) => bytes += frame.into_data().unwrap().len(),
                Err(_) => return (bytes, false),
            }
        }
        (bytes, true)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_reads_too_slowly_gets_an_answer_without_its_end() {
        let short = Duration::from_millis(50);
        // Too slow as a whole, and nothing taken for too long.
        for (most_time, patience) in [(short, LONG), (LONG, short)] {
            let (mut out, body) = pieces(most_time, patience);
            let outcome =
                tokio::task::spawn_blocking(move || out.write_all(&[b'x'; PIECE * 10])).await.unwrap();
            assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::TimedOut);
            assert_eq!(read(body).await, (PIECE * PIECES_WAITING, false));
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_caller_that_goes_away_ends_the_work() {
        let (mut out, body) = pieces(LONG, LONG);
        drop(body);
        let outcome = tokio::task::spawn_blocking(move || out.write_all(&[b'x'; PIECE])).await.unwrap();
        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
