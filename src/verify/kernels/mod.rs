//! What each kernel computes, of arrays with or without data.

mod attention;
mod elementwise;
mod optimizer;
mod quantized;
mod shape;
mod softmax;

use super::VerifyError;
use super::array::{Array, Result};
use super::value::{dims, storage_order};
use crate::dtype::DType;
use crate::ghost::{Kernel, Layout};

pub(super) use optimizer::AdamW;

/// What a kernel is run on and for.
pub(super) struct Call<'a, A: Array> {
    pub(super) inputs: &'a [A],
    pub(super) layout: &'a Layout,
    pub(super) dtype: DType,
    pub(super) device: &'a A::Device,
    pub(super) adamw: AdamW,
}

impl<A: Array> Call<'_, A> {
    fn input(&self, index: usize) -> Result<&A> {
        self.inputs.get(index).ok_or_else(|| VerifyError::Kernel(format!("no input {index}")))
    }

    fn dims(&self) -> Vec<usize> {
        dims(self.layout)
    }

    /// A number that is looked at as an array of these sizes.
    fn constant(&self, number: f64, dims: &[usize], dtype: DType) -> Result<A> {
        let ones = vec![1; dims.len()];
        A::ones(self.device, &ones, dtype)?.scale(number)?.broadcast(dims)
    }

    /// 0, 1, 2 ...
    fn range(&self, len: usize) -> Result<A> {
        let mut next = -1;
        A::integers(self.device, len, &mut || {
            next += 1;
            next
        })
    }

    /// An input as large as the output, in the order of its storage.
    fn aligned(&self, index: usize) -> Result<A> {
        self.input(index)?.widened(&self.dims())?.permute(&storage_order(self.layout))
    }

    /// What has the output's sizes, as memory in the order of its storage.
    fn stored(&self, array: &A) -> Result<A> {
        array.permute(&storage_order(self.layout))?.flat()
    }
}

/// Whether a kernel reads what it is given: not where it stands for memory that only CUDA's kernels need.
pub(super) fn reads(kernel: &Kernel) -> bool {
    match kernel {
        Kernel::Scratch(_) => false,
        Kernel::Attention { what, .. } => attention::is_result(what),
        Kernel::AttentionBackward { what, .. } => attention::is_gradient(what),
        _ => true,
    }
}

/// Runs a kernel; what comes out lies in the order of the layout's storage, in one dimension. `None`: what this stands for
/// takes no memory here.
pub(super) fn run<A: Array>(kernel: &Kernel, call: &Call<'_, A>) -> Result<Option<A>> {
    let out = match *kernel {
        Kernel::Scratch(_) => return Ok(None),
        Kernel::Zeros => A::zeros(call.device, &[call.dims().iter().product()], call.dtype)?,
        Kernel::Ones => A::ones(call.device, &[call.dims().iter().product()], call.dtype)?,
        Kernel::Arange => call.range(call.dims().iter().product())?,
        Kernel::Cast | Kernel::Copy => elementwise::copy(call)?,
        Kernel::Add => elementwise::binary(call, A::add)?,
        Kernel::Sub => elementwise::binary(call, A::sub)?,
        Kernel::Mul => elementwise::binary(call, A::mul)?,
        Kernel::MulScalar(factor) => elementwise::one(call, |x| x.scale(factor))?,
        Kernel::AddScalar(number) => elementwise::one(call, |x| x.affine(1.0, number))?,
        Kernel::Neg => elementwise::one(call, |x| x.scale(-1.0))?,
        Kernel::Pow(exponent) => elementwise::one(call, |x| elementwise::power(x, exponent))?,
        Kernel::Unary(name) => elementwise::unary(name, call)?,
        Kernel::Binary(name) => elementwise::combined(name, call)?,
        Kernel::UnaryBackward(name) => elementwise::unary_backward(name, call)?,
        Kernel::Where => elementwise::mask(call)?,
        Kernel::Sum => shape::sum(call)?,
        Kernel::Mean => shape::mean(call)?,
        Kernel::MatMul { transpose_a, transpose_b } => shape::matmul(call, transpose_a, transpose_b)?,
        Kernel::Cat { dim } => shape::cat(call, call.layout.axis_of(dim))?,
        Kernel::SliceBackward { dim, start } => shape::slice_backward(call, call.layout.axis_of(dim), start)?,
        Kernel::Embedding => shape::embedding(call)?,
        Kernel::EmbeddingBackward => shape::embedding_backward(call)?,
        Kernel::Softmax => softmax::softmax(call)?,
        Kernel::SoftmaxBackward => softmax::softmax_backward(call)?,
        Kernel::LogSoftmax => softmax::log_softmax(call)?,
        Kernel::LogSoftmaxBackward => softmax::log_softmax_backward(call)?,
        Kernel::NllLoss => softmax::nll_loss(call)?,
        Kernel::NllTotalWeight => softmax::total_weight(call)?,
        Kernel::NllLossBackward => softmax::nll_loss_backward(call)?,
        Kernel::Attention { what, causal } => match attention::forward(what, causal, call)? {
            Some(out) => out,
            None => return Ok(None),
        },
        Kernel::AttentionBackward { what, causal } => match attention::backward(what, causal, call)? {
            Some(out) => out,
            None => return Ok(None),
        },
        Kernel::Dequantize(what) => quantized::dequantize(what, call)?,
        Kernel::Quantize(what) => quantized::quantize(what, call)?,
        Kernel::Norm => optimizer::norm(call)?,
        Kernel::Stack => shape::stack(call)?,
        Kernel::Moment(what) => optimizer::moment(what, call)?,
        Kernel::Denominator { step } => optimizer::denominator(step, call)?,
        Kernel::Update { step } => optimizer::update(step, call)?,
        ref other => return Err(no_kernel(other)),
    };
    Ok(Some(out))
}

fn no_kernel(kernel: &Kernel) -> VerifyError {
    VerifyError::Kernel(format!("{kernel:?} is not carried out"))
}
