//! What a job's figures are made from, as a lock keeps it, and the figures.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::entry::{Entry, Limit};
use crate::job::{Job, JobFile, ModelRef};
use crate::model::Source;
use crate::step::{self, Estimate};
use crate::units::Bytes;

/// Fields of a config.json that no figure depends on; all others are kept, so that a model can be read from them again.
const WITHOUT_EFFECT: &[&str] = &[
    "_name_or_path",
    "attn_implementation",
    "auto_map",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "id2label",
    "image_token_id",
    "image_token_index",
    "initializer_factor",
    "initializer_range",
    "label2id",
    "layer_norm_eps",
    "layer_norm_epsilon",
    "pretraining_tp",
    "problem_type",
    "rms_norm_eps",
    "rope_theta",
    "task_specific_params",
    "torch_dtype",
    "transformers_version",
    "unk_token_id",
    "use_cache",
    "video_token_id",
    "vision_end_token_id",
    "vision_start_token_id",
    "vision_token_id",
];

/// What a job's figures depend on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Inputs {
    /// The model, as it is named.
    pub model: String,
    /// What matters of its config.json.
    pub config: Value,
    /// The job, without its model.
    pub job: Value,
    /// What it may take: `gpu`, `memory` or `budget`, `allow_tight`, `context`.
    pub limit: Value,
}

/// What a job takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Figures {
    /// What the card shows at the peak: reserved and the CUDA context.
    pub device_bytes: Bytes,
    /// What the caching allocator holds.
    pub reserved_bytes: Bytes,
    /// Live tensors.
    pub allocated_bytes: Bytes,
    /// Live tensors at the peak by what they are for.
    pub at_peak: BTreeMap<String, Bytes>,
    /// Parameters, adapters included.
    pub parameters: u64,
    /// Those with gradients.
    pub trainable_parameters: u64,
}

impl Figures {
    /// Those of an estimate, with a CUDA context that takes so much, or the usual.
    pub fn new(estimate: &Estimate, context: Option<Bytes>) -> Self {
        let Estimate { peak, at_peak, model, .. } = estimate;
        Self {
            device_bytes: context.map_or(peak.device_bytes, |context| peak.reserved_bytes + context),
            reserved_bytes: peak.reserved_bytes,
            allocated_bytes: peak.allocated_bytes,
            at_peak: at_peak.named().into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect(),
            parameters: model.parameters,
            trainable_parameters: model.trainable_parameters,
        }
    }
}

impl Inputs {
    /// Those of an entry whose job and model were found.
    pub fn new(entry: &Entry, job: &Job, config: &Value) -> Self {
        let model = match &job.model {
            ModelRef::Named(name) => name.clone(),
            ModelRef::Inline(inline) => inline.name.clone().unwrap_or_else(|| "inline model".to_owned()),
        };
        let mut limit = Map::new();
        match &entry.limit {
            Limit::Gpu(name) => limit.insert("gpu".to_owned(), name.as_str().into()),
            Limit::Memory(bytes) => limit.insert("memory".to_owned(), bytes.0.into()),
            Limit::Budget(bytes) => limit.insert("budget".to_owned(), bytes.0.into()),
        };
        limit.insert("allow_tight".to_owned(), entry.allow_tight.into());
        if let Some(context) = entry.context {
            limit.insert("context".to_owned(), context.0.into());
        }
        let file = JobFile { model: None, ..JobFile::from(job.clone()) };
        // structs of words and numbers are always JSON
        let job = serde_json::to_value(file).unwrap_or_default();
        Self { model, config: decisive(config), job: pruned(job), limit: Value::Object(limit) }
    }

    /// The inputs with what their job says nothing of at the defaults of this version.
    pub(super) fn completed(&self) -> Self {
        let job = self.file().and_then(|file| serde_json::to_value(file).ok()).map_or_else(|| self.job.clone(), pruned);
        Self { job, ..self.clone() }
    }

    fn file(&self) -> Option<JobFile> {
        serde_json::from_value(self.job.clone()).ok()
    }

    /// What this version says the job takes; `None`: it has no answer.
    pub fn figures(&self) -> Option<Figures> {
        let source = Source::from_config(&self.model, &self.config).ok()?;
        let file = JobFile { model: Some(ModelRef::Named(self.model.clone())), ..self.file()? };
        let job = Job::try_from(file).ok()?;
        job.validate().ok()?;
        let context = self.limit.get("context").and_then(Value::as_u64).map(Bytes);
        step::estimate(&source.model, &job).ok().map(|estimate| Figures::new(&estimate, context))
    }
}

/// What matters of a config.json.
fn decisive(config: &Value) -> Value {
    match config {
        Value::Object(fields) => {
            // what is null is not at its class's default
            let kept = fields.iter().filter(|(name, _)| !WITHOUT_EFFECT.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), decisive(value))).collect())
        }
        other => other.clone(),
    }
}

/// A job's tables without the one that it has not.
fn pruned(job: Value) -> Value {
    match job {
        Value::Object(tables) => Value::Object(tables.into_iter().filter(|(_, table)| !table.is_null()).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{card, cards};

    #[test]
    fn models_are_the_same_without_what_has_no_effect() -> Result<(), Box<dyn std::error::Error>> {
        let mut seen = 0;
        for summary in cards() {
            let Some(card) = card(&summary.name) else { continue };
            let (whole, kept) = (&card.config, decisive(&card.config));
            assert_eq!(crate::model::from_config("m", whole)?, crate::model::from_config("m", &kept)?, "{}", card.name);
            seen += 1;
        }
        assert!(seen > 100);
        Ok(())
    }

    #[test]
    fn what_is_null_is_kept() {
        // DeepSeek's class has 1536 where q_lora_rank is not there at all
        let config =
            serde_json::json!({"q_lora_rank": null, "text_config": {"transformers_version": "5", "vocab_size": 8}});
        let kept = serde_json::json!({"q_lora_rank": null, "text_config": {"vocab_size": 8}});
        assert_eq!(decisive(&config), kept);
    }
}
