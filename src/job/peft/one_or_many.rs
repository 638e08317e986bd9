//! A value where a list may stand, as PEFT's configurations have them.

use serde::{Deserialize, Deserializer};

/// More than any list of layers.
const MOST: usize = 100_000;

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a value or a list of them")]
enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

pub(super) fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    match OneOrMany::deserialize(deserializer)? {
        OneOrMany::Many(many) if many.len() > MOST => Err(serde::de::Error::custom("the list is too long")),
        OneOrMany::Many(many) => Ok(many),
        OneOrMany::One(one) => Ok(vec![one]),
    }
}
