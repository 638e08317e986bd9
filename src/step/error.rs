//! What keeps an estimate from being made.

use crate::job::{Head, JobError};
use crate::model::ModelType;

/// Why there is no estimate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EstimateError {
    /// The job contradicts itself, or asks for what this version cannot do.
    #[error(transparent)]
    Job(#[from] JobError),
    /// No module has any of these names.
    #[error("target_modules = {targets:?}: no linear layer of {model} has such a name; it has {known}")]
    NoTarget {
        /// The names asked for.
        targets: Vec<String>,
        /// The model.
        model: String,
        /// The names it has.
        known: String,
    },
    /// Only the model type's parameters are known.
    #[error(
        "{model_type}: its parameters are counted, but how it runs is not modelled yet, so there is no estimate; \
         `vramplan params` works"
    )]
    CountedOnly {
        /// The model type.
        model_type: ModelType,
    },
    /// The model has no such head.
    #[error("train.head = \"{head}\": a {model_type} model has none; use {heads}, or leave it out")]
    NoHead {
        /// The head asked for.
        head: Head,
        /// The model type.
        model_type: ModelType,
        /// The heads it has.
        heads: String,
    },
    /// More than any device will have.
    #[error("the job is too large: it would take more than 4 PiB; lower max_seq_length or the batch size")]
    TooLarge,
}
