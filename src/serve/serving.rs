//! What an engine holds on a GPU while it serves a job's sequences.

use schemars::JsonSchema;
use serde::Serialize;

use super::card_size::CardSize;
use super::knobs;
use super::kv::KvError;
use super::share::ShareOf;
use super::vllm::{self, Cache, Caution, Engine, VllmError};
use crate::arch::{Network, shapes};
use crate::ghost::Context;
use crate::job::{JobError, Runtime, Serve};
use crate::model::{Model, Source};
use crate::units::Bytes;

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
    /// What that is a share of.
    #[serde(skip)]
    pub share_of: ShareOf,
    /// What it takes beyond that share once it runs: CUDA graphs, where the engine does not count them.
    pub beside_bytes: Bytes,
    /// How much more it may take than said.
    pub margin_bytes: Bytes,
    /// Logs of engines whose cache it was taken from.
    #[serde(skip)]
    pub logs: u64,
    /// Whether logs of engines stand behind figures of this kind.
    pub validated: bool,
    /// What a reader should know about the figures.
    pub notes: Vec<String>,
    /// What the engine says of cards below a compute capability.
    #[serde(skip)]
    pub cautions: Vec<Caution>,
    /// The engine, where it divides a card.
    #[serde(skip)]
    pub engine: Option<Engine>,
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
            Self::Vllm(error) => error.is_unknown(),
        }
    }
}

/// What the engine of `serve` holds of `model`, on cards of a size; `source`: what the model's files say of its weights,
/// where they are to be as the files have them.
///
/// # Errors
/// The job contradicts itself, the engine refuses it, or it is not modelled.
///
/// ```
/// use vramplan::{job::Serve, model, serve::{self, CardSize}};
///
/// let job = Serve { max_model_len: Some(8192), concurrency: 16, ..Serve::default() };
/// let serving = serve::serving(&model::resolve("llama-3.1-8b")?, None, &job, CardSize::Small)?;
/// // 128 KiB a token
/// assert_eq!(serving.kv_cache_bytes.0, 16 * 8192 * (128 << 10));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serving(model: &Model, source: Option<&Source>, serve: &Serve, card: CardSize) -> Result<Serving, ServeError> {
    serving_of(shapes(&Context::new(), model).as_mut(), model, source, serve, card)
}

/// As [`serving`], of a `model` whose modules are there already.
pub(crate) fn serving_of(
    network: &mut dyn Network,
    model: &Model,
    source: Option<&Source>,
    serve: &Serve,
    card: CardSize,
) -> Result<Serving, ServeError> {
    serve.validate()?;
    let quantization = source.and_then(|source| source.quantization.as_ref());
    match serve.runtime {
        Runtime::Vllm => vllm::serving(network, model, quantization, serve, card),
        Runtime::Transformers => Err(JobError::unsupported(
            "serve.runtime",
            "\"transformers\"",
            "[infer] is what asks for transformers' generate()",
        )
        .into()),
        Runtime::Sglang | Runtime::Tgi | Runtime::TensorRtLlm => {
            knobs::serving(network, model, quantization, serve, card)
        }
        other => Err(JobError::unsupported("serve.runtime", format!("\"{other}\""), "use \"vllm\"").into()),
    }
}

impl Serving {
    /// All that it holds; saturating.
    pub fn held_bytes(&self) -> Bytes {
        let parts = [self.weights_bytes, self.profile_bytes, self.other_bytes, self.kv_cache_bytes];
        Bytes(parts.iter().fold(0, |sum, part| sum.saturating_add(part.0)))
    }

    /// What the engine gives its cache of a card with `total` bytes, as PyTorch reports them, of which it can have `capacity`
    /// ([`Serving::capacity`]), where it may take `margin` more than is said; `None`: it takes as much as it needs.
    pub fn cache(&self, total: Bytes, capacity: Bytes, margin: Bytes) -> Option<Cache> {
        let engine = self.engine.as_ref()?;
        Some(match self.share_of {
            ShareOf::Card => engine.cache(total, margin),
            _ => engine.cache_in(capacity, margin),
        })
    }

    /// What the engine can have of a card whose driver reports `memory`, PyTorch `total`, and of which `free` is left beside a
    /// process's context; `None`: all of it.
    pub fn capacity(&self, memory: Bytes, total: Bytes, free: Bytes) -> Option<Bytes> {
        let default = || (self.runtime == Runtime::Sglang).then(|| knobs::mem_fraction_static(memory, self.gpu_count));
        let taken = self.weights_bytes + self.profile_bytes + self.other_bytes;
        Some(self.share_of.capacity(self.share.or_else(default)?, total, free, taken))
    }

    /// What the engine says of a card with such a compute capability, where it says something.
    pub fn notes_on(&self, compute_capability: Option<(u32, u32)>) -> Vec<String> {
        let below = |caution: &&Caution| compute_capability.is_some_and(|capability| capability < caution.from);
        self.cautions.iter().filter(below).map(|caution| caution.says.to_owned()).collect()
    }
}
