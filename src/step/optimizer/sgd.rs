//! `torch.optim.SGD` (`torch/optim/sgd.py`, torch 2.11), the foreach implementation it takes by default.

use super::{Algorithm, state_like, with_grad};
use crate::ghost::{Context, Tensor};
use crate::step::foreach;

pub(super) struct Sgd {
    momentum: bool,
    buffers: Vec<Option<Tensor>>,
}

impl Sgd {
    pub(super) fn new(momentum: bool, parameters: usize) -> Self {
        Self { momentum, buffers: vec![None; parameters] }
    }
}

impl Algorithm for Sgd {
    /// Parameters are updated in place; the first momentum is a copy of the gradient.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        if !self.momentum {
            return;
        }
        let places: Vec<(usize, Tensor)> = with_grad(parameters).map(|(at, _, grad)| (at, grad)).collect();
        let grads: Vec<Tensor> = places.iter().map(|(_, grad)| grad.clone()).collect();
        for dtype in foreach::dtypes(&grads) {
            for (at, grad) in places.iter().filter(|(_, grad)| grad.dtype() == dtype) {
                self.buffers[*at].get_or_insert_with(|| state_like(cx, grad, dtype));
            }
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.buffers.iter().flatten().collect()
    }
}
