//! T5 and mT5 (`modeling_t5.py`).

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

/// Both `T5Stack`s.
pub(super) struct T5 {
    encoder: T5Stack,
    decoder: T5Stack,
    scales_output: bool,
}

impl Stacks for T5 {
    const DEFAULT_TARGETS: &'static [&'static str] = &["q", "v"];
    const CACHES_IN_TRAINING: bool = true;
    const SHIFTS_LATE: bool = true;

    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Self {
        Self {
            encoder: T5Stack::new(builder, model, &model.encoder, false),
            decoder: T5Stack::new(builder, model, &model.decoder, true),
            scales_output: model.scales_output,
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

    fn logits(&self, cx: &Context, head: &Linear, mut hidden: Tensor) -> Tensor {
        if self.scales_output {
            hidden = cx.mul_scalar(&hidden, 1.0);
        }
        head.forward(cx, &hidden)
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
struct Given {
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

/// `T5LayerSelfAttention`, `T5LayerCrossAttention`
struct Branch {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    relative_attention_bias: Option<Embedding>,
    layer_norm: NormLayer,
    num_heads: u64,
    dropout: f64,
    attention_dropout: f64,
    /// The decoder's attention to itself.
    is_causal: bool,
}

impl Branch {
    fn new(
        builder: &Builder<'_>,
        model: &EncoderDecoderConfig,
        stack: &Stack,
        is_causal: bool,
        has_table: bool,
    ) -> Self {
        let inner = stack.num_heads * model.head_dim;
        let linear = |name, from, to| builder.linear(name, Part::Attention, from, to, false);
        let buckets = match model.positions {
            Positions::RelativeBias { buckets } => buckets,
            Positions::Learned { .. } => 0,
        };
        Self {
            q: linear("q", model.d_model, inner),
            k: linear("k", model.d_model, inner),
            v: linear("v", model.d_model, inner),
            o: linear("o", inner, model.d_model),
            relative_attention_bias: has_table
                .then(|| builder.embedding("relative_attention_bias", buckets, stack.num_heads)),
            layer_norm: builder.norm("layer_norm", Norm::T5, model.d_model),
            num_heads: stack.num_heads,
            dropout: model.dropout,
            attention_dropout: model.attention_dropout,
            is_causal,
        }
    }

    /// Hidden states, the position bias, and the attention probabilities.
    fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        encoded: Option<&Tensor>,
        position_bias: Option<&Tensor>,
        cache: Option<(&SeqCache, usize)>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        let normed = self.layer_norm.forward(cx, hidden);
        let (mut attended, bias, weights) = self.attention(cx, &normed, given, encoded, position_bias, cache);
        attended = cx.add(hidden, cx.dropout(&attended, self.dropout));
        (attended, bias, weights)
    }

    /// `T5Attention`
    fn attention(
        &self,
        cx: &Context,
        hidden: &Tensor,
        given: &Given,
        encoded: Option<&Tensor>,
        position_bias: Option<&Tensor>,
        cache: Option<(&SeqCache, usize)>,
    ) -> (Tensor, Tensor, Option<Tensor>) {
        let heads = |linear: &Linear, x: &Tensor| bidirectional::heads(cx, linear.forward(cx, x), self.num_heads);
        let query = heads(&self.q, hidden);
        let current = encoded.unwrap_or(hidden);
        let make = || (heads(&self.k, current), heads(&self.v, current));
        let (key, value) = keys_and_values(cx, cache, encoded.is_some(), make);
        let lengths = [hidden.dim(1), key.dim(2)];
        let position_bias = match position_bias {
            Some(bias) => bias.clone(),
            None => self.position_bias(cx, lengths, query.dtype(), given.checkpointing),
        };
        let mask = if encoded.is_some() { &given.encoder_mask } else { &given.mask };
        let mut to = AttendTo {
            implementation: given.implementation,
            mask: None,
            causal: false,
            dropout: self.attention_dropout,
        };
        let (mut out, weights) = if given.implementation == AttnImplementation::Eager {
            self.eager(cx, [&query, &key, &value], &position_bias, mask.as_ref())
        } else {
            let mask = self.masked_bias(cx, &position_bias, mask.as_ref(), lengths);
            to.mask = Some(&mask);
            attend(cx, [&query, &key, &value], to)
        };
        out = bidirectional::joined(cx, &out);
        out = self.o.forward(cx, &out);
        (out, position_bias, weights)
    }

    /// `eager_attention_forward`: scores are multiplied by 1, the bias is added before the mask.
    fn eager(
        &self,
        cx: &Context,
        [query, key, value]: [&Tensor; 3],
        bias: &Tensor,
        mask: Option<&Tensor>,
    ) -> (Tensor, Option<Tensor>) {
        let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(key, -1, -2)), 1.0);
        weights = cx.add(&weights, bias);
        if let Some(mask) = mask {
            weights = cx.add(&weights, mask);
        }
        let dtype = if cx.autocast_dtype().is_some() { DType::F32 } else { weights.dtype() };
        weights = cx.softmax(&weights, dtype);
        weights = cx.dropout(&weights, self.attention_dropout);
        let mut out = cx.matmul(&weights, value);
        out = cx.contiguous(cx.transpose(&out, 1, 2));
        (out, Some(weights))
    }

    /// `create_position_bias_mask`
    fn masked_bias(&self, cx: &Context, bias: &Tensor, mask: Option<&Tensor>, [queries, keys]: [u64; 2]) -> Tensor {
        if let Some(mask) = mask {
            return cx.where_else_number(mask, bias);
        }
        if !self.is_causal || queries == 1 {
            return bias.clone();
        }
        let causal = {
            let range = |n| cx.launch(Kernel::Arange, &[], Layout::contiguous(&[n]), DType::I64);
            let (_queries, _keys) = (range(queries), range(keys));
            cx.launch(Kernel::Where, &[], Layout::contiguous(&[1, 1, queries, keys]), DType::Bool)
        };
        cx.where_else_number(&causal, bias)
    }

    /// The bias on scores: of the table, or zeros.
    fn position_bias(&self, cx: &Context, [queries, keys]: [u64; 2], dtype: DType, checkpointing: bool) -> Tensor {
        let Some(table) = &self.relative_attention_bias else {
            let layout = Layout::contiguous(&[1, self.num_heads, queries, keys]);
            let zeros = cx.launch(Kernel::Zeros, &[], layout, dtype);
            // `position_bias.requires_grad = True`
            return if checkpointing && cx.training() { trainable_copy(&zeros) } else { zeros };
        };
        let range = |n| cx.launch(Kernel::Arange, &[], Layout::contiguous(&[n]), DType::I64);
        let _context = {
            let _range = range(queries);
            range(queries)
        };
        let _memory = range(keys);
        let (buckets, _relative) = self.buckets(cx, [queries, keys]);
        let values = table.forward(cx, &buckets);
        cx.unsqueeze(cx.transpose(cx.transpose(&values, 0, 2), 1, 2), 0)
    }

    /// `_relative_position_bucket` of every query and key, and what it is computed from: whole numbers, `[queries, keys]`.
    fn buckets(&self, cx: &Context, [queries, keys]: [u64; 2]) -> (Tensor, Tensor) {
        let made = |dtype| cx.launch(Kernel::Where, &[], Layout::contiguous(&[queries, keys]), dtype);
        let relative = made(DType::I64);
        let sums = (!self.is_causal).then(|| {
            let scaled = {
                let whole = {
                    let _positive = made(DType::Bool);
                    made(DType::I64)
                };
                let scaled = made(DType::I64);
                drop(whole);
                scaled
            };
            let sum = made(DType::I64);
            drop(scaled);
            sum
        });
        let _distance = if self.is_causal {
            let lower = {
                let _zeros = made(DType::I64);
                made(DType::I64)
            };
            let negated = made(DType::I64);
            drop(lower);
            negated
        } else {
            made(DType::I64)
        };
        let _is_small = made(DType::Bool);
        let far = {
            // float, divided, log, divided, multiplied, whole, plus: each goes when the next is there
            let mut x = made(DType::F32);
            for dtype in [DType::F32, DType::F32, DType::F32, DType::F32, DType::I64, DType::I64] {
                x = made(dtype);
            }
            x
        };
        let far = {
            let _most = made(DType::I64);
            let least = made(DType::I64);
            drop(far);
            least
        };
        let chosen = made(DType::I64);
        drop(far);
        let buckets = sums.unwrap_or_else(|| {
            let sum = made(DType::I64);
            drop(chosen);
            sum
        });
        (buckets, relative)
    }
}

impl Module for Branch {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.q.leaves(visit);
        self.k.leaves(visit);
        self.v.leaves(visit);
        self.o.leaves(visit);
        self.relative_attention_bias.leaves(visit);
        self.layer_norm.leaves(visit);
    }
}

/// `T5LayerFF`
struct FeedForward {
    wi_0: Linear,
    wi_1: Option<Linear>,
    wo: Linear,
    layer_norm: NormLayer,
    activation: Activation,
    activation_dropout: f64,
    dropout: f64,
}

impl FeedForward {
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig, stack: &Stack) -> Self {
        let linear = |name, from, to| builder.linear(name, Part::Mlp, from, to, false);
        let (width, inner) = (model.d_model, stack.ffn_dim);
        Self {
            wi_0: linear(if model.gated { "wi_0" } else { "wi" }, width, inner),
            wi_1: model.gated.then(|| linear("wi_1", width, inner)),
            wo: linear("wo", inner, width),
            layer_norm: builder.norm("layer_norm", Norm::T5, width),
            activation: model.activation,
            activation_dropout: model.activation_dropout,
            dropout: model.dropout,
        }
    }

    fn forward(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        let normed = self.layer_norm.forward(cx, hidden);
        let fed = self.dense(cx, normed.clone());
        cx.add(hidden, cx.dropout(&fed, self.dropout))
    }

    fn dense(&self, cx: &Context, mut states: Tensor) -> Tensor {
        let (mut _gate, mut _up) = (None, None);
        if let Some(wi_1) = &self.wi_1 {
            let gate = activate(cx, self.activation, self.wi_0.forward(cx, &states));
            let up = wi_1.forward(cx, &states);
            states = cx.mul(&gate, &up);
            (_gate, _up) = (Some(gate), Some(up));
        } else {
            states = self.wi_0.forward(cx, &states);
            states = activate(cx, self.activation, states);
        }
        states = cx.dropout(&states, self.activation_dropout);
        // `wo` may be kept in another type
        if let crate::nn::Weight::Dense(weight) = &self.wo.weight {
            states = cx.cast(&states, weight.dtype());
        }
        self.wo.forward(cx, &states)
    }
}

impl Module for FeedForward {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.wi_0.leaves(visit);
        self.wi_1.leaves(visit);
        self.wo.leaves(visit);
        self.layer_norm.leaves(visit);
    }
}
