//! Rotary position embeddings.

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};

/// `LlamaRotaryEmbedding`: inverse frequencies, and cosines and sines made of them once a forward.
pub struct Rotary {
    /// How many of a head's dimensions turn.
    pub dim: u64,
    /// `[dim / 2]`, fp32, with the copy transformers keeps of it.
    pub inv_freq: [Tensor; 2],
}

impl Rotary {
    /// The module's buffers.
    pub fn new(cx: &Context, dim: u64, on_gpu: bool) -> Self {
        let buffer = || {
            if on_gpu {
                cx.parameter("inv_freq", &[dim / 2], DType::F32, false)
            } else {
                cx.meta(&[dim / 2], DType::F32)
            }
        };
        Self { dim, inv_freq: [buffer(), buffer()] }
    }

    /// Cosines and sines of `positions` (`[1, length]`) in `dtype`: `[1, length, dim]` each.
    pub fn forward(&self, cx: &Context, positions: &Tensor, dtype: DType) -> (Tensor, Tensor) {
        cx.no_grad(|| {
            cx.with_autocast_off(|| {
                let length = positions.dim(-1);
                let positions = cx.cast(positions, DType::F32);
                let freqs = cx.untracked_matmul(&self.inv_freq[0], &positions, &[1, length, self.dim / 2]);
                let emb = cx.cat(&[&freqs, &freqs], -1);
                let cos = cx.mul_scalar(cx.untracked("cos", &emb), 1.0);
                let sin = cx.mul_scalar(cx.untracked("sin", &emb), 1.0);
                (cx.cast(&cos, dtype), cx.cast(&sin, dtype))
            })
        })
    }
}

/// `apply_rotary_pos_emb`: the first `dim` of each head of `query` and `key` (`[batch, heads, length, head_dim]`) turn.
pub fn apply_rotary(cx: &Context, query: &Tensor, key: &Tensor, cos: &Tensor, sin: &Tensor) -> (Tensor, Tensor) {
    let cos = cx.unsqueeze(cos, 1);
    let sin = cx.unsqueeze(sin, 1);
    let query = rotate(cx, query, &cos, &sin);
    let key = rotate(cx, key, &cos, &sin);
    (query, key)
}

/// `x * cos + rotate_half(x) * sin`
fn rotate(cx: &Context, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Tensor {
    let straight = cx.mul(x, cos);
    let turned = cx.mul(rotate_half(cx, x), sin);
    cx.add(straight, turned)
}

fn rotate_half(cx: &Context, x: &Tensor) -> Tensor {
    let half = x.dim(-1) / 2;
    let first = cx.narrow(x, -1, 0, half);
    let second = cx.narrow(x, -1, half, half);
    let turned = cx.neg(second);
    cx.cat(&[&turned, &first], -1)
}

/// `torch.arange(length)` and the sum with the tokens seen before it, as `[1, length]`.
pub(crate) fn positions(cx: &Context, length: u64) -> Tensor {
    let range = cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length]), DType::I64);
    let sum = cx.launch(Kernel::Unary("add_scalar"), &[&range], Layout::contiguous(&[length]), DType::I64);
    drop(range);
    cx.unsqueeze(sum, 0)
}
