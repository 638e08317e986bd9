//! Encoders: BERT and those that follow it.

mod albert;
mod bert;
mod body;
mod deberta;
mod deberta_attention;
mod distilbert;
mod embeddings;
mod modernbert;
mod mpnet;
mod rotary;
mod top;

use self::body::Body;
pub(super) use self::embeddings::count_tokens;
use self::top::Top;
use super::forward::Forward;
use super::network::{Batch, BatchShape, Generate, Network, Outputs};
use crate::dtype::DType;
use crate::ghost::{Category, Context, Phase, Tensor};
use crate::model::{EncoderClass, EncoderConfig, ModelType};
use crate::nn::{Builder, Leaf, Module};

/// An encoder with what stands on it.
pub struct Encoder {
    model: EncoderConfig,
    body: Box<dyn Body>,
    top: Top,
}

impl Encoder {
    /// The model with its parameters, frozen.
    pub fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let first = top_first(model).then(|| Top::new(builder, model));
        let body = body::body(builder, model);
        let mut top = first.unwrap_or_else(|| Top::new(builder, model));
        top.tie(body.word());
        Self { model: model.clone(), body, top }
    }

    fn loss_in_fp32(&self) -> bool {
        self.model.class == EncoderClass::MaskedLm && self.model.model_type == ModelType::ModernBert
    }
}

/// XLM-RoBERTa's classes make their heads before their encoder.
fn top_first(model: &EncoderConfig) -> bool {
    model.model_type == ModelType::XlmRoberta
        && matches!(model.class, EncoderClass::SequenceClassification | EncoderClass::MaskedLm)
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
        let hidden = self.body.forward(cx, &batch.ids, run);
        let logits = self.top.forward(cx, &hidden);
        let loss = cx.within(Category::Logits, || {
            let classes = logits.dim(-1);
            let rows = logits.layout().numel() / classes.max(1);
            let labels = cx.reshape(&batch.labels, &[rows]);
            // `ForMaskedLMLoss` (`loss_utils.py`), which some classes call, is in fp32
            let dtype = if self.loss_in_fp32() { DType::F32 } else { logits.dtype() };
            let scores = cx.cast(&logits, dtype);
            cx.cross_entropy(cx.reshape(&scores, &[rows, classes]), &labels)
        });
        (loss, Outputs::of(logits, None))
    }

    fn last_hidden_state(&self, cx: &Context, batch: &Batch, run: Forward<'_>) -> Option<Tensor> {
        let run = Forward { attention_mask: batch.attention_mask.as_ref(), ..run };
        let hidden = self.body.forward(cx, &batch.ids, run);
        // the pooler's output goes with what the model returned, and nothing goes back through it
        drop(cx.apart(|| self.top.forward(cx, &hidden)));
        Some(hidden)
    }

    fn has_last_hidden_state(&self) -> bool {
        self.model.class == EncoderClass::Base
    }

    fn prompt(&self, cx: &Context, batch: u64, length: u64) -> Tensor {
        cx.input("input_ids", &[batch, length], DType::I64)
    }

    /// One forward: an encoder generates nothing.
    fn generate(&self, cx: &Context, prompt: &Tensor, how: Generate) {
        cx.set_phase(Phase::Prefill);
        let run = Forward { implementation: how.implementation, ..Forward::default() };
        let hidden = self.body.forward(cx, prompt, run);
        let _logits = self.top.forward(cx, &hidden);
    }

    fn is_tied(&self) -> bool {
        self.top.is_tied()
    }

    fn default_targets(&self) -> &'static [&'static str] {
        match self.model.model_type {
            ModelType::Distilbert => &["q_lin", "v_lin"],
            ModelType::EuroBert | ModelType::NomicBert => &["q_proj", "v_proj"],
            ModelType::Mpnet => &["q", "v"],
            ModelType::DebertaV2 => &["query_proj", "value_proj"],
            ModelType::ModernBert => &["Wqkv"],
            _ => &["query", "value"],
        }
    }

    fn saves_head(&self) -> bool {
        self.model.class == EncoderClass::SequenceClassification
    }
}

impl Module for Encoder {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        let top_first = top_first(&self.model);
        if top_first {
            self.top.leaves(visit);
        }
        self.body.leaves(visit);
        if !top_first {
            self.top.leaves(visit);
        }
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.body.buffers(visit);
    }
}
