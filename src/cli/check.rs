//! `vramplan check`: jobs against what each may take.

mod github;
mod job;
mod junit;
mod lock;
mod markdown;
mod output;
mod sample;
mod since;
mod table;
mod words;

pub(super) use output::Output;
use std::io::Write;
use std::path::{Path, PathBuf};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

use self::job::{Checked, Status};
use self::lock::Since;
use super::args::job::HubFlags;
use super::args::judging::CheckArgs;
use super::asked::text_of;
use super::error::CliError;
use super::{Answer, exit, files, text};
use crate::check::CheckFile;

/// More than any file of jobs needs.
const MAX_FILE: u64 = 1 << 20;

/// All that is told.
struct Report {
    file: PathBuf,
    jobs: Vec<Checked>,
    since: Option<Since>,
}

impl Report {
    fn count(&self, status: Status) -> usize {
        self.jobs.iter().filter(|job| job.status == status).count()
    }

    /// What the process exits with.
    fn code(&self) -> u8 {
        let any = |status| self.count(status) > 0;
        if any(Status::Failed) {
            exit::USAGE
        } else if any(Status::Over) || any(Status::Tight) || self.since.as_ref().is_some_and(Since::fails) {
            exit::DOES_NOT_FIT
        } else if any(Status::Unknown) {
            exit::UNKNOWN
        } else {
            0
        }
    }
}

pub(super) fn run(args: &CheckArgs) -> Result<Answer, CliError> {
    if args.init {
        return sample::write(&args.file).map(Answer::from);
    }
    let on_github = args.github.unwrap_or_else(|| std::env::var_os("GITHUB_ACTIONS").is_some_and(|on| on == "true"));
    let file = match read(&args.file) {
        Ok(file) => file,
        Err(error) => {
            if on_github {
                announce(&github::refused(&args.file, &error));
            }
            return Err(error);
        }
    };
    let folder = match args.file.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    let hub = HubFlags { offline: args.offline, ..HubFlags::default() };
    let jobs: Vec<Checked> =
        file.jobs.par_iter().map(|entry| Checked::of(entry, folder, &hub, args.allow_tight)).collect();
    let since = lock::since(args, &jobs)?;
    let report = Report { file: args.file.clone(), jobs, since };
    if let Some(path) = &args.junit {
        files::write(path, &junit::report(&report)?)?;
    }
    let markdown = markdown::report(&report);
    if let Some(path) = &args.markdown {
        files::write(path, &markdown)?;
    }
    let annotations = if on_github { github::annotations(&report) } else { String::new() };
    if on_github && let Some(path) = std::env::var_os("GITHUB_STEP_SUMMARY").filter(|path| !path.is_empty()) {
        files::append(Path::new(&path), &markdown)?;
    }
    let text = if args.json {
        announce(&annotations);
        output::json(&report)?
    } else {
        table::report(&report, text::width()) + &annotations
    };
    Ok(Answer { text, code: report.code() })
}

/// Tells the runner, which reads both streams, on the one that carries no JSON and is never asked to be empty.
fn announce(commands: &str) {
    // A reader that left has nobody to tell.
    let _ = anstream::stderr().write_all(commands.as_bytes());
}

fn read(path: &Path) -> Result<CheckFile, CliError> {
    let text = text_of(path, MAX_FILE, "a file of jobs").map_err(|error| match error {
        CliError::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => CliError::Usage(format!(
            "{}: no such file; `vramplan check --init` writes a vramplan.toml to start from",
            path.display()
        )),
        error => error,
    })?;
    let text = text.trim_start_matches('\u{feff}');
    text.parse().map_err(|source| CliError::Check { path: path.to_owned(), source })
}
