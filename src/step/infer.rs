//! Inference: a prefill of the prompt, then decoding, as `generate()` runs them.

use super::load;
use crate::arch::{Generate, Network};
use crate::ghost::{Context, Tensor};
use crate::job::Infer;
use crate::model::Model;
use crate::nn::Kernels;

/// A model that is ready to be prompted.
pub(super) struct Inference<'a> {
    cx: &'a Context,
    job: &'a Infer,
    network: Box<dyn Network>,
    prompt: Tensor,
}

impl<'a> Inference<'a> {
    /// Loads the model and makes the prompt.
    pub(super) fn new(cx: &'a Context, model: &Model, job: &'a Infer) -> Self {
        cx.set_training(false);
        let quantization = load::quantization(job.precision, job.double_quant);
        let network = load::load(cx, model, job.float_type().dtype(), quantization, Kernels::default());
        cx.ledger().empty_cache();
        let prompt = network.prompt(cx, job.batch_size, job.prompt_length);
        Self { cx, job, network, prompt }
    }

    /// The prefill, then every token.
    pub(super) fn run(&self) {
        let how = Generate {
            decode_experts: self.job.decode_experts,
            implementation: self.job.attn_implementation,
            logits_to_keep: self.job.logits_to_keep,
            max_new_tokens: self.job.max_new_tokens,
            samples: false,
        };
        self.cx.no_grad(|| self.network.generate(self.cx, &self.prompt, how));
    }
}
