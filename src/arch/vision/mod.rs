//! Vision transformers: ViT and DINOv2 (`modeling_vit.py`, `modeling_dinov2.py`, transformers 5.17).

mod layer;

use std::rc::Rc;

use self::layer::VisionLayer;
use super::forward::Forward;
use super::network::{Batch, BatchShape, Generate, Network, Outputs};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Phase, Tensor, trainable_copy};
use crate::model::{ModelType, Norm, VisionConfig};
use crate::nn::{Builder, FreeParameters, Leaf, Linear, Module, NormLayer, Part, Weight};

/// A vision transformer with what stands on it.
pub(super) struct VisionTransformer {
    model: VisionConfig,
    /// Class token, mask token, positions.
    tokens: FreeParameters,
    projection: Linear,
    layers: Vec<Rc<VisionLayer>>,
    norm: NormLayer,
    pooler: Option<Linear>,
    classifier: Option<Linear>,
}

impl VisionTransformer {
    pub(super) fn new(builder: &Builder<'_>, model: &VisionConfig) -> Self {
        let d = model.hidden_size;
        let (class, mask, positions) = ([1, 1, d], [1, d], [1, model.patches() + 1, d]);
        let mut shapes: Vec<&[u64]> = vec![&class];
        if model.mask_token {
            shapes.push(&mask);
        }
        shapes.push(&positions);
        let kernel = [d, model.num_channels, model.patch_size, model.patch_size];
        let dino = model.model_type == ModelType::Dinov2;
        Self {
            tokens: builder.free("embeddings", Part::Embedding, &shapes),
            projection: builder.convolution("projection", Part::Embedding, &kernel, true),
            layers: (0..model.num_hidden_layers).map(|_| Rc::new(VisionLayer::new(builder, model))).collect(),
            norm: builder.norm("layernorm", Norm::Layer { bias: true }, d),
            pooler: model.pooler.map(|width| builder.linear("dense", Part::Other, d, width, true)),
            classifier: model
                .num_labels
                .map(|labels| builder.linear("classifier", Part::Head, if dino { 2 * d } else { d }, labels, true)),
            model: model.clone(),
        }
    }

    /// The normed states of all patches, `[batch, patches + 1, width]`.
    fn hidden(&self, cx: &Context, pixels: &Tensor, run: Forward<'_>) -> Tensor {
        // ViT's forward keeps a name for the pixels in its own type
        let own = self.model.model_type == ModelType::Vit;
        let pixels = cx.cast(pixels, self.projection.adapter_dtype());
        let _kept = own.then(|| pixels.clone());
        let embedding_output = self.embed(cx, pixels, run.input_require_grads);
        let mut hidden = embedding_output.clone();
        for layer in &self.layers {
            hidden = if run.checkpointing {
                let (layer, implementation) = (Rc::clone(layer), run.implementation);
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, implementation))
            } else {
                layer.forward(cx, &hidden, run.implementation)
            };
        }
        self.norm.forward(cx, &hidden)
    }

    fn embed(&self, cx: &Context, pixels: Tensor, input_require_grads: bool) -> Tensor {
        let Weight::Dense(weight) = &self.projection.weight else { return pixels };
        let mut patches = cx.conv2d(&pixels, weight, self.projection.bias.as_ref(), self.model.patch_size, 0);
        drop(pixels);
        if input_require_grads && !patches.requires_grad() {
            patches = trainable_copy(&patches);
        }
        let [batch, width] = [patches.dim(0), patches.dim(1)];
        let mut embeddings = cx.transpose(cx.reshape(patches, &[batch, width, self.model.patches()]), 1, 2);
        let (class, positions) = (self.tokens.tensors.first(), self.tokens.tensors.last());
        if let (Some(class), Some(positions)) = (class, positions) {
            let class = cx.expand(class, &[batch, 1, width]);
            embeddings = cx.cat(&[&class, &embeddings], 1);
            embeddings = cx.add(&embeddings, positions);
        }
        cx.dropout(&embeddings, self.model.hidden_dropout)
    }

    /// Logits, or the pooled state where nothing stands on the model.
    fn top(&self, cx: &Context, states: &Tensor) -> Tensor {
        cx.within(Category::Logits, || {
            let first = cx.select(states, 1);
            let Some(classifier) = &self.classifier else {
                return match &self.pooler {
                    Some(pooler) => cx.tanh(pooler.forward(cx, &first)),
                    None => first,
                };
            };
            if self.model.model_type != ModelType::Dinov2 {
                return classifier.forward(cx, &first);
            }
            let patches = cx.narrow(states, 1, 1, states.dim(1) - 1);
            let joined = {
                let mean = cx.reshape(cx.mean_along(&patches, 1), &[states.dim(0), states.dim(2)]);
                cx.cat(&[&first, &mean], 1)
            };
            classifier.forward(cx, &joined)
        })
    }

    fn pixels(&self, cx: &Context, batch: u64) -> Tensor {
        let side = self.model.image_size;
        cx.input("pixel_values", &[batch, self.model.num_channels, side, side], DType::F32)
    }
}

impl Network for VisionTransformer {
    fn batch(&self, cx: &Context, shape: BatchShape) -> Batch {
        let ids = self.pixels(cx, shape.batch);
        let labels = cx.input("labels", &[shape.batch], DType::I64);
        Batch { ids, attention_mask: None, labels }
    }

    fn loss(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> (Tensor, Outputs) {
        let states = self.hidden(cx, &batch.ids, run);
        let logits = self.top(cx, &states);
        let loss = cx.within(Category::Logits, || cx.cross_entropy(&logits, &batch.labels));
        (loss, Outputs::of(logits, None))
    }

    fn prompt(&self, cx: &Context, batch: u64, _: u64) -> Tensor {
        self.pixels(cx, batch)
    }

    /// One forward: it generates nothing.
    fn generate(&self, cx: &Context, pixels: &Tensor, how: Generate) {
        cx.set_phase(Phase::Prefill);
        let run = Forward { implementation: how.implementation, ..Forward::default() };
        let states = self.hidden(cx, pixels, run);
        let _logits = self.top(cx, &states);
    }

    fn is_tied(&self) -> bool {
        false
    }

    fn default_targets(&self) -> &'static [&'static str] {
        match self.model.model_type {
            ModelType::Dinov2 => &["query", "value"],
            _ => &["q_proj", "v_proj"],
        }
    }
}

impl Module for VisionTransformer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        visit(Leaf::Free(&mut self.tokens));
        self.projection.leaves(visit);
        for layer in &mut self.layers {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.leaves(visit);
            }
        }
        self.norm.leaves(visit);
        self.pooler.leaves(visit);
        self.classifier.leaves(visit);
    }
}
