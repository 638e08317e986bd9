//! Why there is no division.

use crate::serve::KvError;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VllmError {
    /// The cache is not known.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// How the engine divides a card for such a model is not modelled.
    #[error("{model}: {what}; how vLLM divides a card for that is not modelled in this version")]
    Paging {
        /// The model.
        model: String,
        /// What it has.
        what: &'static str,
    },
    /// A number makes no sense.
    #[error("{field} = {value}: {fix}")]
    Invalid {
        /// What was given.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        fix: String,
    },
}

impl VllmError {
    /// Whether this version could not answer although what is asked makes sense.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::Paging { .. } | Self::Kv(KvError::Unknown { .. }))
    }

    pub(super) fn paging(model: &crate::model::Model, what: &'static str) -> Self {
        Self::Paging { model: model.name().to_owned(), what }
    }

    pub(super) fn invalid(field: &'static str, value: impl ToString, fix: impl Into<String>) -> Self {
        Self::Invalid { field, value: value.to_string(), fix: fix.into() }
    }
}
