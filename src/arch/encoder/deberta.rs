//! DeBERTa v2 and v3 (`modeling_deberta_v2.py`).

use std::rc::Rc;

use super::body::Body;
use super::deberta_attention::DisentangledAttention;
use crate::arch::bidirectional::plain;
use crate::arch::forward::Forward;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor, trainable_copy};
use crate::model::{Activation, DebertaV2, EncoderConfig, Norm};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

const LAYER_NORM: Norm = Norm::Layer { bias: true };

/// `DebertaV2Model`
pub(super) struct DebertaBody {
    word: Embedding,
    position: Option<Embedding>,
    token_type: Option<Embedding>,
    embed_proj: Option<Linear>,
    norm: NormLayer,
    layers: Vec<Rc<DebertaLayer>>,
    rel_embeddings: Option<Embedding>,
    rel_norm: Option<NormLayer>,
    /// Of relative attention: whether distances are put into buckets.
    in_buckets: Option<bool>,
    position_ids: Tensor,
    dropout: f64,
}

/// What a layer is given beside hidden states.
#[derive(Clone)]
pub(super) struct Given {
    /// `[batch, 1, length, length]`
    pub(super) mask: Tensor,
    /// `[1, length, length]`
    pub(super) relative_pos: Option<Tensor>,
    /// `[2 * buckets, width]`
    pub(super) rel_embeddings: Option<Tensor>,
}

impl DebertaBody {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, spec: &DebertaV2) -> Self {
        let (narrow, width) = (model.embedding_size, model.hidden_size);
        let table = |name, rows| builder.embedding(name, rows, narrow);
        let relative = spec.relative_attention.as_ref();
        Self {
            word: table("word_embeddings", model.vocab_size),
            position: spec.position_biased_input.then(|| table("position_embeddings", model.max_position_embeddings)),
            token_type: (model.type_vocab_size > 0).then(|| table("token_type_embeddings", model.type_vocab_size)),
            embed_proj: (narrow != width).then(|| builder.linear("embed_proj", Part::Embedding, narrow, width, false)),
            norm: builder.norm("LayerNorm", LAYER_NORM, width),
            layers: (0..model.num_hidden_layers).map(|_| Rc::new(DebertaLayer::new(builder, model, spec))).collect(),
            rel_embeddings: relative.map(|relative| builder.embedding("rel_embeddings", 2 * relative.span, width)),
            rel_norm: relative.filter(|relative| relative.norm).map(|_| builder.norm("LayerNorm", LAYER_NORM, width)),
            in_buckets: relative.map(|relative| relative.in_buckets),
            position_ids: builder.buffer("position_ids", &[1, model.max_position_embeddings], DType::I64),
            dropout: model.hidden_dropout,
        }
    }

    fn embed(&self, cx: &Context, ids: &Tensor, types: &Tensor, mask: &Tensor, require_grads: bool) -> Tensor {
        let mut inputs_embeds = self.word.forward(cx, ids);
        if require_grads && !inputs_embeds.requires_grad() {
            inputs_embeds = trainable_copy(&inputs_embeds);
        }
        let positions = match &self.position {
            Some(table) => table.forward(cx, &cx.narrow(&self.position_ids, 1, 0, ids.dim(1))),
            None => plain(cx, inputs_embeds.dims(), inputs_embeds.dtype()),
        };
        let mut embeddings = inputs_embeds.clone();
        if self.position.is_some() {
            embeddings = cx.add(&embeddings, &positions);
        }
        let mut _types = None;
        if let Some(table) = &self.token_type {
            let of_types = table.forward(cx, types);
            embeddings = cx.add(&embeddings, &of_types);
            _types = Some(of_types);
        }
        if let Some(project) = &self.embed_proj {
            embeddings = project.forward(cx, &embeddings);
        }
        embeddings = self.norm.forward(cx, &embeddings);
        let mask = cx.cast(cx.unsqueeze(mask, 2), embeddings.dtype());
        embeddings = cx.mul(&embeddings, &mask);
        cx.dropout(&embeddings, self.dropout)
    }
}

/// `build_relative_position`: `[1, length, length]`.
fn relative_positions(cx: &Context, length: u64, in_buckets: bool) -> Tensor {
    let made = |dtype| plain(cx, &[length, length], dtype);
    let mut relative = {
        let range = || plain(cx, &[length], DType::I64);
        let (_queries, _keys) = (range(), range());
        made(DType::I64)
    };
    if in_buckets {
        let whole = relative;
        let buckets = {
            let sign = made(DType::I64);
            let distance = made(DType::I64);
            let mut log = made(DType::F32);
            for _ in 0..5 {
                log = made(DType::F32);
            }
            let (_near, _plain, _far) = (made(DType::Bool), made(DType::F32), made(DType::F32));
            drop((sign, distance, log));
            made(DType::F32)
        };
        drop(whole);
        relative = cx.cast(&buckets, DType::I64);
    }
    cx.unsqueeze(relative, 0)
}

impl Body for DebertaBody {
    fn word(&self) -> &Embedding {
        &self.word
    }

    fn forward(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let mask = run.attention_mask.cloned().unwrap_or_else(|| plain(cx, ids.dims(), DType::F32));
        let types = plain(cx, ids.dims(), DType::I64);
        let embedded = self.embed(cx, ids, &types, &mask, run.input_require_grads);
        let pairs = plain(cx, &[batch, 1, length, length], mask.dtype());
        let relative_pos = self.in_buckets.map(|in_buckets| relative_positions(cx, length, in_buckets));
        let rel_embeddings = self.rel_embeddings.as_ref().map(|table| match &self.rel_norm {
            Some(norm) => norm.forward(cx, &table.weight),
            None => table.weight.clone(),
        });
        let given = Given { mask: pairs, relative_pos, rel_embeddings };
        // every layer's states are kept (`output_hidden_states=True`)
        let mut all = vec![embedded.clone()];
        let mut hidden = embedded;
        for layer in &self.layers {
            hidden = if run.checkpointing {
                let (layer, given) = (Rc::clone(layer), given.clone());
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &given))
            } else {
                layer.forward(cx, &hidden, &given)
            };
            all.push(hidden.clone());
        }
        hidden
    }
}

impl Module for DebertaBody {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.word.leaves(visit);
        self.position.leaves(visit);
        self.token_type.leaves(visit);
        self.embed_proj.leaves(visit);
        self.norm.leaves(visit);
        for layer in &mut self.layers {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.leaves(visit);
            }
        }
        self.rel_embeddings.leaves(visit);
        self.rel_norm.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        visit(&mut self.position_ids);
    }
}

/// `DebertaV2Layer`
struct DebertaLayer {
    attention: DisentangledAttention,
    attention_output: (Linear, NormLayer),
    intermediate: Linear,
    output: (Linear, NormLayer),
    activation: Activation,
    dropout: f64,
}

impl DebertaLayer {
    fn new(builder: &Builder<'_>, model: &EncoderConfig, spec: &DebertaV2) -> Self {
        let (width, inner) = (model.hidden_size, model.intermediate_size);
        let dense = |part, from, to| builder.linear("dense", part, from, to, true);
        let norm = || builder.norm("LayerNorm", LAYER_NORM, width);
        Self {
            attention: DisentangledAttention::new(builder, model, spec),
            attention_output: (dense(Part::Attention, width, width), norm()),
            intermediate: dense(Part::Mlp, width, inner),
            output: (dense(Part::Mlp, inner, width), norm()),
            activation: model.activation,
            dropout: model.hidden_dropout,
        }
    }

    fn forward(&self, cx: &Context, hidden: &Tensor, given: &Given) -> Tensor {
        let added = |(dense, norm): &(Linear, NormLayer), mut states: Tensor, input: &Tensor| {
            states = dense.forward(cx, &states);
            states = cx.dropout(&states, self.dropout);
            norm.forward(cx, cx.add(&states, input))
        };
        let attention_output = {
            let attended = self.attention.forward(cx, hidden, given);
            added(&self.attention_output, attended.clone(), hidden)
        };
        let mut intermediate = self.intermediate.forward(cx, &attention_output);
        intermediate = activate(cx, self.activation, intermediate);
        added(&self.output, intermediate.clone(), &attention_output)
    }
}

impl Module for DebertaLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        self.attention_output.0.leaves(visit);
        self.attention_output.1.leaves(visit);
        self.intermediate.leaves(visit);
        self.output.0.leaves(visit);
        self.output.1.leaves(visit);
    }
}
