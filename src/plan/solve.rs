//! The largest value of a field with which a job fits.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

use super::fit::{Question, Verdict};
use super::room::Room;
use crate::job::{Job, Peft, Workload};
use crate::model::Model;
use crate::step::EstimateError;
use crate::step::Subject;
use crate::units::Bytes;

/// A field that is solved for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Quantity {
    /// Sequences: of a micro-batch, or run together.
    Batch,
    /// Tokens of a sequence in training, of the prompt in inference.
    Seq,
    /// Rank of the adapters.
    Rank,
}

impl Quantity {
    /// The job file's field that says it.
    ///
    /// # Errors
    /// The job has no such field; the text says what has.
    pub fn field(self, job: &Job) -> Result<&'static str, SolveError> {
        match (self, &job.workload) {
            (Self::Batch, Workload::Train(_)) => Ok("train.per_device_train_batch_size"),
            (Self::Batch, Workload::Infer(_)) => Ok("infer.batch_size"),
            (Self::Batch, Workload::Serve(_)) => Ok("serve.concurrency"),
            (Self::Seq, Workload::Serve(_)) => Ok("serve.max_model_len"),
            (Self::Seq, Workload::Train(_)) => Ok("train.max_seq_length"),
            (Self::Seq, Workload::Infer(_)) => Ok("infer.prompt_length"),
            (Self::Rank, Workload::Train(train)) if train.peft.clone().as_mut().and_then(Peft::rank_mut).is_some() => {
                Ok("train.peft.r")
            }
            (Self::Rank, _) => Err(SolveError::NoRank),
        }
    }

    /// The job with this value.
    ///
    /// ```
    /// use vramplan::{job::{Job, Serve}, plan::Quantity};
    ///
    /// let job = Quantity::Batch.set(&Job::serve("llama-3.1-8b", Serve::default()), 8);
    /// assert_eq!(job, Job::serve("llama-3.1-8b", Serve { concurrency: 8, ..Serve::default() }));
    /// ```
    #[must_use]
    pub fn set(self, job: &Job, value: u64) -> Job {
        let mut job = job.clone();
        match (self, &mut job.workload) {
            (Self::Batch, Workload::Train(train)) => train.per_device_train_batch_size = value,
            (Self::Batch, Workload::Infer(infer)) => infer.batch_size = value,
            (Self::Batch, Workload::Serve(serve)) => serve.concurrency = value,
            (Self::Seq, Workload::Serve(serve)) => serve.max_model_len = Some(value),
            (Self::Seq, Workload::Train(train)) => train.max_seq_length = value,
            (Self::Seq, Workload::Infer(infer)) => infer.prompt_length = value,
            (Self::Rank, Workload::Train(train)) => {
                if let Some(rank) = train.peft.as_mut().and_then(Peft::rank_mut) {
                    *rank = value;
                }
            }
            (Self::Rank, Workload::Infer(_) | Workload::Serve(_)) => {}
        }
        job
    }

    /// The largest value that is looked at, in steps: more has no meaning.
    fn most(self, model: &Model, job: &Job) -> u64 {
        match (self, &job.workload) {
            (Self::Batch, _) => 1 << 16,
            (Self::Rank, _) => model.hidden_size(),
            (Self::Seq, Workload::Train(_) | Workload::Serve(_)) => model.max_position_embeddings().max(1),
            (Self::Seq, Workload::Infer(infer)) => {
                model.max_position_embeddings().saturating_sub(infer.max_new_tokens).max(1)
            }
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Batch => "batch",
            Self::Seq => "sequence length",
            Self::Rank => "rank",
        })
    }
}

/// A value that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Tried {
    /// The value.
    pub value: u64,
    /// How the job with it fits.
    pub verdict: Verdict,
    /// What the card shows at the peak.
    pub device_bytes: Bytes,
    /// What is left of the card; negative: what is missing.
    pub headroom_bytes: i64,
}

/// The largest value with which a job fits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Solution {
    /// What was solved for.
    pub quantity: Quantity,
    /// The job file's field.
    pub field: &'static str,
    /// The largest value that fits; `None`: the smallest does not.
    pub answer: Option<Tried>,
    /// The next value, with which it does not; `None`: the answer is as large as the model or the field allows.
    pub next: Option<Tried>,
    /// What bounded the search where `next` is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound: Option<String>,
    /// Whether measurements stand behind every estimate that was looked at.
    pub validated: bool,
}

/// Why there is no solution.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SolveError {
    /// The job trains no adapters with a rank.
    #[error("the job has no rank to solve for; ask for LoRA (--lora) or another method that has one")]
    NoRank,
    /// Steps of nothing.
    #[error("a step of 0; give 1 or more")]
    NoStep,
    /// The job cannot be estimated.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
}

/// The largest multiple of `step` with which `job` fits `room`.
///
/// The search doubles until it does not fit, then halves what is between; both ends of the answer are run.
///
/// # Errors
/// The job has no such field, or cannot be estimated even with its smallest value.
///
/// ```
/// use vramplan::{Bytes, job::Job, model, plan::{self, Quantity, Room}};
///
/// let job: Job = r#"{"model": "llama-2-7b", "train": {"precision": "nf4", "peft": {"type": "lora"}}}"#.parse()?;
/// let room = Room::of(Bytes::from_gib(24));
/// let solution = plan::solve(&model::resolve("llama-2-7b")?, &job, &room, Quantity::Seq, 64)?;
/// let (answer, next) = (solution.answer.expect("some fit"), solution.next.expect("not all fit"));
/// assert_eq!(next.value, answer.value + 64);
/// assert_eq!((answer.verdict, next.verdict == answer.verdict), (plan::Verdict::Fits, false));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn solve<'a>(
    subject: impl Into<Subject<'a>>,
    job: &Job,
    room: &Room,
    quantity: Quantity,
    step: u64,
) -> Result<Solution, SolveError> {
    let subject = subject.into();
    let field = quantity.field(job)?;
    if step == 0 {
        return Err(SolveError::NoStep);
    }
    let mut validated = true;
    let mut attempt = |steps: u64| -> Result<Tried, EstimateError> {
        let value = steps.saturating_mul(step);
        let question = Question::of(subject, &quantity.set(job, value))?;
        validated &= question.estimate().basis.validated;
        let fit = question.fit(room);
        let (device_bytes, headroom_bytes) = (fit.device_bytes, fit.headroom_bytes);
        Ok(Tried { value, verdict: fit.verdict, device_bytes, headroom_bytes })
    };
    let most = (quantity.most(subject.model, job) / step).max(1);
    let mut bound = None;
    let mut low: Option<Tried> = None;
    let mut high: Option<Tried> = None;
    let mut steps = 1;
    loop {
        match attempt(steps) {
            Ok(tried) if tried.verdict == Verdict::Fits => low = Some(tried),
            Ok(tried) => {
                high = Some(tried);
                break;
            }
            Err(error) if low.is_none() => return Err(error.into()),
            Err(error) => {
                bound = Some(error.to_string());
                break;
            }
        }
        if steps == most {
            bound = Some(format!("{field} = {} is as far as was looked", most * step));
            break;
        }
        steps = steps.saturating_mul(2).min(most);
    }
    if let (Some(fits), Some(not)) = (&mut low, &mut high) {
        while not.value - fits.value > step {
            let middle = (fits.value / step).midpoint(not.value / step);
            let tried = attempt(middle)?;
            *if tried.verdict == Verdict::Fits { &mut *fits } else { &mut *not } = tried;
        }
    }
    Ok(Solution { quantity, field, answer: low, next: high, bound, validated })
}
