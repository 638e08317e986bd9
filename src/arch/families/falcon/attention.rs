//! Falcon's attention: heads beside one key and value head, beside their group's, or with their own.

use super::linear;
use crate::arch::attention::Attend;
use crate::arch::cache::KvCache;
use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{DecoderConfig, Projections};
use crate::nn::{Builder, Leaf, Linear, Module, Part, RotaryStyle, apply_rotary};

/// How the heads lie in the fused projection.
enum Heads {
    /// Query heads, then one key and one value head (`multi_query`).
    MultiQuery,
    /// Groups of query heads with a key and a value head each (`new_decoder_architecture`).
    Groups(u64),
    /// Query, key and value of each head.
    Each,
}

/// `FalconAttention`
pub(super) struct Attention {
    query_key_value: Linear,
    dense: Linear,
    heads: Heads,
    num_heads: u64,
    head_dim: u64,
    dropout: f64,
}

impl Attention {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, spec) = (model.hidden_size, &model.attention);
        let fused = (spec.num_heads + 2 * spec.num_kv_heads) * spec.head_dim;
        let heads = match spec.projections {
            Projections::FusedGroups => Heads::Groups(spec.num_kv_heads),
            _ if spec.num_kv_heads == 1 => Heads::MultiQuery,
            _ => Heads::Each,
        };
        Self {
            query_key_value: linear(builder, "query_key_value", Part::Attention, width, fused, spec.qkv_bias),
            dense: linear(builder, "dense", Part::Attention, width, width, spec.output_bias),
            heads,
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            dropout: spec.dropout,
        }
    }

    /// The output, and the probabilities where attention is written out.
    pub(super) fn forward(
        &self,
        cx: &Context,
        x: &Tensor,
        given: &Attend,
        cache: Option<(&KvCache, usize)>,
    ) -> (Tensor, Option<Tensor>) {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let fused = self.query_key_value.forward(cx, x);
        let [mut query, mut key, mut value] = self.split_heads(cx, &fused);
        query = cx.transpose(&query, 1, 2);
        key = cx.transpose(&key, 1, 2);
        value = cx.transpose(&value, 1, 2);
        if let (None, Some((cos, sin))) = (&given.alibi, &given.full.rotary) {
            let turned = apply_rotary(cx, RotaryStyle::Whole, &query, &key, cos, sin);
            (query, key) = (turned.query, turned.key);
        }
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = given.full.mask.as_ref();
        let qkv = [&query, &key, &value];
        let (mut out, weights, _locals) = match (given.implementation, &given.alibi) {
            (AttnImplementation::Eager, None) => self.eager(cx, qkv, mask, x.dtype()),
            (AttnImplementation::Eager, Some(alibi)) => self.eager_alibi(cx, qkv, mask, alibi, x.dtype()),
            (_, alibi) => {
                let options = AttentionOptions {
                    causal: mask.is_none() && length > 1,
                    grouped: false,
                    dropout: alibi.is_some() && cx.training() && self.dropout > 0.0,
                };
                (cx.attention(&query, &key, &value, mask, options), None, Vec::new())
            }
        };
        out = cx.transpose(&out, 1, 2);
        out = cx.reshape(&out, &[batch, length, width]);
        out = self.dense.forward(cx, &out);
        drop(fused);
        (out, weights)
    }

    /// Query, key and value as `[batch, length, heads, head_dim]` (`_split_heads`).
    fn split_heads(&self, cx: &Context, fused: &Tensor) -> [Tensor; 3] {
        let (batch, length) = (fused.dim(0), fused.dim(1));
        match self.heads {
            Heads::MultiQuery => {
                let split = cx.reshape(fused, &[batch, length, self.num_heads + 2, self.head_dim]);
                let query = cx.narrow(&split, -2, 0, self.num_heads);
                [query, cx.index_one(&split, -2, self.num_heads), cx.index_one(&split, -2, self.num_heads + 1)]
            }
            Heads::Groups(groups) => {
                let size = self.num_heads / groups;
                let split = cx.reshape(fused, &[batch, length, groups, size + 2, self.head_dim]);
                let query = cx.narrow(&split, -2, 0, size);
                let key = cx.index_one(&split, -2, size);
                let value = cx.index_one(&split, -2, size + 1);
                let key = cx.expand(key, query.dims());
                let value = cx.expand(value, query.dims());
                let whole = [batch, length, self.num_heads, self.head_dim];
                [query, key, value].each_ref().map(|part| cx.reshape(part, &whole))
            }
            Heads::Each => {
                let split = cx.reshape(fused, &[batch, length, self.num_heads, 3, self.head_dim]);
                [(); 3].map(|()| cx.select(&split, -2))
            }
        }
    }

    /// Attention written out, with rotary embedding: scores are divided in place.
    fn eager(
        &self,
        cx: &Context,
        [query, key, value]: [&Tensor; 3],
        mask: Option<&Tensor>,
        dtype: DType,
    ) -> (Tensor, Option<Tensor>, Vec<Tensor>) {
        let mut scores = cx.scaled_in_place(cx.matmul(query, cx.transpose(key, -1, -2)), 1.0);
        scores = match mask {
            Some(mask) => cx.softmax(cx.add(&scores, mask), dtype),
            None => cx.softmax(&scores, dtype),
        };
        (cx.matmul(&scores, value), Some(scores), Vec::new())
    }

    /// Attention written out, with ALiBi: in fp32 from the scores on.
    fn eager_alibi(
        &self,
        cx: &Context,
        [query, key, value]: [&Tensor; 3],
        mask: Option<&Tensor>,
        alibi: &Tensor,
        dtype: DType,
    ) -> (Tensor, Option<Tensor>, Vec<Tensor>) {
        let product = cx.matmul(query, cx.transpose(key, -1, -2));
        let scores = match product.dtype() {
            DType::F16 | DType::BF16 => cx.cast(&product, DType::F32),
            _ => product.clone(),
        };
        let bias = cx.reshape(alibi, &[query.dim(0), self.num_heads, 1, key.dim(2)]);
        let logits = cx.scaled_in_place(cx.add(&scores, bias), 1.0);
        let mut probabilities = match mask {
            Some(mask) => cx.softmax(cx.add(&logits, mask), dtype),
            None => cx.softmax(&logits, dtype),
        };
        probabilities = cx.dropout(&probabilities, self.dropout);
        let out = cx.matmul(&probabilities, value);
        (out, Some(probabilities), vec![product, scores, logits])
    }
}

impl Module for Attention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.query_key_value.leaves(visit);
        self.dense.leaves(visit);
    }
}
