//! `torch.optim.Muon` (`torch/optim/_muon.py`, torch 2.11): momentum made orthogonal by Newton-Schulz iterations in bf16,
//! one matrix after another.

use super::{Algorithm, scalar, state_like, temporary, temporary_like, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Layout, Tensor};

/// `DEFAULT_NS_STEPS`
const NS_STEPS: usize = 5;

/// Over matrices alone; embeddings, the head and vectors are another optimizer's.
pub(super) struct Muon {
    momentum: Vec<Option<Tensor>>,
}

impl Muon {
    pub(super) fn new(parameters: usize) -> Self {
        Self { momentum: vec![None; parameters] }
    }
}

impl Algorithm for Muon {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        for (at, _, grad) in with_grad(parameters) {
            self.momentum[at].get_or_insert_with(|| state_like(cx, &grad, grad.dtype()));
        }
        // the loop's name for a parameter's update lets go of it when the next one is there
        let mut update: Option<Tensor> = None;
        for (_, _, grad) in with_grad(parameters) {
            let nesterov = temporary_like(cx, &grad);
            drop(update.take());
            update = Some(zeropower_via_newtonschulz(cx, &nesterov));
        }
        drop(update);
    }

    fn states(&self) -> Vec<&Tensor> {
        self.momentum.iter().flatten().collect()
    }
}

/// `_zeropower_via_newtonschulz`: a bf16 copy unless it is bf16, divided in place by its norm; then five times a product with
/// itself, that one's square, and a new iterate, each with the last one's memory still there.
fn zeropower_via_newtonschulz(cx: &Context, grad: &Tensor) -> Tensor {
    let (rows, columns) = (grad.dim(0).min(grad.dim(1)), grad.dim(0).max(grad.dim(1)));
    let mut iterate = match grad.dtype() {
        DType::BF16 => grad.clone(),
        _ => temporary(cx, *grad.layout(), DType::BF16),
    };
    let norm = scalar(cx, DType::BF16);
    cx.reduction_scratch(&iterate, &norm);
    let clamped = scalar(cx, DType::BF16);
    drop(norm);
    drop(clamped);
    let [mut gram_matrix, mut gram_update]: [Option<Tensor>; 2] = [None, None];
    for _ in 0..NS_STEPS {
        gram_matrix = Some(temporary(cx, Layout::contiguous(&[rows, rows]), DType::BF16));
        cx.touch_cublas();
        gram_update = Some(temporary(cx, Layout::contiguous(&[rows, rows]), DType::BF16));
        iterate = temporary(cx, Layout::contiguous(&[rows, columns]), DType::BF16);
    }
    drop(gram_matrix);
    drop(gram_update);
    iterate
}
