//! `vramplan kv`: what sequences keep on the card.

use clap::Args;

use super::args::job::HubFlags;
use super::args::words::words;
use super::error::CliError;
use super::text::{self, bold, gib, grouped, lines, plain, table, wrap};
use super::{backend, describe};
use crate::job::{FloatType, KvCacheDtype, ModelRef};
use crate::serve::{self, Kv, KvLayers, KvRequest};

#[derive(Debug, Args)]
pub(super) struct KvArgs {
    /// A known model's name or Hub id (org/name), a config.json, .safetensors or .gguf file or its folder, or a size such as 7b
    model: String,
    /// Tokens of each sequence, prompt and answer together [default: as many positions as the model has]
    #[arg(long, visible_alias = "max-model-len", value_name = "N")]
    context: Option<u64>,
    /// Sequences at the same time
    #[arg(long, visible_alias = "max-num-seqs", value_name = "N", default_value_t = 1)]
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
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    hub: HubFlags,
}

pub(super) fn run(args: &KvArgs) -> Result<String, CliError> {
    let model = backend::resolve(&ModelRef::Named(args.model.clone()), &args.hub)?;
    let context = args.context.unwrap_or_else(|| model.max_position_embeddings());
    let answer = serve::kv(
        &model,
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
    if args.json {
        return text::json(&answer);
    }
    Ok(report(&answer, args.dtype, text::width()))
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
