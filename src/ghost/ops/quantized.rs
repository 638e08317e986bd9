//! bitsandbytes' autograd functions: products with weights held in 4 or 8 bits (`bitsandbytes/autograd/_functions.py`,
//! 0.50.2).

use smallvec::smallvec;

use crate::dtype::DType;
use crate::ghost::context::{Context, MULTIPROCESSORS};
use crate::ghost::executor::Kernel;
use crate::ghost::layout::Layout;
use crate::ghost::ledger::Category;
use crate::ghost::tensor::Tensor;

/// A matrix in blocks of 4-bit values (`QuantState` and the packed weight).
#[derive(Clone)]
pub struct FourBitMatrix {
    /// Two values a byte, `[ceil(out * in / 2), 1]`.
    pub packed: Tensor,
    /// The largest magnitude of each block: fp32, or a byte where the scales are quantised too.
    pub absmax: Tensor,
    /// The 16 values a code stands for.
    pub code: Tensor,
    /// How `absmax` is quantised, where it is.
    pub nested: Option<NestedAbsmax>,
    /// Rows.
    pub out_features: u64,
    /// Columns.
    pub in_features: u64,
    /// What it was quantised from, and is dequantised to.
    pub dtype: DType,
}

/// Quantised scales: `double_quant`.
#[derive(Clone)]
pub struct NestedAbsmax {
    /// Their mean, subtracted before they were quantised.
    pub offset: Tensor,
    /// The largest magnitude of each block of them.
    pub absmax: Tensor,
    /// The 256 values a code stands for: a copy for each matrix.
    pub code: Tensor,
    /// What `code` is copied from: bitsandbytes keeps one for the process (`name2qmap`).
    pub shared_code: Tensor,
}

/// A matrix in bytes with a scale for each row (LLM.int8()).
#[derive(Clone)]
pub struct Int8Matrix {
    /// `CB`, `[out, in]`
    pub values: Tensor,
    /// `SCB`, `[out]`, fp32
    pub scales: Tensor,
}

/// Values in a block that share a scale (`bitsandbytes/nn/modules.py`, `Params4bit`).
pub const FOUR_BIT_BLOCK: u64 = 64;

/// Whether `gemm_4bit` multiplies by its own kernel, without a dequantised weight
/// (`_gemm_4bit_use_custom_cuda` in `bitsandbytes/backends/cuda/ops.py`, its branches for compute capability 8.0).
fn multiplies_packed(dtype: DType, rows: u64, out_features: u64, in_features: u64) -> bool {
    let (m, n, k, sms) = (rows, out_features, in_features, MULTIPROCESSORS);
    if m > 1536 || !k.is_multiple_of(FOUR_BIT_BLOCK) {
        return false;
    }
    if m <= 4 {
        return true;
    }
    if dtype == DType::F32 {
        return m < 8;
    }
    let blocks = n.div_ceil(64);
    if n * k < 4 * 1024 * 1024 {
        if k * 2 < n {
            return m <= if blocks * 3 < sms { 1536 } else { 512 };
        }
        if blocks * 4 <= sms {
            let tall = if blocks * 8 <= sms { 32 } else { 128 };
            return m <= if k >= n { tall } else { 384 };
        }
        return blocks * 2 <= sms && m <= 16;
    }
    if m > 512 {
        return false;
    }
    let square_under_wave = k == n && blocks >= 48 && blocks * 5 < sms * 3;
    if m < 8 {
        let tall_under_wave = k > n && blocks * 4 < sms * 3;
        return !(m >= 6 && blocks >= 48 && (tall_under_wave || square_under_wave));
    }
    if blocks >= sms * 3 {
        return m <= 128;
    }
    if blocks >= sms {
        return m <= if k < n { 64 } else { 32 };
    }
    if (k >= n * 3 && blocks * 4 > sms) || square_under_wave {
        return false;
    }
    if blocks * 2 < sms {
        if k <= n {
            return m <= 128;
        }
        if blocks * 3 >= sms {
            return false;
        }
    }
    m <= if blocks >= sms / 2 && k < n { 128 } else { 16 }
}

impl Context {
    /// `bitsandbytes.matmul_4bit(x, weight.t(), quant_state, bias)`. Nothing is kept: backward dequantises the weight
    /// again.
    pub fn matmul_4bit(&self, x: &Tensor, weight: &FourBitMatrix, bias: Option<&Tensor>) -> Tensor {
        let node = self.record(&[x], &[]);
        let mut out = self.no_grad(|| self.gemm_4bit(x, weight, bias));
        if let Some(mut node) = node {
            node.expecting(&[x], out.layout(), out.dtype());
            let weight = weight.clone();
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let grad = incoming.grad;
                let dense = cx.cast(cx.dequantize_4bit(&weight), grad.dtype());
                smallvec![Some(cx.times(grad, &dense))]
            });
        }
        out
    }

    /// `bitsandbytes.matmul(x, weight, bias, threshold=6.0)`: input and weight are multiplied in bytes. The function's
    /// context keeps the input until the graph goes, whether or not backward has run.
    ///
    /// Inputs are taken to have no outlier columns, which would be multiplied apart in the input's type: real models have
    /// a handful among thousands.
    pub fn matmul_8bit(&self, x: &Tensor, weight: &Int8Matrix, bias: Option<&Tensor>) -> Tensor {
        let [out_features, in_features] = [weight.values.dim(0), weight.values.dim(1)];
        let rows = x.layout().numel() / in_features.max(1);
        let node = self.record(&[x], &[]);
        let mut out = self.no_grad(|| {
            let flat = self.reshape(x, &[rows, in_features]);
            let out = self.scaled_product(&flat, weight, bias);
            self.reshape(out, x.layout().narrow(-1, out_features).dims())
        });
        if let Some(mut node) = node {
            node.hold(x.detach());
            node.expecting(&[x], out.layout(), out.dtype());
            let (weight, dtype) = (weight.clone(), x.dtype());
            node.finish(self, &mut [&mut out], move |cx, incoming| {
                let dense = cx.launch(Kernel::Dequantize("8-bit"), &[&weight.values], *weight.values.layout(), dtype);
                // `state.SCB.unsqueeze(1).mul(1.0 / 127.0)`, by which it is multiplied in place
                drop(cx.launch(Kernel::MulScalar(1.0), &[&weight.scales], *weight.scales.layout(), DType::F32));
                let grad = cx.cast(incoming.grad, dtype);
                smallvec![Some(cx.times(&grad, &dense))]
            });
        }
        out
    }

    /// `int8_vectorwise_quant` and `int8_mixed_scaled_mm` without outliers.
    fn scaled_product(&self, x: &Tensor, weight: &Int8Matrix, bias: Option<&Tensor>) -> Tensor {
        let [rows, out_features] = [x.dim(0), weight.values.dim(0)];
        let temporary = |kernel: Kernel, inputs: &[&Tensor], dims: &[u64], dtype| {
            self.within(Category::Temporary, || self.launch(kernel, inputs, Layout::contiguous(dims), dtype))
        };
        let (quantized, scales) = {
            let half = self.within(Category::Temporary, || self.cast(x, DType::F16));
            let scales = temporary(Kernel::Quantize("scales"), &[&half], &[rows], DType::F32);
            let quantized = temporary(Kernel::Quantize("8-bit"), &[&half], x.dims(), DType::I8);
            let magnitudes = temporary(Kernel::Unary("abs"), &[&half], x.dims(), DType::F16);
            let outliers = temporary(Kernel::Unary("ge"), &[&magnitudes], x.dims(), DType::Bool);
            drop(magnitudes);
            drop(self.within(Category::Temporary, || self.any(&outliers)));
            if rows > 1 {
                // the zero that is written to the outlier columns
                drop(temporary(Kernel::Scratch("zero"), &[], &[], DType::I8));
            }
            (quantized, scales)
        };
        let sums = temporary(
            Kernel::MatMul { transpose_a: false, transpose_b: true },
            &[&quantized, &weight.values],
            &[rows, out_features],
            DType::I32,
        );
        // a bias in fp16 is added by this kernel, another in place
        let scaled = self.launch(
            Kernel::Dequantize("sums"),
            &[Some(&sums), Some(&scales), Some(&weight.scales), bias].into_iter().flatten().collect::<Vec<_>>(),
            *sums.layout(),
            DType::F16,
        );
        self.cast(&scaled, x.dtype())
    }

    fn gemm_4bit(&self, x: &Tensor, weight: &FourBitMatrix, bias: Option<&Tensor>) -> Tensor {
        let FourBitMatrix { out_features, in_features, .. } = *weight;
        let rows = x.layout().numel() / in_features.max(1);
        if multiplies_packed(x.dtype(), rows, out_features, in_features) {
            let x = self.contiguous(x);
            let layout = Layout::contiguous(x.layout().narrow(-1, out_features).dims());
            let mut inputs = vec![&x, &weight.packed, &weight.code, &weight.absmax];
            if let Some(nested) = &weight.nested {
                inputs.extend([&nested.absmax, &nested.code, &nested.offset]);
            }
            return self.launch(Kernel::Dequantize("product"), &inputs, layout, x.dtype());
        }
        // `_dequant_linear_fallback`: unlike `dequantize_4bit`, it adds the offset out of place
        let (dense, _absmax, _scales) = self.within(Category::Temporary, || {
            let scales = weight.nested.as_ref().map(|nested| self.dequantize_absmax(weight, nested, false));
            let absmax = match (&scales, &weight.nested) {
                (Some(scales), Some(nested)) => self.binary(Kernel::Add, scales, &nested.offset),
                _ => weight.absmax.clone(),
            };
            let layout = Layout::contiguous(&[out_features, in_features]);
            let dense =
                self.launch(Kernel::Dequantize("4-bit"), &[&weight.packed, &weight.code, &absmax], layout, x.dtype());
            (dense, absmax, scales)
        });
        self.linear(x, &dense, bias)
    }

    /// Scales, with the offset added in place where it is.
    fn dequantize_absmax(&self, weight: &FourBitMatrix, nested: &NestedAbsmax, offset: bool) -> Tensor {
        let inputs = [&weight.absmax, &nested.absmax, &nested.code];
        let scales = self.launch(Kernel::Dequantize("absmax"), &inputs, *weight.absmax.layout(), DType::F32);
        if offset {
            self.update(Kernel::Add, &scales, &[&nested.offset]);
        }
        scales
    }

    /// `bitsandbytes.functional.dequantize_4bit`: quantised scales come first, and go when the weight is there.
    pub(crate) fn dequantize_4bit(&self, weight: &FourBitMatrix) -> Tensor {
        let scales = weight.nested.as_ref().map(|nested| self.dequantize_absmax(weight, nested, true));
        let absmax = scales.as_ref().unwrap_or(&weight.absmax);
        let layout = Layout::contiguous(&[weight.out_features, weight.in_features]);
        self.launch(Kernel::Dequantize("4-bit"), &[&weight.packed, &weight.code, absmax], layout, weight.dtype)
    }

    /// `bitsandbytes.functional.int8_vectorwise_dequant`: to fp32, in two products.
    pub(crate) fn dequantize_8bit(&self, weight: &Int8Matrix) -> Tensor {
        let inputs = [&weight.values, &weight.scales];
        let product = self.launch(Kernel::Dequantize("8-bit"), &inputs, *weight.values.layout(), DType::F32);
        self.launch(Kernel::MulScalar(1.0), &[&product], *weight.values.layout(), DType::F32)
    }

    /// `torch.matmul(grad, dense)` with a matrix on the right.
    fn times(&self, grad: &Tensor, dense: &Tensor) -> Tensor {
        let inner = grad.dim(-1);
        let rows = grad.layout().numel() / inner.max(1);
        let flat = self.reshape(grad, &[rows, inner]);
        let columns = dense.dim(-1);
        let product = self.untracked_matmul(&flat, dense, &[rows, columns]);
        self.reshape(product, grad.layout().narrow(-1, columns).dims())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_are_multiplied_packed_and_many_are_not() {
        let packed = |rows| multiplies_packed(DType::BF16, rows, 11008, 4096);
        assert!(packed(1) && packed(4) && packed(64));
        assert!(!packed(1024) && !packed(4096));
        assert!(!multiplies_packed(DType::BF16, 16, 4096, 4096), "a square weight under a wave of blocks");
        assert!(!multiplies_packed(DType::F32, 8, 4096, 4096), "fp32 has no tensor-core kernel");
        assert!(!multiplies_packed(DType::BF16, 1, 4096, 4000), "blocks must not straddle rows");
    }

    #[test]
    fn a_four_bit_product_keeps_nothing_for_backward() {
        let cx = Context::new();
        let made = |dims: &[u64], dtype| cx.parameter("part", dims, dtype, false);
        let weight = FourBitMatrix {
            packed: made(&[128 * 256 / 2, 1], DType::U8),
            absmax: made(&[128 * 256 / FOUR_BIT_BLOCK], DType::F32),
            code: made(&[16], DType::F32),
            nested: None,
            out_features: 128,
            in_features: 256,
            dtype: DType::BF16,
        };
        let x = cx.parameter("x", &[2048, 256], DType::BF16, true);
        let live = |cx: &Context| {
            let playback = crate::ghost::Playback::default();
            playback.play(&cx.ledger().entries()).live()
        };
        let before = live(&cx);
        let y = cx.matmul_4bit(&x, &weight, None);
        assert_eq!(live(&cx) - before, y.bytes() + crate::ghost::CUBLAS_WORKSPACE);
        cx.backward(&cx.sum_all(&y));
        assert_eq!(x.grad().map(|grad| grad.bytes()), Some(x.bytes()));
    }
}
