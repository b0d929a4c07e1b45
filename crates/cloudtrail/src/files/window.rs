//! The part of a file that is in memory.
//!
//! Bytes come in at the end and are consumed at the front. What is asked for stays in one slice, so the buffer grows
//! to the largest document and no further: its users skip what is larger.

use std::io::{ErrorKind, Read};

use super::{Problem, bytes};
use crate::gzip::GzipError;

/// How much is read at once.
const STEP: usize = 256 << 10;

/// A window that moves over an input.
pub(super) struct Window<R> {
    input: R,
    buffer: Vec<u8>,
    begin: usize,
    end: usize,
    /// Where in the text the window begins.
    offset: u64,
    /// How large a document may become.
    most: usize,
    ended: bool,
    failure: Option<Problem>,
}

impl<R: Read> Window<R> {
    /// A window at the beginning of an input, which is at this offset in its file.
    /// Its users ask for documents of at most so many bytes.
    pub(super) fn new(input: R, offset: u64, most: usize) -> Self {
        Self { input, buffer: Vec::new(), begin: 0, end: 0, offset, most, ended: false, failure: None }
    }

    /// What is in the window.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.begin..self.end]
    }

    /// Where in the text the window begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether there is nothing behind the window.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether the input could not be read to its end.
    pub(super) fn has_failed(&self) -> bool {
        self.failure.is_some()
    }

    /// Why the input ended before its end.
    pub(super) fn take_failure(&mut self) -> Option<Problem> {
        self.failure.take()
    }

    /// Moves the front of the window.
    pub(super) fn consume(&mut self, length: usize) {
        let length = length.min(self.end - self.begin);
        self.begin += length;
        self.offset += bytes(length);
    }

    /// Lets more in at the end. Says whether something came.
    pub(super) fn fill(&mut self) -> bool {
        if self.ended {
            return false;
        }
        self.make_room();
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(length) => self.end += length,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => {
                    self.ended = true;
                    self.failure = Some(match GzipError::from_io(&error) {
                        Some(gzip) => Problem::Gzip(gzip),
                        None => Problem::Io(error.to_string()),
                    });
                }
            }
            return !self.ended;
        }
    }

    /// Fills the window with so many bytes, if there are as many.
    pub(super) fn fill_to(&mut self, length: usize) {
        while self.bytes().len() < length && self.fill() {}
    }

    fn make_room(&mut self) {
        if self.begin == self.end {
            (self.begin, self.end) = (0, 0);
        }
        if self.buffer.len() - self.end >= STEP / 2 {
            return;
        }
        let held = self.end - self.begin;
        self.buffer.copy_within(self.begin..self.end, 0);
        (self.begin, self.end) = (0, held);
        // Doubling what is held keeps the copying linear.
        let size = (2 * held).min(self.most).max(held).next_multiple_of(STEP) + STEP;
        if size > self.buffer.len() {
            self.buffer.resize(size, 0);
        }
    }
}
