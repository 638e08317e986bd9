//! Allocated, reserved, device and context: predicted and measured.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::super::run::Run;
use super::pool::Marks;
use crate::hardware::{CUDA_CONTEXT, nvml};

/// Memory is given to a process in pages of this size, in bytes (`cuMemGetAllocationGranularity` on every GPU so far).
const PAGE: u64 = 2 << 20;

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

/// What NVML says, at one time.
pub(super) struct Card {
    process: Option<u64>,
    used: Option<u64>,
    pub(super) driver_version: Option<String>,
}

impl Card {
    pub(super) fn look() -> Self {
        let inventory = nvml::detect();
        let mut processes = inventory.devices.iter().flat_map(|device| &device.processes);
        let own = processes.find(|process| process.pid == std::process::id());
        // of several cards nobody says which one CUDA counts as which
        let used = match &inventory.devices[..] {
            [only] => only.used.map(|used| used.0),
            _ => None,
        };
        Self {
            process: own.and_then(|process| process.used).map(|used| used.0),
            used,
            driver_version: inventory.driver_version,
        }
    }
}

impl GpuMemory {
    pub(super) fn of(run: &Run, marks: &Marks, lasting: u64, used: u64, before: &Card, after: &Card) -> Self {
        let growth = before.used.map(|before| used.saturating_sub(before));
        let (device, device_source) = match (after.process, growth) {
            (Some(process), _) => (Some(process), Some(DeviceSource::Process)),
            (None, Some(growth)) => (Some(growth), Some(DeviceSource::Growth)),
            (None, None) => (None, None),
        };
        let reserved = (run.predicted_bytes + lasting).next_multiple_of(PAGE);
        Self {
            allocated: Figure { predicted_bytes: run.predicted_bytes, measured_bytes: Some(run.measured_bytes) },
            reserved: Figure { predicted_bytes: reserved, measured_bytes: Some(marks.reserved_high) },
            device: Figure { predicted_bytes: reserved + CUDA_CONTEXT.0, measured_bytes: device },
            context: Figure {
                predicted_bytes: CUDA_CONTEXT.0,
                measured_bytes: device.map(|device| device.saturating_sub(marks.reserved)),
            },
            device_source,
            card_growth_bytes: growth,
            lasting_bytes: lasting,
        }
    }
}
