//! Workflow commands, which GitHub shows beside the lines of the file.

use std::fmt::Display;
use std::path::Path;

use super::super::error::CliError;
use super::super::text::plain;
use super::Report;
use super::job::Status;
use super::{since, words};

/// An annotation for every job that does not pass or is not to be relied on, and for what differs from the lock.
pub(super) fn annotations(report: &Report) -> String {
    let mut out = String::new();
    for job in &report.jobs {
        let Some(reason) = words::reason(job) else { continue };
        let level = if job.status == Status::Ok { "warning" } else { "error" };
        out.push_str(&command(level, &report.file, job.line, &title(&job.name), reason));
    }
    let Some(since) = &report.since else { return out };
    let level = if since.fails() { "error" } else { "notice" };
    for difference in since.told() {
        let line = report.jobs.iter().find(|job| job.name == difference.job).map_or(1, |job| job.line);
        let told = since::told(difference);
        let text = std::iter::once(told.headline).chain(told.reasons).collect::<Vec<_>>().join("\n");
        out.push_str(&command(level, &report.file, line, &title(&difference.job), text));
    }
    out
}

/// An annotation for what is wrong with the file itself.
pub(super) fn refused(file: &Path, error: &CliError) -> String {
    let line = match error {
        CliError::Check { source, .. } => source.line,
        _ => 1,
    };
    command("error", file, line, "vramplan", plain(&error.to_string()))
}

fn title(job: &str) -> String {
    format!("vramplan: {}", plain(job))
}

fn command(level: &str, file: &Path, line: usize, title: &str, message: impl Display) -> String {
    let (file, title) = (property(&in_repository(file)), property(title));
    format!("::{level} file={file},line={line},title={title}::{}\n", data(&message.to_string()))
}

/// The path as the repository has it, where the runner says where that is.
fn in_repository(file: &Path) -> String {
    let whole = std::path::absolute(file).ok();
    let root = std::env::var_os("GITHUB_WORKSPACE").filter(|root| !root.is_empty());
    let inside = whole.as_deref().zip(root).and_then(|(whole, root)| whole.strip_prefix(root).ok());
    inside.unwrap_or(file).display().to_string()
}

/// As actions/toolkit escapes a message.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// As actions/toolkit escapes a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_command_early() {
        assert_eq!(
            command("error", Path::new("a,b.toml"), 3, "x: 100%", "one\n::two"),
            "::error file=a%2Cb.toml,line=3,title=x%3A 100%25::one%0A::two\n"
        );
    }
}
