//! `Linear8bitLt`

use std::cell::RefCell;

use super::four_bit::settled;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Int8Matrix, Kernel, Layout, Tensor};

/// A linear layer whose weight is held in 8 bits.
pub struct Int8 {
    /// Its weight.
    pub matrix: Int8Matrix,
    /// Forward casts it for good where its type is not its input's.
    bias: RefCell<Option<Tensor>>,
}

impl Int8 {
    pub(super) fn new(matrix: Int8Matrix, bias: Option<Tensor>) -> Self {
        Self { matrix, bias: RefCell::new(bias) }
    }

    pub(in crate::nn) fn bias(&self) -> Option<Tensor> {
        self.bias.borrow().clone()
    }

    pub(in crate::nn) fn bias_mut(&mut self) -> Option<&mut Tensor> {
        self.bias.get_mut().as_mut()
    }

    /// The first forward only moves the weight from one attribute to another (`init_8bit_state`).
    pub(in crate::nn) fn forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let bias = settled(cx, &self.bias, x.dtype());
        cx.matmul_8bit(x, &self.matrix, bias.as_ref())
    }
}

/// `Int8Params._quantize`: the weight comes to the GPU in fp16, is quantised there and goes.
pub(super) fn load(cx: &Context, out_features: u64, in_features: u64) -> Int8Matrix {
    let made = |category, dims: &[u64], dtype| {
        cx.within(category, || cx.launch(Kernel::Scratch("weight"), &[], Layout::contiguous(dims), dtype))
    };
    let whole = made(Category::Temporary, &[out_features, in_features], DType::F16);
    let scales = made(Category::Weights, &[out_features], DType::F32);
    let values = made(Category::Weights, &[out_features, in_features], DType::I8);
    drop(whole);
    Int8Matrix { values, scales }
}
