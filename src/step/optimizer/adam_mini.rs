//! Adam-mini (`adam_mini/adam_mini.py`, adam-mini 1.1.1): a first moment for each weight, and one second moment for each row,
//! each attention head of queries and keys, or each vector.

use super::{Algorithm, rebind, state, state_like, temporary_like, with_grad};
use crate::ghost::{Context, Tensor};

/// Both moments of a parameter.
struct Moments {
    m: Tensor,
    vmean: Tensor,
}

pub(super) struct AdamMini {
    /// Elements of a head's share of a query or key projection.
    head_numel: u64,
    /// How many of the parameters, the first, are such projections.
    heads: usize,
    moments: Vec<Option<Moments>>,
}

impl AdamMini {
    pub(super) fn new(head_numel: u64, heads: usize, parameters: usize) -> Self {
        Self { head_numel: head_numel.max(1), heads, moments: (0..parameters).map(|_| None).collect() }
    }

    fn init(&self, cx: &Context, at: usize, parameter: &Tensor) -> Moments {
        let dtype = parameter.dtype();
        let m = state_like(cx, parameter, dtype);
        let vmean = if at < self.heads {
            state(cx, &[parameter.layout().numel() / self.head_numel, 1], dtype)
        } else if parameter.dims().len() == 2 {
            state(cx, &[parameter.dim(0), 1], dtype)
        } else {
            state(cx, &[], dtype)
        };
        Moments { m, vmean }
    }
}

impl Algorithm for AdamMini {
    /// One parameter after another; the last one's update has its name until the next one's takes it.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        let (mut mean, mut h, mut stepsize, mut update) = (None, None, None, None);
        for (at, parameter, _) in with_grad(parameters) {
            if self.moments[at].is_none() {
                self.moments[at] = Some(self.init(cx, at, parameter));
            }
            let Some(Moments { vmean, .. }) = &self.moments[at] else { continue };
            let small = || temporary_like(cx, vmean);
            rebind(&mut mean, {
                let _squares = temporary_like(cx, parameter);
                small()
            });
            for name in [&mut h, &mut stepsize] {
                let _root_or_inverse = small();
                rebind(name, small());
            }
            rebind(&mut update, temporary_like(cx, parameter));
            let _negated = temporary_like(cx, parameter);
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.moments.iter().flatten().flat_map(|moments| [&moments.m, &moments.vmean]).collect()
    }
}
