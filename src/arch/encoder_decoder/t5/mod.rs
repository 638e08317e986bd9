//! T5 and mT5 (`modeling_t5.py`).

mod attention;
mod feed_forward;
mod position_bias;

use std::rc::Rc;

use self::attention::Branch;
use self::feed_forward::FeedForward;
use super::cache::SeqCache;
use super::model::{Stacks, shared_table};
use crate::arch::bidirectional::bidirectional_mask;
use crate::arch::forward::Forward;
use crate::arch::masks::MaskRequest;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor, trainable_copy};
use crate::job::AttnImplementation;
use crate::model::{EncoderDecoderConfig, Norm, Stack};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer};

/// Both `T5Stack`s.
pub(super) struct T5 {
    encoder: T5Stack,
    decoder: T5Stack,
    scales_output: bool,
}

impl Stacks for T5 {
    const DEFAULT_TARGETS: &'static [&'static str] = &["q", "v"];
    const SHIFTS_LATE: bool = true;

    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> (Embedding, Self) {
        let shared = shared_table(builder, model);
        let stacks = Self {
            encoder: T5Stack::new(builder, model, &model.encoder, false),
            decoder: T5Stack::new(builder, model, &model.decoder, true),
            scales_output: model.scales_output,
        };
        (shared, stacks)
    }

    fn caches_in_training(&self) -> bool {
        true
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

    fn sequence_output(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        if self.scales_output { cx.mul_scalar(hidden, 1.0) } else { hidden.clone() }
    }

    fn logits(&self, cx: &Context, head: &Linear, hidden: &Tensor) -> Tensor {
        head.forward(cx, hidden)
    }
}

impl Module for T5 {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.encoder.leaves(visit);
        self.decoder.leaves(visit);
    }
}

struct T5Stack {
    /// The stack's own token table, until it is tied.
    embed_tokens: Option<Embedding>,
    blocks: Vec<Rc<Block>>,
    final_layer_norm: NormLayer,
    dropout: f64,
    is_decoder: bool,
}

/// What a block is given beside hidden states.
#[derive(Clone, Default)]
pub(super) struct Given {
    implementation: AttnImplementation,
    checkpointing: bool,
    mask: Option<Tensor>,
    position_bias: Option<Tensor>,
    encoded: Option<Tensor>,
    encoder_mask: Option<Tensor>,
    cross_bias: Option<Tensor>,
}

impl T5Stack {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack, is_decoder: bool) -> Self {
        let block = |i| Rc::new(Block::new(builder, model, stack, is_decoder, i == 0));
        Self {
            embed_tokens: Some(builder.embedding("embed_tokens", model.vocab_size, model.d_model)),
            blocks: (0..stack.num_layers).map(block).collect(),
            final_layer_norm: builder.norm("final_layer_norm", Norm::T5, model.d_model),
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
        let mut inputs_embeds = embed.forward(cx, ids);
        if run.input_require_grads && !inputs_embeds.requires_grad() {
            inputs_embeds = trainable_copy(&inputs_embeds);
        }
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let dtype = inputs_embeds.dtype();
        let implementation = run.implementation;
        let past = cache.map_or(0, SeqCache::length);
        let mask_of = |keys| bidirectional_mask(cx, implementation, [batch, length, keys], run.attention_mask, dtype);
        let mask = if self.is_decoder {
            MaskRequest {
                implementation,
                batch,
                queries: length,
                keys: past + length,
                padding: None,
                positions: None,
                bidirectional: false,
                sliding_window: None,
                chunked: false,
                dtype,
            }
            .make(cx)
        } else {
            mask_of(length)
        };
        let encoder_mask = encoded.and_then(|encoded| mask_of(encoded.dim(1)));
        let mut given = Given {
            implementation,
            checkpointing: run.checkpointing,
            mask,
            encoded: encoded.cloned(),
            encoder_mask,
            ..Given::default()
        };
        let mut hidden = cx.dropout(&inputs_embeds, self.dropout);
        for (i, block) in self.blocks.iter().enumerate() {
            let (next, bias, cross_bias) = if run.checkpointing {
                let (block, given) = (Rc::clone(block), given.clone());
                cx.checkpoint(&hidden, move |cx, hidden| block.forward(cx, hidden, &given, None))
            } else {
                block.forward(cx, &hidden, &given, cache.map(|cache| (cache, i)))
            };
            hidden = next;
            given.position_bias = Some(bias);
            given.cross_bias = cross_bias;
        }
        hidden = self.final_layer_norm.forward(cx, &hidden);
        cx.dropout(&hidden, self.dropout)
    }
}

impl Module for T5Stack {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        for block in &mut self.blocks {
            if let Some(block) = Rc::get_mut(block) {
                block.leaves(visit);
            }
        }
        self.final_layer_norm.leaves(visit);
    }
}

/// `T5Block`
struct Block {
    attention: Branch,
    cross_attention: Option<Branch>,
    feed_forward: FeedForward,
}

impl Block {
    fn new(
        builder: &Builder<'_>,
        model: &EncoderDecoderConfig,
        stack: &Stack,
        is_decoder: bool,
        has_table: bool,
    ) -> Self {
        Self {
            attention: Branch::new(builder, model, stack, is_decoder, has_table),
            cross_attention: is_decoder.then(|| Branch::new(builder, model, stack, false, false)),
            feed_forward: FeedForward::new(builder, model, stack),
        }
    }

    fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        cache: Option<(&SeqCache, usize)>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        let (mut states, bias, _weights) =
            self.attention.forward(cx, hidden, given, None, given.position_bias.as_ref(), cache);
        states = clamped(cx, states);
        let mut cross_bias = None;
        let mut _cross_weights = None;
        if let (Some(branch), Some(encoded)) = (&self.cross_attention, &given.encoded) {
            let (next, bias, weights) =
                branch.forward(cx, &states, given, Some(encoded), given.cross_bias.as_ref(), cache);
            states = clamped(cx, next);
            (cross_bias, _cross_weights) = (Some(bias), weights);
        }
        states = self.feed_forward.forward(cx, &states);
        states = clamped(cx, states);
        (states, bias, cross_bias)
    }
}

/// In fp16 infinities are clamped.
fn clamped(cx: &Context, states: Tensor) -> Tensor {
    if states.dtype() != DType::F16 {
        return states;
    }
    cx.clamp_tensor(&states)
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        self.cross_attention.leaves(visit);
        self.feed_forward.leaves(visit);
    }
}
