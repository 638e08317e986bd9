//! Llama 4's attention (`Llama4TextAttention`): complex turns, a norm without weights, queries scaled where nothing turns.

use super::{Attend, Attended, Qkv, SelfAttention};
use crate::arch::cache::KvCache;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::job::AttnImplementation;

impl SelfAttention {
    /// Applies it to `x`, `[batch, length, hidden_size]`; with the probabilities where they are whole tensors.
    pub(in crate::arch) fn forward_llama4(
        &self,
        cx: &Context,
        x: &Tensor,
        attend: &Attend,
        cache: Option<(&KvCache, usize)>,
    ) -> Attended {
        let (batch, length) = (x.dim(0), x.dim(1));
        let spec = &self.spec;
        let span = attend.span(self.layer_type);
        let Qkv::Separate([q, k, v]) = &self.qkv else { unreachable!("Llama 4 projects apart") };
        let heads = |flat: Tensor, heads: u64| cx.reshape(flat, &[batch, length, heads, spec.head_dim]);
        let mut query = heads(q.forward(cx, x), spec.num_heads);
        let mut key = heads(k.forward(cx, x), spec.num_kv_heads);
        let mut value = cx.transpose(heads(v.forward(cx, x), spec.num_kv_heads), 1, 2);
        let mut _scales = None;
        match &span.rotary {
            Some((turns, _)) if self.turns => {
                (query, key) = turned(cx, &query, &key, turns);
                if spec.weightless_qk_norm {
                    query = unit(cx, &query);
                    key = unit(cx, &key);
                }
            }
            _ if spec.scales_queries => {
                let (positions, scales) = position_scales(cx, batch, length);
                query = cx.cast(cx.mul(&query, &scales), query.dtype());
                _scales = Some((positions, scales));
            }
            _ => {}
        }
        query = cx.transpose(&query, 1, 2);
        key = cx.transpose(&key, 1, 2);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = span.mask.as_ref();
        let (mut out, weights) = match attend.implementation {
            AttnImplementation::Eager => self.eager(cx, &query, &key, &value, mask),
            _ => (self.sdpa(cx, &query, &key, &value, mask), None),
        };
        out = cx.reshape(&out, &[batch, length, spec.num_heads * spec.head_dim]);
        (self.output.forward(cx, &out), weights)
    }
}

/// `apply_rotary_emb`: as complex numbers in fp32, both before either is cast back.
fn turned(cx: &Context, query: &Tensor, key: &Tensor, turns: &Tensor) -> (Tensor, Tensor) {
    let complex = |x: &Tensor| {
        let mut pairs = x.dims().to_vec();
        if let Some(last) = pairs.last_mut() {
            *last /= 2;
        }
        pairs.push(2);
        cx.reshape(cx.cast(x, DType::F32), &pairs)
    };
    let (query_pairs, key_pairs) = (complex(query), complex(key));
    let turns = cx.unsqueeze(turns, 2);
    let real =
        |x: &Tensor, like: &Tensor| cx.reshape(cx.with_contiguous_gradient(&cx.mul_complex(x, &turns)), like.dims());
    let (query32, key32) = (real(&query_pairs, query), real(&key_pairs, key));
    let query = cx.cast(&query32, query.dtype());
    (query, cx.cast(&key32, key.dtype()))
}

/// `Llama4TextL2Norm`
fn unit(cx: &Context, x: &Tensor) -> Tensor {
    let normed = {
        let x32 = cx.cast(x, DType::F32);
        let inverse = cx.rsqrt(cx.add_scalar(cx.mean_last(cx.pow(&x32, 2)), 1e-6));
        cx.mul(&x32, inverse)
    };
    cx.cast(&normed, x.dtype())
}

/// Positions, and what queries are multiplied by at each: fp32, `[batch, length, 1, 1]`, one sequence's for all.
fn position_scales(cx: &Context, batch: u64, length: u64) -> (Tensor, Tensor) {
    let range = cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length]), DType::I64);
    let positions = cx.untracked("add_scalar", &range);
    drop(range);
    let mut scale = cx.add_scalar(cx.cast(&positions, DType::F32), 1.0);
    for step in ["div", "floor", "log1p"] {
        scale = cx.untracked(step, &scale);
    }
    scale = cx.mul_scalar(&scale, 1.0);
    scale = cx.add_scalar(&scale, 1.0);
    let scale = cx.unsqueeze(cx.unsqueeze(cx.unsqueeze(scale, 0), 2), 3);
    (positions, cx.expand(scale, &[batch, length, 1, 1]))
}
