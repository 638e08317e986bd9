//! Prompt tuning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, within};

/// Prompt tuning's settings; names are those of PEFT's `PromptTuningConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PromptTuning {
    /// How many positions in front of the input are trained.
    pub num_virtual_tokens: u64,
}

impl Default for PromptTuning {
    fn default() -> Self {
        Self { num_virtual_tokens: 20 }
    }
}

impl PromptTuning {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.num_virtual_tokens", self.num_virtual_tokens, MAX_RANK)?;
        Ok(())
    }
}
