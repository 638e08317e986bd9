//! Engines by the documented meaning of their memory knob: what it is a share of, and its default. What a step takes, and how
//! weights are divided, is taken to be as in vLLM. No log stands behind any of it.

use super::card_size::CardSize;
use super::serving::{ServeError, Serving};
use super::share::ShareOf;
use super::vllm::{self, Parallel, VllmRequest};
use crate::arch::Network;
use crate::job::{JobError, Runtime, Serve};
use crate::model::{LayerCache, Model, Quantization, Span, TokenCache};
use crate::units::Bytes;

/// What is documented of an engine.
struct Knobs {
    versions: &'static str,
    /// The beginning of a version that is meant.
    version: &'static str,
    /// What the engine calls its share.
    knob: &'static str,
    share_of: ShareOf,
    /// Tokens of a block of the cache.
    block_size: u64,
    /// Tokens of one step, on small and on large cards.
    tokens: [u64; 2],
    /// Sequences of one step, on small and on large cards.
    sequences: [u64; 2],
}

/// SGLang 0.5: `ServerArgs._handle_gpu_memory_settings` (python/sglang/srt/server_args.py) has five sizes of cards; taken are
/// the largest batches of those below and above 70 GiB. `profile_max_num_token` (model_runner.py) leaves
/// `1 - mem_fraction_static` of what was free before loading to activations and CUDA graphs.
const SGLANG: Knobs = Knobs {
    versions: "SGLang 0.5",
    version: "0.5",
    knob: "mem_fraction_static",
    share_of: ShareOf::Free,
    block_size: 1,
    tokens: [4096, 16_384],
    sequences: [160, 512],
};

/// TGI 3.3: `FlashCausalLM.warmup` (server/text_generation_server/models/flash_causal_lm.py) gives the cache what is free after
/// the largest prefill, but for what `CUDA_MEMORY_FRACTION` times `TGI_WIGGLE_ROOM` leaves; `max_batch_prefill_tokens` is
/// computed from the card where it is not given, and 4096 was its default before.
const TGI: Knobs = Knobs {
    versions: "TGI 3.3",
    version: "3.3",
    knob: "cuda_memory_fraction",
    share_of: ShareOf::CardWithOthers,
    block_size: 1,
    tokens: [4096, 4096],
    sequences: [256, 256],
};

/// `TGI_WIGGLE_ROOM` (server/text_generation_server/models/globals.py).
const TGI_WIGGLE_ROOM: f64 = 0.9;

/// TensorRT-LLM 1.0: "90% of free GPU memory for KV cache" (`KvCacheConfig.free_gpu_memory_fraction`, documentation), once the
/// model is loaded and a step of `max_num_tokens` was run; blocks have 32 tokens, a step 8192, of 2048 sequences at most.
const TENSORRT_LLM: Knobs = Knobs {
    versions: "TensorRT-LLM 1.0",
    version: "1.0",
    knob: "free_gpu_memory_fraction",
    share_of: ShareOf::Rest,
    block_size: 32,
    tokens: [8192, 8192],
    sequences: [2048, 2048],
};

impl Knobs {
    const fn of(runtime: Runtime) -> &'static Self {
        match runtime {
            Runtime::Sglang => &SGLANG,
            Runtime::Tgi => &TGI,
            _ => &TENSORRT_LLM,
        }
    }

    /// What the job tells the engine, as vLLM would be told it.
    fn request(&self, serve: &Serve, card: CardSize) -> Result<VllmRequest, JobError> {
        if let Some(version) = serve.runtime_version.as_ref().filter(|version| !version.starts_with(self.version)) {
            let fix = format!("{} is modelled; leave it out", self.versions);
            return Err(JobError::unsupported("serve.runtime_version", format!("\"{version}\""), fix));
        }
        if serve.pipeline_parallel_size != 1 {
            let fix = format!("of {} tensor parallelism alone is modelled; use 1", serve.runtime);
            return Err(JobError::unsupported("serve.pipeline_parallel_size", serve.pipeline_parallel_size, fix));
        }
        let of_card = |values: [u64; 2]| values[usize::from(card == CardSize::Large)];
        let tokens = serve.max_num_batched_tokens.unwrap_or_else(|| of_card(self.tokens));
        let sequences = serve.max_num_seqs.unwrap_or_else(|| of_card(self.sequences).max(serve.concurrency));
        Ok(VllmRequest {
            max_model_len: serve.max_model_len,
            max_num_seqs: sequences,
            max_num_batched_tokens: tokens,
            kv_cache_dtype: serve.kv_cache_dtype,
            block_size: serve.block_size.unwrap_or(self.block_size),
            parallel: Parallel {
                tensor_parallel_size: serve.tensor_parallel_size,
                enable_expert_parallel: serve.enable_expert_parallel,
                ..Parallel::default()
            },
            // what graphs take is not counted by any of them
            enforce_eager: true,
            ..VllmRequest::on(card)
        })
    }
}

/// `KvCacheConfig.free_gpu_memory_fraction`
const FREE_GPU_MEMORY_FRACTION: f64 = 0.9;

/// What one of these engines holds of `model`.
pub(super) fn serving(
    network: &mut dyn Network,
    model: &Model,
    stored: Option<&Quantization>,
    serve: &Serve,
    card: CardSize,
) -> Result<Serving, ServeError> {
    let knobs = Knobs::of(serve.runtime);
    if !model.caches().is_some_and(|caches| caches.iter().all(keeps_every_token)) {
        let fix = "of other engines than vllm models are known whose layers keep keys and values of every token; use \"vllm\"";
        return Err(JobError::unsupported("serve.runtime", format!("\"{}\"", serve.runtime), fix).into());
    }
    let mut serving = vllm::serving_as(network, model, stored, serve, knobs.request(serve, card)?)?;
    serving.share = match (serve.runtime, serve.gpu_memory_utilization) {
        (Runtime::Tgi, share) => Some(share.unwrap_or(1.0) * TGI_WIGGLE_ROOM),
        (Runtime::Sglang, share) => share,
        (_, share) => Some(share.unwrap_or(FREE_GPU_MEMORY_FRACTION)),
    };
    if serve.runtime == Runtime::Sglang {
        serving.beside_bytes = serving.profile_bytes + Bytes::from_mib(graphs(card));
        serving.profile_bytes = Bytes::ZERO;
        if let Some(engine) = &mut serving.engine {
            engine.taken.profile_bytes = Bytes::ZERO;
        }
    }
    serving.share_of = knobs.share_of;
    knobs.versions.clone_into(&mut serving.versions);
    serving.validated = false;
    serving.logs = 0;
    serving.notes = vec![format!(
        "by the documented meaning of {} alone; weights, a step and blocks are taken to be as in vLLM, and no log of this \
         engine stands behind the figures",
        knobs.knob
    )];
    Ok(serving)
}

const fn keeps_every_token(layer: &LayerCache) -> bool {
    layer.state.is_none() && matches!(layer.tokens.as_slice(), [TokenCache { span: Span::All, .. }])
}

/// MiB of CUDA graphs: two for each sequence of the largest, as SGLang's own heuristic has it.
const fn graphs(card: CardSize) -> u64 {
    2 * match card {
        CardSize::Small => SGLANG.sequences[0],
        CardSize::Large => SGLANG.sequences[1],
    }
}

/// `mem_fraction_static` where it is not given, of a card whose driver reports `memory`: what activations, CUDA graphs and the
/// number of GPUs are taken to need is left out (`ServerArgs._handle_gpu_memory_settings`).
pub(super) fn mem_fraction_static(memory: Bytes, gpus: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "as SGLang reckons it")]
    let [memory, gpus] = [(memory.0 >> 20) as f64, gpus as f64];
    let few = gpus < 4.0;
    let [tokens, graphs] = match memory {
        ..20_480.0 => [2048.0, 8.0],
        ..35_840.0 => [2048.0, if few { 24.0 } else { 80.0 }],
        ..61_440.0 => [4096.0, if few { 32.0 } else { 160.0 }],
        ..163_840.0 => [8192.0, if few { 256.0 } else { 512.0 }],
        _ => [16_384.0, 512.0],
    };
    let reserved = 512.0 + tokens * 1.5 + graphs * 2.0 + gpus / 8.0 * 1024.0;
    let reserved = if memory > 61_440.0 { f64::max(reserved, 10_240.0) } else { reserved };
    (((memory - reserved) / memory).max(0.0) * 1000.0).round() / 1000.0
}
