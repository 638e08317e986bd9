//! A layer of BART's stacks.

use super::LAYER_NORM;
use crate::arch::bidirectional::{self, AttendTo, attend};
use crate::arch::encoder_decoder::cache::{SeqCache, keys_and_values};
use crate::ghost::{Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Activation, EncoderDecoderConfig, ModelType, Stack};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part, activate};

/// What a layer is given beside hidden states.
#[derive(Clone)]
pub(in crate::arch::encoder_decoder) struct Given {
    pub(in crate::arch::encoder_decoder) implementation: AttnImplementation,
    pub(in crate::arch::encoder_decoder) mask: Option<Tensor>,
    pub(in crate::arch::encoder_decoder) encoded: Option<Tensor>,
    pub(in crate::arch::encoder_decoder) encoder_mask: Option<Tensor>,
}

/// `BartEncoderLayer`, `BartDecoderLayer`
pub(in crate::arch::encoder_decoder) struct BartLayer {
    self_attn: Attention,
    self_attn_layer_norm: NormLayer,
    encoder_attn: Option<(Attention, NormLayer)>,
    fc1: Linear,
    fc2: Linear,
    final_layer_norm: NormLayer,
    activation: Activation,
    activation_dropout: f64,
    dropout: f64,
    /// Norms stand before what they norm for, rather than after the sum.
    norm_first: bool,
}

impl BartLayer {
    pub(in crate::arch::encoder_decoder) fn new(
        builder: &Builder<'_>,
        model: &EncoderDecoderConfig,
        stack: &Stack,
        is_decoder: bool,
    ) -> Self {
        let width = model.d_model;
        let norm = |name| builder.norm(name, LAYER_NORM, width);
        let attention = |is_causal| Attention::new(builder, model, stack, is_causal);
        Self {
            self_attn: attention(is_decoder),
            self_attn_layer_norm: norm("self_attn_layer_norm"),
            encoder_attn: is_decoder.then(|| (attention(false), norm("encoder_attn_layer_norm"))),
            fc1: builder.linear("fc1", Part::Mlp, width, stack.ffn_dim, true),
            fc2: builder.linear("fc2", Part::Mlp, stack.ffn_dim, width, true),
            final_layer_norm: norm("final_layer_norm"),
            activation: model.activation,
            activation_dropout: model.activation_dropout,
            dropout: model.dropout,
            norm_first: model.norm_first,
        }
    }

    pub(in crate::arch::encoder_decoder) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        cache: Option<(&SeqCache, usize)>,
    ) -> Tensor {
        let before =
            |norm: &NormLayer, states: Tensor| if self.norm_first { norm.forward(cx, &states) } else { states };
        let after = |norm: &NormLayer, states: Tensor| if self.norm_first { states } else { norm.forward(cx, &states) };
        let mut states = before(&self.self_attn_layer_norm, hidden.clone());
        let (next, _weights) = self.self_attn.forward(cx, &states, given, None, cache);
        states = next;
        states = cx.dropout(&states, self.dropout);
        states = cx.add(hidden, &states);
        states = after(&self.self_attn_layer_norm, states);
        let mut residual = states.clone();
        let mut _cross_weights = None;
        if let (Some((attention, norm)), Some(encoded)) = (&self.encoder_attn, &given.encoded) {
            states = before(norm, states);
            let (next, weights) = attention.forward(cx, &states, given, Some(encoded), cache);
            (states, _cross_weights) = (next, weights);
            states = cx.dropout(&states, self.dropout);
            states = cx.add(&residual, &states);
            states = after(norm, states);
            residual = states.clone();
        }
        states = before(&self.final_layer_norm, states);
        states = activate(cx, self.activation, self.fc1.forward(cx, &states));
        states = cx.dropout(&states, self.activation_dropout);
        states = self.fc2.forward(cx, &states);
        states = cx.dropout(&states, self.dropout);
        states = cx.add(&residual, &states);
        states = after(&self.final_layer_norm, states);
        states
    }
}

impl Module for BartLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.self_attn.leaves(visit);
        self.self_attn_layer_norm.leaves(visit);
        if let Some((attention, norm)) = &mut self.encoder_attn {
            attention.leaves(visit);
            norm.leaves(visit);
        }
        self.fc1.leaves(visit);
        self.fc2.leaves(visit);
        self.final_layer_norm.leaves(visit);
    }
}

/// `BartAttention`
struct Attention {
    k_proj: Linear,
    v_proj: Linear,
    q_proj: Linear,
    out_proj: Linear,
    num_heads: u64,
    dropout: f64,
    is_causal: bool,
    /// Whisper scales queries itself, and makes queries, keys and values contiguous.
    copies: bool,
}

impl Attention {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_causal: bool) -> Self {
        let make = |name, bias| builder.linear(name, Part::Attention, model.d_model, model.d_model, bias);
        let linear = |name| make(name, true);
        let copies = model.model_type == ModelType::Whisper;
        Self {
            k_proj: make("k_proj", !copies),
            v_proj: linear("v_proj"),
            q_proj: linear("q_proj"),
            out_proj: linear("out_proj"),
            num_heads: stack.num_heads,
            dropout: model.attention_dropout,
            is_causal,
            copies,
        }
    }

    fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        encoded: Option<&Tensor>,
        cache: Option<(&SeqCache, usize)>,
    ) -> (Tensor, Option<Tensor>) {
        let heads = |flat: Tensor| {
            let heads = bidirectional::heads(cx, flat, self.num_heads);
            if self.copies { cx.contiguous(heads) } else { heads }
        };
        let projected = self.q_proj.forward(cx, hidden);
        let query = heads(if self.copies { cx.mul_scalar(projected, 1.0) } else { projected });
        let current = encoded.unwrap_or(hidden);
        let make = || {
            let key = heads(self.k_proj.forward(cx, current));
            (key, heads(self.v_proj.forward(cx, current)))
        };
        let (key, value) = keys_and_values(cx, cache, encoded.is_some(), make);
        let mask = if encoded.is_some() { &given.encoder_mask } else { &given.mask };
        let to = AttendTo {
            implementation: given.implementation,
            mask: mask.as_ref(),
            causal: self.is_causal,
            dropout: self.dropout,
            fp32_softmax: false,
        };
        let (mut out, weights) = attend(cx, [&query, &key, &value], to);
        out = bidirectional::joined(cx, &out);
        out = self.out_proj.forward(cx, &out);
        (out, weights)
    }
}

impl Module for Attention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.k_proj.leaves(visit);
        self.v_proj.leaves(visit);
        self.q_proj.leaves(visit);
        self.out_proj.leaves(visit);
    }
}
