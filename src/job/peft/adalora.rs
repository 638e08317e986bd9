//! AdaLoRA.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, not_negative, positive, probability, within};
use super::TargetModules;

/// AdaLoRA's settings; names and defaults are those of PEFT's `AdaLoraConfig`. Budgets and schedules change no tensor's size:
/// PEFT masks ranks, it does not take them away.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AdaLora {
    /// Rank the adapters have on average in the end.
    pub target_r: u64,
    /// Rank the adapters begin and are held with.
    pub init_r: u64,
    /// Scale of the adapters (no effect on memory).
    pub lora_alpha: f64,
    /// Dropout before the adapters, in [0, 1).
    pub lora_dropout: f64,
    /// Weight of the orthogonal regularization, which is computed even at 0.
    pub orth_reg_weight: f64,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for AdaLora {
    fn default() -> Self {
        Self {
            target_r: 8,
            init_r: 12,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            orth_reg_weight: 0.5,
            target_modules: None,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl AdaLora {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.init_r", self.init_r, MAX_RANK)?;
        within("train.peft.target_r", self.target_r, MAX_RANK)?;
        probability("train.peft.lora_dropout", self.lora_dropout)?;
        positive("train.peft.lora_alpha", self.lora_alpha)?;
        not_negative("train.peft.orth_reg_weight", self.orth_reg_weight)?;
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)
    }
}
