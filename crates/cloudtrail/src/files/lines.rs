//! Files with one document a line.
//!
//! Every line is a document of its own, whatever stands on it. Only the last one, if it has no line end, is looked at:
//! a document that is cut off there is a truncated file, not a malformed record.

use std::io::Read;

use memchr::memchr;

use super::{Delivery, FileLimits, NoteKind, Problem, Window, bytes};
use crate::scan::{Step, extent};

/// Reads what is left of a file.
pub(super) fn read<R: Read>(window: &mut Window<R>, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    let mut searched = 0;
    loop {
        match memchr(b'\n', &window.bytes()[searched..]) {
            Some(found) => {
                deliver(&window.bytes()[..=searched + found], window.offset(), limits, delivery);
                window.consume(searched + found + 1);
                searched = 0;
            }
            None if window.bytes().len() > limits.max_record => {
                skip(window, limits, delivery);
                searched = 0;
            }
            None => {
                searched = window.bytes().len();
                if !window.fill() {
                    break;
                }
            }
        }
    }
    let is_whole = !window.has_failed();
    deliver_last(window.bytes(), is_whole, window.offset(), limits, delivery);
    window.consume(window.bytes().len());
}

/// Delivers one line, its line end included.
pub(super) fn deliver(line: &[u8], offset: u64, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    let content = line.trim_ascii_start();
    let offset = offset + bytes(line.len() - content.len());
    let content = content.trim_ascii_end();
    if line.ends_with(b"\r\n") {
        delivery.notes.add(NoteKind::CarriageReturns, offset);
    }
    if content.len() > limits.max_record {
        delivery.problem(offset, too_large(content, limits));
    } else if !content.is_empty() {
        delivery.document(content, offset);
    }
}

/// Delivers a line without a line end, unless it is cut off.
pub(super) fn deliver_last(
    line: &[u8],
    is_whole: bool,
    offset: u64,
    limits: &FileLimits,
    delivery: &mut Delivery<'_>,
) {
    let content = line.trim_ascii_start();
    let is_document = matches!(content.first(), Some(b'{' | b'['));
    let is_cut_off = is_document && !matches!(extent(content).0, Step::Complete(_));
    if is_cut_off {
        // If the input failed, that is told, and says the same.
        if is_whole {
            delivery.problem(offset + bytes(line.len() - content.len()), Problem::Truncated);
        }
    } else {
        deliver(line, offset, limits, delivery);
    }
}

/// Skips a line that is too large to be kept.
fn skip<R: Read>(window: &mut Window<R>, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    let problem = too_large(window.bytes().trim_ascii_start(), limits);
    delivery.problem(window.offset(), problem);
    loop {
        if let Some(found) = memchr(b'\n', window.bytes()) {
            window.consume(found + 1);
            return;
        }
        window.consume(window.bytes().len());
        if !window.fill() {
            return;
        }
    }
}

/// A line that begins no document hides none, however large it is.
fn too_large(content: &[u8], limits: &FileLimits) -> Problem {
    match content.first() {
        Some(b'{' | b'[') => Problem::TooLarge(limits.max_record),
        _ => Problem::Malformed,
    }
}
