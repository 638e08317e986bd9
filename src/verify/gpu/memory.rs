//! Allocated, reserved, device and context: predicted and measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bytes predicted and measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Figure {
    /// What was predicted.
    pub predicted_bytes: u64,
    /// What was measured; none where nobody says it.
    pub measured_bytes: Option<u64>,
}

/// What a step takes, from what its tensors hold to what the card shows, and what of that is nobody's tensor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct GpuMemory {
    /// Live tensors at their most: the pool's mark of what was used.
    pub allocated: Figure,
    /// What the pool took for them at its most. Predicted: whole pages of 2 MiB, with no gaps.
    pub reserved: Figure,
    /// What the process holds of the card, as nvidia-smi shows it. Predicted: reserved and the usual CUDA context.
    pub device: Figure,
    /// `device` without what the pool had reserved: the context, kernels that were loaded, cuBLAS' workspaces and cuRAND.
    pub context: Figure,
    /// The same when the GPU was opened and nothing had run on it: the context and the handles of cuBLAS and cuRAND.
    pub context_at_start_bytes: Option<u64>,
    /// Where `device` is from: NVML's figure for this process, or, where it gives none, what the card's use grew by.
    pub device_source: Option<DeviceSource>,
    /// What the card's use grew by while the process ran, where NVML said it before (`cuMemGetInfo` after).
    pub card_growth_bytes: Option<u64>,
    /// What the pool held before the step for those who are no tensors of it.
    pub lasting_bytes: u64,
}

/// Where a figure of the card's use is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DeviceSource {
    /// NVML's figure for this process.
    Process,
    /// The card's use after less its use before: other processes must have stood still.
    Growth,
}

/// What a pool holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// Allocated now (`USED_MEM_CURRENT`).
    pub used: u64,
    /// The most allocated since the mark was reset (`USED_MEM_HIGH`).
    pub used_high: u64,
    /// Taken from the driver now (`RESERVED_MEM_CURRENT`).
    pub reserved: u64,
    /// The most taken from the driver since the mark was reset (`RESERVED_MEM_HIGH`).
    pub reserved_high: u64,
}

/// Which GPU something was measured on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Identity {
    /// Its name, such as `NVIDIA H200`.
    pub name: String,
    /// CUDA's compute capability, such as `9.0`.
    pub compute_capability: String,
    /// The driver's version, such as `580.95.05`, where NVML says it.
    pub driver_version: Option<String>,
    /// The newest CUDA that the driver knows, such as `13.0`.
    pub cuda_version: String,
}
