//! Optimizers: the states they keep, and what a step needs for a moment.

mod adafactor;
mod adamw;
mod bitsandbytes;
mod sgd;

use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};
use crate::job::Optim;

/// How an optimizer updates its parameters.
trait Algorithm {
    /// One step over the parameters that have a gradient. States appear the first time.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]);

    /// The states on the GPU.
    fn states(&self) -> Vec<&Tensor>;

    /// Bytes of states in managed memory, which the allocator does not see.
    fn paged_bytes(&self) -> u64 {
        0
    }
}

/// An optimizer over the trainable parameters.
pub(super) struct Optimizer {
    parameters: Vec<Tensor>,
    algorithm: Box<dyn Algorithm>,
}

impl Optimizer {
    pub(super) fn new(kind: Optim, parameters: Vec<Tensor>) -> Self {
        let count = parameters.len();
        let algorithm: Box<dyn Algorithm> = match kind {
            Optim::AdamwTorch => Box::new(adamw::AdamW::new(adamw::Implementation::Foreach, count)),
            Optim::AdamwTorchFused => Box::new(adamw::AdamW::new(adamw::Implementation::Fused, count)),
            Optim::AdamwTorchLoop => Box::new(adamw::AdamW::new(adamw::Implementation::Loop, count)),
            Optim::Sgd => Box::new(sgd::Sgd::new(false, count)),
            Optim::SgdMomentum => Box::new(sgd::Sgd::new(true, count)),
            Optim::Adafactor => Box::new(adafactor::Adafactor::new(count)),
            Optim::Adamw8bit => Box::new(bitsandbytes::Bitsandbytes::adamw(8, false, count)),
            Optim::PagedAdamw => Box::new(bitsandbytes::Bitsandbytes::adamw(32, true, count)),
            Optim::PagedAdamw8bit => Box::new(bitsandbytes::Bitsandbytes::adamw(8, true, count)),
            Optim::Lion => Box::new(bitsandbytes::Bitsandbytes::lion(32, count)),
            Optim::Lion8bit => Box::new(bitsandbytes::Bitsandbytes::lion(8, count)),
        };
        Self { parameters, algorithm }
    }

    /// One step: states appear the first time.
    pub(super) fn step(&mut self, cx: &Context) {
        cx.set_phase(Phase::Optimizer);
        cx.no_grad(|| cx.with_autocast_off(|| self.algorithm.step(cx, &self.parameters)));
    }

    /// Lets go of the gradients, or fills them with zeros where they are (`torch/optim/optimizer.py`, `zero_grad`).
    pub(super) fn zero_grad(&self, set_to_none: bool) {
        if set_to_none {
            self.parameters.iter().for_each(Tensor::clear_grad);
        }
    }

    /// Bytes of its states on the GPU, as asked for.
    pub(super) fn held_bytes(&self) -> u64 {
        self.algorithm.states().into_iter().map(Tensor::bytes).sum()
    }

    /// Bytes of its states in managed memory.
    pub(super) fn paged_bytes(&self) -> u64 {
        self.algorithm.paged_bytes()
    }
}

/// The parameters that have a gradient, with their place among all.
fn with_grad(parameters: &[Tensor]) -> impl Iterator<Item = (usize, &Tensor, Tensor)> {
    parameters.iter().enumerate().filter_map(|(at, p)| p.grad().map(|grad| (at, p, grad)))
}

/// A state of the given sizes.
fn state(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    state_in(cx, Layout::contiguous(dims), dtype)
}

/// A state that takes after a tensor (`torch.zeros_like`).
fn state_like(cx: &Context, tensor: &Tensor, dtype: DType) -> Tensor {
    state_in(cx, *tensor.layout(), dtype)
}

fn state_in(cx: &Context, layout: Layout, dtype: DType) -> Tensor {
    cx.within(Category::Optimizer, || cx.launch(Kernel::Zeros, &[], layout, dtype))
}

/// An intermediate result as large as a tensor.
fn temporary_like(cx: &Context, tensor: &Tensor) -> Tensor {
    temporary(cx, *tensor.layout(), tensor.dtype())
}

fn temporary(cx: &Context, layout: Layout, dtype: DType) -> Tensor {
    cx.within(Category::Temporary, || cx.launch(Kernel::Scratch("optimizer"), &[], layout, dtype))
}

#[cfg(test)]
mod tests;
