//! MPNet's attention (`modeling_mpnet.py`): scores with a bias of how far tokens are apart. Its class has no
//! `scaled_dot_product_attention`.

use crate::arch::bidirectional::heads;
use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::EncoderConfig;
use crate::nn::{Builder, Embedding, Leaf, Linear, Module, NormLayer, Part};

/// `MPNetAttention`
pub(super) struct MpnetAttention {
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
    pub(super) fn new(builder: &Builder<'_>, model: &EncoderConfig, norm: NormLayer) -> Self {
        let linear = |name| builder.linear(name, Part::Attention, model.hidden_size, model.hidden_size, true);
        Self {
            q: linear("q"),
            k: linear("k"),
            v: linear("v"),
            o: linear("o"),
            norm,
            num_heads: model.num_attention_heads,
            attention_dropout: model.attention_dropout,
            dropout: model.hidden_dropout,
        }
    }

    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        position_bias: &Tensor,
        mask: Option<&Tensor>,
    ) -> Tensor {
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
pub(super) fn position_bias(cx: &Context, table: &Embedding, [batch, length]: [u64; 2]) -> Tensor {
    let buckets = cx.launch(Kernel::Arange, &[], Layout::contiguous(&[length, length]), DType::I64);
    let mut values = table.forward(cx, &buckets);
    let heads = values.dim(-1);
    values = cx.unsqueeze(cx.transpose(cx.transpose(&values, 0, 2), 1, 2), 0);
    cx.contiguous(cx.expand(&values, &[batch, heads, length, length]))
}
