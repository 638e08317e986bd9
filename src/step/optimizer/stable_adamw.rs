//! optimi's StableAdamW (`optimi/stableadamw.py`, torch-optimi 0.3.3) as transformers sets it up: its Triton kernels update
//! in place and need nothing for a moment.

use super::{Algorithm, state, state_like, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

pub(super) struct StableAdamW {
    states: Vec<Vec<Tensor>>,
}

impl StableAdamW {
    pub(super) fn new(parameters: usize) -> Self {
        Self { states: vec![Vec::new(); parameters] }
    }
}

/// `_init_state`: two moments, epsilon, what Kahan summation carries over (half precision has it by default), and a mean.
fn init(cx: &Context, parameter: &Tensor) -> Vec<Tensor> {
    let like = || state_like(cx, parameter, parameter.dtype());
    let half = parameter.dtype() != DType::F32;
    let (exp_avg, exp_avg_sq) = (like(), like());
    let eps_sq = state(cx, &[1], parameter.dtype());
    let kahan_comp = if half { like() } else { state(cx, &[1], DType::U8) };
    vec![exp_avg, exp_avg_sq, eps_sq, kahan_comp, state(cx, &[1], DType::F32)]
}

impl Algorithm for StableAdamW {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        for (at, parameter, _) in with_grad(parameters) {
            if self.states[at].is_empty() {
                self.states[at] = init(cx, parameter);
            }
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.states.iter().flatten().collect()
    }
}
