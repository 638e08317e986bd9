//! `Linear4bit`

use std::cell::RefCell;

use crate::dtype::DType;
use crate::ghost::{Category, Context, FOUR_BIT_BLOCK, FourBitMatrix, Kernel, Layout, NestedAbsmax, Tensor};

/// Scales in a block that share a scale of their own, and the values a byte of them may stand for
/// (`quantize_4bit` and `create_dynamic_map`, `bitsandbytes/functional.py`).
const NESTED_BLOCK: u64 = 256;
const NESTED_CODES: u64 = 256;
/// Values 4 bits may stand for.
const CODES: u64 = 16;

/// A linear layer whose weight is held in 4 bits.
pub struct FourBit {
    /// Its weight.
    pub matrix: FourBitMatrix,
    /// What it computes in.
    pub compute_dtype: DType,
    /// Forward casts it for good where its type is not its input's.
    bias: RefCell<Option<Tensor>>,
}

impl FourBit {
    pub(super) fn new(matrix: FourBitMatrix, compute_dtype: DType, bias: Option<Tensor>) -> Self {
        Self { matrix, compute_dtype, bias: RefCell::new(bias) }
    }

    pub(in crate::nn) fn bias(&self) -> Option<Tensor> {
        self.bias.borrow().clone()
    }

    pub(in crate::nn) fn bias_mut(&mut self) -> Option<&mut Tensor> {
        self.bias.get_mut().as_mut()
    }

    pub(in crate::nn) fn forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let input_dtype = x.dtype();
        let x = cx.cast(x, self.compute_dtype);
        let bias = settled(cx, &self.bias, x.dtype());
        let out = cx.matmul_4bit(&x, &self.matrix, bias.as_ref());
        cx.cast(&out, input_dtype)
    }
}

/// `bias.data = bias.data.to(x.dtype)`
pub(super) fn settled(cx: &Context, bias: &RefCell<Option<Tensor>>, dtype: DType) -> Option<Tensor> {
    let mut bias = bias.borrow_mut();
    if let Some(bias) = bias.as_mut().filter(|bias| bias.dtype() != dtype) {
        *bias = cx.within(Category::Weights, || cx.cast(&*bias, dtype));
    }
    bias.clone()
}

/// `Params4bit._quantize`: the weight comes to the GPU whole, is quantised there and goes.
pub(super) fn load(
    cx: &Context,
    out_features: u64,
    in_features: u64,
    dtype: DType,
    double_quant: bool,
    shared_code: &mut Option<Tensor>,
) -> FourBitMatrix {
    let made = |category, kernel, of: &[&Tensor], len: u64, dtype| {
        cx.within(category, || cx.launch(kernel, of, Layout::contiguous(&[len]), dtype))
    };
    let kept = |what, of: &[&Tensor], len, dtype| made(Category::Weights, Kernel::Quantize(what), of, len, dtype);
    let passing = |kernel, of: &[&Tensor], len, dtype| made(Category::Temporary, kernel, of, len, dtype);
    let values = out_features * in_features;
    let blocks = values.div_ceil(FOUR_BIT_BLOCK);
    let whole = passing(Kernel::Parameter("weight"), &[], values, dtype);
    let absmax = kept("absmax", &[&whole], blocks, DType::F32);
    let packed = kept("4-bit", &[&whole, &absmax], values.div_ceil(2), DType::U8);
    let code = kept("code", &[], CODES, DType::F32);
    // `data.div_(data.abs().max())` in `get_4bit_type`
    let magnitudes = passing(Kernel::Scratch("abs"), &[], CODES, DType::F32);
    drop((passing(Kernel::Scratch("max"), &[], 1, DType::F32), magnitudes));
    let (absmax, nested) = if double_quant {
        let offset = cx.within(Category::Weights, || cx.mean_all(&absmax));
        let centred = passing(Kernel::Sub, &[&absmax, &offset], blocks, DType::F32);
        let shared_code = shared_code.get_or_insert_with(|| kept("dynamic map", &[], NESTED_CODES, DType::F32)).clone();
        let nested_absmax = kept("nested absmax", &[&centred], blocks.div_ceil(NESTED_BLOCK), DType::F32);
        let quantized = kept("8-bit absmax", &[&centred, &nested_absmax, &shared_code], blocks, DType::U8);
        let nested_code = kept("copied map", &[&shared_code], NESTED_CODES, DType::F32);
        drop(centred);
        (quantized, Some(NestedAbsmax { offset, absmax: nested_absmax, code: nested_code, shared_code }))
    } else {
        (absmax, None)
    };
    drop(whole);
    FourBitMatrix { packed, absmax, code, nested, out_features, in_features, dtype }
}
