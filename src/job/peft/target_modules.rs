//! Which modules a method adapts.

use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::pattern::full_match;

/// Which modules get adapters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetModules {
    /// Every linear layer but the head.
    AllLinear,
    /// Modules whose name ends in one of these.
    Names(Vec<String>),
    /// Modules whose full dotted name this regular expression matches.
    Pattern(String),
}

impl TargetModules {
    /// Names as a command line gives them: `all-linear` alone, a lone word with signs that no name has, or modules.
    pub(crate) fn of(names: &[String]) -> Self {
        match names {
            [all] if all == "all-linear" => Self::AllLinear,
            [pattern] if pattern.contains(|c| r"\^$*+?()[]{}|".contains(c)) => Self::Pattern(pattern.clone()),
            _ => Self::Names(names.to_vec()),
        }
    }
}

impl Serialize for TargetModules {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AllLinear => serializer.serialize_str("all-linear"),
            Self::Names(names) => names.serialize(serializer),
            Self::Pattern(pattern) => serializer.serialize_str(pattern),
        }
    }
}

impl<'de> Deserialize<'de> for TargetModules {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = TargetModules;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list of module names, \"all-linear\" or a regular expression")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
                Ok(match text {
                    "all-linear" => TargetModules::AllLinear,
                    _ => TargetModules::Pattern(text.to_owned()),
                })
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
    /// A list without names, or with an empty one; what is no regular expression.
    pub(super) fn validate(&self) -> Result<(), JobError> {
        self.validate_as(
            "train.peft.target_modules",
            "name a module, such as \"q_proj\", or leave it out for the model type's default",
        )
    }

    /// # Errors
    /// As [`Self::validate`], of `field`.
    pub(super) fn validate_as(&self, field: &'static str, fix: &str) -> Result<(), JobError> {
        match self {
            Self::Names(names) if names.is_empty() || names.iter().any(String::is_empty) => {
                Err(JobError::invalid(field, format!("{names:?}"), fix))
            }
            Self::Pattern(pattern) if pattern.is_empty() => Err(JobError::invalid(field, "\"\"", fix)),
            Self::Pattern(pattern) => full_match(field, pattern).map(drop),
            _ => Ok(()),
        }
    }
}
