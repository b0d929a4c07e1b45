//! One way to read objects.
//!
//! serde's derive would refuse names that are no Unicode, and `null` where a text is expected; both occur. This macro
//! writes the same loop that derive writes, with names compared as bytes.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The next value, or the default for `null`.
pub(crate) fn value_or_default<'de, T, A>(map: &mut A) -> Result<T, A::Error>
where
    T: Deserialize<'de> + Default,
    A: MapAccess<'de>,
{
    map.next_value::<Option<T>>().map(Option::unwrap_or_default)
}

/// Declares a struct and reads it from an object: `"name in JSON" => field: Type`.
macro_rules! object {
    (
        $(#[$about:meta])*
        $object:ident<$life:lifetime> { $($($name:literal)|+ => $field:ident: $kind:ty,)* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub(crate) struct $object<$life> {
            $(pub(crate) $field: $kind,)*
        }

        impl<'de> serde::Deserialize<'de> for $object<'de> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Fill;

                impl<'de> serde::de::Visitor<'de> for Fill {
                    type Value = $object<'de>;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str("an object")
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                        let mut object = $object::default();
                        while let Some($crate::text::Name(name)) = map.next_key()? {
                            match &*name {
                                $($($name)|+ => object.$field = $crate::shape::object::value_or_default(&mut map)?,)*
                                _ => {
                                    map.next_value::<serde::de::IgnoredAny>()?;
                                }
                            }
                        }
                        Ok(object)
                    }
                }

                deserializer.deserialize_map(Fill)
            }
        }
    };
}
pub(crate) use object;

/// Whether a member is there, whatever its value.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Present(pub(crate) bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Self(true))
    }
}

/// Whether a member is `true`. Nothing depends on it that would be worth a record, so a value of another type is none.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct IsTrue(pub(crate) bool);

impl<'de> Deserialize<'de> for IsTrue {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Anything;

        impl<'de> Visitor<'de> for Anything {
            type Value = IsTrue;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value")
            }

            fn visit_bool<E>(self, value: bool) -> Result<IsTrue, E> {
                Ok(IsTrue(value))
            }

            fn visit_i64<E>(self, _: i64) -> Result<IsTrue, E> {
                Ok(IsTrue(false))
            }

            fn visit_u64<E>(self, _: u64) -> Result<IsTrue, E> {
                Ok(IsTrue(false))
            }

            fn visit_f64<E>(self, _: f64) -> Result<IsTrue, E> {
                Ok(IsTrue(false))
            }

            fn visit_bytes<E>(self, _: &[u8]) -> Result<IsTrue, E> {
                Ok(IsTrue(false))
            }

            fn visit_str<E>(self, _: &str) -> Result<IsTrue, E> {
                Ok(IsTrue(false))
            }

            fn visit_unit<E>(self) -> Result<IsTrue, E> {
                Ok(IsTrue(false))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<IsTrue, A::Error> {
                IgnoredAny.visit_seq(list).map(|_| IsTrue(false))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IsTrue, A::Error> {
                IgnoredAny.visit_map(map).map(|_| IsTrue(false))
            }
        }

        deserializer.deserialize_any(Anything)
    }
}
