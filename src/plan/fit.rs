//! Whether a job fits a card.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::Serialize;

use super::margin::Margin;
use super::room::Room;
use super::subject::Subject;
use crate::job::Job;
use crate::step::{Basis, Estimate, EstimateError, High, ModelSummary, Peak, Played, Recording};
use crate::units::Bytes;

/// Whether a job fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It runs, with more to spare than estimates of its kind have been off.
    Fits,
    /// Whether it runs hangs on less than that.
    Tight,
    /// It runs out of memory.
    DoesNotFit,
    /// Nobody can tell.
    Unknown,
}

/// How a job fits a card.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Fit {
    /// Whether it does.
    pub verdict: Verdict,
    /// What the card shows at the job's peak: as PyTorch runs on this card where it does, as on a larger one else.
    pub device_bytes: Bytes,
    /// What is left then; negative: what is missing.
    pub headroom_bytes: i64,
    /// The card.
    #[serde(flatten)]
    pub room: Room,
    /// What the caching allocator can have of it.
    pub capacity_bytes: Bytes,
    /// How far estimates of this kind of job have been off, and what that comes to here.
    pub margin: Margin,
    /// How the run ended when it was played on the card.
    pub run: Run,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "ends", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Run {
    /// It came to its end.
    Completed {
        /// Most that the caching allocator held.
        reserved_bytes: Bytes,
        /// Whether cached segments had to be given back to the driver on the way, which costs time.
        frees_cache: bool,
    },
    /// PyTorch raises `OutOfMemoryError`.
    OutOfMemory {
        /// Where.
        phase: &'static str,
        /// For what.
        requested_bytes: Bytes,
        /// While live tensors held so much.
        allocated_bytes: Bytes,
    },
}

/// A job that was run once, without data, and can be asked of any number of cards.
///
/// ```
/// use vramplan::{Bytes, job::Job, model, plan::{Question, Room, Verdict}};
///
/// let job: Job = r#"{"model": "llama-2-7b", "train": {"max_seq_length": 512}}"#.parse()?;
/// let question = Question::of(&model::resolve("llama-2-7b")?, &job)?;
/// assert_eq!(question.fit(&Room::of(Bytes::from_gib(80))).verdict, Verdict::Fits);
/// assert_eq!(question.fit(&Room::of(Bytes::from_gib(40))).verdict, Verdict::DoesNotFit);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Question {
    recording: Recording,
    estimate: Estimate,
    /// Segments at most, loading included, where nothing is missing.
    reserved: Bytes,
    highs: Vec<High>,
    margin: Margin,
    /// How the run ended in a capacity of so many [`GRAIN`]s.
    played: Arc<Mutex<HashMap<u64, Run>>>,
}

impl Question {
    /// Runs `job` on a model.
    ///
    /// # Errors
    /// As [`step::estimate`](crate::step::estimate).
    pub fn of<'a>(subject: impl Into<Subject<'a>>, job: &Job) -> Result<Self, EstimateError> {
        let Subject { model, doubts } = subject.into();
        let recording = Recording::of(model, job)?.doubted(doubts);
        let (estimate, reserved) = recording.estimate_and_reserved()?;
        let margin = Margin::of(model, recording.job(), &estimate);
        Ok(Self { highs: recording.highs(), recording, estimate, reserved, margin, played: Arc::default() })
    }

    /// What the job takes where nothing is missing.
    pub fn estimate(&self) -> &Estimate {
        &self.estimate
    }

    /// The job.
    pub fn job(&self) -> &Job {
        self.recording.job()
    }

    /// Plays the job on a card.
    pub fn fit(&self, room: &Room) -> Fit {
        let job = self.job();
        let capacity = room.capacity(job);
        let run = self.run_in(capacity);
        let margin = if room.kernels_known { self.margin.clone() } else { self.margin.unmeasured(self.reserved) };
        let beside = room.beside(job);
        let shown = match &run {
            Run::Completed { reserved_bytes, .. } => *reserved_bytes,
            Run::OutOfMemory { .. } => self.reserved,
        };
        let device_bytes = shown + beside;
        let mut headroom_bytes = difference(room.free(), device_bytes);
        if let Run::OutOfMemory { .. } = run {
            // what is missing of the card, not what a larger one would have cached
            headroom_bytes = headroom_bytes.min(-1);
        }
        Fit {
            verdict: self.verdict(capacity, &run, &margin, room.context_unsure_bytes),
            device_bytes,
            headroom_bytes,
            room: *room,
            capacity_bytes: capacity,
            margin,
            run,
        }
    }

    /// Whether `capacity` decides by more than the margin: the run is played at both of its ends and between, since what
    /// the allocator gives back and takes anew makes more memory no promise.
    fn verdict(&self, capacity: Bytes, run: &Run, margin: &Margin, unsure: Bytes) -> Verdict {
        let completes = matches!(run, Run::Completed { .. });
        let margin = if completes { margin.under_bytes + unsure } else { margin.over_bytes };
        let same = (1..=STEPS).all(|step| {
            let shift = Bytes(margin.0 / STEPS * step);
            let other = if completes { capacity.saturating_sub(shift) } else { capacity + shift };
            matches!(self.run_in(other), Run::Completed { .. }) == completes
        });
        match (same, completes) {
            (false, _) => Verdict::Tight,
            (true, true) => Verdict::Fits,
            (true, false) => Verdict::DoesNotFit,
        }
    }

    fn run_in(&self, capacity: Bytes) -> Run {
        if capacity >= self.reserved {
            return Run::Completed { reserved_bytes: self.reserved, frees_cache: false };
        }
        let passed = self.highs.partition_point(|high| high.live <= capacity);
        if let Some(High { live, requested, phase }) = self.highs.get(passed) {
            return Run::OutOfMemory {
                phase,
                requested_bytes: *requested,
                allocated_bytes: live.saturating_sub(*requested),
            };
        }
        let grains = capacity.0 / GRAIN;
        let known = |played: &Mutex<HashMap<u64, Run>>| played.lock().ok()?.get(&grains).cloned();
        if let Some(run) = known(&self.played) {
            return run;
        }
        let run = match self.recording.play(Bytes(grains * GRAIN)) {
            Played::Completed { reserved } => Run::Completed { reserved_bytes: reserved, frees_cache: true },
            Played::OutOfMemory { phase, requested, allocated, .. } => {
                Run::OutOfMemory { phase, requested_bytes: requested, allocated_bytes: allocated }
            }
        };
        if let Ok(mut played) = self.played.lock() {
            played.insert(grains, run.clone());
        }
        run
    }
}

/// Every segment is a multiple of this, so capacities between two multiples are alike.
const GRAIN: u64 = 2 << 20;

/// Points of the margin that are played.
const STEPS: u64 = 3;

/// `a - b`, kept within 64 bits.
pub(crate) fn difference(a: Bytes, b: Bytes) -> i64 {
    a.signed_difference(b)
}

/// A verdict with the job it is for.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Judged {
    /// The model.
    pub model: ModelSummary,
    /// What the job takes where nothing is missing.
    pub peak: Peak,
    /// How it fits.
    #[serde(flatten)]
    pub fit: Fit,
    /// What the figures rest on.
    pub basis: Basis,
}

impl Judged {
    /// The answer to a question.
    pub fn new(question: &Question, room: &Room) -> Self {
        let Estimate { model, peak, basis, .. } = question.estimate().clone();
        Self { model, peak, fit: question.fit(room), basis }
    }
}
