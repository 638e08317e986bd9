//! Element types of tensors.

use std::fmt;

/// The type of a dense tensor's elements.
///
/// Weights that are quantised in blocks (NF4, int8 with scales) are several dense tensors together; see
/// [`crate::nn`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// 32-bit float.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    BF16,
    /// 64-bit integer: token ids, positions, labels.
    I64,
    /// 32-bit integer.
    I32,
    /// Signed byte.
    I8,
    /// Byte: packed 4-bit values, 8-bit optimizer states.
    U8,
    /// Boolean mask, one byte an element.
    Bool,
}

impl DType {
    /// Bytes an element takes.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether it is a floating-point type (one that can carry a gradient).
    pub const fn is_float(self) -> bool {
        matches!(self, Self::F32 | Self::F16 | Self::BF16)
    }

    /// The type PyTorch promotes two floating-point operands to.
    #[must_use]
    pub fn promote(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (a, b) if a.is_float() && !b.is_float() => a,
            (a, b) if b.is_float() && !a.is_float() => b,
            (a, b) if a.is_float() && b.is_float() => Self::F32,
            (Self::I64, _) | (_, Self::I64) => Self::I64,
            (Self::I32, _) | (_, Self::I32) => Self::I32,
            (a, _) => a,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "fp32",
            Self::F16 => "fp16",
            Self::BF16 => "bf16",
            Self::I64 => "int64",
            Self::I32 => "int32",
            Self::I8 => "int8",
            Self::U8 => "uint8",
            Self::Bool => "bool",
        })
    }
}
