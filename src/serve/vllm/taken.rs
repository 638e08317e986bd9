//! What the engine takes before it has a cache.

use schemars::JsonSchema;
use serde::Serialize;

use super::error::VllmError;
use super::profile::profile;
use super::request::VllmRequest;
use super::weights::vllm_weights;
use crate::job::KvCacheDtype;
use crate::model::{DecoderConfig, LayerCache, Model, ModelType, Span, TokenCache, TokenCacheKind};
use crate::serve::KvError;
use crate::units::Bytes;

/// What the logs of four single cards of compute capability 8.x leave of `gpu_memory_utilization` beside weights, sampler,
/// hidden states and cache: 35 to 44 MiB (`tests/truth/engine_pools.jsonl`); NCCL, cuBLAS and kernels that load meanwhile.
const BESIDE_TORCH: Bytes = Bytes::from_mib(44);

/// The same where GPUs share a model: two logs of four 24 GiB cards leave 155 MiB, NCCL's buffers among them.
const BESIDE_TORCH_OF_SEVERAL: Bytes = Bytes::from_mib(155);

/// Twice what the cache of the worst of six logs was smaller than said (0.12 GiB).
const MARGIN: Bytes = Bytes::from_mib(256);

/// Where no log is of the kind.
const MARGIN_UNMEASURED: Bytes = Bytes::from_gib(1);

/// Where images of any size are encoded in the profiling run: a log of a Qwen2.5-VL 7B leaves 8.3 GiB for it.
const MARGIN_WITH_IMAGES: Bytes = Bytes::from_gib(9);

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
    /// use vramplan::{model, serve::{CardSize, VllmRequest, taken}};
    ///
    /// let taken = taken(&model::resolve("llama-3.1-8b")?, &VllmRequest::on(CardSize::Small))?;
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
    request.check()?;
    let weights = match request.weights {
        Some(weights) => weights,
        None => vllm_weights(model, request.parallel, None)?,
    };
    taken_with(model, request, weights, request.weights.is_none())
}

/// As [`taken`], where loading takes `weights_bytes`; `plain`: in 16 bits.
pub(super) fn taken_with(
    model: &Model,
    request: &VllmRequest,
    weights_bytes: Bytes,
    plain: bool,
) -> Result<Taken, VllmError> {
    request.check()?;
    let decoder = model.decoder().ok_or_else(|| VllmError::paging(model, "it is no decoder"))?;
    let caches = model.caches().ok_or(KvError::Unknown { model_type: model.model_type() })?;
    let parallel = request.parallel;
    let is_plain = caches.iter().all(is_plain) && decoder.tower.is_none() && decoder.tower_left_out == 0;
    let counts_graphs = request.version.counts_graphs() && !request.enforce_eager;
    let validated = is_logged(model.model_type())
        && is_plain
        && plain
        && request.kv_cache_dtype == KvCacheDtype::Auto
        && parallel.pipeline_parallel_size == 1
        && !parallel.enable_expert_parallel
        && !counts_graphs
        && !request.version.is_of_the_second_runner();
    let grids = decoder.tower_left_out > 0 || decoder.tower.as_ref().is_some_and(|tower| tower.grids.is_some());
    let margin = match (validated, grids) {
        (true, _) => MARGIN,
        (false, true) => MARGIN_WITH_IMAGES,
        (false, false) => MARGIN_UNMEASURED,
    };
    let several = parallel.world_size() > 1;
    Ok(Taken {
        weights_bytes,
        profile_bytes: profile(decoder, request),
        graphs_bytes: if counts_graphs { request.graphs() } else { Bytes::ZERO },
        other_bytes: if several { BESIDE_TORCH_OF_SEVERAL } else { BESIDE_TORCH },
        margin_bytes: margin,
        validated,
        versions: request.version.alike(),
        notes: notes(decoder, request),
    })
}

/// Whether a log of `tests/truth/engine_pools.jsonl` is of the type with weights in 16 bits.
const fn is_logged(model_type: ModelType) -> bool {
    matches!(model_type, ModelType::Llama | ModelType::Qwen2 | ModelType::Qwen3Moe)
}

/// Whether a layer keeps keys and values of every token and no more.
fn is_plain(cache: &LayerCache) -> bool {
    let plain = |cache: &TokenCache| {
        cache.kind == TokenCacheKind::KeyAndValue && cache.span == Span::All && cache.key_width == cache.value_width
    };
    cache.state.is_none() && matches!(cache.tokens.as_slice(), [only] if plain(only))
}

fn notes(decoder: &DecoderConfig, request: &VllmRequest) -> Vec<String> {
    let mut notes = Vec::new();
    if request.version.counts_graphs() && !request.enforce_eager {
        notes.push(
            "what CUDA graphs are estimated to take is part of gpu_memory_utilization in this version, and is taken from \
             other models' logs"
                .to_owned(),
        );
    } else if !request.enforce_eager {
        notes.push("CUDA graphs take memory beyond gpu_memory_utilization in this version".to_owned());
    }
    if request.version.is_of_the_second_runner() {
        notes.push(
            "from 0.25 on some models, and by 0.33 all, are run by another runner, whose profiling run is taken to be as the \
             one before"
                .to_owned(),
        );
    }
    if decoder.tower.is_some() || decoder.tower_left_out > 0 {
        notes.push(
            "encoding the largest image is part of the profiling run and is not modelled: give --limit-mm-per-prompt of 0 \
             where only text is served"
                .to_owned(),
        );
    }
    if request.max_model_len.is_some_and(|length| length > decoder.max_position_embeddings) {
        notes.push(format!(
            "max_model_len is beyond the model's {} positions: vLLM refuses it unless VLLM_ALLOW_LONG_MAX_MODEL_LEN is set",
            decoder.max_position_embeddings
        ));
    }
    notes
}
