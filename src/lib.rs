#![doc = include_str!("../README.md")]

pub mod arch;
pub mod check;
pub mod cli;
pub mod dtype;
pub mod formula;
pub mod ghost;
pub mod hardware;
pub mod hub;
pub mod job;
mod measure;
pub mod model;
pub mod nn;
pub mod plan;
pub mod serve;
pub mod step;
pub mod truth;
pub mod units;

pub use dtype::DType;
pub use units::Bytes;
