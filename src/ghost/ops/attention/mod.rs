//! `scaled_dot_product_attention`: which kernel PyTorch picks on compute capability 8.x, and what each keeps.

mod efficient;
mod flash;
mod math;

use self::flash::Caller;
pub use self::flash::MAX_WIDTH as FLASH_MAX_WIDTH;
use crate::dtype::DType;
use crate::ghost::context::Context;
use crate::ghost::tensor::Tensor;

/// A fused attention kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttentionKernel {
    /// FlashAttention-2: half types, no mask, heads up to 256 wide.
    Flash,
    /// Memory-efficient attention (CUTLASS): any type, masks, no grouped heads.
    Efficient,
    /// Written out in matrix products.
    Math,
}

/// How attention is called.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttentionOptions {
    /// A causal mask is part of the kernel (`is_causal`).
    pub causal: bool,
    /// Key and value heads are shared by groups of query heads (`enable_gqa`).
    pub grouped: bool,
    /// Attention probabilities are dropped out.
    pub dropout: bool,
}

impl AttentionKernel {
    /// The kernel `torch.nn.functional.scaled_dot_product_attention` takes (`sdp_utils.cpp`, torch 2.11).
    pub fn choose([query, key, value]: [&Tensor; 3], mask: Option<&Tensor>, options: AttentionOptions) -> Self {
        // the fused kernels broadcast no heads
        if !options.grouped && query.dim(1) != key.dim(1) {
            return Self::Math;
        }
        let half = matches!(query.dtype(), DType::F16 | DType::BF16);
        // 16 bytes at a time
        let aligned = (query.dim(-1) * query.dtype().bytes()).is_multiple_of(16);
        // values narrower than keys are for the other kernels
        let same_width = query.dim(-1) == value.dim(-1);
        if half && mask.is_none() && same_width && query.dim(-1) <= FLASH_MAX_WIDTH {
            Self::Flash
        } else if !options.grouped && aligned && mask.is_none_or(|mask| mask.layout().strides().last() == Some(&1)) {
            Self::Efficient
        } else {
            Self::Math
        }
    }
}

impl Context {
    /// `scaled_dot_product_attention(query, key, value, mask)`, each `[batch, heads, length, head_dim]`.
    pub fn attention(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        mask: Option<&Tensor>,
        options: AttentionOptions,
    ) -> Tensor {
        let (cast_q, cast_k, cast_v, cast_mask);
        let (query, key, value, mask) = match self.autocast_dtype() {
            Some(dtype) => {
                // C++ evaluates the casts of a call's arguments from the last to the first
                cast_mask = mask.map(|mask| self.autocast_to(mask, dtype));
                cast_v = self.autocast_to(value, dtype);
                cast_k = self.autocast_to(key, dtype);
                cast_q = self.autocast_to(query, dtype);
                (&cast_q, &cast_k, &cast_v, cast_mask.as_ref())
            }
            None => (query, key, value, mask),
        };
        let kernel = AttentionKernel::choose([query, key, value], mask, options);
        let bias = mask.map(|mask| self.attention_bias(mask, query.dtype(), kernel == AttentionKernel::Efficient));
        match kernel {
            AttentionKernel::Flash => self.padded_flash_attention(query, key, value, options, Caller::Torch),
            AttentionKernel::Efficient => self.efficient_attention([query, key, value], bias.as_ref(), options.causal),
            // autocast ends where it has cast the call's arguments
            AttentionKernel::Math => self.with_autocast_off(|| self.math_attention(query, key, value, bias, options)),
        }
    }

    /// `flash_attn_func` of the flash-attn package, or, on rows of that many `sequences` without padding,
    /// `flash_attn_varlen_func`; heads up to [`FLASH_MAX_WIDTH`] wide, half types.
    pub fn flash_attn_package(
        &self,
        [query, key, value]: [&Tensor; 3],
        options: AttentionOptions,
        sequences: Option<u64>,
    ) -> Tensor {
        self.padded_flash_attention(query, key, value, options, Caller::Package { sequences })
    }
}
