//! What to do with a model: methods side by side.

mod compare;

pub use compare::{Choice, Comparison, Fitting, compare};
