//! Embeddings of tokens, positions and token types (`BertEmbeddings`, `RobertaEmbeddings`, DistilBERT's `Embeddings`).

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor, trainable_copy};
use crate::model::{EncoderConfig, ModelType, Norm};
use crate::nn::{Builder, Embedding, Leaf, Module, NormLayer};

pub(super) struct Embeddings {
    pub(super) word: Embedding,
    position: Embedding,
    token_type: Option<Embedding>,
    norm: NormLayer,
    dropout: f64,
    /// RoBERTa counts positions along the tokens that are no padding.
    counts_tokens: bool,
    position_ids: Tensor,
    token_type_ids: Option<Tensor>,
}

impl Embeddings {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let width = model.embedding_size;
        let counts_tokens = matches!(model.model_type, ModelType::Roberta | ModelType::XlmRoberta | ModelType::Mpnet);
        let ids = |name| builder.buffer(name, &[1, model.max_position_embeddings], DType::I64);
        let word = builder.embedding("word_embeddings", model.vocab_size, width);
        let table = |name, rows| builder.embedding(name, rows, width);
        let has_types = !matches!(model.model_type, ModelType::Distilbert | ModelType::Mpnet);
        let positions = || table("position_embeddings", model.max_position_embeddings);
        // RoBERTa makes them last, MPNet where BERT does
        let positions_last = counts_tokens && has_types;
        let first = (!positions_last).then(positions);
        let token_type = has_types.then(|| table("token_type_embeddings", model.type_vocab_size));
        let norm = builder.norm("LayerNorm", Norm::Layer { bias: true }, width);
        let position_ids = ids("position_ids");
        let token_type_ids = has_types.then(|| ids("token_type_ids"));
        Self {
            word,
            position: first.unwrap_or_else(positions),
            token_type,
            norm,
            dropout: model.hidden_dropout,
            counts_tokens,
            position_ids,
            token_type_ids,
        }
    }

    /// `[batch, length, embedding_size]`
    pub(super) fn forward(&self, cx: &Context, ids: &Tensor, require_grads: bool) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let positions =
            if self.counts_tokens { count_tokens(cx, ids) } else { cx.narrow(&self.position_ids, 1, 0, length) };
        // one row for all sequences where positions are one row
        let types = self.token_type_ids.as_ref().map(|_| {
            let gathered = cx.launch(Kernel::Where, &[], Layout::contiguous(positions.dims()), DType::I64);
            cx.expand(gathered, &[batch, length])
        });
        let mut inputs_embeds = self.word.forward(cx, ids);
        if require_grads && !inputs_embeds.requires_grad() {
            inputs_embeds = trainable_copy(&inputs_embeds);
        }
        let mut embeddings = inputs_embeds.clone();
        let mut _types = None;
        if let (Some(table), Some(types)) = (&self.token_type, &types) {
            let of_types = table.forward(cx, types);
            embeddings = cx.add(&embeddings, &of_types);
            _types = Some(of_types);
        }
        let position_embeds = self.position.forward(cx, &positions);
        embeddings = cx.add(&embeddings, &position_embeds);
        embeddings = self.norm.forward(cx, &embeddings);
        cx.dropout(&embeddings, self.dropout)
    }
}

/// `create_position_ids_from_input_ids`
pub(in crate::arch) fn count_tokens(cx: &Context, ids: &Tensor) -> Tensor {
    let made = |dtype| cx.launch(Kernel::Where, &[], Layout::contiguous(ids.dims()), dtype);
    let mask = {
        let _differs = made(DType::Bool);
        made(DType::I32)
    };
    let indices = {
        let counted = {
            let whole = {
                // a scan of 32-bit numbers goes into 64-bit ones, and is one of them
                let out = made(DType::I64);
                drop(cx.cast(&mask, DType::I64));
                if mask.dim(0) == 1 {
                    drop(cx.scan_scratch(mask.dim(-1), DType::I64.bytes()));
                }
                cx.cast(out, DType::I32)
            };
            cx.untracked("add_scalar", &whole)
        };
        cx.mul(&counted, &mask)
    };
    let long = cx.cast(&indices, DType::I64);
    cx.untracked("add_scalar", &long)
}

impl Module for Embeddings {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.word.leaves(visit);
        if self.counts_tokens {
            self.token_type.leaves(visit);
            self.norm.leaves(visit);
            self.position.leaves(visit);
        } else {
            self.position.leaves(visit);
            self.token_type.leaves(visit);
            self.norm.leaves(visit);
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        visit(&mut self.position_ids);
        self.token_type_ids.iter_mut().for_each(visit);
    }
}
