//! JSON objects whose keys must each be given once: serde takes the last of two, another reader the first.

use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserializer, Error, MapAccess, Visitor};

use crate::model::error::one_line;

/// More entries than any checkpoint has tensors: each takes memory many times its bytes.
pub(super) const MOST_ENTRIES: usize = 200_000;

/// A map from text to `T`, whose keys are each given once.
pub(super) struct Unique<T>(pub(super) Vec<(String, T)>);

impl<'de, T: serde::Deserialize<'de>> serde::Deserialize<'de> for Unique<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries<T>(std::marker::PhantomData<T>);
        impl<'de, T: serde::Deserialize<'de>> Visitor<'de> for Entries<T> {
            type Value = Vec<(String, T)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut seen = HashSet::new();
                let mut entries = Vec::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(A::Error::custom(format_args!("the key `{}` is given twice", one_line(&key))));
                    }
                    if entries.len() == MOST_ENTRIES {
                        return Err(A::Error::custom(format_args!("more than {MOST_ENTRIES} entries")));
                    }
                    entries.push((key, map.next_value()?));
                }
                Ok(entries)
            }
        }
        deserializer.deserialize_map(Entries(std::marker::PhantomData)).map(Unique)
    }
}
