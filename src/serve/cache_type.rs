//! The types that keys and values are stored in.

use crate::dtype::DType;
use crate::job::KvCacheDtype;

/// How keys and values are stored: so many elements in a block, and the block's bytes with its scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheType {
    /// Elements of a block.
    pub elements: u64,
    /// Bytes of a block.
    pub bytes: u64,
}

impl CacheType {
    /// What `dtype` stands for in a model that computes in `computes_in`.
    ///
    /// Quantised caches of `transformers` 5.17 (`QuantizedCache`: `q_group_size = 64`) keep a scale and a shift of two bytes
    /// for each group; llama.cpp's blocks are those of `ggml-common.h` (32 elements with one or two fp16 numbers).
    ///
    /// ```
    /// use vramplan::{DType, job::KvCacheDtype, serve::CacheType};
    ///
    /// assert_eq!(CacheType::of(KvCacheDtype::Q8_0, DType::BF16).bytes_of(128), Some(136));
    /// assert_eq!(CacheType::of(KvCacheDtype::Auto, DType::BF16).bytes_of(128), Some(256));
    /// ```
    pub const fn of(dtype: KvCacheDtype, computes_in: DType) -> Self {
        let (elements, bytes) = match dtype {
            KvCacheDtype::Auto => (1, computes_in.bytes()),
            KvCacheDtype::Fp32 => (1, 4),
            KvCacheDtype::Fp16 | KvCacheDtype::Bf16 => (1, 2),
            KvCacheDtype::Fp8 => (1, 1),
            KvCacheDtype::Int8 => (64, 64 + 4),
            KvCacheDtype::Int4 => (64, 32 + 4),
            KvCacheDtype::Q8_0 => (32, 34),
            KvCacheDtype::Q5_1 => (32, 24),
            KvCacheDtype::Q5_0 => (32, 22),
            KvCacheDtype::Q4_1 => (32, 20),
            KvCacheDtype::Q4_0 | KvCacheDtype::Iq4Nl => (32, 18),
        };
        Self { elements, bytes }
    }

    /// Bytes of so many elements in a row, whole blocks; `None`: more than 64 bits hold.
    pub const fn bytes_of(self, elements: u64) -> Option<u64> {
        elements.div_ceil(self.elements).checked_mul(self.bytes)
    }
}
