//! Optimizers: the states they keep, and what a step needs for a moment.

use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};
use crate::job::Optim;

/// An optimizer over the trainable parameters.
pub(super) struct Optimizer {
    kind: Optim,
    parameters: Vec<Tensor>,
    states: Vec<Tensor>,
}

impl Optimizer {
    pub(super) fn new(kind: Optim, parameters: Vec<Tensor>) -> Self {
        Self { kind, parameters, states: Vec::new() }
    }

    /// One step: states appear the first time.
    pub(super) fn step(&mut self, cx: &Context) {
        cx.set_phase(Phase::Optimizer);
        match self.kind {
            Optim::AdamwTorch => {
                self.adam_states(cx, false);
                self.foreach_temporaries(cx);
            }
            Optim::AdamwTorchFused => self.adam_states(cx, true),
            Optim::AdamwTorchLoop => {
                self.adam_states(cx, false);
                self.loop_temporaries(cx);
            }
            Optim::SgdMomentum => self.momentum(cx),
            _ => {}
        }
    }

    fn first(&self) -> bool {
        self.states.is_empty()
    }

    fn state_like(cx: &Context, parameter: &Tensor) -> Tensor {
        cx.within(Category::Optimizer, || cx.launch(Kernel::Zeros, &[], *parameter.layout(), parameter.dtype()))
    }

    fn temporary_like(cx: &Context, parameter: &Tensor) -> Tensor {
        cx.within(Category::Temporary, || {
            cx.launch(Kernel::Scratch("optimizer"), &[], *parameter.layout(), parameter.dtype())
        })
    }

    /// First and second moments in the parameter's type; the fused kernel keeps its step count on the GPU.
    fn adam_states(&mut self, cx: &Context, step_on_gpu: bool) {
        if !self.first() {
            return;
        }
        for parameter in &self.parameters {
            if step_on_gpu {
                let step = cx
                    .within(Category::Optimizer, || cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[]), DType::F32));
                self.states.push(step);
            }
            self.states.push(Self::state_like(cx, parameter));
            self.states.push(Self::state_like(cx, parameter));
        }
    }

    /// `_foreach_sqrt` makes a tensor for every parameter of a type at once.
    fn foreach_temporaries(&self, cx: &Context) {
        let mut previous: Vec<Tensor> = Vec::new();
        for dtype in super::clip::dtypes(&self.parameters) {
            let group = self.parameters.iter().filter(|p| p.dtype() == dtype);
            let roots: Vec<Tensor> = group.map(|p| Self::temporary_like(cx, p)).collect();
            drop(std::mem::replace(&mut previous, roots));
        }
    }

    /// One parameter after another; the last denominator lives until the next is made.
    fn loop_temporaries(&self, cx: &Context) {
        let mut denominator: Option<Tensor> = None;
        for parameter in &self.parameters {
            let root = Self::temporary_like(cx, parameter);
            let next = Self::temporary_like(cx, parameter);
            drop(root);
            drop(denominator.replace(next));
        }
    }

    /// Momentum buffers are copies of the first gradients.
    fn momentum(&mut self, cx: &Context) {
        if self.first() {
            self.states = self.parameters.iter().map(|p| Self::state_like(cx, p)).collect();
        }
    }
}
