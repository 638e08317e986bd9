//! What the step needs of a model, whatever kind of architecture it is.

use super::cache::KvCache;
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::encoder_decoder;
use super::forward::Forward;
use crate::ghost::{Context, Tensor};
use crate::job::{AttnImplementation, Head};
use crate::model::{Model, Support};
use crate::nn::{Builder, Module};

/// A model's parameters, by name.
pub trait Weights: Module {
    /// Whether the head's weight is the token embedding's.
    fn is_tied(&self) -> bool;

    /// PEFT's default `target_modules` for it.
    fn default_targets(&self) -> &'static [&'static str];

    /// Whether PEFT trains the head whole beside its adapters, as it does a classifier (`TaskType.SEQ_CLS`).
    fn saves_head(&self) -> bool {
        false
    }
}

/// A model that can be trained and prompted.
pub trait Network: Weights {
    /// What a training batch brings to the GPU, in the order it comes.
    fn batch(&self, cx: &Context, shape: BatchShape) -> Batch;

    /// Forward of a batch with its labels: the loss, and what the model returns beside it.
    fn loss(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> (Tensor, Outputs);

    /// What a prompt brings to the GPU.
    fn prompt(&self, cx: &Context, batch: u64, length: u64) -> Tensor;

    /// A prefill of `prompt`, then every token, as `generate()` runs them.
    fn generate(&self, cx: &Context, prompt: &Tensor, how: Generate);
}

/// The size of a training batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShape {
    /// Sequences.
    pub batch: u64,
    /// Tokens of each.
    pub length: u64,
    /// A padding mask comes with it.
    pub attention_mask: bool,
}

/// A training batch on the GPU.
pub struct Batch {
    /// `input_ids`, `[batch, length]`
    pub ids: Tensor,
    /// `attention_mask`, `[batch, length]`
    pub attention_mask: Option<Tensor>,
    /// `labels`
    pub labels: Tensor,
}

/// What a forward returns beside the loss: alive as long as the loop has a name for it.
pub struct Outputs {
    /// Logits.
    pub logits: Tensor,
    /// The caches it filled.
    pub caches: Vec<KvCache>,
    /// Hidden states.
    pub states: Vec<Tensor>,
}

/// How tokens are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generate {
    /// `attn_implementation`
    pub implementation: AttnImplementation,
    /// Positions of the prompt whose logits are computed; 0: all.
    pub logits_to_keep: u64,
    /// Tokens after the prompt.
    pub max_new_tokens: u64,
}

/// The heads a model can be trained with; the first is the one it gets where a job names none.
pub const fn heads(model: &Model) -> &'static [Head] {
    match model {
        Model::Decoder(_) => &[Head::CausalLm],
        Model::Encoder(_) => &[Head::SeqCls, Head::MaskedLm],
        Model::EncoderDecoder(_) => &[Head::Seq2seqLm],
    }
}

/// `model` with its parameters, frozen, and with `head` on it; `None`: as its checkpoint is. Nothing where only its
/// parameters are known ([`Support::CountedOnly`]).
pub fn network(builder: &Builder<'_>, model: &Model, head: Option<Head>) -> Option<Box<dyn Network>> {
    if model.model_type().support() == Support::CountedOnly {
        return None;
    }
    Some(match model {
        Model::Decoder(config) => Box::new(Decoder::new(builder, config)),
        Model::Encoder(config) => Box::new(Encoder::new(builder, config, head)),
        Model::EncoderDecoder(config) => encoder_decoder::network(builder, config),
    })
}

/// The parameters of `model`, as [`network`] has them; with no `head` asked for, those of its checkpoint.
pub fn weights(builder: &Builder<'_>, model: &Model, head: Option<Head>) -> Box<dyn Weights> {
    if let (Model::EncoderDecoder(config), None) = (model, head) {
        return encoder_decoder::checkpoint(builder, config);
    }
    match network(builder, model, head) {
        Some(network) => network,
        None => unreachable!("every model type can be run"),
    }
}
