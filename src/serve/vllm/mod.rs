//! How vLLM divides a card: what it loads, what its profiling run takes, and the cache that is left.

mod capability;
mod division;
mod error;
mod line;
mod parallel;
mod pool;
mod profile;
mod request;
mod serving;
mod state;
mod taken;
mod version;
mod weights;

pub use capability::Caution;
pub use division::{Cache, Division, Engine, vllm};
pub use error::VllmError;
pub use line::ServeLine;
pub use parallel::Parallel;
pub use pool::{Keeps, Pool, PoolGroup, pool};
pub use request::VllmRequest;
pub(super) use serving::{serving, serving_as};
pub use taken::{Taken, taken};
pub use version::{VllmVersion, VllmVersionError};
pub use weights::vllm_weights;
