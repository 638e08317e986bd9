//! Model families put together from [`crate::nn`].

mod attention;
mod cache;
mod decoder;
mod families;
mod forward;
mod layer;
mod masks;
mod mlp;
mod names;

pub use attention::{Attend, SelfAttention, Span};
pub use cache::KvCache;
pub use decoder::Decoder;
pub use forward::Forward;
pub use layer::{DecoderLayer, Layer};
pub use mlp::FeedForward;
pub(crate) use names::default_targets;
