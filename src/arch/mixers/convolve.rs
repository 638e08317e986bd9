//! A mixer's convolution, with and without a cache.

use crate::arch::cache::KvCache;
use crate::ghost::{Context, Tensor};
use crate::nn::Conv1d;

/// Whether these tokens are one that follows what the layer has seen.
pub(super) fn is_step(cache: Option<(&KvCache, usize)>, length: u64) -> bool {
    length == 1 && cache.is_some_and(|(cache, layer)| cache.has_state(layer))
}

/// The convolution of `states`, `[batch, channels, length]`, after those the cache has; `silu` follows where it is
/// `activated`.
pub(super) fn convolved(
    cx: &Context,
    conv: &Conv1d,
    states: &Tensor,
    cache: Option<(&KvCache, usize)>,
    activated: bool,
) -> Tensor {
    let length = states.dim(-1);
    let Some((held, layer)) = cache else {
        return conv.causal(cx, states, activated);
    };
    if is_step(cache, length) {
        return conv.update(cx, states, &held.conv_state(layer), activated);
    }
    let whole = held.update_conv_state(cx, layer, states, conv.kernel());
    let out = conv.causal(cx, &whole, activated);
    cx.slice(&out, -1, out.dim(-1) - length, length)
}
