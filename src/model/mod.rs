//! What a model is: one normalised description, read from config.json files, model cards or a bare size.

mod architecture;
mod card;
mod checkpoint;
mod config;
mod counted;
mod description;
mod encoder;
mod encoder_decoder;
mod encoder_family;
mod error;
pub(crate) mod file;
mod guess;
mod mixer;
mod model_type;
mod moe;
mod quantization;
mod resolve;
mod source;

pub use architecture::Model;
pub use card::{Card, CardSummary, card, cards};
pub use checkpoint::{Checkpoint, Gguf, GgufValue, StoredTensor, StoredType, TypeTotal};
pub use config::from_config;
pub use counted::CountedLayer;
pub use description::*;
pub use encoder::{EncoderClass, EncoderConfig};
pub use encoder_decoder::{EncoderDecoderConfig, Positions, Stack};
pub use encoder_family::{DebertaV2, EncoderFamily, ModernBert, RelativeAttention};
pub(crate) use error::one_line;
pub use error::{ModelError, Nearest};
pub use mixer::{Counted, GatedDelta, Mamba, Mamba2, Mixer, ShortConv};
pub use moe::*;
pub use quantization::{CompressedTensors, QuantMethod, Quantization, Scales, StoredWeight};
pub use resolve::{resolve, resolve_with};
pub use source::Source;
