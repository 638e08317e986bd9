//! Experts stacked in three-dimensional parameters (`integrations/moe.py`, `grouped_mm_experts_forward`).
//!
//! Every token is copied for each of its experts, sorted by expert, and multiplied group by group: how many tokens an expert
//! gets changes no size, so that nothing here depends on the routing.

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{Activation, DecoderConfig, Expert, Moe};
use crate::nn::{Builder, FreeParameters, Leaf, Module, Part, activate};

/// The experts of one layer.
pub(super) struct Experts {
    /// `[experts, 2 * inner, hidden]`, `[experts, hidden, inner]`; with biases, each after its matrix, the other way around.
    parameters: FreeParameters,
    kind: Expert,
    num_experts: u64,
    activation: Activation,
}

impl Experts {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, moe: &Moe) -> Self {
        let (experts, inner) = (moe.num_experts, moe.intermediate_size);
        let width = moe.latent_size.unwrap_or(model.hidden_size);
        let (up_bias, down_bias) = ([experts, 2 * inner], [experts, width]);
        let shapes: &[&[u64]] = match moe.expert {
            Expert::Gated => &[&[experts, 2 * inner, width], &[experts, width, inner]],
            Expert::Plain => &[&[experts, inner, width], &[experts, width, inner]],
            Expert::ClampedWithBias => &[&[experts, width, 2 * inner], &up_bias, &[experts, inner, width], &down_bias],
        };
        let parameters = builder.free("experts", Part::Experts, shapes);
        Self { parameters, kind: moe.expert, num_experts: experts, activation: model.mlp.activation }
    }

    /// `batched_mm_experts_forward`: as [`Self::grouped`], on copies of the matrices of every expert a token chose.
    pub(super) fn batched(&self, cx: &Context, hidden: &Tensor, weights: &Tensor, indices: &Tensor) -> Tensor {
        let [tokens, width, chosen] = [hidden.dim(0), hidden.dim(1), indices.dim(1)];
        let pairs = tokens * chosen;
        let selected = cx.repeat_interleave(hidden, 0, chosen);
        let sample_weights = cx.reshape(weights, &[pairs]);
        let expert_ids = cx.untracked("clamp", cx.reshape(indices, &[pairs]));
        // `[pairs, out, in]`, transposed `[pairs, in, out]`
        let product = |matrices: &Tensor, x: &Tensor| match self.kind {
            Expert::Gated | Expert::Plain => {
                let out = cx.bmm(matrices.clone(), cx.unsqueeze(x, 2));
                cx.reshape(&out, &[pairs, out.dim(1)])
            }
            Expert::ClampedWithBias => {
                let out = cx.bmm(cx.unsqueeze(x, 1), matrices.clone());
                cx.reshape(&out, &[pairs, out.dim(2)])
            }
        };
        let of_pairs = |tensor: &Tensor| cx.index_rows(tensor, &expert_ids);
        let [(gate_up, gate_up_bias), (down, down_bias)] = self.matrices();
        let biased = |states: Tensor, bias: &Option<Tensor>| match bias {
            Some(bias) => cx.add_in_place(states, bias),
            None => states,
        };
        let mut matrices = of_pairs(gate_up);
        let mut bias = gate_up_bias.map(of_pairs);
        let mut states = biased(product(&matrices, &selected), &bias);
        states = self.gate(cx, &states);
        matrices = of_pairs(down);
        bias = down_bias.map(of_pairs);
        states = biased(product(&matrices, &states), &bias);
        let weighted = cx.mul(&states, cx.unsqueeze(&sample_weights, 1));
        let summed = cx.sum_dim(cx.reshape(&weighted, &[tokens, chosen, width]), 1, false);
        cx.cast(&summed, hidden.dtype())
    }

    /// Applies them to `hidden`, `[tokens, width]`; weights and indices are `[tokens, experts a token]`.
    pub(super) fn grouped(&self, cx: &Context, hidden: &Tensor, weights: &Tensor, indices: &Tensor) -> Tensor {
        let [tokens, width, chosen] = [hidden.dim(0), hidden.dim(1), indices.dim(1)];
        let pairs = tokens * chosen;
        let [(gate_up, gate_up_bias), (down, down_bias)] = self.matrices();
        // as `[experts, in, out]`
        let turned = |matrices: &Tensor| match self.kind {
            Expert::Gated | Expert::Plain => cx.transpose(matrices, -2, -1),
            Expert::ClampedWithBias => matrices.clone(),
        };
        let (gate_up, down) = (turned(gate_up), turned(down));
        let sample_weights = cx.reshape(weights, &[pairs]);
        let expert_ids = cx.reshape(indices, &[pairs]);
        let (sorted_ids, order) = cx.sort_indices(&expert_ids);
        let mut selected = cx.index_rows(hidden, cx.untracked("floor_divide", &order));
        let sorted_weights = cx.index_rows(&sample_weights, &order);
        let _histogram_input = cx.cast(&sorted_ids, DType::I32);
        let counts = Layout::contiguous(&[self.num_experts]);
        let tokens_per_expert = cx.launch(Kernel::Unary("histc"), &[&sorted_ids], counts, DType::I32);
        let offsets = cx.cumsum(&tokens_per_expert);
        // rows of experts on other devices: none here
        let elsewhere = cx.launch(Kernel::Unary("ge"), &[&sorted_ids], Layout::contiguous(&[pairs]), DType::Bool);
        let of_pairs = |bias: Option<&Tensor>| bias.map(|bias| cx.index_rows(bias, &sorted_ids));
        let biased = |states: Tensor, bias: Option<&Tensor>| match bias {
            Some(bias) => cx.add_in_place(states, bias),
            None => states,
        };
        let mut biases = of_pairs(gate_up_bias);
        selected = cx.masked_fill_in_place(selected, &elsewhere);
        let mut states = biased(cx.grouped_mm(&selected, &gate_up, &offsets), biases.as_ref());
        states = cx.masked_fill(&states, &elsewhere);
        states = self.gate(cx, &states);
        biases = of_pairs(down_bias);
        states = biased(cx.grouped_mm(&states, &down, &offsets), biases.as_ref());
        states = cx.masked_fill(&states, &elsewhere);
        let mut weighted = cx.mul(&states, cx.unsqueeze(&sorted_weights, 1));
        let back = cx.launch(Kernel::Unary("empty"), &[&order], Layout::contiguous(&[pairs]), DType::I64);
        drop(cx.launch(Kernel::Arange, &[], Layout::contiguous(&[pairs]), DType::I64));
        weighted = cx.index_rows(&weighted, &back);
        let summed = cx.sum_dim(cx.reshape(&weighted, &[tokens, chosen, width]), 1, false);
        cx.cast(&summed, hidden.dtype())
    }

    /// Those of gate and up projection, and of the down projection, each with its bias.
    fn matrices(&self) -> [(&Tensor, Option<&Tensor>); 2] {
        match self.parameters.tensors.as_slice() {
            [gate_up, down] => [(gate_up, None), (down, None)],
            [gate_up, up_bias, down, down_bias] => [(gate_up, Some(up_bias)), (down, Some(down_bias))],
            _ => unreachable!("experts have two matrices"),
        }
    }

    /// `_apply_gate`, or the activation alone.
    fn gate(&self, cx: &Context, states: &Tensor) -> Tensor {
        if self.kind == Expert::Plain {
            return activate(cx, self.activation, states.clone());
        }
        if self.kind == Expert::ClampedWithBias {
            let (mut gate, mut up) = (cx.every_second(states), cx.every_second(states));
            gate = cx.clamp(&gate, false);
            up = cx.clamp(&up, true);
            let glu = {
                let opened = cx.sigmoid(cx.mul_scalar(&gate, 1.702));
                cx.mul(&gate, &opened)
            };
            return cx.mul(cx.add_scalar(&up, 1.0), &glu);
        }
        let [gate, up] = cx.split_in(states.clone(), -1);
        cx.mul(activate(cx, self.activation, gate), &up)
    }
}

impl Module for Experts {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.parameters.leaves(visit);
    }
}
