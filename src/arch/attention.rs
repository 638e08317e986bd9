//! Self-attention of decoders.

use super::cache::KvCache;
use super::names::Names;
use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Attention, Model, Projections, QkNorm};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, apply_rotary};

/// What a forward pass gives every attention.
#[derive(Clone, Default)]
pub struct Attend {
    /// `attn_implementation`
    pub implementation: AttnImplementation,
    /// Rotary cosines and sines.
    pub rotary: Option<(Tensor, Tensor)>,
    /// The attention mask, where one is made.
    pub mask: Option<Tensor>,
    /// ALiBi, `[batch * heads, 1, keys]`.
    pub alibi: Option<Tensor>,
}

enum Qkv {
    Separate([Linear; 3]),
    Fused(Linear),
}

/// The attention block of a decoder layer.
pub struct SelfAttention {
    spec: Attention,
    qkv: Qkv,
    output: Linear,
    qk_norm: Option<[NormLayer; 2]>,
}

impl SelfAttention {
    /// The block of `model`.
    pub fn new(builder: &Builder<'_>, model: &Model) -> Self {
        let spec = model.attention.clone();
        let names = Names::of(model.model_type);
        let width = model.hidden_size;
        let (q_width, kv_width) = (spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim);
        let linear = |name, from, to, bias| builder.linear(name, Part::Attention, from, to, bias);
        let qkv = match spec.projections {
            Projections::Separate => Qkv::Separate([
                linear(names.qkv[0], width, q_width, spec.qkv_bias),
                linear(names.qkv[1], width, kv_width, spec.qkv_bias),
                linear(names.qkv[2], width, kv_width, spec.qkv_bias),
            ]),
            Projections::Fused => Qkv::Fused(linear(names.qkv[0], width, q_width + 2 * kv_width, spec.qkv_bias)),
        };
        let output = linear(names.output, q_width, width, spec.output_bias);
        let qk_norm = match spec.qk_norm {
            QkNorm::PerHead => Some((spec.head_dim, spec.head_dim)),
            QkNorm::FullWidth => Some((q_width, kv_width)),
            _ => None,
        }
        .map(|(q, k)| [builder.norm("q_norm", model.norm, q), builder.norm("k_norm", model.norm, k)]);
        Self { spec, qkv, output, qk_norm }
    }

    /// Applies it to `x`, `[batch, length, hidden_size]`.
    pub fn forward(&self, cx: &Context, x: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Tensor {
        let (batch, length) = (x.dim(0), x.dim(1));
        // names are bound again rather than shadowed, so that what they stood for goes when it does in Python
        let (mut query, mut key, mut value) = self.project(cx, x);
        if let Some((cos, sin)) = &attend.rotary {
            (query, key) = apply_rotary(cx, &query, &key, cos, sin);
        }
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let out = match attend.implementation {
            AttnImplementation::Eager => self.eager(cx, &query, &key, &value, attend.mask.as_ref()),
            _ => self.sdpa(cx, &query, &key, &value, attend.mask.as_ref()),
        };
        let out = cx.reshape(out, &[batch, length, self.spec.num_heads * self.spec.head_dim]);
        self.output.forward(cx, out)
    }

    /// Query, key and value as `[batch, heads, length, head_dim]`.
    fn project(&self, cx: &Context, x: &Tensor) -> (Tensor, Tensor, Tensor) {
        let (batch, length) = (x.dim(0), x.dim(1));
        let Attention { num_heads, num_kv_heads, head_dim, .. } = self.spec;
        let heads = |flat: Tensor, heads: u64| cx.reshape(flat, &[batch, length, heads, head_dim]);
        match &self.qkv {
            Qkv::Separate([q, k, v]) => {
                let norm = |which: usize, t: Tensor| match (&self.qk_norm, self.spec.qk_norm) {
                    (Some(norms), QkNorm::PerHead) => norms[which].forward(cx, t),
                    _ => t,
                };
                let whole = |which: usize, t: Tensor| match (&self.qk_norm, self.spec.qk_norm) {
                    (Some(norms), QkNorm::FullWidth) => norms[which].forward(cx, t),
                    _ => t,
                };
                let query = cx.transpose(norm(0, heads(whole(0, q.forward(cx, x)), num_heads)), 1, 2);
                let key = cx.transpose(norm(1, heads(whole(1, k.forward(cx, x)), num_kv_heads)), 1, 2);
                let value = cx.transpose(heads(v.forward(cx, x), num_kv_heads), 1, 2);
                (query, key, value)
            }
            Qkv::Fused(qkv) => {
                let all = qkv.forward(cx, x);
                let (q, kv) = (num_heads * head_dim, num_kv_heads * head_dim);
                let part = |start, len, n| cx.transpose(heads(cx.narrow(&all, -1, start, len), n), 1, 2);
                (part(0, q, num_heads), part(q, kv, num_kv_heads), part(q + kv, kv, num_kv_heads))
            }
        }
    }

    /// `sdpa_attention_forward`
    fn sdpa(&self, cx: &Context, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let groups = self.spec.num_heads / self.spec.num_kv_heads;
        let grouped = groups > 1 && mask.is_none() && key.dim(-1) <= 256;
        let options = AttentionOptions {
            causal: mask.is_none() && query.dim(2) > 1,
            grouped,
            dropout: cx.training() && self.spec.dropout > 0.0,
        };
        let out = if groups > 1 && !grouped {
            let (key, value) = (repeat_kv(cx, key, groups), repeat_kv(cx, value, groups));
            cx.attention(query, &key, &value, mask, options)
        } else {
            cx.attention(query, key, value, mask, options)
        };
        cx.contiguous(cx.transpose(out, 1, 2))
    }

    /// `eager_attention_forward`
    fn eager(&self, cx: &Context, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let groups = self.spec.num_heads / self.spec.num_kv_heads;
        let key = repeat_kv(cx, key, groups);
        let value = repeat_kv(cx, value, groups);
        let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(&key, 2, 3)), 1.0);
        if self.spec.logit_softcap {
            weights = cx.mul_scalar(&weights, 1.0);
            weights = cx.tanh(&weights);
            weights = cx.mul_scalar(&weights, 1.0);
        }
        if let Some(mask) = mask {
            weights = cx.add(&weights, mask);
        }
        weights = cx.cast(cx.softmax(&weights, DType::F32), query.dtype());
        weights = cx.dropout(&weights, self.spec.dropout);
        let out = cx.matmul(&weights, &value);
        cx.contiguous(cx.transpose(out, 1, 2))
    }
}

/// Repeats key or value heads for grouped queries: a view, then a copy.
pub(super) fn repeat_kv(cx: &Context, x: &Tensor, groups: u64) -> Tensor {
    if groups == 1 {
        return x.clone();
    }
    let [batch, heads, length, width] = [x.dim(0), x.dim(1), x.dim(2), x.dim(3)];
    let expanded = cx.expand(cx.unsqueeze(x, 2), &[batch, heads, groups, length, width]);
    cx.reshape(expanded, &[batch, heads * groups, length, width])
}

impl Module for SelfAttention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match &mut self.qkv {
            Qkv::Separate(all) => all.iter_mut().for_each(|linear| linear.leaves(visit)),
            Qkv::Fused(linear) => linear.leaves(visit),
        }
        self.output.leaves(visit);
        if let Some(norms) = &mut self.qk_norm {
            norms.iter_mut().for_each(|norm| norm.leaves(visit));
        }
    }
}
