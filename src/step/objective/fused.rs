//! The fused head of TRL's trainers (`add_fused_lm_head`, `trl/trainer/utils.py`, TRL 1.16): log-probabilities of the tokens
//! that count, without the logits of all positions.

use super::made;
use crate::arch::{Batch, Forward, Network};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Metric, Tensor};
use crate::job::Train;
use crate::nn::Weight;

/// Which tokens of a sequence are scored.
#[derive(Clone, Copy)]
pub(super) struct FusedHead {
    /// As many at its end.
    completion: u64,
}

impl FusedHead {
    pub(super) fn new(job: &Train) -> Self {
        // the first token is predicted by nothing
        let most = job.max_seq_length.saturating_sub(1);
        Self { completion: job.max_completion_length.unwrap_or(most).min(most) }
    }

    /// The labels of a batch: its ids where a mask has ones, made in the caller's scope.
    pub(super) fn labels(cx: &Context, ids: &Tensor) -> Tensor {
        let _is_prompt = made(cx, ids.dims(), DType::Bool);
        made(cx, ids.dims(), DType::I64)
    }

    /// `_fused_forward`: hidden states of the positions that count, and what the head makes of them; zeros elsewhere.
    pub(super) fn log_probabilities(
        self,
        cx: &Context,
        network: &dyn Network,
        batch: &Batch,
        run: Forward<'_>,
        metrics: &[Metric],
    ) -> (Tensor, Vec<Tensor>) {
        let (hidden, head) = network.backbone(cx, batch, run).expect("checked when the objective was made");
        let Weight::Dense(weight) = &head.weight else { unreachable!("heads are not quantised") };
        cx.within(Category::Logits, || {
            let [sequences, length, width] = [hidden.dim(0), hidden.dim(1), hidden.dim(2)];
            let positions = [sequences, length.saturating_sub(1)];
            let count = sequences.saturating_mul(self.completion);
            let hidden = cx.narrow(&hidden, 1, 0, positions[1]);
            let mask = made(cx, &positions, DType::Bool);
            let (log_probabilities, metrics) = {
                let at = made(cx, &[count, 2], DType::I64);
                let [rows, columns] = [0, 1].map(|_| cx.select(&at, 1));
                let kept = cx.index_pairs(&hidden, &rows, &columns);
                let targets = made(cx, &[count], DType::I64);
                let kept = cx.reshape(kept, &[count, width]);
                cx.chunked_log_probabilities(&kept, weight, &targets, metrics)
            };
            let placed = |x: &Tensor| {
                let zeros = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&positions), x.dtype());
                let placed = cx.masked_scatter(&zeros, &mask, x);
                drop(zeros);
                placed
            };
            let log_probabilities = placed(&log_probabilities);
            let metrics = metrics.iter().map(placed).collect();
            (log_probabilities, metrics)
        })
    }

    /// As [`Self::log_probabilities`], added up: a number for each sequence.
    pub(super) fn sums(self, cx: &Context, network: &dyn Network, batch: &Batch, run: Forward<'_>) -> Tensor {
        let (log_probabilities, _) = self.log_probabilities(cx, network, batch, run, &[]);
        cx.within(Category::Logits, || cx.sum_dim(&log_probabilities, -1, false))
    }
}
