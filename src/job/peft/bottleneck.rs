//! Bottleneck adapters.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::JobError;
use super::super::NonLinearity;
use super::super::validate::positive;

/// Bottleneck adapters: names and defaults are those of the `adapters` library's `SeqBnConfig` (Pfeiffer); with `mh_adapter`
/// too they are those of `DoubleSeqBnConfig` (Houlsby).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bottleneck {
    /// The width of the model over that of the bottleneck.
    pub reduction_factor: f64,
    /// An adapter after attention.
    pub mh_adapter: bool,
    /// An adapter after the feed-forward block.
    pub output_adapter: bool,
    /// What is between the two projections.
    pub non_linearity: NonLinearity,
}

impl Default for Bottleneck {
    fn default() -> Self {
        Self { reduction_factor: 16.0, mh_adapter: false, output_adapter: true, non_linearity: NonLinearity::Relu }
    }
}

impl Bottleneck {
    pub(super) fn validate(&self) -> Result<(), JobError> {
        positive("train.peft.reduction_factor", self.reduction_factor)?;
        if !(self.mh_adapter || self.output_adapter) {
            let fix = "there is nothing to train; set mh_adapter or output_adapter";
            return Err(JobError::invalid("train.peft.output_adapter", self.output_adapter, fix));
        }
        Ok(())
    }
}
