//! One job of the file.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::overlay;
use crate::job::{JobError, JobFile};
use crate::units::Bytes;

/// A job with what it may take.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The line it begins in, counted from 1.
    pub line: usize,
    /// What the fields written here go over.
    pub base: Base,
    /// `model`, `train` and `infer`, as they are written here.
    pub(super) fields: Value,
    /// What it may take.
    pub limit: Limit,
    /// Whether a verdict that hangs on less than the margin passes.
    pub allow_tight: bool,
    /// What the CUDA context takes; `None`: the usual.
    pub context: Option<Bytes>,
}

/// Where a job comes from; paths are as they are written, beside the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Base {
    /// Written out in the file.
    Here,
    /// A job file.
    Job(PathBuf),
    /// Training configurations of other tools, the later over the earlier.
    From {
        /// The files.
        paths: Vec<PathBuf>,
        /// Whether what takes more memory and is not modelled is let pass.
        partial: bool,
    },
}

/// What a job may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Limit {
    /// It must fit a GPU of the catalogue.
    Gpu(String),
    /// It must fit a card with so much memory.
    Memory(Bytes),
    /// What the card shows at its peak must not be more.
    Budget(Bytes),
}

impl Entry {
    /// The job: what is written here over `base`.
    ///
    /// # Errors
    /// Together they are no job.
    pub fn over(&self, base: Option<JobFile>) -> Result<JobFile, JobError> {
        overlay::over(base, &self.fields)
    }

    /// Whether the job's precision is written here.
    pub fn gives_precision(&self) -> bool {
        self.gives("precision")
    }

    /// Whether a field of `[train]`, `[infer]` or `[serve]` is written here.
    pub fn gives(&self, field: &str) -> bool {
        ["train", "infer", "serve"]
            .iter()
            .any(|table| self.fields.get(table).and_then(|table| table.get(field)).is_some())
    }
}
