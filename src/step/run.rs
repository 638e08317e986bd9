//! From a job to an estimate: the run is recorded, then played against the allocator.

use super::error::EstimateError;
use super::estimate::{Estimate, Held, Parts, Peak, Phase, TimelinePoint};
use super::record::Recorded;
use super::recording::Recording;
use super::subject::Subject;
use crate::ghost::{Category, Entry, PhaseUse, Playback, Use};
use crate::hardware::CUDA_CONTEXT;
use crate::job::{Job, Train, Workload};
use crate::units::Bytes;

/// Points a timeline is thinned to.
const TIMELINE_POINTS: usize = 512;

/// What a job takes on one GPU.
///
/// The job's `model` is not looked up: `subject` is what it is run on.
///
/// # Errors
/// The job contradicts itself or asks for what this version has no model of.
///
/// ```
/// use vramplan::{job::Job, model, step};
///
/// let job: Job = r#"{"model": "llama-2-7b", "train": {"max_seq_length": 512}}"#.parse()?;
/// let estimate = step::estimate(&model::resolve("llama-2-7b")?, &job)?;
/// // measured with torch 2.11: 67,401,205,248 bytes
/// assert_eq!(estimate.peak.allocated_bytes.0, 67_401_205_248);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn estimate<'a>(subject: impl Into<Subject<'a>>, job: &Job) -> Result<Estimate, EstimateError> {
    played(&Recording::of(subject, job)?, false).map(|(estimate, _)| estimate)
}

/// As [`estimate`], with allocated bytes over the step.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_with_timeline<'a>(subject: impl Into<Subject<'a>>, job: &Job) -> Result<Estimate, EstimateError> {
    played(&Recording::of(subject, job)?, true).map(|(estimate, _)| estimate)
}

/// Every charge and release of a job's run, in order: loading, the first step and a steady one.
///
/// # Errors
/// As [`estimate`].
pub fn record<'a>(subject: impl Into<Subject<'a>>, job: &Job) -> Result<Vec<Entry>, EstimateError> {
    let Recorded { load, first, steady, .. } = Recording::of(subject, job)?.recorded;
    Ok([load, first, steady].concat())
}

/// What a recorded run takes on a card that is large enough; and most that was reserved, loading included, where every
/// further step leaves the allocator as it finds it.
pub(super) fn played(recording: &Recording, with_timeline: bool) -> Result<(Estimate, Option<Bytes>), EstimateError> {
    let Recording { summary, basis, job, recorded, serving } = recording;
    let mut playback = Playback::default();
    playback.run(&recorded.load);
    let loaded = playback.live_by_category();
    playback.reset_peaks();
    let reserved_by_loading = Bytes(playback.peak_reserved());
    // what loading took for a moment was given back before the first step
    playback.reset_reserved();
    if with_timeline && recorded.steady.is_empty() {
        playback.record_timeline();
    }
    playback.run(&recorded.first);
    let mut peak = Highest::of(&playback);
    let mut settled = true;
    if let Workload::Train(train) = &job.workload {
        playback.reset_peaks();
        if with_timeline {
            playback.record_timeline();
        }
        let before = playback.allocator().clone();
        playback.run(&recorded.steady);
        settled = playback.continues_like(&before);
        if !settled {
            repeat(&mut playback, &recorded.steady, train);
        }
        peak = peak.max(Highest::of(&playback));
    }
    if playback.out_of_memory().is_some() {
        return Err(EstimateError::TooLarge);
    }
    let timeline = with_timeline.then(|| thin(playback.timeline()));
    let reserved = Bytes(playback.peak_reserved());
    let parts = parts(peak.parts);
    let estimate = Estimate {
        schema: "vramplan.estimate/1",
        model: summary.clone(),
        peak: Peak {
            allocated_bytes: Bytes(peak.bytes),
            reserved_bytes: reserved,
            device_bytes: reserved + CUDA_CONTEXT,
            phase: peak.phase,
        },
        at_peak: parts,
        held: Held {
            weights: Bytes(loaded[Category::Weights as usize]),
            buffers: Bytes(loaded[Category::Buffers as usize]),
            gradients: Bytes(recorded.gradients),
            optimizer: Bytes(recorded.optimizer),
            paged: Bytes(recorded.paged),
            host: Bytes(recorded.host),
        },
        phases: merge(playback.phases()),
        serving: serving.clone(),
        basis: basis.clone(),
        timeline,
    };
    Ok((estimate, settled.then(|| reserved.max(reserved_by_loading))))
}

/// Micro-batches beyond those that were recorded, and one more step: nothing new happens in them, but the allocator's
/// cache may still grow.
fn repeat(playback: &mut Playback, steady: &[Entry], job: &Train) {
    let phases = playback.phases().len();
    let steps = if job.gradient_accumulation_steps > super::train::RECORDED_MICRO_BATCHES { 2 } else { 1 };
    for _ in 0..steps {
        playback.repeat(steady);
    }
    playback.forget_phases_after(phases);
}

/// The largest allocated bytes of a stretch.
struct Highest {
    bytes: u64,
    parts: Use,
    phase: String,
}

impl Highest {
    fn of(playback: &Playback) -> Self {
        let phase = playback.peak_phase().map_or_else(|| "load".to_owned(), |phase| phase.name().to_owned());
        Self { bytes: playback.peak(), parts: playback.at_peak(), phase }
    }

    fn max(self, other: Self) -> Self {
        if other.bytes > self.bytes { other } else { self }
    }
}

/// Stretches of the same phase as one: the largest peak, the last end.
fn merge(phases: &[PhaseUse]) -> Vec<Phase> {
    let mut merged: Vec<Phase> = Vec::new();
    for phase in phases {
        let name = phase.phase.name();
        match merged.iter_mut().find(|p| p.name == name) {
            Some(known) => {
                known.peak_bytes = known.peak_bytes.max(Bytes(phase.peak));
                known.end_bytes = Bytes(phase.end);
            }
            None => {
                merged.push(Phase { name: name.to_owned(), peak_bytes: Bytes(phase.peak), end_bytes: Bytes(phase.end) })
            }
        }
    }
    merged
}

/// The points of a curve at which its stretches peak.
fn thin(points: &[(u64, usize)]) -> Vec<TimelinePoint> {
    let stretch = points.len().div_ceil(TIMELINE_POINTS).max(1);
    let mut names: Vec<usize> = Vec::new();
    (0_u64..)
        .zip(points)
        .collect::<Vec<_>>()
        .chunks(stretch)
        .filter_map(|chunk| chunk.iter().max_by_key(|(_, (bytes, _))| *bytes))
        .map(|&(event, &(bytes, phase))| {
            if names.last() != Some(&phase) {
                names.push(phase);
            }
            TimelinePoint { event, allocated_bytes: Bytes(bytes), phase }
        })
        .collect()
}

fn parts(by_category: Use) -> Parts {
    let of = |category: Category| Bytes(by_category[category as usize]);
    Parts {
        weights: of(Category::Weights) + of(Category::Buffers),
        gradients: of(Category::Gradients),
        optimizer: of(Category::Optimizer),
        activations: of(Category::Activations),
        logits: of(Category::Logits),
        kv_cache: of(Category::KvCache),
        temporary: of(Category::Temporary),
        workspace: of(Category::Workspace),
    }
}
