//! Lists and maps of the input, each with a bound on what is kept of them.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::bounds;
use crate::text::Text;

/// The first 64 elements of a list that are not `null`, and whether there were more.
#[derive(Debug)]
pub(crate) struct Some64<T> {
    pub(crate) items: Vec<T>,
    pub(crate) more: bool,
}

impl<T> Some64<T> {
    const BOUND: usize = 64;
}

impl<T> Default for Some64<T> {
    fn default() -> Self {
        Self { items: Vec::new(), more: false }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Some64<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Collect<T> {
            type Value = Some64<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while items.len() < Some64::<T>::BOUND {
                    match list.next_element::<Option<T>>()? {
                        Some(item) => items.extend(item),
                        None => return Ok(Some64 { items, more: false }),
                    }
                }
                let mut more = false;
                while list.next_element::<IgnoredAny>()?.is_some() {
                    more = true;
                }
                Ok(Some64 { items, more })
            }
        }

        deserializer.deserialize_seq(Collect(PhantomData))
    }
}

/// A map of texts in its own order: an encryption context. `null` values are absent; what exceeds the bounds of a
/// context is skipped.
#[derive(Debug, Default)]
pub(crate) struct Pairs<'a>(Vec<(Text<'a>, Text<'a>)>);

impl<'a> Pairs<'a> {
    /// The pairs, as many as fit into the bounds of a context.
    pub(crate) fn bounded(&'a self) -> Vec<(&'a str, &'a str)> {
        let mut room = bounds::CONTEXT_BYTES;
        let mut pairs = Vec::with_capacity(self.0.len());
        for (name, value) in &self.0 {
            let name = bounds::cut(name, room);
            let value = bounds::cut(value, room - name.len());
            room -= name.len() + value.len();
            pairs.push((name, value));
            if room == 0 {
                break;
            }
        }
        pairs
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn set(&mut self, name: Text<'a>, value: Text<'a>) {
        if let Some(pair) = self.0.iter_mut().find(|pair| pair.0 == name) {
            pair.1 = value;
        } else if self.0.len() < bounds::CONTEXT_PAIRS {
            self.0.push((name, value));
        }
    }
}

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Pairs::default();
                while let Some(name) = map.next_key::<Text<'de>>()? {
                    if let Some(value) = map.next_value::<Option<Text<'de>>>()? {
                        pairs.set(name, value);
                    }
                }
                Ok(pairs)
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
