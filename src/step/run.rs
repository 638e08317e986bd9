//! From a job to an estimate: the run is recorded, then played against the allocator.

use super::basis;
use super::count::count_parameters;
use super::error::EstimateError;
use super::estimate::{Basis, Estimate, Held, ModelSummary, Parts, Peak, Phase, TimelinePoint};
use super::head::headed;
use super::record::{self, Recorded};
use crate::ghost::{Category, Entry, PhaseUse, Playback, Use};
use crate::hardware::CUDA_CONTEXT;
use crate::job::{Job, Train, Workload};
use crate::model::{DecoderConfig, LayerType, Mixer, Model, Support};
use crate::units::Bytes;

/// Points a timeline is thinned to.
const TIMELINE_POINTS: usize = 512;
/// Steady steps that are played after the first one where memory may still change between them.
const STEPS_MORE: usize = 2;

/// What a job takes on one GPU.
///
/// The job's `model` is not looked up: `model` is what it is run on.
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
pub fn estimate(model: &Model, job: &Job) -> Result<Estimate, EstimateError> {
    Recording::of(model, job)?.run(false)
}

/// As [`estimate`], with allocated bytes over the step.
///
/// # Errors
/// As [`estimate`].
pub fn estimate_with_timeline(model: &Model, job: &Job) -> Result<Estimate, EstimateError> {
    Recording::of(model, job)?.run(true)
}

/// Every charge and release of a job's run, in order: loading, the first step and a steady one.
///
/// # Errors
/// As [`estimate`].
pub fn record(model: &Model, job: &Job) -> Result<Vec<Entry>, EstimateError> {
    let Recorded { load, first, steady, .. } = Recording::of(model, job)?.recorded;
    Ok([load, first, steady].concat())
}

/// A job's run as it was recorded: estimated from, and played on a card of any size, as often as there are questions.
///
/// ```
/// use vramplan::{Bytes, job::Job, model, step::{Played, Recording}};
///
/// let job: Job = r#"{"model": "llama-2-7b", "train": {"max_seq_length": 512}}"#.parse()?;
/// let recording = Recording::of(&model::resolve("llama-2-7b")?, &job)?;
/// assert!(matches!(recording.play(Bytes::from_gib(79)), Played::Completed { .. }));
/// assert!(matches!(recording.play(Bytes::from_gib(40)), Played::OutOfMemory { .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Recording {
    summary: ModelSummary,
    basis: Basis,
    job: Job,
    recorded: Recorded,
}

/// How a run ended on a card.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Played {
    /// It came to its end.
    Completed {
        /// Most bytes that the caching allocator held.
        reserved: Bytes,
    },
    /// PyTorch raises `OutOfMemoryError`.
    OutOfMemory {
        /// The phase it is raised in.
        phase: &'static str,
        /// What was asked for.
        requested: Bytes,
        /// What live tensors held then.
        allocated: Bytes,
        /// What the allocator held then, everything given back that it could.
        reserved: Bytes,
    },
}

impl Recording {
    /// Records the run of `job` on `model`.
    ///
    /// # Errors
    /// As [`estimate`].
    pub fn of(model: &Model, job: &Job) -> Result<Self, EstimateError> {
        let headed = &*headed(model, job)?;
        let recorded = recorded(headed, job)?;
        let summary = summary(headed, job)?;
        let basis = basis::of(model, job, recorded.paged, recorded.host);
        Ok(Self { summary, basis, job: job.clone(), recorded })
    }

    /// The job.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What the job takes on a card that is large enough.
    ///
    /// # Errors
    /// No card is.
    pub fn estimate(&self) -> Result<Estimate, EstimateError> {
        self.run(false)
    }

    /// Plays the run, loading included, on a card that can give `capacity` to the allocator.
    pub fn play(&self, capacity: Bytes) -> Played {
        let mut playback = Playback::with_capacity(capacity.0);
        playback.run(&self.recorded.load);
        playback.run(&self.recorded.first);
        let before = playback.allocator().clone();
        playback.run(&self.recorded.steady);
        if !playback.continues_like(&before) {
            for _ in 0..STEPS_MORE {
                playback.repeat(&self.recorded.steady);
            }
        }
        match playback.out_of_memory() {
            None => Played::Completed { reserved: Bytes(playback.peak_reserved()) },
            Some(out) => Played::OutOfMemory {
                phase: playback.phases().last().map_or("load", |stretch| stretch.phase.name()),
                requested: Bytes(out.requested),
                allocated: Bytes(playback.live()),
                reserved: Bytes(out.reserved),
            },
        }
    }

    fn run(&self, with_timeline: bool) -> Result<Estimate, EstimateError> {
        let Self { summary, basis, job, recorded } = self;
        let mut playback = Playback::default();
        playback.run(&recorded.load);
        let loaded = playback.live_by_category();
        playback.reset_peaks();
        // what loading took for a moment was given back before the first step
        playback.reset_reserved();
        if with_timeline && recorded.steady.is_empty() {
            playback.record_timeline();
        }
        playback.run(&recorded.first);
        let mut peak = Highest::of(&playback);
        if let Workload::Train(train) = &job.workload {
            playback.reset_peaks();
            if with_timeline {
                playback.record_timeline();
            }
            let before = playback.allocator().clone();
            playback.run(&recorded.steady);
            if !playback.continues_like(&before) {
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
        Ok(Estimate {
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
            basis: basis.clone(),
            timeline,
        })
    }
}

/// Records the run of `model`, which has the head the job puts on it.
fn recorded(model: &Model, job: &Job) -> Result<Recorded, EstimateError> {
    job.validate()?;
    if model.model_type().support() == Support::CountedOnly {
        return Err(EstimateError::CountedOnly { model_type: model.model_type() });
    }
    refuse_long_scan(model, job)?;
    let recorded = match &job.workload {
        Workload::Train(train) => record::training(model, train)?,
        Workload::Infer(infer) => record::inference(model, infer),
    };
    if recorded.overflowed { Err(EstimateError::TooLarge) } else { Ok(recorded) }
}

/// Refuses a scan whose steps would not fit the memory of the machine that estimates.
fn refuse_long_scan(model: &Model, job: &Job) -> Result<(), EstimateError> {
    /// 64 layers over 4096 tokens.
    const MOST: u64 = 1 << 18;
    let (each, layer_types) = match model.decoder() {
        Some(DecoderConfig { mixer: Some(Mixer::Mamba(_)), layer_types, .. }) => (1, layer_types),
        // the delta rule is a loop over chunks
        Some(DecoderConfig { mixer: Some(Mixer::GatedDelta(_)), layer_types, .. }) => (64, layer_types),
        _ => return Ok(()),
    };
    let length = match &job.workload {
        Workload::Train(train) => train.row()[1],
        Workload::Infer(infer) => infer.prompt_length,
    };
    let layers = layer_types.iter().filter(|kind| **kind == LayerType::LinearAttention).count();
    let steps = length.div_ceil(each).saturating_mul(u64::try_from(layers).unwrap_or(u64::MAX));
    if steps <= MOST {
        return Ok(());
    }
    Err(EstimateError::ScanTooLong { length, model_type: model.model_type(), steps, most: MOST })
}

/// The model with what is counted of it under `job`.
fn summary(model: &Model, job: &Job) -> Result<ModelSummary, EstimateError> {
    let peft = match &job.workload {
        Workload::Train(train) => train.peft.as_ref(),
        Workload::Infer(_) => None,
    };
    let tower = model.decoder().map_or(0, |decoder| decoder.tower_left_out);
    let mut parameters = count_parameters(model, peft)?.without_tower(tower, peft.is_some());
    if let Workload::Infer(_) = job.workload {
        parameters.trainable = 0;
    }
    Ok(ModelSummary::new(model, parameters))
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
