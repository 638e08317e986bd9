//! Arrays of candle.

use candle_core::{DType as CandleType, Device, Tensor};

use super::VerifyError;
use super::array::{Array, Binary, Compare, Result, Unary};
use crate::dtype::DType;

impl From<candle_core::Error> for VerifyError {
    fn from(error: candle_core::Error) -> Self {
        // a backtrace may follow
        let text = error.to_string();
        Self::Candle(text.lines().next().unwrap_or_default().to_owned())
    }
}

fn type_of(dtype: DType) -> CandleType {
    match dtype {
        DType::F32 => CandleType::F32,
        DType::F16 => CandleType::F16,
        DType::BF16 => CandleType::BF16,
        DType::I64 => CandleType::I64,
        DType::I32 => CandleType::I32,
        DType::I8 | DType::U8 | DType::Bool => CandleType::U8,
    }
}

impl Array for Tensor {
    type Device = Device;

    fn zeros(device: &Device, dims: &[usize], dtype: DType) -> Result<Self> {
        // CUDA allocates no memory of no bytes; nobody computes with it
        let device = if dims.contains(&0) { &Device::Cpu } else { device };
        Ok(Self::zeros(dims, type_of(dtype), device)?)
    }

    fn ones(device: &Device, dims: &[usize], dtype: DType) -> Result<Self> {
        Ok(Self::ones(dims, type_of(dtype), device)?)
    }

    fn floats(device: &Device, len: usize, numbers: &mut dyn FnMut() -> f32) -> Result<Self> {
        let mut made = Vec::with_capacity(len);
        made.extend((0..len).map(|_| numbers()));
        Ok(Self::from_vec(made, len, device)?)
    }

    fn integers(device: &Device, len: usize, numbers: &mut dyn FnMut() -> i64) -> Result<Self> {
        let mut made = Vec::with_capacity(len);
        made.extend((0..len).map(|_| numbers()));
        Ok(Self::from_vec(made, len, device)?)
    }

    fn dims(&self) -> Vec<usize> {
        self.dims().to_vec()
    }

    fn dtype(&self) -> DType {
        match self.dtype() {
            CandleType::F32 => DType::F32,
            CandleType::F16 => DType::F16,
            CandleType::BF16 => DType::BF16,
            CandleType::I64 => DType::I64,
            CandleType::I32 => DType::I32,
            _ => DType::U8,
        }
    }

    fn reshape(&self, dims: &[usize]) -> Result<Self> {
        Ok(self.reshape(dims)?)
    }

    fn narrow(&self, dim: usize, start: usize, len: usize) -> Result<Self> {
        Ok(self.narrow(dim, start, len)?)
    }

    fn permute(&self, order: &[usize]) -> Result<Self> {
        Ok(self.permute(order)?)
    }

    fn broadcast(&self, dims: &[usize]) -> Result<Self> {
        Ok(self.broadcast_as(dims)?)
    }

    fn squeeze(&self, dim: usize) -> Result<Self> {
        Ok(self.squeeze(dim)?)
    }

    fn unsqueeze(&self, dim: usize) -> Result<Self> {
        Ok(self.unsqueeze(dim)?)
    }

    fn is_contiguous(&self) -> bool {
        self.is_contiguous()
    }

    fn copy(&self) -> Result<Self> {
        Ok(self.force_contiguous()?)
    }

    fn cast(&self, dtype: DType) -> Result<Self> {
        Ok(self.to_dtype(type_of(dtype))?)
    }

    fn unary(&self, function: Unary) -> Result<Self> {
        Ok(match function {
            Unary::Exp => self.exp(),
            Unary::Log => self.log(),
            Unary::Sqrt => self.sqrt(),
            Unary::Recip => self.recip(),
            Unary::Neg => self.neg(),
            Unary::Sqr => self.sqr(),
            Unary::Cos => self.cos(),
            Unary::Sin => self.sin(),
            Unary::Silu => self.silu(),
        }?)
    }

    fn affine(&self, factor: f64, number: f64) -> Result<Self> {
        Ok(self.affine(factor, number)?)
    }

    fn binary(&self, other: &Self, function: Binary) -> Result<Self> {
        Ok(match function {
            Binary::Add => self.add(other),
            Binary::Sub => self.sub(other),
            Binary::Mul => self.mul(other),
            Binary::Div => self.div(other),
            Binary::Min => self.minimum(other),
            Binary::Max => self.maximum(other),
        }?)
    }

    fn compare(&self, other: &Self, how: Compare) -> Result<Self> {
        Ok(match how {
            Compare::Eq => self.eq(other),
            Compare::Ge => self.ge(other),
            Compare::Gt => self.gt(other),
            Compare::Le => self.le(other),
        }?)
    }

    fn sum(&self, dims: &[usize]) -> Result<Self> {
        Ok(self.sum_keepdim(dims)?)
    }

    fn max(&self, dim: usize) -> Result<Self> {
        Ok(self.max_keepdim(dim)?)
    }

    fn matmul(&self, other: &Self) -> Result<Self> {
        Ok(self.matmul(other)?)
    }

    fn cat(parts: &[&Self], dim: usize) -> Result<Self> {
        Ok(Self::cat(parts, dim)?)
    }

    fn rows(&self, ids: &Self) -> Result<Self> {
        Ok(self.index_select(ids, 0)?)
    }

    fn pick(&self, ids: &Self) -> Result<Self> {
        Ok(self.gather(ids, 1)?)
    }

    fn put(&self, ids: &Self, source: &Self) -> Result<()> {
        Ok(self.scatter_add_set(ids, source, 1)?)
    }

    fn add_rows(&self, ids: &Self, source: &Self) -> Result<Self> {
        Ok(self.index_add(ids, source, 0)?)
    }

    fn numbers(&self) -> Result<Vec<f32>> {
        Ok(self.flatten_all()?.to_dtype(CandleType::F32)?.to_vec1()?)
    }
}
