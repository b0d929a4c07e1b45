//! Files whose documents end where their brackets close.
//!
//! A list of records, be it all of the file or the `Records` of an object, is never held whole: its elements are
//! delivered one by one. Text that is no part of a document costs its line.

use std::io::Read;

use memchr::{memchr, memmem};

use super::notes::LARGEST_REAL_RECORD;
use super::{Delivery, FileLimits, NoteKind, Problem, Window};
use crate::recovery::{continues, is_json};
use crate::scan::{Scanner, Step, end_of_value, extent, next_line, skip_separators};
use crate::shape::{Members, Outline, leading_records};

/// An object that is larger than this may be one around a list of records, and is looked at.
const LARGE: usize = 256 << 10;
/// The beginning of an object in which its first name shows.
const GLIMPSE: usize = 4 << 10;

/// Reads what is left of a file.
pub(super) fn read<R: Read>(window: &mut Window<R>, limits: &FileLimits, delivery: &mut Delivery<'_>) {
    let mut reader = Reader { window, limits, delivery, place: Place::Top, by_line: false, in_junk: false };
    while let Some(byte) = reader.next_byte() {
        reader.delivery.has_text = true;
        reader.step(byte);
    }
    reader.end();
}

/// Where the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between documents.
    Top,
    /// In a list.
    List { in_object: bool },
    /// Between the members of an object that had a list of records.
    Members,
    /// Behind the cut-off beginning of a document with which the text ended.
    CutOff,
}

struct Reader<'a, 'v, R> {
    window: &'a mut Window<R>,
    limits: &'a FileLimits,
    delivery: &'a mut Delivery<'v>,
    place: Place,
    /// A scan ran to the end of the text in vain: from now on every value has to end on its line.
    by_line: bool,
    /// The last line was junk and that was told.
    in_junk: bool,
}

impl<R: Read> Reader<'_, '_, R> {
    /// The next byte that is neither white space nor a comma.
    fn next_byte(&mut self) -> Option<u8> {
        loop {
            let text = self.window.bytes();
            let separators = skip_separators(text, 0);
            let found = text.get(separators).copied();
            if text[..separators].contains(&b'\r') {
                self.delivery.notes.add(NoteKind::CarriageReturns, self.window.offset());
            }
            self.window.consume(separators);
            if found.is_some() || !self.window.fill() {
                return found;
            }
        }
    }

    fn step(&mut self, byte: u8) {
        match (self.place, byte) {
            (Place::Top, b'{') => self.object(),
            (Place::Top, b'[') => self.enter(1, false),
            (Place::List { .. }, b'{') if self.offer() => {}
            (Place::List { .. }, b'{' | b'[') => self.value(),
            (Place::List { in_object }, b']') => {
                self.window.consume(1);
                self.place = if in_object { Place::Members } else { Place::Top };
            }
            (Place::List { .. }, _) => self.word(),
            (Place::Members, b'}') => {
                self.window.consume(1);
                self.place = Place::Top;
            }
            (Place::Members, b'"') => self.member(),
            (Place::Members | Place::Top | Place::CutOff, _) => {
                self.place = Place::Top;
                self.junk_line();
            }
        }
    }

    fn enter(&mut self, length: usize, in_object: bool) {
        self.window.consume(length);
        self.place = Place::List { in_object };
    }

    /// The end of the text: within a list it comes too early.
    fn end(&mut self) {
        let is_amid = matches!(self.place, Place::List { .. } | Place::Members);
        if is_amid && !self.window.has_failed() {
            self.delivery.problem(self.window.offset(), Problem::Truncated);
        }
    }

    /// Offers the elements that lie ahead to be taken as they are; false if none was.
    fn offer(&mut self) -> bool {
        if self.by_line {
            return false;
        }
        let text = self.window.bytes();
        // A larger record is delivered by itself, so that it is noted.
        let ahead = &text[..text.len().min(LARGEST_REAL_RECORD)];
        let taken = self.delivery.offer(ahead, self.window.offset());
        self.window.consume(taken);
        self.in_junk &= taken == 0;
        taken > 0
    }

    fn object(&mut self) {
        self.window.fill_to(GLIMPSE);
        match leading_records(self.window.bytes()) {
            Some(list) => self.enter(list, true),
            None => self.value(),
        }
    }

    /// An object or a list that is one document or element.
    fn value(&mut self) {
        if self.by_line {
            return self.value_on_its_line();
        }
        let mut scanner = Scanner::default();
        let mut fed = 0;
        loop {
            match scanner.feed(self.window.bytes(), fed) {
                Step::Complete(length) => return self.complete(length),
                Step::Broken(line_end) => return self.broken(line_end),
                Step::More => fed = self.window.bytes().len(),
            }
            if fed > self.limits.max_record {
                return self.too_large(scanner);
            }
            if !self.window.fill() {
                return self.cut_off();
            }
        }
    }

    fn complete(&mut self, length: usize) {
        let value = &self.window.bytes()[..length];
        let first_line = next_line(value, 0);
        if first_line < length && !continues(&value[..first_line]) && !is_json(value) {
            // It took brackets of its neighbours to close this one.
            return self.junk(first_line);
        }
        if length > LARGE && self.enters_list(length) {
            return;
        }
        if length > self.limits.max_record {
            self.delivery.problem(self.window.offset(), Problem::TooLarge(self.limits.max_record));
            return self.window.consume(length);
        }
        self.deliver(length);
    }

    fn deliver(&mut self, length: usize) {
        let value = &self.window.bytes()[..length];
        if self.delivery.documents == 0 && memmem::find(value, b"\r\n").is_some() {
            self.delivery.notes.add(NoteKind::CarriageReturns, self.window.offset());
        }
        self.delivery.document(value, self.window.offset());
        self.window.consume(length);
        self.in_junk = false;
    }

    /// If an object at the top, of which so much is known, has a list of records: goes there.
    fn enters_list(&mut self, length: usize) -> bool {
        if self.place != Place::Top {
            return false;
        }
        let list = Outline::of(&self.window.bytes()[..length]).records;
        if let Some(list) = list {
            self.enter(list, true);
        }
        list.is_some()
    }

    fn broken(&mut self, line_end: usize) {
        let first_line = next_line(self.window.bytes(), 0);
        let is_printed = continues(&self.window.bytes()[..first_line]);
        if !self.enters_list(line_end) {
            self.by_line |= line_end >= first_line;
            self.junk(if is_printed { line_end + 1 } else { first_line });
        }
    }

    /// The text ends within a value.
    fn cut_off(&mut self) {
        let length = self.window.bytes().len();
        if self.enters_list(length) {
            return;
        }
        let first_line = next_line(self.window.bytes(), 0);
        let is_printed = continues(&self.window.bytes()[..first_line]);
        if first_line < length && !is_printed {
            // More likely the line was cut off than the text.
            self.by_line = true;
            return self.junk(first_line);
        }
        if !self.window.has_failed() {
            self.delivery.problem(self.window.offset(), Problem::Truncated);
        }
        self.window.consume(length);
        self.place = Place::CutOff;
    }

    fn value_on_its_line(&mut self) {
        let Some(line) = self.line() else {
            return self.too_large(Scanner::default());
        };
        match extent(&self.window.bytes()[..line]).0 {
            Step::Complete(length) => self.deliver(length),
            Step::More if self.window.bytes()[line - 1] != b'\n' => self.cut_off(),
            Step::More | Step::Broken(_) => self.junk(line),
        }
    }

    /// The length of the line that begins here, its line end included; `None` if it is too large.
    fn line(&mut self) -> Option<usize> {
        let mut searched = 0;
        loop {
            if let Some(found) = memchr(b'\n', &self.window.bytes()[searched..]) {
                return Some(searched + found + 1);
            }
            searched = self.window.bytes().len();
            if searched > self.limits.max_record {
                return None;
            }
            if !self.window.fill() {
                return Some(searched);
            }
        }
    }

    /// Skips a value that is too large to be kept, or goes to the list in it.
    fn too_large(&mut self, mut scanner: Scanner) {
        let length = self.window.bytes().len();
        if self.enters_list(length) {
            return;
        }
        self.delivery.problem(self.window.offset(), Problem::TooLarge(self.limits.max_record));
        if self.by_line {
            return self.skip_line();
        }
        self.window.consume(length);
        self.skip_value(&mut scanner);
    }

    fn skip_value(&mut self, scanner: &mut Scanner) {
        while self.window.fill() {
            let (length, end) = (self.window.bytes().len(), scanner.feed_unchecked(self.window.bytes()));
            self.window.consume(end.unwrap_or(length));
            if end.is_some() {
                return;
            }
        }
    }

    /// An element that is no object and no list.
    fn word(&mut self) {
        self.window.fill_to(GLIMPSE);
        match end_of_value(self.window.bytes(), 0) {
            Some(length) => self.deliver(length),
            None => self.junk_line(),
        }
    }

    /// A member of an object behind its list of records; there may be another list.
    fn member(&mut self) {
        self.window.fill_to(GLIMPSE);
        let text = self.window.bytes();
        let Some(member) = Members::at(text, 0).next() else {
            self.place = Place::Top;
            return self.junk_line();
        };
        let (begin, end) = (member.begin, member.end);
        if *member.name == *b"Records" && text[begin] == b'[' {
            return self.enter(begin + 1, true);
        }
        if let Some(end) = end {
            return self.window.consume(end);
        }
        let mut scanner = Scanner::default();
        let (length, end) = (text.len(), scanner.feed_unchecked(&text[begin..]));
        self.window.consume(end.map_or(length, |end| begin + end));
        if end.is_none() {
            self.skip_value(&mut scanner);
        }
    }

    fn junk_line(&mut self) {
        self.tell_junk();
        self.skip_line();
    }

    fn junk(&mut self, length: usize) {
        self.tell_junk();
        self.window.consume(length);
    }

    fn tell_junk(&mut self) {
        if !self.in_junk {
            self.delivery.problem(self.window.offset(), Problem::Malformed);
        }
        self.in_junk = true;
    }

    fn skip_line(&mut self) {
        loop {
            if let Some(found) = memchr(b'\n', self.window.bytes()) {
                return self.window.consume(found + 1);
            }
            self.window.consume(self.window.bytes().len());
            if !self.window.fill() {
                return;
            }
        }
    }
}
