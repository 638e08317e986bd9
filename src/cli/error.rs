//! What can go wrong in a command.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::hardware::{GpuError, InventoryError, PricesError};
use crate::job::JobError;
use crate::model::ModelError;
use crate::plan::{SolveError, TutorialError};
use crate::serve::{KvError, VllmError};
use crate::step::EstimateError;

/// Why a command gives no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CliError {
    #[error("no model; name one, as in `vramplan estimate llama-2-7b`, or give a job file that does")]
    NoModel,
    #[error("{0}")]
    Usage(String),
    #[error("which GPU? give --gpu, such as --gpu rtx-4090, or --memory, such as --memory 24GiB")]
    NoGpu,
    #[error("{0}")]
    Unmodelled(String),
    #[cfg(feature = "verify")]
    #[error(transparent)]
    NoDevice(crate::verify::VerifyError),
    #[error(transparent)]
    Gpu(#[from] GpuError),
    #[error(transparent)]
    Kv(#[from] KvError),
    #[error(transparent)]
    Vllm(#[from] VllmError),
    #[error(transparent)]
    Solve(#[from] SolveError),
    #[error(transparent)]
    Tutorial(#[from] TutorialError),
    #[error("{}: {source}", name(path))]
    Prices { path: PathBuf, source: PricesError },
    #[error("{}: {source}{}", name(path), what_to_give(source))]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{}: {source}", name(path))]
    JobFile { path: PathBuf, source: JobError },
    #[error("{}: {source}", name(path))]
    Gpus { path: PathBuf, source: InventoryError },
    #[error("{}, {source}", name(path))]
    Check { path: PathBuf, source: crate::check::CheckError },
    #[error("{}: {source}", name(path))]
    Lock { path: PathBuf, source: crate::check::LockError },
    #[error("{}: {source}", name(path))]
    WriteFile { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    From(#[from] crate::job::from::FromError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    #[error("standard output: {0}")]
    Write(#[from] std::io::Error),
    #[error("JSON: {0}")]
    Json(#[from] serde_json::Error),
}

/// How a job file is called in a message.
fn name(path: &Path) -> String {
    if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() }
}

/// What would mend a job file that cannot be read, where its error does not say so itself.
fn what_to_give(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::IsADirectory | ErrorKind::InvalidData => "; give a job file, TOML or JSON",
        _ => "",
    }
}

impl CliError {
    pub(super) fn usage(text: &str) -> Self {
        Self::Usage(text.to_owned())
    }

    /// Whether the input makes sense and this version has no answer to it.
    pub(super) fn is_unknown(&self) -> bool {
        match self {
            Self::Job(error) | Self::Estimate(EstimateError::Job(error)) => error.is_unsupported(),
            Self::Model(error) => matches!(error, ModelError::UnknownModelType { .. }),
            Self::NoGpu | Self::Unmodelled(_) | Self::Kv(KvError::Unknown { .. }) => true,
            Self::Vllm(error) => error.is_unknown(),
            #[cfg(feature = "verify")]
            Self::NoDevice(_) => true,
            Self::Estimate(error) | Self::Solve(SolveError::Estimate(error)) => {
                matches!(error, EstimateError::CountedOnly { .. } | EstimateError::ScanTooLong { .. })
                    || matches!(error, EstimateError::Serve(error) if error.is_unknown())
                    || matches!(error, EstimateError::Job(error) if error.is_unsupported())
            }
            _ => false,
        }
    }

    /// Whether the reader of our output left, as `head` does: no fault of ours or theirs.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Write(error) if error.kind() == ErrorKind::BrokenPipe)
    }
}
