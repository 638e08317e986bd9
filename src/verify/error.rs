//! What can go wrong in a step that is carried out.

use crate::ghost::Kernel;

/// Why a step was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Candle says no.
    #[error("candle: {0}")]
    Candle(String),
    /// A GPU cannot be reached, or does not answer, or its memory is full: what is missing, and what was tried.
    #[error("no GPU to measure on: {0}")]
    Gpu(String),
    /// A kernel that is not carried out, or not on what it was given.
    #[error("{0}")]
    Kernel(String),
    /// The model or the way of training is none.
    #[error("{0}")]
    Model(String),
    /// The ledger and the arrays disagree.
    #[error("after {kernel} the ledger has {ghosts} bytes and the arrays hold {arrays}")]
    Ledger {
        /// After which kernel.
        kernel: String,
        /// What the ledger has.
        ghosts: u64,
        /// What the arrays hold.
        arrays: u64,
    },
}

impl VerifyError {
    /// What went wrong in a kernel, with its name.
    pub(super) fn of(self, kernel: &Kernel) -> Self {
        match self {
            Self::Candle(text) => Self::Candle(format!("{kernel:?}: {text}")),
            Self::Kernel(text) => Self::Kernel(format!("{kernel:?}: {text}")),
            other => other,
        }
    }
}
