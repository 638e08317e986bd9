//! Inference: a prefill of the prompt, then decoding, as `generate()` runs them.

use super::load;
use crate::arch::{Decoder, Forward, KvCache};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Phase, Tensor};
use crate::job::Infer;
use crate::model::Model;

/// A model that is ready to be prompted.
pub(super) struct Inference<'a> {
    cx: &'a Context,
    job: &'a Infer,
    decoder: Decoder,
    ids: Tensor,
}

impl<'a> Inference<'a> {
    /// Loads the model and makes the prompt.
    pub(super) fn new(cx: &'a Context, model: &Model, job: &'a Infer) -> Self {
        cx.set_training(false);
        let quantization = load::quantization(job.precision, job.double_quant);
        let decoder = load::load(cx, model, job.float_type().dtype(), quantization);
        cx.ledger().empty_cache();
        let ids = cx.input("input_ids", &[job.batch_size, job.prompt_length], DType::I64);
        Self { cx, job, decoder, ids }
    }

    /// The prefill, then every token (from the third on they repeat the second but for the cache's length).
    pub(super) fn run(&self) {
        let cx = self.cx;
        cx.no_grad(|| {
            cx.set_phase(Phase::Prefill);
            let cache = KvCache::new(self.decoder.model(), Category::KvCache);
            self.forward(&self.ids, &cache, self.job.logits_to_keep);
            cx.set_phase(Phase::Decode);
            let next = cx.narrow(&self.ids, -1, self.job.prompt_length - 1, 1);
            for _ in 0..self.job.max_new_tokens {
                self.forward(&next, &cache, 0);
            }
        });
    }

    fn forward(&self, ids: &Tensor, cache: &KvCache, logits_to_keep: u64) {
        let cx = self.cx;
        let run = Forward { implementation: self.job.attn_implementation, cache: Some(cache), ..Forward::default() };
        let hidden = self.decoder.hidden(cx, ids, run);
        let length = hidden.dim(1);
        let keep = if logits_to_keep == 0 { length } else { logits_to_keep.min(length) };
        let kept = cx.narrow(&hidden, 1, length - keep, keep);
        let _logits = self.decoder.logits(cx, &kept);
    }
}
