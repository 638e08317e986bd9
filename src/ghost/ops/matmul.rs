//! Matrix products.

use std::borrow::Borrow;

use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

const PLAIN: Kernel = Kernel::MatMul { transpose_a: false, transpose_b: false };
const B_TRANSPOSED: Kernel = Kernel::MatMul { transpose_a: false, transpose_b: true };
const A_TRANSPOSED: Kernel = Kernel::MatMul { transpose_a: true, transpose_b: false };

impl Context {
    fn product(&self, kernel: Kernel, a: &Tensor, b: &Tensor, dims: &[u64]) -> Tensor {
        self.sum_of_products(kernel, a, b, None, dims)
    }

    fn sum_of_products(&self, kernel: Kernel, a: &Tensor, b: &Tensor, bias: Option<&Tensor>, dims: &[u64]) -> Tensor {
        let inputs: SmallVec<[&Tensor; 3]> = [Some(a), Some(b), bias].into_iter().flatten().collect();
        let out = self.launch(kernel, &inputs, Layout::contiguous(dims), a.dtype());
        self.touch_cublas();
        out
    }

    /// `torch.nn.functional.linear(x, weight, bias)`, weight `[out, in]`. Saves the input where the weight wants a
    /// gradient and the weight where the input does.
    pub fn linear(&self, x: impl Borrow<Tensor>, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        self.affine(x.borrow(), weight, bias, true)
    }

    /// GPT-2's `Conv1D`: as [`Context::linear`] with a weight of `[in, out]`, always through `addmm`.
    pub fn conv1d(&self, x: impl Borrow<Tensor>, weight: &Tensor, bias: &Tensor) -> Tensor {
        self.affine(x.borrow(), weight, Some(bias), false)
    }

    fn affine(&self, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>, transposed: bool) -> Tensor {
        let (cast_x, cast_weight, cast_bias);
        let (x, weight, bias) = match self.autocast_dtype() {
            Some(dtype) => {
                // C++ evaluates the casts of a call's arguments from the last to the first: `linear(x, weight, bias)`,
                // `addmm(bias, x, weight)`
                let cast_first = bias.filter(|_| transposed).map(|bias| self.autocast_to(bias, dtype));
                cast_weight = self.autocast_to(weight, dtype);
                cast_x = self.autocast_to(x, dtype);
                cast_bias = cast_first.or_else(|| bias.map(|bias| self.autocast_to(bias, dtype)));
                (&cast_x, &cast_weight, cast_bias.as_ref())
            }
            None => (x, weight, bias),
        };
        let inner = x.dim(-1);
        let rows = x.layout().numel() / inner.max(1);
        // the transposed weight is a node of its own, made before the rows are merged, or with a bias after
        let view = |weight: &Tensor| if transposed { self.transpose(weight, 0, 1) } else { weight.clone() };
        let before = bias.is_none().then(|| view(weight));
        // rows that no view can merge are copied first
        let flat = if x.dims().len() == 2 { x.clone() } else { self.reshape(x, &[rows, inner]) };
        let weight = &before.unwrap_or_else(|| view(weight));
        let out_features = weight.dim(1);
        let inputs: &[&Tensor] = match bias {
            Some(bias) => &[bias, &flat, weight],
            None => &[&flat, weight],
        };
        let node =
            self.record(inputs, &[weight.requires_grad().then_some(&flat), flat.requires_grad().then_some(weight)]);
        let mut out = self.sum_of_products(PLAIN, &flat, weight, bias, &[rows, out_features]);
        if bias.is_some() {
            self.touch_cublaslt();
        }
        if let Some(mut node) = node {
            if let Some(bias) = bias {
                node.expecting(&[bias], out.layout(), out.dtype());
            }
            let first = usize::from(bias.is_some());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let of_weight = |cx: &Self| {
                    incoming.needs(first + 1).then(|| {
                        let x = incoming.saved(0);
                        if transposed {
                            // computed as what it is the transpose of, so that the weight's gradient comes out contiguous
                            let product = cx.product(A_TRANSPOSED, grad, x, &[out_features, inner]);
                            cx.alias(Kernel::Transpose(0, 1), &product, product.layout().transpose(0, 1))
                        } else {
                            cx.product(A_TRANSPOSED, x, grad, &[inner, out_features])
                        }
                    })
                };
                let of_x = |cx: &Self| {
                    incoming.needs(first).then(|| cx.product(B_TRANSPOSED, grad, incoming.saved(1), &[rows, inner]))
                };
                if first == 0 {
                    let weight = of_weight(cx);
                    smallvec![of_x(cx), weight]
                } else {
                    let (x, weight) = (of_x(cx), of_weight(cx));
                    smallvec![incoming.needs(0).then(|| grad.clone()), x, weight]
                }
            });
        }
        let dims = x.layout().narrow(-1, out_features);
        let dims = dims.dims();
        if dims.len() == 2 { out } else { self.reshape(out, dims) }
    }

    /// `torch.matmul(a, b)` of tensors with the same leading dimensions: operands are folded into three dimensions, by a
    /// copy where strides do not allow a view.
    pub fn matmul(&self, a: impl Borrow<Tensor>, b: impl Borrow<Tensor>) -> Tensor {
        let (a, b) = (a.borrow(), b.borrow());
        let (cast_a, cast_b);
        let (a, b) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_b = self.autocast_to(b, dtype);
                cast_a = self.autocast_to(a, dtype);
                (&cast_a, &cast_b)
            }
            None => (a, b),
        };
        let (rows, inner, columns) = (a.dim(-2), a.dim(-1), b.dim(-1));
        let lead = |t: &Tensor| t.layout().narrow(-1, 1).narrow(-2, 1);
        let shape = lead(a).broadcast(&lead(b));
        let folded = |t: &Tensor, rows, columns| {
            let whole = shape.narrow(-2, rows).narrow(-1, columns);
            let dims = [shape.numel(), rows, columns];
            if whole.dims() == t.dims() {
                self.reshape(t, &dims)
            } else {
                self.reshape(self.expand(t, whole.dims()), &dims)
            }
        };
        let (a3, b3) = (folded(a, rows, inner), folded(b, inner, columns));
        self.reshape(self.bmm(a3, b3), shape.narrow(-2, rows).narrow(-1, columns).dims())
    }

    /// `a @ b` of two matrices.
    pub fn mm(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let (cast_a, cast_b);
        let (a, b) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_b = self.autocast_to(b, dtype);
                cast_a = self.autocast_to(a, dtype);
                (&cast_a, &cast_b)
            }
            None => (a, b),
        };
        let node = self.record(&[a, b], &[b.requires_grad().then_some(a), a.requires_grad().then_some(b)]);
        let mut out = self.product(PLAIN, a, b, &[a.dim(0), b.dim(1)]);
        if let Some(node) = node {
            // a gradient lies as its operand does (`mm_mat1_grad`, `mm_mat2_grad`, `FunctionsManual.cpp`)
            let by_columns = |t: &Tensor| !t.layout().is_contiguous() && t.layout().transpose(0, 1).is_contiguous();
            let turned = [a, b].map(by_columns);
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let of_a = incoming.needs(0).then(|| {
                    let b = incoming.saved(1);
                    let dims = [grad.dim(0), b.dim(0)];
                    match turned[0] {
                        true => cx.transpose(cx.product(B_TRANSPOSED, b, grad, &[dims[1], dims[0]]), 0, 1),
                        false => cx.product(B_TRANSPOSED, grad, b, &dims),
                    }
                });
                let of_b = incoming.needs(1).then(|| {
                    let a = incoming.saved(0);
                    let dims = [a.dim(1), grad.dim(1)];
                    match turned[1] {
                        true => cx.transpose(cx.product(A_TRANSPOSED, grad, a, &[dims[1], dims[0]]), 0, 1),
                        false => cx.product(A_TRANSPOSED, a, grad, &dims),
                    }
                });
                smallvec![of_a, of_b]
            });
        }
        out
    }

    /// `torch.bmm(a, b)`
    pub fn bmm(&self, a: impl Borrow<Tensor>, b: impl Borrow<Tensor>) -> Tensor {
        let (cast_a, cast_b);
        let (a, b) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_b = self.autocast_to(b.borrow(), dtype);
                cast_a = self.autocast_to(a.borrow(), dtype);
                (&cast_a, &cast_b)
            }
            None => (a.borrow(), b.borrow()),
        };
        let node = self.record(&[a, b], &[b.requires_grad().then_some(a), a.requires_grad().then_some(b)]);
        let dims = [a.dim(0), a.dim(1), b.dim(2)];
        let mut out = self.product(PLAIN, a, b, &dims);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let of_b = incoming.needs(1).then(|| {
                    let a = incoming.saved(0);
                    cx.product(A_TRANSPOSED, a, grad, &[a.dim(0), a.dim(2), grad.dim(2)])
                });
                let of_a = incoming.needs(0).then(|| {
                    let b = incoming.saved(1);
                    cx.product(B_TRANSPOSED, grad, b, &[grad.dim(0), grad.dim(1), b.dim(1)])
                });
                smallvec![of_a, of_b]
            });
        }
        out
    }

    /// `input.baddbmm(a, b, alpha=alpha)`, where `input` is broadcast and takes no gradient.
    pub fn baddbmm(&self, input: &Tensor, a: &Tensor, b: &Tensor, alpha: f64) -> Tensor {
        let (cast_input, cast_a, cast_b);
        let (_input, a, b) = match self.autocast_dtype() {
            Some(dtype) => {
                cast_b = self.autocast_to(b, dtype);
                cast_a = self.autocast_to(a, dtype);
                cast_input = self.autocast_to(input, dtype);
                (&cast_input, &cast_a, &cast_b)
            }
            None => (input, a, b),
        };
        let node = self.record(&[a, b], &[b.requires_grad().then_some(a), a.requires_grad().then_some(b)]);
        let mut out = self.product(PLAIN, a, b, &[a.dim(0), a.dim(1), b.dim(2)]);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let of_a = incoming.needs(0).then(|| {
                    let b = incoming.saved(1);
                    let product = cx.product(B_TRANSPOSED, grad, b, &[grad.dim(0), grad.dim(1), b.dim(1)]);
                    cx.mul_scalar(product, alpha)
                });
                let of_b = incoming.needs(1).then(|| {
                    let a = incoming.saved(0);
                    cx.mul_scalar(cx.product(A_TRANSPOSED, a, grad, &[a.dim(0), a.dim(2), grad.dim(2)]), alpha)
                });
                smallvec![of_a, of_b]
            });
        }
        out
    }

    /// The product of two tensors outside the tape (rotary frequencies).
    pub fn untracked_matmul(&self, a: &Tensor, b: &Tensor, dims: &[u64]) -> Tensor {
        self.product(PLAIN, a, b, dims)
    }

    /// The type a product's operands are cast to, `dtype` itself without autocast.
    pub fn product_dtype(&self, dtype: DType) -> DType {
        self.autocast_dtype().unwrap_or(dtype)
    }
}
