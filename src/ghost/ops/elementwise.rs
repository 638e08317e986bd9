//! Elementwise operations, casts and copies.

use std::borrow::Borrow;

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tape::Incoming;
use crate::ghost::tensor::Tensor;

/// Which tensor a unary operation's backward reads.
enum Reads {
    Input,
    Output,
    Nothing,
}

impl Context {
    fn like(&self, kernel: Kernel, of: &Tensor) -> Tensor {
        self.launch(kernel, &[of], Layout::elementwise(&[of.layout()]), of.dtype())
    }

    pub(crate) fn binary(&self, kernel: Kernel, a: &Tensor, b: &Tensor) -> Tensor {
        self.launch(kernel, &[a, b], Layout::elementwise(&[a.layout(), b.layout()]), a.dtype().promote(b.dtype()))
    }

    /// `a + b`: nothing is saved.
    pub fn add(&self, a: impl Borrow<Tensor>, b: impl Borrow<Tensor>) -> Tensor {
        let (a, b) = (a.borrow(), b.borrow());
        let node = self.record(&[a, b], &[]);
        let mut out = self.binary(Kernel::Add, a, b);
        if let Some(mut node) = node {
            node.expecting(&[a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |_, incoming| {
                let grad = |i| incoming.needs(i).then(|| incoming.grad.clone());
                smallvec![grad(0), grad(1)]
            });
        }
        out
    }

    /// `a - b`: nothing is saved; `b`'s gradient is a tensor of its own.
    pub fn sub(&self, a: impl Borrow<Tensor>, b: impl Borrow<Tensor>) -> Tensor {
        let (a, b) = (a.borrow(), b.borrow());
        let node = self.record(&[a, b], &[]);
        let mut out = self.binary(Kernel::Sub, a, b);
        if let Some(mut node) = node {
            node.expecting(&[a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let second = incoming.needs(1).then(|| cx.like(Kernel::Neg, incoming.grad));
                smallvec![incoming.needs(0).then(|| incoming.grad.clone()), second]
            });
        }
        out
    }

    /// `a * b`: each is saved where the other wants a gradient.
    pub fn mul(&self, a: impl Borrow<Tensor>, b: impl Borrow<Tensor>) -> Tensor {
        let (a, b) = (a.borrow(), b.borrow());
        let node = self.record(&[a, b], &[a.requires_grad().then_some(b), b.requires_grad().then_some(a)]);
        let mut out = self.binary(Kernel::Mul, a, b);
        if let Some(mut node) = node {
            node.expecting(&[a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let times =
                    |i: usize| incoming.needs(i).then(|| cx.binary(Kernel::Mul, incoming.grad, incoming.saved(i)));
                let other = times(1);
                smallvec![times(0), other]
            });
        }
        out
    }

    /// `a * number`.
    pub fn mul_scalar(&self, a: impl Borrow<Tensor>, factor: f64) -> Tensor {
        let a = a.borrow();
        let node = self.record(&[a], &[]);
        let mut out = self.like(Kernel::MulScalar(factor), a);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                smallvec![Some(cx.like(Kernel::MulScalar(factor), incoming.grad))]
            });
        }
        out
    }

    /// `a += b`
    pub fn add_in_place(&self, a: Tensor, b: &Tensor) -> Tensor {
        let node = self.record(&[&a, b], &[]);
        let mut out = self.written_over(Kernel::Add, &a, &[b]);
        if let Some(mut node) = node {
            node.expecting(&[&a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |_, incoming| {
                let grad = |i| incoming.needs(i).then(|| incoming.grad.clone());
                smallvec![grad(0), grad(1)]
            });
        }
        out
    }

    /// `a += factor * b`: the gradient of `b` is scaled.
    pub fn add_scaled_in_place(&self, a: Tensor, b: &Tensor, factor: f64) -> Tensor {
        let node = self.record(&[&a, b], &[]);
        let mut out = self.written_over(Kernel::Add, &a, &[b]);
        if let Some(mut node) = node {
            node.expecting(&[&a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let scaled = |grad: &Tensor| cx.like(Kernel::MulScalar(factor), grad);
                let own = incoming.needs(0).then(|| incoming.grad.clone());
                smallvec![own, incoming.needs(1).then(|| scaled(incoming.grad))]
            });
        }
        out
    }

    /// `a *= b`, where `b` wants no gradient.
    pub fn mul_in_place(&self, a: Tensor, b: &Tensor) -> Tensor {
        let node = self.record(&[&a], &[Some(b)]);
        let mut out = self.written_over(Kernel::Mul, &a, &[b]);
        if let Some(mut node) = node {
            node.expecting(&[&a], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                smallvec![Some(cx.binary(Kernel::Mul, incoming.grad, incoming.saved(0)))]
            });
        }
        out
    }

    /// `a / b`: saves the divisor, and `a` where the divisor wants a gradient.
    pub fn div(&self, a: impl Borrow<Tensor>, b: &Tensor) -> Tensor {
        let a = a.borrow();
        let node = self.record(&[a, b], &[b.requires_grad().then_some(a), Some(b)]);
        let mut out = self.binary(Kernel::Unary("div"), a, b);
        if let Some(mut node) = node {
            node.expecting(&[a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let divided = |by: &Tensor, of: &Tensor| cx.binary(Kernel::Unary("div"), of, by);
                // -grad * ((a / b) / b), whose parts live as long as the expression
                let of_b = incoming.needs(1).then(|| {
                    let (a, b) = (incoming.saved(0), incoming.saved(1));
                    let once = divided(b, a);
                    let twice = divided(b, &once);
                    let negated = cx.like(Kernel::Neg, incoming.grad);
                    cx.binary(Kernel::Mul, &negated, &twice)
                });
                let of_a = incoming.needs(0).then(|| divided(incoming.saved(1), incoming.grad));
                smallvec![of_a, of_b]
            });
        }
        out
    }

    /// `a *= factor`
    pub fn scaled_in_place(&self, a: Tensor, factor: f64) -> Tensor {
        let node = self.record(&[&a], &[]);
        let mut out = self.written_over(Kernel::MulScalar(factor), &a, &[]);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                smallvec![Some(cx.like(Kernel::MulScalar(factor), incoming.grad))]
            });
        }
        out
    }

    /// A `torch.autograd.Function` that saves its input and computes its gradient from it.
    pub fn custom_function(
        &self,
        a: impl Borrow<Tensor>,
        forward: impl FnOnce(&Self, &Tensor) -> Tensor,
        backward: impl FnOnce(&Self, &Tensor, &Tensor) -> Tensor + 'static,
    ) -> Tensor {
        let a = a.borrow();
        let node = self.record(&[a], &[Some(a)]);
        let mut out = self.no_grad(|| forward(self, a));
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |cx, incoming| {
                smallvec![Some(backward(cx, incoming.grad, incoming.saved(0)))]
            });
        }
        out
    }

    /// `a + number`.
    pub fn add_scalar(&self, a: impl Borrow<Tensor>, number: f64) -> Tensor {
        self.unary(a.borrow(), Kernel::AddScalar(number), Reads::Nothing, |_, incoming| incoming.grad.clone())
    }

    fn unary(
        &self,
        a: &Tensor,
        kernel: Kernel,
        reads: Reads,
        backward: impl FnOnce(&Self, &Incoming<'_>) -> Tensor + 'static,
    ) -> Tensor {
        let input = [Some(a)];
        let node = self.record(&[a], if matches!(reads, Reads::Input) { &input } else { &[] });
        let mut out = self.like(kernel, a);
        if let Some(mut node) = node {
            if matches!(reads, Reads::Output) {
                node.save_output(self, &out);
            }
            node.finish(self, &mut [&mut out], |cx, incoming| smallvec![Some(backward(cx, incoming))]);
        }
        out
    }

    /// One fused backward kernel on the gradient and what was saved.
    fn fused_unary(&self, a: &Tensor, name: &'static str, reads: Reads) -> Tensor {
        self.unary(a, Kernel::Unary(name), reads, move |cx, incoming| {
            cx.binary(Kernel::UnaryBackward(name), incoming.grad, incoming.saved(0))
        })
    }

    /// `sigmoid(a)`: saves its output.
    pub fn sigmoid(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(a.borrow(), "sigmoid", Reads::Output)
    }

    /// `a /= b`: what is written over is copied first where `b` wants a gradient.
    pub fn div_in_place(&self, a: Tensor, b: &Tensor) -> Tensor {
        let wanted = self.grad_enabled() && b.requires_grad();
        let original = wanted.then(|| self.launch(Kernel::Copy, &[&a], Layout::contiguous(a.dims()), a.dtype()));
        let node = self.record(&[&a, b], &[original.as_ref(), Some(b)]);
        drop(original);
        let mut out = self.written_over(Kernel::Unary("div"), &a, &[b]);
        if let Some(mut node) = node {
            node.expecting(&[&a, b], out.layout(), out.dtype());
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let (grad, divisor) = (incoming.grad, incoming.saved(1));
                let divided = |a: &Tensor| cx.binary(Kernel::Unary("div"), a, divisor);
                let of_divisor = incoming.needs(1).then(|| {
                    let negative = cx.like(Kernel::Neg, grad);
                    let quotient = divided(incoming.saved(0));
                    let again = divided(&quotient);
                    cx.binary(Kernel::Mul, &negative, &again)
                });
                smallvec![incoming.needs(0).then(|| divided(grad)), of_divisor]
            });
        }
        out
    }

    /// A product of complex numbers, `[..., 2]` each, with `b` outside the tape; backward writes its conjugate out.
    pub fn mul_complex(&self, a: &Tensor, b: &Tensor) -> Tensor {
        let node = self.record(&[a], &[Some(b)]);
        let mut out = self.binary(Kernel::Unary("mul complex"), a, b);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |cx, incoming| {
                let conjugate = cx.like(Kernel::Neg, incoming.saved(0));
                smallvec![Some(cx.binary(Kernel::Unary("mul complex"), incoming.grad, &conjugate))]
            });
        }
        out
    }

    /// `-a`
    pub fn neg(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.unary(a.borrow(), Kernel::Neg, Reads::Nothing, |cx, incoming| cx.like(Kernel::Neg, incoming.grad))
    }

    /// `silu(a)`: saves its input.
    pub fn silu(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(a.borrow(), "silu", Reads::Input)
    }

    /// `gelu(a)`, erf or tanh, one kernel: saves its input.
    pub fn gelu(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(a.borrow(), "gelu", Reads::Input)
    }

    /// `relu(a)`: saves its output.
    pub fn relu(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(a.borrow(), "relu", Reads::Output)
    }

    /// `tanh(a)`: saves its output.
    pub fn tanh(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(a.borrow(), "tanh", Reads::Output)
    }

    /// `exp(a)`: saves its output.
    pub fn exp(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(&self.in_fp32(a.borrow()), "exp", Reads::Output)
    }

    /// `a.clamp(max=..)`, or with `both` bounds: saves its input; backward compares it again, and takes zeros where it is
    /// outside.
    pub fn clamp(&self, a: impl Borrow<Tensor>, both: bool) -> Tensor {
        self.unary(a.borrow(), Kernel::Unary("clamp"), Reads::Input, move |cx, incoming| {
            let (grad, input) = (incoming.grad, incoming.saved(0));
            let compare =
                |name| cx.launch(Kernel::Unary(name), &[input], Layout::elementwise(&[input.layout()]), DType::Bool);
            let _zero = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[]), grad.dtype());
            let (inside, _below) = (compare("ge"), both.then(|| compare("le")));
            cx.launch(
                Kernel::Where,
                &[&inside, grad],
                Layout::elementwise(&[inside.layout(), grad.layout()]),
                grad.dtype(),
            )
        })
    }

    /// `softplus(a)`: saves its input.
    pub fn softplus(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.fused_unary(&self.in_fp32(a.borrow()), "softplus", Reads::Input)
    }

    /// `rsqrt(a)`: saves its output; backward is `-0.5 * grad * out³`, three tensors.
    pub fn rsqrt(&self, a: impl Borrow<Tensor>) -> Tensor {
        self.unary(a.borrow(), Kernel::Unary("rsqrt"), Reads::Output, |cx, incoming| {
            let half = cx.like(Kernel::MulScalar(-0.5), incoming.grad);
            let cube = cx.like(Kernel::Pow(3), incoming.saved(0));
            cx.binary(Kernel::Mul, &half, &cube)
        })
    }

    /// `a.pow(n)` for a whole `n` of 2 or more: saves its input; backward is `grad * (n * a.pow(n - 1))`, three tensors.
    pub fn pow(&self, a: impl Borrow<Tensor>, n: i32) -> Tensor {
        self.unary(&self.in_fp32(a.borrow()), Kernel::Pow(n), Reads::Input, move |cx, incoming| {
            let lower = cx.like(Kernel::Pow(n - 1), incoming.saved(0));
            let scaled = cx.like(Kernel::MulScalar(f64::from(n)), &lower);
            cx.binary(Kernel::Mul, incoming.grad, &scaled)
        })
    }

    /// What an operation on autocast's list of those that run in fp32 is given.
    fn in_fp32(&self, a: &Tensor) -> Tensor {
        match self.autocast_dtype() {
            Some(_) => self.cast(a, DType::F32),
            None => a.clone(),
        }
    }

    /// `cos`, `sin` and other functions outside the tape.
    pub fn untracked(&self, name: &'static str, a: impl Borrow<Tensor>) -> Tensor {
        self.like(Kernel::Unary(name), a.borrow())
    }

    /// `a.cumsum(-1)` outside the tape: a scan of the whole where there is one row (`ScanUtils.cuh`).
    pub fn cumsum(&self, a: &Tensor) -> Tensor {
        let out = self.like(Kernel::Unary("cumsum"), a);
        if a.layout().numel() == a.dim(-1) {
            drop(self.scan_scratch(a.dim(-1), a.dtype().bytes()));
        }
        out
    }

    /// `a.cumsum(dim)`, -1 or another: a contiguous tensor, from a contiguous copy of what is not; backward turns the
    /// gradient round, sums it and turns it back.
    pub fn cumsum_along(&self, a: &Tensor, dim: isize) -> Tensor {
        let scan = |cx: &Self, a: &Tensor| {
            let out = cx.launch(Kernel::Unary("cumsum"), &[a], Layout::contiguous(a.dims()), a.dtype());
            drop(cx.no_grad(|| cx.contiguous(a)));
            out
        };
        let node = self.record(&[a], &[]);
        let mut out = scan(self, a);
        if let Some(node) = node {
            let single = a.dim(dim) == 1 || a.layout().numel() <= 1;
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                if single {
                    return smallvec![Some(incoming.grad.clone())];
                }
                // one expression, whose parts live as long as it
                let flip = |t: &Tensor| cx.like(Kernel::Unary("flip"), t);
                let turned = flip(incoming.grad);
                let summed = scan(cx, &turned);
                smallvec![Some(flip(&summed))]
            });
        }
        out
    }

    /// `a.to(dtype)`; the same tensor where it has that type already.
    pub fn cast(&self, a: impl Borrow<Tensor>, dtype: DType) -> Tensor {
        let a = a.borrow();
        if a.dtype() == dtype {
            return a.clone();
        }
        let node = self.record(&[a], &[]);
        let convert = |cx: &Self, a: &Tensor, to| cx.launch(Kernel::Cast, &[a], Layout::elementwise(&[a.layout()]), to);
        let mut out = convert(self, a, dtype);
        if let Some(node) = node {
            let back = a.dtype();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                smallvec![Some(if incoming.grad.dtype() == back {
                    incoming.grad.clone()
                } else {
                    convert(cx, incoming.grad, back)
                })]
            });
        }
        out
    }

    /// `a.to(dtype, memory_format=torch.contiguous_format)`; the same tensor where it has that type already.
    pub fn cast_contiguous(&self, a: &Tensor, dtype: DType) -> Tensor {
        if a.dtype() == dtype {
            return a.clone();
        }
        let node = self.record(&[a], &[]);
        let mut out = self.launch(Kernel::Cast, &[a], Layout::contiguous(a.dims()), dtype);
        if let Some(node) = node {
            let back = a.dtype();
            node.finish(self, &mut [&mut out], move |cx, incoming| smallvec![Some(cx.cast(incoming.grad, back))]);
        }
        out
    }

    /// `a.contiguous()`; the same tensor where it is contiguous already.
    pub fn contiguous(&self, a: impl Borrow<Tensor>) -> Tensor {
        let a = a.borrow();
        if a.layout().is_contiguous() { a.clone() } else { self.copy(a) }
    }

    /// `a.clone(memory_format=torch.contiguous_format)`
    pub(crate) fn copy(&self, a: &Tensor) -> Tensor {
        let node = self.record(&[a], &[]);
        let mut out = self.launch(Kernel::Copy, &[a], Layout::contiguous(a.dims()), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |_, incoming| smallvec![Some(incoming.grad.clone())]);
        }
        out
    }
}
