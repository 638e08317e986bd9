//! What a job takes: the result of an estimate.

use schemars::JsonSchema;
use serde::Serialize;

use super::count::Parameters;
use crate::model::Model;
use crate::serve::Serving;
use crate::units::Bytes;

/// What a job takes on one GPU.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Estimate {
    /// The version of this shape: `vramplan.estimate/1`.
    pub schema: &'static str,
    /// The model it is for.
    pub model: ModelSummary,
    /// The largest memory use over the steps, and when it occurs.
    pub peak: Peak,
    /// What is alive at the peak of allocated memory; the parts sum to `peak.allocated_bytes`.
    pub at_peak: Parts,
    /// What is kept between the steps.
    pub held: Held,
    /// Each phase of a steady step, in order.
    pub phases: Vec<Phase>,
    /// What an engine holds, where one serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub serving: Option<Serving>,
    /// What the figures rest on.
    pub basis: Basis,
    /// Allocated bytes over the steady step, thinned to the points where the curve turns; only where asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeline: Option<Vec<TimelinePoint>>,
}

/// The model an estimate is for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ModelSummary {
    /// Its name.
    pub name: String,
    /// Its config.json `model_type`.
    pub model_type: String,
    /// Parameters, tied ones counted once, adapters included.
    pub parameters: u64,
    /// Those with gradients.
    pub trainable_parameters: u64,
}

impl ModelSummary {
    /// The summary of `model` with these counts.
    pub fn new(model: &Model, count: Parameters) -> Self {
        Self {
            name: model.name().to_owned(),
            model_type: model.model_type().to_string(),
            parameters: count.total,
            trainable_parameters: count.trainable,
        }
    }
}

/// The largest memory use over the steps.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Peak {
    /// Live tensors (`torch.cuda.max_memory_allocated`).
    pub allocated_bytes: Bytes,
    /// What the caching allocator holds (`torch.cuda.max_memory_reserved`).
    pub reserved_bytes: Bytes,
    /// What nvidia-smi shows: reserved and the CUDA context.
    pub device_bytes: Bytes,
    /// The phase in which allocated memory peaks.
    pub phase: String,
}

/// Live bytes by what they are for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Parts {
    /// Parameters, quantised weights with their scales, buffers.
    pub weights: Bytes,
    /// Gradients of trainable parameters.
    pub gradients: Bytes,
    /// Optimizer states.
    pub optimizer: Bytes,
    /// What forward keeps for backward, and the running hidden states.
    pub activations: Bytes,
    /// Logits, their copies and gradients, and the loss.
    pub logits: Bytes,
    /// Keys and values.
    pub kv_cache: Bytes,
    /// Gradients on their way through backward, dequantised weights, optimizer temporaries.
    pub temporary: Bytes,
    /// cuBLAS workspaces.
    pub workspace: Bytes,
}

impl Parts {
    /// Every part with its name, in the order people are shown them.
    pub fn named(&self) -> [(&'static str, Bytes); 8] {
        [
            ("weights", self.weights),
            ("gradients", self.gradients),
            ("optimizer", self.optimizer),
            ("activations", self.activations),
            ("logits", self.logits),
            ("kv_cache", self.kv_cache),
            ("temporary", self.temporary),
            ("workspace", self.workspace),
        ]
    }

    /// Their sum.
    pub fn total(&self) -> Bytes {
        self.named().into_iter().map(|(_, bytes)| bytes).sum()
    }
}

/// What is kept between the steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Held {
    /// Parameters, with the scales of quantised ones.
    pub weights: Bytes,
    /// Buffers of the model.
    pub buffers: Bytes,
    /// Gradients, from backward to the optimizer step.
    pub gradients: Bytes,
    /// Optimizer states on the GPU.
    pub optimizer: Bytes,
    /// Optimizer states in managed memory (bitsandbytes' paged optimizers), which may live on the host.
    pub paged: Bytes,
    /// What an optimizer that was offloaded keeps in the host's memory: states, and copies of weights and gradients.
    pub host: Bytes,
}

/// One phase of a steady step.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Phase {
    /// load, forward, backward, clip, optimizer, prefill or decode.
    pub name: String,
    /// Most allocated bytes during it.
    pub peak_bytes: Bytes,
    /// Allocated bytes at its end.
    pub end_bytes: Bytes,
}

/// A point of the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct TimelinePoint {
    /// Allocation or release it comes after, counted from the start of the step.
    pub event: u64,
    /// Allocated bytes then.
    pub allocated_bytes: Bytes,
    /// Index into [`Estimate::phases`].
    pub phase: usize,
}

/// What an estimate's figures rest on.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Basis {
    /// What runs the step: `pytorch`.
    pub runtime: String,
    /// Versions of the libraries whose behaviour is modelled.
    pub versions: String,
    /// Whether this kind of job on this kind of model is held against measurements.
    pub validated: bool,
    /// What a reader should know about the figures.
    pub notes: Vec<String>,
}

/// What the files that a model and a job come from leave open.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// What a reader should know about it.
    pub notes: Vec<String>,
    /// Whether the figures may be wrong for it.
    pub doubtful: bool,
}

impl Basis {
    /// Adds what is open.
    pub fn doubt(&mut self, doubts: &Doubts) {
        self.validated &= !doubts.doubtful;
        self.notes.extend_from_slice(&doubts.notes);
    }
}
