//! The answer as a table.

use super::super::text::{bold, gib, lines, plain, table, warning, wrap};
use super::Report;
use super::job::{Checked, Status};
use super::{since, words};
use crate::units::Bytes;

/// Narrower than this, what a job is held against is told by its size alone.
const NARROW: u16 = 64;
/// Longer names are broken in a narrow table.
const LONGEST: usize = 24;

pub(super) fn report(report: &Report, width: u16) -> String {
    let narrow = width < NARROW;
    let header: &[&str] =
        if narrow { &["job", "GiB", "limit", ""] } else { &["job", "on", "GiB", "limit", "spare", "verdict"] };
    let mut rows = table(header, width);
    if report.jobs.iter().any(|job| job.name.chars().count() > LONGEST)
        && let Some(column) = rows.column_mut(0)
    {
        column.remove_constraint();
    }
    for job in &report.jobs {
        let size = |of: fn(&super::job::Judgement) -> String| job.judgement().map_or_else(|| "-".to_owned(), of);
        let taken = size(|judgement| gib(judgement.device_bytes));
        let limit = size(|judgement| gib(judgement.limit_bytes));
        let spare = size(|judgement| signed(judgement.headroom_bytes));
        let word = words::status(job.status).to_owned();
        let cells: Vec<String> = if narrow {
            vec![plain(&job.name), taken, limit, word]
        } else {
            vec![plain(&job.name), words::limit(job), taken, limit, spare, word]
        };
        rows.add_row(cells);
    }
    let mut out = lines(&rows);
    let summary = words::summary(report);
    let passes = report.jobs.iter().all(|job| job.status == Status::Ok);
    out.push_str(&format!("\n{}\n", if passes { bold(summary) } else { warning(summary) }));
    for job in &report.jobs {
        out.push_str(&reason(job, width));
    }
    if let Some(since) = &report.since {
        let summary = wrap(&plain(&since::summary(since)), width, "");
        out.push_str(&format!("\n{}\n", if since.fails() { warning(summary) } else { bold(summary) }));
        for difference in since.told() {
            let told = since::told(difference);
            let line = format!("- {}: {}", plain(&difference.job), told.headline);
            out.push_str(&(wrap(&line, width, "  ") + "\n"));
            for reason in told.reasons {
                let lines = wrap(&plain(&reason), width.saturating_sub(4), "  ");
                out.extend(lines.lines().map(|line| format!("    {line}\n")));
            }
        }
    }
    out
}

fn reason(job: &Checked, width: u16) -> String {
    let Some(reason) = words::reason(job) else { return String::new() };
    wrap(&plain(&format!("- {}: {reason}", job.name)), width, "  ") + "\n"
}

/// A size in GiB with its sign where it is missing.
fn signed(bytes: i64) -> String {
    let size = gib(Bytes(bytes.unsigned_abs()));
    if bytes < 0 { format!("-{size}") } else { size }
}
