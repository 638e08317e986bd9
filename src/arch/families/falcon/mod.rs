//! Falcon (`modeling_falcon.py`): one class for three arrangements of a layer and three of its heads.

mod attention;

use self::attention::Attention;
use super::alibi;
use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, Block, DecoderConfig};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// The mask, which is always made, and ALiBi in it (`FalconModel.forward`).
pub(super) struct Masks {
    alibi_heads: Option<u64>,
}

impl Masks {
    pub(super) fn new(model: &DecoderConfig) -> Self {
        Self { alibi_heads: model.attention.alibi.then_some(model.attention.num_heads) }
    }

    /// The causal mask with ALiBi where it lets through.
    fn join(cx: &Context, mut mask: Tensor, alibi: &Tensor, heads: u64) -> Tensor {
        let dtype = alibi.dtype();
        let [batch, queries, keys] = [mask.dim(0), mask.dim(2), mask.dim(3)];
        let made = |dims: &[u64], dtype| cx.launch(Kernel::Where, &[], Layout::contiguous(dims), dtype);
        if mask.dtype() == DType::Bool {
            let (_zero, _lowest) = (made(&[], dtype), made(&[], dtype));
            mask = made(&[batch, 1, queries, keys], dtype);
        }
        let _scaled = made(alibi.dims(), dtype);
        let _hidden = made(&[batch, 1, queries, keys], DType::Bool);
        let joined = made(&[batch, heads, queries, keys], dtype);
        drop(mask);
        joined
    }
}

impl Front for Masks {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let hidden = embeds;
        let keys = input.past + input.length;
        let mut locals = vec![hidden.clone()];
        let alibi = self.alibi_heads.map(|heads| {
            let attention_mask = match input.run.attention_mask {
                Some(mask) => mask.clone(),
                None => cx.launch(Kernel::Ones, &[], Layout::contiguous(&[input.batch, keys]), DType::I64),
            };
            locals.push(attention_mask.clone());
            alibi::build(cx, &attention_mask, heads, DType::BF16, hidden.dtype())
        });
        let positions = input.positions(cx);
        let mut mask = input.unskipped_mask(cx);
        if let (Some(alibi), Some(heads)) = (&alibi, self.alibi_heads) {
            mask = Self::join(cx, mask, alibi, heads);
        }
        Entered { positions: Some(positions), mask: Some(mask), alibi, locals, ..Entered::new(hidden) }
    }
}

impl Module for Masks {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}
}

/// The norms of a layer.
enum Norms {
    /// Attention and MLP side by side from one norm.
    Shared(NormLayer),
    /// Side by side, each from a norm of its own.
    Two { attn: NormLayer, mlp: NormLayer },
    /// One after the other.
    InTurn { post_attention: NormLayer, input: NormLayer },
}

/// `FalconDecoderLayer`
pub(super) struct DecoderLayer {
    attention: Attention,
    dense_h_to_4h: Linear,
    dense_4h_to_h: Linear,
    activation: Activation,
    norms: Norms,
    attention_dropout: f64,
    hidden_dropout: f64,
}

/// `FalconLinear`
fn linear(builder: &Builder<'_>, name: &'static str, part: Part, from: u64, to: u64, bias: bool) -> Linear {
    Linear { written_out: true, ..builder.linear(name, part, from, to, bias) }
}

impl DecoderLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let (width, inner, bias) = (model.hidden_size, model.mlp.intermediate_size, model.mlp.bias);
        let attention = Attention::new(builder, model);
        let dense_h_to_4h = linear(builder, "dense_h_to_4h", Part::Mlp, width, inner, bias);
        let dense_4h_to_h = linear(builder, "dense_4h_to_h", Part::Mlp, inner, width, bias);
        let norm = |name| builder.norm(name, model.norm, width);
        let norms = match model.block {
            Block::ParallelTwoNorms => Norms::Two { attn: norm("ln_attn"), mlp: norm("ln_mlp") },
            Block::ParallelSharedNorm => Norms::Shared(norm("input_layernorm")),
            _ => Norms::InTurn { post_attention: norm("post_attention_layernorm"), input: norm("input_layernorm") },
        };
        Self {
            attention,
            dense_h_to_4h,
            dense_4h_to_h,
            activation: model.mlp.activation,
            norms,
            attention_dropout: model.attention.dropout,
            hidden_dropout: model.residual_dropout,
        }
    }

    /// `FalconMLP`
    fn mlp(&self, cx: &Context, x: &Tensor) -> Tensor {
        let states = activate(cx, self.activation, self.dense_h_to_4h.forward(cx, x));
        self.dense_4h_to_h.forward(cx, &states)
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut residual = hidden.clone();
        let (attention_norm, mlp_norm) = match &self.norms {
            Norms::Shared(norm) => (norm.forward(cx, hidden), None),
            Norms::Two { attn, mlp } => (attn.forward(cx, hidden), Some(mlp.forward(cx, hidden))),
            Norms::InTurn { input, .. } => (input.forward(cx, hidden), None),
        };
        let (attention_output, weights) = self.attention.forward(cx, &attention_norm, attend, cache);
        let mlp_norm = match &self.norms {
            Norms::InTurn { post_attention, .. } => {
                residual = cx.add(&residual, cx.dropout(&attention_output, self.attention_dropout));
                post_attention.forward(cx, &residual)
            }
            _ => mlp_norm.unwrap_or_else(|| attention_norm.clone()),
        };
        let mut mlp_output = self.mlp(cx, &mlp_norm);
        if !matches!(self.norms, Norms::InTurn { .. }) {
            mlp_output = cx.add_in_place(mlp_output, &attention_output);
        }
        let output = cx.add(&residual, cx.dropout(&mlp_output, self.hidden_dropout));
        (output, weights)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        self.dense_h_to_4h.leaves(visit);
        self.dense_4h_to_h.leaves(visit);
        match &mut self.norms {
            Norms::Shared(norm) => norm.leaves(visit),
            Norms::Two { attn: first, mlp: second } | Norms::InTurn { post_attention: first, input: second } => {
                first.leaves(visit);
                second.leaves(visit);
            }
        }
    }
}
