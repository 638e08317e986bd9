//! Layer normalisation.

use std::borrow::Borrow;

use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tape::Grads;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `layer_norm(x, weight, bias)`: saves its input, mean and reciprocal deviation (fp32, one a row).
    pub fn layer_norm(&self, x: impl Borrow<Tensor>, weight: Option<&Tensor>, bias: Option<&Tensor>) -> Tensor {
        let x = x.borrow();
        let (cast_x, cast_weight, cast_bias);
        let (x, weight, bias) = if self.autocast_dtype().is_some() {
            cast_x = self.cast(x, DType::F32);
            cast_weight = weight.map(|weight| self.cast(weight, DType::F32));
            cast_bias = bias.map(|bias| self.cast(bias, DType::F32));
            (&cast_x, cast_weight.as_ref(), cast_bias.as_ref())
        } else {
            (x, weight, bias)
        };
        let kept = self.contiguous(x);
        let x = &kept;
        let inputs: SmallVec<[&Tensor; 3]> = [Some(x), weight, bias].into_iter().flatten().collect();
        let node = self.record(&inputs, &[Some(x), weight, bias]);
        let rows = Layout::contiguous(x.layout().narrow(-1, 1).dims());
        let mut out = self.launch(Kernel::LayerNorm, &inputs, *x.layout(), x.dtype());
        let mean = self.launch(Kernel::LayerNorm, &[x], rows, DType::F32);
        let rstd = self.launch(Kernel::LayerNorm, &[x], rows, DType::F32);
        if let Some(mut node) = node {
            node.save_output(self, &mean);
            node.save_output(self, &rstd);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, x) = (incoming.grad, incoming.saved(0));
                let kernel = Kernel::LayerNormBackward;
                let mut grads: Grads =
                    smallvec![incoming.needs(0).then(|| cx.launch(kernel("x"), &[grad, x], *x.layout(), x.dtype()))];
                for (input, parameter) in incoming.saved[1..3].iter().flatten().enumerate() {
                    let gradient =
                        || cx.launch(kernel("parameter"), &[grad, x], *parameter.layout(), parameter.dtype());
                    grads.push(incoming.needs(input + 1).then(gradient));
                }
                grads
            });
        }
        out
    }
}
