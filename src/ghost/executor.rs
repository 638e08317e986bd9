//! What carries out an operation's kernels: nothing, or something with real data.
//!
//! Model code and operations are written once. They say which [`Kernel`] runs on which tensors; a ghost run has no
//! executor and only charges the ledger, a real run has one that keeps a [`Value`] beside every ghost tensor. An
//! operation's backward sees the tensors it saved and the incoming gradient and nothing else, in both.

use std::any::Any;
use std::rc::Rc;

use super::layout::Layout;
use crate::dtype::DType;

/// The data of a tensor, in whatever form the executor keeps it.
pub type Value = Rc<dyn Any>;

/// What a kernel computes from its inputs. Those that only look at the same bytes in another way are views.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs)] // PyTorch's own names
pub enum Kernel {
    // creation
    Parameter(&'static str),
    Input(&'static str),
    Zeros,
    Ones,
    Arange,
    Scratch(&'static str),
    // views
    View,
    Transpose(isize, isize),
    Narrow {
        dim: isize,
        start: u64,
    },
    Select {
        dim: isize,
    },
    Unsqueeze(usize),
    Expand,
    // elementwise
    Cast,
    Copy,
    Add,
    Sub,
    Mul,
    MulScalar(f64),
    Neg,
    AddScalar(f64),
    Pow(i32),
    Unary(&'static str),
    UnaryBackward(&'static str),
    Dropout,
    Where,
    // reductions
    Sum,
    Mean,
    // products
    /// `a · b`, with either operand transposed; a third input is added to every row.
    MatMul {
        transpose_a: bool,
        transpose_b: bool,
    },
    // whole operations
    Cat {
        dim: isize,
    },
    SliceBackward {
        dim: isize,
        start: u64,
    },
    Softmax,
    SoftmaxBackward,
    /// `out` of input, weight and bias where there are any; `mean` and `rstd` of the input.
    LayerNorm(&'static str),
    /// The gradient of `x`, `weight` or `bias`, from the output's, the input, `mean`, `rstd` and, for `x`, the weight.
    LayerNormBackward(&'static str),
    /// A convolution's `out`, of input, kernel and bias.
    Conv(&'static str),
    /// The gradient of `x` or `weight`.
    ConvBackward(&'static str),
    Embedding,
    EmbeddingBackward,
    Attention(&'static str),
    AttentionBackward(&'static str),
    LogSoftmax,
    LogSoftmaxBackward,
    NllLoss,
    NllTotalWeight,
    NllLossBackward,
    Dequantize,
    Quantize,
}

/// Carries out kernels on real data.
pub trait Executor {
    /// Runs `kernel` on `inputs`; returns the value of its output of the given layout and type.
    fn run(&self, kernel: &Kernel, inputs: &[&Value], layout: &Layout, dtype: DType) -> Value;
}
