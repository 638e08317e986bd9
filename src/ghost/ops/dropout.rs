//! Dropout.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `dropout(a, p, training)`: saves a byte an element; the same tensor where nothing is dropped.
    pub fn dropout(&self, a: impl Borrow<Tensor>, p: f64) -> Tensor {
        let a = a.borrow();
        if p <= 0.0 || !self.training() {
            return a.clone();
        }
        let node = self.record(&[a], &[]);
        let layout = Layout::elementwise(&[a.layout()]);
        let mask = self.launch(Kernel::Dropout, &[a], layout, DType::Bool);
        let mut out = self.launch(Kernel::Dropout, &[a], layout, a.dtype());
        if let Some(mut node) = node {
            node.save_output(self, &mask);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let layout = Layout::elementwise(&[incoming.grad.layout()]);
                smallvec![Some(cx.launch(
                    Kernel::Dropout,
                    &[incoming.grad, incoming.saved(0)],
                    layout,
                    incoming.grad.dtype()
                ))]
            });
        }
        out
    }
}
