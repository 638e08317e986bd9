//! Where the recorded cases lie.

use std::io;
use std::path::{Path, PathBuf};

use super::Row;

/// What lies beside them, of other forms.
const OTHER_FILES: [&str; 17] = [
    "allocator.jsonl",
    "caches.jsonl",
    "contexts_gpu.jsonl",
    "engine_configs.json",
    "engine_kv.jsonl",
    "engine_pools.jsonl",
    "layouts.jsonl",
    "module_names.jsonl",
    "optimizer_events.jsonl",
    "parameters.jsonl",
    "published.jsonl",
    "published.toml",
    // cases of public.jsonl on a real card, whose kernels have heuristics of their own
    "pytorch_gpu.jsonl",
    "verdicts.jsonl",
    "verify.jsonl",
    "verify_gpu.jsonl",
    "verify_stand_in.jsonl",
];

/// The files of `folder` whose lines are [`Row`](super::Row)s, by name. Every file is one that is not known to be of another
/// form, so that a new one is never passed over.
///
/// # Errors
/// The folder cannot be read.
///
/// ```
/// let files = vramplan::truth::case_files("tests/truth".as_ref())?;
/// assert!(files.iter().any(|file| file.ends_with("public.jsonl")));
/// # Ok::<(), std::io::Error>(())
/// ```
pub fn case_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    files.retain(|file| !OTHER_FILES.iter().any(|other| file.ends_with(other)));
    files.sort();
    Ok(files)
}

/// The rows of all of them.
///
/// # Errors
/// A file cannot be read, or a line of it is no row.
pub fn all_rows(folder: &Path) -> io::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for file in case_files(folder)? {
        rows.append(&mut Row::parse_all(&std::fs::read_to_string(file)?)?);
    }
    Ok(rows)
}
