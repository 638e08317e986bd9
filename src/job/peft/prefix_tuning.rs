//! Prefix tuning.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::validate::{MAX_RANK, within};

/// Wider than any model.
const MAX_WIDTH: u64 = 1 << 20;

/// Prefix tuning's settings; names are those of PEFT's `PrefixTuningConfig`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PrefixTuning {
    /// How many keys and values in front of every layer's are trained.
    pub num_virtual_tokens: u64,
    /// Keys and values come of embeddings through a small network.
    pub prefix_projection: bool,
    /// Width of that network; `None`: that of a layer's keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoder_hidden_size: Option<u64>,
}

impl Default for PrefixTuning {
    fn default() -> Self {
        Self { num_virtual_tokens: 20, prefix_projection: false, encoder_hidden_size: None }
    }
}

impl PrefixTuning {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        within("train.peft.num_virtual_tokens", self.num_virtual_tokens, MAX_RANK)?;
        if let Some(width) = self.encoder_hidden_size {
            within("train.peft.encoder_hidden_size", width, MAX_WIDTH)?;
        }
        Ok(())
    }
}
