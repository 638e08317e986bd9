//! The lock beside the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::super::args::judging::CheckArgs;
use super::super::asked::text_of;
use super::super::error::CliError;
use super::super::files;
use super::job::Checked;
use crate::check::{Difference, Lock, Locked, compare};

/// More than a lock of every model there is.
const MAX_LOCK: u64 = 16 << 20;

/// What differs from the lock.
pub(super) struct Since {
    /// The lock.
    pub(super) path: PathBuf,
    /// Whether there was one.
    pub(super) found: bool,
    pub(super) differences: Vec<Difference>,
    /// Whether nothing may differ.
    pub(super) locked: bool,
    /// Whether it was written anew.
    pub(super) written: bool,
}

impl Since {
    /// Whether what differs may not.
    pub(super) fn fails(&self) -> bool {
        self.locked && !self.differences.is_empty()
    }

    /// The differences that are worth telling one by one: not those of a first lock, in which everything is new.
    pub(super) fn told(&self) -> &[Difference] {
        if self.found || self.locked { &self.differences } else { &[] }
    }
}

/// Compares with the lock, and writes it where that was asked for; `None`: there is none, and none was asked for.
pub(super) fn since(args: &CheckArgs, jobs: &[Checked]) -> Result<Option<Since>, CliError> {
    let path = args.file.with_extension("lock");
    let old = match read(&path) {
        // to be written anew
        Err(CliError::Lock { .. }) if args.update_lock => None,
        read => read?,
    };
    if old.is_none() && !args.update_lock && !args.locked {
        return Ok(None);
    }
    let now: BTreeMap<String, Locked> = jobs
        .iter()
        .filter_map(|job| job.judgement().map(|judgement| (job.name.clone(), judgement.locked.clone())))
        .collect();
    let failed: Vec<&str> = jobs.iter().filter(|job| job.outcome.is_err()).map(|job| job.name.as_str()).collect();
    let found = old.is_some();
    let old = old.unwrap_or_default();
    let differences = compare(&old, &now, &failed);
    if args.update_lock {
        let mut lock = Lock::default();
        // what cannot be told now is known no better than it was
        lock.jobs.extend(old.jobs.into_iter().filter(|(name, _)| failed.contains(&name.as_str())));
        lock.jobs.extend(now);
        files::write(&path, &lock.to_text())?;
    }
    Ok(Some(Since { path, found, differences, locked: args.locked, written: args.update_lock }))
}

fn read(path: &Path) -> Result<Option<Lock>, CliError> {
    let text = match text_of(path, MAX_LOCK, "a lock") {
        Err(CliError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    Lock::read(&text).map(Some).map_err(|source| CliError::Lock { path: path.to_owned(), source })
}
