//! A layer's attention, to its own stack or to the encoder's output.

use super::super::cache::{SeqCache, keys_and_values};
use super::Given;
use crate::arch::bidirectional::{self, AttendTo, attend};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{EncoderDecoderConfig, Norm, Positions, Stack};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part};

/// `T5LayerSelfAttention`, `T5LayerCrossAttention`
pub(super) struct Branch {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    pub(super) relative_attention_bias: Option<Embedding>,
    layer_norm: NormLayer,
    pub(super) num_heads: u64,
    dropout: f64,
    attention_dropout: f64,
    /// The decoder's attention to itself.
    pub(super) is_causal: bool,
}

impl Branch {
    pub(super) fn new(
        builder: &Builder<'_>,
        model: &EncoderDecoderConfig,
        stack: &Stack,
        is_causal: bool,
        has_table: bool,
    ) -> Self {
        let inner = stack.num_heads * model.head_dim;
        let linear = |name, from, to| builder.linear(name, Part::Attention, from, to, false);
        let buckets = match model.positions {
            Positions::RelativeBias { buckets } => buckets,
            _ => 0,
        };
        Self {
            q: linear("q", model.d_model, inner),
            k: linear("k", model.d_model, inner),
            v: linear("v", model.d_model, inner),
            o: linear("o", inner, model.d_model),
            relative_attention_bias: has_table
                .then(|| builder.embedding("relative_attention_bias", buckets, stack.num_heads)),
            layer_norm: builder.norm("layer_norm", Norm::T5, model.d_model),
            num_heads: stack.num_heads,
            dropout: model.dropout,
            attention_dropout: model.attention_dropout,
            is_causal,
        }
    }

    /// Hidden states, the position bias, and the attention probabilities.
    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        encoded: Option<&Tensor>,
        position_bias: Option<&Tensor>,
        cache: Option<(&SeqCache, usize)>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        let normed = self.layer_norm.forward(cx, hidden);
        let (mut attended, bias, weights) = self.attention(cx, &normed, given, encoded, position_bias, cache);
        attended = cx.add(hidden, cx.dropout(&attended, self.dropout));
        (attended, bias, weights)
    }

    /// `T5Attention`
    fn attention(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        encoded: Option<&Tensor>,
        position_bias: Option<&Tensor>,
        cache: Option<(&SeqCache, usize)>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        let heads = |linear: &Linear, x: &Tensor| bidirectional::heads(cx, linear.forward(cx, x), self.num_heads);
        let query = heads(&self.q, hidden);
        let current = encoded.unwrap_or(hidden);
        let make = || (heads(&self.k, current), heads(&self.v, current));
        let (key, value) = keys_and_values(cx, cache, encoded.is_some(), make);
        let lengths = [hidden.dim(1), key.dim(2)];
        let position_bias = match position_bias {
            Some(bias) => bias.clone(),
            None => self.position_bias(cx, lengths, query.dtype(), given.checkpointing),
        };
        let mask = if encoded.is_some() { &given.encoder_mask } else { &given.mask };
        let mut to = AttendTo {
            implementation: given.implementation,
            mask: None,
            causal: false,
            dropout: self.attention_dropout,
            fp32_softmax: false,
        };
        let (mut out, weights) = if given.implementation == AttnImplementation::Eager {
            self.eager(cx, [&query, &key, &value], &position_bias, mask.as_ref())
        } else {
            let mask = self.masked_bias(cx, &position_bias, mask.as_ref(), lengths);
            to.mask = Some(&mask);
            attend(cx, [&query, &key, &value], to)
        };
        out = bidirectional::joined(cx, &out);
        out = self.o.forward(cx, &out);
        (out, position_bias, weights)
    }

    /// `eager_attention_forward`: scores are multiplied by 1, the bias is added before the mask.
    fn eager(
        &self,
        cx: &Context,
        [query, key, value]: [&Tensor; 3],
        bias: &Tensor,
        mask: Option<&Tensor>,
    ) -> (Tensor, Option<Tensor>) {
        let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(key, -1, -2)), 1.0);
        weights = cx.add(&weights, bias);
        if let Some(mask) = mask {
            weights = cx.add(&weights, mask);
        }
        let dtype = if cx.autocast_dtype().is_some() { DType::F32 } else { weights.dtype() };
        weights = cx.softmax(&weights, dtype);
        weights = cx.dropout(&weights, self.attention_dropout);
        let mut out = cx.matmul(&weights, value);
        out = cx.contiguous(cx.transpose(&out, 1, 2));
        (out, Some(weights))
    }
}

impl Module for Branch {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.q.leaves(visit);
        self.k.leaves(visit);
        self.v.leaves(visit);
        self.o.leaves(visit);
        self.relative_attention_bias.leaves(visit);
        self.layer_norm.leaves(visit);
    }
}
