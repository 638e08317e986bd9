//! What keeps an estimate from being made.

use crate::job::{Head, JobError, Optim};
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
    /// A pattern matches the full name of no module.
    #[error(
        "target_modules = {pattern:?}: it matches the full name of no linear layer of {model}, such as {example}; a list \
         of names matches their ends: it has {known}"
    )]
    NoMatch {
        /// The pattern.
        pattern: String,
        /// The model.
        model: String,
        /// The names it has.
        known: String,
        /// One of its full names.
        example: String,
    },
    /// A module PEFT would be asked to adapt and cannot, or that is not modelled.
    #[error("{field} reaches {module} of {model}, {why}")]
    NotLinear {
        /// The field.
        field: &'static str,
        /// The module.
        module: String,
        /// The model.
        model: String,
        /// Why not, and what to do.
        why: &'static str,
    },
    /// Full names of a model's modules are not known.
    #[error(
        "train.peft.{field}: full module names of {model} are not known in this version; list names in target_modules"
    )]
    NoPaths {
        /// The field that needs them.
        field: &'static str,
        /// The model.
        model: String,
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
    /// PEFT has no default for a model type.
    #[error("train.peft.{field}: PEFT has no default for {method} on {model_type}; name modules, such as [\"q_proj\"]")]
    NoDefaultTargets {
        /// The field.
        field: &'static str,
        /// The method.
        method: &'static str,
        /// The model's type.
        model_type: String,
    },
    /// A method that a model cannot be trained by.
    #[error("train.peft.type = \"{method}\": {why}")]
    Method {
        /// The method.
        method: &'static str,
        /// Why not.
        why: String,
    },
    /// Nobody has written down the forward pass of this type: its parameters are counted, nothing else is known.
    #[error(
        "model_type `{model_type}` is only counted in this version: what a step of it takes is not known; \
         `vramplan params` gives its parameters"
    )]
    CountedOnly {
        /// The model's type.
        model_type: ModelType,
    },
    /// A scan that is a loop over tokens is run token by token here too.
    #[error(
        "max_seq_length or prompt_length = {length}: a `{model_type}` model's scan takes {steps} steps over tokens and \
         layers, more than the {most} that are run; shorten it"
    )]
    ScanTooLong {
        /// Tokens.
        length: u64,
        /// The model's type.
        model_type: ModelType,
        /// Tokens times layers that scan.
        steps: u64,
        /// As many as are run.
        most: u64,
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
    /// An engine does not serve the model, or is not modelled.
    #[error(transparent)]
    Serve(Box<crate::serve::ServeError>),
    /// More than any device will have.
    #[error("the job is too large: it would take more than 4 PiB; lower max_seq_length or the batch size")]
    TooLarge,
}
