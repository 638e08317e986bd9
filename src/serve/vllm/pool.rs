//! The pool of blocks that the cache is made of.

use super::error::VllmError;
use super::parallel::stages;
use super::request::VllmRequest;
use super::state::state_bytes;
use super::version::VllmVersion;
use crate::dtype::DType;
use crate::model::{LayerCache, Model, Span, TokenCache, TokenCacheKind};
use crate::serve::{CacheType, KvError};
use crate::units::Bytes;

/// The blocks of the cache on one GPU, the fullest.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pool {
    /// What one block takes, in all layers of a group together.
    pub block_bytes: Bytes,
    /// Tokens of a block of the layers that keep every token; of the smallest otherwise.
    pub block_size: u64,
    /// Layers in groups of the same number, each with blocks of its own.
    pub groups: Vec<PoolGroup>,
    /// `max_num_batched_tokens`, which a window is kept beyond.
    batched: u64,
    state_blocks: u64,
}

/// Layers that are given blocks together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolGroup {
    /// Tokens of a block.
    pub block_size: u64,
    /// Which tokens they keep.
    pub keeps: Keeps,
}

/// Which tokens a group keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Keeps {
    /// All.
    All,
    /// The last so many.
    Window(u64),
    /// None: a state.
    State,
}

impl Pool {
    /// Blocks that a sequence of so many tokens takes, as `max_memory_usage_bytes` of each group's specification has it
    /// (vllm/v1/kv_cache_interface.py): a window is kept with the tokens of a step, and may begin within a block.
    pub fn blocks_of(&self, tokens: u64) -> u64 {
        let of_group = |group: &PoolGroup| match group.keeps {
            Keeps::All => tokens.div_ceil(group.block_size),
            Keeps::Window(window) => {
                let kept = window.saturating_sub(1).saturating_add(self.batched).min(tokens);
                kept.div_ceil(group.block_size).saturating_add(1)
            }
            Keeps::State => self.state_blocks,
        };
        self.groups.iter().map(of_group).fold(0, u64::saturating_add)
    }

    /// Whole blocks in so many bytes.
    pub const fn blocks_in(&self, bytes: Bytes) -> u64 {
        bytes.0 / self.block_bytes.0
    }

    /// The longest sequence of at most `most` tokens that so many blocks hold, as vLLM looks for it
    /// (`estimate_max_model_len`, vllm/v1/core/kv_cache_utils.py).
    pub fn longest_in(&self, blocks: u64, most: u64) -> u64 {
        let (mut fits, mut over) = (0, most.saturating_add(1));
        while over - fits > 1 {
            let middle = fits + (over - fits) / 2;
            if self.blocks_of(middle) <= blocks { fits = middle } else { over = middle }
        }
        fits
    }

    /// "GPU KV cache size" of so many bytes.
    pub fn tokens_in(&self, bytes: Bytes, max_model_len: u64, version: VllmVersion) -> u64 {
        self.tokens_of(self.blocks_in(bytes), max_model_len, version)
    }

    /// "GPU KV cache size" of so many blocks.
    pub(super) fn tokens_of(&self, blocks: u64, max_model_len: u64, version: VllmVersion) -> u64 {
        if version.reports_concurrency() {
            let tokens =
                u128::from(blocks) * u128::from(max_model_len) / u128::from(self.blocks_of(max_model_len).max(1));
            return u64::try_from(tokens).unwrap_or(u64::MAX);
        }
        let groups = u64::try_from(self.groups.len()).unwrap_or(u64::MAX).max(1);
        let least = self.groups.iter().map(|group| group.block_size).min().unwrap_or(1);
        (blocks / groups).saturating_mul(least)
    }
}

/// What a layer keeps, and what of it one token or the state takes on one GPU.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Page {
    keeps: Keeps,
    bytes: u64,
}

/// The pool of an engine that serves `model`.
///
/// Layers of the same kind are put in groups of as many as there are of the rarest kind; where a token takes more in some,
/// the others have more tokens in a block, and a state fills a block
/// (`get_kv_cache_groups`, vllm/v1/core/kv_cache_utils.py; `_align_hybrid_block_size`, vllm/platforms/interface.py).
///
/// # Errors
/// The model's cache is not known or is paged in a way that is not modelled, or a number makes no sense.
///
/// ```
/// use vramplan::{model, serve::{CardSize, VllmRequest, pool}};
///
/// let pool = pool(&model::resolve("llama-3.1-8b")?, &VllmRequest::on(CardSize::Large))?;
/// // 16 tokens of 32 layers with 8 heads of 128, keys and values of two bytes
/// assert_eq!((pool.block_bytes.0, pool.blocks_of(100)), (16 * 32 * 8 * 128 * 2 * 2, 7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn pool(model: &Model, request: &VllmRequest) -> Result<Pool, VllmError> {
    request.check()?;
    let decoder = model.decoder().ok_or_else(|| VllmError::paging(model, "it is no decoder"))?;
    request.parallel.check(decoder)?;
    let mut fullest: Option<Pool> = None;
    for stage in stages(decoder, request.parallel.pipeline_parallel_size) {
        let stage = Model::Decoder(stage);
        let pool = of_stage(&stage, request)?;
        if fullest.as_ref().is_none_or(|fullest| pool.block_bytes > fullest.block_bytes) {
            fullest = Some(pool);
        }
    }
    fullest.ok_or_else(|| VllmError::paging(model, "it keeps nothing of a sequence"))
}

fn of_stage(model: &Model, request: &VllmRequest) -> Result<Pool, VllmError> {
    let caches = model.caches().ok_or(KvError::Unknown { model_type: model.model_type() })?;
    let mut kinds: Vec<(Page, u64)> = Vec::new();
    for cache in &caches {
        for page in pages(model, cache, request)? {
            match kinds.iter_mut().find(|(known, _)| *known == page) {
                Some((_, layers)) => *layers += 1,
                None => kinds.push((page, 1)),
            }
        }
    }
    let latents =
        caches.iter().flat_map(|cache| &cache.tokens).any(|cache| matches!(cache.kind, TokenCacheKind::Latent(_)));
    // `FlashMLA` and `CutlassMLA` have larger ones; `FlashMLA`'s is the smallest
    let least = if latents { request.block_size.max(64) } else { request.block_size };
    let too_large = || VllmError::Kv(KvError::TooLarge);
    let of_tokens = |kinds: &[(Page, u64)]| {
        kinds.iter().filter(|(page, _)| page.keeps != Keeps::State).map(|(page, _)| page.bytes).max()
    };
    let state =
        kinds.iter().filter(|(page, _)| page.keeps == Keeps::State).map(|(page, _)| page.bytes).max().unwrap_or(0);
    let Some(most) = of_tokens(&kinds) else {
        let what = if state > 0 { "its layers keep states alone" } else { "it keeps nothing of a sequence" };
        return Err(VllmError::paging(model, what));
    };
    let block_size = state.div_ceil(most.max(1)).checked_next_multiple_of(least).ok_or_else(too_large)?.max(least);
    let page = most.checked_mul(block_size).ok_or_else(too_large)?;
    let (fewest, largest) =
        kinds.iter().fold((u64::MAX, 0), |(few, many), (_, layers)| (few.min(*layers), many.max(*layers)));
    let even =
        request.version.even_groups().is_some_and(|most| largest.saturating_mul(100) < fewest.saturating_mul(most));
    let size = if even { largest } else { fewest };
    let mut groups = Vec::new();
    for (kind, layers) in &kinds {
        let tokens = match kind.keeps {
            Keeps::State => block_size,
            _ if page % kind.bytes == 0 => page / kind.bytes,
            _ => return Err(VllmError::paging(model, "tokens take sizes in its layers that have no common page")),
        };
        for _ in 0..layers.div_ceil(size) {
            groups.push(PoolGroup { block_size: tokens, keeps: kind.keeps });
        }
    }
    let block_bytes = Bytes(page.checked_mul(size).ok_or_else(too_large)?);
    Ok(Pool {
        block_bytes,
        block_size,
        groups,
        batched: request.max_num_batched_tokens,
        state_blocks: 1 + u64::from(request.keeps_prefixes_of_states),
    })
}

fn pages(model: &Model, cache: &LayerCache, request: &VllmRequest) -> Result<Vec<Page>, VllmError> {
    let tp = request.parallel.tensor_parallel_size.max(1);
    let mut pages = Vec::new();
    for tokens in &cache.tokens {
        let keeps = match (tokens.kind, tokens.span) {
            (TokenCacheKind::KeyAndValue | TokenCacheKind::Latent(_), Span::All) => Keeps::All,
            (TokenCacheKind::KeyAndValue, Span::Window(window)) => Keeps::Window(window),
            (TokenCacheKind::IndexerKey, _) => {
                return Err(VllmError::paging(model, "an indexer keeps keys of its own"));
            }
            (TokenCacheKind::CrossAttention, _) => {
                return Err(VllmError::paging(model, "it attends to what an encoder made"));
            }
            _ => return Err(VllmError::paging(model, "it compresses tokens")),
        };
        let bytes = token_bytes(tokens, tp, request).ok_or(KvError::TooLarge)?;
        pages.push(Page { keeps, bytes });
    }
    if cache.state.is_some() {
        let bytes =
            state_bytes(model, tp).ok_or_else(|| VllmError::paging(model, "its states are of a kind of their own"))?;
        pages.push(Page { keeps: Keeps::State, bytes });
    }
    Ok(pages)
}

/// What one token takes in one layer on one GPU: heads are shared, a latent is on each.
fn token_bytes(cache: &TokenCache, tp: u64, request: &VllmRequest) -> Option<u64> {
    let heads =
        if matches!(cache.kind, TokenCacheKind::Latent(_)) { cache.heads } else { cache.heads.div_ceil(tp).max(1) };
    let stored_in = CacheType::of(request.kv_cache_dtype, DType::BF16);
    let side = |width: u64| stored_in.bytes_of(heads.checked_mul(width)?);
    side(cache.key_width)?.checked_add(side(cache.value_width)?)
}
