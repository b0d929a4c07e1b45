//! A bucket: objects by key, and lists of them.

use std::collections::BTreeMap;
use std::ops::Bound;

use hyper::body::Bytes;
use jiff::Timestamp;

/// What lies under a key.
#[derive(Clone)]
pub(super) struct Object {
    pub(super) body: Bytes,
    /// With its quotes.
    pub(super) etag: String,
    pub(super) modified: Timestamp,
}

#[derive(Default)]
pub(super) struct Bucket {
    /// In the order of the keys' bytes, as S3 lists them.
    pub(super) objects: BTreeMap<String, Object>,
}

/// What a list is asked for.
pub(super) struct ListOrder<'a> {
    pub(super) prefix: &'a str,
    /// Keys with this behind the prefix are shown as one; empty: none are.
    pub(super) delimiter: &'a str,
    pub(super) start: Start<'a>,
    pub(super) most: usize,
}

/// Where a list begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start<'a> {
    /// Behind this key, which may be empty.
    AfterKey(&'a str),
    /// Behind all keys that begin so.
    AfterPrefix(&'a str),
}

/// A page of a list.
#[derive(Default)]
pub(super) struct Page<'a> {
    pub(super) objects: Vec<(&'a str, &'a Object)>,
    pub(super) prefixes: Vec<String>,
    /// Where the next page begins, if there is one.
    pub(super) next: Option<Next>,
}

/// The last that a page shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    AfterKey(String),
    AfterPrefix(String),
}

impl Object {
    pub(super) fn new(body: Bytes, modified: Timestamp) -> Self {
        let etag = format!("\"{:x}\"", md5::compute(&body));
        Self { body, etag, modified }
    }
}

impl Bucket {
    pub(super) fn list(&self, order: &ListOrder<'_>) -> Page<'_> {
        let mut page = Page::default();
        let mut last = None;
        let mut from = self.first(order);
        while let Some((key, object)) = from.filter(|(key, _)| key.starts_with(order.prefix)) {
            if page.objects.len() + page.prefixes.len() == order.most {
                page.next = last;
                return page;
            }
            if let Some(common) = common_prefix(key, order) {
                from = self.behind_prefix(common);
                page.prefixes.push(common.to_owned());
                last = Some(Next::AfterPrefix(common.to_owned()));
            } else {
                from = self.behind(key);
                page.objects.push((key, object));
                last = Some(Next::AfterKey(key.to_owned()));
            }
        }
        page
    }

    fn first(&self, order: &ListOrder<'_>) -> Option<(&str, &Object)> {
        let (after, found) = match order.start {
            Start::AfterKey(key) => (key, self.behind(key)),
            Start::AfterPrefix(prefix) => (prefix, self.behind_prefix(prefix)),
        };
        if after < order.prefix { self.from(Bound::Included(order.prefix)) } else { found }
    }

    fn behind(&self, key: &str) -> Option<(&str, &Object)> {
        self.from(Bound::Excluded(key))
    }

    /// The first key behind all that begin so.
    fn behind_prefix(&self, prefix: &str) -> Option<(&str, &Object)> {
        let nearly_last = format!("{prefix}{}", char::MAX);
        let mut behind =
            self.objects.range::<str, _>((Bound::Excluded(nearly_last.as_str()), Bound::Unbounded));
        let (key, object) = behind.find(|(key, _)| !key.starts_with(prefix))?;
        Some((key, object))
    }

    fn from(&self, bound: Bound<&str>) -> Option<(&str, &Object)> {
        let (key, object) = self.objects.range::<str, _>((bound, Bound::Unbounded)).next()?;
        Some((key, object))
    }
}

/// The part of the key up to the first delimiter behind the prefix.
fn common_prefix<'a>(key: &'a str, order: &ListOrder<'_>) -> Option<&'a str> {
    if order.delimiter.is_empty() {
        return None;
    }
    let rest = key.get(order.prefix.len()..)?;
    let end = order.prefix.len() + rest.find(order.delimiter)? + order.delimiter.len();
    key.get(..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: [&str; 7] = ["a", "a/1", "a/2", "b/1/x", "b/1/y", "b/2", "c"];

    fn bucket() -> Bucket {
        let object = Object::new(Bytes::new(), Timestamp::UNIX_EPOCH);
        Bucket { objects: KEYS.iter().map(|key| ((*key).to_owned(), object.clone())).collect() }
    }

    /// All pages of a list with so many entries on each, keys and prefixes apart.
    fn listed(prefix: &str, delimiter: &str, most: usize) -> (Vec<String>, Vec<String>) {
        let bucket = bucket();
        let (mut keys, mut prefixes, mut next) = (Vec::new(), Vec::new(), Next::AfterKey(String::new()));
        loop {
            let start = match &next {
                Next::AfterKey(key) => Start::AfterKey(key),
                Next::AfterPrefix(prefix) => Start::AfterPrefix(prefix),
            };
            let page = bucket.list(&ListOrder { prefix, delimiter, start, most });
            assert!(page.objects.len() + page.prefixes.len() <= most);
            keys.extend(page.objects.iter().map(|(key, _)| (*key).to_owned()));
            prefixes.extend(page.prefixes);
            match page.next {
                Some(after) => next = after,
                None => return (keys, prefixes),
            }
        }
    }

    #[test]
    fn pages_of_any_size_show_everything_once() {
        for most in 1..=KEYS.len() + 1 {
            assert_eq!(listed("", "", most), (KEYS.map(str::to_owned).to_vec(), vec![]));
            let (keys, prefixes) = listed("", "/", most);
            assert_eq!((keys, prefixes), (vec!["a".into(), "c".into()], vec!["a/".into(), "b/".into()]));
            let (keys, prefixes) = listed("b/", "/", most);
            assert_eq!((keys, prefixes), (vec!["b/2".into()], vec!["b/1/".into()]));
            assert_eq!(listed("b/1", "", most).0, ["b/1/x", "b/1/y"]);
            assert_eq!(listed("d", "/", most), (vec![], vec![]));
        }
    }

    #[test]
    fn a_list_that_starts_amid_a_common_prefix_shows_it_if_something_is_left() {
        let bucket = bucket();
        let list = |after| {
            bucket.list(&ListOrder { prefix: "", delimiter: "/", start: Start::AfterKey(after), most: 10 })
        };
        assert_eq!(list("a/1").prefixes, ["a/", "b/"]);
        assert_eq!(list("a/2").prefixes, ["b/"]);
        assert!(list("c").objects.is_empty());
    }
}
