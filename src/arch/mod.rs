//! Model families put together from [`crate::nn`].

mod attention;
mod bidirectional;
mod cache;
mod classify;
mod decoder;
mod encoder;
mod encoder_decoder;
mod families;
mod flash;
mod forward;
mod generate;
mod latent;
mod layer;
mod listed;
mod masks;
mod mixers;
mod mlp;
mod moe;
mod names;
mod network;
mod paths;
mod sinks;
mod virtual_tokens;
mod vision;
mod xielu;

pub use attention::{Attend, Attended, SelfAttention, Span};
pub use cache::KvCache;
pub use classify::pooled_logits;
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use forward::Forward;
pub use layer::{DecoderLayer, Layer};
pub use mlp::FeedForward;
pub use network::{Batch, BatchShape, Generate, Network, Outputs, network, shapes};
