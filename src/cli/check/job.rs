//! One job, judged.

use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Serialize;

use super::super::args::job::HubFlags;
use super::super::args::judging::GpuArgs;
use super::super::asked::{self, Asked};
use super::super::error::CliError;
use super::super::from::Files;
use crate::check::{Base, Entry, Figures, Inputs, Limit, Locked};
use crate::hardware::Gpu;
use crate::job::{Job, ModelRef};
use crate::plan::{self, Fit, Question, Suggestion, Verdict, difference};
use crate::step::Estimate;
use crate::units::Bytes;

/// What came of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    /// Within what it may take.
    Ok,
    /// Too close to tell, and that does not pass.
    Tight,
    /// It takes more.
    Over,
    /// There is no telling.
    Unknown,
    /// Bad input.
    Failed,
}

/// A job with what came of it.
pub(super) struct Checked {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) limit: Limit,
    pub(super) status: Status,
    pub(super) outcome: Result<Box<Judgement>, String>,
}

/// What a job takes, and what it may.
pub(super) struct Judgement {
    pub(super) gpu: Option<&'static Gpu>,
    /// What the card shows at the peak.
    pub(super) device_bytes: Bytes,
    /// What it may.
    pub(super) limit_bytes: Bytes,
    pub(super) headroom_bytes: i64,
    /// How it fits a card, where it is to.
    pub(super) fit: Option<Fit>,
    /// What makes it fit.
    pub(super) suggestion: Option<Suggestion>,
    pub(super) estimate: Estimate,
    pub(super) locked: Locked,
}

impl Checked {
    /// Judges a job; whatever goes wrong is its own.
    pub(super) fn of(entry: &Entry, folder: &Path, hub: &HubFlags, allow_tight: bool) -> Self {
        let judged = ask(entry, folder, hub).and_then(|(asked, written)| judge(entry, &asked, written));
        let status = match &judged {
            Ok(judgement) => judgement.status(entry.allow_tight || allow_tight),
            Err(error) if error.is_unknown() => Status::Unknown,
            Err(_) => Status::Failed,
        };
        Self {
            name: entry.name.clone(),
            line: entry.line,
            limit: entry.limit.clone(),
            status,
            outcome: judged.map(Box::new).map_err(|error| super::super::text::plain(&error.to_string())),
        }
    }

    pub(super) fn judgement(&self) -> Option<&Judgement> {
        self.outcome.as_deref().ok()
    }
}

impl Judgement {
    fn status(&self, allow_tight: bool) -> Status {
        match &self.fit {
            Some(fit) => match fit.verdict {
                Verdict::Fits => Status::Ok,
                Verdict::Tight if allow_tight => Status::Ok,
                Verdict::Tight => Status::Tight,
                Verdict::DoesNotFit => Status::Over,
                Verdict::Unknown => Status::Unknown,
            },
            None if self.headroom_bytes < 0 => Status::Over,
            None => Status::Ok,
        }
    }
}

/// A path of the file, from where the process is; `-` is a file of that name.
fn beside(folder: &Path, path: &Path) -> PathBuf {
    if folder == Path::new(".") && path != Path::new("-") { path.to_owned() } else { folder.join(path) }
}

/// Reads the job, finds its model; and the model as it is written.
fn ask(entry: &Entry, folder: &Path, hub: &HubFlags) -> Result<(Asked, ModelRef), CliError> {
    let (base, report, mut precision_given) = match &entry.base {
        Base::Here => (None, None, false),
        Base::Job(path) => {
            let (file, written) = asked::read(&beside(folder, path))?;
            (Some(file), None, written)
        }
        Base::From { paths, partial } => {
            let paths: Vec<_> = paths.iter().map(|path| beside(folder, path)).collect();
            let files = Files {
                paths: &paths,
                formats: &[],
                partial: *partial,
                given: |field| entry.gives(field),
                spell: |field| format!("train.{field} to the job"),
                let_pass: "partial = true to the job",
            };
            let (file, report) = files.read()?;
            let written = report.writes_precision();
            (Some(file), Some(report), written)
        }
    };
    precision_given |= entry.gives_precision();
    let mut job = Job::try_from(entry.over(base)?)?;
    let written = job.model.clone();
    if let ModelRef::Named(name) = &mut job.model {
        let beside = folder.join(&*name);
        if folder != Path::new(".") && !name.is_empty() && beside.exists() {
            *name = beside.display().to_string();
        }
    }
    Ok((Asked::about(job, report, precision_given, hub)?, written))
}

fn judge(entry: &Entry, asked: &Asked, written: ModelRef) -> Result<Judgement, CliError> {
    let card = match &entry.limit {
        Limit::Gpu(name) => Some((Some(name.clone()), None)),
        Limit::Memory(bytes) => Some((None, Some(*bytes))),
        _ => None,
    };
    let card = card
        .map(|(gpu, memory)| GpuArgs { gpu, memory, gpus_from: None, context: entry.context }.roomiest())
        .transpose()?;
    let question = Question::of(asked.subject(), &asked.job)?;
    let figures = Figures::new(question.estimate(), entry.context);
    let fit = card.as_ref().map(|card| question.fit(&card.room));
    let (device_bytes, limit_bytes, headroom_bytes) = match (&fit, &entry.limit) {
        (Some(fit), _) => (fit.device_bytes, fit.room.free(), fit.headroom_bytes),
        (None, Limit::Budget(budget)) => (figures.device_bytes, *budget, difference(*budget, figures.device_bytes)),
        (None, _) => return Err(CliError::NoGpu),
    };
    let over = fit.as_ref().is_some_and(|fit| fit.verdict == Verdict::DoesNotFit);
    let suggestion = card
        .as_ref()
        .filter(|_| over)
        .and_then(|card| plan::suggest(asked.subject(), &question, &card.room).into_iter().next());
    let inputs = Inputs::new(entry, &Job { model: written, ..asked.job.clone() }, &asked.source.config);
    Ok(Judgement {
        gpu: card.and_then(|card| card.gpu),
        device_bytes,
        limit_bytes,
        headroom_bytes,
        fit,
        suggestion,
        estimate: question.estimate().clone(),
        locked: Locked::new(figures, inputs),
    })
}
