//! LoRA.

use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, positive, probability, within};
use super::TargetModules;

/// LoRA's settings; names and defaults are those of PEFT's `LoraConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lora {
    /// Rank of the adapters.
    pub r: u64,
    /// Scale of the adapters (no effect on memory).
    pub lora_alpha: f64,
    /// Dropout before the adapters, in [0, 1).
    pub lora_dropout: f64,
    /// Weight-decomposed adapters (DoRA).
    pub use_dora: bool,
    /// Rank-stabilised scale (no effect on memory).
    pub use_rslora: bool,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            use_dora: false,
            use_rslora: false,
            target_modules: None,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl Lora {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.r", self.r, MAX_RANK)?;
        probability("train.peft.lora_dropout", self.lora_dropout)?;
        positive("train.peft.lora_alpha", self.lora_alpha)?;
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)
    }
}
