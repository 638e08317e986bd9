//! Versions of vLLM, by what they do with memory.

use std::fmt;
use std::str::FromStr;

/// A version of vLLM, 0.9 to 0.33; the third number makes no difference to memory.
///
/// ```
/// use vramplan::serve::VllmVersion;
///
/// let version: VllmVersion = "0.17.1".parse()?;
/// assert_eq!((version.to_string(), version.gpu_memory_utilization()), ("0.17".to_owned(), 0.9));
/// assert!("0.5.3".parse::<VllmVersion>().is_err());
/// # Ok::<(), vramplan::serve::VllmVersionError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VllmVersion {
    minor: u8,
}

/// What is to be given in its place.
pub(super) const MODELLED: &str = "vLLM 0.9 to 0.33 are modelled; give one of those, such as 0.22.1";

/// A version that is not modelled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}: {MODELLED}")]
pub struct VllmVersionError(String);

impl Default for VllmVersion {
    /// 0.13, the last that samples by sorting and takes the most for it.
    fn default() -> Self {
        Self { minor: 13 }
    }
}

impl FromStr for VllmVersion {
    type Err = VllmVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut numbers = text.trim().trim_start_matches('v').split('.');
        let major = numbers.next();
        let minor = numbers.next().and_then(|minor| minor.parse().ok());
        match (major, minor) {
            (Some("0"), Some(minor @ 9..=33)) => Ok(Self { minor }),
            _ => Err(VllmVersionError(text.to_owned())),
        }
    }
}

impl fmt::Display for VllmVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0.{}", self.minor)
    }
}

impl VllmVersion {
    /// The versions that divide a card as this one.
    pub const fn alike(self) -> &'static str {
        match self.minor {
            0..17 => "vLLM 0.9 to 0.16",
            17..20 => "vLLM 0.17 to 0.19",
            20..25 => "vLLM 0.20 to 0.24",
            _ => "vLLM 0.25 to 0.33",
        }
    }

    /// Its default of `gpu_memory_utilization` (`CacheConfig`, vllm/config/cache.py).
    pub const fn gpu_memory_utilization(self) -> f64 {
        if self.minor < 20 { 0.9 } else { 0.92 }
    }

    /// Whether what CUDA graphs are estimated to take is part of `gpu_memory_utilization`
    /// (`VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS`, vllm/envs.py, on from 0.20).
    pub const fn counts_graphs(self) -> bool {
        self.minor >= 20
    }

    /// Whether models are run by another runner (`GPUModelRunner`, vllm/v1/worker/gpu/model_runner.py), whose profiling run is
    /// taken to be that of the one before: for some types from 0.25, for all by 0.33.
    pub(super) const fn is_of_the_second_runner(self) -> bool {
        self.minor >= 25
    }

    /// Whether top-k and top-p sort all logits (`apply_top_k_top_p`, vllm/v1/sample/ops/topk_topp_sampler.py); from 0.17 a
    /// Triton kernel does it, and from 0.22 FlashInfer, for which the other is run too.
    pub(super) const fn sorts(self) -> bool {
        self.minor < 17
    }

    /// A group of as many layers as the largest kind has, where that is less than so many hundredths of the smallest
    /// (`_get_kv_cache_groups_uniform_page_size`, vllm/v1/core/kv_cache_utils.py); `None`: never.
    pub(super) const fn even_groups(self) -> Option<u64> {
        match self.minor {
            0..12 => None,
            12..18 => Some(125),
            _ => Some(150),
        }
    }

    /// Whether "GPU KV cache size" is the concurrency in tokens (`_report_kv_cache_config`, from 0.21), rather than the
    /// blocks of a group.
    pub(super) const fn reports_concurrency(self) -> bool {
        self.minor >= 21
    }
}
