//! How vLLM divides a card: what it loads, what its profiling run takes, and the cache that is left.

use schemars::JsonSchema;
use serde::Serialize;

use super::kv::{KvError, KvRequest, kv};
use super::weights::loaded;
use crate::dtype::DType;
use crate::job::KvCacheDtype;
use crate::model::{DecoderConfig, Model, ModelType, Span, TokenCacheKind};
use crate::plan::{Verdict, difference};
use crate::units::Bytes;

/// The versions whose profiling run is modelled: those that sample by sorting in PyTorch. Later ones sample without, take
/// less, and leave more for the cache than is said here.
pub const VLLM_VERSIONS: &str = "vLLM 0.10 to 0.13";

/// What the logs of four single cards of compute capability 8.x leave of `gpu_memory_utilization` beside weights, sampler,
/// hidden states and cache: 35 to 44 MiB (`tests/truth/engine_pools.jsonl`); NCCL, cuBLAS and kernels that load meanwhile.
const BESIDE_TORCH: Bytes = Bytes::from_mib(44);

/// Bytes that sampling takes for each logit of each sequence, traced with torch 2.11: logits in the model's type (2) and in
/// fp32 (4), sorted values (4) and their places (8), and the sort's own places and second buffers of both (20).
const SAMPLING: u64 = 2 + 4 + 4 + 8 + 20;

/// Twice what the cache of the worst of six logs was smaller than said (0.12 GiB).
const MARGIN: Bytes = Bytes::from_mib(256);

/// Where no log is of the kind.
const MARGIN_UNMEASURED: Bytes = Bytes::from_gib(1);

/// From this on a card that is no A100 gets larger defaults (`EngineArgs.get_batch_defaults`).
const LARGE_CARD: Bytes = Bytes::from_gib(70);

/// What an engine is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VllmRequest {
    /// All memory of the card, as PyTorch reports it.
    pub total: Bytes,
    /// `gpu_memory_utilization`: the share of it that the engine takes.
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
    /// What loading them takes where weights are stored otherwise than in 16 bits.
    pub weights: Option<Bytes>,
}

impl VllmRequest {
    /// The defaults of `vllm serve` on a card with `total` bytes; `is_a100`: which keeps small ones.
    ///
    /// ```
    /// use vramplan::{Bytes, serve::VllmRequest};
    ///
    /// assert_eq!(VllmRequest::on(Bytes::from_gib(79), false).max_num_seqs, 1024);
    /// assert_eq!(VllmRequest::on(Bytes::from_gib(79), true).max_num_seqs, 256);
    /// ```
    pub fn on(total: Bytes, is_a100: bool) -> Self {
        let large = total >= LARGE_CARD && !is_a100;
        Self {
            total,
            gpu_memory_utilization: 0.9,
            max_model_len: None,
            max_num_seqs: if large { 1024 } else { 256 },
            max_num_batched_tokens: if large { 8192 } else { 2048 },
            kv_cache_dtype: KvCacheDtype::Auto,
            block_size: 16,
            weights: None,
        }
    }
}

/// How the engine divides the card.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Division {
    /// `vramplan.vllm/1`
    pub schema: &'static str,
    /// The model's name.
    pub model: String,
    /// The versions that divide so.
    pub versions: &'static str,
    /// What the engine takes of the card.
    pub requested_bytes: Bytes,
    /// "Model loading took": weights, and the rotary table.
    pub weights_bytes: Bytes,
    /// What the profiling run takes at its peak.
    pub profile_bytes: Bytes,
    /// What libraries take meanwhile.
    pub other_bytes: Bytes,
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
    /// Whether the engine starts: the cache holds one such sequence, with what logs were off to spare (`fits`) or without
    /// (`tight`).
    pub verdict: Verdict,
    /// How much smaller the cache may be than said.
    pub margin_bytes: Bytes,
    /// The longest `max_model_len` with which it does, margin kept.
    pub longest_max_model_len: u64,
    /// Whether logs of engines stand behind figures of this kind.
    pub validated: bool,
    /// What a reader should know about the figures.
    pub notes: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum VllmError {
    /// The cache is not known.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// How the engine divides a card for such a model is not modelled.
    #[error("{model}: {what}; how vLLM divides a card for that is not modelled in this version")]
    Paging {
        /// The model.
        model: String,
        /// What it has.
        what: &'static str,
    },
    /// A number makes no sense.
    #[error("{field} = {value}: {fix}")]
    Invalid {
        /// What was given.
        field: &'static str,
        /// Its value.
        value: String,
        /// What would do.
        fix: String,
    },
}

/// How vLLM divides a single card for `model`.
///
/// # Errors
/// The model's cache is paged in a way that is not modelled, or a number makes no sense.
///
/// ```
/// use vramplan::{Bytes, model, plan::Verdict, serve::{VllmRequest, vllm}};
///
/// // an A100 40GB: vLLM 0.11.0 logged 19.24 GiB and 157,584 tokens
/// let request = VllmRequest { max_model_len: Some(4096), ..VllmRequest::on(Bytes::from_mib(40_441), true) };
/// let division = vllm(&model::resolve("llama-3.1-8b")?, &request)?;
/// assert!(division.verdict == Verdict::Fits && division.kv_cache_tokens.abs_diff(157_584) < 1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn vllm(model: &Model, request: &VllmRequest) -> Result<Division, VllmError> {
    let decoder = plain(model)?;
    request.check()?;
    let max_model_len = request.max_model_len.unwrap_or(decoder.max_position_embeddings);
    let paging = |what| VllmError::Paging { model: model.name().to_owned(), what };
    let loaded = match request.weights {
        Some(weights) => weights,
        None => loaded(decoder).ok_or_else(|| paging("its weights are of a kind of their own"))?,
    };
    let profile = profile(decoder, request);
    let block =
        kv(model, &KvRequest { context: request.block_size, dtype: request.kv_cache_dtype, ..KvRequest::default() })?
            .bytes_per_sequence;
    let requested = request.requested();
    let taken = loaded + profile + BESIDE_TORCH;
    let pool = requested.saturating_sub(taken);
    let blocks = blocks_in(pool, block);
    let validated =
        is_logged(model.model_type()) && request.weights.is_none() && request.kv_cache_dtype == KvCacheDtype::Auto;
    let margin = if validated { MARGIN } else { MARGIN_UNMEASURED };
    let tokens = blocks.saturating_mul(request.block_size);
    #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
    let max_concurrency = blocks as f64 / max_model_len.div_ceil(request.block_size).max(1) as f64;
    Ok(Division {
        schema: "vramplan.vllm/1",
        model: model.name().to_owned(),
        versions: VLLM_VERSIONS,
        requested_bytes: requested,
        weights_bytes: loaded,
        profile_bytes: profile,
        other_bytes: BESIDE_TORCH,
        kv_cache_bytes: difference(requested, taken),
        kv_cache_tokens: tokens,
        num_gpu_blocks: blocks,
        max_model_len,
        max_concurrency,
        verdict: verdict(pool, margin, block, max_model_len.div_ceil(request.block_size)),
        margin_bytes: margin,
        longest_max_model_len: blocks_in(pool.saturating_sub(margin), block)
            .saturating_mul(request.block_size)
            .min(decoder.max_position_embeddings),
        validated,
        notes: notes(decoder, request),
    })
}

impl VllmRequest {
    fn check(&self) -> Result<(), VllmError> {
        let invalid = |field, value: String, fix: &str| Err(VllmError::Invalid { field, value, fix: fix.to_owned() });
        if !(self.gpu_memory_utilization > 0.0 && self.gpu_memory_utilization <= 1.0) {
            let value = self.gpu_memory_utilization.to_string();
            return invalid("gpu_memory_utilization", value, "give a share above 0, 1 at most");
        }
        let counts = [
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_model_len", self.max_model_len.unwrap_or(1)),
        ];
        for (field, value) in counts {
            if !(1..=1 << 32).contains(&value) {
                return invalid(field, value.to_string(), "give 1 to 2^32");
            }
        }
        if ![1, 8, 16, 32, 64, 128].contains(&self.block_size) {
            return invalid("block_size", self.block_size.to_string(), "vLLM has 1, 8, 16, 32, 64 and 128");
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as vLLM")]
    fn requested(&self) -> Bytes {
        Bytes((self.total.0 as f64 * self.gpu_memory_utilization) as u64)
    }
}

/// Whether a log of `tests/truth/engine_pools.jsonl` is of the type with weights in 16 bits.
const fn is_logged(model_type: ModelType) -> bool {
    matches!(model_type, ModelType::Llama | ModelType::Qwen2 | ModelType::Qwen3Moe)
}

fn blocks_in(pool: Bytes, block: Bytes) -> u64 {
    pool.0 / block.0.max(1)
}

fn verdict(pool: Bytes, margin: Bytes, block: Bytes, blocks: u64) -> Verdict {
    match (blocks_in(pool.saturating_sub(margin), block) >= blocks, blocks_in(pool, block) >= blocks) {
        (true, _) => Verdict::Fits,
        (false, true) => Verdict::Tight,
        (false, false) => Verdict::DoesNotFit,
    }
}

/// The decoder of a model all of whose layers keep keys and values of every token.
fn plain(model: &Model) -> Result<&DecoderConfig, VllmError> {
    let refuse = |what| Err(VllmError::Paging { model: model.name().to_owned(), what });
    let Some(decoder) = model.decoder() else { return refuse("it is no decoder") };
    if decoder.tower.is_some() {
        return refuse("it takes images, which the profiling run encodes");
    }
    let caches = model.caches().ok_or(KvError::Unknown { model_type: model.model_type() })?;
    if caches.iter().any(|cache| cache.state.is_some()) {
        return refuse("some of its layers keep states");
    }
    let plain = |cache: &crate::model::TokenCache| {
        cache.kind == TokenCacheKind::KeyAndValue && cache.span == Span::All && cache.key_width == cache.value_width
    };
    if !caches.iter().all(|cache| matches!(cache.tokens.as_slice(), [only] if plain(only))) {
        return refuse("its layers do not all keep keys and values of every token");
    }
    Ok(decoder)
}

/// The profiling run: a step of `max_num_batched_tokens` tokens, then `max_num_seqs` of them sampled, whose hidden states are
/// still there.
fn profile(decoder: &DecoderConfig, request: &VllmRequest) -> Bytes {
    let width = DType::BF16.bytes();
    let of_tokens = |each: u64| request.max_num_batched_tokens.saturating_mul(each).saturating_mul(width);
    let forward = match &decoder.moe {
        // gate and up of a token, and their product
        None => of_tokens(3_u64.saturating_mul(decoder.mlp.intermediate_size)),
        // the two buffers of the experts of a token
        Some(moe) => {
            let inner = moe.intermediate_size;
            let first = decoder.hidden_size.max(inner.saturating_mul(2));
            of_tokens(moe.num_experts_per_tok.saturating_mul(first.saturating_add(inner)))
        }
    };
    let sampling = request.max_num_seqs.saturating_mul(decoder.vocab_size).saturating_mul(SAMPLING);
    Bytes(forward.max(sampling)) + Bytes(of_tokens(decoder.hidden_size))
}

fn notes(decoder: &DecoderConfig, request: &VllmRequest) -> Vec<String> {
    let mut notes = vec![format!(
        "{VLLM_VERSIONS}, one card, no adapters: later versions sample without a sort and leave more for the cache; CUDA \
             graphs take memory beyond gpu_memory_utilization"
    )];
    if request.max_model_len.is_some_and(|length| length > decoder.max_position_embeddings) {
        notes.push(format!(
            "max_model_len is beyond the model's {} positions: vLLM refuses it unless VLLM_ALLOW_LONG_MAX_MODEL_LEN is set",
            decoder.max_position_embeddings
        ));
    }
    notes
}
