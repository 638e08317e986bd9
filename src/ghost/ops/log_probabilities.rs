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

/// What TRL's trainers log of a token beside its log-probability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// The entropy of the distribution it is from.
    Entropy,
    /// The mean of its logits.
    MeanLogits,
    /// Whether it is the most likely one.
    IsTop1,
}

impl Context {
    /// `selective_log_softmax` (`trl/kernels/logprob_entropy.py`): log-probabilities of one token for each row of `logits`,
    /// `[..., vocabulary]`, by a kernel that saves the logits; their gradient is a tensor of its own.
    pub fn selective_log_softmax(&self, logits: &Tensor, targets: &Tensor) -> Tensor {
        let node = self.record(&[logits], &[]);
        let dims = &logits.dims()[..logits.dims().len().saturating_sub(1)];
        let vector = || self.launch(FUSED, &[], Layout::contiguous(dims), DType::F32);
        let mut log_probabilities = vector();
        let _entropy = vector();
        let (log_z, expected_logit) = (vector(), vector());
        if let Some(mut node) = node {
            for saved in [logits, targets, &log_z, &expected_logit] {
                node.save_output(self, saved);
            }
            node.finish(self, &mut [&mut log_probabilities], |cx, incoming| {
                let logits = incoming.saved(0);
                let of_logits = cx.launch(FUSED, &[], Layout::contiguous(logits.dims()), logits.dtype());
                let _grad = cx.contiguous(incoming.grad);
                smallvec![Some(of_logits)]
            });
        }
        log_probabilities
    }

    /// Log-probabilities of one token for each row of `hidden`, `[rows, width]`, under the head's `weight`,
    /// `[vocabulary, width]`, and for each row what of `metrics` is asked for.
    pub fn chunked_log_probabilities(
        &self,
        hidden: &Tensor,
        weight: &Tensor,
        targets: &Tensor,
        metrics: &[Metric],
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
        let metrics: Vec<Tensor> = metrics
            .iter()
            .map(|metric| match metric {
                Metric::Entropy => {
                    let _ratio = vector();
                    vector()
                }
                Metric::MeanLogits => vector(),
                Metric::IsTop1 => {
                    let flag = || self.launch(FUSED, &[], Layout::contiguous(&[rows]), DType::Bool);
                    let _comparisons = (flag(), flag());
                    flag()
                }
            })
            .collect();
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
