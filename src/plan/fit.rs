//! Whether a job fits a card.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use schemars::JsonSchema;
use serde::Serialize;

use super::margin::Margin;
use super::room::Room;
use crate::ghost::Phase;
use crate::job::{Job, Workload};
use crate::model::Model;
use crate::serve::{Cache, CardSize, Serving};
use crate::step::Subject;
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
    /// What an engine gives its cache on the card, where one serves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// What the engine says of such a card.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
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
    /// The engine does not start: less is free than the share of the card that it takes.
    Refused {
        /// What it takes.
        requested_bytes: Bytes,
        /// What it finds.
        free_bytes: Bytes,
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
    /// The same on a large card, where an engine takes other defaults for one.
    on_large: Option<Box<Self>>,
}

impl Question {
    /// Runs `job` on a model.
    ///
    /// # Errors
    /// As [`step::estimate`](crate::step::estimate).
    pub fn of<'a>(subject: impl Into<Subject<'a>>, job: &Job) -> Result<Self, EstimateError> {
        let subject = subject.into();
        let model = subject.model;
        let mut question = Self::about(model, Recording::of(subject, job)?)?;
        if let Workload::Serve(serve) = &job.workload {
            let large = Recording::of_serving(subject, job, serve, CardSize::Large)?;
            if large.serving() != question.serving() {
                question.on_large = Some(Box::new(Self::about(model, large)?));
            }
        }
        Ok(question)
    }

    fn about(model: &Model, recording: Recording) -> Result<Self, EstimateError> {
        let (estimate, reserved) = recording.estimate_and_reserved()?;
        let margin = match recording.serving() {
            Some(serving) => Margin::of_engine(serving, estimate.basis.validated),
            None => Margin::of(model, recording.job(), &estimate),
        };
        let highs = recording.highs();
        Ok(Self { highs, recording, estimate, reserved, margin, played: Arc::default(), on_large: None })
    }

    /// What the engine holds, where one serves.
    pub fn serving(&self) -> Option<&Serving> {
        self.recording.serving()
    }

    /// What the engine holds on such a card, with its defaults for one.
    pub fn serving_on(&self, room: &Room) -> Option<&Serving> {
        self.on(room).serving()
    }

    /// The question as it is on such a card.
    fn on(&self, room: &Room) -> &Self {
        self.on_large.as_deref().filter(|_| room.size == CardSize::Large).unwrap_or(self)
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
        let question = self.on(room);
        let free = room.capacity(question.job());
        let divided = question
            .serving()
            .and_then(|serving| Some((serving, serving.capacity(room.memory_bytes, room.usable(), free)?)));
        match divided {
            Some((serving, capacity)) => question.fit_share(room, serving, capacity),
            None => question.fit_whole(room),
        }
    }

    /// On a card of which an engine takes a share, and gives its cache what is left of that.
    fn fit_share(&self, room: &Room, serving: &Serving, capacity: Bytes) -> Fit {
        let beside = room.beside(self.job());
        let free = room.capacity(self.job());
        let needed = serving.held_bytes();
        // no log is of a card whose kernels choose otherwise
        let margin = if room.kernels_known { self.margin.clone() } else { self.margin.unmeasured(needed) };
        let run = if capacity > free {
            Run::Refused { requested_bytes: capacity, free_bytes: free }
        } else if needed <= capacity {
            Run::Completed { reserved_bytes: needed, frees_cache: false }
        } else {
            let cache = serving.kv_cache_bytes;
            let allocated_bytes = needed.saturating_sub(cache);
            Run::OutOfMemory { phase: Phase::Prefill.name(), requested_bytes: cache, allocated_bytes }
        };
        // what the context and CUDA graphs may take lies beside the share, as long as there is so much
        let close = capacity + serving.beside_bytes + room.context_unsure_bytes > free;
        let verdict = match run {
            Run::Refused { .. } => Verdict::DoesNotFit,
            Run::Completed { .. } if needed + margin.under_bytes <= capacity && !close => Verdict::Fits,
            Run::OutOfMemory { .. } if needed > capacity + margin.over_bytes => Verdict::DoesNotFit,
            Run::Completed { .. } | Run::OutOfMemory { .. } => Verdict::Tight,
        };
        let headroom_bytes = match run {
            Run::Refused { .. } => difference(free, capacity),
            Run::Completed { .. } | Run::OutOfMemory { .. } => difference(capacity, needed),
        };
        let mut cache = serving.cache(room.usable(), capacity, margin.under_bytes);
        if let Some(cache) = &mut cache {
            // what lies beside the share must have room too
            let leaves_room = |share: &f64| room.usable().share(*share) + serving.beside_bytes <= free;
            cache.least_gpu_memory_utilization = cache.least_gpu_memory_utilization.filter(leaves_room);
        }
        Fit {
            verdict,
            device_bytes: capacity.max(needed) + beside,
            headroom_bytes,
            room: *room,
            capacity_bytes: capacity,
            margin,
            run,
            cache,
            notes: serving.notes_on(room.compute_capability),
        }
    }

    /// On a card that the job may have all of.
    fn fit_whole(&self, room: &Room) -> Fit {
        let job = self.job();
        let capacity = room.capacity(job);
        let run = self.run_in(capacity);
        let margin = if room.kernels_known { self.margin.clone() } else { self.margin.unmeasured(self.reserved) };
        let beside = room.beside(job);
        let shown = match &run {
            Run::Completed { reserved_bytes, .. } => *reserved_bytes,
            Run::OutOfMemory { .. } | Run::Refused { .. } => self.reserved,
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
            cache: None,
            notes: Vec::new(),
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
    /// GPUs that the job runs on, each of them like the one that is judged.
    pub gpu_count: u64,
    /// How it fits the fullest of them.
    #[serde(flatten)]
    pub fit: Fit,
    /// What the figures rest on.
    pub basis: Basis,
}

impl Judged {
    /// The answer to a question.
    pub fn new(question: &Question, room: &Room) -> Self {
        let Estimate { model, peak, basis, .. } = question.estimate().clone();
        let gpu_count = question.serving().map_or(1, |serving| serving.gpu_count);
        Self { model, peak, gpu_count, fit: question.fit(room), basis }
    }
}
