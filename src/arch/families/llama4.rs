//! Llama 4's language model (`modeling_llama4.py`): every expert runs on every token, all but one on zeros.

use crate::arch::attention::{Attend, Attended, SelfAttention};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::arch::mlp::FeedForward;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{Activation, DecoderConfig, Moe};
use crate::nn::{Builder, FreeParameters, Leaf, Linear, Module, NormLayer, Part, activate};

/// `Llama4TextDecoderLayer`
pub(super) struct DecoderLayer {
    attention: SelfAttention,
    feed_forward: Feeding,
    input_layernorm: NormLayer,
    post_attention_layernorm: NormLayer,
}

enum Feeding {
    Dense(Box<FeedForward>),
    Sparse(Box<TextMoe>),
}

impl DecoderLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        let norm = |name| builder.norm(name, model.norm, model.hidden_size);
        let attention = SelfAttention::new(builder, model, index);
        let feed_forward = match &model.moe {
            Some(moe) if moe.sparse_layers.get(index) == Some(&true) => {
                Feeding::Sparse(Box::new(TextMoe::new(builder, model, moe)))
            }
            _ => Feeding::Dense(Box::new(FeedForward::new(builder, model))),
        };
        Self {
            attention,
            feed_forward,
            input_layernorm: norm("input_layernorm"),
            post_attention_layernorm: norm("post_attention_layernorm"),
        }
    }
}

impl Layer for DecoderLayer {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let mut states = self.input_layernorm.forward(cx, hidden);
        let (attended, mut _other) = self.attention.forward_llama4(cx, &states, attend, cache);
        states = cx.add(hidden, &attended);
        let residual = states.clone();
        states = self.post_attention_layernorm.forward(cx, &states);
        states = match &self.feed_forward {
            Feeding::Dense(mlp) => mlp.forward(cx, &states),
            Feeding::Sparse(moe) => {
                let (out, logits) = moe.forward(cx, &states);
                _other = Some(logits);
                out
            }
        };
        (cx.add(&residual, cx.reshape(&states, residual.dims())), None)
    }
}

impl Module for DecoderLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.attention.leaves(visit);
        match &mut self.feed_forward {
            Feeding::Dense(mlp) => mlp.leaves(visit),
            Feeding::Sparse(moe) => {
                moe.experts.leaves(visit);
                moe.router.leaves(visit);
                moe.shared_expert.leaves(visit);
            }
        }
        self.input_layernorm.leaves(visit);
        self.post_attention_layernorm.leaves(visit);
    }
}

/// `Llama4TextMoe`
struct TextMoe {
    /// `[experts, hidden, 2 * inner]` and `[experts, inner, hidden]`
    experts: FreeParameters,
    router: Linear,
    shared_expert: FeedForward,
    activation: Activation,
    num_experts: u64,
    chosen: u64,
}

impl TextMoe {
    fn new(builder: &Builder<'_>, model: &DecoderConfig, moe: &Moe) -> Self {
        let (experts, inner, width) = (moe.num_experts, moe.intermediate_size, model.hidden_size);
        let shapes: &[&[u64]] = &[&[experts, width, 2 * inner], &[experts, inner, width]];
        Self {
            experts: builder.free("experts", Part::Experts, shapes),
            router: builder.linear("router", Part::Experts, width, experts, false),
            shared_expert: FeedForward::of_width(builder, model, inner),
            activation: model.mlp.activation,
            num_experts: experts,
            chosen: moe.num_experts_per_tok,
        }
    }

    /// Applies it to `x`, `[batch, length, hidden_size]`; returns the router's scores too.
    fn forward(&self, cx: &Context, x: &Tensor) -> (Tensor, Tensor) {
        let width = x.dim(-1);
        let tokens = x.layout().numel() / width.max(1);
        let hidden = cx.reshape(x, &[tokens, width]);
        let (scores, logits) = self.route(cx, &hidden);
        let everywhere = cx.expand(cx.unsqueeze(&hidden, 0), &[self.num_experts, tokens, width]);
        let mut routed_in = cx.reshape(cx.copy(&everywhere), &[self.num_experts * tokens, width]);
        routed_in = {
            let of_rows = cx.reshape(cx.transpose(&scores, 0, 1), &[self.num_experts * tokens, 1]);
            cx.mul(&routed_in, &of_rows)
        };
        let routed_out = self.run(cx, &routed_in);
        let out = self.shared_expert.forward(cx, &hidden);
        let summed = cx.sum_dim(cx.reshape(&routed_out, &[self.num_experts, tokens, width]), 0, false);
        (cx.add_in_place(out, &summed), logits)
    }

    /// `Llama4Router`: scores `[tokens, experts]`, zero for those not chosen, and logits.
    fn route(&self, cx: &Context, hidden: &Tensor) -> (Tensor, Tensor) {
        let logits = self.router.forward(cx, hidden);
        let (values, indices) = cx.top_k(&logits, self.chosen);
        let mut scores = cx.scattered_into(&values, &indices, *logits.layout());
        scores = cx.cast(cx.sigmoid(cx.cast(&scores, DType::F32)), scores.dtype());
        (scores, logits)
    }

    /// `Llama4TextExperts`
    fn run(&self, cx: &Context, rows: &Tensor) -> Tensor {
        let [gate_up, down] = [&self.experts.tensors[0], &self.experts.tensors[1]];
        let width = rows.dim(-1);
        let hidden = cx.reshape(rows, &[self.num_experts, rows.dim(0) / self.num_experts, width]);
        let both = cx.bmm(&hidden, gate_up);
        let [gate, up] = cx.split_in(both.clone(), -1);
        let states = cx.bmm(cx.mul(&up, activate(cx, self.activation, gate.clone())), down);
        cx.reshape(&states, rows.dims())
    }
}
