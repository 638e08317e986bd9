//! What an engine is told.

use super::error::VllmError;
use super::parallel::Parallel;
use super::version::VllmVersion;
use crate::job::KvCacheDtype;
use crate::serve::CardSize;
use crate::units::Bytes;

/// What the versions that count CUDA graphs estimate for them: 0.13 to 1.4 GiB in eight logs, which follows from kernels and
/// sizes that are not modelled; the middle of the logs.
const GRAPHS: Bytes = Bytes::from_mib(740);

/// What an engine is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VllmRequest {
    /// `gpu_memory_utilization`: the share of a card that the engine takes.
    pub gpu_memory_utilization: f64,
    /// `max_model_len`; `None`: as many positions as the model has.
    pub max_model_len: Option<u64>,
    /// `max_num_seqs`: sequences at the same time.
    pub max_num_seqs: u64,
    /// `max_num_batched_tokens`: tokens of one step.
    pub max_num_batched_tokens: u64,
    /// `kv_cache_dtype`
    pub kv_cache_dtype: KvCacheDtype,
    /// `block_size`: tokens of a block.
    pub block_size: u64,
    /// What loading them takes where weights are stored otherwise than in 16 bits ([`super::vllm_weights`]).
    pub weights: Option<Bytes>,
    /// The version of vLLM.
    pub version: VllmVersion,
    /// GPUs that share the model.
    pub parallel: Parallel,
    /// `enforce_eager`: no CUDA graphs.
    pub enforce_eager: bool,
    /// `runner = "pooling"`: nothing is sampled.
    pub pooling: bool,
    /// `enable_prefix_caching` of a model with states, each of which then takes two blocks (`mamba_cache_mode = "align"`).
    pub keeps_prefixes_of_states: bool,
}

impl VllmRequest {
    /// The defaults of `vllm serve` of the default version.
    ///
    /// ```
    /// use vramplan::serve::{CardSize, VllmRequest};
    ///
    /// assert_eq!(VllmRequest::on(CardSize::Large).max_num_seqs, 1024);
    /// assert_eq!(VllmRequest::on(CardSize::Small).max_num_seqs, 256);
    /// ```
    pub fn on(card: CardSize) -> Self {
        Self::at(VllmVersion::default(), card)
    }

    /// The defaults of `vllm serve` of a version.
    ///
    /// ```
    /// use vramplan::serve::{CardSize, VllmRequest};
    ///
    /// let request = VllmRequest::at("0.22.1".parse()?, CardSize::Small);
    /// assert!((request.gpu_memory_utilization - 0.92).abs() < 1e-9);
    /// # Ok::<(), vramplan::serve::VllmVersionError>(())
    /// ```
    pub fn at(version: VllmVersion, card: CardSize) -> Self {
        let large = card == CardSize::Large;
        Self {
            gpu_memory_utilization: version.gpu_memory_utilization(),
            max_model_len: None,
            max_num_seqs: if large { 1024 } else { 256 },
            max_num_batched_tokens: if large { 8192 } else { 2048 },
            kv_cache_dtype: KvCacheDtype::Auto,
            block_size: 16,
            weights: None,
            version,
            parallel: Parallel::default(),
            enforce_eager: false,
            pooling: false,
            keeps_prefixes_of_states: false,
        }
    }

    pub(super) fn check(&self) -> Result<(), VllmError> {
        if !(self.gpu_memory_utilization > 0.0 && self.gpu_memory_utilization <= 1.0) {
            let value = self.gpu_memory_utilization;
            return Err(VllmError::invalid("gpu_memory_utilization", value, "give a share above 0, 1 at most"));
        }
        let counts = [
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_model_len", self.max_model_len.unwrap_or(1)),
        ];
        for (field, value) in counts {
            if !(1..=1 << 32).contains(&value) {
                return Err(VllmError::invalid(field, value, "give 1 to 2^32"));
            }
        }
        if ![1, 8, 16, 32, 64, 128].contains(&self.block_size) {
            return Err(VllmError::invalid("block_size", self.block_size, "vLLM has 1, 8, 16, 32, 64 and 128"));
        }
        Ok(())
    }

    /// What CUDA graphs take.
    pub(super) const fn graphs(&self) -> Bytes {
        if self.enforce_eager { Bytes::ZERO } else { GRAPHS }
    }

    /// What the engine takes of a card with `total` bytes, as PyTorch reports them.
    pub fn requested(&self, total: Bytes) -> Bytes {
        total.share(self.gpu_memory_utilization)
    }
}
