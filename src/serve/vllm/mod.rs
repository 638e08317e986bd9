//! How vLLM divides a card: what it loads, what its profiling run takes, and the cache that is left.

mod division;
mod error;
mod pool;
mod profile;
mod request;
mod taken;
mod weights;

pub use division::{Division, vllm};
pub use error::VllmError;
pub use pool::{Pool, pool};
pub use request::VllmRequest;
pub use taken::{Taken, taken};

/// The versions whose profiling run is modelled: those that sample by sorting in PyTorch. Later ones sample without, take
/// less, and leave more for the cache than is said here.
pub const VLLM_VERSIONS: &str = "vLLM 0.10 to 0.13";
