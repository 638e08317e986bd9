//! TRL's `ChunkedLogProbFunction` (`trl/kernels/chunked_logprob.py`, TRL 1.16): log-probabilities of tokens from hidden states,
//! without the logits of all positions. Backward computes the logits again and adds gradients up in fp32.

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

const FUSED: Kernel = Kernel::Scratch("log probabilities");
/// `TOKEN_CHUNK_SIZE`
const TOKEN_CHUNK: u64 = 4096;
/// `_CHUNKED_LOGPROB_CHUNK_SIZE` (`trl/trainer/utils.py`)
const VOCABULARY_CHUNK: u64 = 32_768;
/// Running statistics of a row: maxima, sums, the target's logit.
const STATISTICS: usize = 7;

impl Context {
    /// Log-probabilities of one token for each row of `hidden`, `[rows, width]`, under the head's `weight`,
    /// `[vocabulary, width]`; `metrics`: with the entropies and averages that trainers log, which live as long as the result.
    pub fn chunked_log_probabilities(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        targets: &Tensor,
        metrics: bool,
    ) -> (Tensor, Vec<Tensor>) {
        let node = self.record(&[hidden, weight], &[]);
        let rows = hidden.dim(0);
        let computes_in = self.product_dtype(hidden.dtype());
        let vector = || self.launch(FUSED, &[], Layout::contiguous(&[rows]), DType::F32);
        let statistics: Vec<Tensor> = (0..STATISTICS).map(|_| vector()).collect();
        let tile = self.tile(rows, computes_in);
        self.cast_operands(hidden, weight, computes_in);
        self.touch_cublas();
        let log_z = {
            let _log = vector();
            vector()
        };
        let mut log_probabilities = vector();
        let metrics: Vec<Tensor> = if metrics {
            let entropy = {
                let _ratio = vector();
                vector()
            };
            let flag = || self.launch(FUSED, &[], Layout::contiguous(&[rows]), DType::Bool);
            let mean_logits = vector();
            let is_top1 = {
                let _comparisons = (flag(), flag());
                flag()
            };
            vec![entropy, mean_logits, is_top1]
        } else {
            Vec::new()
        };
        drop((tile, statistics));
        if let Some(mut node) = node {
            let second = metrics.first().unwrap_or(&log_z);
            for saved in [hidden, weight, targets, &log_z, second] {
                node.save_output(self, saved);
            }
            node.finish(self, &mut [&mut log_probabilities], move |cx, incoming| {
                let (hidden, weight) = (incoming.saved(0), incoming.saved(1));
                let fp32 = |of: &Tensor| cx.launch(Kernel::Zeros, &[], Layout::contiguous(of.dims()), DType::F32);
                let grad_hidden = incoming.needs(0).then(|| fp32(hidden));
                let grad_weight = incoming.needs(1).then(|| fp32(weight));
                let _tile = cx.tile(rows, computes_in);
                cx.cast_operands(hidden, weight, computes_in);
                cx.touch_cublas();
                let of_hidden = grad_hidden.as_ref().map(|grad| cx.cast(grad, hidden.dtype()));
                let of_weight = grad_weight.as_ref().map(|grad| cx.cast(grad, weight.dtype()));
                smallvec![of_hidden, of_weight]
            });
        }
        (log_probabilities, metrics)
    }

    /// The logits of some rows and some of the vocabulary.
    fn tile(&self, rows: u64, dtype: DType) -> Tensor {
        self.launch(FUSED, &[], Layout::contiguous(&[rows.min(TOKEN_CHUNK), VOCABULARY_CHUNK]), dtype)
    }

    /// What a tile's product takes where its operands have another type.
    fn cast_operands(&self, hidden: &Tensor, weight: &Tensor, dtype: DType) {
        let cast = |of: &Tensor, rows: u64| {
            let layout = Layout::contiguous(&[of.dim(0).min(rows), of.dim(1)]);
            (of.dtype() != dtype).then(|| self.launch(FUSED, &[], layout, dtype))
        };
        let _operands = (cast(hidden, TOKEN_CHUNK), cast(weight, VOCABULARY_CHUNK));
    }
}
