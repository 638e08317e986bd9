//! What was measured, as JSON has it.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::Serialize;

use super::super::text::plain;
use super::{Expected, MeasureArgs};
use crate::hardware::Inventory;
use crate::measure::{Basis, Measured, Point, ProcessPeak, Run, seconds};
use crate::plan::{Room, difference};
use crate::step::{self, ModelSummary};
use crate::units::Bytes;

/// `vramplan.measure/1`
const SCHEMA: &str = "vramplan.measure/1";

#[derive(Serialize, JsonSchema)]
pub(in super::super) struct Output<'a> {
    schema: &'static str,
    /// The command and its arguments.
    command: Vec<Cow<'a, str>>,
    pub(super) ended: Ended,
    /// How long it ran.
    pub(super) seconds: f64,
    /// Milliseconds between two readings.
    pub(super) interval_ms: u64,
    /// How often the GPUs were read.
    pub(super) readings: u64,
    pub(super) driver_version: Option<String>,
    /// Why no GPU was measured.
    pub(super) problem: Option<String>,
    /// What a reader should know of the figures.
    pub(super) notes: Vec<String>,
    /// GPUs that the command used, in the driver's order.
    pub(super) gpus: Vec<OnGpu>,
    /// The one of them that it held the most of.
    pub(super) peak: Option<Fullest>,
    /// The job's estimate beside it, where a job was given.
    pub(super) comparison: Option<Comparison>,
    /// What became of the line that was to be saved.
    pub(super) saved: Option<Saved>,
}

/// How the command ended: by itself or by a signal.
#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Ended {
    pub(super) exit_code: Option<i32>,
    pub(super) signal: Option<i32>,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct OnGpu {
    /// Its number in the driver's order; a slice has its GPU's.
    pub(super) index: Option<u32>,
    pub(super) name: String,
    uuid: Option<String>,
    /// The GPU of the catalogue it is, of a slice the whole one.
    gpu: Option<String>,
    /// All of its memory, as the driver reports it.
    pub(super) total_bytes: Option<Bytes>,
    pub(super) basis: Basis,
    /// The most that the command held of it at a reading.
    pub(super) peak_bytes: Bytes,
    /// When that was.
    pub(super) peak_seconds: f64,
    /// The mean of the readings at which it held any.
    pub(super) mean_bytes: Bytes,
    /// What anybody held of it before the command began.
    card_used_before_bytes: Option<Bytes>,
    /// The most that anybody held of it at a reading.
    card_peak_bytes: Option<Bytes>,
    /// The most that each of the command's processes held, where the driver says it.
    pub(super) processes: Vec<ProcessPeak>,
    /// Each point is the most of as many readings; 256 points at most.
    pub(super) timeline: Vec<Point>,
    /// What the driver did not say, and why.
    pub(super) problem: Option<String>,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Fullest {
    /// Its number.
    index: Option<u32>,
    pub(super) bytes: Bytes,
}

/// An estimate beside a measurement of one GPU.
#[derive(Serialize, JsonSchema)]
pub(super) struct Comparison {
    pub(super) model: ModelSummary,
    pub(super) estimated: Estimated,
    /// The most that the command held of the fullest GPU; `null`: nothing was measured.
    pub(super) measured_bytes: Option<Bytes>,
    /// Estimated device memory less what was measured; negative: the estimate is under.
    pub(super) difference_bytes: Option<i64>,
    /// The same in percent of what was measured.
    pub(super) difference_percent: Option<f64>,
    /// What was measured less estimated reserved memory: the CUDA context, and what else is not the allocator's.
    pub(super) beside_reserved_bytes: Option<i64>,
    pub(super) under: Option<Under>,
    /// What the estimate rests on.
    pub(super) basis: step::Basis,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
pub(super) struct Estimated {
    pub(super) allocated_bytes: Bytes,
    pub(super) reserved_bytes: Bytes,
    /// Reserved, the CUDA context, and what libraries' workspaces take more on this card.
    pub(super) device_bytes: Bytes,
}

/// Which of the two is smaller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Under {
    Estimate,
    Measurement,
    Neither,
}

#[derive(Clone, Serialize, JsonSchema)]
pub(super) struct Saved {
    pub(super) file: String,
    /// Why no line was added.
    pub(super) problem: Option<String>,
}

impl<'a> Output<'a> {
    pub(super) fn of(
        args: &'a MeasureArgs,
        run: &Run,
        inventory: Option<&Inventory>,
        problem: Option<String>,
        expected: Option<&Expected>,
    ) -> Self {
        // the first of those with the most
        let fullest = run.gpus.iter().rev().max_by_key(|gpu| gpu.peak.bytes);
        let mut notes = run.notes.clone();
        // what is said of all of them need not be said of each
        notes.retain(|note| problem.as_ref().is_none_or(|problem| !problem.contains(note.as_str())));
        if run.gpus.len() > 1 && expected.is_some() {
            notes.push(
                "the estimate is of one GPU; it is compared with the GPU that the command held the most of".to_owned(),
            );
        }
        Self {
            schema: SCHEMA,
            command: args.command.iter().map(|word| word.to_string_lossy()).collect(),
            ended: Ended { exit_code: run.status.code(), signal: super::signal(run.status) },
            seconds: seconds(run.lasted),
            interval_ms: args.interval,
            readings: run.readings,
            driver_version: inventory.and_then(|inventory| inventory.driver_version.clone()),
            problem,
            notes,
            gpus: run.gpus.iter().map(OnGpu::of).collect(),
            peak: fullest.map(|gpu| Fullest { index: gpu.device.index, bytes: gpu.peak.bytes }),
            comparison: expected.map(|expected| Comparison::of(expected, fullest)),
            saved: None,
        }
    }

    /// The GPU that the command held the most of.
    pub(super) fn fullest(&self) -> Option<&OnGpu> {
        self.gpus.iter().rev().max_by_key(|gpu| gpu.peak_bytes)
    }
}

impl OnGpu {
    fn of(gpu: &Measured) -> Self {
        let device = &gpu.device;
        Self {
            index: device.index,
            name: plain(&device.name),
            uuid: device.uuid.clone(),
            gpu: device.gpu.map(|gpu| gpu.slug.clone()),
            total_bytes: device.total,
            basis: gpu.basis,
            peak_bytes: gpu.peak.bytes,
            peak_seconds: gpu.peak.seconds,
            mean_bytes: gpu.mean,
            card_used_before_bytes: gpu.used_before,
            card_peak_bytes: gpu.used_most,
            processes: gpu.processes.clone(),
            timeline: gpu.timeline.clone(),
            problem: gpu.problem.clone(),
        }
    }
}

impl Comparison {
    fn of(Expected { asked, estimate }: &Expected, gpu: Option<&Measured>) -> Self {
        let peak = &estimate.peak;
        let room = gpu.and_then(|gpu| Room::of_device(&gpu.device));
        let device_bytes = room.map_or(peak.device_bytes, |room| peak.reserved_bytes + room.beside(&asked.job));
        let measured = gpu.map(|gpu| gpu.peak.bytes);
        let difference_bytes = measured.map(|measured| difference(device_bytes, measured));
        Self {
            model: estimate.model.clone(),
            estimated: Estimated {
                allocated_bytes: peak.allocated_bytes,
                reserved_bytes: peak.reserved_bytes,
                device_bytes,
            },
            measured_bytes: measured,
            difference_bytes,
            difference_percent: measured.zip(difference_bytes).map(|(of, difference)| percent(difference, of)),
            beside_reserved_bytes: measured.map(|measured| difference(measured, peak.reserved_bytes)),
            under: difference_bytes.map(|difference| match difference {
                ..0 => Under::Estimate,
                0 => Under::Neither,
                1.. => Under::Measurement,
            }),
            basis: estimate.basis.clone(),
        }
    }
}

/// A difference in percent, to a hundredth.
#[allow(clippy::cast_precision_loss)]
fn percent(difference: i64, of: Bytes) -> f64 {
    (difference as f64 * 10_000.0 / of.0.max(1) as f64).round() / 100.0
}
