//! transformers' Adafactor (`transformers/optimization.py`, transformers 5.17) as `Trainer` sets it up: no first moment, no
//! relative step, no scaling by the parameter.

use super::{Algorithm, scalar, state, state_like, temporary, temporary_like, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Layout, Tensor};

/// Second moments of one parameter, in fp32.
struct Moments {
    /// A row and a column where there are two dimensions or more, else all of it.
    exp_avg_sq: Vec<Tensor>,
    /// The parameter's root mean square, a scalar that a step replaces.
    rms: Option<Tensor>,
}

pub(super) struct Adafactor {
    moments: Vec<Option<Moments>>,
}

/// Locals of the loop over parameters: each lives until the next parameter's takes its name.
#[derive(Default)]
struct Locals {
    grad: Option<Tensor>,
    p_data_fp32: Option<Tensor>,
    update: Option<Tensor>,
}

impl Adafactor {
    pub(super) fn new(parameters: usize) -> Self {
        Self { moments: (0..parameters).map(|_| None).collect() }
    }
}

impl Moments {
    fn new(cx: &Context, grad: &Tensor) -> Self {
        let dims = grad.dims();
        let exp_avg_sq = match dims {
            [outer @ .., rows, columns] => {
                let column: Vec<u64> = outer.iter().chain([columns]).copied().collect();
                let row: Vec<u64> = outer.iter().chain([rows]).copied().collect();
                vec![state(cx, &row, DType::F32), state(cx, &column, DType::F32)]
            }
            _ => vec![state_like(cx, grad, DType::F32)],
        };
        Self { exp_avg_sq, rms: None }
    }
}

impl Algorithm for Adafactor {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        let mut locals = Locals::default();
        for (at, parameter, grad) in with_grad(parameters) {
            locals.grad = None;
            let grad = float(cx, grad);
            locals.grad = Some(grad.clone());
            let moments = self.moments[at].get_or_insert_with(|| Moments::new(cx, &grad));
            locals.p_data_fp32 = None;
            locals.p_data_fp32 = Some(float(cx, parameter.clone()));
            moments.rms = Some(rms(cx, &grad));
            update(cx, &grad, moments, &mut locals);
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.moments.iter().flatten().flat_map(|m| m.exp_avg_sq.iter().chain(&m.rms)).collect()
    }
}

/// From the squared gradient to the change of the parameter.
fn update(cx: &Context, grad: &Tensor, moments: &Moments, locals: &mut Locals) {
    let square = temporary_like(cx, grad);
    let shifted = temporary_like(cx, grad);
    drop(square);
    locals.update = Some(shifted);
    if let [row, column] = moments.exp_avg_sq.as_slice() {
        // each is added to its moment at once
        drop(mean(cx, grad, -1));
        drop(mean(cx, grad, -2));
        locals.update = Some(approx_sq_grad(cx, grad, row, column));
    } else {
        locals.update = Some(temporary_like(cx, grad));
    }
    let root_mean_square = rms(cx, grad);
    let over_threshold = scalar(cx, DType::F32);
    drop(root_mean_square);
    drop(over_threshold);
    let negated = temporary_like(cx, grad);
    drop(negated);
}

/// `_approx_sq_grad`: the outer product of row and column factors.
fn approx_sq_grad(cx: &Context, grad: &Tensor, row: &Tensor, column: &Tensor) -> Tensor {
    let row_mean = mean(cx, row, -1);
    let r_factor = temporary_like(cx, row);
    drop(row_mean);
    let c_factor = temporary_like(cx, column);
    let product = temporary_like(cx, grad);
    drop(r_factor);
    drop(c_factor);
    product
}

/// `tensor.mean(dim)`
fn mean(cx: &Context, tensor: &Tensor, dim: isize) -> Tensor {
    let kept = tensor.layout().narrow(dim, 1);
    let mean = temporary(cx, Layout::contiguous(kept.dims()), tensor.dtype());
    cx.reduction_scratch(tensor, &mean);
    mean
}

/// `_rms`: the norm over the root of the number of elements.
fn rms(cx: &Context, tensor: &Tensor) -> Tensor {
    let norm = scalar(cx, DType::F32);
    cx.reduction_scratch(tensor, &norm);
    let rms = scalar(cx, DType::F32);
    drop(norm);
    rms
}

/// The tensor in fp32: a copy where it is half precision, else itself.
fn float(cx: &Context, tensor: Tensor) -> Tensor {
    if tensor.dtype() == DType::F32 { tensor } else { temporary(cx, *tensor.layout(), DType::F32) }
}
