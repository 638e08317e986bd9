//! GaLore's and APOLLO's AdamW (`galore_torch/adamw.py`, galore-torch 1.0; `apollo_torch/apollo.py`, apollo-torch 1.0.3):
//! the gradient of a matrix is projected to few rows or columns, and the moments are as small as what comes out.

use super::{Algorithm, rebind, scalar, state_like, temporary, temporary_like, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Layout, Tensor};

/// How gradients are projected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Projection {
    /// By a singular value decomposition of the gradient; the update is projected back (GaLore).
    Svd,
    /// By a random matrix; the update is the gradient itself, scaled (APOLLO).
    Random,
}

/// States of one parameter.
struct States {
    ortho_matrix: Option<Tensor>,
    exp_avg: Tensor,
    exp_avg_sq: Tensor,
    /// APOLLO's last norm of the scaled gradient.
    scaled_grad: Option<Tensor>,
}

/// Locals of the loop over parameters: each lives until the next parameter's takes its name.
#[derive(Default)]
struct Locals {
    grad: Option<Tensor>,
    denom: Option<Tensor>,
    norm_grad: Option<Tensor>,
    grad_scaling_factor: Option<Tensor>,
    scaled_grad: Option<Tensor>,
    scaled_grad_norm: Option<Tensor>,
    limiter: Option<Tensor>,
}

pub(super) struct LowRank {
    projection: Projection,
    rank: u64,
    /// From this parameter on they are projected: the optimizer's second group.
    projected_from: usize,
    states: Vec<Option<States>>,
}

impl LowRank {
    pub(super) fn new(projection: Projection, rank: u64, projected_from: usize, parameters: usize) -> Self {
        Self { projection, rank, projected_from, states: (0..parameters).map(|_| None).collect() }
    }

    /// `project`: the projection is made in the first step (and every `update_proj_gap`-th).
    fn project(&mut self, cx: &Context, at: usize, grad: &Tensor) -> Tensor {
        let [rows, columns] = [grad.dim(0), grad.dim(1)];
        let wide = rows < columns;
        let made = match self.states[at].as_mut() {
            Some(states) => states.ortho_matrix.take(),
            None => None,
        };
        let ortho_matrix = made.unwrap_or_else(|| {
            // what a projection has more ranks than a side of the matrix, the decomposition has not
            let dims = match (self.projection, wide) {
                (Projection::Random, true) => [rows, self.rank],
                (Projection::Random, false) => [self.rank, columns],
                (Projection::Svd, true) => [rows, self.rank.min(rows)],
                (Projection::Svd, false) => [self.rank.min(columns), columns],
            };
            orthogonal_matrix(cx, self.projection, grad, &dims)
        });
        let rank = if wide { ortho_matrix.dim(1) } else { ortho_matrix.dim(0) };
        let dims = if wide { [rank, columns] } else { [rows, rank] };
        let low = temporary(cx, Layout::contiguous(&dims), grad.dtype());
        cx.touch_cublas();
        let states = self.states[at].get_or_insert_with(|| States::like(cx, &low));
        states.ortho_matrix = Some(ortho_matrix);
        low
    }
}

impl States {
    fn like(cx: &Context, grad: &Tensor) -> Self {
        Self {
            ortho_matrix: None,
            exp_avg: state_like(cx, grad, grad.dtype()),
            exp_avg_sq: state_like(cx, grad, grad.dtype()),
            scaled_grad: None,
        }
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let Self { ortho_matrix, exp_avg, exp_avg_sq, scaled_grad } = self;
        ortho_matrix.iter().chain([exp_avg, exp_avg_sq]).chain(scaled_grad)
    }
}

/// `get_orthogonal_matrix`: in fp32, then in the gradient's type.
fn orthogonal_matrix(cx: &Context, projection: Projection, grad: &Tensor, dims: &[u64]) -> Tensor {
    let half = grad.dtype() != DType::F32;
    let whole = half.then(|| temporary(cx, Layout::contiguous(grad.dims()), DType::F32));
    let small = || temporary(cx, Layout::contiguous(dims), DType::F32);
    let matrix = match projection {
        Projection::Random => {
            let random = small();
            let scaled = small();
            drop(random);
            if !half {
                // it becomes a state as it is
                scaled.recategorise(crate::ghost::Category::Optimizer);
                return scaled;
            }
            scaled
        }
        Projection::Svd => return decomposed(cx, grad, whole, dims),
    };
    let ortho_matrix = super::state(cx, dims, grad.dtype());
    drop(matrix);
    drop(whole);
    ortho_matrix
}

/// `torch.linalg.svd(matrix, full_matrices=False)`: a copy of the matrix that the solver destroys, and the factors. The
/// projection keeps a factor whole where it is a view of it.
fn decomposed(cx: &Context, grad: &Tensor, whole: Option<Tensor>, dims: &[u64]) -> Tensor {
    let [rows, columns] = [grad.dim(0), grad.dim(1)];
    let fp32 = |dims: &[u64]| temporary(cx, Layout::contiguous(dims), DType::F32);
    let least = rows.min(columns);
    let (left, values, right) = (fp32(&[rows, least]), fp32(&[least]), fp32(&[least, columns]));
    let solver = (fp32(&[rows, columns]), fp32(&[columns.max(rows), least]));
    drop(solver);
    // `torch.diag(s[:rank])` and a product, which nothing uses
    let rank = if rows < columns { dims[1] } else { dims[0] };
    let diagonal = fp32(&[rank, rank]);
    let unused = if rows < columns { fp32(&[rank, columns]) } else { fp32(&[rows, rank]) };
    drop(diagonal);
    let kept = if rows < columns { &left } else { &right };
    let ortho_matrix = match whole {
        Some(_) => super::state(cx, dims, grad.dtype()),
        None => {
            kept.recategorise(crate::ghost::Category::Optimizer);
            // a view: the whole factor stays with it
            cx.narrow(kept, if rows < columns { -1 } else { 0 }, 0, rank)
        }
    };
    drop((unused, values, left, right, whole));
    ortho_matrix
}

impl Algorithm for LowRank {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        let mut locals = Locals::default();
        for (at, _, full) in with_grad(parameters) {
            let projected = at >= self.projected_from;
            rebind(&mut locals.grad, full.clone());
            if projected {
                let low = self.project(cx, at, &full);
                rebind(&mut locals.grad, low);
            }
            let grad = locals.grad.clone().unwrap_or_else(|| full.clone());
            let states = self.states[at].get_or_insert_with(|| States::like(cx, &grad));
            rebind(&mut locals.denom, temporary_like(cx, &grad));
            rebind(&mut locals.norm_grad, temporary_like(cx, &grad));
            match self.projection {
                _ if !projected => {}
                Projection::Svd => project_back(cx, &full, &mut locals),
                Projection::Random => scale(cx, &full, &grad, states, &mut locals),
            }
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.states.iter().flatten().flat_map(States::tensors).collect()
    }
}

/// `project_back`: the update in full, then times the scale.
fn project_back(cx: &Context, full: &Tensor, locals: &mut Locals) {
    let back = temporary_like(cx, full);
    cx.touch_cublas();
    let scaled = temporary_like(cx, full);
    drop(back);
    rebind(&mut locals.norm_grad, scaled);
}

/// APOLLO's steps 3 and 4: a factor for each channel, the scaled gradient, and the limit to its growth.
fn scale(cx: &Context, full: &Tensor, grad: &Tensor, states: &mut States, locals: &mut Locals) {
    let dim = if full.dim(0) < full.dim(1) { 0 } else { 1 };
    let channels = grad.dims()[1 - dim];
    let vector = || temporary(cx, Layout::contiguous(&[channels]), grad.dtype());
    let norm = || {
        let kept = grad.layout().narrow(if dim == 0 { 0 } else { -1 }, 1);
        let norm = temporary(cx, Layout::contiguous(kept.dims()), grad.dtype());
        cx.reduction_scratch(grad, &norm);
        norm
    };
    let numerator = norm();
    let denominator = norm();
    let shifted = vector();
    drop(denominator);
    let factor = vector();
    drop(shifted);
    drop(numerator);
    rebind(&mut locals.grad_scaling_factor, factor);
    rebind(&mut locals.scaled_grad, temporary_like(cx, full));
    let whole_norm = || {
        let norm = scalar(cx, full.dtype());
        cx.reduction_scratch(full, &norm);
        norm
    };
    if let Some(last) = states.scaled_grad.take() {
        rebind(&mut locals.scaled_grad_norm, whole_norm());
        let shifted = scalar(cx, full.dtype());
        let ratio = scalar(cx, full.dtype());
        drop(shifted);
        let larger = scalar(cx, DType::U8);
        drop(larger);
        let limiter = scalar(cx, full.dtype());
        drop(ratio);
        rebind(&mut locals.limiter, limiter);
        rebind(&mut locals.scaled_grad, temporary_like(cx, full));
        states.scaled_grad = Some(scalar(cx, full.dtype()));
        drop(last);
    } else {
        states.scaled_grad = Some(whole_norm());
    }
    if let Some(norm) = &states.scaled_grad {
        norm.recategorise(crate::ghost::Category::Optimizer);
    }
    let scaled = locals.scaled_grad.clone();
    locals.norm_grad = scaled;
}
