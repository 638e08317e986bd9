//! Decoders with a language-model head.

use std::rc::Rc;

use super::attention::Attend;
use super::cache::KvCache;
use super::families::{self, Entered, Front, Input};
use super::layer::Layer;
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Tensor, trainable_copy};
use crate::job::AttnImplementation;
use crate::model::Model;
use crate::nn::{Builder, Device, Embedding, Leaf, Linear, Module, NormLayer, Part, Rotary};

/// A decoder-only language model.
pub struct Decoder {
    embed: Embedding,
    front: Box<dyn Front>,
    layers: Vec<Rc<dyn Layer>>,
    norm: Option<NormLayer>,
    rotary: Option<Rotary>,
    head: Linear,
    tied: bool,
}

/// How a forward pass is run.
#[derive(Clone, Copy, Default)]
pub struct Forward<'a> {
    /// `attn_implementation`
    pub implementation: AttnImplementation,
    /// `gradient_checkpointing`
    pub checkpointing: bool,
    /// The embeddings' output is made to require gradients (`enable_input_require_grads`).
    pub input_require_grads: bool,
    /// A padding mask, `[batch, length]`.
    pub attention_mask: Option<&'a Tensor>,
    /// The cache keys and values go to.
    pub cache: Option<&'a KvCache>,
}

impl Decoder {
    /// The model with its parameters, frozen.
    pub fn new(builder: &Builder<'_>, model: &Model) -> Self {
        let embed = builder.embedding("embed_tokens", model.vocab_size, model.hidden_size);
        let front = families::front(builder, model);
        let layers = (0..model.num_hidden_layers).map(|_| families::layer(builder, model)).collect();
        let norm = model.final_norm.then(|| builder.norm("norm", model.norm, model.hidden_size));
        let rotary = model.attention.rotary_dim.map(|dim| Rotary::new(builder.cx, dim, builder.device == Device::Cuda));
        let mut head = builder.linear("lm_head", Part::Head, model.hidden_size, model.vocab_size, model.head.bias);
        if model.head.tied {
            head.weight = crate::nn::Weight::Dense(embed.weight.clone());
        }
        Self { embed, front, layers, norm, rotary, head, tied: model.head.tied }
    }

    /// The last hidden states of `ids`, `[batch, length]`.
    pub fn hidden(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let embeds = self.embed.forward(cx, ids);
        let embeds = if run.input_require_grads && !embeds.requires_grad() { trainable_copy(&embeds) } else { embeds };
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let past = run.cache.map_or(0, KvCache::length);
        let Entered { mut hidden, positions, mask, alibi, locals: _locals } =
            self.front.enter(cx, &Input { embeds: &embeds, batch, length, past, run });
        let rotary = match (&self.rotary, &positions) {
            (Some(rotary), Some(positions)) => Some(rotary.forward(cx, positions, embeds.dtype())),
            _ => None,
        };
        let attend = Attend { implementation: run.implementation, rotary, mask, alibi };
        for (i, layer) in self.layers.iter().enumerate() {
            hidden = if run.checkpointing {
                let (layer, attend) = (Rc::clone(layer), attend.clone());
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &attend, None))
            } else {
                layer.forward(cx, &hidden, &attend, run.cache.map(|cache| (cache, i)))
            };
        }
        if let Some(norm) = &self.norm {
            hidden = norm.forward(cx, &hidden);
        }
        self.front.leave(cx, hidden)
    }

    /// Logits of hidden states.
    pub fn logits(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        cx.within(Category::Logits, || self.head.forward(cx, hidden))
    }

    /// `ForCausalLMLoss`: logits in fp32, labels shifted by one. Returns the loss; the logits go with the caller's.
    pub fn causal_loss(cx: &Context, logits: &Tensor, labels: &Tensor) -> Tensor {
        cx.within(Category::Logits, || {
            let logits = cx.cast(logits, DType::F32);
            let [batch, length] = [labels.dim(0), labels.dim(1)];
            let padded_layout = Layout::contiguous(&[batch, length + 1]);
            let padded = cx.launch(Kernel::Cat { dim: -1 }, &[labels], padded_layout, DType::I64);
            let shifted = cx.contiguous(cx.narrow(&padded, -1, 1, length));
            let rows = batch * length;
            let vocab_size = logits.dim(-1);
            let logits = cx.reshape(logits, &[rows, vocab_size]);
            let shifted = cx.reshape(shifted, &[rows]);
            cx.cross_entropy(logits, &shifted)
        })
    }

    /// Whether the head's weight is the embedding's.
    pub fn is_tied(&self) -> bool {
        self.tied
    }
}

impl Module for Decoder {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.embed.leaves(visit);
        self.front.leaves(visit);
        for layer in &mut self.layers {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.leaves(visit);
            }
        }
        self.norm.leaves(visit);
        visit(Leaf::Linear(&mut self.head));
    }
}
