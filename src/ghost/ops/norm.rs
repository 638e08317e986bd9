//! Layer normalisation.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `layer_norm(x, weight, bias)`: saves its input, mean and reciprocal deviation (fp32, one a row).
    pub fn layer_norm(&self, x: impl Borrow<Tensor>, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        let x = x.borrow();
        let (cast_x, cast_weight, cast_bias);
        let (x, weight, bias) = if self.autocast_dtype().is_some() {
            cast_x = self.cast(x, DType::F32);
            cast_weight = self.cast(weight, DType::F32);
            cast_bias = bias.map(|bias| self.cast(bias, DType::F32));
            (&cast_x, &cast_weight, cast_bias.as_ref())
        } else {
            (x, weight, bias)
        };
        let kept;
        let x = if x.layout().is_contiguous() {
            x
        } else {
            kept = self.copy(x);
            &kept
        };
        let mut inputs = vec![x, weight];
        inputs.extend(bias);
        let node = self.record(&inputs, &[Some(x), Some(weight), bias]);
        let rows = Layout::contiguous(x.layout().narrow(-1, 1).dims());
        let mut out = self.launch(Kernel::LayerNorm, &inputs, *x.layout(), x.dtype());
        let mean = self.launch(Kernel::LayerNorm, &[x], rows, DType::F32);
        let rstd = self.launch(Kernel::LayerNorm, &[x], rows, DType::F32);
        if let Some(mut node) = node {
            node.save_output(self, &mean);
            node.save_output(self, &rstd);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, x, weight) = (incoming.grad, incoming.saved(0), incoming.saved(1));
                let kernel = Kernel::LayerNormBackward;
                let of_x = incoming.needs(0).then(|| cx.launch(kernel("x"), &[grad, x], *x.layout(), x.dtype()));
                let of_weight = incoming.needs(1).then(|| cx.launch(kernel("weight"), &[grad, x], *weight.layout(), weight.dtype()));
                let has_bias = incoming.saved.get(2).is_some_and(Option::is_some);
                let of_bias = (has_bias && incoming.needs(2)).then(|| cx.launch(kernel("bias"), &[grad, x], *weight.layout(), weight.dtype()));
                if has_bias { smallvec![of_x, of_weight, of_bias] } else { smallvec![of_x, of_weight] }
            });
        }
        out
    }
}
