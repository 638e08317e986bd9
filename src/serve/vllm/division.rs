//! How the engine divides a card.

use schemars::JsonSchema;
use serde::Serialize;

use super::error::VllmError;
use super::pool::{Pool, pool};
use super::request::VllmRequest;
use super::taken::{Taken, taken};
use crate::model::Model;
use crate::units::Bytes;

/// How the engine divides the card.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Division {
    /// `vramplan.vllm/1`
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// What the engine takes of the card.
    pub requested_bytes: Bytes,
    /// What of it is taken before there is a cache.
    #[serde(flatten)]
    pub taken: Taken,
    /// What is left.
    #[serde(flatten)]
    pub cache: Cache,
}

/// What an engine gives its cache.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Cache {
    /// "Available KV cache memory"; negative: so much is missing.
    pub kv_cache_bytes: i64,
    /// "GPU KV cache size", in tokens.
    pub kv_cache_tokens: u64,
    /// Blocks of `block_size` tokens.
    pub num_gpu_blocks: u64,
    /// Tokens of a sequence.
    pub max_model_len: u64,
    /// "Maximum concurrency" of sequences of `max_model_len` tokens.
    pub max_concurrency: f64,
    /// What one such sequence takes; the engine starts with a cache that holds it.
    pub needed_bytes: Bytes,
    /// What the engine ends with where it does not start; the margin is not part of that.
    pub error: Option<String>,
    /// The smallest `gpu_memory_utilization` with which the cache holds such a sequence, margin kept, in hundredths rounded up;
    /// absent: none does.
    pub least_gpu_memory_utilization: Option<f64>,
    /// The longest `max_model_len` with which it starts, margin kept.
    pub longest_max_model_len: u64,
}

/// An engine that serves a model: what it takes of its fullest GPU, whatever the GPU, and the blocks of its cache.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Engine {
    /// What it is told.
    pub request: VllmRequest,
    /// What it takes before there is a cache.
    pub taken: Taken,
    /// The blocks of its cache.
    pub pool: Pool,
    /// Tokens of a sequence at most.
    pub max_model_len: u64,
    positions: u64,
}

impl Engine {
    /// The engine that serves `model`.
    ///
    /// # Errors
    /// The model's cache is paged in a way that is not modelled, or a number makes no sense.
    pub fn of(model: &Model, request: &VllmRequest) -> Result<Self, VllmError> {
        Self::with(model, request, taken(model, request)?)
    }

    /// The same, where what it takes is known.
    pub(super) fn with(model: &Model, request: &VllmRequest, taken: Taken) -> Result<Self, VllmError> {
        let positions = model.max_position_embeddings();
        Ok(Self {
            request: *request,
            taken,
            pool: pool(model, request)?,
            max_model_len: request.max_model_len.unwrap_or(positions),
            positions,
        })
    }

    /// What it gives its cache of a card with `total` bytes, as PyTorch reports them, where it may take `margin` more than is
    /// said.
    ///
    /// ```
    /// use vramplan::{Bytes, model, serve::{CardSize, Engine, VllmRequest}};
    ///
    /// let engine = Engine::of(&model::resolve("llama-3.1-8b")?, &VllmRequest::on(CardSize::Small))?;
    /// assert!(engine.cache(Bytes::from_gib(40), Bytes::ZERO).error.is_none());
    /// let error = engine.cache(Bytes::from_gib(24), Bytes::ZERO).error.expect("131,072 tokens are 16 GiB");
    /// assert!(error.contains("16.00 GiB KV cache is needed"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cache(&self, total: Bytes, margin: Bytes) -> Cache {
        let Self { request, taken, pool, max_model_len, .. } = self;
        let requested = request.requested(total);
        let cache = self.cache_in(requested, margin);
        let available = requested.saturating_sub(taken.total_bytes());
        let longest = pool.longest_in(cache.num_gpu_blocks, *max_model_len);
        Cache {
            error: error(available, cache.needed_bytes, *max_model_len, longest),
            least_gpu_memory_utilization: least_share(taken.total_bytes() + margin + cache.needed_bytes, total),
            ..cache
        }
    }

    /// What is left for the cache of `requested`, in which all that the engine takes must have room.
    pub(crate) fn cache_in(&self, requested: Bytes, margin: Bytes) -> Cache {
        let Self { request, taken, pool, max_model_len, positions } = self;
        let available = requested.saturating_sub(taken.total_bytes());
        let blocks = pool.blocks_in(available);
        let needed = pool.blocks_of(*max_model_len);
        let needed_bytes = Bytes(pool.block_bytes.0.saturating_mul(needed));
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let max_concurrency = blocks as f64 / needed.max(1) as f64;
        Cache {
            kv_cache_bytes: requested.signed_difference(taken.total_bytes()),
            kv_cache_tokens: pool.tokens_of(blocks, *max_model_len, request.version),
            num_gpu_blocks: blocks,
            max_model_len: *max_model_len,
            max_concurrency,
            needed_bytes,
            error: None,
            least_gpu_memory_utilization: None,
            longest_max_model_len: pool.longest_in(pool.blocks_in(available.saturating_sub(margin)), *positions),
        }
    }
}

/// How vLLM divides the fullest of its GPUs, each with `total` bytes as PyTorch reports them, for `model`.
///
/// # Errors
/// The model's cache is paged in a way that is not modelled, or a number makes no sense.
///
/// ```
/// use vramplan::{Bytes, model, serve::{CardSize, VllmRequest, vllm}};
///
/// // an A100 40GB: vLLM 0.11.0 logged 19.24 GiB and 157,584 tokens
/// let request = VllmRequest { max_model_len: Some(4096), ..VllmRequest::on(CardSize::Small) };
/// let division = vllm(&model::resolve("llama-3.1-8b")?, &request, Bytes::from_mib(40_441))?;
/// assert!(division.cache.kv_cache_tokens.abs_diff(157_584) < 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn vllm(model: &Model, request: &VllmRequest, total: Bytes) -> Result<Division, VllmError> {
    let engine = Engine::of(model, request)?;
    Ok(Division {
        schema: "vramplan.vllm/1",
        model: model.name().to_owned(),
        requested_bytes: request.requested(total),
        cache: engine.cache(total, engine.taken.margin_bytes),
        taken: engine.taken,
    })
}

/// As `_check_enough_kv_cache_memory` (vllm/v1/core/kv_cache_utils.py) words it.
fn error(available: Bytes, needed: Bytes, max_model_len: u64, longest: u64) -> Option<String> {
    if available == Bytes::ZERO {
        return Some(
            "No available memory for the cache blocks. Try increasing `gpu_memory_utilization` when initializing the engine."
                .to_owned(),
        );
    }
    let estimate = match longest {
        0 => String::new(),
        _ => format!("Based on the available memory, the estimated maximum model length is {longest}. "),
    };
    (needed > available).then(|| {
        format!(
            "To serve at least one request with the model's max seq len ({max_model_len}), ({:.2} GiB KV cache is needed, \
             which is larger than the available KV cache memory ({:.2} GiB). {estimate}Try increasing \
             `gpu_memory_utilization` or decreasing `max_model_len` when initializing the engine.",
            needed.gib(),
            available.gib()
        )
    })
}

/// The share of `total` that `bytes` are, in hundredths rounded up.
#[expect(clippy::cast_precision_loss, reason = "hundredths")]
fn least_share(bytes: Bytes, total: Bytes) -> Option<f64> {
    let hundredths = (bytes.0 as f64 / total.0.max(1) as f64 * 100.0).ceil();
    (hundredths <= 100.0).then_some(hundredths / 100.0)
}
