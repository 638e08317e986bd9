//! Convolutions.

use smallvec::{SmallVec, smallvec};

use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// `F.conv1d(x, weight, bias, padding=padding, groups=channels)`, one filter a channel: `x` is `[batch, channels,
    /// length]`, `weight` `[channels, 1, kernel]`. Saves input and weight as they are given; the kernel
    /// (`DepthwiseConv2d.cu`) reads contiguous copies of what is not.
    pub fn depthwise_conv1d(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, padding: u64) -> Tensor {
        let (cast_x, cast_weight, cast_bias);
        let (x, weight, bias) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_bias = bias.map(|bias| self.autocast_to(bias, dtype));
                // a view of the parameter: autocast's cache takes none
                cast_weight = self.cast(weight, dtype);
                cast_x = self.autocast_to(x, dtype);
                (&cast_x, &cast_weight, cast_bias.as_ref())
            }
            None => (x, weight, bias),
        };
        let inputs: SmallVec<[&Tensor; 3]> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        // one formula gives all gradients (`convolution_backward`, derivatives.yaml), so both are saved whichever is wanted
        let node = self.record(&inputs, &[Some(x), Some(weight)]);
        let length = (x.dim(-1) + 2 * padding + 1).saturating_sub(weight.dim(-1));
        let copy = self.no_grad(|| self.contiguous(x));
        let layout = Layout::contiguous(&[x.dim(0), x.dim(1), length]);
        let mut out = self.launch(Kernel::Conv("out"), &inputs, layout, x.dtype());
        drop(copy);
        if let Some(node) = node {
            let (x_layout, weight_layout) = (*x.layout(), *weight.layout());
            let biased = bias.is_some();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let dtype = grad.dtype();
                let inputs = [Some(grad), incoming.saved[0].as_ref(), incoming.saved[1].as_ref()];
                let inputs: SmallVec<[&Tensor; 3]> = inputs.into_iter().flatten().collect();
                let copy = incoming.saved[0].as_ref().map(|x| cx.contiguous(x));
                let whole = cx.contiguous(grad);
                let of = |name, layout: &Layout| {
                    cx.launch(Kernel::ConvBackward(name), &inputs, Layout::contiguous(layout.dims()), dtype)
                };
                let of_weight = incoming.needs(1).then(|| of("weight", &weight_layout));
                let of_x = incoming.needs(0).then(|| of("x", &x_layout));
                drop(whole);
                let of_bias = bias_gradient(cx, biased && incoming.needs(2), grad);
                drop(copy);
                smallvec![of_x, of_weight, of_bias]
            });
        }
        out
    }
}

impl Context {
    /// `F.conv2d(x, weight, bias, stride, padding)`: `x` is `[batch, channels, height, width]`, `weight` `[out, channels,
    /// kernel, kernel]`. Saves input and weight. What cuDNN takes for a workspace is not known here and not counted.
    pub fn conv2d(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, stride: u64, padding: u64) -> Tensor {
        let (cast_x, cast_weight, cast_bias);
        let (x, weight, bias) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_bias = bias.map(|bias| self.autocast_to(bias, dtype));
                cast_weight = self.autocast_to(weight, dtype);
                cast_x = self.autocast_to(x, dtype);
                (&cast_x, &cast_weight, cast_bias.as_ref())
            }
            None => (x, weight, bias),
        };
        let inputs: SmallVec<[&Tensor; 3]> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
        let node = self.record(&inputs, &[Some(x), Some(weight)]);
        let side = |at: isize| (x.dim(at) + 2 * padding).saturating_sub(weight.dim(at)) / stride.max(1) + 1;
        let layout = Layout::contiguous(&[x.dim(0), weight.dim(0), side(-2), side(-1)]);
        let mut out = self.launch(Kernel::Conv("out"), &inputs, layout, x.dtype());
        if let Some(node) = node {
            let (x_layout, weight_layout) = (*x.layout(), *weight.layout());
            let biased = bias.is_some();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let inputs = [Some(grad), incoming.saved[0].as_ref(), incoming.saved[1].as_ref()];
                let inputs: SmallVec<[&Tensor; 3]> = inputs.into_iter().flatten().collect();
                let whole = cx.contiguous(grad);
                let of = |name, dims: &[u64]| {
                    cx.launch(Kernel::ConvBackward(name), &inputs, Layout::contiguous(dims), grad.dtype())
                };
                let of_x = incoming.needs(0).then(|| of("x", x_layout.dims()));
                let of_weight = incoming.needs(1).then(|| of("weight", weight_layout.dims()));
                let of_bias = (biased && incoming.needs(2)).then(|| of("bias", &[weight_layout.dim(0)]));
                drop(whole);
                smallvec![of_x, of_weight, of_bias]
            });
        }
        out
    }

    /// `F.conv1d(x, weight, bias, stride=stride, padding=1)` of `x` `[batch, channels, length]` and `weight` `[out, channels,
    /// 3]`, padded so that a stride of one keeps the length: saves input and weight. The columns of one sequence that PyTorch's
    /// own kernel multiplies (`im2col`, `ConvolutionMM2d.cu`) are counted; cuDNN's workspace is not known.
    pub fn conv1d_over_time(&self, x: &Tensor, weight: &Tensor, bias: &Tensor, stride: u64) -> Tensor {
        let (cast_x, cast_weight, cast_bias);
        let (x, weight, bias) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_bias = self.autocast_to(bias, dtype);
                cast_weight = self.autocast_to(weight, dtype);
                cast_x = self.autocast_to(x, dtype);
                (&cast_x, &cast_weight, &cast_bias)
            }
            None => (x, weight, bias),
        };
        let node = self.record(&[x, weight, bias], &[Some(x), Some(weight)]);
        let length = x.dim(-1).div_ceil(stride.max(1));
        let layout = Layout::contiguous(&[x.dim(0), weight.dim(0), length]);
        let mut out = self.launch(Kernel::Conv("out"), &[x, weight, bias], layout, x.dtype());
        let columns = x.dim(1).saturating_mul(weight.dim(2)).saturating_mul(length).saturating_mul(x.dtype().bytes());
        {
            let _columns = self.scratch("columns", columns);
            self.touch_cublas();
        }
        if let Some(node) = node {
            let (x_layout, weight_layout) = (*x.layout(), *weight.layout());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = cx.contiguous(incoming.grad);
                let inputs = [Some(&grad), incoming.saved[0].as_ref(), incoming.saved[1].as_ref()];
                let inputs: SmallVec<[&Tensor; 3]> = inputs.into_iter().flatten().collect();
                let of = |name, layout: &Layout| {
                    let layout = Layout::contiguous(layout.dims());
                    cx.launch(Kernel::ConvBackward(name), &inputs, layout, incoming.grad.dtype())
                };
                let of_x = incoming.needs(0).then(|| of("x", &x_layout));
                let of_x = of_x.map(|of_x| (of_x, cx.scratch("columns", columns)));
                let of_bias = bias_gradient(cx, incoming.needs(2), &grad);
                let of_weight = incoming.needs(1).then(|| of("weight", &weight_layout));
                if of_x.is_none() {
                    drop(cx.scratch("columns", columns));
                }
                smallvec![of_x.map(|(of_x, _columns)| of_x), of_weight, of_bias]
            });
        }
        out
    }
}

/// The gradient summed over sequences and positions.
fn bias_gradient(cx: &Context, wanted: bool, grad: &Tensor) -> Option<Tensor> {
    wanted.then(|| cx.sum_to_dims(grad, &Layout::contiguous(&[1, grad.dim(1), 1]), &[grad.dim(1)]))
}
