//! Files of any size, cut into documents for a [`Decoder`](crate::Decoder) in bounded memory.
//!
//! A folder of CloudTrail files holds trail objects (one list of records on one line, often of many megabytes), one
//! record a line, printed JSON, documents one behind the other; packed or plain; and some that were cut off when they
//! were copied. [`read_records`] tells by the first bytes, delivers each document or element as a [`Piece`] and says in
//! its [`FileReport`] whether the file was read whole.
//!
//! It promises:
//!
//! * No more memory than a mebibyte and [`FileLimits::max_record`], whatever the file.
//! * What comes before damage is delivered, and so is what comes behind it wherever the next beginning of a record can
//!   be told: on the next line.
//! * Where a plain file has one document a line, [`plan_chunks`] cuts it so that several workers can share it.
//!
//! Its ceiling: lines are found as fast as memory is read; lists are scanned byte by byte, at about a gigabyte a
//! second, before the decoder parses each element.
//!
//! | file | what is there |
//! |---|---|
//! | `layout.rs` | which of the two ways to read a file |
//! | `lines.rs`, `documents.rs` | the two ways |
//! | `chunks.rs` | the plan for several workers |
//! | `window.rs` | the part of the file that is in memory |
//! | `hashing.rs` | what a trail's digest files say of a file |
//! | `notes.rs` | oddities that cost nothing and deserve naming |

mod chunks;
mod documents;
mod hashing;
mod layout;
mod lines;
mod notes;
mod window;

use std::io::{self, BufRead, BufReader, Cursor, Read};

pub use chunks::{plan_chunks, read_lines, read_range};
pub use notes::{Note, NoteKind};

use crate::aggregate;
use crate::gzip::{self, GzipError, GzipReader, Ratio};
use hashing::Hashing;
use layout::Layout;
use notes::Notes;
use window::Window;

/// How much of a file is taken on trust.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileLimits {
    /// Bytes of one document or element; larger ones are skipped. Also the most that is kept in memory of one.
    pub max_record: usize,
    /// A gzip may unpack to this many bytes at any ratio.
    pub free_unpacked: u64,
    /// Beyond that it is taken for a bomb if more bytes than this come out for each that goes in.
    pub max_ratio: u64,
    /// Whether to compute [`FileReport::sha256`].
    pub hash: bool,
}

impl Default for FileLimits {
    fn default() -> Self {
        Self { max_record: 16 << 20, free_unpacked: 64 << 20, max_ratio: 250, hash: false }
    }
}

/// A part of a file. Offsets count unpacked bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// One document, or one element of a list of records, ready for [`Decoder::decode`](crate::Decoder::decode). It is
    /// not checked: the decoder says what it is.
    Document {
        /// The document.
        bytes: &'a [u8],
        /// Where it begins.
        offset: u64,
    },
    /// Something that was not delivered.
    Problem {
        /// Where it begins, or where the file ended.
        offset: u64,
        /// What it is.
        problem: Problem,
    },
}

/// Why a part of a file was not delivered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The file holds nothing but white space.
    #[error("empty")]
    Empty,
    /// Text that is no part of a document; reading went on at the next line.
    #[error("malformed text skipped")]
    Malformed,
    /// A document or element beyond the bound; reading went on behind it.
    #[error("a record of more than {0} bytes skipped")]
    TooLarge(usize),
    /// The text ends amid a document or a list.
    #[error("truncated: the text ends amid a document")]
    Truncated,
    /// The file cannot be unpacked to its end.
    #[error("{0}")]
    Gzip(#[from] GzipError),
    /// The file cannot be read to its end.
    #[error("cannot be read: {0}")]
    Io(String),
}

impl Problem {
    /// Whether records may have been missed that the file once held, or holds. Text that is no record hides none, and
    /// neither does an empty file.
    pub fn is_loss(&self) -> bool {
        !matches!(self, Self::Empty | Self::Malformed)
    }

    /// A code that stays the same from version to version.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Malformed => "malformed",
            Self::TooLarge(_) => "too_large",
            Self::Truncated => "truncated",
            Self::Gzip(error) => error.code(),
            Self::Io(_) => "unreadable",
        }
    }
}

/// What became of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileReport {
    /// Nothing was missed: no problem was a loss.
    pub whole: bool,
    /// Oddities, each named once.
    pub notes: Vec<Note>,
    /// Bytes of the file, as it lies there.
    pub read: u64,
    /// Bytes of text.
    pub unpacked: u64,
    /// Documents and elements delivered.
    pub documents: u64,
    /// Problems delivered.
    pub problems: u64,
    /// The SHA-256 of the unpacked bytes, as a trail's digest files have it: if it was asked for and the file could be
    /// read to its end.
    pub sha256: Option<[u8; 32]>,
}

/// Who is told about the pieces of a file.
pub trait Visit {
    /// The next piece.
    fn piece(&mut self, piece: Piece<'_>);

    /// Takes the records that a text within a list, at this offset, begins with, and returns how many bytes they are: as
    /// [`Decoder::decode_leading`](crate::Decoder::decode_leading) does. A record that is taken here need not be looked at
    /// to find its end, which costs as much as a good part of its decoding; what is not taken comes as a piece.
    fn take_leading(&mut self, text: &[u8], offset: u64) -> usize;
}

/// Takes pieces only.
struct PiecesOnly<'v>(&'v mut dyn FnMut(Piece<'_>));

impl Visit for PiecesOnly<'_> {
    fn piece(&mut self, piece: Piece<'_>) {
        (self.0)(piece);
    }

    fn take_leading(&mut self, _text: &[u8], _offset: u64) -> usize {
        0
    }
}

/// Reads a file, plain or gzip, and visits its documents and problems in their order.
pub fn read_records(input: impl Read, limits: &FileLimits, visit: &mut dyn FnMut(Piece<'_>)) -> FileReport {
    visit_records(input, limits, &mut PiecesOnly(visit))
}

/// The same for a visitor that can take records from where they begin.
pub fn visit_records(input: impl Read, limits: &FileLimits, visit: &mut dyn Visit) -> FileReport {
    let mut input = BufReader::with_capacity(64 << 10, Metered { input, read: 0 });
    let mut delivery = Delivery::new(visit);
    match beginning(&mut input) {
        Ok(begin) if gzip::is_gzip(&begin) => {
            let packed = Cursor::new(begin).chain(&mut input);
            let ratio = Ratio { free: limits.free_unpacked, most: limits.max_ratio };
            read_text(GzipReader::new(packed, ratio), limits, &mut delivery);
        }
        Ok(begin) => read_text(Cursor::new(begin).chain(&mut input), limits, &mut delivery),
        Err(error) => delivery.problem(0, Problem::Io(error.to_string())),
    }
    delivery.report(input.get_ref().read)
}

/// The first two bytes, or fewer if there are no more.
fn beginning(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut begin = Vec::new();
    input.take(2).read_to_end(&mut begin)?;
    Ok(begin)
}

fn read_text(input: impl Read, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    let mut input = Hashing::new(input, limits.hash);
    let mut window = Window::new(&mut input, 0, limits.max_record);
    window.fill_to(layout::SAMPLE);
    read_window(&mut window, limits, delivery);
    delivery.unpacked = window.offset();
    if let Some(problem) = window.take_failure() {
        return delivery.problem(window.offset(), problem);
    }
    if !delivery.has_text {
        delivery.problem(0, Problem::Empty);
    }
    delivery.sha256 = input.finish();
}

fn read_window(window: &mut Window<impl Read>, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    if window.bytes().starts_with(&aggregate::MAGIC) {
        return read_whole(window, limits, delivery);
    }
    let mark = layout::byte_order_mark(window.bytes());
    if mark > 0 {
        delivery.notes.add(NoteKind::ByteOrderMark, 0);
        window.consume(mark);
    }
    match Layout::of(window.bytes(), window.has_ended()) {
        Layout::Lines => lines::read(window, limits, delivery),
        Layout::Documents => documents::read(window, limits, delivery),
    }
}

/// An aggregated Kinesis record has a checksum at its end: it is one document, whatever its bytes look like.
fn read_whole(window: &mut Window<impl Read>, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    window.fill_to(limits.max_record.saturating_add(1));
    if window.bytes().len() > limits.max_record {
        delivery.problem(0, Problem::TooLarge(limits.max_record));
    } else if !window.has_failed() {
        delivery.document(window.bytes(), 0);
    }
    window.consume(window.bytes().len());
    while window.fill() {
        window.consume(window.bytes().len());
    }
}

/// Hands pieces to the visitor and keeps the count.
struct Delivery<'v> {
    visit: &'v mut dyn Visit,
    notes: Notes,
    documents: u64,
    problems: u64,
    losses: u64,
    unpacked: u64,
    sha256: Option<[u8; 32]>,
    /// Something other than white space was seen.
    has_text: bool,
}

impl<'v> Delivery<'v> {
    fn new(visit: &'v mut dyn Visit) -> Self {
        Self {
            visit,
            notes: Notes::default(),
            documents: 0,
            problems: 0,
            losses: 0,
            unpacked: 0,
            sha256: None,
            has_text: false,
        }
    }

    fn document(&mut self, bytes: &[u8], offset: u64) {
        self.documents += 1;
        self.has_text = true;
        self.notes.inspect(bytes, offset);
        self.visit.piece(Piece::Document { bytes, offset });
    }

    /// Offers a text within a list; how many bytes of it were taken.
    fn offer(&mut self, text: &[u8], offset: u64) -> usize {
        let taken = self.visit.take_leading(text, offset);
        if taken > 0 {
            self.documents += 1;
            self.notes.inspect_text(&text[..taken], offset);
        }
        taken
    }

    fn problem(&mut self, offset: u64, problem: Problem) {
        self.problems += 1;
        self.has_text = true;
        self.losses += u64::from(problem.is_loss());
        self.visit.piece(Piece::Problem { offset, problem });
    }

    fn report(self, read: u64) -> FileReport {
        FileReport {
            whole: self.losses == 0,
            notes: self.notes.into_list(),
            read,
            unpacked: self.unpacked,
            documents: self.documents,
            problems: self.problems,
            sha256: self.sha256,
        }
    }
}

/// Counts what is read from a file.
struct Metered<R> {
    input: R,
    read: u64,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = self.input.read(out)?;
        self.read += bytes(length);
        Ok(length)
    }
}

/// A length as files count.
fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
