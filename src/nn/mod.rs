//! Modules over ghost tensors, written as the `transformers`, PEFT and bitsandbytes modules they stand for.

mod activation;
mod builder;
mod conv1d;
mod dora;
mod embedding;
mod free;
mod linear;
mod lora;
mod module;
mod norm;
mod quantized;
mod rotary;

pub use activation::activate;
pub use builder::{Builder, Device};
pub use conv1d::Conv1d;
pub use embedding::Embedding;
pub use free::FreeParameters;
pub use linear::{Linear, Weight};
pub use lora::{Lora, LoraSpec};
pub use module::{Leaf, Module, Part};
pub use norm::NormLayer;
pub use quantized::{FourBit, Int8, Quantization, Quantizer};
pub(crate) use rotary::positions;
pub use rotary::{Rotary, RotaryStyle, Turned, apply_rotary};
