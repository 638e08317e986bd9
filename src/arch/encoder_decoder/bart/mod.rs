//! BART and those that follow it: mBART, Pegasus, Marian, M2M-100 (`modeling_bart.py` and theirs).

mod layer;
mod positions;

use std::rc::Rc;

pub(super) use self::layer::{BartLayer, Given};
use self::positions::PositionTable;
use super::cache::SeqCache;
use super::model::{Stacks, shared_table};
use crate::arch::bidirectional::bidirectional_mask;
use crate::arch::forward::Forward;
use crate::arch::masks::MaskRequest;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor, trainable_copy};
use crate::model::{EncoderDecoderConfig, ModelType, Norm, Stack};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer};

pub(super) const LAYER_NORM: Norm = Norm::Layer { bias: true };

/// `BartEncoder` and `BartDecoder`.
pub(super) struct Bart {
    encoder: BartStack,
    decoder: BartStack,
    /// M2M-100 has none.
    final_logits_bias: Option<Tensor>,
    caches_in_training: bool,
}

impl Stacks for Bart {
    const DEFAULT_TARGETS: &'static [&'static str] = &["q_proj", "v_proj"];
    const SHIFTS_LATE: bool = false;

    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> (Embedding, Self) {
        let shared = shared_table(builder, model);
        // each stack has a token table of its own until the model inside ties them
        let encoder_table = token_table(builder, model);
        let encoder = BartStack::new(builder, model, &model.encoder, false);
        let decoder_table = token_table(builder, model);
        let decoder = BartStack::new(builder, model, &model.decoder, true);
        drop((encoder_table, decoder_table));
        let stacks = Self {
            encoder,
            decoder,
            final_logits_bias: (model.model_type != ModelType::M2m100)
                .then(|| builder.buffer("final_logits_bias", &[1, model.vocab_size], builder.dtype)),
            caches_in_training: model.model_type == ModelType::M2m100,
        };
        (shared, stacks)
    }

    fn caches_in_training(&self) -> bool {
        self.caches_in_training
    }

    fn tie(&mut self) {}

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

    fn logits(&self, cx: &Context, head: &Linear, hidden: &Tensor) -> Tensor {
        let logits = head.forward(cx, hidden);
        match &self.final_logits_bias {
            Some(bias) => cx.add(&logits, bias),
            None => logits,
        }
    }
}

impl Module for Bart {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.encoder.leaves(visit);
        self.decoder.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.encoder.embed_positions.buffers(visit);
        self.decoder.embed_positions.buffers(visit);
        self.final_logits_bias.iter_mut().for_each(visit);
    }
}

fn token_table(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Embedding {
    builder.embedding("embed_tokens", model.vocab_size, model.d_model)
}

struct BartStack {
    embed_positions: PositionTable,
    layers: Vec<Rc<BartLayer>>,
    layernorm_embedding: Option<NormLayer>,
    /// mBART's and Pegasus', after the last layer.
    layer_norm: Option<NormLayer>,
    dropout: f64,
    is_decoder: bool,
    renames_mask: bool,
}

impl BartStack {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_decoder: bool) -> Self {
        let embed_positions = PositionTable::new(builder, model);
        let layers =
            (0..stack.num_layers).map(|_| Rc::new(BartLayer::new(builder, model, stack, is_decoder))).collect();
        let norm = |name| builder.norm(name, LAYER_NORM, model.d_model);
        let layernorm_embedding = model.embedding_norm.then(|| norm("layernorm_embedding"));
        let layer_norm = model.final_norm.then(|| norm("layer_norm"));
        embed_positions.initialise(builder);
        Self {
            embed_positions,
            layers,
            layernorm_embedding,
            layer_norm,
            dropout: model.dropout,
            is_decoder,
            renames_mask: matches!(model.model_type, ModelType::Bart | ModelType::M2m100),
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
        let given;
        let mut _position_ids = None;
        let mut _ones = None;
        let renames_mask = self.renames_mask;
        let positions;
        if self.is_decoder {
            _position_ids = self.embed_positions.decoder_ids(cx, length);
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
                chunked: false,
                dtype,
            }
            .make(cx);
            // BART and M2M-100 give the mask that is made of it the same name
            _ones = (!renames_mask).then_some(ones);
            let encoder_mask = encoded.and_then(|encoded| mask_of(encoded.dim(1)));
            positions = self.embed_positions.of_decoder(cx, ids, _position_ids.as_ref());
            given = Given { implementation, mask, encoded: encoded.cloned(), encoder_mask };
        } else {
            positions = self.embed_positions.of_encoder(cx, ids);
            given = Given { implementation, mask: None, encoded: None, encoder_mask: None };
        }
        let mut hidden = cx.add(&inputs_embeds, &positions);
        if let Some(norm) = &self.layernorm_embedding {
            hidden = norm.forward(cx, &hidden);
        }
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
