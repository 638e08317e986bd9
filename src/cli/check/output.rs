//! The answer as JSON.

use serde::Serialize;

use super::super::error::CliError;
use super::super::text;
use super::Report;
use super::job::{Checked, Judgement, Status};
use super::words;
use crate::check::{Difference, Limit};
use crate::plan::{Margin, Run, Suggestion, Verdict};
use crate::step::{Basis, ModelSummary, Parts, Peak};
use crate::units::Bytes;

/// `vramplan.check/1`
const SCHEMA: &str = "vramplan.check/1";

#[derive(Serialize)]
struct Output<'a> {
    schema: &'static str,
    file: String,
    exit_code: u8,
    jobs: Vec<OfJob<'a>>,
    /// Absent where there is no lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    lock: Option<OfLock<'a>>,
}

#[derive(Serialize)]
struct OfJob<'a> {
    name: &'a str,
    line: usize,
    status: Status,
    /// Why it does not pass, or is not to be relied on.
    reason: Option<String>,
    limit: &'a Limit,
    #[serde(flatten)]
    judged: Option<Judged<'a>>,
}

#[derive(Serialize)]
struct Judged<'a> {
    device_bytes: Bytes,
    limit_bytes: Bytes,
    headroom_bytes: i64,
    /// How it fits the card, where it is held against one.
    verdict: Option<Verdict>,
    margin: Option<&'a Margin>,
    run: Option<&'a Run>,
    suggestion: Option<&'a Suggestion>,
    model: &'a ModelSummary,
    peak: &'a Peak,
    at_peak: &'a Parts,
    basis: &'a Basis,
}

#[derive(Serialize)]
struct OfLock<'a> {
    file: String,
    found: bool,
    written: bool,
    differences: &'a [Difference],
}

pub(super) fn json(report: &Report) -> Result<String, CliError> {
    text::json(&Output {
        schema: SCHEMA,
        file: report.file.display().to_string(),
        exit_code: report.code(),
        jobs: report.jobs.iter().map(of_job).collect(),
        lock: report.since.as_ref().map(|since| OfLock {
            file: since.path.display().to_string(),
            found: since.found,
            written: since.written,
            differences: &since.differences,
        }),
    })
}

fn of_job(job: &Checked) -> OfJob<'_> {
    OfJob {
        name: &job.name,
        line: job.line,
        status: job.status,
        reason: words::reason(job),
        limit: &job.limit,
        judged: job.judgement().map(|judgement| {
            let Judgement { device_bytes, limit_bytes, headroom_bytes, fit, suggestion, estimate, .. } = judgement;
            Judged {
                device_bytes: *device_bytes,
                limit_bytes: *limit_bytes,
                headroom_bytes: *headroom_bytes,
                verdict: fit.as_ref().map(|fit| fit.verdict),
                margin: fit.as_ref().map(|fit| &fit.margin),
                run: fit.as_ref().map(|fit| &fit.run),
                suggestion: suggestion.as_ref(),
                model: &estimate.model,
                peak: &estimate.peak,
                at_peak: &estimate.at_peak,
                basis: &estimate.basis,
            }
        }),
    }
}
