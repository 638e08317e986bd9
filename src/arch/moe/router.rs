//! Routers: which experts a token is sent to, and with what weights.

use crate::dtype::DType;
use crate::ghost::{Context, Kernel, Layout, Tensor};
use crate::model::{DecoderConfig, Groups, ModelType, Moe, Routing};
use crate::nn::{Builder, FreeParameters, Leaf, Linear, Module, Part};

/// What scores are computed with: mostly a parameter of its own, no `nn.Linear`, which neither adapters nor quantisers see.
enum Weights {
    Free(FreeParameters),
    /// Jamba's.
    Linear(Linear),
}

/// The router of one layer.
pub(super) struct Router {
    /// `[experts, hidden]`, and a bias where there is one.
    parameters: Weights,
    /// `e_score_correction_bias`, fp32.
    correction: Option<Tensor>,
    /// The same as a parameter that is never trained.
    frozen_correction: Option<FreeParameters>,
    routing: Routing,
    num_experts: u64,
    chosen: u64,
}

/// What a router returns.
pub(super) struct Routed {
    /// `[tokens, experts a token]`
    pub(super) weights: Tensor,
    /// `[tokens, experts a token]`
    pub(super) indices: Tensor,
    /// The caller has a name for them.
    _logits: Tensor,
}

impl Router {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, moe: &Moe) -> Self {
        let weight = [moe.num_experts, model.hidden_size];
        let bias = [moe.num_experts];
        let shapes: &[&[u64]] = if moe.router_bias { &[&weight, &bias] } else { &[&weight] };
        let in_fp32 = Builder { dtype: DType::F32, ..*builder };
        let frozen_correction = match moe.routing {
            Routing::CorrectedSoftmax => {
                Some(in_fp32.free("e_score_correction_bias", Part::Experts, &[&[1, moe.num_experts]]))
            }
            Routing::CorrectedSigmoid => Some(builder.free("expert_bias", Part::Experts, &[&bias])),
            _ => None,
        };
        let corrects = matches!(
            moe.routing,
            Routing::Sigmoid { .. }
                | Routing::UngroupedSigmoid
                | Routing::SigmoidInFp32
                | Routing::SigmoidInType { bias: true, .. }
        );
        let correction = corrects.then(|| builder.buffer("e_score_correction_bias", &bias, DType::F32));
        Self {
            parameters: match (moe.routing, model.model_type) {
                (Routing::LinearInFp32, _) => {
                    Weights::Linear(in_fp32.linear("wg", Part::Experts, model.hidden_size, moe.num_experts, false))
                }
                (Routing::CorrectedSoftmax, _) => Weights::Free(in_fp32.free("gate", Part::Experts, shapes)),
                (Routing::CorrectedSigmoid, _) => {
                    Weights::Linear(builder.linear("gate", Part::Experts, model.hidden_size, moe.num_experts, false))
                }
                (_, ModelType::Jamba) => {
                    Weights::Linear(builder.linear("router", Part::Experts, model.hidden_size, moe.num_experts, false))
                }
                _ => Weights::Free(builder.free("gate", Part::Experts, shapes)),
            },
            correction,
            frozen_correction,
            routing: moe.routing,
            num_experts: moe.num_experts,
            chosen: moe.num_experts_per_tok,
        }
    }

    pub(super) fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.correction.iter_mut().for_each(visit);
    }

    /// Routes `hidden`, `[tokens, width]`.
    pub(super) fn forward(&self, cx: &Context, hidden: &Tensor) -> Routed {
        let weight = match &self.parameters {
            Weights::Linear(linear) => return self.by_linear(cx, hidden, linear),
            Weights::Free(free) => free.tensors.first().expect("a router has a weight"),
        };
        match self.routing {
            Routing::Mixtral => {
                let logits = cx.linear(hidden, weight, None);
                let scores = cx.softmax(cx.cast(&logits, DType::F32), DType::F32);
                let (weights, indices) = cx.top_k(&scores, self.chosen);
                let weights = normalised_in_place(cx, weights);
                Routed { weights, indices, _logits: logits }
            }
            Routing::Softmax { normalised } => {
                let logits = cx.linear(hidden, weight, None);
                let scores = cx.softmax(&logits, DType::F32);
                let (mut weights, indices) = cx.top_k(&scores, self.chosen);
                if normalised {
                    weights = normalised_in_place(cx, weights);
                }
                weights = cx.cast(&weights, logits.dtype());
                Routed { weights, indices, _logits: logits }
            }
            Routing::TopKFirst => {
                let logits = cx.cast(cx.linear(hidden, weight, None), DType::F32);
                let (values, indices) = cx.top_k(&logits, self.chosen);
                let weights = cx.cast(cx.softmax(&values, DType::F32), hidden.dtype());
                Routed { weights, indices, _logits: logits }
            }
            Routing::TopKFirstInType => {
                let logits = cx.linear(hidden, weight, self.parameters.bias());
                let (values, indices) = cx.top_k(&logits, self.chosen);
                let weights = cx.softmax(&values, values.dtype());
                Routed { weights, indices, _logits: logits }
            }
            Routing::SoftmaxInFp32 { groups } => {
                let logits = in_fp32(cx, hidden, weight);
                let mut scores = cx.softmax(&logits, DType::F32);
                let mut _locals = None;
                if let Some(groups) = groups {
                    let largest = |cx: &Context, grouped: &Tensor| {
                        let layout = Layout::contiguous(grouped.layout().select(-1).dims());
                        let of_kind = |dtype| cx.launch(Kernel::Unary("max"), &[grouped], layout, dtype);
                        (of_kind(grouped.dtype()), of_kind(DType::I64))
                    };
                    let (mask, locals) =
                        self.group_mask(cx, &scores, cx.saves_for_backward_of(&scores), groups, largest);
                    scores = cx.masked_fill(&scores, &inverted(cx, &mask));
                    _locals = Some((mask, locals));
                }
                let (mut weights, indices) = cx.top_k(&scores, self.chosen);
                weights = cx.mul_scalar(&weights, 1.0);
                Routed { weights, indices, _logits: logits }
            }
            Routing::Sigmoid { groups, normalised } => {
                let logits = in_fp32(cx, hidden, weight);
                let scores = cx.sigmoid(&logits);
                // choosing has a graph of its own, which nothing goes back through
                let (_locals, indices) = cx.no_grad(|| {
                    let correction = self.correction.as_ref().expect("this routing has a correction");
                    let mut choice = cx.add(&scores, correction);
                    let saves = cx.saves_for_backward_of(&scores);
                    let (mask, locals) = self.group_mask(cx, &choice, saves, groups, |cx, grouped| {
                        let (largest, places) = cx.top_k(grouped, 2);
                        (cx.sum_dim(&largest, -1, false), places)
                    });
                    let excluded = inverted(cx, &mask);
                    choice = cx.masked_fill(&choice, &excluded);
                    let indices = cx.top_k(&choice, self.chosen).1;
                    // with gradients the mask is saved beside what it filled
                    let saved = saves.then_some(excluded);
                    ((mask, locals, choice, saved), indices)
                });
                let mut weights = cx.gather(&scores, &indices);
                let mut _denominator = None;
                if normalised {
                    let denominator = cx.add_scalar(cx.sum_dim(&weights, -1, true), 1e-20);
                    weights = cx.div_in_place(weights, &denominator);
                    _denominator = Some(denominator);
                }
                weights = cx.mul_scalar(&weights, 1.0);
                Routed { weights, indices, _logits: logits }
            }
            Routing::UngroupedSigmoid => {
                let logits = cx.linear(hidden, weight, None);
                let scores = cx.sigmoid(cx.cast(&logits, DType::F32));
                let (_locals, indices) = cx.no_grad(|| {
                    let choice = cx.add(&scores, self.correction.as_ref().expect("this routing has a correction"));
                    let (values, indices) = cx.top_k(&choice, self.chosen);
                    ((choice, values), indices)
                });
                let weights = normalised_in_place(cx, cx.gather(&scores, &indices));
                Routed { weights, indices, _logits: logits }
            }
            Routing::SigmoidInFp32 => {
                let logits = in_fp32(cx, hidden, weight);
                let scores = cx.sigmoid(&logits);
                let (_locals, indices) = cx.no_grad(|| {
                    let choice = cx.add(&scores, self.correction.as_ref().expect("this routing has a correction"));
                    let (values, indices) = cx.top_k(&choice, self.chosen);
                    ((choice, values), indices)
                });
                let mut weights = cx.gather(&scores, &indices);
                weights = {
                    let sum = cx.add_scalar(cx.sum_dim(&weights, -1, true), 1e-20);
                    cx.div(&weights, &sum)
                };
                weights = cx.mul_scalar(&weights, 1.0);
                Routed { weights, indices, _logits: logits }
            }
            Routing::SigmoidInType { normalised, .. } => {
                let logits = cx.linear(hidden, weight, None);
                let scores = cx.sigmoid(&logits);
                let (_locals, mut weights, indices) = match &self.correction {
                    Some(correction) => {
                        let (locals, indices) = cx.no_grad(|| {
                            let choice = cx.add(&scores, correction);
                            let (values, indices) = cx.top_k(&choice, self.chosen);
                            ((choice, values), indices)
                        });
                        let weights = cx.gather(&scores, &indices);
                        (Some(locals), weights, indices)
                    }
                    None => {
                        let (weights, indices) = cx.top_k(&scores, self.chosen);
                        (None, weights, indices)
                    }
                };
                drop(scores);
                if normalised {
                    let sum = cx.add_scalar(cx.sum_dim(&weights, -1, true), 1e-6);
                    weights = cx.div(&weights, &sum);
                }
                weights = cx.mul_scalar(&weights, 1.0);
                Routed { weights, indices, _logits: logits }
            }
            Routing::CorrectedSoftmax => {
                let (logits, weights, indices) = cx.with_autocast_off(|| {
                    let logits = in_fp32(cx, hidden, weight);
                    let mut weights = cx.softmax(&logits, DType::F32);
                    let (_values, indices) = self.corrected_choice(cx, &weights);
                    weights = cx.gather(&weights, &indices);
                    let divisor = cx.clamp(cx.sum_dim(&weights, -1, true), false);
                    (logits, cx.div(&weights, &divisor), indices)
                });
                Routed { weights: cx.cast(&weights, hidden.dtype()), indices, _logits: logits }
            }
            Routing::LinearInFp32 | Routing::CorrectedSigmoid => unreachable!("its scores are those of an nn.Linear"),
            Routing::Counted => unreachable!("what is only counted is not run"),
        }
    }

    /// `route_tokens_to_experts` of Jamba, `HunYuanMoEV1Gate`.
    fn by_linear(&self, cx: &Context, hidden: &Tensor, linear: &Linear) -> Routed {
        if self.routing == Routing::LinearInFp32 {
            let logits = linear.forward(cx, cx.cast(hidden, DType::F32));
            let scores = cx.softmax(&logits, DType::F32);
            let (mut weights, indices) = cx.top_k(&scores, self.chosen);
            drop(scores);
            weights = normalised_in_place(cx, weights);
            return Routed { weights: cx.cast(&weights, logits.dtype()), indices, _logits: logits };
        }
        let mut logits = linear.forward(cx, hidden);
        if self.routing == Routing::CorrectedSigmoid {
            logits = cx.cast(&logits, DType::F32);
            let scores = cx.sigmoid(&logits);
            let (_values, indices) = self.corrected_choice(cx, &scores);
            let mut weights = cx.gather(&scores, &indices);
            let denominator = cx.add_scalar(cx.sum_dim(&weights, -1, true), 1e-20);
            weights = cx.div(&weights, &denominator);
            weights = cx.mul_scalar(&weights, 1.0);
            return Routed { weights, indices, _logits: logits };
        }
        let scores = cx.softmax(&logits, DType::F32);
        let (weights, indices) = cx.top_k(&scores, self.chosen);
        Routed { weights: cx.cast(&weights, hidden.dtype()), indices, _logits: logits }
    }

    /// The largest of `scores` with a parameter added, and where they are: nothing goes back through the choice.
    fn corrected_choice(&self, cx: &Context, scores: &Tensor) -> (Tensor, Tensor) {
        let correction = self.frozen_correction.as_ref().and_then(|free| free.tensors.first());
        let correction = correction.expect("this routing has a correction");
        cx.no_grad(|| {
            let choice = cx.add(scores, cx.reshape(correction, &[self.num_experts]));
            cx.top_k(&choice, self.chosen)
        })
    }

    /// The experts of the chosen groups as ones, `[tokens, experts]`, and the names the router has beside it.
    fn group_mask(
        &self,
        cx: &Context,
        scores: &Tensor,
        saves: bool,
        groups: Groups,
        score: impl FnOnce(&Context, &Tensor) -> (Tensor, Tensor),
    ) -> (Tensor, Vec<Tensor>) {
        cx.no_grad(|| {
            let tokens = scores.dim(0);
            let each = self.num_experts / groups.n_group;
            let (of_groups, places) = score(cx, &cx.reshape(scores, &[tokens, groups.n_group, each]));
            // what scored the groups saves the places it read
            let places = saves.then_some(places);
            let (values, chosen) = cx.top_k(&of_groups, groups.topk_group);
            drop(values);
            let mask = cx.launch(Kernel::Zeros, &[], *of_groups.layout(), of_groups.dtype());
            let wide = cx.expand(cx.unsqueeze(&mask, 2), &[tokens, groups.n_group, each]);
            let experts = cx.reshape(wide, &[tokens, self.num_experts]);
            (experts, [of_groups, chosen, mask].into_iter().chain(places).collect())
        })
    }
}

/// `weights /= weights.sum(dim=-1, keepdim=True)`
fn normalised_in_place(cx: &Context, weights: Tensor) -> Tensor {
    let sum = cx.sum_dim(&weights, -1, true);
    cx.div_in_place(weights, &sum)
}

/// `F.linear(hidden.type(torch.float32), weight.type(torch.float32))`
fn in_fp32(cx: &Context, hidden: &Tensor, weight: &Tensor) -> Tensor {
    let hidden = cx.cast(hidden, DType::F32);
    cx.linear(hidden, &cx.cast(weight, DType::F32), None)
}

/// `~mask.bool()`
fn inverted(cx: &Context, mask: &Tensor) -> Tensor {
    let boolean = cx.cast(mask, DType::Bool);
    cx.untracked("logical_not", &boolean)
}

impl Weights {
    fn bias(&self) -> Option<&Tensor> {
        match self {
            Self::Free(free) => free.tensors.get(1),
            Self::Linear(_) => None,
        }
    }
}

impl Module for Router {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        match &mut self.parameters {
            Weights::Free(free) => free.leaves(visit),
            Weights::Linear(linear) => linear.leaves(visit),
        }
        self.frozen_correction.iter_mut().for_each(|free| free.leaves(visit));
    }
}
