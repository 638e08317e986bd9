//! EuroBERT and Nomic's BERT (`modeling_eurobert.py`, `modeling_nomic_bert.py`): Llama's layers, looking both ways.

use std::rc::Rc;

use super::body::{Body, layer_leaves, run_layers};
use crate::arch::attention::{Attend, Span};
use crate::arch::bidirectional::{bidirectional_mask, plain};
use crate::arch::forward::Forward;
use crate::arch::layer::{DecoderLayer, Layer};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor, trainable_copy};
use crate::model::{DecoderConfig, EncoderConfig};
use crate::nn::{Builder, Device, Embedding, Leaf, Module, NormLayer, Rotary};

/// `EuroBertModel`, `NomicBertModel`
pub(super) struct RotaryBody {
    word: Embedding,
    /// Nomic's.
    types: Option<TokenTypes>,
    layers: Vec<Rc<dyn Layer>>,
    /// EuroBERT's.
    norm: Option<NormLayer>,
    rotary: Rotary,
}

/// What Nomic's embeddings have beside the tokens'.
struct TokenTypes {
    table: Embedding,
    norm: NormLayer,
    ids: [Tensor; 2],
    dropout: f64,
}

impl RotaryBody {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, layers: &DecoderConfig) -> Self {
        let width = model.hidden_size;
        let ids = |name| builder.buffer(name, &[1, model.max_position_embeddings], DType::I64);
        let types = (model.type_vocab_size > 0).then(|| TokenTypes {
            table: builder.embedding("token_type_embeddings", model.type_vocab_size, width),
            norm: builder.norm("LayerNorm", layers.norm, width),
            ids: [ids("position_ids"), ids("token_type_ids")],
            dropout: model.hidden_dropout,
        });
        let layer = |(_, index)| -> Rc<dyn Layer> { Rc::new(DecoderLayer::new(builder, layers, index)) };
        Self {
            word: builder.embedding("embed_tokens", model.vocab_size, width),
            types,
            layers: (0..model.num_hidden_layers).zip(0..).map(layer).collect(),
            norm: layers.final_norm.then(|| builder.norm("norm", layers.norm, width)),
            rotary: Rotary::new(builder.cx, layers.attention.head_dim, builder.device == Device::Cuda),
        }
    }

    fn embed(&self, cx: &Context, ids: &Tensor, require_grads: bool) -> Tensor {
        let mut embeddings = self.word.forward(cx, ids);
        if require_grads && !embeddings.requires_grad() {
            embeddings = trainable_copy(&embeddings);
        }
        let Some(types) = &self.types else { return embeddings };
        let type_ids = plain(cx, ids.dims(), DType::I64);
        let of_types = types.table.forward(cx, &type_ids);
        embeddings = cx.add(&embeddings, &of_types);
        embeddings = types.norm.forward(cx, &embeddings);
        cx.dropout(&embeddings, types.dropout)
    }
}

impl Body for RotaryBody {
    fn word(&self) -> &Embedding {
        &self.word
    }

    fn forward(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let range = || cx.unsqueeze(plain(cx, &[length], DType::I64), 0);
        // EuroBERT embeds before it counts
        let early = self.types.is_some().then(range);
        let embedded = self.embed(cx, ids, run.input_require_grads);
        let positions = early.unwrap_or_else(range);
        let (sizes, dtype) = ([batch, length, length], embedded.dtype());
        let mask = bidirectional_mask(cx, run.implementation, sizes, run.attention_mask, dtype);
        let full = Span { rotary: Some(self.rotary.forward(cx, &positions, dtype)), mask };
        let attend =
            Attend { implementation: run.implementation, full, positions: Some(positions), ..Attend::default() };
        let mut hidden = run_layers(cx, &self.layers, embedded.clone(), run.checkpointing, |_| attend.clone());
        if let Some(norm) = &self.norm {
            hidden = norm.forward(cx, &hidden);
        }
        hidden
    }
}

impl Module for RotaryBody {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.word.leaves(visit);
        if let Some(types) = &mut self.types {
            types.table.leaves(visit);
            types.norm.leaves(visit);
        }
        layer_leaves(&mut self.layers, visit);
        self.norm.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        if let Some(types) = &mut self.types {
            types.ids.iter_mut().for_each(&mut *visit);
        }
        self.rotary.inv_freq.iter_mut().for_each(visit);
    }
}
