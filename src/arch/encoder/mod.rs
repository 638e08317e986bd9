//! Encoders: BERT and those that follow it.

mod bert;
mod distilbert;
mod embeddings;
mod top;

use std::rc::Rc;

use self::embeddings::Embeddings;
use self::top::Top;
use super::attention::{Attend, Span};
use super::bidirectional::bidirectional_mask;
use super::forward::Forward;
use super::layer::Layer;
use super::network::{Batch, BatchShape, Generate, Network, Outputs};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Phase, Tensor};
use crate::model::{EncoderClass, EncoderConfig, ModelType};
use crate::nn::{Builder, Leaf, Linear, Module, Part};

/// An encoder with what stands on it.
pub struct Encoder {
    model: EncoderConfig,
    embeddings: Embeddings,
    /// ELECTRA's projection of narrower embeddings.
    embeddings_project: Option<Linear>,
    layers: Vec<Rc<dyn Layer>>,
    top: Top,
}

impl Encoder {
    /// The model with its parameters, frozen.
    pub fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let embeddings = Embeddings::new(builder, model);
        let (narrow, width) = (model.embedding_size, model.hidden_size);
        let project = || builder.linear("embeddings_project", Part::Embedding, narrow, width, true);
        let embeddings_project = (narrow != width).then(project);
        let layer = |_| -> Rc<dyn Layer> {
            match model.model_type {
                ModelType::Distilbert => Rc::new(distilbert::TransformerBlock::new(builder, model)),
                _ => Rc::new(bert::BertLayer::new(builder, model)),
            }
        };
        let layers = (0..model.num_hidden_layers).map(layer).collect();
        let top = Top::new(builder, model, &embeddings.word);
        Self { model: model.clone(), embeddings, embeddings_project, layers, top }
    }

    /// The last hidden states of `ids`, `[batch, length]`.
    fn hidden(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let mut embedding_output = self.embeddings.forward(cx, ids, run.input_require_grads);
        if let Some(project) = &self.embeddings_project {
            embedding_output = project.forward(cx, &embedding_output);
        }
        let sizes = [ids.dim(0), ids.dim(1), ids.dim(1)];
        let dtype = embedding_output.dtype();
        let mask = bidirectional_mask(cx, run.implementation, sizes, run.attention_mask, dtype);
        let full = Span { rotary: None, mask };
        let attend = Attend { implementation: run.implementation, full, ..Attend::default() };
        let mut hidden = embedding_output.clone();
        for layer in &self.layers {
            hidden = if run.checkpointing {
                let (layer, attend) = (Rc::clone(layer), attend.clone());
                cx.checkpoint(&hidden, move |cx, hidden| layer.forward(cx, hidden, &attend, None).0)
            } else {
                layer.forward(cx, &hidden, &attend, None).0
            };
        }
        hidden
    }
}

impl Network for Encoder {
    fn batch(&self, cx: &Context, shape: BatchShape) -> Batch {
        let tensor = |name| cx.input(name, &[shape.batch, shape.length], DType::I64);
        let ids = tensor("input_ids");
        let attention_mask = shape.attention_mask.then(|| tensor("attention_mask"));
        let labels = match self.model.class {
            EncoderClass::SequenceClassification => cx.input("labels", &[shape.batch], DType::I64),
            _ => tensor("labels"),
        };
        Batch { ids, attention_mask, labels }
    }

    fn loss(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> (Tensor, Outputs) {
        let run = Forward { attention_mask: batch.attention_mask.as_ref(), ..run };
        let hidden = self.hidden(cx, &batch.ids, run);
        let logits = self.top.forward(cx, &hidden);
        let loss = cx.within(Category::Logits, || {
            let classes = logits.dim(-1);
            let rows = logits.layout().numel() / classes.max(1);
            let labels = cx.reshape(&batch.labels, &[rows]);
            cx.cross_entropy(cx.reshape(&logits, &[rows, classes]), &labels)
        });
        (loss, Outputs::of(logits, None))
    }

    fn prompt(&self, cx: &Context, batch: u64, length: u64) -> Tensor {
        cx.input("input_ids", &[batch, length], DType::I64)
    }

    /// One forward: an encoder generates nothing.
    fn generate(&self, cx: &Context, prompt: &Tensor, how: Generate) {
        cx.set_phase(Phase::Prefill);
        let run = Forward { implementation: how.implementation, ..Forward::default() };
        let hidden = self.hidden(cx, prompt, run);
        let _logits = self.top.forward(cx, &hidden);
    }

    fn is_tied(&self) -> bool {
        self.top.is_tied()
    }

    fn default_targets(&self) -> &'static [&'static str] {
        match self.model.model_type {
            ModelType::Distilbert => &["q_lin", "v_lin"],
            _ => &["query", "value"],
        }
    }

    fn saves_head(&self) -> bool {
        self.model.class == EncoderClass::SequenceClassification
    }
}

impl Module for Encoder {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        // XLM-RoBERTa registers its classifier before its encoder
        let top_first = self.model.model_type == ModelType::XlmRoberta && self.saves_head();
        if top_first {
            self.top.leaves(visit);
        }
        self.embeddings.leaves(visit);
        self.embeddings_project.leaves(visit);
        for layer in &mut self.layers {
            if let Some(layer) = Rc::get_mut(layer) {
                layer.leaves(visit);
            }
        }
        if !top_first {
            self.top.leaves(visit);
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.embeddings.buffers(visit);
    }
}
