//! What the commands ask of the rest of the library.
//!
//! STUB: everything below is a stand-in with one hand-made model and one made-up estimate, to be replaced by calls of
//! `crate::model` and `crate::step`. Signatures are what the commands rely on.

use serde::Serialize;

use super::error::CliError;
use super::sample;
use crate::job::{Job, Lora, ModelRef, Workload};
use crate::model::Model;
use crate::step::{Estimate, ModelSummary};

/// Where the allowance between reserved and device memory comes from.
pub(super) const CONTEXT_SOURCE: &str = "an allowance; 426 to 480 MiB were seen on an RTX 6000 Ada and an A100";

/// A model's parameters by where they are; the parts sum to `total`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Parameters {
    /// All of them, tied ones once, adapters included.
    #[serde(skip)]
    pub(super) total: u64,
    /// Those that are trained.
    #[serde(skip)]
    pub(super) trainable: u64,
    pub(super) embedding: u64,
    pub(super) attention: u64,
    pub(super) mlp: u64,
    pub(super) norms: u64,
    pub(super) head: u64,
    /// Adapters and modules trained whole.
    #[serde(skip_serializing_if = "is_zero")]
    pub(super) adapters: u64,
}

impl Parameters {
    /// Every part with its name, in the order people are shown them.
    pub(super) fn named(&self) -> [(&'static str, u64); 6] {
        [
            ("embedding", self.embedding),
            ("attention", self.attention),
            ("mlp", self.mlp),
            ("norms", self.norms),
            ("head", self.head),
            ("adapters", self.adapters),
        ]
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the signature serde asks for
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// The model a job means. STUB.
pub(super) fn resolve(model: &ModelRef) -> Result<Model, CliError> {
    match model {
        ModelRef::Named(name) if names().contains(&name.as_str()) => Ok(sample::llama_2_7b()),
        ModelRef::Named(name) => {
            Err(CliError::Backend(format!("model `{name}`: no such name; `vramplan models` lists those known")))
        }
        ModelRef::Inline(_) => Err(CliError::Backend("model: inline configurations are not read yet".to_owned())),
    }
}

/// The config.json `model_type`. STUB.
pub(super) fn model_type(model: &Model) -> String {
    format!("{:?}", model.model_type).to_lowercase()
}

/// The summary an estimate carries.
pub(super) fn summary(model: &Model, count: Parameters) -> ModelSummary {
    ModelSummary {
        name: model.name.clone(),
        model_type: model_type(model),
        parameters: count.total,
        trainable_parameters: count.trainable,
    }
}

/// Names of the model cards. STUB.
pub(super) fn names() -> Vec<&'static str> {
    vec!["llama-2-7b"]
}

/// Parameters of a model, with adapters where there are any. STUB.
pub(super) fn count_parameters(model: &Model, lora: Option<&Lora>) -> Result<Parameters, CliError> {
    let layers = model.num_hidden_layers;
    let embedding = model.vocab_size * model.hidden_size;
    let attention = layers * 4 * model.hidden_size * model.hidden_size;
    let mlp = layers * 3 * model.hidden_size * model.mlp.intermediate_size;
    let norms = (2 * layers + 1) * model.hidden_size;
    let head = if model.head.tied { 0 } else { embedding };
    let adapters = lora.map_or(0, |lora| layers * 2 * 2 * model.hidden_size * lora.r);
    let total = embedding + attention + mlp + norms + head + adapters;
    let trainable = if lora.is_some() { adapters } else { total };
    Ok(Parameters { total, trainable, embedding, attention, mlp, norms, head, adapters })
}

/// What a job takes; `timeline`: with the curve. STUB.
pub(super) fn estimate(model: &Model, job: &Job, timeline: bool) -> Result<Estimate, CliError> {
    let count = match &job.workload {
        Workload::Train(train) => count_parameters(model, train.lora())?,
        Workload::Infer(_) => Parameters { trainable: 0, ..count_parameters(model, None)? },
    };
    let mut estimate = sample::estimate();
    estimate.model = summary(model, count);
    estimate.timeline = estimate.timeline.filter(|_| timeline);
    Ok(estimate)
}
