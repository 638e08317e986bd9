//! GPT-J (`modeling_gptj.py`) and CodeGen (`modeling_codegen.py`): sines and cosines are looked up in a table of each layer.

use super::front::{Entered, Front, Input};
use super::scores;
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// Dropout on the embedding (`GPTJModel.forward`).
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
        let mask = scores::mask(cx, input, Some(&positions));
        let hidden = cx.dropout(&embeds, self.dropout);
        Entered { positions: Some(positions), mask, locals: vec![embeds], ..Entered::new(hidden) }
    }
}

impl Module for EmbedDropout {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}
}

enum Projections {
    /// GPT-J's, as they are registered: key, value, query.
    Separate([Linear; 3]),
    /// CodeGen's, in four groups of heads, each of query, value and key.
    Fused(Linear),
}

/// CodeGen's heads were trained on so many cores.
const CORES: u64 = 4;

/// `GPTJBlock` and `CodeGenBlock`
pub(super) struct Block {
    ln_1: NormLayer,
    projections: Projections,
    out_proj: Linear,
    /// Sines and cosines, `[max_position_embeddings, turned dimensions]`.
    embed_positions: Tensor,
    fc_in: Linear,
    fc_out: Linear,
    activation: Activation,
    num_heads: u64,
    head_dim: u64,
    rotary_dim: Option<u64>,
    attention_dropout: f64,
    dropout: f64,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, spec) = (model.hidden_size, model.mlp.intermediate_size, &model.attention);
        let attention = |name, to| builder.linear(name, Part::Attention, width, to, false);
        let ln_1 = builder.norm("ln_1", model.norm, width);
        let projections = match spec.projections {
            crate::model::Projections::Separate => {
                Projections::Separate(["k_proj", "v_proj", "q_proj"].map(|name| attention(name, width)))
            }
            _ => Projections::Fused(attention("qkv_proj", 3 * width)),
        };
        let table = [model.max_position_embeddings, spec.rotary_dim.unwrap_or(width)];
        Self {
            ln_1,
            projections,
            out_proj: attention("out_proj", width),
            embed_positions: builder.buffer("embed_positions", &table, DType::F32),
            fc_in: builder.linear("fc_in", Part::Mlp, width, inner, true),
            fc_out: builder.linear("fc_out", Part::Mlp, inner, width, true),
            activation: model.mlp.activation,
            num_heads: spec.num_heads,
            head_dim: spec.head_dim,
            rotary_dim: spec.rotary_dim,
            attention_dropout: spec.dropout,
            dropout: model.residual_dropout,
        }
    }

    /// Query, key and value, `[batch, length, heads, head_dim]`, and what they are views of.
    fn project(&self, cx: &Context, x: &Tensor) -> ([Tensor; 3], Option<Tensor>) {
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        match &self.projections {
            Projections::Separate([k_proj, v_proj, q_proj]) => {
                let flat = [q_proj, k_proj, v_proj].map(|linear| linear.forward(cx, x));
                (flat.map(|flat| cx.reshape(flat, &[batch, length, self.num_heads, self.head_dim])), None)
            }
            Projections::Fused(qkv_proj) => {
                let qkv = qkv_proj.forward(cx, x);
                let [query, value, key] = cx.split_in(cx.reshape(&qkv, &[batch, length, CORES, 3 * width / CORES]), -1);
                let split = |part: Tensor| {
                    let within = [batch, length, CORES, self.num_heads / CORES, self.head_dim];
                    cx.reshape(cx.reshape(part, &within), &[batch, length, self.num_heads, self.head_dim])
                };
                let (query, key) = (split(query), split(key));
                ([query, key, split(value)], Some(qkv))
            }
        }
    }

    /// Sines and cosines of the positions, `[1, length, turned / 2]` each, and what else has a name.
    fn look_up(&self, cx: &Context, positions: &Tensor, dtype: DType) -> ([Tensor; 2], Vec<Tensor>) {
        let length = positions.dim(-1);
        let [rows, width] = [self.embed_positions.dim(0), self.embed_positions.dim(1)];
        let made = |dims: &[u64], dtype| cx.launch(Kernel::Embedding, &[], Layout::contiguous(dims), dtype);
        let (sincos, mut locals) = match self.projections {
            Projections::Separate(_) => {
                // a copy of the table, and of the positions for each of its columns
                let table = made(&[1, rows, width], DType::F32);
                let repeated = made(&[1, length, width], DType::I64);
                let found = made(&[1, length, width], DType::F32);
                (cx.no_grad(|| cx.cast(&found, dtype)), vec![table, repeated])
            }
            Projections::Fused(_) => (made(&[1, length, width], DType::F32), Vec::new()),
        };
        let parts = cx.split_in(sincos.clone(), -1);
        locals.push(sincos);
        (parts, locals)
    }

    /// `apply_rotary_pos_emb`, with tables of its own.
    fn turn(cx: &Context, x: &Tensor, [sin, cos]: &[Tensor; 2]) -> Tensor {
        let table = |half: &Tensor| cx.repeat_interleave(cx.unsqueeze(half, 2), 3, 2);
        let sin = table(sin);
        let cos = table(cos);
        let straight = cx.mul(x, &cos);
        let rotated = {
            let [first, second] = [0, 1].map(|_| cx.every_second(x));
            let stacked = cx.stack_last(&[cx.neg(&second), first]);
            cx.reshape(stacked, x.dims())
        };
        let turned = cx.mul(rotated, &sin);
        cx.add(straight, turned)
    }

    /// `GPTJAttention` and `CodeGenAttention`
    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let ([mut query, mut key, mut value], _qkv) = self.project(cx, x);
        value = cx.transpose(&value, 1, 2);
        let positions = given.positions.as_ref().expect("its layers are given positions");
        let (tables, _tables) = self.look_up(cx, positions, key.dtype());
        let mut _parts = Vec::new();
        if let Some(dim) = self.rotary_dim {
            let rest = self.head_dim - dim;
            let (mut key_turned, key_pass) = (cx.narrow(&key, -1, 0, dim), cx.narrow(&key, -1, dim, rest));
            let (mut query_turned, query_pass) = (cx.narrow(&query, -1, 0, dim), cx.narrow(&query, -1, dim, rest));
            key_turned = Self::turn(cx, &key_turned, &tables);
            query_turned = Self::turn(cx, &query_turned, &tables);
            key = cx.cat(&[&key_turned, &key_pass], -1);
            query = cx.cat(&[&query_turned, &query_pass], -1);
            _parts = vec![key_turned, key_pass, query_turned, query_pass];
        } else {
            key = Self::turn(cx, &key, &tables);
            query = Self::turn(cx, &query, &tables);
        }
        key = cx.transpose(&key, 1, 2);
        query = cx.transpose(&query, 1, 2);
        if let Some((cache, layer)) = cache {
            let kept = match self.projections {
                Projections::Separate(_) => key,
                Projections::Fused(_) => cx.cast(&key, x.dtype()),
            };
            (key, value) = cache.update(cx, layer, kept, value);
        }
        let mask = given.full.mask.as_ref();
        let masked = |weights: Tensor| mask.map_or_else(|| weights.clone(), |mask| cx.add(&weights, mask));
        let scaled = |weights: Tensor| cx.mul_scalar(&weights, 1.0);
        let adjust = |weights: Tensor| match self.projections {
            Projections::Separate(_) => masked(scaled(weights)),
            Projections::Fused(_) => scaled(masked(weights)),
        };
        let (mut out, weights) = scores::attend(cx, [&query, &key, &value], adjust, self.attention_dropout);
        out = scores::merge_heads(cx, &out);
        out = self.out_proj.forward(cx, &out);
        out = cx.dropout(&out, self.dropout);
        (out, weights)
    }

    /// `GPTJMLP`
    fn mlp(&self, cx: &Context, x: &Tensor) -> Tensor {
        let mut states = self.fc_in.forward(cx, x);
        states = activate(cx, self.activation, states);
        states = self.fc_out.forward(cx, &states);
        cx.dropout(&states, self.dropout)
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let normed = self.ln_1.forward(cx, hidden);
        let (attn_outputs, weights) = self.attention(cx, &normed, attend, cache);
        let feed_forward = self.mlp(cx, &normed);
        let out = cx.add(cx.add(&attn_outputs, &feed_forward), hidden);
        (out, weights)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.ln_1.leaves(visit);
        match &mut self.projections {
            Projections::Separate(all) => all.iter_mut().for_each(|linear| linear.leaves(visit)),
            Projections::Fused(qkv) => qkv.leaves(visit),
        }
        self.out_proj.leaves(visit);
        self.fc_in.leaves(visit);
        self.fc_out.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        visit(&mut self.embed_positions);
    }
}
