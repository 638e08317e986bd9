//! What a run came to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::gpu::{GpuMemory, Identity};

/// What one configuration was predicted to hold, and held.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Run {
    /// The configuration.
    pub name: String,
    /// The most bytes that the ledger has for the step in PyTorch on a GPU.
    pub ledger_bytes: u64,
    /// The most bytes that the same step is predicted to hold in candle.
    pub predicted_bytes: u64,
    /// The most bytes that candle held.
    pub measured_bytes: u64,
    /// Predicted less measured.
    pub difference_bytes: i64,
    /// The difference in percent of what was measured.
    pub error_percent: f64,
    /// The loss of each step, before its update.
    pub losses: Vec<f32>,
    /// Whether every frozen weight is what it was, bit for bit.
    pub frozen_unchanged: bool,
    /// Trainable parameters that are not what they were.
    pub moved: usize,
    /// All of them.
    pub trainable: usize,
    /// Peaks of each phase, over all steps.
    pub phases: Vec<PhaseRun>,
    /// On a GPU: what its pool, its driver and the card say.
    pub memory: Option<GpuMemory>,
}

/// A phase's peaks.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct PhaseRun {
    /// `load`, `forward`, `backward`, `clip` or `optimizer`.
    pub name: String,
    /// The most bytes predicted.
    pub predicted_bytes: u64,
    /// The most bytes measured.
    pub measured_bytes: u64,
}

impl Run {
    /// Whether the prediction is within 0.1 % of what was measured; on a GPU, whose pool rounds as it likes, within 1 %.
    pub fn is_close(&self) -> bool {
        self.error_percent.abs() <= if self.memory.is_some() { 1.0 } else { 0.1 }
    }

    /// Whether the model learned and nothing moved that is frozen.
    pub fn learned(&self) -> bool {
        let falls = self.losses.first().zip(self.losses.last()).is_some_and(|(first, last)| last < first);
        falls && self.frozen_unchanged && self.moved == self.trainable
    }
}

/// A measurement as `tests/truth/verify.jsonl` and `verify_gpu.jsonl` keep it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measured {
    /// The configuration.
    pub id: String,
    /// Where: `cpu` or `cuda`
    pub device: String,
    /// The most bytes that candle held.
    pub measured_bytes: u64,
    /// The GPU it was measured on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<Identity>,
    /// What each said of that GPU who counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<GpuMemory>,
}

/// A run's measurement as one line of JSON, with the GPU it was on.
pub fn row(run: &Run, gpu: Option<&Identity>) -> String {
    let measured = Measured {
        id: run.name.clone(),
        device: if gpu.is_some() { "cuda" } else { "cpu" }.to_owned(),
        measured_bytes: run.measured_bytes,
        gpu: gpu.cloned(),
        memory: run.memory.clone(),
    };
    serde_json::to_string(&measured).unwrap_or_default()
}
