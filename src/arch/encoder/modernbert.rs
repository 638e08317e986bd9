//! ModernBERT (`modeling_modernbert.py`).

use std::rc::Rc;

use super::body::{Body, layer_leaves, run_layers};
use crate::arch::attention::{Attend, Attended, Span};
use crate::arch::bidirectional::{AttendTo, attend, bidirectional_mask, joined, sliding_bidirectional_mask};
use crate::arch::cache::KvCache;
use crate::arch::forward::Forward;
use crate::arch::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor, trainable_copy};
use crate::model::{Activation, EncoderConfig, LayerType, ModernBert, Norm};
use crate::nn::{
    Builder, Device, Embedding, Leaf, Linear, Module, NormLayer, Part, Rotary, RotaryStyle, activate, apply_rotary,
};

/// `ModernBertModel`
pub(super) struct ModernBertBody {
    tok_embeddings: Embedding,
    norm: NormLayer,
    layers: Vec<Rc<dyn Layer>>,
    final_norm: NormLayer,
    full_rotary: Rotary,
    sliding_rotary: Option<Rotary>,
    spec: ModernBert,
}

impl ModernBertBody {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, spec: &ModernBert) -> Self {
        let norm = |name| builder.norm(name, Norm::Layer { bias: spec.norm_bias }, model.hidden_size);
        let head_dim = model.hidden_size / model.num_attention_heads;
        let rotary = || Rotary::new(builder.cx, head_dim, builder.device == Device::Cuda);
        let layer = |(i, &layer_type)| -> Rc<dyn Layer> {
            Rc::new(EncoderLayer::new(builder, model, spec, layer_type, i == 0))
        };
        Self {
            tok_embeddings: builder.embedding("tok_embeddings", model.vocab_size, model.hidden_size),
            norm: norm("norm"),
            layers: spec.layer_types.iter().enumerate().map(layer).collect(),
            final_norm: norm("final_norm"),
            full_rotary: rotary(),
            sliding_rotary: spec.layer_types.contains(&LayerType::SlidingAttention).then(rotary),
            spec: spec.clone(),
        }
    }
}

impl Body for ModernBertBody {
    fn word(&self) -> &Embedding {
        &self.tok_embeddings
    }

    fn forward(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let positions = cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length]), DType::I64);
        let positions = cx.unsqueeze(positions, 0);
        let hidden = {
            let mut embeds = self.tok_embeddings.forward(cx, ids);
            if run.input_require_grads && !embeds.requires_grad() {
                embeds = trainable_copy(&embeds);
            }
            cx.dropout(self.norm.forward(cx, &embeds), self.spec.embedding_dropout)
        };
        let (sizes, dtype, implementation) = ([batch, length, length], hidden.dtype(), run.implementation);
        let mask = bidirectional_mask(cx, implementation, sizes, run.attention_mask, dtype);
        let window = Some(self.spec.sliding_window);
        let sliding_mask = sliding_bidirectional_mask(cx, implementation, sizes, run.attention_mask, dtype, window);
        let full = Span { rotary: Some(self.full_rotary.forward(cx, &positions, dtype)), mask };
        let sliding_rotary = self.sliding_rotary.as_ref().map(|rotary| rotary.forward(cx, &positions, dtype));
        let sliding = Span { rotary: sliding_rotary, mask: sliding_mask };
        let attend = Attend { implementation, full, sliding, ..Attend::default() };
        let given = |i: usize| attend.only(self.spec.layer_types[i]);
        // what masks are made for has a name until the end
        let _embedded = hidden.clone();
        let hidden = run_layers(cx, &self.layers, hidden, run.checkpointing, given);
        self.final_norm.forward(cx, &hidden)
    }
}

impl Module for ModernBertBody {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.tok_embeddings.leaves(visit);
        self.norm.leaves(visit);
        layer_leaves(&mut self.layers, visit);
        self.final_norm.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        for rotary in [Some(&mut self.full_rotary), self.sliding_rotary.as_mut()].into_iter().flatten() {
            rotary.inv_freq.iter_mut().for_each(&mut *visit);
        }
    }
}

/// `ModernBertEncoderLayer`
struct EncoderLayer {
    /// The first layer has none: the embeddings end in one.
    attn_norm: Option<NormLayer>,
    wqkv: Linear,
    attention_out: Linear,
    mlp_norm: NormLayer,
    wi: Linear,
    mlp_out: Linear,
    num_heads: u64,
    layer_type: LayerType,
    activation: Activation,
    attention_dropout: f64,
    mlp_dropout: f64,
}

impl EncoderLayer {
    fn new(
        builder: &Builder<'_>,
        model: &EncoderConfig,
        spec: &ModernBert,
        layer_type: LayerType,
        is_first: bool,
    ) -> Self {
        let (width, inner) = (model.hidden_size, model.intermediate_size);
        let norm = |name| builder.norm(name, Norm::Layer { bias: spec.norm_bias }, width);
        Self {
            attn_norm: (!is_first).then(|| norm("attn_norm")),
            wqkv: builder.linear("Wqkv", Part::Attention, width, 3 * width, spec.attention_bias),
            attention_out: builder.linear("Wo", Part::Attention, width, width, spec.attention_bias),
            mlp_norm: norm("mlp_norm"),
            wi: builder.linear("Wi", Part::Mlp, width, 2 * inner, spec.mlp_bias),
            mlp_out: builder.linear("Wo", Part::Mlp, inner, width, spec.mlp_bias),
            num_heads: model.num_attention_heads,
            layer_type,
            activation: model.activation,
            attention_dropout: model.attention_dropout,
            mlp_dropout: spec.mlp_dropout,
        }
    }

    fn attention(&self, cx: &Context, x: &Tensor, given: &Attend) -> Attended {
        let span = given.span(self.layer_type);
        let [batch, length, width] = [x.dim(0), x.dim(1), x.dim(2)];
        let heads = [batch, length, 3 * self.num_heads, width / self.num_heads];
        let qkv = cx.reshape(self.wqkv.forward(cx, x), &heads);
        let [query, key, value] = cx.split_in::<3>(qkv.clone(), 2).map(|part| cx.transpose(part, 1, 2));
        let (query, key) = match &span.rotary {
            Some((cos, sin)) => {
                let turned = apply_rotary(cx, RotaryStyle::CastTwiceToFp32, &query, &key, cos, sin);
                (turned.query, turned.key)
            }
            None => (query, key),
        };
        let to = AttendTo {
            implementation: given.implementation,
            mask: span.mask.as_ref(),
            causal: false,
            dropout: self.attention_dropout,
            fp32_softmax: true,
        };
        let (mut out, weights) = attend(cx, [&query, &key, &value], to);
        out = joined(cx, &out);
        out = cx.dropout(self.attention_out.forward(cx, &out), self.attention_dropout);
        (out, weights)
    }

    fn feed_forward(&self, cx: &Context, x: &Tensor) -> Tensor {
        let [input, gate] = cx.split_in::<2>(self.wi.forward(cx, x), -1);
        let product = cx.mul(activate(cx, self.activation, input.clone()), &gate);
        self.mlp_out.forward(cx, cx.dropout(product, self.mlp_dropout))
    }
}

impl Layer for EncoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Attend, _: Option<(&KvCache, usize)>) -> Attended {
        let normed = self.attn_norm.as_ref().map_or_else(|| hidden.clone(), |norm| norm.forward(cx, hidden));
        let (attn_output, _weights) = self.attention(cx, &normed, given);
        drop(normed);
        let mut states = cx.add(hidden, &attn_output);
        let fed = {
            let normed = self.mlp_norm.forward(cx, &states);
            self.feed_forward(cx, &normed)
        };
        states = cx.add(&states, fed);
        (states, None)
    }
}

impl Module for EncoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attn_norm.leaves(visit);
        self.wqkv.leaves(visit);
        self.attention_out.leaves(visit);
        self.mlp_norm.leaves(visit);
        self.wi.leaves(visit);
        self.mlp_out.leaves(visit);
    }
}
