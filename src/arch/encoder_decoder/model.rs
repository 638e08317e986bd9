//! What all encoder-decoders do: an encoder, a decoder on its output, a head that shares the token embedding.

use super::cache::SeqCache;
use crate::arch::forward::Forward;
use crate::arch::network::{Batch, BatchShape, Generate, Network, Outputs};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};
use crate::model::EncoderDecoderConfig;
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, Part, Weight};

/// The encoder and the decoder of a family.
pub(super) trait Stacks: Module {
    /// Both stacks, and the token table where their class makes it.
    fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> (Embedding, Self)
    where
        Self: Sized;

    /// Both stacks' own token tables go: they are the shared one.
    fn tie(&mut self);

    /// PEFT's default `target_modules`.
    const DEFAULT_TARGETS: &'static [&'static str];

    /// Whether the decoder fills a cache in training, labels or not.
    fn caches_in_training(&self) -> bool;

    /// Whether labels are shifted after the encoder has run.
    const SHIFTS_LATE: bool;

    /// Visits the leaves of both stacks, and the token table's where its class registers it.
    fn leaves_with(&mut self, shared: &mut Embedding, visit: &mut dyn FnMut(Leaf<'_>)) {
        shared.leaves(visit);
        self.leaves(visit);
    }

    /// What a batch or a prompt brings for the encoder: token ids, unless it listens.
    fn input(&self, cx: &Context, shape: BatchShape, _dtype: DType) -> Tensor {
        cx.input("input_ids", &[shape.batch, shape.length], DType::I64)
    }

    /// The encoder's last hidden states.
    fn encode(&self, cx: &Context, embed: &Embedding, ids: &Tensor, run: Forward<'_>) -> Tensor;

    /// The decoder's last hidden states; `run.attention_mask` is the encoder's.
    fn decode(
        &self,
        cx: &Context,
        embed: &Embedding,
        ids: &Tensor,
        encoded: &Tensor,
        run: Forward<'_>,
        cache: Option<&SeqCache>,
    ) -> Tensor;

    /// What the head is given of the decoder's last hidden states.
    fn sequence_output(&self, _cx: &Context, hidden: &Tensor) -> Tensor {
        hidden.clone()
    }

    /// Logits from the head's product.
    fn logits(&self, cx: &Context, head: &Linear, hidden: &Tensor) -> Tensor;
}

/// The token table that both stacks and the head share.
pub(super) fn shared_table(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Embedding {
    builder.embedding("shared", model.vocab_size, model.d_model)
}

/// An encoder-decoder with a language-model head.
pub(super) struct EncoderDecoder<S> {
    model: EncoderDecoderConfig,
    shared: Embedding,
    stacks: S,
    lm_head: Linear,
}

impl<S: Stacks> EncoderDecoder<S> {
    /// The model with its parameters, frozen.
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderDecoderConfig) -> Self {
        let (shared, mut stacks) = S::new(builder, model);
        let mut lm_head = builder.linear("lm_head", Part::Head, model.d_model, model.vocab_size, false);
        if !model.untied_head {
            lm_head.weight = Weight::Dense(shared.weight.clone());
        }
        stacks.tie();
        Self { model: model.clone(), shared, stacks, lm_head }
    }

    fn cache(&self, category: Category) -> SeqCache {
        SeqCache::new(self.model.decoder.num_layers, category)
    }
}

/// `shift_tokens_right`: the labels, one later.
fn shifted(cx: &Context, labels: &Tensor) -> Tensor {
    let made = |dims: &[u64], dtype| cx.launch(Kernel::Where, &[], Layout::contiguous(dims), dtype);
    let shifted = made(labels.dims(), DType::I64);
    drop(made(&[labels.dim(0), labels.dim(1).saturating_sub(1)], DType::I64));
    drop(made(labels.dims(), DType::Bool));
    shifted
}

impl<S: Stacks> Network for EncoderDecoder<S> {
    fn batch(&self, cx: &Context, shape: BatchShape) -> Batch {
        let tensor = |name| cx.input(name, &[shape.batch, shape.length], DType::I64);
        let ids = self.stacks.input(cx, shape, self.shared.weight.dtype());
        let attention_mask = shape.attention_mask.then(|| tensor("attention_mask"));
        Batch { ids, attention_mask, labels: tensor("labels") }
    }

    fn loss(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> (Tensor, Outputs) {
        let run = Forward { attention_mask: batch.attention_mask.as_ref(), ..run };
        let early = (!S::SHIFTS_LATE).then(|| shifted(cx, &batch.labels));
        let encoded = self.stacks.encode(cx, &self.shared, &batch.ids, run);
        let decoder_ids = early.unwrap_or_else(|| shifted(cx, &batch.labels));
        let caches = self.stacks.caches_in_training() && !run.checkpointing;
        let cache = caches.then(|| self.cache(Category::Activations));
        let hidden = self.stacks.decode(cx, &self.shared, &decoder_ids, &encoded, run, cache.as_ref());
        // both have names until the model returns
        let states = cx.within(Category::Logits, || self.stacks.sequence_output(cx, &hidden));
        let (loss, logits) = cx.within(Category::Logits, || {
            let logits = self.stacks.logits(cx, &self.lm_head, &states);
            let rows = logits.dim(0) * logits.dim(1);
            let flat = cx.reshape(&logits, &[rows, logits.dim(-1)]);
            (cx.cross_entropy(flat, &cx.reshape(&batch.labels, &[rows])), logits)
        });
        let caches = cache.map(SeqCache::into_parts).unwrap_or_default();
        (loss, Outputs { logits, caches, states: vec![encoded] })
    }

    fn prompt(&self, cx: &Context, batch: u64, length: u64) -> Tensor {
        let shape = BatchShape { batch, length, attention_mask: false };
        self.stacks.input(cx, shape, self.shared.weight.dtype())
    }

    /// The prompt goes to the encoder and the decoder's first token with it; then every token.
    fn generate(&self, cx: &Context, prompt: &Tensor, how: Generate) {
        let cache = self.cache(Category::KvCache);
        let run = Forward { implementation: how.implementation, ..Forward::default() };
        let token = || cx.input("decoder_input_ids", &[prompt.dim(0), 1], DType::I64);
        cx.set_phase(Phase::Prefill);
        let encoded = self.stacks.encode(cx, &self.shared, prompt, run);
        let decode = |ids: &Tensor| {
            let hidden = self.stacks.decode(cx, &self.shared, ids, &encoded, run, Some(&cache));
            let states = self.stacks.sequence_output(cx, &hidden);
            let _logits = cx.within(Category::Logits, || self.stacks.logits(cx, &self.lm_head, &states));
        };
        decode(&token());
        cx.set_phase(Phase::Decode);
        for _ in 0..how.max_new_tokens {
            decode(&token());
        }
    }

    fn is_tied(&self) -> bool {
        !self.model.untied_head
    }

    fn default_targets(&self) -> &'static [&'static str] {
        S::DEFAULT_TARGETS
    }
}

impl<S: Stacks> Module for EncoderDecoder<S> {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.stacks.leaves_with(&mut self.shared, visit);
        self.lm_head.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.stacks.buffers(visit);
    }
}
