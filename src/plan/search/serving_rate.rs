//! How fast an engine serves at most: the bytes of a step at the card's bandwidth, or its arithmetic at the card's rate.
//!
//! No kernel waits, no scheduler takes time and no message has a latency: it ranks cards and promises no rate.

use schemars::JsonSchema;
use serde::Serialize;

use crate::hardware::Gpu;
use crate::job::Serve;
use crate::model::Model;
use crate::serve::{KvRequest, Serving, kv};
use crate::step::{self, Parameters};

/// What a GPU sends another through PCIe 4.0 with 16 lanes, one way: 16 GT/s a lane, of 130 bits 128 are data (PCI Express
/// Base Specification 4.0).
const PCIE_BYTES_A_SECOND: f64 = 16.0 * 16e9 / 8.0 * 128.0 / 130.0;

/// What keeps a step from being faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Reading weights and the cache.
    Memory,
    /// Multiplying.
    Arithmetic,
}

/// How fast an engine serves, at most; see [`ROOFLINE`](super::ROOFLINE).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct ServingRate {
    /// Tokens generated a second, all sequences together.
    pub decode_tokens_per_second: f64,
    /// Milliseconds from one token of a sequence to its next.
    pub milliseconds_per_token: f64,
    /// What that is bound by.
    pub decode_bound: Bound,
    /// Tokens of prompts read a second.
    pub prefill_tokens_per_second: f64,
}

/// How fast `serving` is on cards like `gpu` with the cache full: each of its sequences as long as asked for. `None`: the
/// card's rates are not known, or the model's parameters.
///
/// A decoding step reads every weight once, of experts those that any of its sequences is sent to, and every sequence's cache.
/// Of several GPUs each has its part, and sends its share of two sums a layer to the others.
///
/// ```
/// use vramplan::{hardware, job::Serve, model, plan, serve::{self, CardSize}};
///
/// let model = model::resolve("llama-3.1-8b")?;
/// let job = Serve { max_model_len: Some(8192), ..Serve::default() };
/// let serving = serve::serving(&model, None, &job, CardSize::Small)?;
/// let rate = plan::serving_rate(&model, &job, &serving, hardware::find("l4")?).unwrap();
/// // 14 GiB of weights and 1 of cache at 300 GB/s
/// assert!((15.0..25.0).contains(&rate.decode_tokens_per_second));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn serving_rate(model: &Model, serve: &Serve, serving: &Serving, gpu: &Gpu) -> Option<ServingRate> {
    rate_of(&Work::of(model)?, model, serve, serving, gpu)
}

/// The same where what the model does for a token is known.
#[expect(clippy::cast_precision_loss, reason = "approximate")]
pub(super) fn rate_of(work: &Work, model: &Model, serve: &Serve, serving: &Serving, gpu: &Gpu) -> Option<ServingRate> {
    let (rate, bandwidth) = (gpu.dense_rate()?, gpu.bandwidth()?);
    let gpus = serving.gpu_count as f64;
    let (sequences, length) = (serving.concurrency as f64, serving.sequence_length as f64);
    let cache = KvRequest {
        context: serving.sequence_length,
        concurrency: serving.concurrency,
        dtype: serve.kv_cache_dtype,
        ..KvRequest::default()
    };
    let cache = kv(model, &cache).ok()?;
    // heads that are fewer than the GPUs, and latents, are on several of them
    let held = serving.block_bytes.0 as f64 / serving.block_size as f64 * gpus;
    let copies = (held / cache.bytes_per_token.0.max(1) as f64).max(1.0);
    let cache = cache.total_bytes.0 as f64 * copies / gpus;
    let weights = serving.weights_bytes.0 as f64;
    let sent = |tokens: f64| work.sent(tokens, serve.tensor_parallel_size as f64) / link(gpu);

    let reading = (weights * work.share_read(sequences) + cache) / bandwidth;
    let scores = 4.0 * work.attention_width * length;
    let multiplying = sequences * (2.0 * work.active + scores) / gpus / rate;
    let step = reading.max(multiplying) + sent(sequences);

    let chunk = length.min(serving.max_num_batched_tokens as f64).max(1.0);
    // a token sees half of its prompt on the way
    let arithmetic = chunk * (2.0 * work.active + scores / 2.0) / gpus / rate;
    let prefill = arithmetic.max(weights * work.share_read(chunk) / bandwidth) + sent(chunk);
    Some(ServingRate {
        decode_tokens_per_second: sequences / step,
        milliseconds_per_token: step * 1e3,
        decode_bound: if reading >= multiplying { Bound::Memory } else { Bound::Arithmetic },
        prefill_tokens_per_second: chunk / prefill,
    })
}

/// Bytes a second from one card to the next, one way; what a catalogue says is both ways together.
fn link(gpu: &Gpu) -> f64 {
    gpu.interconnect_gb_s.map_or(PCIE_BYTES_A_SECOND, |both| both * 1e9 / 2.0)
}

/// What a model does for a token.
pub(super) struct Work {
    /// Parameters that are multiplied with.
    active: f64,
    /// Parameters that any step reads, as a share of all.
    always_read: f64,
    /// Parameters of experts, as a share of all.
    experts: f64,
    /// Share of the experts that one token is sent to.
    chosen: f64,
    /// Heads times their width, of all layers that attend.
    attention_width: f64,
    /// Width of what layers pass on, of all layers.
    passed_width: f64,
}

impl Work {
    #[expect(clippy::cast_precision_loss, reason = "approximate")]
    pub(super) fn of(model: &Model) -> Option<Self> {
        let Parameters { total, embedding, experts, head, .. } = step::count_parameters(model, None).ok()?;
        let (total, experts) = (total as f64, experts as f64);
        // of an embedding of its own a few rows are read; one that is the head too is multiplied with
        let looked_up = if head > 0 { embedding as f64 } else { 0.0 };
        let decoder = model.decoder()?;
        let chosen =
            decoder.moe.as_ref().map_or(1.0, |moe| moe.num_experts_per_tok as f64 / moe.num_experts.max(1) as f64);
        let attending = model.caches()?.iter().filter(|layer| !layer.tokens.is_empty()).count() as f64;
        let heads = decoder.attention.num_heads.saturating_mul(decoder.attention.head_dim) as f64;
        Some(Self {
            active: total - looked_up - experts * (1.0 - chosen),
            always_read: (total - looked_up - experts) / total,
            experts: experts / total,
            chosen,
            attention_width: heads * attending,
            passed_width: (model.hidden_size() as f64) * model.num_hidden_layers() as f64,
        })
    }

    /// The share of all weights that a step of `tokens` tokens reads: each token is sent to experts by chance.
    fn share_read(&self, tokens: f64) -> f64 {
        self.always_read + self.experts * (1.0 - (1.0 - self.chosen).powf(tokens))
    }

    /// Bytes that each of `gpus` sends for a step: sums after attention and feed-forward, in 16 bits, around a ring.
    fn sent(&self, tokens: f64, gpus: f64) -> f64 {
        2.0 * 2.0 * self.passed_width * tokens * 2.0 * (gpus - 1.0) / gpus
    }
}
