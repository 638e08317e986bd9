//! What keeps an estimate from being made.

use crate::job::JobError;
use crate::model::ModelType;

/// Why there is no estimate.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum EstimateError {
    /// The job contradicts itself, or asks for what this version cannot do.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The model's parameters can be counted and no more.
    #[error(
        "{model}: a `{model_type}` model's parameters are counted, its steps are not modelled yet; `vramplan params` works"
    )]
    NotModelled {
        /// The model.
        model: String,
        /// Its `model_type`.
        model_type: ModelType,
    },
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
    /// More than any device will have.
    #[error("the job is too large: it would take more than 4 PiB; lower max_seq_length or the batch size")]
    TooLarge,
}
