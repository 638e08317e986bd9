//! BLOOM (`modeling_bloom.py`): attention is always written out, with ALiBi.

use super::alibi;
use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::forward::Forward;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// The embedding's norm and ALiBi (`BloomModel.forward`).
pub(super) struct EmbedNorm {
    norm: NormLayer,
    num_heads: u64,
}

impl EmbedNorm {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let norm = builder.norm("word_embeddings_layernorm", model.norm, model.hidden_size);
        Self { norm, num_heads: model.attention.num_heads }
    }
}

impl Front for EmbedNorm {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let keys = input.past + input.length;
        let hidden = self.norm.forward(cx, &embeds);
        let attention_mask = match input.run.attention_mask {
            Some(mask) => mask.clone(),
            None => cx.launch(Kernel::Ones, &[], Layout::contiguous(&[input.batch, keys]), DType::F32),
        };
        let alibi = alibi::build(cx, &attention_mask, self.num_heads, DType::F32, hidden.dtype());
        // the class knows no other attention
        let run = Forward { implementation: AttnImplementation::Eager, ..input.run };
        let mask = Input { run, ..*input }.mask(cx, None, Some(&attention_mask));
        Entered { mask, alibi: Some(alibi), locals: vec![embeds, attention_mask], ..Entered::new(hidden) }
    }
}

impl Module for EmbedNorm {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.norm.leaves(visit);
    }
}

/// `BloomBlock`
pub(super) struct Block {
    input_layernorm: NormLayer,
    query_key_value: Linear,
    dense: Linear,
    post_attention_layernorm: NormLayer,
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    activation: Activation,
    num_heads: u64,
    head_dim: u64,
    attention_dropout: f64,
    hidden_dropout: f64,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.mlp.intermediate_size);
        let norm = |name| builder.norm(name, model.norm, width);
        Self {
            input_layernorm: norm("input_layernorm"),
            query_key_value: builder.linear("query_key_value", Part::Attention, width, 3 * width, true),
            dense: builder.linear("dense", Part::Attention, width, width, true),
            post_attention_layernorm: norm("post_attention_layernorm"),
            dense_h_to_4h: builder.linear("dense_h_to_4h", Part::Mlp, width, inner, true),
            dense_4h_to_h: builder.linear("dense_4h_to_h", Part::Mlp, inner, width, true),
            activation: model.mlp.activation,
            num_heads: model.attention.num_heads,
            head_dim: model.attention.head_dim,
            attention_dropout: model.attention.dropout,
            hidden_dropout: model.residual_dropout,
        }
    }

    /// `dropout_add`
    fn dropout_add(&self, cx: &Context, x: &Tensor, residual: &Tensor) -> Tensor {
        cx.add(residual, cx.dropout(x, self.hidden_dropout))
    }

    /// `BloomAttention`: the output with the residual added, and the probabilities.
    fn attention(
        &self,
        cx: &Context,
        x: &Tensor,
        residual: &Tensor,
        given: &Attend,
        cache: Option<(&KvCache, usize)>,
    ) -> (Tensor, Tensor) {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let flat = [batch * self.num_heads, 0, self.head_dim];
        let fused = self.query_key_value.forward(cx, x);
        let [mut query, mut key, mut value] = self.split_heads(cx, &fused);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let keys = key.dim(2);
        query = cx.reshape(&query, &[flat[0], length, flat[2]]);
        key = cx.transpose(cx.reshape(&key, &[flat[0], keys, flat[2]]), -1, -2);
        value = cx.reshape(&value, &[flat[0], keys, flat[2]]);
        let alibi = given.alibi.as_ref().expect("BLOOM's layers are given ALiBi");
        let scores = cx.baddbmm(alibi, &query, &key, 1.0 / self.head_dim as f64);
        let mut weights = cx.reshape(&scores, &[batch, self.num_heads, length, keys]);
        if let Some(mask) = &given.full.mask {
            weights = cx.add(&weights, mask);
        }
        let mut probabilities = cx.cast(cx.softmax(&weights, DType::F32), query.dtype());
        probabilities = cx.dropout(&probabilities, self.attention_dropout);
        let reshaped = cx.reshape(&probabilities, &[flat[0], length, keys]);
        let mut context = cx.bmm(&reshaped, &value);
        context = self.merge_heads(cx, &context, batch);
        debug_assert_eq!(context.dim(-1), width);
        let mut output = self.dense.forward(cx, &context);
        output = self.dropout_add(cx, &output, residual);
        (output, probabilities)
    }

    /// Query, key and value of `[batch, length, heads, 3, head_dim]`: views, `[batch, heads, length, head_dim]`.
    fn split_heads(&self, cx: &Context, fused: &Tensor) -> [Tensor; 3] {
        let dims = [fused.dim(0), fused.dim(1), self.num_heads, 3, self.head_dim];
        let split = cx.reshape(fused, &dims);
        [0, 1, 2].map(|_| cx.transpose(cx.select(&split, -2), 1, 2))
    }

    /// `[batch, length, width]` of `[batch * heads, length, head_dim]`.
    fn merge_heads(&self, cx: &Context, x: &Tensor, batch: u64) -> Tensor {
        let length = x.dim(1);
        let heads = cx.transpose(cx.reshape(x, &[batch, self.num_heads, length, self.head_dim]), 1, 2);
        cx.reshape(heads, &[batch, length, self.num_heads * self.head_dim])
    }

    /// `BloomMLP`
    fn mlp(&self, cx: &Context, x: &Tensor, residual: &Tensor) -> Tensor {
        let states = activate(cx, self.activation, self.dense_h_to_4h.forward(cx, x));
        let intermediate = self.dense_4h_to_h.forward(cx, &states);
        self.dropout_add(cx, &intermediate, residual)
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut layernorm_output = self.input_layernorm.forward(cx, hidden);
        let (attention_output, weights) = self.attention(cx, &layernorm_output, hidden, attend, cache);
        layernorm_output = self.post_attention_layernorm.forward(cx, &attention_output);
        let output = self.mlp(cx, &layernorm_output, &attention_output);
        (output, Some(weights))
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.input_layernorm.leaves(visit);
        self.query_key_value.leaves(visit);
        self.dense.leaves(visit);
        self.post_attention_layernorm.leaves(visit);
        self.dense_h_to_4h.leaves(visit);
        self.dense_4h_to_h.leaves(visit);
    }
}
