//! A serving job as vLLM runs it.

use super::capability::cautions;
use super::division::Engine;
use super::parallel::Parallel;
use super::request::VllmRequest;
use super::taken::taken_with;
use super::version::{MODELLED, VllmVersion, VllmVersionError};
use super::weights::weights_of;
use crate::arch::Network;
use crate::job::{JobError, Precision, Serve};
use crate::model::{CompressedTensors, Model, QuantMethod, Quantization, Scales};
use crate::serve::{CardSize, ServeError, Serving, ShareOf};
use crate::units::Bytes;

/// Rows of `tests/truth/engine_pools.jsonl` whose cache is predicted and whose kind is called validated.
pub(crate) const LOGS: u64 = 9;

/// Inputs that share a scale in 4-bit checkpoints, mostly.
const GROUP: u64 = 128;

/// What vLLM holds of `model`, whose weights are `stored` otherwise than in 16 bits where somebody says so.
pub(crate) fn serving(
    network: &mut dyn Network,
    model: &Model,
    stored: Option<&Quantization>,
    serve: &Serve,
    card: CardSize,
) -> Result<Serving, ServeError> {
    serving_as(network, model, stored, serve, request(serve, card)?)
}

/// The same for an engine that is told `request`.
pub(crate) fn serving_as(
    network: &mut dyn Network,
    model: &Model,
    stored: Option<&Quantization>,
    serve: &Serve,
    request: VllmRequest,
) -> Result<Serving, ServeError> {
    let assumed = assumed(serve.precision)?;
    let quantization = stored.or(assumed.as_ref());
    let weights = weights_of(network, model, request.parallel, quantization)?;
    let taken = taken_with(model, &request, weights, quantization.is_none())?;
    let engine = Engine::with(model, &request, taken)?;
    let Engine { request, taken, pool, max_model_len, .. } = &engine;
    let sequence_length = serve.sequence_length.unwrap_or(*max_model_len);
    let blocks = pool.blocks_of(sequence_length).saturating_mul(serve.concurrency).max(pool.blocks_of(*max_model_len));
    let counted = request.version.counts_graphs();
    let mut notes = taken.notes.clone();
    if let (Some(assumed), None) = (&assumed, stored) {
        let name = assumed.name();
        notes.push(format!("{} weights are taken to be stored as {name}, the head in 16 bits", serve.precision));
    }
    let cautions = cautions(request, quantization);
    Ok(Serving {
        runtime: serve.runtime,
        versions: taken.versions.to_owned(),
        gpu_count: serve.gpu_count(),
        max_model_len: *max_model_len,
        concurrency: serve.concurrency,
        sequence_length,
        max_num_seqs: request.max_num_seqs,
        max_num_batched_tokens: request.max_num_batched_tokens,
        weights_bytes: taken.weights_bytes,
        profile_bytes: taken.profile_bytes,
        other_bytes: taken.other_bytes + taken.graphs_bytes,
        kv_cache_bytes: Bytes(pool.block_bytes.0.saturating_mul(blocks)),
        block_size: pool.block_size,
        block_bytes: pool.block_bytes,
        share: Some(request.gpu_memory_utilization),
        share_of: ShareOf::Card,
        beside_bytes: if counted { Bytes::ZERO } else { request.graphs() },
        margin_bytes: taken.margin_bytes,
        logs: LOGS,
        validated: taken.validated,
        notes,
        cautions,
        engine: Some(engine),
    })
}

/// What the job tells the engine, and the version's defaults for what it leaves open.
fn request(serve: &Serve, card: CardSize) -> Result<VllmRequest, ServeError> {
    let version = match &serve.runtime_version {
        Some(version) => version.parse().map_err(|_: VllmVersionError| {
            JobError::invalid("serve.runtime_version", format!("\"{version}\""), MODELLED)
        })?,
        None => VllmVersion::default(),
    };
    let base = VllmRequest::at(version, card);
    Ok(VllmRequest {
        gpu_memory_utilization: serve.gpu_memory_utilization.unwrap_or(base.gpu_memory_utilization),
        max_model_len: serve.max_model_len,
        max_num_seqs: serve.max_num_seqs.unwrap_or(base.max_num_seqs.max(serve.concurrency)),
        max_num_batched_tokens: serve.max_num_batched_tokens.unwrap_or(base.max_num_batched_tokens),
        kv_cache_dtype: serve.kv_cache_dtype,
        block_size: serve.block_size.unwrap_or(base.block_size),
        parallel: Parallel {
            tensor_parallel_size: serve.tensor_parallel_size,
            pipeline_parallel_size: serve.pipeline_parallel_size,
            enable_expert_parallel: serve.enable_expert_parallel,
        },
        enforce_eager: serve.enforce_eager,
        ..base
    })
}

/// How weights of a precision are stored where no checkpoint says it: as the checkpoints that vLLM's makers publish are.
fn assumed(precision: Precision) -> Result<Option<Quantization>, JobError> {
    let compressed = |format: &str, bits, scales| {
        let format = format.to_owned();
        QuantMethod::CompressedTensors(CompressedTensors { format, bits: Some(bits), scales, symmetric: true })
    };
    let method = match precision {
        Precision::Fp16 | Precision::Bf16 => return Ok(None),
        Precision::Fp32 => {
            let fix = "vLLM loads it in 16 bits unless --dtype float32 is given, which is not modelled; use \"bf16\"";
            return Err(JobError::unsupported("serve.precision", "\"fp32\"", fix));
        }
        Precision::Int8 => compressed("int-quantized", 8, Scales::Channel),
        Precision::Int4 => compressed("pack-quantized", 4, Scales::Group(GROUP)),
        Precision::Nf4 | Precision::Fp4 => {
            QuantMethod::Bnb4bit { nf4: precision == Precision::Nf4, double_quant: false }
        }
    };
    Ok(Some(Quantization { method, not_converted: vec!["lm_head".to_owned()] }))
}
