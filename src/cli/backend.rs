//! What the commands ask of the rest of the library.

use super::error::CliError;
use crate::job::{Job, ModelRef, Peft};
use crate::model::{self, Model};
use crate::step::{self, Estimate, ModelSummary, Parameters};

/// Where the allowance between reserved and device memory comes from.
pub(super) use crate::hardware::CUDA_CONTEXT_SOURCE as CONTEXT_SOURCE;

/// The model a job means.
pub(super) fn resolve(model: &ModelRef) -> Result<Model, CliError> {
    Ok(match model {
        ModelRef::Named(name) => model::resolve(name)?,
        ModelRef::Inline(inline) => {
            let name = inline.name.as_deref().unwrap_or("inline model");
            model::from_config(name, &serde_json::Value::Object(inline.config.clone()))?
        }
    })
}

/// The summary an estimate carries.
pub(super) fn summary(model: &Model, count: Parameters) -> ModelSummary {
    ModelSummary::new(model, count)
}

/// Parameters of a model, with adapters where there are any.
pub(super) fn count_parameters(model: &Model, peft: Option<&Peft>) -> Result<Parameters, CliError> {
    Ok(step::count_parameters(model, peft)?)
}

/// What a job takes; `timeline`: with the curve.
pub(super) fn estimate(model: &Model, job: &Job, timeline: bool) -> Result<Estimate, CliError> {
    Ok(if timeline { step::estimate_with_timeline(model, job)? } else { step::estimate(model, job)? })
}
