//! What the step needs of a model, whatever kind of architecture it is.

use super::cache::KvCache;
use super::decoder::Decoder;
use super::encoder::Encoder;
use super::encoder_decoder;
use super::forward::Forward;
use super::listed::CountedOnly;
use super::vision::VisionTransformer;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::job::{AttnImplementation, ExpertsImplementation};
use crate::model::Model;
use crate::nn::{Builder, Device, Kernels, Linear, Module, PrefixShape};

/// A model that can be trained and prompted.
pub trait Network: Module {
    /// What a training batch brings to the GPU, in the order it comes.
    fn batch(&self, cx: &Context, shape: BatchShape) -> Batch;

    /// Forward of a batch with its labels: the loss, and what the model returns beside it.
    fn loss(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> (Tensor, Outputs);

    /// The base model's last hidden states of a batch, and the head on them, for objectives that compute more than the
    /// model's own loss; `None` where the model has no such parts.
    fn backbone(&self, _cx: &Context, _batch: &Batch, _run: Forward<'_>) -> Option<(Tensor, &Linear)> {
        None
    }

    /// Whether [`Network::backbone`] gives any.
    fn has_backbone(&self) -> bool {
        false
    }

    /// The last hidden states the base model returns for a batch, for objectives that need no head; `None` where it
    /// has none.
    fn last_hidden_state(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> Option<Tensor> {
        self.backbone(cx, batch, run).map(|(hidden, _)| hidden)
    }

    /// Whether [`Network::last_hidden_state`] gives any.
    fn has_last_hidden_state(&self) -> bool {
        self.has_backbone()
    }

    /// Logits of last hidden states; `None` where the model has no head that makes them.
    fn head_logits(&self, _cx: &Context, _hidden: &Tensor) -> Option<Tensor> {
        None
    }

    /// What a prompt brings to the GPU.
    fn prompt(&self, cx: &Context, batch: u64, length: u64) -> Tensor;

    /// A prefill of `prompt`, then every token, as `generate()` runs them.
    fn generate(&self, cx: &Context, prompt: &Tensor, how: Generate);

    /// Whether the head's weight is the token embedding's.
    fn is_tied(&self) -> bool;

    /// The full dotted names that `named_modules()` of the loaded model has for the modules of its leaves, in their order;
    /// of what is no linear layer, a name within the layer. `None`: they are not known.
    fn paths(&mut self) -> Option<Vec<String>> {
        None
    }

    /// PEFT's default `target_modules` for it.
    fn default_targets(&self) -> &'static [&'static str];

    /// Whether PEFT trains the head whole beside its adapters, as it does a classifier
    /// (`PeftModelForSequenceClassification`).
    fn saves_head(&self) -> bool {
        false
    }

    /// Names of the linear layers whose outputs are those of attention and of feed-forward blocks; `None`: bottleneck
    /// adapters are not modelled for it.
    fn block_outputs(&self) -> Option<[&'static str; 2]> {
        None
    }

    /// Width of the embeddings that prompt tuning puts in front of its input; `None`: it takes none.
    fn prompt_width(&self) -> Option<u64> {
        None
    }

    /// The sizes of `tokens` keys and values that prefix tuning puts in front of each layer's; `None`: it takes none.
    fn prefix_shape(&self, _tokens: u64) -> Option<PrefixShape> {
        None
    }
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

impl Outputs {
    /// Logits, and a cache where one was filled.
    pub(super) fn of(logits: Tensor, cache: Option<KvCache>) -> Self {
        Self { logits, caches: cache.into_iter().collect(), states: Vec::new() }
    }
}

/// How tokens are generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generate {
    /// How experts are run while decoding.
    pub decode_experts: ExpertsImplementation,
    /// `attn_implementation`
    pub implementation: AttnImplementation,
    /// Positions of the prompt whose logits are computed; 0: all.
    pub logits_to_keep: u64,
    /// Tokens after the prompt.
    pub max_new_tokens: u64,
    /// A padding mask is passed and tokens are sampled, as `generate(do_sample=True)` does; else the model alone is run.
    pub samples: bool,
}

/// `model` with its parameters, frozen.
pub fn network(builder: &Builder<'_>, model: &Model) -> Box<dyn Network> {
    match model {
        Model::Decoder(config) => Box::new(Decoder::new(builder, config)),
        Model::Encoder(config) => Box::new(Encoder::new(builder, config)),
        Model::EncoderDecoder(config) => encoder_decoder::network(builder, config),
        Model::Vision(config) => Box::new(VisionTransformer::new(builder, config)),
        Model::Listed(config) => Box::new(CountedOnly::new(builder, config)),
    }
}

/// The same with shapes alone, for what is counted of it.
pub fn shapes(cx: &Context, model: &Model) -> Box<dyn Network> {
    network(&Builder { cx, dtype: DType::BF16, device: Device::Meta, kernels: Kernels::default() }, model)
}
