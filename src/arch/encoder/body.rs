//! What an encoder is without its head: embeddings and layers.

use std::rc::Rc;

use super::albert::AlbertLayer;
use super::bert::BertLayer;
use super::deberta::DebertaBody;
use super::distilbert::TransformerBlock;
use super::embeddings::Embeddings;
use super::modernbert::ModernBertBody;
use super::mpnet::MpnetBody;
use super::rotary::RotaryBody;
use crate::arch::attention::{Attend, Span};
use crate::arch::bidirectional::bidirectional_mask;
use crate::arch::forward::Forward;
use crate::arch::layer::Layer;
use crate::ghost::{Context, Tensor};
use crate::model::{EncoderConfig, EncoderFamily, ModelType};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, Part};

/// An encoder without what stands on it.
pub(super) trait Body: Module {
    /// The token embedding, which masked-language-model heads share.
    fn word(&self) -> &Embedding;

    /// The last hidden states of `ids`, `[batch, length]`; `run` has the padding mask.
    fn forward(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor;
}

/// The body of a model with its parameters, frozen.
pub(super) fn body(builder: &Builder<'_>, model: &EncoderConfig) -> Box<dyn Body> {
    match &model.family {
        EncoderFamily::Bert => {
            let layers = usize::try_from(model.num_hidden_layers).unwrap_or(usize::MAX);
            Box::new(BertBody::new(builder, model, (0..layers).collect()))
        }
        EncoderFamily::Albert { num_hidden_groups, inner_group_num } => {
            let order = shared_layers(model.num_hidden_layers, *num_hidden_groups, *inner_group_num);
            Box::new(BertBody::new(builder, model, order))
        }
        EncoderFamily::Mpnet { buckets } => Box::new(MpnetBody::new(builder, model, *buckets)),
        EncoderFamily::DebertaV2(spec) => Box::new(DebertaBody::new(builder, model, spec)),
        EncoderFamily::Rotary(layers) => Box::new(RotaryBody::new(builder, model, layers)),
        EncoderFamily::ModernBert(spec) => Box::new(ModernBertBody::new(builder, model, spec)),
    }
}

/// Which layer's weights serve in which order: those of a group, one after the other, for each of the layers it serves
/// (`AlbertTransformer`).
fn shared_layers(num_hidden_layers: u64, num_hidden_groups: u64, inner_group_num: u64) -> Vec<usize> {
    let group = |layer: u64| layer * num_hidden_groups / num_hidden_layers.max(1);
    (0..num_hidden_layers)
        .flat_map(|layer| (0..inner_group_num).map(move |inner| group(layer) * inner_group_num + inner))
        .filter_map(|index| usize::try_from(index).ok())
        .collect()
}

/// Runs `layers` one after the other; `given` says what each is given.
pub(super) fn run_layers(
    cx: &Context,
    layers: &[Rc<dyn Layer>],
    mut hidden: Tensor,
    checkpointing: bool,
    given: impl Fn(usize) -> Attend,
) -> Tensor {
    for (i, layer) in layers.iter().enumerate() {
        hidden = if checkpointing {
            let (layer, given) = (Rc::clone(layer), given(i));
            cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &given, None).0)
        } else {
            layer.forward(cx, &hidden, &given(i), None).0
        };
    }
    hidden
}

/// Visits the leaves of layers that no checkpoint holds.
pub(super) fn layer_leaves(layers: &mut [Rc<dyn Layer>], visit: &mut dyn FnMut(Leaf<'_>)) {
    for layer in layers {
        if let Some(layer) = Rc::get_mut(layer) {
            layer.leaves(visit);
        }
    }
}

/// `BertModel` without its pooler.
struct BertBody {
    embeddings: Embeddings,
    /// ELECTRA's projection of narrower embeddings.
    embeddings_project: Option<Linear>,
    /// Those with weights of their own.
    layers: Vec<Rc<dyn Layer>>,
    /// The order they run in.
    order: Vec<usize>,
    projects_inside: bool,
}

impl BertBody {
    fn new(builder: &Builder<'_>, model: &EncoderConfig, order: Vec<usize>) -> Self {
        let embeddings = Embeddings::new(builder, model);
        let (narrow, width) = (model.embedding_size, model.hidden_size);
        // ALBERT has a projection whatever its widths
        let projects_inside = model.model_type == ModelType::Albert;
        let project = || builder.linear("embeddings_project", Part::Embedding, narrow, width, true);
        let embeddings_project = (narrow != width || projects_inside).then(project);
        let layer = |_: usize| -> Rc<dyn Layer> {
            match model.model_type {
                ModelType::Albert => Rc::new(AlbertLayer::new(builder, model)),
                ModelType::Distilbert => Rc::new(TransformerBlock::new(builder, model)),
                _ => Rc::new(BertLayer::new(builder, model)),
            }
        };
        let own = order.iter().max().map_or(0, |last| last + 1);
        Self { embeddings, embeddings_project, layers: (0..own).map(layer).collect(), order, projects_inside }
    }
}

impl Body for BertBody {
    fn word(&self) -> &Embedding {
        &self.embeddings.word
    }

    fn forward(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let mut embedding_output = self.embeddings.forward(cx, ids, run.input_require_grads);
        let embedded = embedding_output.clone();
        if let Some(project) = &self.embeddings_project {
            embedding_output = project.forward(cx, &embedding_output);
        }
        // ALBERT projects inside its stack: the model keeps a name for what it embedded, the others for what they projected
        let first = embedding_output.clone();
        let _kept = Some(embedded).filter(|_| self.projects_inside).unwrap_or(embedding_output);
        let sizes = [ids.dim(0), ids.dim(1), ids.dim(1)];
        let dtype = first.dtype();
        let mask = bidirectional_mask(cx, run.implementation, sizes, run.attention_mask, dtype);
        let full = Span { rotary: None, mask };
        let attend = Attend { implementation: run.implementation, full, ..Attend::default() };
        let layers: Vec<_> = self.order.iter().map(|&index| Rc::clone(&self.layers[index])).collect();
        run_layers(cx, &layers, first, run.checkpointing, |_| attend.clone())
    }
}

impl Module for BertBody {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.embeddings.leaves(visit);
        self.embeddings_project.leaves(visit);
        layer_leaves(&mut self.layers, visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.embeddings.buffers(visit);
    }
}
