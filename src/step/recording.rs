//! A job's run, recorded once and played as often as there are questions.

use super::basis;
use super::count::{Parameters, count_parameters, counted};
use super::error::EstimateError;
use super::estimate::{Basis, Estimate, Held, ModelSummary};
use super::head::headed;
use super::record::{self, Recorded};
use super::run::played;
use super::serve;
use super::subject::Subject;
use crate::arch::shapes;
use crate::ghost::{CachingAllocator, Category, Context, Entry, Phase, Playback};
use crate::job::{Job, Serve, Workload};
use crate::model::{DecoderConfig, LayerType, Mixer, Model, Support};
use crate::serve::{CardSize, Serving, serving, serving_of};
use crate::units::Bytes;

/// Steady steps that are played after the first one where memory may still change between them.
const STEPS_MORE: usize = 2;

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
    pub(super) summary: ModelSummary,
    pub(super) basis: Basis,
    pub(super) job: Job,
    pub(super) recorded: Recorded,
    pub(super) serving: Option<Serving>,
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
    /// Records the run of `job` on a model.
    ///
    /// # Errors
    /// As [`estimate`](super::estimate).
    pub fn of<'a>(subject: impl Into<Subject<'a>>, job: &Job) -> Result<Self, EstimateError> {
        let subject = subject.into();
        if let Workload::Serve(serve) = &job.workload {
            return Self::of_serving(subject, job, serve, CardSize::default());
        }
        let Subject { model, doubts, .. } = subject;
        let headed = &*headed(model, job)?;
        let recorded = recorded(headed, job)?;
        let summary = summary(headed, job, count_parameters(headed, job.workload.peft())?);
        let mut basis = basis::of(model, job, recorded.paged, recorded.host);
        basis.doubt(doubts);
        Ok(Self { summary, basis, job: job.clone(), recorded, serving: None })
    }

    /// What an engine holds on cards of a size, as a run.
    pub(crate) fn of_serving(
        Subject { model, source, doubts }: Subject<'_>,
        job: &Job,
        serve: &Serve,
        card: CardSize,
    ) -> Result<Self, EstimateError> {
        job.validate()?;
        let cx = Context::new();
        let mut network = shapes(&cx, model);
        let serving = serving_of(network.as_mut(), model, source, serve, card)?;
        let recorded = serve::recorded(&serving);
        if recorded.overflowed {
            return Err(EstimateError::TooLarge);
        }
        let summary = summary(model, job, counted(network.as_mut(), model));
        let mut basis = serve::basis(model, &serving);
        basis.doubt(doubts);
        Ok(Self { summary, basis, job: job.clone(), recorded, serving: Some(serving) })
    }

    /// What the engine holds, where an engine serves.
    pub fn serving(&self) -> Option<&Serving> {
        self.serving.as_ref()
    }

    /// What is run.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// What the job takes on a card that is large enough.
    ///
    /// # Errors
    /// No card is.
    pub fn estimate(&self) -> Result<Estimate, EstimateError> {
        played(self, false).map(|(estimate, _)| estimate)
    }

    /// As [`Recording::estimate`], with the most that [`Recording::play`] reserves on such a card.
    ///
    /// # Errors
    /// As [`Recording::estimate`].
    pub(crate) fn estimate_and_reserved(&self) -> Result<(Estimate, Bytes), EstimateError> {
        let (estimate, settled) = played(self, false)?;
        if let Some(reserved) = settled {
            return Ok((estimate, reserved));
        }
        match self.play(Bytes(u64::MAX)) {
            Played::Completed { reserved } => Ok((estimate, reserved)),
            Played::OutOfMemory { .. } => Err(EstimateError::TooLarge),
        }
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

    /// The times at which live tensors hold more than ever before, with what they hold: no allocator runs the job in less
    /// than the last, and none gets past one that is more than it has.
    pub fn highs(&self) -> Vec<High> {
        let mut highs: Vec<High> = Vec::new();
        self.watch(|live, _, requested, phase| {
            if highs.last().is_none_or(|highest| live > highest.live.0) {
                highs.push(High { live: Bytes(live), requested: Bytes(requested), phase: phase.name() });
            }
        });
        highs
    }

    /// What no allocator runs the job in less than, if it accumulated several micro-batches instead of one: then gradients
    /// are alive through forward and backward.
    pub fn least_accumulating(&self) -> Bytes {
        let mut most = 0;
        self.watch(|live, gradients, _, phase| {
            let kept = match phase {
                Phase::Forward | Phase::Backward => self.recorded.gradients.saturating_sub(gradients),
                _ => 0,
            };
            most = most.max(live + kept);
        });
        Bytes(most)
    }

    /// Weights' bytes, gradients' and optimizer states', without playing the run.
    pub(crate) fn held(&self) -> Held {
        let charged = |entry: &Entry| match entry {
            Entry::Charge { bytes, category: Category::Weights, .. } => *bytes,
            _ => 0,
        };
        let Recorded { load, gradients, optimizer, paged, host, .. } = &self.recorded;
        Held {
            weights: Bytes(load.iter().map(charged).sum()),
            buffers: Bytes::ZERO,
            gradients: Bytes(*gradients),
            optimizer: Bytes(*optimizer),
            paged: Bytes(*paged),
            host: Bytes(*host),
        }
    }

    /// The model with what is counted of it.
    pub(crate) fn summary(&self) -> &ModelSummary {
        &self.summary
    }

    /// Tells `at` what is alive after every charge: in all and of gradients, what was asked for, and the phase.
    fn watch(&self, mut at: impl FnMut(u64, u64, u64, Phase)) {
        let Recorded { load, first, steady, .. } = &self.recorded;
        let mut sizes: Vec<(u64, u64)> = Vec::new();
        let (mut live, mut gradients, mut phase) = (0, 0, Phase::Load);
        for entry in [load, first, steady].into_iter().flatten() {
            match *entry {
                Entry::Charge { id, bytes, category } => {
                    let size = CachingAllocator::rounded(bytes);
                    let of_gradients = if category == Category::Gradients { size } else { 0 };
                    let id = id as usize;
                    if sizes.len() <= id {
                        sizes.resize(id + 1, (0, 0));
                    }
                    sizes[id] = (size, of_gradients);
                    live += size;
                    gradients += of_gradients;
                    at(live, gradients, bytes, phase);
                }
                Entry::Release { id } => {
                    let (size, of_gradients) = sizes[id as usize];
                    live -= size;
                    gradients -= of_gradients;
                }
                Entry::Begin { phase: begun } => phase = begun,
                Entry::EmptyCache => {}
            }
        }
    }
}

/// A time at which live tensors hold more than ever before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct High {
    /// What they hold.
    pub live: Bytes,
    /// What the last of them was asked for.
    pub requested: Bytes,
    /// The phase.
    pub phase: &'static str,
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
        Workload::Serve(serve) => return Ok(serve::recorded(&serving(model, None, serve, CardSize::default())?)),
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
        Workload::Serve(_) => return Ok(()),
    };
    let layers = layer_types.iter().filter(|kind| **kind == LayerType::LinearAttention).count();
    let steps = length.div_ceil(each).saturating_mul(u64::try_from(layers).unwrap_or(u64::MAX));
    if steps <= MOST {
        return Ok(());
    }
    Err(EstimateError::ScanTooLong { length, model_type: model.model_type(), steps, most: MOST })
}

/// The model with what is counted of it under `job`.
fn summary(model: &Model, job: &Job, counted: Parameters) -> ModelSummary {
    let tower = model.decoder().map_or(0, |decoder| decoder.tower_left_out);
    let mut parameters = counted.without_tower(tower, job.workload.peft().is_some());
    if let Workload::Infer(_) | Workload::Serve(_) = job.workload {
        parameters.trainable = 0;
    }
    ModelSummary::new(model, parameters)
}
