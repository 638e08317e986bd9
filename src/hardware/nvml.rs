//! What NVIDIA's driver says of this machine's GPUs.
//!
//! The driver's library is looked for when it is asked, so the program starts without it, and a machine without it has
//! no GPUs rather than an error.

#[cfg(feature = "nvml")]
mod driver;
#[cfg(feature = "nvml")]
mod older;
mod watch;

pub use watch::{Use, Watch};

use super::inventory::Inventory;

/// The GPUs of this machine, with slices as devices of their own. Where there is no driver, or this version was built
/// without the feature `nvml`, none, and [`Inventory::problem`] says why; a GPU that does not answer is in the list with
/// what it does not answer in [`Device::problem`](super::Device::problem).
///
/// ```
/// // never fails, whatever the machine
/// let inventory = vramplan::hardware::nvml::detect();
/// assert!(!inventory.devices.is_empty() || inventory.problem.is_some());
/// ```
pub fn detect() -> Inventory {
    Watch::open().into_inventory()
}
