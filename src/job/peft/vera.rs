//! VeRA.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, probability, within};
use super::TargetModules;

/// VeRA's settings; names and defaults are those of PEFT's `VeraConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Vera {
    /// Rank of the shared projections.
    pub r: u64,
    /// Dropout before the adapters, in [0, 1).
    pub vera_dropout: f64,
    /// Seed of the shared projections (no effect on memory).
    pub projection_prng_key: u64,
    /// Whether the shared projections are saved with a checkpoint (no effect on memory).
    pub save_projection: bool,
    /// What the inner vector begins with (no effect on memory).
    pub d_initial: f64,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for Vera {
    fn default() -> Self {
        Self {
            r: 256,
            vera_dropout: 0.0,
            projection_prng_key: 0,
            save_projection: true,
            d_initial: 0.1,
            target_modules: None,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl Vera {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.r", self.r, MAX_RANK)?;
        probability("train.peft.vera_dropout", self.vera_dropout)?;
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)
    }
}
