//! OFT, as PEFT 0.21 computes it (`peft/tuners/oft`).

use super::adapter::{Adapter, adapter_parameters};
use super::linear::Linear;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// What adapters are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OftSpec {
    /// Number of blocks; 0 where their width is given.
    pub r: u64,
    /// Width of a block; 0 where their number is given.
    pub block_size: u64,
    /// One block for all.
    pub block_share: bool,
    /// Terms of the Neumann series.
    pub terms: u64,
}

/// A rotation of a layer's input, block by block.
pub struct Oft {
    /// `[blocks, block_size * (block_size - 1) / 2]`
    weight: Tensor,
    /// Rows and columns of a block's upper triangle.
    indices: [Tensor; 2],
    blocks: u64,
    block_size: u64,
    terms: u64,
}

impl Oft {
    /// An adapter for `base`.
    pub fn new(cx: &Context, base: &Linear, spec: OftSpec) -> Self {
        let width = base.in_features;
        let (blocks, block_size) = if spec.r == 0 {
            let size = adjusted(width, spec.block_size);
            (width / size, size)
        } else {
            let blocks = adjusted(width, spec.r);
            (blocks, width / blocks)
        };
        let elements = block_size * (block_size - 1) / 2;
        let trained = if spec.block_share { 1 } else { blocks };
        let index = |name| cx.buffer(name, &[elements], DType::I64);
        Self {
            weight: cx.parameter("oft_R", &[trained, elements], base.adapter_dtype(), true),
            indices: [index("rows"), index("cols")],
            blocks,
            block_size,
            terms: spec.terms,
        }
    }

    /// `_cayley_batch`: the blocks' rotations, `[blocks, block_size, block_size]`, as a Neumann series.
    fn rotations(&self, cx: &Context) -> Tensor {
        let (count, size) = (self.weight.dim(0), self.block_size);
        let skew = {
            let zeros = cx.launch(Kernel::Zeros, &[], Layout::contiguous(&[count, size, size]), self.weight.dtype());
            let upper = cx.put_triangle(zeros, &self.weight, &self.indices);
            cx.add(&upper, cx.transpose(&upper, -2, -1))
        };
        let mut sum = {
            let eye = cx.launch(Kernel::Scratch("eye"), &[], Layout::contiguous(&[size, size]), skew.dtype());
            cx.launch(Kernel::Copy, &[&eye], *skew.layout(), skew.dtype())
        };
        if self.terms > 1 {
            sum = cx.add_scaled_in_place(sum, &skew, 2.0);
        }
        if self.terms > 2 {
            let mut power = cx.bmm(&skew, &skew);
            sum = cx.add_scaled_in_place(sum, &power, 2.0);
            let _square = power.clone();
            for _ in 3..self.terms.saturating_sub(1) {
                power = cx.bmm(&power, &skew);
                sum = cx.add_scaled_in_place(sum, &power, 2.0);
            }
            power = cx.bmm(&power, &skew);
            sum = cx.add_in_place(sum, &power);
        }
        sum
    }

    /// `OFTRotationModule.forward`
    fn rotate(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut rotations = self.rotations(cx);
        let whole: Vec<u64> = x.dims().to_vec();
        let rows = x.layout().numel() / x.dim(-1).max(1);
        if rotations.dim(0) != self.blocks {
            rotations = cx.repeat_first(&rotations, self.blocks);
        }
        // einsum("...rk,rkc->...rc"): a product for each block
        let blocks = cx.transpose(cx.reshape(x, &[rows, self.blocks, self.block_size]), 0, 1);
        let rotated = cx.transpose(cx.bmm(blocks, &rotations), 0, 1);
        let rotated = cx.reshape(rotated, &whole);
        cx.cast(&rotated, x.dtype())
    }
}

impl Adapter for Oft {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let previous_dtype = x.dtype();
        let mut x = cx.cast(x, self.weight.dtype());
        x = self.rotate(cx, &x);
        let result = base.base(cx, &cx.cast(&x, previous_dtype));
        cx.cast(&result, previous_dtype)
    }

    adapter_parameters!(weight);
}

/// `adjust_oft_parameters`: the divisor of `width` nearest to what was asked for, the lower of two.
fn adjusted(width: u64, asked: u64) -> u64 {
    if asked >= width {
        return width;
    }
    let divides = |n: &u64| width.is_multiple_of(*n);
    let higher = (asked..=width).find(divides).unwrap_or(width);
    let lower = (1..=asked).rev().find(divides).unwrap_or(1);
    if asked - lower <= higher - asked { lower } else { higher }
}
