//! A plan for several workers at one file.
//!
//! A plain file with one document a line may be cut at any line end. Each worker reads its part by itself, so a file of
//! many gigabytes is read as fast as all cores parse.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;

use memchr::memchr;

use super::layout::{self, Layout};
use super::{Delivery, FileLimits, FileReport, NoteKind, Piece, PiecesOnly, Window, bytes, lines};
use crate::{aggregate, gzip};

/// The parts of a plain file with one document a line: ranges of bytes, each about `chunk_size` long, that begin at the
/// beginning of a line and together are the whole file.
///
/// `None` if the file is packed, is to be read by document, is empty or cannot be read: then
/// [`read_records`](super::read_records) is the way.
pub fn plan_chunks(file: &File, len: u64, chunk_size: u64) -> Option<Vec<Range<u64>>> {
    let mut part = Part { file, range: 0..len };
    let mut sample = Vec::new();
    part.by_ref().take(bytes(layout::SAMPLE)).read_to_end(&mut sample).ok()?;
    let begin = layout::byte_order_mark(&sample);
    let is_all = bytes(sample.len()) == len;
    let is_binary = gzip::is_gzip(&sample) || sample.starts_with(&aggregate::MAGIC);
    if sample.is_empty() || is_binary || Layout::of(&sample[begin..], is_all) != Layout::Lines {
        return None;
    }
    let mut chunks = Vec::new();
    let mut from = 0;
    while from < len {
        let wanted = from.saturating_add(chunk_size.max(1));
        let to = if wanted >= len { len } else { line_begin_behind(file, wanted, len).ok()? };
        chunks.push(from..to);
        from = to;
    }
    Some(chunks)
}

/// The beginning of the first line that begins behind this place; the file's end if there is none.
fn line_begin_behind(file: &File, place: u64, len: u64) -> io::Result<u64> {
    let mut buffer = vec![0; 16 << 10];
    // A line that begins at the place itself shows by the line end before it.
    let mut at = place - 1;
    while at < len {
        let read = read_at(file, &mut buffer, at)?;
        if read == 0 {
            break;
        }
        if let Some(found) = memchr(b'\n', &buffer[..read]) {
            return Ok((at + bytes(found) + 1).min(len));
        }
        at += bytes(read);
    }
    Ok(len)
}

fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// Reads one part of a planned file, in bounded memory. The file's own position does not matter, so workers may share
/// it.
pub fn read_range(
    file: &File,
    range: Range<u64>,
    limits: &FileLimits,
    visit: &mut dyn FnMut(Piece<'_>),
) -> FileReport {
    let (begin, end) = (range.start, range.end);
    let mut pieces = PiecesOnly(visit);
    let mut delivery = Delivery::new(&mut pieces);
    let mut window = Window::new(Part { file, range }, begin, limits.max_record);
    if begin == 0 {
        window.fill_to(3);
        let mark = skip_byte_order_mark(window.bytes(), &mut delivery);
        window.consume(mark);
    }
    lines::read(&mut window, limits, &mut delivery);
    let read = window.offset() - begin;
    delivery.unpacked = read;
    if let Some(problem) = window.take_failure() {
        delivery.problem(window.offset(), problem);
    } else if window.offset() < end {
        delivery.problem(window.offset(), super::Problem::Truncated);
    }
    delivery.report(read)
}

/// Reads one part of a planned file that is in memory, and begins at this offset in the file.
pub fn read_lines(
    chunk: &[u8],
    offset: u64,
    limits: &FileLimits,
    visit: &mut dyn FnMut(Piece<'_>),
) -> FileReport {
    let mut pieces = PiecesOnly(visit);
    let mut delivery = Delivery::new(&mut pieces);
    let mut begin = if offset == 0 { skip_byte_order_mark(chunk, &mut delivery) } else { 0 };
    while let Some(found) = memchr(b'\n', &chunk[begin..]) {
        let end = begin + found + 1;
        lines::deliver(&chunk[begin..end], offset + bytes(begin), limits, &mut delivery);
        begin = end;
    }
    lines::deliver_last(&chunk[begin..], true, offset + bytes(begin), limits, &mut delivery);
    delivery.unpacked = bytes(chunk.len());
    delivery.report(bytes(chunk.len()))
}

fn skip_byte_order_mark(begin: &[u8], delivery: &mut Delivery<'_>) -> usize {
    let mark = layout::byte_order_mark(begin);
    if mark > 0 {
        delivery.notes.add(NoteKind::ByteOrderMark, 0);
    }
    mark
}

/// A part of a file, as an input.
struct Part<'f> {
    file: &'f File,
    range: Range<u64>,
}

impl Read for Part<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end.saturating_sub(self.range.start)).unwrap_or(usize::MAX);
        let length = left.min(out.len());
        let read = self.file.read_at(&mut out[..length], self.range.start)?;
        self.range.start += bytes(read);
        Ok(read)
    }
}
