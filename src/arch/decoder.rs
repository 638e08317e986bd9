//! Decoders with a language-model head.

use std::rc::Rc;

use super::attention::{Attend, Span};
use super::cache::KvCache;
use super::classify::pooled_logits;
use super::families::{self, Entered, Front, Input};
use super::forward::Forward;
use super::generate;
use super::layer::Layer;
use super::listed::Listed;
use super::names::{Names, default_targets};
use super::network::{Batch, BatchShape, Generate, Network, Outputs};
use super::paths::{Paths, Place};
use super::virtual_tokens::{self, Prompted};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Tensor, trainable_copy};
use crate::job::AttnImplementation;
use crate::model::{DecoderConfig, Grids, LayerType, Mla, MlaRotary, ModelType};
use crate::nn::{
    Builder, Device, Embedding, Kernels, Leaf, Linear, Module, NormLayer, Part, PrefixShape, Rotary, Weight,
};

/// A decoder-only language model.
pub struct Decoder {
    model: DecoderConfig,
    tower: Option<Listed>,
    embed: Embedding,
    embed_scale: EmbedScale,
    front: Box<dyn Front>,
    layers: Vec<Rc<dyn Layer>>,
    norm: Option<NormLayer>,
    full_rotary: Option<Rotary>,
    sliding_rotary: Option<Rotary>,
    /// One that Granite SWA makes and never asks.
    idle_rotary: Option<Rotary>,
    head: Linear,
    kernels: Kernels,
}

/// What embeddings are multiplied by.
enum EmbedScale {
    None,
    /// A buffer that is cast each time.
    Buffer(Tensor),
    /// A number.
    Number,
}

impl Decoder {
    /// The model with its parameters, frozen.
    pub fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let tower = model.tower.as_ref().map(|tower| Listed::new(builder, &tower.parameters));
        let [embed_name, norm_name] = Names::ends(model.model_type);
        let width = model.embedding.projection_dim.unwrap_or(model.hidden_size);
        let embed = builder.embedding(embed_name, model.vocab_size, width);
        let on_gpu = builder.device == Device::Cuda;
        // Falcon makes cosines and sines with ALiBi too
        let falcon_dim = (model.model_type == ModelType::Falcon).then_some(model.attention.head_dim);
        // each layer of these has a table of its own
        let looked_up = matches!(model.model_type, ModelType::Gptj | ModelType::Codegen);
        let rotary = |model: &DecoderConfig| {
            if looked_up {
                return None;
            }
            model.attention.rotary_dim.or(falcon_dim).map(|dim| Rotary::new(builder.cx, dim, on_gpu))
        };
        let embed_scale = match model.model_type {
            ModelType::Gemma | ModelType::Gemma2 | ModelType::Gemma3Text => {
                EmbedScale::Buffer(builder.buffer("embed_scale", &[], builder.dtype))
            }
            ModelType::Xglm if model.embedding.scaled => EmbedScale::Number,
            _ => EmbedScale::None,
        };
        let mut front = families::front(builder, model);
        let make_norm = || model.final_norm.then(|| builder.norm(norm_name, model.norm, model.hidden_size));
        let norm_first = model.model_type == ModelType::Opt;
        let mut norm = if norm_first { make_norm() } else { None };
        let layers = (0..).take_while(|&i| i < model.num_hidden_layers);
        let layers = layers.zip(0..).map(|(_, i)| families::layer(builder, model, i)).collect();
        if !norm_first {
            norm = make_norm();
        }
        front.make_last(builder);
        let full_rotary = rotary(model);
        // Gemma 3 and OLMo 3 turn their sliding layers by other frequencies
        let two_rotaries = match model.model_type {
            ModelType::Gemma3Text => true,
            ModelType::Olmo3 => model.layer_types.contains(&LayerType::SlidingAttention),
            _ => false,
        };
        let sliding_rotary = if two_rotaries { rotary(model) } else { None };
        let idle_rotary = if model.model_type == ModelType::GraniteSwa { rotary(model) } else { None };
        if on_gpu {
            [&full_rotary, &sliding_rotary, &idle_rotary]
                .into_iter()
                .flatten()
                .for_each(|rotary| rotary.initialise(builder.cx));
        }
        let mut head = match model.head.num_labels {
            Some(labels) => builder.linear("score", Part::Head, model.hidden_size, labels, false),
            None => builder.linear("lm_head", Part::Head, width, model.vocab_size, model.head.bias),
        };
        if model.head.tied {
            head.weight = Weight::Dense(embed.weight.clone());
        }
        Self {
            model: model.clone(),
            tower,
            embed,
            embed_scale,
            front,
            layers,
            norm,
            full_rotary,
            sliding_rotary,
            idle_rotary,
            head,
            kernels: builder.kernels,
        }
    }

    /// The embedded tokens of `ids`, `[batch, length]`.
    pub(super) fn embed(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let embeds = match &self.embed_scale {
            EmbedScale::None => self.embed.forward(cx, ids),
            EmbedScale::Number => cx.mul_scalar(self.embed.forward(cx, ids), 1.0),
            EmbedScale::Buffer(scale) => {
                let embeds = self.embed.forward(cx, ids);
                cx.mul(embeds, cx.cast(scale, self.embed.weight.dtype()))
            }
        };
        if run.input_require_grads && !embeds.requires_grad() { trainable_copy(&embeds) } else { embeds }
    }

    /// The last hidden states of embedded tokens, `[batch, length, width]`.
    pub(super) fn hidden(&self, cx: &Context, embeds: Tensor, run: Forward<'_>) -> Tensor {
        // transformers falls back on eager attention where a class supports no other
        let eager = self.model.attention.sinks;
        let run = if eager { Forward { implementation: AttnImplementation::Eager, ..run } } else { run };
        let embeds_dtype = embeds.dtype();
        let [batch, length] = [embeds.dim(0), embeds.dim(1)];
        let past = run.cache.map_or(0, KvCache::length);
        let Entered { mut hidden, positions, mask, sliding_mask, alibi, padding, locals: _locals } =
            self.front.enter(cx, embeds, &Input { dtype: embeds_dtype, batch, length, past, run });
        let in_fp32 = matches!(
            self.model.model_type,
            ModelType::Olmo
                | ModelType::Olmo2
                | ModelType::Olmo3
                | ModelType::FlexOlmo
                | ModelType::Ernie4_5
                | ModelType::Ernie45Moe
        );
        let dtype = if in_fp32 { DType::F32 } else { embeds_dtype };
        let grids = match &self.model.tower {
            Some(tower) => tower.grids,
            None => has_sections(self.model.model_type).then_some(Grids::Interleaved),
        };
        let turn = |rotary: &Option<Rotary>| {
            rotary.as_ref().zip(positions.as_ref()).map(|(rotary, positions)| match self.model.mla {
                Some(Mla { rotary: MlaRotary::Complex, .. }) => rotary.forward_complex(cx, positions),
                _ if let Some(grids) = grids => rotary.forward_grids(cx, positions, batch, dtype, grids),
                _ if matches!(self.model.model_type, ModelType::Llama4 | ModelType::Llama4Text) => {
                    rotary.forward_complex(cx, positions)
                }
                _ if self.model.model_type == ModelType::GptOss => rotary.forward_halves(cx, positions, dtype),
                _ => rotary.forward(cx, positions, dtype),
            })
        };
        let rotary = turn(&self.full_rotary);
        let sliding_rotary = turn(&self.sliding_rotary).or_else(|| rotary.clone());
        let attend = Attend {
            implementation: run.implementation,
            batched_experts: run.batched_experts,
            full: Span { rotary, mask },
            sliding: Span { rotary: sliding_rotary, mask: sliding_mask },
            alibi,
            padding,
            positions,
        };
        let mut _weights = None;
        for (i, layer) in self.layers.iter().enumerate() {
            let checkpointing = run.checkpointing && i % run.checkpoint_every.max(1) == 0;
            (hidden, _weights) = if checkpointing {
                let layer_type = self.model.layer_types.get(i).copied().unwrap_or(LayerType::FullAttention);
                let (layer, attend) = (Rc::clone(layer), attend.only(layer_type));
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

    /// The cache that a training forward fills (`use_cache` is true by default).
    fn training_cache(&self, run: Forward<'_>) -> Option<KvCache> {
        // Mamba's classes fill none while they train, and MPT's `use_cache` is false by default
        let uncached = is_mamba(self.model.model_type) || self.model.model_type == ModelType::Mpt;
        (!run.checkpointing && !run.packed && !uncached).then(|| self.cache(Category::Activations))
    }

    /// Logits of hidden states.
    pub fn logits(&self, cx: &Context, hidden: &Tensor) -> Tensor {
        cx.within(Category::Logits, || {
            let recurrent = is_mamba(self.model.model_type);
            let mut logits = match &self.head.weight {
                Weight::Dense(weight) if recurrent => self.head.forward(cx, cx.cast(hidden, weight.dtype())),
                _ => self.head.forward(cx, hidden),
            };
            if recurrent || self.model.model_type == ModelType::NemotronH {
                logits = cx.cast(&logits, DType::F32);
            }
            if self.model.head.scaled {
                logits = cx.mul_scalar(&logits, 1.0);
            }
            if self.model.head.logit_softcap {
                logits = cx.mul_scalar(&logits, 1.0);
                logits = cx.tanh(&logits);
                logits = cx.mul_scalar(&logits, 1.0);
            }
            logits
        })
    }

    /// `LigerForCausalLMLoss` (`liger_kernel/transformers/model/loss_utils.py`): no logits but a few rows' at a time.
    fn fused_causal_loss(cx: &Context, hidden: &Tensor, weight: &Tensor, labels: &Tensor) -> Tensor {
        cx.within(Category::Logits, || {
            let (_padded, _shifted) = Self::shifted_labels(cx, labels);
            let hidden = cx.reshape(hidden, &[labels.layout().numel(), hidden.dim(-1)]);
            cx.fused_linear_cross_entropy(&hidden, weight)
        })
    }

    /// Labels with one more at the end, and from the second on.
    fn shifted_labels(cx: &Context, labels: &Tensor) -> (Tensor, Tensor) {
        let [batch, length] = [labels.dim(0), labels.dim(1)];
        let padded_layout = Layout::contiguous(&[batch, length + 1]);
        let padded = cx.launch(Kernel::Cat { dim: -1 }, &[labels], padded_layout, DType::I64);
        let shifted = cx.contiguous(cx.narrow(&padded, -1, 1, length));
        (padded, shifted)
    }

    /// `ForCausalLMLoss`: logits in fp32, labels shifted by one. Returns the loss; the logits go with the caller's.
    pub fn causal_loss(cx: &Context, logits: &Tensor, labels: &Tensor) -> Tensor {
        cx.within(Category::Logits, || {
            let logits = cx.cast(logits, DType::F32);
            let (_padded, shifted) = Self::shifted_labels(cx, labels);
            let rows = labels.layout().numel();
            let vocab_size = logits.dim(-1);
            let logits = cx.reshape(logits, &[rows, vocab_size]);
            let shifted = cx.reshape(shifted, &[rows]);
            cx.cross_entropy(logits, &shifted)
        })
    }

    /// What it is.
    pub(super) const fn config(&self) -> &DecoderConfig {
        &self.model
    }

    /// The type of its token table.
    pub(super) fn embedding_dtype(&self) -> DType {
        self.embed.weight.dtype()
    }

    /// An empty cache of its keys and values.
    pub fn cache(&self, category: Category) -> KvCache {
        KvCache::new(&self.model, category)
    }
}

/// Whether the class is one of Mamba's own, whose residual stream may be wider than its weights.
const fn is_mamba(model_type: ModelType) -> bool {
    matches!(model_type, ModelType::Mamba | ModelType::Mamba2 | ModelType::FalconMamba)
}

/// Whether rotary positions are those of text, height and width.
const fn has_sections(model_type: ModelType) -> bool {
    use ModelType::{Qwen3_5, Qwen3_5Moe, Qwen3_5MoeText, Qwen3_5Text};
    matches!(model_type, Qwen3_5 | Qwen3_5Text | Qwen3_5Moe | Qwen3_5MoeText)
}

impl Network for Decoder {
    fn batch(&self, cx: &Context, shape: BatchShape) -> Batch {
        let tensor = |name| cx.input(name, &[shape.batch, shape.length], DType::I64);
        let ids = tensor("input_ids");
        let attention_mask = shape.attention_mask.then(|| tensor("attention_mask"));
        let labels = match self.model.head.num_labels {
            Some(_) => cx.input("labels", &[shape.batch], DType::I64),
            None => tensor("labels"),
        };
        Batch { ids, attention_mask, labels }
    }

    fn loss(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> (Tensor, Outputs) {
        let mut prompted = self.prompted(cx, batch, run);
        let begun = prompted.cache.take();
        let Prompted { embeds, attention_mask, labels, .. } = &prompted;
        let cache = begun.or_else(|| self.training_cache(run));
        let run = Forward { attention_mask: attention_mask.as_ref(), cache: cache.as_ref(), ..run };
        let embeds = embeds.clone().unwrap_or_else(|| self.embed(cx, &batch.ids, run));
        let hidden = self.hidden(cx, embeds, run);
        if self.model.head.num_labels.is_some() {
            let logits = pooled_logits(cx, &self.head, &hidden, &batch.ids);
            let loss = cx.within(Category::Logits, || cx.cross_entropy(&logits, labels));
            return (loss, Outputs::of(logits, cache));
        }
        if self.kernels == Kernels::Liger
            && let Weight::Dense(weight) = &self.head.weight
        {
            let loss = Self::fused_causal_loss(cx, &hidden, weight, labels);
            return (loss, Outputs::of(cx.meta(&[0], hidden.dtype()), cache));
        }
        let logits = self.logits(cx, &hidden);
        let loss = Self::causal_loss(cx, &logits, labels);
        (loss, Outputs::of(logits, cache))
    }

    fn backbone(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> Option<(Tensor, &Linear)> {
        let run = Forward { attention_mask: batch.attention_mask.as_ref(), ..run };
        Some((self.hidden(cx, self.embed(cx, &batch.ids, run), run), &self.head))
    }

    fn has_backbone(&self) -> bool {
        true
    }

    /// With the cache that its forward fills unless told otherwise, which goes with what it returned.
    fn last_hidden_state(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> Option<Tensor> {
        let cache = self.training_cache(run);
        let run = Forward { cache: cache.as_ref(), ..run };
        self.backbone(cx, batch, run).map(|(hidden, _)| hidden)
    }

    fn head_logits(&self, cx: &Context, hidden: &Tensor) -> Option<Tensor> {
        self.model.head.num_labels.is_none().then(|| self.logits(cx, hidden))
    }

    fn prompt(&self, cx: &Context, batch: u64, length: u64) -> Tensor {
        cx.input("input_ids", &[batch, length], DType::I64)
    }

    fn generate(&self, cx: &Context, prompt: &Tensor, how: Generate) {
        generate::run(self, cx, prompt, how);
    }

    fn is_tied(&self) -> bool {
        self.model.head.tied
    }

    fn paths(&mut self) -> Option<Vec<String>> {
        let model = self.model.clone();
        let names = Paths::of(&model)?;
        let mut paths = Vec::new();
        self.walk(&mut |place, leaf| paths.push(names.path(place, &leaf)));
        Some(paths)
    }

    fn default_targets(&self) -> &'static [&'static str] {
        default_targets(&self.model)
    }

    fn saves_head(&self) -> bool {
        self.model.head.num_labels.is_some()
    }

    fn block_outputs(&self) -> Option<[&'static str; 2]> {
        let names = Names::of(self.model.model_type);
        Some([names.output, names.mlp[2]])
    }

    fn prompt_width(&self) -> Option<u64> {
        virtual_tokens::prompt_width(&self.model)
    }

    fn prefix_shape(&self, tokens: u64) -> Option<PrefixShape> {
        virtual_tokens::prefix_shape(&self.model, tokens)
    }
}

impl Decoder {
    /// Visits the leaves in order, each with its place.
    fn walk(&mut self, visit: &mut dyn FnMut(Place, Leaf<'_>)) {
        if let Some(tower) = &mut self.tower {
            tower.walk(&mut |index, leaf| visit(Place::Tower(index), leaf));
        }
        self.embed.leaves(&mut |leaf| visit(Place::Base, leaf));
        self.front.leaves(&mut |leaf| visit(Place::Base, leaf));
        let norm_first = self.model.model_type == ModelType::Opt;
        if norm_first {
            self.norm.leaves(&mut |leaf| visit(Place::Base, leaf));
        }
        for (i, layer) in self.layers.iter_mut().enumerate() {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.leaves(&mut |leaf| visit(Place::Layer(i), leaf));
            }
        }
        if !norm_first {
            self.norm.leaves(&mut |leaf| visit(Place::Base, leaf));
        }
        // without a head there is none to find, nor to adapt
        if self.model.head.num_labels != Some(0) {
            visit(Place::Top, Leaf::Linear(&mut self.head));
        }
    }
}

impl Module for Decoder {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.walk(&mut |_, leaf| visit(leaf));
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        if let Some(tower) = &mut self.tower {
            tower.buffers(visit);
        }
        if let EmbedScale::Buffer(scale) = &mut self.embed_scale {
            visit(scale);
        }
        self.front.buffers(visit);
        for layer in &mut self.layers {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.buffers(visit);
            }
        }
        for rotary in [&mut self.idle_rotary, &mut self.full_rotary, &mut self.sliding_rotary].into_iter().flatten() {
            rotary.inv_freq.iter_mut().for_each(&mut *visit);
        }
    }
}
