//! What the commands ask of the rest of the library.

use super::args::job::HubFlags;
use super::error::CliError;
use super::hub;
use crate::job::{ModelRef, Peft};
use crate::model::{Model, Source};
use crate::step::{self, ModelSummary, Parameters};

/// Where the allowance between reserved and device memory comes from.
pub(super) use crate::hardware::CUDA_CONTEXT_SOURCE as CONTEXT_SOURCE;

/// The model a job means.
pub(super) fn resolve(model: &ModelRef, flags: &HubFlags) -> Result<Model, CliError> {
    find(model, flags).map(|source| source.model)
}

/// The model a job means, with what its files say.
pub(super) fn find(model: &ModelRef, flags: &HubFlags) -> Result<Source, CliError> {
    Ok(match model {
        ModelRef::Named(name) => hub::find(name, flags)?,
        ModelRef::Inline(_) if flags.revision.is_some() => {
            return Err(CliError::usage("--revision: only a Hub id has it, and the job file has its model inline"));
        }
        ModelRef::Inline(inline) => {
            let name = inline.name.as_deref().unwrap_or("inline model");
            Source::from_config(name, &serde_json::Value::Object(inline.config.clone()))?
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
