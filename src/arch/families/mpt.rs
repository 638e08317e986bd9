//! MPT (`modeling_mpt.py`): attention is always written out, with ALiBi in fp32.

use super::front::{Entered, Front, Input};
use super::scores;
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// ALiBi for the longest sequence, and the mask as booleans (`MptModel.forward`).
pub(super) struct Alibi {
    num_heads: u64,
    max_seq_len: u64,
}

impl Alibi {
    pub(super) fn new(model: &DecoderConfig) -> Self {
        Self { num_heads: model.attention.num_heads, max_seq_len: model.max_position_embeddings }
    }

    /// `build_mpt_alibi_tensor`: `[heads, 1, max_seq_len]`.
    fn build(&self, cx: &Context) -> Tensor {
        let made = |n: u64, dtype| cx.launch(Kernel::Scratch("alibi"), &[], Layout::contiguous(&[n]), dtype);
        let powers_of_two = self.num_heads.next_power_of_two();
        let distances = made(self.max_seq_len, DType::I32);
        let base = {
            let whole = made(powers_of_two, DType::I64);
            let base = made(powers_of_two, DType::F32);
            drop(whole);
            made(base.dim(0), DType::F32)
        };
        let mut slopes = {
            let powers = made(powers_of_two, DType::F32);
            let inverse = made(powers_of_two, DType::F32);
            drop(powers);
            made(inverse.dim(0), DType::F32)
        };
        if powers_of_two != self.num_heads {
            slopes = made(powers_of_two, DType::F32);
        }
        let dims = [self.num_heads, 1, self.max_seq_len];
        let alibi = cx.launch(Kernel::Mul, &[], Layout::contiguous(&dims), DType::F32);
        drop((distances, base, slopes));
        alibi
    }
}

impl Front for Alibi {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let alibi = self.build(cx);
        let mask = scores::mask(cx, input, None);
        let mask = mask.map(|mask| cx.no_grad(|| cx.cast(&mask, DType::Bool)));
        Entered { mask, alibi: Some(alibi), locals: vec![embeds.clone()], ..Entered::new(embeds) }
    }
}

impl Module for Alibi {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}
}

/// `MptBlock`
pub(super) struct Block {
    norm_1: NormLayer,
    qkv: Linear,
    out_proj: Linear,
    norm_2: NormLayer,
    up_proj: Linear,
    down_proj: Linear,
    activation: Activation,
    num_heads: u64,
    head_dim: u64,
    clips: bool,
    dropout: f64,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, spec) = (model.hidden_size, model.mlp.intermediate_size, &model.attention);
        let norm = |name| builder.norm(name, model.norm, width);
        Self {
            norm_1: norm("norm_1"),
            qkv: builder.linear("Wqkv", Part::Attention, width, 3 * width, false),
            out_proj: builder.linear("out_proj", Part::Attention, width, width, false),
            norm_2: norm("norm_2"),
            up_proj: builder.linear("up_proj", Part::Mlp, width, inner, false),
            down_proj: builder.linear("down_proj", Part::Mlp, inner, width, false),
            activation: model.mlp.activation,
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            clips: spec.clips_qkv,
            dropout: spec.dropout,
        }
    }

    /// `MptAttention`
    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [batch, length] = [x.dim(0), x.dim(1)];
        let mut mixed = self.qkv.forward(cx, x);
        if self.clips {
            mixed = cx.clamp(&mixed, true);
        }
        let heads =
            |flat: Tensor| cx.transpose(cx.reshape(flat, &[batch, length, self.num_heads, self.head_dim]), 1, 2);
        let [query, mut key, mut value] = cx.split_in(mixed.clone(), -1).map(heads);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mut scores = cx.mul_scalar(cx.matmul(&query, cx.transpose(&key, -1, -2)), 1.0);
        if let Some(alibi) = &given.alibi {
            let whole = alibi.dim(-1);
            let keys = key.dim(2).min(whole);
            scores = cx.add(&scores, cx.narrow(alibi, -1, whole - keys, keys));
        }
        if let Some(mask) = &given.full.mask {
            scores = cx.masked_fill(&scores, mask);
        }
        let mut weights = cx.cast(cx.softmax(cx.cast(&scores, DType::F32), DType::F32), value.dtype());
        weights = cx.dropout(&weights, self.dropout);
        let mut context = cx.matmul(&weights, &value);
        context = scores::merge_heads(cx, &context);
        let out = self.out_proj.forward(cx, &context);
        drop(mixed);
        (out, Some(weights))
    }

    /// `MptMLP`
    fn mlp(&self, cx: &Context, x: &Tensor, residual: &Tensor) -> Tensor {
        let states = activate(cx, self.activation, self.up_proj.forward(cx, x));
        let intermediate = self.down_proj.forward(cx, &states);
        let output = cx.dropout(&intermediate, self.dropout);
        cx.add(&output, residual)
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut normed = self.norm_1.forward(cx, hidden);
        let (attn_outputs, weights) = self.attention(cx, &normed, attend, cache);
        let states = cx.add(cx.dropout(&attn_outputs, self.dropout), hidden);
        normed = self.norm_2.forward(cx, &states);
        let output = self.mlp(cx, &normed, &states);
        (output, weights)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.norm_1.leaves(visit);
        self.qkv.leaves(visit);
        self.out_proj.leaves(visit);
        self.norm_2.leaves(visit);
        self.up_proj.leaves(visit);
        self.down_proj.leaves(visit);
    }
}
