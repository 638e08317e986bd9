//! The proof: the same step, run for real and measured.
//!
//! The program that is run for an estimate, over ghost tensors, is run here with an executor that keeps numbers beside every
//! ghost: each operation's backward computes from what the ghost says it saved and from nothing else, so that a step which
//! learns shows that nothing was forgotten. Kernels are written once, over arrays, and run twice: with candle's tensors, while
//! an allocator counts what they hold, and with arrays that have sizes and no data, which predict it. After each kernel of the
//! latter, what its arrays hold is what the ledger says.

#[cfg(feature = "verify")]
mod array;
#[cfg(feature = "verify")]
mod candle;
#[cfg(feature = "verify")]
mod config;
#[cfg(feature = "verify")]
mod error;
#[cfg(feature = "verify")]
mod examine;
#[cfg(feature = "verify")]
mod gauge;
mod gpu;
#[cfg(feature = "verify")]
mod kernels;
mod report;
#[cfg(feature = "verify")]
mod run;
#[cfg(feature = "verify")]
mod runner;
#[cfg(feature = "verify")]
mod shadow;
#[cfg(feature = "verify")]
mod value;

#[cfg(feature = "verify")]
pub use config::{Configuration, configurations};
#[cfg(feature = "verify")]
pub use error::VerifyError;
#[cfg(feature = "verify")]
pub use examine::{Examined, Parameter, examine};
#[cfg(feature = "verify")]
pub use gauge::{Gauge, LEAST_COUNTED, MOST_ALIGNED, POOL_GRANULE};
pub use gpu::{DeviceSource, Figure, GpuMemory, Identity, Marks};
#[cfg(feature = "verify")]
pub use gpu::{Gpu, Pool, Session, gpu_configurations, predict_on_gpu};
pub use report::{Measured, PhaseRun, Run, row};
#[cfg(feature = "verify")]
pub use run::{predict, run, warm_up};
