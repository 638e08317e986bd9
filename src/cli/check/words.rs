//! What is said of a job, the same wherever it is said.

use super::Report;
use super::job::{Checked, Judgement, Status};
use crate::check::Limit;
use crate::plan::Verdict;
use crate::units::Bytes;

/// A status in a word.
pub(super) const fn status(status: Status) -> &'static str {
    match status {
        Status::Ok => "ok",
        Status::Tight => "TIGHT",
        Status::Over => "OVER",
        Status::Unknown => "UNKNOWN",
        Status::Failed => "ERROR",
    }
}

/// What a job is held against.
pub(super) fn limit(job: &Checked) -> String {
    match &job.limit {
        Limit::Gpu(name) => match job.judgement().and_then(|judgement| judgement.gpu) {
            Some(gpu) => gpu.slug.clone(),
            None => super::super::text::plain(name),
        },
        Limit::Memory(_) => "memory".to_owned(),
        _ => "budget".to_owned(),
    }
}

/// All jobs in a line.
pub(super) fn summary(report: &Report) -> String {
    let counted = [
        (Status::Failed, "with bad input"),
        (Status::Over, "over"),
        (Status::Tight, "too close to tell"),
        (Status::Unknown, "that cannot be told"),
    ];
    let said: Vec<String> = counted
        .into_iter()
        .map(|(status, words)| (report.count(status), words))
        .filter(|(count, _)| *count > 0)
        .map(|(count, words)| format!("{count} {words}"))
        .collect();
    let all = report.jobs.len();
    let jobs = if all == 1 { "job" } else { "jobs" };
    if said.is_empty() { format!("{all} {jobs}, within limits") } else { format!("{all} {jobs}: {}", said.join(", ")) }
}

/// Why a job does not pass, in a sentence or two; `None`: it does, and there is nothing to say of it.
pub(super) fn reason(job: &Checked) -> Option<String> {
    let judgement = match &job.outcome {
        Err(error) => return Some(error.clone()),
        Ok(judgement) => judgement,
    };
    let Judgement { device_bytes, limit_bytes, headroom_bytes, fit, suggestion, estimate, .. } = &**judgement;
    let on = match (&job.limit, judgement.gpu) {
        (_, Some(gpu)) => format!("the {limit_bytes} of {}", gpu.slug),
        (Limit::Budget(_), _) => format!("its budget of {limit_bytes}"),
        _ => format!("a card of {limit_bytes}"),
    };
    let apart = Bytes(headroom_bytes.unsigned_abs());
    match job.status {
        Status::Over => {
            let over = format!("takes {device_bytes}, {apart} more than {on}; {}", largest(judgement));
            let mend = suggestion.as_ref().map(|suggestion| {
                let changes = suggestion.changes.iter().map(|change| format!("{} = {}", change.field, change.to));
                format!("; it fits with {}", changes.collect::<Vec<_>>().join(" and "))
            });
            Some(over + &mend.unwrap_or_default())
        }
        Status::Tight => {
            let margin = fit.as_ref().map_or(Bytes::ZERO, |fit| fit.margin.under_bytes + fit.room.context_unsure_bytes);
            Some(format!(
                "takes {device_bytes} of {on}, and estimates of its kind may be off by {margin}: too close to tell \
                 (allow_tight = true lets it pass)"
            ))
        }
        _ if fit.as_ref().is_some_and(|fit| fit.verdict == Verdict::Tight) => {
            Some(format!("takes {device_bytes} of {on}: too close to tell, which is allowed"))
        }
        _ if !estimate.basis.validated => {
            Some("NOT VALIDATED: no measurement of its kind of job stands behind it".to_owned())
        }
        _ => None,
    }
}

/// The largest parts at the peak.
fn largest(judgement: &Judgement) -> String {
    let mut parts = judgement.estimate.at_peak.named();
    parts.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let most = parts.iter().take(2).filter(|(_, bytes)| *bytes > Bytes::ZERO);
    let most: Vec<String> = most.map(|(name, bytes)| format!("{name} {bytes}")).collect();
    format!("it peaks in {} ({})", judgement.estimate.peak.phase, most.join(", "))
}
