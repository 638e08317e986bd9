//! What is verified on a GPU: models whose training takes gigabytes.

use super::super::VerifyError;
use super::super::config::{self, Configuration, Size};
use super::super::run;

/// About 136 million parameters with a head of their own, and 336 million with keys that are shared and a tied head.
const SIZES: [Size; 2] = [
    Size {
        name: "medium",
        hidden: 1024,
        intermediate: 2816,
        layers: 8,
        heads: 16,
        kv_heads: 16,
        vocab: 16384,
        tied: false,
        batch: 4,
        length: 512,
    },
    Size {
        name: "large",
        hidden: 2048,
        intermediate: 5632,
        layers: 6,
        heads: 16,
        kv_heads: 4,
        vocab: 32000,
        tied: true,
        batch: 2,
        length: 1024,
    },
];

/// The built-in configurations for a GPU, from half a gigabyte to several: as
/// [`configurations`](super::super::configurations), in two sizes.
///
/// # Errors
/// One of them is no job: a mistake in this module.
///
/// ```
/// assert_eq!(vramplan::verify::gpu_configurations()?.len(), 32);
/// # Ok::<(), vramplan::verify::VerifyError>(())
/// ```
pub fn gpu_configurations() -> Result<Vec<Configuration>, VerifyError> {
    config::of_sizes(&SIZES)
}

/// What candle is predicted to hold at most when it trains `configuration` on a GPU, in bytes, as CUDA's pool counts them.
///
/// # Errors
/// As [`predict`](super::super::predict).
///
/// ```
/// use vramplan::verify;
///
/// let configuration = &verify::configurations()?[0];
/// // what is rounded up and what an allocator's gauge leaves out
/// assert!(verify::predict_on_gpu(configuration)? > verify::predict(configuration)?);
/// # Ok::<(), verify::VerifyError>(())
/// ```
pub fn predict_on_gpu(configuration: &Configuration) -> Result<u64, VerifyError> {
    run::predict_on_gpu(configuration)
}
