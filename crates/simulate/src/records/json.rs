//! JSON, written straight into a text.
//!
//! Records are put together by the ten thousand, mostly from texts that need no escaping, and their fields keep the
//! order that CloudTrail gives them.

use std::fmt::{Display, Write as _};

/// An object that is being written. The braces are the caller's: see [`object`].
pub(crate) struct Object<'a> {
    out: &'a mut String,
    empty: bool,
}

/// Appends an object with the fields that `fill` writes.
pub(crate) fn object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object { out, empty: true });
    out.push('}');
}

/// An object as a text of its own.
pub(crate) fn object_text(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::with_capacity(256);
    object(&mut out, fill);
    out
}

/// Appends a string with its quotes.
pub(crate) fn string(out: &mut String, text: &str) {
    if text.bytes().any(|byte| byte < 0x20 || byte == b'"' || byte == b'\\') {
        // A string always serialises.
        out.push_str(&serde_json::to_string(text).unwrap_or_default());
    } else {
        out.push('"');
        out.push_str(text);
        out.push('"');
    }
}

impl Object<'_> {
    fn name(&mut self, name: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }

    /// A field with any text, name included.
    pub(crate) fn any(&mut self, name: &str, value: &str) {
        if !self.empty {
            self.out.push(',');
        }
        self.empty = false;
        string(self.out, name);
        self.out.push(':');
        string(self.out, value);
    }

    pub(crate) fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        string(self.out, value);
    }

    /// A string whose text needs no escaping.
    pub(crate) fn shown(&mut self, name: &str, value: impl Display) {
        self.name(name);
        // Writing to a String cannot fail.
        let _ = write!(self.out, "\"{value}\"");
    }

    /// A number, a boolean or anything else that is JSON already.
    pub(crate) fn raw(&mut self, name: &str, value: impl Display) {
        self.name(name);
        let _ = write!(self.out, "{value}");
    }

    pub(crate) fn raw_or_null(&mut self, name: &str, value: Option<&str>) {
        self.raw(name, value.unwrap_or("null"));
    }

    pub(crate) fn object(&mut self, name: &str, fill: impl FnOnce(&mut Object<'_>)) {
        self.name(name);
        object(self.out, fill);
    }

    pub(crate) fn strings<'t>(&mut self, name: &str, values: impl IntoIterator<Item = &'t str>) {
        self.name(name);
        self.out.push('[');
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.out.push(',');
            }
            string(self.out, value);
        }
        self.out.push(']');
    }
}
