//! GPU memory of training and serving models, found by running the step without its data.
#![doc = ""]

pub mod cli;
pub mod dtype;
pub mod formula;
pub mod job;
pub mod model;
pub mod step;
pub mod units;

pub use dtype::DType;
pub use units::Bytes;
