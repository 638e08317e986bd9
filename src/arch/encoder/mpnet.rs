//! MPNet (`modeling_mpnet.py`): attention scores have a bias of how far tokens are apart. Its class has no
//! `scaled_dot_product_attention`: attention is eager whatever is asked for.

use super::bert::Output;
use super::body::Body;
use super::embeddings::Embeddings;
use crate::arch::bidirectional::{bidirectional_mask, heads, plain};
use crate::arch::forward::Forward;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Activation, EncoderConfig, Norm};
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part, activate};

/// `MPNetModel` without its pooler.
pub(super) struct MpnetBody {
    embeddings: Embeddings,
    layers: Vec<MpnetLayer>,
    relative_attention_bias: Embedding,
}

impl MpnetBody {
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, buckets: u64) -> Self {
        Self {
            embeddings: Embeddings::new(builder, model),
            layers: (0..model.num_hidden_layers).map(|_| MpnetLayer::new(builder, model)).collect(),
            relative_attention_bias: builder.embedding("relative_attention_bias", buckets, model.num_attention_heads),
        }
    }
}

impl Body for MpnetBody {
    fn word(&self) -> &Embedding {
        &self.embeddings.word
    }

    fn forward(&self, cx: &Context, ids: &Tensor, run: Forward<'_>) -> Tensor {
        let [batch, length] = [ids.dim(0), ids.dim(1)];
        let embedding_output = self.embeddings.forward(cx, ids, run.input_require_grads);
        let (sizes, dtype) = ([batch, length, length], embedding_output.dtype());
        let mask = bidirectional_mask(cx, AttnImplementation::Eager, sizes, run.attention_mask, dtype);
        let bias = position_bias(cx, &self.relative_attention_bias, [batch, length]);
        let mut hidden = embedding_output.clone();
        for layer in &self.layers {
            hidden = layer.forward(cx, &hidden, &bias, mask.as_ref());
        }
        hidden
    }
}

impl Module for MpnetBody {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.embeddings.leaves(visit);
        for layer in &mut self.layers {
            layer.leaves(visit);
        }
        self.relative_attention_bias.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.embeddings.buffers(visit);
    }
}

/// `MPNetLayer`
struct MpnetLayer {
    attention: MpnetAttention,
    intermediate: Linear,
    output: Output,
    activation: Activation,
}

impl MpnetLayer {
    fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let (width, inner) = (model.hidden_size, model.intermediate_size);
        Self {
            attention: MpnetAttention::new(builder, model),
            intermediate: builder.linear("dense", Part::Mlp, width, inner, true),
            output: Output::new(builder, model, Part::Mlp, inner),
            activation: model.activation,
        }
    }

    fn forward(&self, cx: &Context, hidden: &Tensor, position_bias: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let attended = self.attention.forward(cx, hidden, position_bias, mask);
        let mut intermediate = self.intermediate.forward(cx, &attended);
        intermediate = activate(cx, self.activation, intermediate);
        self.output.forward(cx, intermediate.clone(), &attended)
    }
}

impl Module for MpnetLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        self.intermediate.leaves(visit);
        self.output.leaves(visit);
    }
}

/// `MPNetAttention`
struct MpnetAttention {
    q: Linear,
    k: Linear,
    v: Linear,
    o: Linear,
    norm: NormLayer,
    num_heads: u64,
    attention_dropout: f64,
    dropout: f64,
}

impl MpnetAttention {
    fn new(builder: &Builder<'_>, model: &EncoderConfig) -> Self {
        let linear = |name| builder.linear(name, Part::Attention, model.hidden_size, model.hidden_size, true);
        Self {
            q: linear("q"),
            k: linear("k"),
            v: linear("v"),
            o: linear("o"),
            norm: builder.norm("LayerNorm", Norm::Layer { bias: true }, model.hidden_size),
            num_heads: model.num_attention_heads,
            attention_dropout: model.attention_dropout,
            dropout: model.hidden_dropout,
        }
    }

    fn forward(&self, cx: &Context, hidden: &Tensor, position_bias: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let attended = self.attend(cx, hidden, position_bias, mask);
        self.norm.forward(cx, cx.add(cx.dropout(&attended, self.dropout), hidden))
    }

    /// `MPNetSelfAttention`
    fn attend(&self, cx: &Context, hidden: &Tensor, position_bias: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let project = |linear: &Linear| heads(cx, linear.forward(cx, hidden), self.num_heads);
        let (query, key, value) = (project(&self.q), project(&self.k), project(&self.v));
        let mut scores = cx.matmul(&query, cx.transpose(&key, -1, -2));
        scores = cx.mul_scalar(&scores, 1.0);
        scores = cx.add_in_place(scores, position_bias);
        if let Some(mask) = mask {
            scores = cx.add(&scores, mask);
        }
        let dtype = if cx.autocast_dtype().is_some() { DType::F32 } else { scores.dtype() };
        let mut probabilities = cx.softmax(&scores, dtype);
        probabilities = cx.dropout(&probabilities, self.attention_dropout);
        let mut out = cx.matmul(&probabilities, &value);
        out = cx.contiguous(cx.transpose(&out, 1, 2));
        out = cx.reshape(&out, hidden.dims());
        self.o.forward(cx, &out)
    }
}

impl Module for MpnetAttention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.q.leaves(visit);
        self.k.leaves(visit);
        self.v.leaves(visit);
        self.o.leaves(visit);
        self.norm.leaves(visit);
    }
}

/// `compute_position_bias`, whose buckets are computed on the host: `[batch, heads, length, length]`.
fn position_bias(cx: &Context, table: &Embedding, [batch, length]: [u64; 2]) -> Tensor {
    let buckets = plain(cx, &[length, length], DType::I64);
    let mut values = table.forward(cx, &buckets);
    let heads = values.dim(-1);
    values = cx.unsqueeze(cx.transpose(cx.transpose(&values, 0, 2), 1, 2), 0);
    cx.contiguous(cx.expand(&values, &[batch, heads, length, length]))
}
