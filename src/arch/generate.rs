//! Generation, a token at a time.

use super::decoder::Decoder;
use super::forward::Forward;
use super::network::Generate;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};
use crate::job::ExpertsImplementation;

/// A prefill of `prompt`, then every token.
pub(super) fn run(decoder: &Decoder, cx: &Context, prompt: &Tensor, how: Generate) {
    let cache = decoder.cache(Category::KvCache);
    let forward = |ids: &Tensor, logits_to_keep: u64, attention_mask: Option<&Tensor>, decodes: bool| {
        // with a padding mask each sequence counts its own
        let positions = attention_mask.map(|_| made(cx, ids.dims(), DType::I64));
        let run = Forward {
            implementation: how.implementation,
            batched_experts: decodes && how.decode_experts == ExpertsImplementation::BatchedMm,
            attention_mask,
            positions: positions.as_ref(),
            cache: Some(&cache),
            ..Forward::default()
        };
        let hidden = decoder.hidden(cx, decoder.embed(cx, ids, run), run);
        let length = hidden.dim(1);
        let keep = if logits_to_keep == 0 { length } else { logits_to_keep.min(length) };
        decoder.logits(cx, &cx.narrow(&hidden, 1, length - keep, keep))
    };
    cx.set_phase(Phase::Prefill);
    if !how.samples {
        drop(forward(prompt, how.logits_to_keep, None, false));
        cx.set_phase(Phase::Decode);
        let next = cx.narrow(prompt, -1, prompt.dim(-1) - 1, 1);
        for _ in 0..how.max_new_tokens {
            drop(forward(&next, 0, None, true));
        }
        return;
    }
    let batch = prompt.dim(0);
    let tokens = |length: u64| made(cx, &[batch, length], DType::I64);
    let mut sampler = Sampler::default();
    let mut attention_mask = tokens(prompt.dim(1));
    let mut ids = prompt.clone();
    for at in 0..how.max_new_tokens {
        let logits = if at == 0 {
            forward(prompt, how.logits_to_keep, Some(&attention_mask), false)
        } else {
            let next = cx.narrow(&ids, -1, ids.dim(-1) - 1, 1);
            forward(&next, 0, Some(&attention_mask), true)
        };
        if at == 0 {
            cx.set_phase(Phase::Decode);
        }
        attention_mask = tokens(attention_mask.dim(1) + 1);
        let _next = sampler.sample(cx, &logits);
        ids = tokens(ids.dim(1) + 1);
    }
}

/// What `_sample` (`transformers/generation/utils.py`, 5.17) has names for until the next token's take them.
#[derive(Default)]
struct Sampler {
    scores: Option<Tensor>,
    probabilities: Option<Tensor>,
}

impl Sampler {
    /// A token for each sequence, without warping of the distribution.
    fn sample(&mut self, cx: &Context, logits: &Tensor) -> Tensor {
        cx.within(Category::Logits, || {
            let rows = [logits.dim(0), logits.dim(-1)];
            self.scores = Some(made(cx, &rows, DType::F32));
            self.probabilities = Some(made(cx, &rows, DType::F32));
            // `multinomial` draws exponentials
            let _exponentials = made(cx, &rows, DType::F32);
            made(cx, &[rows[0]], DType::I64)
        })
    }
}

fn made(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    cx.launch(Kernel::Scratch("generation"), &[], Layout::contiguous(dims), dtype)
}
