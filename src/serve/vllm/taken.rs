//! What the engine takes before it has a cache.

use schemars::JsonSchema;
use serde::Serialize;

use super::VLLM_VERSIONS;
use super::error::VllmError;
use super::profile::profile;
use super::request::VllmRequest;
use super::weights::loaded;
use crate::job::KvCacheDtype;
use crate::model::{DecoderConfig, Model, ModelType, Span, TokenCache, TokenCacheKind};
use crate::serve::KvError;
use crate::units::Bytes;

/// What the logs of four single cards of compute capability 8.x leave of `gpu_memory_utilization` beside weights, sampler,
/// hidden states and cache: 35 to 44 MiB (`tests/truth/engine_pools.jsonl`); NCCL, cuBLAS and kernels that load meanwhile.
const BESIDE_TORCH: Bytes = Bytes::from_mib(44);

/// Twice what the cache of the worst of six logs was smaller than said (0.12 GiB).
const MARGIN: Bytes = Bytes::from_mib(256);

/// Where no log is of the kind.
const MARGIN_UNMEASURED: Bytes = Bytes::from_gib(1);

/// What the engine takes of its fullest GPU before it has a cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Taken {
    /// "Model loading took": weights, and the rotary table.
    pub weights_bytes: Bytes,
    /// What the profiling run takes at its peak.
    pub profile_bytes: Bytes,
    /// What CUDA graphs take of `gpu_memory_utilization`.
    pub graphs_bytes: Bytes,
    /// What libraries take meanwhile.
    pub other_bytes: Bytes,
    /// How much more all of it may be than is said.
    pub margin_bytes: Bytes,
    /// Whether logs of engines stand behind figures of this kind.
    pub validated: bool,
    /// The versions of which this is true.
    pub versions: &'static str,
    /// What a reader should know about the figures.
    pub notes: Vec<String>,
}

impl Taken {
    /// All of it, without the margin.
    ///
    /// ```
    /// use vramplan::{Bytes, model, serve::{VllmRequest, taken}};
    ///
    /// let taken = taken(&model::resolve("llama-3.1-8b")?, &VllmRequest::on(Bytes::from_gib(40), true))?;
    /// // vLLM 0.11.0 logged 14.9889 GiB of weights
    /// assert!((taken.weights_bytes.gib() - 14.9889).abs() < 0.01 && taken.total_bytes() > taken.weights_bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn total_bytes(&self) -> Bytes {
        self.weights_bytes + self.profile_bytes + self.graphs_bytes + self.other_bytes
    }
}

/// What the engine takes to serve `model`, before it has a cache.
///
/// # Errors
/// What the engine does with such a model is not modelled, or a number makes no sense.
pub fn taken(model: &Model, request: &VllmRequest) -> Result<Taken, VllmError> {
    let decoder = plain(model)?;
    request.check()?;
    let weights_bytes = match request.weights {
        Some(weights) => weights,
        None => loaded(decoder).ok_or_else(|| VllmError::paging(model, "its weights are of a kind of their own"))?,
    };
    let validated =
        is_logged(model.model_type()) && request.weights.is_none() && request.kv_cache_dtype == KvCacheDtype::Auto;
    Ok(Taken {
        weights_bytes,
        profile_bytes: profile(decoder, request),
        graphs_bytes: Bytes::ZERO,
        other_bytes: BESIDE_TORCH,
        margin_bytes: if validated { MARGIN } else { MARGIN_UNMEASURED },
        validated,
        versions: VLLM_VERSIONS,
        notes: notes(decoder, request),
    })
}

/// Whether a log of `tests/truth/engine_pools.jsonl` is of the type with weights in 16 bits.
const fn is_logged(model_type: ModelType) -> bool {
    matches!(model_type, ModelType::Llama | ModelType::Qwen2 | ModelType::Qwen3Moe)
}

/// The decoder of a model all of whose layers keep keys and values of every token.
fn plain(model: &Model) -> Result<&DecoderConfig, VllmError> {
    let refuse = |what| Err(VllmError::paging(model, what));
    let Some(decoder) = model.decoder() else { return refuse("it is no decoder") };
    if decoder.tower.is_some() {
        return refuse("it takes images, which the profiling run encodes");
    }
    let caches = model.caches().ok_or(KvError::Unknown { model_type: model.model_type() })?;
    if caches.iter().any(|cache| cache.state.is_some()) {
        return refuse("some of its layers keep states");
    }
    let plain = |cache: &TokenCache| {
        cache.kind == TokenCacheKind::KeyAndValue && cache.span == Span::All && cache.key_width == cache.value_width
    };
    if !caches.iter().all(|cache| matches!(cache.tokens.as_slice(), [only] if plain(only))) {
        return refuse("its layers do not all keep keys and values of every token");
    }
    Ok(decoder)
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
