//! What kernels are written in: arrays with data, or without.

use super::VerifyError;
use crate::dtype::DType;

/// A function of one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unary {
    Exp,
    Log,
    Sqrt,
    Recip,
    Neg,
    Sqr,
    Cos,
    Sin,
    Silu,
}

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    Min,
    Max,
}

/// A comparison, whose result is a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compare {
    Eq,
    Ge,
    Gt,
    Le,
}

pub(super) type Result<T> = std::result::Result<T, VerifyError>;

/// An array of numbers, or what is known of one without them. Cloning and looking differently at it costs nothing; each
/// other method makes one new array and nothing beside it, but for what [`Array::matmul`] says.
pub(super) trait Array: Clone + 'static {
    /// Where arrays are made.
    type Device: Clone + 'static;

    fn zeros(device: &Self::Device, dims: &[usize], dtype: DType) -> Result<Self>;
    fn ones(device: &Self::Device, dims: &[usize], dtype: DType) -> Result<Self>;
    /// `len` numbers in fp32, one after another.
    fn floats(device: &Self::Device, len: usize, numbers: &mut dyn FnMut() -> f32) -> Result<Self>;
    /// `len` whole numbers.
    fn integers(device: &Self::Device, len: usize, numbers: &mut dyn FnMut() -> i64) -> Result<Self>;

    fn dims(&self) -> Vec<usize>;
    fn dtype(&self) -> DType;

    /// The same numbers in order under other sizes: only of what lies in order.
    fn reshape(&self, dims: &[usize]) -> Result<Self>;
    fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Self>;
    fn permute(&self, order: &[usize]) -> Result<Self>;
    fn broadcast(&self, dims: &[usize]) -> Result<Self>;
    fn squeeze(&self, dim: usize) -> Result<Self>;
    fn unsqueeze(&self, dim: usize) -> Result<Self>;
    fn is_contiguous(&self) -> bool;

    fn copy(&self) -> Result<Self>;
    /// In another type; the same array where it has that type.
    fn cast(&self, dtype: DType) -> Result<Self>;
    fn unary(&self, function: Unary) -> Result<Self>;
    /// `self * factor + number`
    fn affine(&self, factor: f64, number: f64) -> Result<Self>;
    /// Of arrays of the same sizes and type.
    fn binary(&self, other: &Self, function: Binary) -> Result<Self>;
    fn compare(&self, other: &Self, how: Compare) -> Result<Self>;
    /// Over these dimensions, which stay as one.
    fn sum(&self, dims: &[usize]) -> Result<Self>;
    fn max(&self, dim: usize) -> Result<Self>;
    /// `[b, m, k] · [b, k, n]`. Candle's CPU backend has no kernel for bf16: it widens all of both arrays' memory to fp32,
    /// multiplies, and narrows the product.
    fn matmul(&self, other: &Self) -> Result<Self>;
    /// Beside each other along a dimension.
    fn cat(parts: &[&Self], dim: usize) -> Result<Self>;
    /// Rows of `self`, which lies in order.
    fn rows(&self, ids: &Self) -> Result<Self>;
    /// `self[i, ids[i]]`, `[rows, 1]`.
    fn pick(&self, ids: &Self) -> Result<Self>;
    /// `self[i, ids[i]] += source[i]`, in place: nothing is made.
    fn put(&self, ids: &Self, source: &Self) -> Result<()>;
    /// `self` with `source`'s rows added to the rows `ids`.
    fn add_rows(&self, ids: &Self, source: &Self) -> Result<Self>;
    /// The numbers in order, in fp32; none where there are none.
    fn numbers(&self) -> Result<Vec<f32>>;

    // what follows is put together from these

    /// As many dimensions as `dims` and these sizes.
    fn widened(&self, dims: &[usize]) -> Result<Self> {
        let own = self.dims();
        if own == dims {
            return Ok(self.clone());
        }
        self.broadcast(dims)
    }

    fn flat(&self) -> Result<Self> {
        let contiguous = if self.is_contiguous() { self.clone() } else { self.copy()? };
        contiguous.reshape(&[self.dims().iter().product()])
    }

    fn add(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Add)
    }

    fn sub(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Sub)
    }

    fn mul(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Mul)
    }

    fn div(&self, other: &Self) -> Result<Self> {
        self.binary(other, Binary::Div)
    }

    fn scale(&self, factor: f64) -> Result<Self> {
        self.affine(factor, 0.0)
    }

    /// Two dimensions exchanged.
    fn swapped(&self, a: usize, b: usize) -> Result<Self> {
        let mut order: Vec<usize> = (0..self.dims().len()).collect();
        order.swap(a, b);
        self.permute(&order)
    }

    /// Summed in fp32, in its own type.
    fn exact_sum(&self, dims: &[usize]) -> Result<Self> {
        let dtype = self.dtype();
        if matches!(dtype, DType::BF16 | DType::F16) {
            return self.cast(DType::F32)?.sum(dims)?.cast(dtype);
        }
        self.sum(dims)
    }
}
