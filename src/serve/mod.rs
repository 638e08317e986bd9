//! What serving a model takes: the cache that grows with sequences, and how engines divide a card.

mod cache_type;
mod kv;
mod serving;
mod vllm;
mod weights;

pub use cache_type::CacheType;
pub use kv::{Kv, KvError, KvLayers, KvRequest, kv};
pub use serving::{CachePool, CardSize, ServeError, Serving, serving};
pub use vllm::{Division, VLLM_VERSIONS, VllmError, VllmRequest, vllm};
