//! Multi-head latent attention (`DeepseekV2Attention`, `DeepseekV3Attention`).

use super::attention::{Attend, Attended};
use super::cache::KvCache;
use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{DecoderConfig, LayerType, Mla, MlaRotary};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, RotaryStyle, apply_rotary};

/// Queries from the hidden states at once, or by way of a latent.
enum Queries {
    Direct(Linear),
    Latent { down: Linear, norm: NormLayer, up: Linear },
}

/// Attention whose keys and values are made from one latent a token.
pub(super) struct LatentAttention {
    spec: Mla,
    num_heads: u64,
    dropout: f64,
    layer_type: LayerType,
    queries: Queries,
    kv_down: Linear,
    kv_norm: NormLayer,
    kv_up: Linear,
    output: Linear,
}

impl LatentAttention {
    /// The block of layer `index` of `model`, with latents as `spec` says.
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, spec: Mla, index: usize) -> Self {
        let (width, heads, bias) = (model.hidden_size, model.attention.num_heads, model.attention.qkv_bias);
        let linear = |name, from, to, bias| builder.linear(name, Part::Attention, from, to, bias);
        let qk = spec.qk_nope_head_dim + spec.qk_rope_head_dim;
        let queries = match spec.q_lora_rank {
            None => Queries::Direct(linear("q_proj", width, heads * qk, false)),
            Some(rank) => Queries::Latent {
                down: linear("q_a_proj", width, rank, bias),
                norm: builder.norm("q_a_layernorm", model.norm, rank),
                up: linear("q_b_proj", rank, heads * qk, false),
            },
        };
        let latent = spec.kv_lora_rank;
        Self {
            spec,
            num_heads: heads,
            dropout: model.attention.dropout,
            layer_type: model.layer_types.get(index).copied().unwrap_or(LayerType::FullAttention),
            queries,
            kv_down: linear("kv_a_proj_with_mqa", width, latent + spec.qk_rope_head_dim, bias),
            kv_norm: builder.norm("kv_a_layernorm", model.norm, latent),
            kv_up: linear("kv_b_proj", latent, heads * (spec.qk_nope_head_dim + spec.v_head_dim), false),
            output: linear("o_proj", heads * spec.v_head_dim, width, bias),
        }
    }

    /// Applies it to `x`, `[batch, length, hidden_size]`; with the probabilities where they are whole tensors.
    pub(super) fn forward(
        &self,
        cx: &Context,
        x: &Tensor,
        attend: &Attend,
        cache: Option<(&KvCache, usize)>,
    ) -> Attended {
        let [batch, length, heads] = [x.dim(0), x.dim(1), self.num_heads];
        let Mla { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. } = self.spec;
        let span = attend.span(self.layer_type);
        let query = match &self.queries {
            Queries::Direct(linear) => linear.forward(cx, x),
            Queries::Latent { down, norm, up } => up.forward(cx, norm.forward(cx, down.forward(cx, x))),
        };
        let query = cx.reshape(query, &[batch, length, heads, qk_nope_head_dim + qk_rope_head_dim]);
        let query = cx.transpose(query, 1, 2);
        let [query_pass, mut query_turn] = self.split(cx, &query, [qk_nope_head_dim, qk_rope_head_dim]);
        let compressed = self.kv_down.forward(cx, x);
        let [latent, key_turn] = self.split(cx, &compressed, [kv_lora_rank, qk_rope_head_dim]);
        let mut latent = cx.reshape(self.kv_norm.forward(cx, &latent), &[batch, 1, length, kv_lora_rank]);
        let mut key_turn = cx.reshape(&key_turn, &[batch, 1, length, qk_rope_head_dim]);
        if let Some(rotary) = &span.rotary {
            (query_turn, key_turn) = turn(cx, self.spec.rotary, &query_turn, &key_turn, rotary);
        }
        if let Some((cache, layer)) = cache {
            (latent, key_turn) = cache.update(cx, layer, latent, key_turn);
        }
        let query_states = cx.cat(&[&query_pass, &query_turn], -1);
        let (key, value) = self.expand(cx, &latent, &key_turn);
        let mask = span.mask.as_ref();
        let (mut out, weights) = match attend.implementation {
            AttnImplementation::Eager => self.eager(cx, &query_states, &key, &value, mask),
            _ => (self.sdpa(cx, &query_states, &key, &value, mask), None),
        };
        out = cx.reshape(out, &[batch, length, heads * v_head_dim]);
        (self.output.forward(cx, out), weights)
    }

    fn split(&self, cx: &Context, x: &Tensor, sizes: [u64; 2]) -> [Tensor; 2] {
        cx.split(x, &sizes, -1).try_into().expect("one tensor for each size")
    }

    /// `expand_kv`
    fn expand(&self, cx: &Context, latent: &Tensor, key_turn: &Tensor) -> (Tensor, Tensor) {
        let Mla { qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. } = self.spec;
        let [batch, keys, heads] = [latent.dim(0), latent.dim(2), self.num_heads];
        let both = self.kv_up.forward(cx, latent);
        let both = cx.transpose(cx.reshape(both, &[batch, keys, heads, qk_nope_head_dim + v_head_dim]), 1, 2);
        let [key_pass, value] = self.split(cx, &both, [qk_nope_head_dim, v_head_dim]);
        let key_turn = cx.expand(key_turn, &[batch, heads, keys, qk_rope_head_dim]);
        (cx.assigned_slices(&key_pass, &key_turn), value)
    }

    /// `sdpa_attention_forward`
    fn sdpa(&self, cx: &Context, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let options = AttentionOptions {
            causal: mask.is_none() && query.dim(2) > 1,
            grouped: false,
            dropout: cx.training() && self.dropout > 0.0,
        };
        cx.contiguous(cx.transpose(cx.attention(query, key, value, mask, options), 1, 2))
    }

    /// `eager_attention_forward`
    fn eager(&self, cx: &Context, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Attended {
        let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(key, 2, 3)), 1.0);
        if let Some(mask) = mask {
            weights = cx.add(&weights, mask);
        }
        weights = cx.cast(cx.softmax(&weights, DType::F32), query.dtype());
        weights = cx.dropout(&weights, self.dropout);
        let mut out = cx.matmul(&weights, value);
        out = cx.contiguous(cx.transpose(&out, 1, 2));
        (out, Some(weights))
    }
}

fn turn(cx: &Context, rotary: MlaRotary, query: &Tensor, key: &Tensor, table: &(Tensor, Tensor)) -> (Tensor, Tensor) {
    let (cos, sin) = table;
    match rotary {
        MlaRotary::Complex => turn_complex(cx, query, key, cos),
        MlaRotary::Interleaved => turn_interleaved(cx, query, key, cos, sin),
        MlaRotary::Halves => {
            let turned = apply_rotary(cx, RotaryStyle::Whole, query, key, cos, sin);
            (turned.query, turned.key)
        }
    }
}

/// `[..., dim]` as `[..., dim / 2, 2]`
fn pairs(cx: &Context, x: &Tensor) -> Tensor {
    let [batch, heads, length, dim] = [x.dim(0), x.dim(1), x.dim(2), x.dim(3)];
    cx.reshape(x, &[batch, heads, length, dim / 2, 2])
}

/// `apply_rotary_emb` on complex numbers
fn turn_complex(cx: &Context, query: &Tensor, key: &Tensor, table: &Tensor) -> (Tensor, Tensor) {
    let complex = |x: &Tensor| pairs(cx, &cx.cast(x, DType::F32));
    let (query_pairs, key_pairs) = (complex(query), complex(key));
    let table = cx.unsqueeze(table, 1);
    let real = |x: &Tensor, like: &Tensor| {
        let product = cx.with_contiguous_gradient(&cx.mul_complex(x, &table));
        cx.cast(cx.reshape(product, like.dims()), like.dtype())
    };
    let query = real(&query_pairs, query);
    (query, real(&key_pairs, key))
}

/// `apply_rotary_pos_emb_interleave`
fn turn_interleaved(cx: &Context, query: &Tensor, key: &Tensor, cos: &Tensor, sin: &Tensor) -> (Tensor, Tensor) {
    let half = |table: &Tensor| cx.unsqueeze(cx.narrow(table, -1, 0, table.dim(-1) / 2), 1);
    let (cos, sin) = (half(cos), half(sin));
    // every second element, from the first and from the second
    let alternate = |x: &Tensor| [cx.every_second(x), cx.every_second(x)];
    let ([q1, q2], [k1, k2]) = (alternate(query), alternate(key));
    let joined = |even: &Tensor, odd: &Tensor| {
        let first = {
            let straight = cx.mul(even, &cos);
            cx.sub(straight, cx.mul(odd, &sin))
        };
        let second = {
            let straight = cx.mul(odd, &cos);
            cx.add(straight, cx.mul(even, &sin))
        };
        cx.cat(&[&first, &second], -1)
    };
    let query = joined(&q1, &q2);
    (query, joined(&k1, &k2))
}

impl Module for LatentAttention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match &mut self.queries {
            Queries::Direct(linear) => linear.leaves(visit),
            Queries::Latent { down, norm, up } => {
                down.leaves(visit);
                norm.leaves(visit);
                up.leaves(visit);
            }
        }
        self.kv_down.leaves(visit);
        self.kv_norm.leaves(visit);
        self.kv_up.leaves(visit);
        self.output.leaves(visit);
    }
}
