//! What serving a model takes: the cache that grows with sequences, and how engines divide a card.

mod cache_type;
mod card_size;
mod knobs;
mod kv;
mod serving;
mod share;
mod vllm;

pub use cache_type::CacheType;
pub use card_size::CardSize;
pub use kv::{Kv, KvError, KvLayers, KvRequest, kv};
pub(crate) use serving::serving_of;
pub use serving::{ServeError, Serving, serving};
pub use share::ShareOf;
pub use vllm::{
    Cache, Caution, Division, Engine, Keeps, Parallel, Pool, PoolGroup, ServeLine, Taken, VllmError, VllmRequest,
    VllmVersion, VllmVersionError, pool, taken, vllm, vllm_weights,
};
