//! `torch.optim.Adagrad` and `torch.optim.RMSprop` (`torch/optim/adagrad.py`, `rmsprop.py`, torch 2.11), in the foreach
//! implementations they take by default on a GPU: one sum of squares for each parameter.

use super::adamw::denominators;
use super::{Algorithm, state_like, temporaries_like, updated, with_grad};
use crate::ghost::{Context, Tensor};
use crate::step::foreach;

/// Sums of squared gradients that are there from the start.
pub(super) struct Adagrad {
    sums: Vec<Tensor>,
}

impl Adagrad {
    /// `__init__` makes the sums, of parameters without a gradient too.
    pub(super) fn new(cx: &Context, parameters: &[Tensor]) -> Self {
        Self { sums: parameters.iter().map(|parameter| state_like(cx, parameter, parameter.dtype())).collect() }
    }
}

impl Algorithm for Adagrad {
    /// `_multi_tensor_adagrad`: roots and numerators of all parameters of a type, which live until the next type's.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        let parameters = updated(parameters);
        let (mut std, mut numerator) = (Vec::new(), Vec::new());
        for group in foreach::by_dtype(&parameters) {
            for list in [&mut std, &mut numerator] {
                let next = temporaries_like(cx, &group);
                foreach::drop_list(std::mem::replace(list, next));
            }
        }
        foreach::drop_list(std);
        foreach::drop_list(numerator);
    }

    fn states(&self) -> Vec<&Tensor> {
        self.sums.iter().collect()
    }
}

/// Running means of squared gradients.
pub(super) struct RmsProp {
    square_avg: Vec<Option<Tensor>>,
}

impl RmsProp {
    pub(super) fn new(parameters: usize) -> Self {
        Self { square_avg: vec![None; parameters] }
    }
}

impl Algorithm for RmsProp {
    /// `_multi_tensor_rmsprop` without momentum, not centred.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        for (at, parameter, _) in with_grad(parameters) {
            self.square_avg[at].get_or_insert_with(|| state_like(cx, parameter, parameter.dtype()));
        }
        denominators(cx, &updated(parameters), None);
    }

    fn states(&self) -> Vec<&Tensor> {
        self.square_avg.iter().flatten().collect()
    }
}
