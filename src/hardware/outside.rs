//! Inventories from outside: files that other programs wrote, or people.

mod kubernetes;
mod list;
mod nvidia_smi;

use super::inventory::Inventory;
use crate::units::{Bytes, MIB};

/// Longer files are refused: a node of a cluster takes some 20 KiB.
pub const MOST_BYTES: u64 = 32 << 20;

/// More GPUs of one kind, or in one file, are a mistake.
const MOST_GPUS: u64 = 1_000_000;

/// Why a text is no inventory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InventoryError {
    /// It is longer than is read.
    #[error("larger than {} MiB; is it a list of GPUs?", MOST_BYTES >> 20)]
    TooLarge,
    /// There is nothing in it.
    #[error("it is empty; give the output of `nvidia-smi -q -x` or `kubectl get nodes -o json`, or a list of [[gpu]]")]
    Empty,
    /// It begins as XML and is none.
    #[error("XML: {0}")]
    Xml(#[from] roxmltree::Error),
    /// It begins as JSON and is none, or a node has another form.
    #[error("JSON: {0}")]
    Json(String),
    /// It is no list of GPUs.
    #[error("{0}")]
    Toml(String),
    /// A part of it is missing, or makes no sense.
    #[error("{0}")]
    Wrong(String),
}

impl Inventory {
    /// Reads what `nvidia-smi -q -x` prints, what `kubectl get nodes -o json` prints on a cluster with NVIDIA's GPU feature
    /// discovery, or a list in TOML; which of them it is its first character tells.
    ///
    /// ```
    /// use vramplan::{Bytes, hardware::Inventory};
    ///
    /// let list = r#"
    /// [[gpu]]
    /// name = "rtx-4090"
    /// count = 2
    /// used = "3GiB"        # what other processes hold; without it nothing
    ///
    /// [[gpu]]
    /// name = "our own"     # a GPU that is not known needs its memory
    /// memory = "40GiB"
    /// node = "gpu-07"      # any name for the machine
    /// "#;
    /// let inventory = Inventory::from_text(list)?;
    /// assert_eq!(inventory.devices[0].free, Some(Bytes::from_mib(24_564 - 3 * 1024)));
    /// # Ok::<(), vramplan::hardware::InventoryError>(())
    /// ```
    ///
    /// # Errors
    /// The text is longer than [`MOST_BYTES`], is none of the three, or says what makes no sense. A GPU that its driver
    /// does not answer for is no error: [`Device::problem`](super::Device::problem) has the reason.
    pub fn from_text(text: &str) -> Result<Self, InventoryError> {
        if text.len() as u64 > MOST_BYTES {
            return Err(InventoryError::TooLarge);
        }
        let text = text.trim_start_matches('\u{feff}').trim();
        match text.bytes().next() {
            None => Err(InventoryError::Empty),
            Some(b'<') => nvidia_smi::read(text),
            Some(b'{') => kubernetes::read(text),
            Some(_) => list::read(text),
        }
    }
}

/// A number of MiB that somebody wrote.
fn mib(text: &str) -> Option<Bytes> {
    text.trim().parse::<u64>().ok()?.checked_mul(MIB).map(Bytes)
}
