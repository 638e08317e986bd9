//! The same on a GPU: what CUDA's pool held, what it took from the driver for it, and what the card shows.

#[cfg(feature = "verify")]
mod card;
mod memory;
#[cfg(feature = "verify")]
mod pool;
#[cfg(feature = "verify")]
mod session;
#[cfg(feature = "verify")]
mod sizes;

pub use memory::{DeviceSource, Figure, GpuMemory, Identity, Marks};
#[cfg(feature = "verify")]
pub use pool::{Gpu, Pool};
#[cfg(feature = "verify")]
pub use session::Session;
#[cfg(feature = "verify")]
pub use sizes::{gpu_configurations, predict_on_gpu};
