//! The job that a command's arguments ask for, and the model it is for.

use std::io::Read;
use std::path::Path;

use super::args::job::{HubFlags, JobArgs};
use super::error::CliError;
use super::{backend, from, layer, serving, source};
use crate::job::from::Report;
use crate::job::{Job, JobFile};
use crate::model::{Model, Source};
use crate::plan::Subject;
use crate::step::{self, Doubts, Estimate};

/// More than any job file needs, and little enough to hold.
const MAX_JOB_FILE: u64 = 1 << 20;

/// A job, its model, and what a reader must be told of where they come from.
pub(super) struct Asked {
    pub(super) job: Job,
    /// With its files, where weights are to be as they have them.
    pub(super) source: Source,
    /// What was made of a training configuration's fields.
    pub(super) report: Option<Report>,
    /// What the files it is made from leave open.
    pub(super) doubts: Doubts,
}

impl Asked {
    /// Reads the files, finds the model.
    pub(super) fn of(args: &JobArgs) -> Result<Self, CliError> {
        let mut notes = Vec::new();
        let (file, report, file_gives_precision) = match from::read(args)? {
            Some((file, report)) => {
                let written = report.writes_precision();
                (Some(file), Some(report), written)
            }
            None if args.vllm.is_some() => {
                let (file, unmodelled) = serving::read(args.vllm.as_deref().unwrap_or_default())?;
                notes = unmodelled;
                (Some(file), None, false)
            }
            None => match args.job.as_deref().map(read).transpose()? {
                Some((file, written)) => (Some(file), None, written),
                None => (None, None, false),
            },
        };
        let job = layer::job(args, file)?;
        let precision_given = file_gives_precision || args.common.precision.is_some() || args.train.qlora;
        let mut asked = Self::about(job, report, precision_given, &args.hub)?;
        asked.doubts.doubtful |= !notes.is_empty();
        asked.doubts.notes.append(&mut notes);
        Ok(asked)
    }

    /// Finds the model of a job.
    pub(super) fn about(
        mut job: Job,
        report: Option<Report>,
        precision_given: bool,
        hub: &HubFlags,
    ) -> Result<Self, CliError> {
        job.validate()?;
        let mut source = backend::find(&job.model, hub)?;
        let mut doubts = source::doubts(&source, &mut job, precision_given)?;
        doubts.doubtful |= report.as_ref().is_some_and(|report| !report.is_complete());
        if precision_given {
            (source.quantization, source.checkpoint) = (None, None);
        }
        Ok(Self { job, source, report, doubts })
    }

    /// What the job takes, with what is open; `timeline`: with the curve.
    pub(super) fn estimate(&self, timeline: bool) -> Result<Estimate, CliError> {
        let subject = self.subject();
        let estimate = if timeline { step::estimate_with_timeline } else { step::estimate };
        Ok(estimate(subject, &self.job)?)
    }

    /// The model.
    pub(super) const fn model(&self) -> &Model {
        &self.source.model
    }

    /// The model with what is open.
    pub(super) const fn subject(&self) -> Subject<'_> {
        Subject::stored(&self.source, &self.doubts)
    }
}

/// The job file, and whether it says a precision.
pub(super) fn read(path: &Path) -> Result<(JobFile, bool), CliError> {
    let text = text_of(path, MAX_JOB_FILE, "a job file")?;
    let file = text.parse().map_err(|source| CliError::JobFile { path: path.to_owned(), source })?;
    Ok((file, gives_precision(&text)))
}

/// A file's text, or standard input's for `-`, if it is no longer than `most` bytes.
pub(super) fn text_of(path: &Path, most: u64, what: &str) -> Result<String, CliError> {
    let failed = |source| CliError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let read = if path == Path::new("-") {
        std::io::stdin().lock().take(most + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).map_err(failed)?.take(most + 1).read_to_string(&mut text)
    };
    if read.map_err(failed)? as u64 > most {
        return Err(CliError::Usage(format!("{}: larger than {} MiB; is it {what}?", path.display(), most >> 20)));
    }
    Ok(text)
}

/// Whether a job file that has been read has a `precision`, which [`JobFile`] gives its default otherwise.
fn gives_precision(text: &str) -> bool {
    let text = text.trim_start_matches('\u{feff}');
    let value: Option<serde_json::Value> =
        if text.trim_start().starts_with('{') { serde_json::from_str(text).ok() } else { toml::from_str(text).ok() };
    let tables = ["train", "infer", "serve"].map(|table| value.as_ref()?.get(table)?.get("precision"));
    tables.iter().any(Option::is_some)
}
