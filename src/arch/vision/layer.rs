//! `ViTLayer`, `Dinov2Layer`.

use crate::arch::bidirectional::{AttendTo, attend, heads, joined};
use crate::ghost::{Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Activation, ModelType, Norm, VisionConfig};
use crate::nn::{Builder, FreeParameters, Leaf, Linear, Module, NormLayer, Part, activate};

pub(super) struct VisionLayer {
    dino: bool,
    norms: [NormLayer; 2],
    /// Query, key, value, output.
    attention: [Linear; 4],
    feed_forward: [Linear; 2],
    /// DINOv2's factors of each branch.
    scales: Vec<FreeParameters>,
    gated: bool,
    activation: Activation,
    num_heads: u64,
    hidden_dropout: f64,
    attention_dropout: f64,
}

impl VisionLayer {
    pub(super) fn new(builder: &Builder<'_>, model: &VisionConfig) -> Self {
        let (d, inner) = (model.hidden_size, model.intermediate_size);
        let dino = model.model_type == ModelType::Dinov2;
        let norm = |name| builder.norm(name, Norm::Layer { bias: true }, d);
        let attention = |name, bias| builder.linear(name, Part::Attention, d, d, bias);
        let feed = |name, from, to| builder.linear(name, Part::Mlp, from, to, true);
        let names = if dino { ["query", "key", "value", "dense"] } else { ["q_proj", "k_proj", "v_proj", "o_proj"] };
        let [query, key, value, output] = names;
        let mut norms = dino.then(|| norm("norm1"));
        let attention = [
            attention(query, model.qkv_bias),
            attention(key, model.qkv_bias),
            attention(value, model.qkv_bias),
            attention(output, true),
        ];
        let scale = |name| builder.free(name, Part::Other, &[&[d]]);
        let mut scales: Vec<FreeParameters> = dino.then(|| scale("layer_scale1")).into_iter().collect();
        let norms = match norms.take() {
            Some(first) => [first, norm("norm2")],
            None => [norm("layernorm_before"), norm("layernorm_after")],
        };
        let feed_forward = if model.gated {
            [feed("weights_in", d, 2 * inner), feed("weights_out", inner, d)]
        } else {
            [feed("fc1", d, inner), feed("fc2", inner, d)]
        };
        scales.extend(dino.then(|| scale("layer_scale2")));
        Self {
            dino,
            norms,
            attention,
            feed_forward,
            scales,
            gated: model.gated,
            activation: model.activation,
            num_heads: model.num_attention_heads,
            hidden_dropout: model.hidden_dropout,
            attention_dropout: model.attention_dropout,
        }
    }

    pub(super) fn forward(&self, cx: &Context, hidden: &Tensor, implementation: AttnImplementation) -> Tensor {
        let mut states = self.norms[0].forward(cx, hidden);
        if !self.dino {
            states = self.attend(cx, &states, implementation);
            states = cx.dropout(&states, self.hidden_dropout);
            states = cx.add(&states, hidden);
            let residual = states.clone();
            states = self.norms[1].forward(cx, &states);
            states = self.feed(cx, states.clone());
            states = cx.dropout(&states, self.hidden_dropout);
            return cx.add(&states, &residual);
        }
        let mut attended = self.attend(cx, &states, implementation);
        attended = self.scaled(cx, 0, &attended);
        let hidden = cx.add(&attended, hidden);
        let mut output = self.norms[1].forward(cx, &hidden);
        output = self.feed(cx, output.clone());
        output = self.scaled(cx, 1, &output);
        cx.add(&output, &hidden)
    }

    fn scaled(&self, cx: &Context, branch: usize, states: &Tensor) -> Tensor {
        match self.scales.get(branch).and_then(|scale| scale.tensors.first()) {
            Some(lambda) => cx.mul(states, lambda),
            None => states.clone(),
        }
    }

    fn attend(&self, cx: &Context, states: &Tensor, implementation: AttnImplementation) -> Tensor {
        let project = |linear: &Linear| heads(cx, linear.forward(cx, states), self.num_heads);
        let [query, key, value, output] = &self.attention;
        let (query, key, value) = if self.dino {
            let (key, value) = (project(key), project(value));
            (project(query), key, value)
        } else {
            (project(query), project(key), project(value))
        };
        let to = AttendTo {
            implementation,
            mask: None,
            causal: false,
            dropout: self.attention_dropout,
            fp32_softmax: !self.dino,
        };
        let mut out = attend(cx, [&query, &key, &value], to).0;
        out = joined(cx, &out);
        // DINOv2's output projection is another module's: what was projected is gone by then
        let _names = (!self.dino).then_some((query, key, value));
        out = output.forward(cx, &out);
        if self.dino { cx.dropout(&out, self.hidden_dropout) } else { out }
    }

    fn feed(&self, cx: &Context, mut states: Tensor) -> Tensor {
        let [first, second] = &self.feed_forward;
        states = first.forward(cx, &states);
        if self.gated {
            let half = states.dim(-1) / 2;
            let parts = cx.split(&states, &[half, half], -1);
            let inner = cx.mul(cx.silu(&parts[0]), &parts[1]);
            return second.forward(cx, &inner);
        }
        states = activate(cx, self.activation, states);
        second.forward(cx, &states)
    }
}

impl Module for VisionLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        let [first, second] = &mut self.norms;
        if self.dino {
            first.leaves(visit);
        }
        self.attention.iter_mut().for_each(|linear| linear.leaves(visit));
        let mut scales = self.scales.iter_mut();
        if let Some(scale) = scales.next() {
            visit(Leaf::Free(scale));
        }
        if !self.dino {
            first.leaves(visit);
        }
        second.leaves(visit);
        self.feed_forward.iter_mut().for_each(|linear| linear.leaves(visit));
        scales.for_each(|scale| visit(Leaf::Free(scale)));
    }
}
