//! GPT-NeoX and Pythia (`modeling_gpt_neox.py`).

use super::attend::attend;
use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, Block, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, RotaryStyle, activate, apply_rotary};

/// Dropout on the embedding (`GPTNeoXModel.forward`).
pub(super) struct EmbedDropout {
    dropout: f64,
}

impl EmbedDropout {
    pub(super) fn new(model: &DecoderConfig) -> Self {
        Self { dropout: model.embedding.dropout }
    }
}

impl Front for EmbedDropout {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let positions = input.positions(cx);
        let mask = input.mask(cx, Some(&positions), input.run.attention_mask);
        let hidden = cx.dropout(&embeds, self.dropout);
        Entered { positions: Some(positions), mask, locals: vec![embeds], ..Entered::new(hidden) }
    }
}

impl Module for EmbedDropout {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}
}

/// `GPTNeoXLayer`
pub(super) struct Layer {
    input_layernorm: NormLayer,
    post_attention_layernorm: NormLayer,
    attention: Attention,
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    activation: Activation,
    parallel: bool,
    dropout: f64,
}

impl Layer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.mlp.intermediate_size);
        let norm = |name| builder.norm(name, model.norm, width);
        Self {
            input_layernorm: norm("input_layernorm"),
            post_attention_layernorm: norm("post_attention_layernorm"),
            attention: Attention::new(builder, model),
            dense_h_to_4h: builder.linear("dense_h_to_4h", Part::Mlp, width, inner, true),
            dense_4h_to_h: builder.linear("dense_4h_to_h", Part::Mlp, inner, width, true),
            activation: model.mlp.activation,
            parallel: model.block != Block::PreNorm,
            dropout: model.residual_dropout,
        }
    }

    /// `GPTNeoXMLP`
    fn mlp(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut states = self.dense_h_to_4h.forward(cx, x);
        states = activate(cx, self.activation, states);
        self.dense_4h_to_h.forward(cx, &states)
    }
}

impl layer::Layer for Layer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let (mut attn_output, _weights) =
            self.attention.forward(cx, &self.input_layernorm.forward(cx, hidden), attend, cache);
        attn_output = cx.dropout(&attn_output, self.dropout);
        let out = if self.parallel {
            let mut mlp_output = self.mlp(cx, &self.post_attention_layernorm.forward(cx, hidden));
            mlp_output = cx.dropout(&mlp_output, self.dropout);
            cx.add(cx.add(&mlp_output, &attn_output), hidden)
        } else {
            attn_output = cx.add(&attn_output, hidden);
            let mut mlp_output = self.mlp(cx, &self.post_attention_layernorm.forward(cx, &attn_output));
            mlp_output = cx.dropout(&mlp_output, self.dropout);
            cx.add(&mlp_output, &attn_output)
        };
        (out, None)
    }
}

impl Module for Layer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.input_layernorm.leaves(visit);
        self.post_attention_layernorm.leaves(visit);
        self.attention.query_key_value.leaves(visit);
        self.attention.dense.leaves(visit);
        self.dense_h_to_4h.leaves(visit);
        self.dense_4h_to_h.leaves(visit);
    }
}

/// `GPTNeoXAttention`
struct Attention {
    query_key_value: Linear,
    dense: Linear,
    num_heads: u64,
    head_dim: u64,
    dropout: f64,
}

impl Attention {
    fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, spec) = (model.hidden_size, &model.attention);
        let linear = |name, to, bias| builder.linear(name, Part::Attention, width, to, bias);
        Self {
            query_key_value: linear("query_key_value", 3 * width, spec.qkv_bias),
            dense: linear("dense", width, spec.output_bias),
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            dropout: spec.dropout,
        }
    }

    fn forward(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let qkv = cx.reshape(self.query_key_value.forward(cx, x), &[batch, length, self.num_heads, 3 * self.head_dim]);
        let qkv = cx.transpose(qkv, 1, 2);
        let [mut query, mut key, mut value] = cx.split_in(qkv.clone(), -1);
        if let Some((cos, sin)) = &given.full.rotary {
            let turned = apply_rotary(cx, RotaryStyle::Rejoined, &query, &key, cos, sin);
            (query, key) = (turned.query, turned.key);
        }
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = given.full.mask.as_ref();
        let (mut out, weights) = attend(cx, given.implementation, [&query, &key, &value], mask, self.dropout);
        out = cx.contiguous(cx.reshape(&out, &[batch, length, width]));
        out = self.dense.forward(cx, &out);
        drop(qkv);
        (out, weights)
    }
}
