//! The pool of blocks that the cache is made of.

use super::error::VllmError;
use super::request::VllmRequest;
use crate::model::Model;
use crate::serve::kv::{KvRequest, kv};
use crate::units::Bytes;

/// The blocks of the cache on one GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// What one block takes, in all layers together.
    pub block_bytes: Bytes,
    /// Tokens of a block.
    pub block_size: u64,
}

impl Pool {
    /// Blocks that a sequence of so many tokens takes.
    pub const fn blocks_of(&self, tokens: u64) -> u64 {
        tokens.div_ceil(self.block_size)
    }

    /// Whole blocks in so many bytes.
    pub const fn blocks_in(&self, bytes: Bytes) -> u64 {
        bytes.0 / self.block_bytes.0
    }

    /// The longest sequence that so many blocks hold.
    pub const fn longest_in(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(self.block_size)
    }
}

/// The pool of an engine that serves `model`.
///
/// # Errors
/// The model's cache is not known, or a number makes no sense.
///
/// ```
/// use vramplan::{Bytes, model, serve::{VllmRequest, pool}};
///
/// let pool = pool(&model::resolve("llama-3.1-8b")?, &VllmRequest::on(Bytes::from_gib(80), false))?;
/// // 16 tokens of 32 layers with 8 heads of 128, keys and values of two bytes
/// assert_eq!((pool.block_bytes.0, pool.blocks_of(100)), (16 * 32 * 8 * 128 * 2 * 2, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pool(model: &Model, request: &VllmRequest) -> Result<Pool, VllmError> {
    request.check()?;
    let block = KvRequest { context: request.block_size, dtype: request.kv_cache_dtype, ..KvRequest::default() };
    let block_bytes = kv(model, &block)?.bytes_per_sequence;
    if block_bytes == Bytes::ZERO {
        return Err(VllmError::paging(model, "it keeps nothing of a sequence"));
    }
    Ok(Pool { block_bytes, block_size: request.block_size })
}
