//! What keeps an estimate from being made.

use crate::job::{JobError, Optim};
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
    /// No module that the optimizer would project the gradients of.
    #[error(
        "train.optim_target_modules: no linear layer that {optim} could project has such a name; name some, such as \"mlp\", or use \"all-linear\""
    )]
    NoOptimTarget {
        /// The optimizer.
        optim: Optim,
    },
    /// Liger's kernels for the model are not modelled.
    #[error(
        "train.use_liger_kernel = true: not supported yet for {model_type}, only for llama, mistral, qwen2 and qwen3; leave it out"
    )]
    NoLiger {
        /// The model's type.
        model_type: ModelType,
    },
    /// More than any device will have.
    #[error("the job is too large: it would take more than 4 PiB; lower max_seq_length or the batch size")]
    TooLarge,
}
