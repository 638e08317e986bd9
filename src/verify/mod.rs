//! The proof: the same step, run for real and measured.
//!
//! The program that is run for an estimate, over ghost tensors, is run here with an executor that keeps numbers beside every
//! ghost: each operation's backward computes from what the ghost says it saved and from nothing else, so that a step which
//! learns shows that nothing was forgotten. Kernels are written once, over arrays, and run twice: with candle's tensors, while
//! an allocator counts what they hold, and with arrays that have sizes and no data, which predict it. After each kernel of the
//! latter, what its arrays hold is what the ledger says.

mod array;
mod candle;
mod config;
mod gauge;
mod gpu;
mod kernels;
mod run;
mod runner;
mod shadow;
mod value;

use crate::ghost::Kernel;

pub use config::{Configuration, configurations};
pub use gauge::{Gauge, LEAST_COUNTED, POOL_GRANULE};
pub use gpu::{DeviceSource, Figure, Gpu, GpuMemory, GpuRun, Identity, Marks, Pool, Session, gpu_configurations};
pub use run::{PhaseRun, Run, predict, run};

/// Why a step was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// Candle says no.
    #[error("candle: {0}")]
    Candle(String),
    /// A GPU cannot be reached, or does not answer: what is missing, and what was tried.
    #[error("no GPU through CUDA: {0}")]
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
    fn of(self, kernel: &Kernel) -> Self {
        match self {
            Self::Candle(text) => Self::Candle(format!("{kernel:?}: {text}")),
            Self::Kernel(text) => Self::Kernel(format!("{kernel:?}: {text}")),
            other => other,
        }
    }
}
