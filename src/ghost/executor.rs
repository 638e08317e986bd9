//! What carries out an operation's kernels: nothing, or something with real data.
//!
//! Model code and operations are written once. They say which [`Kernel`] runs on which tensors; a ghost run has no
//! executor and only charges the ledger, a real run has one that keeps a [`Value`] beside every ghost tensor. An
//! operation's backward sees the tensors it saved and the incoming gradient and nothing else, in both.

use std::any::Any;
use std::rc::Rc;

use super::layout::Layout;
use super::ledger::{Ledger, Phase};
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
    /// Of two tensors.
    Binary(&'static str),
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
    /// `out`, or a number a row that backward needs (`logsumexp`), of query, key, value and an additive mask where there is
    /// one; later tokens are not looked at where it is causal.
    Attention {
        what: &'static str,
        causal: bool,
    },
    /// The gradient of the `query`, `key` or `value`, from those three, the gradient, the output, its `logsumexp` and the
    /// mask.
    AttentionBackward {
        what: &'static str,
        causal: bool,
    },
    LogSoftmax,
    LogSoftmaxBackward,
    NllLoss,
    NllTotalWeight,
    NllLossBackward,
    Dequantize(&'static str),
    Quantize(&'static str),
    // optimizers: how fast they learn is for the executor to say
    /// A norm of the norms given, or of all numbers of one tensor.
    Norm,
    /// Numbers beside each other.
    Stack,
    /// `average` of gradients or of their `square`s, in place.
    Moment(&'static str),
    /// What a moment of squares divides an update by in a step, the first of which is 1.
    Denominator {
        step: i32,
    },
    /// A parameter's update in place from its gradient's average and the denominator.
    Update {
        step: i32,
    },
}

/// Carries out kernels on real data.
pub trait Executor {
    /// Runs `kernel` on `inputs`; returns the value of its output of the given layout and type.
    fn run(&self, kernel: &Kernel, inputs: &[&Value], layout: &Layout, dtype: DType) -> Value;

    /// Looks at the data of `of` under another layout.
    fn view(&self, kernel: &Kernel, of: &Value, layout: &Layout, dtype: DType) -> Value {
        self.run(kernel, &[of], layout, dtype)
    }

    /// Runs `kernel` on `target` and `others` and writes the result over `target`.
    fn write_over(&self, kernel: &Kernel, target: &Value, others: &[&Value], layout: &Layout, dtype: DType) -> Value {
        let inputs: Vec<&Value> = std::iter::once(target).chain(others.iter().copied()).collect();
        self.run(kernel, &inputs, layout, dtype)
    }

    /// What follows belongs to a phase.
    fn begin(&self, _phase: Phase) {}

    /// A kernel has run, and `ledger` has what the ghosts hold.
    fn ran(&self, _kernel: &Kernel, _ledger: &Ledger) {}
}
