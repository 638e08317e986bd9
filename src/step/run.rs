//! From a job to an estimate: the run is recorded, then played against the allocator.

use super::error::EstimateError;
use super::estimate::{Basis, Estimate, Held, ModelSummary, Parts, Peak, Phase};
use super::infer::Inference;
use super::train::Training;
use crate::ghost::{Category, Context, Entry, Phase as GhostPhase, PhaseUse, Playback, Use};
use crate::job::{Infer, Job, Train, Workload};
use crate::model::Model;
use crate::units::Bytes;

/// What a job takes on one GPU.
///
/// # Errors
/// The job contradicts itself or asks for what this version has no model of.
pub fn estimate(model: &Model, job: &Job) -> Result<Estimate, EstimateError> {
    job.validate()?;
    match &job.workload {
        Workload::Train(train) => estimate_training(model, train),
        Workload::Infer(infer) => estimate_inference(model, infer),
    }
}

fn estimate_training(model: &Model, job: &Train) -> Result<Estimate, EstimateError> {
    let recorded = record_training(model, job)?;
    if recorded.overflowed {
        return Err(EstimateError::TooLarge);
    }
    let [load, first, steady] = recorded.segments();
    let mut playback = Playback::default();
    playback.run(load);
    let loaded = playback.live_by_category();
    playback.reset_peaks();
    playback.run(first);
    let mut peak = (playback.peak(), playback.at_peak(), playback.peak_phase());
    playback.reset_peaks();
    playback.run(steady);
    let phases = merge(playback.phases());
    playback.run(steady);
    if playback.peak() > peak.0 {
        peak = (playback.peak(), playback.at_peak(), playback.peak_phase());
    }
    Ok(summarise(model, &recorded, &playback, peak, phases, loaded))
}

fn estimate_inference(model: &Model, job: &Infer) -> Result<Estimate, EstimateError> {
    let recorded = record_inference(model, job);
    if recorded.overflowed {
        return Err(EstimateError::TooLarge);
    }
    let [load, run, _] = recorded.segments();
    let mut playback = Playback::default();
    playback.run(load);
    let loaded = playback.live_by_category();
    playback.reset_peaks();
    playback.run(run);
    let peak = (playback.peak(), playback.at_peak(), playback.peak_phase());
    let phases = merge(playback.phases());
    Ok(summarise(model, &recorded, &playback, peak, phases, loaded))
}

fn summarise(
    model: &Model,
    recorded: &Recorded,
    playback: &Playback,
    peak: (u64, Use, Option<GhostPhase>),
    phases: Vec<Phase>,
    loaded: Use,
) -> Estimate {
    let reserved = Bytes(playback.peak_reserved());
    Estimate {
        schema: "vramplan.estimate/1",
        model: ModelSummary {
            name: model.name.clone(),
            model_type: model.model_type.to_string(),
            parameters: 0,
            trainable_parameters: 0,
        },
        peak: Peak {
            allocated_bytes: Bytes(peak.0),
            reserved_bytes: reserved,
            device_bytes: reserved,
            phase: peak.2.map_or_else(String::new, |p| p.name().to_owned()),
        },
        at_peak: parts(peak.1),
        held: Held {
            weights: Bytes(loaded[Category::Weights as usize]),
            optimizer: Bytes(recorded.optimizer),
            paged: Bytes(recorded.paged),
            ..Held::default()
        },
        phases,
        basis: Basis { runtime: "pytorch".to_owned(), versions: String::new(), validated: false, notes: Vec::new() },
        timeline: None,
    }
}

/// Records loading, the prefill and decoding.
fn record_inference(model: &Model, job: &Infer) -> Recorded {
    let cx = Context::new();
    let inference = Inference::new(&cx, model, job);
    let start = cx.ledger().len();
    inference.run();
    let end = cx.ledger().len();
    Recorded {
        entries: cx.ledger().entries(),
        starts: [start, end],
        overflowed: cx.ledger().overflowed(),
        optimizer: 0,
        paged: 0,
    }
}

/// Every charge and release of a job's run, in order: loading, the first step and a steady one.
///
/// # Errors
/// As [`estimate`].
pub fn record(model: &Model, job: &Job) -> Result<Vec<Entry>, EstimateError> {
    job.validate()?;
    match &job.workload {
        Workload::Train(train) => Ok(record_training(model, train)?.entries),
        Workload::Infer(infer) => Ok(record_inference(model, infer).entries),
    }
}

/// A run as the ledger has it.
pub(super) struct Recorded {
    /// Everything, in order.
    entries: Vec<Entry>,
    /// Where the first and the steady step begin.
    starts: [usize; 2],
    overflowed: bool,
    /// Bytes of optimizer states on the GPU.
    optimizer: u64,
    /// Bytes of optimizer states in managed memory.
    paged: u64,
}

impl Recorded {
    fn segments(&self) -> [&[Entry]; 3] {
        let [first, steady] = self.starts;
        [&self.entries[..first], &self.entries[first..steady], &self.entries[steady..]]
    }
}

/// Records loading and two steps.
fn record_training(model: &Model, job: &Train) -> Result<Recorded, EstimateError> {
    let cx = Context::new();
    let mut training = Training::new(&cx, model, job)?;
    let first = cx.ledger().len();
    training.step();
    let steady = cx.ledger().len();
    training.step();
    Ok(Recorded {
        entries: cx.ledger().entries(),
        starts: [first, steady],
        overflowed: cx.ledger().overflowed(),
        optimizer: training.optimizer().held_bytes(),
        paged: training.optimizer().paged_bytes(),
    })
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

fn parts(by_category: Use) -> Parts {
    let of = |category: Category| Bytes(by_category[category as usize]);
    Parts {
        weights: of(Category::Weights),
        gradients: of(Category::Gradients),
        optimizer: of(Category::Optimizer),
        activations: of(Category::Activations),
        logits: of(Category::Logits),
        kv_cache: of(Category::KvCache),
        temporary: of(Category::Temporary),
        workspace: of(Category::Workspace),
    }
}
