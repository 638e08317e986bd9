//! BART and mBART (`modeling_bart.py`, `modeling_mbart.py`).

use std::rc::Rc;

use super::cache::{SeqCache, keys_and_values};
use super::model::Stacks;
use crate::arch::bidirectional::{self, AttendTo, attend, bidirectional_mask};
use crate::arch::forward::Forward;
use crate::arch::masks::MaskRequest;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor, trainable_copy};
use crate::job::AttnImplementation;
use crate::model::{Activation, EncoderDecoderConfig, Norm, Positions, Stack};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

const LAYER_NORM: Norm = Norm::Layer { bias: true };

/// `BartEncoder` and `BartDecoder`.
pub(super) struct Bart {
    encoder: BartStack,
    decoder: BartStack,
    final_logits_bias: Tensor,
}

impl Stacks for Bart {
    const DEFAULT_TARGETS: &'static [&'static str] = &["q_proj", "v_proj"];
    const CACHES_IN_TRAINING: bool = false;
    const SHIFTS_LATE: bool = false;

    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Self {
        Self {
            encoder: BartStack::new(builder, model, &model.encoder, false),
            decoder: BartStack::new(builder, model, &model.decoder, true),
            final_logits_bias: builder.buffer("final_logits_bias", &[1, model.vocab_size], builder.dtype),
        }
    }

    fn tie(&mut self) {
        self.encoder.embed_tokens = None;
        self.decoder.embed_tokens = None;
    }

    fn encode(&self, cx: &Context, embed: &Embedding, ids: &Tensor, run: Forward<'_>) -> Tensor {
        self.encoder.forward(cx, embed, ids, None, run, None)
    }

    fn decode(
        &self,
        cx: &Context,
        embed: &Embedding,
        ids: &Tensor,
        encoded: &Tensor,
        run: Forward<'_>,
        cache: Option<&SeqCache>,
    ) -> Tensor {
        self.decoder.forward(cx, embed, ids, Some(encoded), run, cache)
    }

    fn logits(&self, cx: &Context, head: &Linear, hidden: Tensor) -> Tensor {
        let logits = head.forward(cx, &hidden);
        cx.add(&logits, &self.final_logits_bias)
    }
}

impl Module for Bart {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.encoder.leaves(visit);
        self.decoder.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        visit(&mut self.final_logits_bias);
    }
}

struct BartStack {
    /// The stack's own token table, until it is tied.
    embed_tokens: Option<Embedding>,
    embed_positions: Embedding,
    layers: Vec<Rc<BartLayer>>,
    layernorm_embedding: NormLayer,
    /// mBART's, after the last layer.
    layer_norm: Option<NormLayer>,
    dropout: f64,
    is_decoder: bool,
}

/// What a layer is given beside hidden states.
#[derive(Clone)]
struct Given {
    implementation: AttnImplementation,
    mask: Option<Tensor>,
    encoded: Option<Tensor>,
    encoder_mask: Option<Tensor>,
}

impl BartStack {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_decoder: bool) -> Self {
        let rows = match model.positions {
            Positions::Learned { rows } => rows,
            Positions::RelativeBias { .. } => 0,
        };
        Self {
            embed_tokens: Some(builder.embedding("embed_tokens", model.vocab_size, model.d_model)),
            embed_positions: builder.embedding("embed_positions", rows, model.d_model),
            layers: (0..stack.num_layers).map(|_| Rc::new(BartLayer::new(builder, model, stack, is_decoder))).collect(),
            layernorm_embedding: builder.norm("layernorm_embedding", LAYER_NORM, model.d_model),
            layer_norm: model.final_norm.then(|| builder.norm("layer_norm", LAYER_NORM, model.d_model)),
            dropout: model.dropout,
            is_decoder,
        }
    }

    fn forward(
        &self,
        cx: &Context,
        embed: &Embedding,
        ids: &Tensor,
        encoded: Option<&Tensor>,
        run: Forward<'_>,
        cache: Option<&SeqCache>,
    ) -> Tensor {
        let mut inputs_embeds = cx.mul_scalar(embed.forward(cx, ids), 1.0);
        if run.input_require_grads && !inputs_embeds.requires_grad() {
            inputs_embeds = trainable_copy(&inputs_embeds);
        }
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let dtype = inputs_embeds.dtype();
        let implementation = run.implementation;
        let past = cache.map_or(0, SeqCache::length);
        let mask_of = |keys| bidirectional_mask(cx, implementation, [batch, length, keys], run.attention_mask, dtype);
        let range = || cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length]), DType::I64);
        let given;
        let mut _position_ids = None;
        let positions;
        let hidden;
        if self.is_decoder {
            _position_ids = Some({
                let _range = range();
                range()
            });
            let ones = cx.launch(Kernel::Ones, &[], Layout::contiguous(&[batch, past + length]), DType::F32);
            let mask = MaskRequest {
                implementation,
                batch,
                queries: length,
                keys: past + length,
                padding: Some(&ones),
                positions: None,
                bidirectional: false,
                sliding_window: None,
                dtype,
            }
            .make(cx);
            drop(ones);
            let encoder_mask = encoded.and_then(|encoded| mask_of(encoded.dim(1)));
            let offset = cx.unsqueeze(range(), 0);
            positions = self.embed_positions.forward(cx, &offset);
            drop(offset);
            hidden = cx.add(&inputs_embeds, &positions);
            given = Given { implementation, mask, encoded: encoded.cloned(), encoder_mask };
        } else {
            let rows = {
                let _range = range();
                // an offset is added to a view of one row
                cx.launch(Kernel::Where, &[], Layout::contiguous(&[batch, length]), DType::I64)
            };
            positions = self.embed_positions.forward(cx, &rows);
            drop(rows);
            hidden = cx.add(&inputs_embeds, &positions);
            given = Given { implementation, mask: None, encoded: None, encoder_mask: None };
        }
        let mut hidden = hidden;
        hidden = self.layernorm_embedding.forward(cx, &hidden);
        hidden = cx.dropout(&hidden, self.dropout);
        let mut given = given;
        if !self.is_decoder {
            given.mask = mask_of(length);
        }
        for (i, layer) in self.layers.iter().enumerate() {
            hidden = if run.checkpointing {
                let (layer, given) = (Rc::clone(layer), given.clone());
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &given, None))
            } else {
                layer.forward(cx, &hidden, &given, cache.map(|cache| (cache, i)))
            };
        }
        if let Some(norm) = &self.layer_norm {
            hidden = norm.forward(cx, &hidden);
        }
        hidden
    }
}

impl Module for BartStack {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.embed_positions.leaves(visit);
        for layer in &mut self.layers {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.leaves(visit);
            }
        }
        self.layernorm_embedding.leaves(visit);
        self.layer_norm.leaves(visit);
    }
}

/// `BartEncoderLayer`, `BartDecoderLayer`
struct BartLayer {
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
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_decoder: bool) -> Self {
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

    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Given, cache: Option<(&SeqCache, usize)>) -> Tensor {
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
}

impl Attention {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_causal: bool) -> Self {
        let linear = |name| builder.linear(name, Part::Attention, model.d_model, model.d_model, true);
        Self {
            k_proj: linear("k_proj"),
            v_proj: linear("v_proj"),
            q_proj: linear("q_proj"),
            out_proj: linear("out_proj"),
            num_heads: stack.num_heads,
            dropout: model.attention_dropout,
            is_causal,
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
        let heads = |flat: Tensor| bidirectional::heads(cx, flat, self.num_heads);
        let query = heads(self.q_proj.forward(cx, hidden));
        let current = encoded.unwrap_or(hidden);
        let make = || {
            let (key, value) = (self.k_proj.forward(cx, current), self.v_proj.forward(cx, current));
            (heads(key), heads(value))
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
