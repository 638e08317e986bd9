//! What a model is: one normalised description, read from config.json files, model cards or a bare size.

mod architecture;
mod card;
mod config;
mod description;
mod error;
mod file;
mod guess;
mod model_type;
mod moe;
mod resolve;

pub use architecture::Model;
pub use card::{Card, CardSummary, card, cards};
pub use config::from_config;
pub use description::*;
pub use error::{ModelError, Nearest};
pub use model_type::Support;
pub use moe::*;
pub use resolve::{resolve, resolve_with};
