//! What serving a model takes: the cache that grows with sequences, and how engines divide a card.

mod cache_type;
mod kv;
mod vllm;

pub use cache_type::CacheType;
pub use kv::{Kv, KvError, KvLayers, KvRequest, kv};
pub use vllm::{
    Division, Keeps, Parallel, Pool, PoolGroup, ServeLine, Taken, VllmError, VllmRequest, VllmVersion,
    VllmVersionError, pool, taken, vllm, vllm_weights,
};
