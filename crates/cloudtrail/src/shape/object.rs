//! One way to read objects.
//!
//! serde's derive would refuse names that are no Unicode, and `null` where a text is expected; both occur. This macro
//! writes the same loop that derive writes, with names compared as bytes.

use serde::de::{IgnoredAny, MapAccess};
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
