#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod arch;
pub mod check;
pub mod cli;
pub mod dtype;
pub mod formula;
pub mod ghost;
pub mod hardware;
pub mod hub;
pub mod job;
pub mod model;
pub mod nn;
pub mod plan;
pub mod step;
pub mod truth;
pub mod units;
pub mod verify;

pub use dtype::DType;
pub use units::Bytes;
