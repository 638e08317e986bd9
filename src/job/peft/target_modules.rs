//! Which modules a method adapts.

use serde::{Deserialize, Serialize};

use super::super::JobError;

/// Which modules get adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer but the head.
    AllLinear,
    /// Modules whose name ends in one of these.
    Names(Vec<String>),
}

impl TargetModules {
    /// Names as a command line gives them: `all-linear` alone, or modules.
    pub(crate) fn of(names: &[String]) -> Self {
        match names {
            [all] if all == "all-linear" => Self::AllLinear,
            _ => Self::Names(names.to_vec()),
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str("all-linear"),
            Self::Names(names) => names.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = TargetModules;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of module names or \"all-linear\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                match text {
                    "all-linear" => Ok(TargetModules::AllLinear),
                    _ => Err(E::invalid_value(serde::de::Unexpected::Str(text), &self)),
                }
            }

            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = seq.next_element()? {
                    names.push(name);
                }
                Ok(TargetModules::Names(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

impl TargetModules {
    /// # Errors
    /// A list without names, or with an empty one.
    pub(super) fn validate(&self) -> Result<(), JobError> {
        match self {
            Self::Names(names) if names.is_empty() || names.iter().any(String::is_empty) => {
                let fix = "name a module, such as \"q_proj\", or leave it out for the model type's default";
                Err(JobError::invalid("train.peft.target_modules", format!("{names:?}"), fix))
            }
            _ => Ok(()),
        }
    }
}
