//! What the driver and the card say, put beside what the pool says.

use super::super::report::Run;
use super::memory::{DeviceSource, Figure, GpuMemory, Marks};
use crate::hardware::{CUDA_CONTEXT, nvml};

/// Memory is given to a process in pages of this size, in bytes (`cuMemGetAllocationGranularity` on every GPU so far).
const PAGE: u64 = 2 << 20;

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

/// Everybody's figures for `run`: `used` is what the card shows as used, `lasting` what the pool held before the step.
pub(super) fn figures(run: &Run, marks: &Marks, lasting: u64, used: u64, before: &Card, after: &Card) -> GpuMemory {
    let growth = before.used.map(|before| used.saturating_sub(before));
    let (device, device_source) = match (after.process, growth) {
        (Some(process), _) => (Some(process), Some(DeviceSource::Process)),
        (None, Some(growth)) => (Some(growth), Some(DeviceSource::Growth)),
        (None, None) => (None, None),
    };
    let reserved = (run.predicted_bytes + lasting).next_multiple_of(PAGE);
    GpuMemory {
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
