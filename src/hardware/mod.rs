//! GPUs by name, what they cost, and what a process takes of one for itself.

mod cards;
mod catalogue;
mod inventory;
pub mod nvml;
mod outside;
mod prices;

pub use cards::{Card, common_cards};
pub use catalogue::{Gpu, GpuError, by_memory, catalogue, compute_capability, find, most_kept_by_driver, recognise};
pub use inventory::{Device, Inventory, Mig, Origin, Process};
pub use outside::{InventoryError, MOST_BYTES};
pub use prices::{Offer, Price, Prices, PricesError};

use crate::units::Bytes;

/// Memory a process holds on the card before PyTorch allocates anything: the CUDA context and lazily loaded kernels.
///
/// Measured with torch 2.1.1 (CUDA 12.1, lazy loading) on an A100: 0.47 GiB (stas00/ml-engineering,
/// `training/performance/README.md`). Other cards and versions: 426 MiB (RTX 6000 Ada, torch 2.10), 712 MiB (B200),
/// 131 MiB (T4, torch 2.11).
pub const CUDA_CONTEXT: Bytes = Bytes::from_mib(481);

/// Where [`CUDA_CONTEXT`] comes from, in a line.
pub const CUDA_CONTEXT_SOURCE: &str = "as measured on an A100 with torch 2.1; 131 to 712 MiB on other cards";
