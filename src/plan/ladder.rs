//! Where a job stops fitting on a ladder: of GPUs by their memory, of models by their size.

use schemars::JsonSchema;
use serde::Serialize;

use super::fit::{Question, Verdict};
use super::room::Room;
use crate::hardware::Gpu;
use crate::job::{Job, ModelRef};
use crate::model::Model;
use crate::step::Doubts;
use crate::step::Subject;
use crate::units::Bytes;

/// A GPU or a model that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Rung {
    /// Its name.
    pub value: String,
    /// How the job fits.
    pub verdict: Verdict,
    /// What the card shows at the peak.
    pub device_bytes: Bytes,
    /// What the card has.
    pub memory_bytes: Bytes,
    /// What is left of it; negative: what is missing.
    pub headroom_bytes: i64,
    /// Whether measurements stand behind the estimate.
    pub validated: bool,
}

/// The last rung on which a job fits, and the first on which it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Ladder {
    /// `gpu` or `model`
    pub quantity: &'static str,
    /// The smallest GPU, or the largest model; `None`: none fits.
    pub answer: Option<Rung>,
    /// The next smaller GPU, or larger model; `None`: there is none.
    pub next: Option<Rung>,
    /// Models that could not be estimated.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
}

impl Rung {
    fn of(value: &str, question: &Question, room: &Room) -> Self {
        let fit = question.fit(room);
        Self {
            value: value.to_owned(),
            verdict: fit.verdict,
            device_bytes: fit.device_bytes,
            memory_bytes: fit.room.memory_bytes,
            headroom_bytes: fit.headroom_bytes,
            validated: question.estimate().basis.validated,
        }
    }

    fn fits(&self) -> bool {
        self.verdict == Verdict::Fits
    }
}

/// The first of `gpus`, which are in order of their memory, that the job fits; `room` says what one has for it.
///
/// ```
/// use vramplan::{hardware, job::Job, model, plan::{self, Question, Room}};
///
/// let job: Job = r#"{"model": "llama-2-7b", "train": {"precision": "nf4", "peft": {"type": "lora"}}}"#.parse()?;
/// let question = Question::of(&model::resolve("llama-2-7b")?, &job)?;
/// let ladder = plan::smallest_gpu(&question, hardware::by_memory(), Room::on);
/// let (answer, next) = (ladder.answer.expect("one fits"), ladder.next.expect("not all do"));
/// assert!(answer.memory_bytes >= next.memory_bytes && answer.headroom_bytes > 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn smallest_gpu(question: &Question, gpus: &[&Gpu], room: impl Fn(&Gpu) -> Room) -> Ladder {
    let mut next = None;
    for gpu in gpus {
        let rung = Rung::of(&gpu.slug, question, &room(gpu));
        if rung.fits() {
            return Ladder { quantity: "gpu", answer: Some(rung), next, skipped: Vec::new() };
        }
        next = Some(rung);
    }
    Ladder { quantity: "gpu", answer: None, next, skipped: Vec::new() }
}

/// The largest of `models`, which come with their numbers of parameters, that `job`, of which `doubts` are open, fits `room`
/// with.
pub fn largest_model(mut models: Vec<(Model, u64)>, job: &Job, doubts: &Doubts, room: &Room) -> Ladder {
    models.sort_by_key(|(_, parameters)| *parameters);
    let mut skipped = Vec::new();
    let mut rungs = Vec::new();
    for (model, _) in &models {
        let job = Job { model: ModelRef::Named(model.name().to_owned()), workload: job.workload.clone() };
        match Question::of(Subject::doubted(model, doubts), &job) {
            Ok(question) => rungs.push(Rung::of(model.name(), &question, room)),
            Err(error) => skipped.push(format!("{}: {error}", model.name())),
        }
    }
    let last = rungs.iter().rposition(Rung::fits);
    let next = rungs.get(last.map_or(0, |last| last + 1)).cloned();
    Ladder { quantity: "model", answer: last.and_then(|last| rungs.get(last).cloned()), next, skipped }
}
