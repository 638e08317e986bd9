//! `torch.optim.AdamW` (`torch/optim/adam.py`, torch 2.11).

use super::{Algorithm, state, state_like, temporaries_like, temporary_like, updated, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::step::foreach;

/// Which of PyTorch's three implementations runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Implementation {
    /// All parameters of a type at once: the default on a GPU.
    Foreach,
    /// One kernel, no temporaries.
    Fused,
    /// One parameter after another.
    Loop,
}

/// First and second moments of one parameter, in its type.
struct Moments {
    /// The step count; only the fused implementation keeps it on the GPU.
    step: Option<Tensor>,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
}

pub(super) struct AdamW {
    implementation: Implementation,
    moments: Vec<Option<Moments>>,
}

impl AdamW {
    pub(super) fn new(implementation: Implementation, parameters: usize) -> Self {
        Self { implementation, moments: (0..parameters).map(|_| None).collect() }
    }

    /// `_init_group`.
    fn init(&mut self, cx: &Context, parameters: &[Tensor]) {
        let on_gpu = self.implementation == Implementation::Fused;
        for (at, parameter, _) in with_grad(parameters) {
            self.moments[at].get_or_insert_with(|| Moments {
                step: on_gpu.then(|| state(cx, &[], DType::F32)),
                exp_avg: state_like(cx, parameter, parameter.dtype()),
                exp_avg_sq: state_like(cx, parameter, parameter.dtype()),
            });
        }
    }
}

impl Algorithm for AdamW {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        self.init(cx, parameters);
        let updated = updated(parameters);
        match self.implementation {
            Implementation::Foreach => denominators(cx, &updated),
            Implementation::Fused => {}
            Implementation::Loop => single_tensor(cx, &updated),
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.moments.iter().flatten().flat_map(|m| m.step.iter().chain([&m.exp_avg, &m.exp_avg_sq])).collect()
    }
}

/// `_multi_tensor_adam`: `_foreach_sqrt` makes the denominators of all parameters of a type at once, and those of one type
/// live until the next type's are made.
pub(super) fn denominators(cx: &Context, parameters: &[Tensor]) {
    let mut exp_avg_sq_sqrt: Vec<Tensor> = Vec::new();
    for group in foreach::by_dtype(parameters) {
        let next = temporaries_like(cx, &group);
        foreach::drop_list(std::mem::replace(&mut exp_avg_sq_sqrt, next));
    }
    foreach::drop_list(exp_avg_sq_sqrt);
}

/// `_single_tensor_adam`: a denominator lives until the next one is made.
fn single_tensor(cx: &Context, parameters: &[Tensor]) {
    let mut denom: Option<Tensor> = None;
    for parameter in parameters {
        let sqrt = temporary_like(cx, parameter);
        let next = temporary_like(cx, parameter);
        drop(sqrt);
        drop(denom.replace(next));
    }
}
