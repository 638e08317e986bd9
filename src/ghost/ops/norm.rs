//! Layer normalisation.

use std::borrow::Borrow;

use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::ghost::context::{Context, MULTIPROCESSORS};
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tape::Grads;
use crate::ghost::tensor::Tensor;

/// Above so many rows, blocks of rows are summed apart (`layer_norm_kernel.cu`, torch 2.11).
const MANY_ROWS: u64 = 64 * 1024;
/// Columns and rows of a block, and how many blocks a grid has at most.
const BLOCK_COLUMNS: u64 = 32;
const BLOCK_ROWS: u64 = 32;
const MOST_BLOCKS: u64 = 64 * 1024 / 2;

impl Context {
    /// `torch.linalg.vector_norm(x, 2, dim=-1, keepdim=True)`: saves its input and its output (`norm_backward`,
    /// `FunctionsManual.cpp`).
    pub fn row_norms(&self, x: &Tensor) -> Tensor {
        let node = self.record(&[x], &[Some(x)]);
        let rows = Layout::contiguous(x.layout().narrow(-1, 1).dims());
        let mut out = self.launch(Kernel::Unary("vector_norm"), &[x], rows, x.dtype());
        if let Some(mut node) = node {
            node.save_output(self, &out);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (x, norm) = (incoming.saved(0), incoming.saved(1));
                let scaled = cx.binary(Kernel::Unary("div"), x, norm);
                let _is_zero = cx.launch(Kernel::Unary("eq"), &[norm], *norm.layout(), DType::Bool);
                smallvec![Some(cx.binary(Kernel::Mul, incoming.grad, &scaled))]
            });
        }
        out
    }

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
        let inputs: SmallVec<[&Tensor; 3]> = [Some(x), weight, bias].into_iter().flatten().collect();
        let node = self.record(&inputs, &[Some(x), weight, bias]);
        let rows = Layout::contiguous(x.layout().narrow(-1, 1).dims());
        // the kernel reads whole rows; a copy it needs for that is not what is saved
        let copy = self.expect_contiguous(x);
        let mut out = self.launch(Kernel::LayerNorm("out"), &inputs, Layout::contiguous(x.dims()), x.dtype());
        let mean = self.launch(Kernel::LayerNorm("mean"), &[x], rows, DType::F32);
        let rstd = self.launch(Kernel::LayerNorm("rstd"), &[x], rows, DType::F32);
        drop(copy);
        if let Some(mut node) = node {
            node.save_output(self, &mean);
            node.save_output(self, &rstd);
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, x) = (incoming.grad, incoming.saved(0));
                let kernel = Kernel::LayerNormBackward;
                let _copies = [grad, x].map(|t| cx.expect_contiguous(t));
                let (mean, rstd) = (incoming.saved(3), incoming.saved(4));
                let mut inputs: SmallVec<[&Tensor; 5]> = smallvec![grad, x, mean, rstd];
                let parameters = ["weight", "bias"].into_iter().zip(&incoming.saved[1..3]);
                let parameters: SmallVec<[(&'static str, &Tensor); 2]> =
                    parameters.filter_map(|(name, saved)| Some((name, saved.as_ref()?))).collect();
                inputs.extend(parameters.first().map(|(_, weight)| *weight));
                let of_x = || cx.launch(kernel("x"), &inputs, Layout::contiguous(x.dims()), x.dtype());
                let mut grads: Grads = smallvec![incoming.needs(0).then(of_x)];
                for (input, (name, parameter)) in parameters.iter().enumerate() {
                    let gradient = || cx.launch(kernel(name), &inputs[..4], *parameter.layout(), parameter.dtype());
                    grads.push(incoming.needs(input + 1).then(gradient));
                }
                cx.sum_row_blocks(&mut grads[1..], x.layout().numel() / x.dim(-1).max(1));
                grads
            });
        }
        out
    }

    /// A contiguous copy outside the tape, where the tensor is not contiguous itself.
    fn expect_contiguous(&self, x: &Tensor) -> Option<Tensor> {
        let copy = || self.launch(Kernel::Copy, &[x], Layout::contiguous(x.dims()), x.dtype());
        (!x.layout().is_contiguous()).then(copy)
    }

    /// Over many rows, parameters' gradients are summed in blocks of rows first (`LaunchGammaBetaBackwardCUDAKernel`); the
    /// sums over blocks take the gradients' places.
    fn sum_row_blocks(&self, grads: &mut [Option<Tensor>], rows: u64) {
        let Some(width) = grads.iter().flatten().map(|grad| grad.dim(0)).next() else { return };
        if rows <= MANY_ROWS || width / BLOCK_COLUMNS >= MULTIPROCESSORS / 2 {
            return;
        }
        let blocks = (MOST_BLOCKS / width.div_ceil(BLOCK_COLUMNS)).min(rows.div_ceil(BLOCK_ROWS));
        let partial = Layout::contiguous(&[blocks, width]);
        let partials: SmallVec<[Option<Tensor>; 2]> = grads
            .iter()
            .map(|grad| {
                let kernel = Kernel::LayerNormBackward("blocks");
                grad.as_ref().map(|grad| self.launch(kernel, &[grad], partial, grad.dtype()))
            })
            .collect();
        for (grad, partial) in grads.iter_mut().zip(&partials) {
            if let (Some(grad), Some(partial)) = (grad, partial) {
                *grad = self.sum_to(partial, grad.layout());
            }
        }
    }
}
