//! LoKr.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, positive, probability, within};
use super::TargetModules;

/// LoKr's settings; names and defaults are those of PEFT's `LoKrConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LoKr {
    /// Rank of the factors that are decomposed.
    pub r: u64,
    /// Scale of the adapters (no effect on memory).
    pub alpha: f64,
    /// Decompose the left factor too.
    pub decompose_both: bool,
    /// What one factor of each size is to be near; -1: near the square root.
    pub decompose_factor: i64,
    /// Dropout of the rows of the update, in [0, 1).
    pub rank_dropout: f64,
    /// Whether what was not dropped is scaled.
    pub rank_dropout_scale: bool,
    /// Which modules get adapters; `None`: PEFT's default for the model's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_modules: Option<TargetModules>,
    /// Modules trained whole beside the adapters, such as `lm_head`.
    pub modules_to_save: Vec<String>,
    /// Adapters on a half-precision model are held in fp32, as `get_peft_model` does unless told otherwise.
    pub autocast_adapter_dtype: bool,
}

impl Default for LoKr {
    fn default() -> Self {
        Self {
            r: 8,
            alpha: 8.0,
            decompose_both: false,
            decompose_factor: -1,
            rank_dropout: 0.0,
            rank_dropout_scale: false,
            target_modules: None,
            modules_to_save: Vec::new(),
            autocast_adapter_dtype: true,
        }
    }
}

impl LoKr {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.r", self.r, MAX_RANK)?;
        probability("train.peft.rank_dropout", self.rank_dropout)?;
        positive("train.peft.alpha", self.alpha)?;
        if self.decompose_factor != -1 && self.decompose_factor < 1 {
            let fix = "give a number above 0, or -1 for factors near the square root";
            return Err(JobError::invalid("train.peft.decompose_factor", self.decompose_factor, fix));
        }
        self.target_modules.as_ref().map_or(Ok(()), TargetModules::validate)
    }
}
