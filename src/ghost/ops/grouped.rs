//! Products of rows with the matrices of the groups they belong to (`GroupedBlas.cpp`, torch 2.11).

use smallvec::smallvec;

use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `torch.nn.functional.grouped_mm(x, weight, offs=offsets)`, `x` `[rows, in]` sorted by group, weight `[groups, in, out]`
    /// (a transposed view where it is stored the other way). Saves the input where the weight wants a gradient and the weight
    /// where the input does. Not on autocast's list: the input is cast to the weight's type.
    pub fn grouped_mm(&self, x: &Tensor, weight: &Tensor, offsets: &Tensor) -> Tensor {
        let x = &self.cast(x, weight.dtype());
        let saved = [weight.requires_grad().then_some(x), x.requires_grad().then_some(weight), Some(offsets)];
        let node = self.record(&[x, weight], &saved);
        let plain = Kernel::MatMul { transpose_a: false, transpose_b: false };
        let layout = Layout::contiguous(&[x.dim(0), weight.dim(2)]);
        let mut out = self.launch(plain, &[x, weight, offsets], layout, x.dtype());
        if let Some(node) = node {
            let (rows, of_weight) = (*x.layout(), *weight.layout());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let weight = incoming.needs(1).then(|| {
                    // stored as the weight is
                    let stored = if of_weight.is_contiguous() { of_weight } else { of_weight.transpose(1, 2) };
                    let kernel = Kernel::MatMul { transpose_a: true, transpose_b: false };
                    let product = cx.launch(kernel, &[incoming.saved(0), grad], stored, grad.dtype());
                    if of_weight.is_contiguous() {
                        product
                    } else {
                        cx.alias(Kernel::Transpose(1, 2), &product, product.layout().transpose(1, 2))
                    }
                });
                let x = incoming.needs(0).then(|| {
                    let kernel = Kernel::MatMul { transpose_a: false, transpose_b: true };
                    cx.launch(kernel, &[grad, incoming.saved(1)], Layout::contiguous(rows.dims()), grad.dtype())
                });
                smallvec![x, weight]
            });
        }
        out
    }
}
