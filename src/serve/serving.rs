//! What an engine holds on a GPU while it serves a job's sequences.

use schemars::JsonSchema;
use serde::Serialize;

use super::kv::{KvError, KvRequest, kv};
use super::vllm::{VllmError, VllmRequest, vllm};
use crate::job::{JobError, Runtime, Serve};
use crate::model::Model;
use crate::units::Bytes;

/// What engines take for their defaults of a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CardSize {
    /// Less than 70 GiB, or an A100.
    #[default]
    Small,
    /// More, which gets larger batches.
    Large,
}

impl CardSize {
    /// The size of a card that is no A100 (`EngineArgs.get_batch_defaults`).
    pub const fn of(memory: Bytes) -> Self {
        if memory.0 >= Bytes::from_gib(70).0 { Self::Large } else { Self::Small }
    }
}

/// What an engine holds on the fullest of its GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Serving {
    /// The engine.
    pub runtime: Runtime,
    /// The versions that do so.
    pub versions: String,
    /// GPUs it runs on; the figures are of the fullest.
    pub gpu_count: u64,
    /// Tokens of a sequence at most.
    pub max_model_len: u64,
    /// Sequences that are to be in the cache at the same time.
    pub concurrency: u64,
    /// Tokens that each of them has.
    pub sequence_length: u64,
    /// Sequences of one step at most.
    pub max_num_seqs: u64,
    /// Tokens of one step at most.
    pub max_num_batched_tokens: u64,
    /// Weights, and what is loaded with them.
    pub weights_bytes: Bytes,
    /// What a step takes at its peak, which the engine finds by a profiling run.
    pub profile_bytes: Bytes,
    /// What libraries take, CUDA graphs included where the engine counts them.
    pub other_bytes: Bytes,
    /// What the cache must have for these sequences, and for one of `max_model_len` tokens.
    pub kv_cache_bytes: Bytes,
    /// Tokens of a block of the cache.
    pub block_size: u64,
    /// Bytes of such a block, all layers together.
    pub block_bytes: Bytes,
    /// The share of a card that the engine takes, where it takes one.
    pub share: Option<f64>,
    /// How much more it may take than said.
    pub margin_bytes: Bytes,
    /// Logs of engines whose cache it was taken from.
    #[serde(skip)]
    pub logs: u64,
    /// Whether logs of engines stand behind figures of this kind.
    pub validated: bool,
    /// What a reader should know about the figures.
    pub notes: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// The job contradicts itself, or asks for what this version cannot do.
    #[error(transparent)]
    Job(#[from] JobError),
    /// The cache is not known.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// How vLLM divides a card for such a model is not known, or it refuses.
    #[error(transparent)]
    Vllm(#[from] VllmError),
}

impl ServeError {
    /// Whether this version could not answer although the job makes sense.
    pub const fn is_unknown(&self) -> bool {
        match self {
            Self::Job(error) => error.is_unsupported(),
            Self::Kv(error) => matches!(error, KvError::Unknown { .. }),
            Self::Vllm(error) => {
                matches!(error, VllmError::Paging { .. } | VllmError::Kv(KvError::Unknown { .. }))
            }
        }
    }
}

/// What the engine of `serve` holds of `model`, on cards of a size.
///
/// # Errors
/// The job contradicts itself, the engine refuses it, or it is not modelled.
///
/// ```
/// use vramplan::{job::Serve, model, serve::{self, CardSize}};
///
/// let job = Serve { max_model_len: Some(8192), concurrency: 16, ..Serve::default() };
/// let serving = serve::serving(&model::resolve("llama-3.1-8b")?, &job, CardSize::Small)?;
/// // 128 KiB a token
/// assert_eq!(serving.kv_cache_bytes.0, 16 * 8192 * (128 << 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serving(model: &Model, serve: &Serve, card: CardSize) -> Result<Serving, ServeError> {
    serve.validate()?;
    match serve.runtime {
        Runtime::Vllm => of_vllm(model, serve, card),
        Runtime::Transformers => Err(JobError::unsupported(
            "serve.runtime",
            "\"transformers\"",
            "[infer] is what asks for transformers' generate()",
        )
        .into()),
        other => Err(JobError::unsupported("serve.runtime", format!("\"{other}\""), "use \"vllm\"").into()),
    }
}

/// Rows of `tests/truth/engine_pools.jsonl`.
const LOGS: u64 = 6;

fn of_vllm(model: &Model, serve: &Serve, card: CardSize) -> Result<Serving, ServeError> {
    refuse_unmodelled(serve)?;
    let base = VllmRequest::on(
        match card {
            CardSize::Small => Bytes::from_gib(24),
            CardSize::Large => Bytes::from_gib(80),
        },
        false,
    );
    let max_num_seqs = serve.max_num_seqs.unwrap_or(base.max_num_seqs.max(serve.concurrency));
    let request = VllmRequest {
        // what is asked here does not depend on it
        total: Bytes(u64::MAX >> 8),
        gpu_memory_utilization: serve.gpu_memory_utilization.unwrap_or(base.gpu_memory_utilization),
        max_model_len: serve.max_model_len,
        max_num_seqs,
        max_num_batched_tokens: serve.max_num_batched_tokens.unwrap_or(base.max_num_batched_tokens),
        kv_cache_dtype: serve.kv_cache_dtype,
        block_size: serve.block_size.unwrap_or(base.block_size),
        weights: None,
    };
    let division = vllm(model, &request)?;
    let max_model_len = division.max_model_len;
    let sequence_length = serve.sequence_length.unwrap_or(max_model_len);
    let cache = |context, concurrency| {
        let (dtype, block_size) = (request.kv_cache_dtype, request.block_size);
        kv(model, &KvRequest { context, concurrency, dtype, block_size, ..KvRequest::default() })
    };
    let needed = cache(sequence_length, serve.concurrency)?.total_bytes;
    let least = cache(max_model_len, 1)?.total_bytes;
    Ok(Serving {
        runtime: serve.runtime,
        versions: division.versions.to_owned(),
        gpu_count: serve.gpu_count(),
        max_model_len,
        concurrency: serve.concurrency,
        sequence_length,
        max_num_seqs,
        max_num_batched_tokens: request.max_num_batched_tokens,
        weights_bytes: division.weights_bytes,
        profile_bytes: division.profile_bytes,
        other_bytes: division.other_bytes,
        kv_cache_bytes: needed.max(least),
        block_size: request.block_size,
        block_bytes: cache(request.block_size, 1)?.bytes_per_sequence,
        share: Some(request.gpu_memory_utilization),
        margin_bytes: division.margin_bytes,
        logs: LOGS,
        validated: division.validated,
        notes: division.notes,
    })
}

/// Refuses what the division does not know yet.
fn refuse_unmodelled(serve: &Serve) -> Result<(), JobError> {
    for (field, value) in [
        ("serve.tensor_parallel_size", serve.tensor_parallel_size),
        ("serve.pipeline_parallel_size", serve.pipeline_parallel_size),
    ] {
        if value != 1 {
            return Err(JobError::unsupported(field, value, "use 1"));
        }
    }
    if serve.precision.is_quantized() {
        let fix = "name a checkpoint whose quantization_config says how its weights are stored, or use \"bf16\"";
        return Err(JobError::unsupported("serve.precision", format!("\"{}\"", serve.precision), fix));
    }
    Ok(())
}

/// What is left of a card for the cache, and what it holds.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct CachePool {
    /// What the engine gives the cache; negative: so much is missing before there is one.
    pub kv_cache_bytes: i64,
    /// Whole blocks of it, in tokens.
    pub kv_cache_tokens: u64,
    /// Sequences of `max_model_len` tokens it holds.
    pub max_concurrency: f64,
    /// The longest `max_model_len` with which the engine starts, margin kept.
    pub longest_max_model_len: u64,
}

impl Serving {
    /// What is left for the cache of `capacity`, what the engine may take of a card.
    pub fn pool(&self, capacity: Bytes) -> CachePool {
        let taken = self.weights_bytes + self.profile_bytes + self.other_bytes;
        let blocks = |bytes: Bytes| bytes.0.checked_div(self.block_bytes.0).unwrap_or(0);
        let left = capacity.saturating_sub(taken);
        let missing = taken.saturating_sub(capacity);
        let signed = |bytes: Bytes| i64::try_from(bytes.0).unwrap_or(i64::MAX);
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        let max_concurrency = blocks(left) as f64 / self.max_model_len.div_ceil(self.block_size.max(1)).max(1) as f64;
        CachePool {
            kv_cache_bytes: if missing > Bytes::ZERO { -signed(missing) } else { signed(left) },
            kv_cache_tokens: blocks(left).saturating_mul(self.block_size),
            max_concurrency,
            longest_max_model_len: blocks(left.saturating_sub(self.margin_bytes)).saturating_mul(self.block_size),
        }
    }
}
