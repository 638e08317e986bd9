//! How values are stored in a checkpoint.

/// A type of a checkpoint's tensors: blocks of values, each of so many bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct StoredType {
    /// Its name in the format: `BF16`, `F8_E4M3`, `Q4_K` ...
    pub name: &'static str,
    /// Values in a block.
    pub block_values: u64,
    /// Bytes of a block.
    pub block_bytes: u64,
}

impl StoredType {
    pub(super) const fn new(name: &'static str, block_values: u64, block_bytes: u64) -> Self {
        Self { name, block_values, block_bytes }
    }

    /// Bytes of `elements` values, which must be whole blocks; `None`: they are not, or are too many.
    pub fn bytes(self, elements: u64) -> Option<u64> {
        if !elements.is_multiple_of(self.block_values) {
            return None;
        }
        (elements / self.block_values).checked_mul(self.block_bytes)
    }

    /// Whether it is a floating-point type of eight bits or more, one value at a time.
    pub fn is_float(self) -> bool {
        matches!(self.name, "F64" | "F32" | "F16" | "BF16")
            || self.name.starts_with("F8_E4")
            || self.name.starts_with("F8_E5")
    }
}

/// The product of a shape's dimensions; `None`: more than 2^63.
pub(super) fn elements(shape: &[u64]) -> Option<u64> {
    shape.iter().try_fold(1_u64, |product, &dim| product.checked_mul(dim)).filter(|&product| product < 1 << 63)
}
