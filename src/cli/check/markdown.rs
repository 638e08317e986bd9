//! The answer as a pull request's comment.

use super::super::text::{gib, plain};
use super::Report;
use super::job::Status;
use super::{since, words};
use crate::units::Bytes;

/// By which a comment is found again.
const MARK: &str = "<!-- vramplan check -->";
/// GitHub takes comments of 65,536 characters.
const LONGEST: usize = 60_000;

pub(super) fn report(report: &Report) -> String {
    let mut out = format!("{MARK}\n### GPU memory: {}\n\n", words::summary(report));
    out.push_str("| | job | on | GiB | limit | spare |\n| --- | --- | --- | ---: | ---: | ---: |\n");
    let mut left_out = 0;
    let mut add = |out: &mut String, line: &str| {
        if out.len() + line.len() > LONGEST {
            left_out += 1;
        } else {
            out.push_str(line);
        }
    };
    for job in &report.jobs {
        let [taken, limit, spare] = match job.judgement() {
            Some(judgement) => [
                gib(judgement.device_bytes),
                gib(judgement.limit_bytes),
                format!(
                    "{}{}",
                    if judgement.headroom_bytes < 0 { "-" } else { "" },
                    gib(Bytes(judgement.headroom_bytes.unsigned_abs()))
                ),
            ],
            None => ["", "", ""].map(str::to_owned),
        };
        let line = format!(
            "| {} {} | {} | {} | {taken} | {limit} | {spare} |\n",
            mark(job.status),
            words::status(job.status),
            code(&job.name),
            escaped(&words::limit(job))
        );
        add(&mut out, &line);
    }
    out.push('\n');
    for job in &report.jobs {
        if let Some(reason) = words::reason(job) {
            add(&mut out, &format!("- {}: {}\n", code(&job.name), escaped(&reason)));
        }
    }
    if let Some(since) = &report.since {
        add(&mut out, &format!("\n**{}**\n\n", escaped(&since::summary(since))));
        for difference in since.told() {
            let told = since::told(difference);
            let mut item = format!("- {}: {}\n", code(&difference.job), escaped(&told.headline));
            for reason in told.reasons {
                item.push_str(&format!("  - {}\n", escaped(&reason)));
            }
            add(&mut out, &item);
        }
    }
    if left_out > 0 {
        out.push_str(&format!("\n{left_out} more lines are left out.\n"));
    }
    out
}

const fn mark(status: Status) -> &'static str {
    match status {
        Status::Ok => "✅",
        Status::Tight | Status::Unknown => "⚠️",
        Status::Over | Status::Failed => "❌",
    }
}

/// Text from elsewhere as text: nothing in it is markup, a link or a mention.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for character in plain(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // a word joiner keeps a name from being notified
            '@' => out.push_str("@\u{2060}"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '~' | '#' => out.extend(['\\', character]),
            _ => out.push(character),
        }
    }
    out.replace("://", ":\u{2060}//")
}

/// A name as code.
fn code(text: &str) -> String {
    format!("`{}`", plain(text).replace('`', "'").replace('|', "\\|"))
}
