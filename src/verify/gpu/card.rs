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

/// What the process holds of the card, in bytes, by whoever says it.
#[derive(Clone, Copy)]
pub(super) struct Held {
    /// What the card's use grew by.
    growth: Option<u64>,
    device: Option<(u64, DeviceSource)>,
    /// What of it is nobody's allocation.
    pub(super) context: Option<u64>,
}

impl Held {
    /// `used` is what the card shows as used now, `reserved` what the pool took of it.
    pub(super) fn now(before: &Card, used: u64, reserved: u64) -> Self {
        let growth = before.used.map(|before| used.saturating_sub(before));
        let process = Card::look().process.map(|process| (process, DeviceSource::Process));
        let device = process.or_else(|| growth.map(|growth| (growth, DeviceSource::Growth)));
        let context = device.map(|(device, _)| device.saturating_sub(reserved));
        Self { growth, device, context }
    }
}

/// Everybody's figures for `run`: `lasting` is what the pool held before the step, `at_start` what nobody's allocations took
/// when the GPU was opened.
pub(super) fn figures(run: &Run, marks: &Marks, lasting: u64, held: &Held, at_start: Option<u64>) -> GpuMemory {
    let reserved = (run.predicted_bytes + lasting).next_multiple_of(PAGE);
    GpuMemory {
        allocated: Figure { predicted_bytes: run.predicted_bytes, measured_bytes: Some(run.measured_bytes) },
        reserved: Figure { predicted_bytes: reserved, measured_bytes: Some(marks.reserved_high) },
        device: Figure {
            predicted_bytes: reserved + CUDA_CONTEXT.0,
            measured_bytes: held.device.map(|(device, _)| device),
        },
        context: Figure { predicted_bytes: CUDA_CONTEXT.0, measured_bytes: held.context },
        context_at_start_bytes: at_start,
        device_source: held.device.map(|(_, source)| source),
        card_growth_bytes: held.growth,
        lasting_bytes: lasting,
    }
}
