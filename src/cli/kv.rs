//! `vramplan kv`: what sequences keep on the card.

use clap::Args;
use schemars::JsonSchema;
use serde::Serialize;

use super::args::job::HubFlags;
use super::args::words::words;
use super::error::CliError;
use super::text::{self, bold, gib, grouped, lines, plain, table, wrap};
use super::{Answer, backend, describe, exit};
use crate::hardware;
use crate::job::{FloatType, KvCacheDtype, ModelRef};
use crate::model::Source;
use crate::plan::{Room, Verdict};
use crate::serve::{self, Cache, Division, Kv, KvLayers, KvRequest, VllmRequest};

#[derive(Debug, Args)]
pub(super) struct KvArgs {
    /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
    model: String,
    /// Tokens of each sequence, prompt and answer together [default: as many positions as the model has]
    #[arg(long, visible_alias = "max-model-len", value_name = "N")]
    context: Option<u64>,
    /// Sequences at the same time
    #[arg(long, value_name = "N", default_value_t = 1)]
    concurrency: u64,
    /// How keys and values are stored [default: as the model computes]
    #[arg(long, value_name = "DTYPE", value_parser = words::<KvCacheDtype>(KvCacheDtype::NAMES, KvCacheDtype::ALIASES))]
    kv_cache_dtype: Option<KvCacheDtype>,
    /// What the model computes in
    #[arg(long, value_name = "DTYPE", default_value = "bf16", value_parser = words::<FloatType>(FloatType::NAMES, FloatType::ALIASES))]
    dtype: FloatType,
    /// Tokens that are stored together, as engines page them (vLLM: 16); 1: none are
    #[arg(long, value_name = "N", default_value_t = 1)]
    block_size: u64,
    /// Tokens at the start that all sequences share (a system prompt): their whole blocks are stored once
    #[arg(long, value_name = "N", default_value_t = 0)]
    shared_prefix: u64,
    /// Keys and values in place of latents, as an engine without latent attention keeps them
    #[arg(long)]
    expand_latents: bool,
    /// Tokens an encoder has read of each sequence [default: as many as the context]
    #[arg(long, value_name = "N")]
    encoder_tokens: Option<u64>,
    /// Divide this GPU as vLLM does, and tell how much of it is left for the cache
    #[arg(long, value_name = "GPU", help_heading = "vLLM")]
    gpu: Option<String>,
    /// Share of the GPU that the engine takes
    #[arg(long, value_name = "SHARE", default_value_t = 0.9, requires = "gpu", help_heading = "vLLM")]
    gpu_memory_utilization: f64,
    /// Sequences that are sampled at once [default: 256; 1024 on GPUs of 70 GiB and more that are no A100]
    #[arg(long, value_name = "N", requires = "gpu", help_heading = "vLLM")]
    max_num_seqs: Option<u64>,
    /// Tokens of one step [default: 2048; 8192 on GPUs of 70 GiB and more that are no A100]
    #[arg(long, value_name = "N", requires = "gpu", help_heading = "vLLM")]
    max_num_batched_tokens: Option<u64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubFlags,
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Output {
    #[serde(flatten)]
    kv: Kv,
    /// How vLLM divides the GPU; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    vllm: Option<OnGpu>,
}

/// An engine's division of a GPU.
#[derive(Serialize, JsonSchema)]
struct OnGpu {
    gpu: String,
    /// Whether the engine starts: the cache holds one sequence of `max_model_len` tokens, with what logs were off to spare
    /// (`fits`) or without (`tight`).
    verdict: Verdict,
    #[serde(flatten)]
    division: Division,
}

pub(super) fn run(args: &KvArgs) -> Result<Answer, CliError> {
    let source = backend::find(&ModelRef::Named(args.model.clone()), &args.hub)?;
    let model = &source.model;
    let context = args.context.unwrap_or_else(|| model.max_position_embeddings());
    let kv = serve::kv(
        model,
        &KvRequest {
            context,
            concurrency: args.concurrency,
            dtype: args.kv_cache_dtype.unwrap_or_default(),
            computes_in: args.dtype.dtype(),
            block_size: args.block_size,
            shared_prefix: args.shared_prefix,
            expand_latents: args.expand_latents,
            encoder_tokens: args.encoder_tokens.unwrap_or(context),
        },
    )?;
    let vllm = args.gpu.as_deref().map(|gpu| divide(args, &source, gpu)).transpose()?;
    let fits = vllm.as_ref().is_none_or(|on| on.verdict == Verdict::Fits);
    let code = if fits { 0 } else { exit::DOES_NOT_FIT };
    let output = Output { kv, vllm };
    if args.json {
        return Ok(Answer { text: text::json(&output)?, code });
    }
    let width = text::width();
    let mut out = report(&output.kv, args.dtype, width);
    if let Some(on) = &output.vllm {
        out.push_str(&divided(on, width));
    }
    Ok(Answer { text: out, code })
}

fn divide(args: &KvArgs, source: &Source, gpu: &str) -> Result<OnGpu, CliError> {
    let gpu = hardware::find(gpu)?;
    let room = Room::on(gpu);
    let base = VllmRequest::on(room.size);
    let weights = source.quantization.as_ref();
    let weights = weights.map(|quantization| serve::vllm_weights(&source.model, base.parallel, Some(quantization)));
    let request = VllmRequest {
        gpu_memory_utilization: args.gpu_memory_utilization,
        max_model_len: args.context,
        max_num_seqs: args.max_num_seqs.unwrap_or(base.max_num_seqs),
        max_num_batched_tokens: args.max_num_batched_tokens.unwrap_or(base.max_num_batched_tokens),
        kv_cache_dtype: args.kv_cache_dtype.unwrap_or_default(),
        block_size: if args.block_size > 1 { args.block_size } else { base.block_size },
        weights: weights.transpose()?,
        ..base
    };
    let division = serve::vllm(&source.model, &request, room.usable())?;
    Ok(OnGpu { gpu: gpu.slug.clone(), verdict: verdict(&division), division })
}

/// Whether the engine starts.
fn verdict(Division { cache: Cache { kv_cache_bytes, needed_bytes, .. }, taken, .. }: &Division) -> Verdict {
    let has = |bytes: crate::Bytes| u64::try_from(*kv_cache_bytes).is_ok_and(|cache| cache >= bytes.0);
    match (has(*needed_bytes + taken.margin_bytes), has(*needed_bytes)) {
        (true, _) => Verdict::Fits,
        (false, true) => Verdict::Tight,
        (false, false) => Verdict::DoesNotFit,
    }
}

fn divided(OnGpu { gpu, verdict, division }: &OnGpu, width: u16) -> String {
    let mut out = format!("\n{} on {gpu}\n\n", bold(division.taken.versions));
    let mut rows = table(&["", "GiB"], width);
    let missing = division.cache.kv_cache_bytes < 0;
    for (what, bytes) in [
        ("what the engine takes of the GPU", division.requested_bytes),
        ("- weights", division.taken.weights_bytes),
        ("- the profiling run", division.taken.profile_bytes),
        ("- libraries", division.taken.other_bytes),
        (
            if missing { "missing" } else { "left for the cache" },
            crate::Bytes(division.cache.kv_cache_bytes.unsigned_abs()),
        ),
    ] {
        rows.add_row([what.to_owned(), gib(bytes)]);
    }
    out.push_str(&lines(&rows));
    let verdict = match verdict {
        Verdict::Fits => "it starts",
        Verdict::Tight => "it may not start, so close is it",
        _ => "it does not start: not enough KV cache blocks",
    };
    let told = format!(
        "{} tokens, {:.2} sequences of {}: {verdict}. The longest --max-model-len with which it does: {}.",
        grouped(division.cache.kv_cache_tokens),
        division.cache.max_concurrency,
        grouped(division.cache.max_model_len),
        grouped(division.cache.longest_max_model_len)
    );
    out.push_str(&format!("\n{}\n", wrap(&told, width, "")));
    if !division.taken.validated {
        out.push_str(&format!("{}\n", wrap("NOT VALIDATED: no log stands behind figures of this kind.", width, "  ")));
    }
    out + &describe::notes(&division.taken.notes, width)
}

fn report(kv: &Kv, computes_in: FloatType, width: u16) -> String {
    let stored_in = match kv.kv_cache_dtype.as_str() {
        "auto" => computes_in.to_string(),
        other => other.to_owned(),
    };
    let sequences = match kv.concurrency {
        1 => "one sequence".to_owned(),
        several => format!("{} sequences", grouped(several)),
    };
    let mut out = format!(
        "{}: {sequences} of {} tokens, keys and values in {stored_in}\n\n",
        bold(plain(&kv.model)),
        grouped(kv.context)
    );
    let mut sums = table(&["", "bytes", "that is"], width);
    let mut line = |what: &str, bytes: crate::Bytes| {
        sums.add_row([what.to_owned(), grouped(bytes.0), bytes.to_string()]);
    };
    line("a token", kv.bytes_per_token);
    if kv.bytes_per_token_beyond_windows != kv.bytes_per_token {
        line("a token where windows are full", kv.bytes_per_token_beyond_windows);
    }
    if kv.fixed_bytes_per_sequence.0 > 0 {
        line("a sequence of any length", kv.fixed_bytes_per_sequence);
    }
    line("a sequence", kv.bytes_per_sequence);
    if kv.shared_bytes.0 > 0 {
        line("of which stored once for all", kv.shared_bytes);
    }
    line("all sequences", kv.total_bytes);
    out.push_str(&lines(&sums));
    out.push('\n');
    let mut rows = table(&["layers", "keep", "heads", "key", "value", "of tokens", "entries", "GiB"], width);
    for KvLayers { keeps, layers, heads, key_width, value_width, tokens, entries, bytes_per_sequence } in &kv.layers {
        let number = |number: u64| grouped(number);
        rows.add_row([
            layers.to_string(),
            (*keeps).to_owned(),
            heads.to_string(),
            number(*key_width),
            number(*value_width),
            tokens.clone(),
            number(*entries),
            gib(*bytes_per_sequence),
        ]);
    }
    out.push_str(&lines(&rows));
    if kv.block_size > 1 {
        let blocks = format!("Sequences take whole blocks of {} tokens.", kv.block_size);
        out.push_str(&format!("\n{}\n", wrap(&blocks, width, "")));
    }
    out + &describe::notes(&kv.notes, width)
}
