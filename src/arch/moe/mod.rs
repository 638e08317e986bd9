//! Mixtures of experts, as `transformers` 5.17 runs them: by `grouped_mm`, its default, or `batched_mm`.

mod experts;
mod router;

use self::experts::Experts;
use self::router::Router;
use super::mlp::FeedForward;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, ModelType, Moe, MoeOrder, SharedExperts};
use crate::nn::{Builder, Leaf, Linear, Module, NormLayer, Part};

/// A mixture of experts in place of a feed-forward block.
pub(super) struct SparseMoe {
    order: MoeOrder,
    router: Router,
    experts: Experts,
    shared: Option<FeedForward>,
    shared_gate: Option<Linear>,
    shared_order: SharedOrder,
    /// `fc1_latent_proj` and `fc2_latent_proj` around Nemotron-H's experts.
    latent: Option<[Linear; 2]>,
    /// A.X-K1's norm of what comes out.
    post_norm: Option<NormLayer>,
}

impl SparseMoe {
    /// The block of `model`, whose mixture is `moe`.
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, moe: &Moe) -> Self {
        let (router, experts);
        match moe.order {
            MoeOrder::RouterFirst => {
                router = Router::new(builder, model, moe);
                experts = Experts::new(builder, model, moe);
            }
            MoeOrder::ExpertsFirst => {
                experts = Experts::new(builder, model, moe);
                router = Router::new(builder, model, moe);
            }
        }
        let shared = |shared: SharedExperts| FeedForward::of_width(builder, model, shared.intermediate_size);
        let gate = |shared: SharedExperts| {
            shared.gate.then(|| builder.linear("shared_expert_gate", Part::Mlp, model.hidden_size, 1, false))
        };
        let latent = moe.latent_size.map(|size| {
            let linear = |name, from, to| builder.linear(name, Part::Experts, from, to, model.mlp.bias);
            [linear("fc1_latent_proj", model.hidden_size, size), linear("fc2_latent_proj", size, model.hidden_size)]
        });
        Self {
            latent,
            order: moe.order,
            router,
            experts,
            shared: moe.shared.map(shared),
            shared_gate: moe.shared.and_then(gate),
            post_norm: (model.model_type == ModelType::Axk1)
                .then(|| builder.norm("post_mlp_layernorm", model.norm, model.hidden_size)),
            shared_order: SharedOrder::of(model.model_type),
        }
    }

    /// Applies it to `x`, `[batch, length, hidden_size]`, its experts by `batched_mm` or by `grouped_mm`.
    pub(super) fn forward(&self, cx: &Context, x: &Tensor, batched: bool) -> Tensor {
        let shape = *x.layout();
        let width = shape.dim(-1);
        let flat = || cx.reshape(x, &[shape.numel() / width.max(1), width]);
        let shared = |x: &Tensor| self.shared.as_ref().map(|shared| shared.forward(cx, x));
        let early = (self.shared_order == SharedOrder::First).then(|| shared(x)).flatten();
        // DeepSeek's routers look at the hidden states themselves, the experts at a view of them that is made after
        let apart = self.shared.is_some() && self.shared_order == SharedOrder::Last;
        let routed_first = apart.then(|| self.router.forward(cx, &flat()));
        let mut hidden = flat();
        let before = (self.shared_order == SharedOrder::FirstFlat).then(|| shared(&hidden)).flatten();
        let routed = routed_first.unwrap_or_else(|| self.router.forward(cx, &hidden));
        let between = (self.shared_order == SharedOrder::Between).then(|| shared(&hidden)).flatten();
        let run = if batched { Experts::batched } else { Experts::grouped };
        if let Some([narrow, _]) = &self.latent {
            hidden = narrow.forward(cx, &hidden);
        }
        let mut out = run(&self.experts, cx, &hidden, &routed.weights, &routed.indices);
        if let Some([_, widen]) = &self.latent {
            hidden = widen.forward(cx, &out);
            out = hidden.clone();
        }
        if let Some(mut shared) = before {
            if let Some(gate) = &self.shared_gate {
                let opened = cx.sigmoid(gate.forward(cx, &hidden));
                shared = cx.mul(opened, &shared);
            }
            out = cx.add(&out, &shared);
            return cx.reshape(&out, shape.dims());
        }
        if let (SharedOrder::LastInFp32, Some(after)) = (self.shared_order, &self.shared) {
            let routed = cx.cast(&out, DType::F32);
            let both = cx.add(&routed, cx.cast(after.forward(cx, &hidden), DType::F32));
            return cx.reshape(cx.cast(&both, hidden.dtype()), shape.dims());
        }
        out = cx.reshape(&out, shape.dims());
        if self.shared_order == SharedOrder::Outside {
            drop((routed, hidden));
        }
        if let Some(shared) = between {
            return cx.add(cx.reshape(&shared, shape.dims()), &out);
        }
        if let Some(shared) = early {
            return cx.add(&out, &shared);
        }
        let Some(shared) = shared(x) else { return out };
        out = cx.add(&out, shared);
        match &self.post_norm {
            Some(norm) => norm.forward(cx, &out),
            None => out,
        }
    }

    /// Visits the router's buffers.
    pub(super) fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.router.buffers(visit);
    }
}

/// When experts that every token passes run, and how they are added.
#[derive(Clone, Copy, PartialEq, Eq)]
enum SharedOrder {
    /// Before the others, on a view of the hidden states.
    FirstFlat,
    /// Before the others, on the hidden states themselves.
    First,
    /// After the router, before the others, which are added to them.
    Between,
    /// After the others, outside of their module (Granite 4).
    Outside,
    /// After the others.
    Last,
    /// After the others, and the sum is in fp32.
    LastInFp32,
}

impl SharedOrder {
    const fn of(model_type: ModelType) -> Self {
        match model_type {
            ModelType::Qwen2Moe
            | ModelType::Ernie45Moe
            | ModelType::Qwen3Next
            | ModelType::Qwen3_5Moe
            | ModelType::Qwen3_5MoeText => Self::FirstFlat,
            ModelType::HunyuanV1Moe => Self::First,
            ModelType::Granitemoehybrid => Self::Outside,
            ModelType::Afmoe => Self::Between,
            ModelType::HyV3 => Self::LastInFp32,
            _ => Self::Last,
        }
    }
}

impl Module for SparseMoe {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match self.order {
            MoeOrder::RouterFirst => {
                self.router.leaves(visit);
                self.experts.leaves(visit);
            }
            MoeOrder::ExpertsFirst => {
                self.experts.leaves(visit);
                self.router.leaves(visit);
            }
        }
        self.shared.leaves(visit);
        self.shared_gate.leaves(visit);
        self.latent.iter_mut().flatten().for_each(|linear| linear.leaves(visit));
        self.post_norm.leaves(visit);
    }
}
