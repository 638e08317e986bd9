//! The cache of a decoder that attends to an encoder.

use crate::arch::cache::KvCache;
use crate::ghost::{Category, Context, Tensor};

/// transformers' `EncoderDecoderCache`: of the decoder's own keys and values, and of those made of the encoder's output,
/// which are made once.
pub(super) struct SeqCache {
    own: KvCache,
    cross: KvCache,
}

impl SeqCache {
    pub(super) fn new(layers: u64, category: Category) -> Self {
        Self { own: KvCache::of_layers(layers, category), cross: KvCache::of_layers(layers, category) }
    }

    /// Tokens the decoder has seen.
    pub(super) fn length(&self) -> u64 {
        self.own.length()
    }

    /// Both caches.
    pub(super) fn into_parts(self) -> Vec<KvCache> {
        vec![self.own, self.cross]
    }
}

/// Keys and values of an attention: those of the cache where it has them, else `make`'s, which it then takes.
pub(super) fn keys_and_values(
    cx: &Context,
    cache: Option<(&SeqCache, usize)>,
    crosses: bool,
    make: impl FnOnce() -> (Tensor, Tensor),
) -> (Tensor, Tensor) {
    let Some((cache, layer)) = cache else { return make() };
    let held = if crosses { cache.cross.held(layer) } else { None };
    held.unwrap_or_else(|| {
        let (key, value) = make();
        let cache = if crosses { &cache.cross } else { &cache.own };
        cache.update(cx, layer, key, value)
    })
}
