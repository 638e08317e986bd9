//! `XIELUActivation` (`activations.py`), as it runs without the `xielu` package.

use crate::ghost::{Context, Tensor};
use crate::nn::{Builder, FreeParameters, Leaf, Module, Part};

/// An activation with two learned slopes.
pub(super) struct Xielu {
    /// `alpha_p` and `alpha_n`
    alphas: FreeParameters,
    /// `beta` and `eps`
    buffers: [Tensor; 2],
}

impl Xielu {
    pub(super) fn new(builder: &Builder<'_>) -> Self {
        let buffer = |name| builder.buffer(name, &[], builder.dtype);
        Self { alphas: builder.free("alpha_p", Part::Mlp, &[&[1], &[1]]), buffers: [buffer("beta"), buffer("eps")] }
    }

    /// `where(x > 0, alpha_p * x * x + beta * x, (expm1(min(x, eps)) - x) * alpha_n + beta * x)`
    pub(super) fn forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let [alpha_p, alpha_n] = [0, 1].map(|i| &self.alphas.tensors[i]);
        let [_, eps] = &self.buffers;
        let alpha_p = cx.softplus(alpha_p);
        let alpha_n = cx.add_scalar(cx.softplus(alpha_n), 0.5);
        let above = cx.compare(x);
        let beta = || cx.mul_scalar(x, 0.5);
        let positive = {
            let square = cx.mul(cx.mul(&alpha_p, x), x);
            cx.add(&square, beta())
        };
        let negative = {
            let curved = cx.expm1(cx.minimum(x, eps));
            let scaled = cx.mul(cx.sub(curved, x), &alpha_n);
            cx.add(&scaled, beta())
        };
        cx.choose(&above, &positive, &negative)
    }
}

impl Module for Xielu {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.alphas.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.buffers.iter_mut().for_each(visit);
    }
}
