//! OPT (`modeling_opt.py`).

use super::attend::attend;
use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, Block, DecoderConfig};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

/// Learned positions, counted along the attention mask, and projections of narrower embeddings (`OPTDecoder.forward`).
pub(super) struct Positions {
    embed_positions: Embedding,
    project_out: Option<Linear>,
    project_in: Option<Linear>,
}

impl Positions {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, narrow) = (model.hidden_size, model.embedding.projection_dim);
        let rows = model.embedding.learned_positions.unwrap_or(model.max_position_embeddings);
        let linear = |name, from, to| builder.linear(name, Part::Embedding, from, to, false);
        Self {
            embed_positions: builder.embedding("embed_positions", rows, width),
            project_out: narrow.map(|narrow| linear("project_out", width, narrow)),
            project_in: narrow.map(|narrow| linear("project_in", narrow, width)),
        }
    }

    /// `(cumsum(mask) * mask - 1).long()`
    fn positions(cx: &Context, mask: &Tensor) -> Tensor {
        let counted = cx.cumsum(mask);
        let mut positions = cx.untracked("add_scalar", cx.mul(&counted, mask));
        if positions.dtype() != DType::I64 {
            positions = cx.cast(&positions, DType::I64);
        }
        positions
    }
}

impl Front for Positions {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let keys = input.past + input.length;
        let attention_mask = match input.run.attention_mask {
            Some(mask) => mask.clone(),
            None => cx.launch(Kernel::Ones, &[], Layout::contiguous(&[input.batch, keys]), DType::F32),
        };
        let mut positions = Self::positions(cx, &attention_mask);
        positions = cx.narrow(&positions, 1, input.past, input.length);
        let mask = input.mask(cx, None, Some(&attention_mask));
        let position_embeds = self.embed_positions.forward(cx, &cx.untracked("add_scalar", &positions));
        let embeds = match &self.project_in {
            Some(project_in) => project_in.forward(cx, embeds),
            None => embeds,
        };
        let hidden = cx.add(&embeds, &position_embeds);
        let locals = vec![attention_mask, position_embeds, embeds];
        Entered { positions: Some(positions), mask, locals, ..Entered::new(hidden) }
    }

    fn leave(&self, cx: &Context, hidden: Tensor) -> Tensor {
        match &self.project_out {
            Some(project_out) => project_out.forward(cx, &hidden),
            None => hidden,
        }
    }
}

impl Module for Positions {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.embed_positions.leaves(visit);
        self.project_out.leaves(visit);
        self.project_in.leaves(visit);
    }
}

/// `OPTDecoderLayer`
pub(super) struct DecoderLayer {
    self_attn: Attention,
    self_attn_layer_norm: NormLayer,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: NormLayer,
    activation: Activation,
    norm_before: bool,
    dropout: f64,
}

impl DecoderLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, bias) = (model.hidden_size, model.mlp.intermediate_size, model.mlp.bias);
        let norm = |name| builder.norm(name, model.norm, width);
        Self {
            self_attn: Attention::new(builder, model),
            self_attn_layer_norm: norm("self_attn_layer_norm"),
            fc1: builder.linear("fc1", Part::Mlp, width, inner, bias),
            fc2: builder.linear("fc2", Part::Mlp, inner, width, bias),
            final_layer_norm: norm("final_layer_norm"),
            activation: model.mlp.activation,
            norm_before: model.block != Block::PostNorm,
            dropout: model.residual_dropout,
        }
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let shape = *hidden.layout();
        let mut residual = hidden.clone();
        let mut states = hidden.clone();
        if self.norm_before {
            states = self.self_attn_layer_norm.forward(cx, &states);
        }
        let _weights;
        (states, _weights) = self.self_attn.forward(cx, &states, attend, cache);
        states = cx.dropout(&states, self.dropout);
        states = cx.add(&residual, &states);
        if !self.norm_before {
            states = self.self_attn_layer_norm.forward(cx, &states);
        }
        states = cx.reshape(&states, &[shape.numel() / shape.dim(-1), shape.dim(-1)]);
        residual.clone_from(&states);
        if self.norm_before {
            states = self.final_layer_norm.forward(cx, &states);
        }
        states = self.fc1.forward(cx, &states);
        states = activate(cx, self.activation, states);
        states = self.fc2.forward(cx, &states);
        states = cx.dropout(&states, self.dropout);
        states = cx.reshape(cx.add(&residual, &states), shape.dims());
        if !self.norm_before {
            states = self.final_layer_norm.forward(cx, &states);
        }
        (states, None)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        let Attention { k_proj, v_proj, q_proj, out_proj, .. } = &mut self.self_attn;
        [k_proj, v_proj, q_proj, out_proj].into_iter().for_each(|linear| linear.leaves(visit));
        self.self_attn_layer_norm.leaves(visit);
        self.fc1.leaves(visit);
        self.fc2.leaves(visit);
        self.final_layer_norm.leaves(visit);
    }
}

/// `OPTAttention`
struct Attention {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    num_heads: u64,
    head_dim: u64,
    dropout: f64,
}

impl Attention {
    fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, spec) = (model.hidden_size, &model.attention);
        let linear = |name, bias| builder.linear(name, Part::Attention, width, width, bias);
        Self {
            k_proj: linear("k_proj", spec.qkv_bias),
            v_proj: linear("v_proj", spec.qkv_bias),
            q_proj: linear("q_proj", spec.qkv_bias),
            out_proj: linear("out_proj", spec.output_bias),
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            dropout: spec.dropout,
        }
    }

    fn forward(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let heads =
            |flat: &Tensor| cx.transpose(cx.reshape(flat, &[batch, length, self.num_heads, self.head_dim]), 1, 2);
        // queries are scaled here, and once more by 1 in eager attention
        let mut query = cx.mul_scalar(self.q_proj.forward(cx, x), 1.0);
        query = heads(&query);
        let mut key = self.k_proj.forward(cx, x);
        let mut value = self.v_proj.forward(cx, x);
        key = heads(&key);
        value = heads(&value);
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = given.full.mask.as_ref();
        let (mut out, weights) = attend(cx, given.implementation, [&query, &key, &value], mask, self.dropout);
        out = cx.contiguous(cx.reshape(&out, &[batch, length, width]));
        out = self.out_proj.forward(cx, &out);
        (out, weights)
    }
}
