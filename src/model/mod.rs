//! What a model is: one normalised description, read from config.json files, model cards or a bare size.

mod description;

pub use description::*;
