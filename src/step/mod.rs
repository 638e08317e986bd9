//! Runs a job on a model over ghost tensors, phase by phase.

mod adapt;
mod clip;
mod error;
mod estimate;
mod foreach;
mod infer;
mod load;
mod optimizer;
mod run;
mod train;

pub use error::EstimateError;
pub use estimate::*;
pub use run::{estimate, record};
