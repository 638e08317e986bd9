//! Views, and the operations that copy only because a view cannot be had.

use std::borrow::Borrow;
use std::rc::Rc;

use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::tensor::Tensor;

impl Context {
    /// A view whose backward is a view of the gradient.
    fn view_op(
        &self,
        a: &Tensor,
        kernel: Kernel,
        layout: Layout,
        backward: impl FnOnce(&Self, &Tensor) -> Tensor + 'static,
    ) -> Tensor {
        let node = self.record(&[a], &[]);
        let mut out = self.alias(kernel, a, layout);
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], |cx, incoming| smallvec![Some(backward(cx, incoming.grad))]);
        }
        out
    }

    /// `a.reshape(dims)`: a view where strides allow, a copy where not.
    pub fn reshape(&self, a: impl Borrow<Tensor>, dims: &[u64]) -> Tensor {
        let a = a.borrow();
        let Some(layout) = a.layout().view(dims) else {
            let mut out = self.reshape(self.copy(a), dims);
            // `_unsafe_view`: nothing else knows the copy
            if let Some(inner) = Rc::get_mut(&mut out.0) {
                inner.view = false;
            }
            return out;
        };
        let from = *a.layout();
        self.view_op(a, Kernel::View, layout, move |cx, grad| cx.reshape(grad, from.dims()))
    }

    /// `a.transpose(x, y)`
    pub fn transpose(&self, a: impl Borrow<Tensor>, x: isize, y: isize) -> Tensor {
        let a = a.borrow();
        let swap = move |cx: &Self, t: &Tensor| cx.alias(Kernel::Transpose(x, y), t, t.layout().transpose(x, y));
        self.view_op(a, Kernel::Transpose(x, y), a.layout().transpose(x, y), swap)
    }

    /// `a[..., start:start+len, ...]`: a view; its backward fills a zero tensor of the whole size.
    pub fn narrow(&self, a: impl Borrow<Tensor>, dim: isize, start: u64, len: u64) -> Tensor {
        let a = a.borrow();
        if a.dim(dim) == len { a.clone() } else { self.slice(a, dim, start, len) }
    }

    /// As [`Context::narrow`], with a node on the tape also where it is the whole: a slice with a negative start.
    pub fn slice(&self, a: &Tensor, dim: isize, start: u64, len: u64) -> Tensor {
        let whole = *a.layout();
        self.view_op(a, Kernel::Narrow { dim, start }, whole.narrow(dim, len), move |cx, grad| {
            cx.launch(Kernel::SliceBackward { dim, start }, &[grad], Layout::contiguous(whole.dims()), grad.dtype())
        })
    }

    /// `a[..., i, ...]`: a view without the dimension; its backward fills a zero tensor of the whole size.
    pub fn select(&self, a: impl Borrow<Tensor>, dim: isize) -> Tensor {
        let a = a.borrow();
        let whole = *a.layout();
        self.view_op(a, Kernel::Select { dim }, whole.select(dim), move |cx, grad| {
            cx.launch(Kernel::SliceBackward { dim, start: 0 }, &[grad], Layout::contiguous(whole.dims()), grad.dtype())
        })
    }

    /// As [`Context::select`], of the place `index`.
    pub fn select_at(&self, a: &Tensor, dim: isize, index: u64) -> Tensor {
        let whole = *a.layout();
        self.view_op(a, Kernel::Narrow { dim, start: index }, whole.select(dim), move |cx, grad| {
            let kernel = Kernel::SliceBackward { dim, start: index };
            cx.launch(kernel, &[grad], Layout::contiguous(whole.dims()), grad.dtype())
        })
    }

    /// `a[..., index, ...] = part`, in place (`CopySlices`).
    pub fn assigned_at(&self, a: Tensor, part: &Tensor, dim: isize, index: u64) -> Tensor {
        let node = self.record(&[&a, part], &[]);
        let mut out = self.written_over(Kernel::Narrow { dim, start: index }, &a, &[part]);
        if let Some(node) = node {
            let (whole, dtype) = (*a.layout(), part.dtype());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let copied = |layout| cx.launch(Kernel::Copy, &[incoming.grad], layout, incoming.grad.dtype());
                let rest = copied(whole);
                let of_part = copied(Layout::elementwise(&[&whole.select(dim)]));
                // what was written over gets no gradient
                drop(incoming.needs(0).then(|| cx.launch(Kernel::Zeros, &[], *of_part.layout(), of_part.dtype())));
                smallvec![incoming.needs(0).then_some(rest), incoming.needs(1).then(|| cx.cast(&of_part, dtype))]
            });
        }
        out
    }

    /// `a[..., [i], ...]`: a copy, and an index that is saved; backward adds into a zero tensor of the whole size, for which
    /// indices are wrapped, scaled and sorted (`Indexing.cu`).
    pub fn index_one(&self, a: impl Borrow<Tensor>, dim: isize, index: u64) -> Tensor {
        let a = a.borrow();
        let whole = *a.layout();
        let one = || self.launch(Kernel::Scratch("index"), &[], Layout::contiguous(&[1]), DType::I64);
        let indices = one();
        let node = self.record(&[a], &[Some(&indices)]);
        let kernel = Kernel::Narrow { dim, start: index };
        let mut out = self.launch(kernel, &[a], Layout::contiguous(whole.narrow(dim, 1).dims()), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let kernel = Kernel::SliceBackward { dim, start: index };
                let out = cx.launch(kernel, &[grad], Layout::contiguous(whole.dims()), grad.dtype());
                cx.index_put_scratch(1, whole.dim(dim));
                smallvec![Some(out)]
            });
        }
        out
    }

    /// `a[..., ::2]`, or as many from the second on: a view; its backward fills a zero tensor of the whole size.
    ///
    /// # Panics
    /// The last dimension is in no order that allows it: a mistake in model code.
    pub fn every_second(&self, a: &Tensor) -> Tensor {
        let whole = *a.layout();
        let mut pairs = whole.narrow(-1, whole.dim(-1) / 2).dims().to_vec();
        pairs.push(2);
        let layout = whole.view(&pairs).expect("the last dimension can be split").select(-1);
        self.view_op(a, Kernel::Select { dim: -1 }, layout, move |cx, grad| {
            let kernel = Kernel::SliceBackward { dim: -1, start: 0 };
            cx.launch(kernel, &[grad], Layout::contiguous(whole.dims()), grad.dtype())
        })
    }

    /// `a`, whose gradient is made contiguous on its way back (`view_as_real`).
    pub fn with_contiguous_gradient(&self, a: &Tensor) -> Tensor {
        self.view_op(a, Kernel::View, *a.layout(), |cx, grad| cx.contiguous(grad))
    }

    /// `first` and `second` copied into a new tensor beside each other along the last dimension, by assignment to its slices
    /// (`CopySlices`, `python_variable_indexing.cpp`).
    pub fn assigned_slices(&self, first: &Tensor, second: &Tensor) -> Tensor {
        let (left, right) = (*first.layout(), *second.layout());
        let width = left.dim(-1) + right.dim(-1);
        let layout = Layout::contiguous(left.narrow(-1, width).dims());
        let copied = |cx: &Self, grad: &Tensor, layout: Layout| {
            cx.launch(Kernel::Copy, &[grad], Layout::contiguous(layout.dims()), grad.dtype())
        };
        let node = self.record(&[first], &[]);
        let mut out = self.launch(Kernel::Cat { dim: -1 }, &[first, second], layout, first.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let _rest = copied(cx, incoming.grad, layout);
                smallvec![Some(copied(cx, incoming.grad, left))]
            });
        }
        let node = self.record(&[&out, second], &[]);
        if let Some(node) = node {
            let mut whole = self.written_over(Kernel::View, &out, &[]);
            node.finish(self, &mut [&mut whole], move |cx, incoming| {
                let rest = copied(cx, incoming.grad, layout);
                let part = copied(cx, incoming.grad, right);
                // what was written over gets no gradient
                drop(incoming.needs(0).then(|| cx.launch(Kernel::Zeros, &[], *part.layout(), part.dtype())));
                smallvec![incoming.needs(0).then_some(rest), incoming.needs(1).then_some(part)]
            });
            return whole;
        }
        out
    }

    /// `a.unsqueeze(axis)`
    pub fn unsqueeze(&self, a: impl Borrow<Tensor>, axis: usize) -> Tensor {
        let a = a.borrow();
        let from = *a.layout();
        self.view_op(a, Kernel::Unsqueeze(axis), from.unsqueeze(axis), move |cx, grad| {
            cx.alias(Kernel::View, grad, grad.layout().select(isize::try_from(axis).unwrap_or(0)))
        })
    }

    /// `a.expand(dims)`: a view; its backward sums.
    pub fn expand(&self, a: impl Borrow<Tensor>, dims: &[u64]) -> Tensor {
        let a = a.borrow();
        let from = *a.layout();
        self.view_op(a, Kernel::Expand, from.expand(dims), move |cx, grad| cx.sum_to(grad, &from))
    }

    /// `a.repeat_interleave(times, dim)`: always a copy.
    pub fn repeat_interleave(&self, a: impl Borrow<Tensor>, axis: usize, times: u64) -> Tensor {
        let a = a.borrow();
        let mut dims = a.dims().to_vec();
        dims[axis] *= times;
        let wide = self.unsqueeze(a, axis + 1);
        let mut expanded = wide.dims().to_vec();
        expanded[axis + 1] = times;
        let copied = self.copy(&self.expand(wide, &expanded));
        self.reshape(copied, &dims)
    }

    /// `F.pad` of one dimension with zeros: a copy, also where nothing is added; backward copies too.
    pub fn pad(&self, a: &Tensor, dim: isize, by: u64) -> Tensor {
        let node = self.record(&[a], &[]);
        let padded = |t: &Tensor, len| {
            if by == 0 {
                Layout::elementwise(&[t.layout()])
            } else {
                Layout::contiguous(t.layout().narrow(dim, len).dims())
            }
        };
        let len = a.dim(dim);
        let mut out = self.launch(Kernel::Cat { dim }, &[a], padded(a, len + by), a.dtype());
        if let Some(node) = node {
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let layout = Layout::elementwise(&[&grad.layout().narrow(dim, len)]);
                smallvec![Some(cx.launch(Kernel::Narrow { dim, start: 0 }, &[grad], layout, grad.dtype()))]
            });
        }
        out
    }

    /// `torch.split(a, sizes, dim)` and `chunk`: views; backward concatenates the gradients (zeros for unused parts).
    pub fn split(&self, a: impl Borrow<Tensor>, sizes: &[u64], dim: isize) -> Vec<Tensor> {
        let a = a.borrow();
        let node = self.record(&[a], &[]);
        let mut start = 0;
        let mut parts: Vec<Tensor> = sizes
            .iter()
            .map(|&len| {
                let part = self.alias(Kernel::Narrow { dim, start }, a, a.layout().narrow(dim, len));
                start += len;
                part
            })
            .collect();
        if let Some(node) = node {
            let whole = *a.layout();
            let layouts: Vec<Layout> = parts.iter().map(|p| Layout::contiguous(p.dims())).collect();
            let mut outputs: Vec<&mut Tensor> = parts.iter_mut().collect();
            node.finish(self, &mut outputs, move |cx, incoming| {
                let parts: Vec<Tensor> = incoming
                    .grads
                    .iter()
                    .zip(&layouts)
                    .map(|(grad, layout)| match grad {
                        Some(grad) => grad.clone(),
                        None => cx.launch(Kernel::Zeros, &[], *layout, incoming.grad.dtype()),
                    })
                    .collect();
                let refs: Vec<&Tensor> = parts.iter().collect();
                smallvec![Some(cx.launch(
                    Kernel::Cat { dim },
                    &refs,
                    Layout::contiguous(whole.dims()),
                    incoming.grad.dtype()
                ))]
            });
        }
        parts
    }

    /// [`Context::split`] in as many equal parts as are asked for; the whole is let go of, as a temporary is.
    ///
    /// # Panics
    /// The dimension has no such parts.
    pub fn split_in<const N: usize>(&self, a: Tensor, dim: isize) -> [Tensor; N] {
        let len = a.dim(dim) / N as u64;
        self.split(a, &[len; N], dim).try_into().expect("one tensor for each size")
    }

    /// `torch.stack(parts, -1)`: a new tensor; backward hands out views of the gradient.
    pub fn stack_last(&self, parts: &[Tensor]) -> Tensor {
        let parts: SmallVec<[&Tensor; 8]> = parts.iter().collect();
        let node = self.record(&parts, &[]);
        let rank = parts[0].dims().len();
        let whole = parts[0].layout().unsqueeze(rank).narrow(-1, parts.len() as u64);
        let kernel = Kernel::Cat { dim: -1 };
        let mut out = self.launch(kernel, &parts, Layout::contiguous(whole.dims()), parts[0].dtype());
        if let Some(node) = node {
            let count = parts.len();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                (0..count).map(|_| Some(cx.alias(Kernel::Select { dim: -1 }, grad, grad.layout().select(-1)))).collect()
            });
        }
        out
    }

    /// `torch.cat(parts, dim)`: a new tensor; backward hands out views of the gradient.
    pub fn cat(&self, parts: &[&Tensor], dim: isize) -> Tensor {
        let dtype = parts.iter().fold(parts[0].dtype(), |dtype, p| dtype.promote(p.dtype()));
        self.cat_as(parts, dim, dtype)
    }

    /// [`Context::cat`] into a tensor of a given type.
    pub fn cat_as(&self, parts: &[&Tensor], dim: isize, dtype: DType) -> Tensor {
        let node = self.record(parts, &[]);
        let total: u64 = parts.iter().map(|p| p.dim(dim)).sum();
        let whole = parts[0].layout().narrow(dim, total);
        let mut out = self.launch(Kernel::Cat { dim }, parts, Layout::contiguous(whole.dims()), dtype);
        if let Some(node) = node {
            let lens: Vec<(u64, DType)> = parts.iter().map(|p| (p.dim(dim), p.dtype())).collect();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let mut start = 0;
                lens.iter()
                    .map(|&(len, dtype)| {
                        let grad = incoming.grad;
                        let part = cx.alias(Kernel::Narrow { dim, start }, grad, grad.layout().narrow(dim, len));
                        start += len;
                        Some(cx.cast(part, dtype))
                    })
                    .collect()
            });
        }
        out
    }
}
