//! Runs a job on a model over ghost tensors, phase by phase.

mod estimate;

pub use estimate::*;
