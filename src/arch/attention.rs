//! Self-attention of decoders.

mod llama4;

use super::cache::KvCache;
use super::flash::flash_attention;
use super::names::Names;
use super::sinks;
use crate::dtype::DType;
use crate::ghost::{AttentionOptions, Context, Tensor};
use crate::job::AttnImplementation;
use crate::model::{Attention, DecoderConfig, LayerType, ModelType, Norm, Projections, QkNorm};
use crate::nn::{Builder, FreeParameters, Kernels, Leaf, Linear, Module, NormLayer, Part, RotaryStyle, apply_rotary};

/// What attention returns, and its probabilities where they are whole tensors: a layer has a name for them until it returns.
pub type Attended = (Tensor, Option<Tensor>);

/// What a forward pass gives every layer, most of it for attention.
#[derive(Clone, Default)]
pub struct Attend {
    /// `attn_implementation`
    pub implementation: AttnImplementation,
    /// Experts are run by `batched_mm`, not `grouped_mm`.
    pub batched_experts: bool,
    /// For layers that attend to everything.
    pub full: Span,
    /// For layers that attend to a sliding window.
    pub sliding: Span,
    /// ALiBi, `[batch * heads, 1, keys]`.
    pub alibi: Option<Tensor>,
    /// The padding mask, `[batch, length]`, for what mixes tokens without attention.
    pub padding: Option<Tensor>,
    /// Position ids: layers are handed them, so that checkpointed ones keep them.
    pub positions: Option<Tensor>,
}

/// What depends on how far a layer attends.
#[derive(Clone, Default)]
pub struct Span {
    /// Rotary cosines and sines.
    pub rotary: Option<(Tensor, Tensor)>,
    /// The attention mask, where one is made.
    pub mask: Option<Tensor>,
}

impl Attend {
    /// What a layer of this kind alone is given: a checkpointed layer keeps its arguments and no others.
    #[must_use]
    pub fn only(&self, layer_type: LayerType) -> Self {
        let mut own = self.clone();
        match layer_type {
            LayerType::SlidingAttention => own.full = Span::default(),
            LayerType::LinearAttention | LayerType::FeedForward => {
                own.sliding = Span::default();
                own.full.mask = None;
            }
            _ => own.sliding = Span::default(),
        }
        own
    }

    /// What a layer of this kind is given.
    pub fn span(&self, layer_type: LayerType) -> &Span {
        match layer_type {
            LayerType::SlidingAttention => &self.sliding,
            _ => &self.full,
        }
    }
}

enum Qkv {
    Separate([Linear; 3]),
    Fused(Linear),
}

/// Norms of queries and of keys.
enum QkNorms {
    None,
    /// One norm each, of the whole projection or of a head.
    One([NormLayer; 2]),
    /// A norm for every head.
    EachHead([Vec<NormLayer>; 2]),
}

/// Query, key and value, and the tensor they are views of where they were made together.
struct Projected {
    query: Tensor,
    key: Tensor,
    value: Tensor,
    fused: Option<Tensor>,
    /// What the output is multiplied by, before a sigmoid.
    gate: Option<Tensor>,
}

/// The attention block of a decoder layer.
pub struct SelfAttention {
    spec: Attention,
    layer_type: LayerType,
    rotary_style: RotaryStyle,
    /// Whether it has rotary embedding.
    turns: bool,
    /// Qwen3 normalises heads before they are transposed, the others after.
    norm_before_transpose: bool,
    /// Falcon-H1 multiplies its keys.
    key_multiplier: bool,
    /// StableLM and OLMo split nothing into heads before all three projections are there.
    projects_first: bool,
    /// Cohere and GLM-4-MoE transpose when all three are there, and normed.
    transposes_last: bool,
    qkv: Qkv,
    output: Linear,
    output_norm: Option<NormLayer>,
    gate: Option<Linear>,
    qk_norms: QkNorms,
    /// A logit a head; a module's own parameters come before its children's.
    sinks: Option<FreeParameters>,
    /// Granite SWA's sinks scale what comes out.
    scaled_by_sinks: bool,
}

impl SelfAttention {
    /// The block of layer `index` of `model`.
    pub fn new(builder: &Builder<'_>, model: &DecoderConfig, index: usize) -> Self {
        let spec = model.attention.clone();
        let names = Names::of(model.model_type);
        let width = model.hidden_size;
        let (q_width, kv_width) = (spec.num_heads * spec.head_dim, spec.num_kv_heads * spec.head_dim);
        let linear = |name, from, to, bias| builder.linear(name, Part::Attention, from, to, bias);
        let make_output = || linear(names.output, q_width, width, spec.output_bias);
        // Phi-3 makes its output projection first
        let first = (model.model_type == ModelType::Phi3).then(make_output);
        let qkv = match spec.projections {
            Projections::Separate => Qkv::Separate([
                linear(names.qkv[0], width, q_width * (1 + u64::from(spec.output_gate)), spec.qkv_bias),
                linear(names.qkv[1], width, kv_width, spec.qkv_bias),
                linear(names.qkv[2], width, kv_width, spec.qkv_bias),
            ]),
            Projections::Fused | Projections::FusedGroups => {
                Qkv::Fused(linear(names.qkv[0], width, q_width + 2 * kv_width, spec.qkv_bias))
            }
        };
        let output = first.unwrap_or_else(make_output);
        let one = |kind, q, k| QkNorms::One([builder.norm("q_norm", kind, q), builder.norm("k_norm", kind, k)]);
        let qk_norms = match spec.qk_norm {
            QkNorm::None => QkNorms::None,
            QkNorm::PerHead | QkNorm::PerHeadAfterRotary => one(model.norm, spec.head_dim, spec.head_dim),
            QkNorm::FullWidth => one(model.norm, q_width, kv_width),
            QkNorm::EachHeadOwnWeight => QkNorms::One([
                builder.norm_shaped("q_norm", model.norm, &[spec.num_heads, spec.head_dim]),
                builder.norm_shaped("k_norm", model.norm, &[spec.num_kv_heads, spec.head_dim]),
            ]),
            QkNorm::LayerNormShared => one(Norm::Layer { bias: true }, spec.head_dim, spec.head_dim),
            QkNorm::LayerNormEachHead => QkNorms::EachHead([spec.num_heads, spec.num_kv_heads].map(|heads| {
                (0..heads).map(|_| builder.norm("norms", Norm::Layer { bias: false }, spec.head_dim)).collect()
            })),
        };
        let rotary_style = match model.model_type {
            ModelType::Phi3 => RotaryStyle::Joined,
            ModelType::Phi | ModelType::Stablelm => RotaryStyle::Sliced,
            ModelType::Bamba | ModelType::Glm4Moe | ModelType::MinimaxM2 => RotaryStyle::Rejoined,
            _ if spec.output_gate => RotaryStyle::Rejoined,
            ModelType::GptOss => RotaryStyle::Halves,
            ModelType::Olmo | ModelType::Olmo2 | ModelType::Olmo3 | ModelType::FlexOlmo => RotaryStyle::InFp32,
            ModelType::Helium => RotaryStyle::Interleaved,
            ModelType::Glm | ModelType::Glm4 => RotaryStyle::InterleavedFirst,
            ModelType::Nemotron => RotaryStyle::Renamed,
            ModelType::Ernie4_5 | ModelType::Ernie45Moe => RotaryStyle::InterleavedInFp32,
            ModelType::Cohere | ModelType::Cohere2 => RotaryStyle::CastToFp32,
            _ if builder.kernels == Kernels::Liger => RotaryStyle::Fused,
            _ => RotaryStyle::Whole,
        };
        let layer_type = model.layer_types.get(index).copied().unwrap_or(LayerType::FullAttention);
        let projects_first = matches!(model.model_type, ModelType::Stablelm | ModelType::Olmo);
        let transposes_last = matches!(model.model_type, ModelType::Cohere | ModelType::Glm4Moe | ModelType::Afmoe);
        let norm_before_transpose = matches!(
            model.model_type,
            ModelType::Qwen3 | ModelType::Qwen3Moe | ModelType::Dots1 | ModelType::Lfm2 | ModelType::Lfm2Moe
        );
        let key_multiplier = model.model_type == ModelType::FalconH1;
        let sinks = spec.sinks.then(|| builder.free("sinks", Part::Attention, &[&[spec.num_heads]]));
        let turns = !model.nope_layers.get(index).copied().unwrap_or(false);
        let output_norm = spec.output_norm.then(|| builder.norm("attn_sub_norm", model.norm, q_width));
        let gate = spec.gate_projection.then(|| linear("gate_proj", width, q_width, false));
        Self {
            gate,
            scaled_by_sinks: model.model_type == ModelType::GraniteSwa,
            sinks,
            key_multiplier,
            spec,
            layer_type,
            rotary_style,
            turns,
            norm_before_transpose,
            projects_first,
            transposes_last,
            qkv,
            output,
            output_norm,
            qk_norms,
        }
    }

    /// Applies it to `x`, `[batch, length, hidden_size]`; with the probabilities where they are whole tensors.
    pub fn forward(&self, cx: &Context, x: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let (batch, length) = (x.dim(0), x.dim(1));
        let span = attend.span(self.layer_type);
        // names are bound again rather than shadowed, so that what they stood for goes when it does in Python
        let Projected { mut query, mut key, mut value, fused: _fused, gate } = self.project(cx, x);
        let mut _locals = Vec::new();
        if let (Some((cos, sin)), true) = (&span.rotary, self.turns) {
            let turned = apply_rotary(cx, self.rotary_style, &query, &key, cos, sin);
            (query, key, _locals) = (turned.query, turned.key, turned.locals);
        }
        if let (QkNorm::PerHeadAfterRotary, QkNorms::One([q_norm, k_norm])) = (self.spec.qk_norm, &self.qk_norms) {
            query = q_norm.forward(cx, &query);
            key = k_norm.forward(cx, &key);
        }
        if let (true, Some(positions)) = (self.spec.scales_queries, &attend.positions) {
            query = cx.mul(&query, position_scale(cx, positions, query.dtype()));
        }
        if let Some((cache, layer)) = cache {
            (key, value) = cache.update(cx, layer, key, value);
        }
        let mask = span.mask.as_ref();
        let (out, weights) = match attend.implementation {
            AttnImplementation::Eager => self.eager(cx, &query, &key, &value, mask),
            AttnImplementation::FlashAttention2 => {
                let heads = [&query, &key, &value];
                (flash_attention(cx, heads, mask, self.spec.dropout, self.output.half_dtype()), None)
            }
            _ => (self.sdpa(cx, &query, &key, &value, mask), None),
        };
        let mut out = cx.reshape(out, &[batch, length, self.spec.num_heads * self.spec.head_dim]);
        if let Some(norm) = &self.output_norm {
            out = norm.forward(cx, &out);
        }
        if let Some(gate) = &gate {
            out = cx.mul(&out, cx.sigmoid(gate));
        }
        (self.output.forward(cx, out), weights)
    }

    /// Query, key and value as `[batch, heads, length, head_dim]`.
    fn project(&self, cx: &Context, x: &Tensor) -> Projected {
        let (batch, length) = (x.dim(0), x.dim(1));
        let Attention { num_heads, num_kv_heads, head_dim, .. } = self.spec;
        let view = |flat: Tensor, heads: u64| cx.reshape(flat, &[batch, length, heads, head_dim]);
        let heads = |flat: Tensor, heads: u64| cx.transpose(view(flat, heads), 1, 2);
        let (mut fused, mut gate) = (None, None);
        let (query, key, value) = match (&self.qkv, &self.qk_norms) {
            (Qkv::Separate([q, k, v]), QkNorms::One([q_norm, k_norm])) if self.spec.qk_norm == QkNorm::FullWidth => {
                let query = q_norm.forward(cx, q.forward(cx, x));
                let key = k_norm.forward(cx, k.forward(cx, x));
                let value = v.forward(cx, x);
                (heads(query, num_heads), heads(key, num_kv_heads), heads(value, num_kv_heads))
            }
            (Qkv::Separate([q, k, v]), QkNorms::One([q_norm, k_norm])) if self.spec.output_gate => {
                let both = cx.reshape(q.forward(cx, x), &[batch, length, num_heads, 2 * head_dim]);
                let [mut query, own_gate] = cx.split_in(both, -1);
                gate = Some(cx.reshape(&own_gate, &[batch, length, num_heads * head_dim]));
                drop(own_gate);
                query = cx.transpose(q_norm.forward(cx, &query), 1, 2);
                let key = cx.transpose(k_norm.forward(cx, view(k.forward(cx, x), num_kv_heads)), 1, 2);
                (query, key, heads(v.forward(cx, x), num_kv_heads))
            }
            (Qkv::Separate([q, k, v]), norms) if self.transposes_last => {
                let mut query = view(q.forward(cx, x), num_heads);
                let mut key = view(k.forward(cx, x), num_kv_heads);
                let value = view(v.forward(cx, x), num_kv_heads);
                gate = self.gate.as_ref().map(|gate| gate.forward(cx, x));
                if let QkNorms::One([q_norm, k_norm]) = norms {
                    query = q_norm.forward(cx, &query);
                    key = k_norm.forward(cx, &key);
                }
                (cx.transpose(query, 1, 2), cx.transpose(key, 1, 2), cx.transpose(value, 1, 2))
            }
            (Qkv::Separate([q, k, v]), QkNorms::One([q_norm, k_norm])) if self.norm_before_transpose => {
                let query = cx.transpose(q_norm.forward(cx, view(q.forward(cx, x), num_heads)), 1, 2);
                let key = cx.transpose(k_norm.forward(cx, view(k.forward(cx, x), num_kv_heads)), 1, 2);
                (query, key, heads(v.forward(cx, x), num_kv_heads))
            }
            (Qkv::Separate([q, k, v]), norms) => {
                let (mut query, mut key, value);
                if self.projects_first {
                    let flat = [q, k, v].map(|linear| linear.forward(cx, x));
                    let [flat_query, flat_key, flat_value] = flat;
                    query = heads(flat_query, num_heads);
                    key = heads(flat_key, num_kv_heads);
                    value = heads(flat_value, num_kv_heads);
                } else {
                    query = heads(q.forward(cx, x), num_heads);
                    key = heads(k.forward(cx, x), num_kv_heads);
                    if self.key_multiplier {
                        key = cx.mul_scalar(&key, 1.0);
                    }
                    value = heads(v.forward(cx, x), num_kv_heads);
                }
                match norms {
                    QkNorms::None => {}
                    QkNorms::One(_) if self.spec.qk_norm == QkNorm::PerHeadAfterRotary => {}
                    QkNorms::One([q_norm, k_norm]) => {
                        query = q_norm.forward(cx, &query);
                        key = k_norm.forward(cx, &key);
                    }
                    QkNorms::EachHead([q_norms, k_norms]) => {
                        query = norm_each_head(cx, q_norms, &query);
                        key = norm_each_head(cx, k_norms, &key);
                    }
                }
                (query, key, value)
            }
            (Qkv::Fused(qkv), _) => {
                let all = qkv.forward(cx, x);
                let (q, kv) = (num_heads * head_dim, num_kv_heads * head_dim);
                let query = cx.narrow(&all, -1, 0, q);
                let key = cx.narrow(&all, -1, q, kv);
                let value = cx.narrow(&all, -1, q + kv, kv);
                fused = Some(all);
                (heads(query, num_heads), heads(key, num_kv_heads), heads(value, num_kv_heads))
            }
        };
        Projected { query, key, value, fused, gate }
    }

    /// `sdpa_attention_forward`
    fn sdpa(&self, cx: &Context, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Tensor {
        let groups = self.spec.num_heads / self.spec.num_kv_heads;
        let grouped = groups > 1 && mask.is_none() && key.dim(-1) <= 256;
        let options = AttentionOptions {
            causal: mask.is_none() && query.dim(2) > 1,
            grouped,
            dropout: cx.training() && self.spec.dropout > 0.0,
        };
        let out = if groups > 1 && !grouped {
            let (key, value) = (repeat_kv(cx, key, groups), repeat_kv(cx, value, groups));
            cx.attention(query, &key, &value, mask, options)
        } else {
            cx.attention(query, key, value, mask, options)
        };
        cx.contiguous(cx.transpose(out, 1, 2))
    }

    /// `eager_attention_forward`
    fn eager(&self, cx: &Context, query: &Tensor, key: &Tensor, value: &Tensor, mask: Option<&Tensor>) -> Attended {
        let groups = self.spec.num_heads / self.spec.num_kv_heads;
        let key = repeat_kv(cx, key, groups);
        let value = repeat_kv(cx, value, groups);
        let mut weights = cx.mul_scalar(cx.matmul(query, cx.transpose(&key, 2, 3)), score_scale(query));
        if self.spec.logit_softcap {
            weights = cx.mul_scalar(&weights, 1.0);
            weights = cx.tanh(&weights);
            weights = cx.mul_scalar(&weights, 1.0);
        }
        if let Some(mask) = mask {
            weights = cx.add(&weights, mask);
        }
        if let Some(logits) = self.sinks.as_ref().and_then(|sinks| sinks.tensors.first()) {
            return match self.scaled_by_sinks {
                true => sinks::scaled_by_sinks(cx, weights, logits, &value, self.spec.dropout),
                false => sinks::beside_sinks(cx, weights, logits, &value, self.spec.dropout),
            };
        }
        weights = cx.cast(cx.softmax(&weights, DType::F32), query.dtype());
        weights = cx.dropout(&weights, self.spec.dropout);
        let mut out = cx.matmul(&weights, &value);
        out = cx.contiguous(cx.transpose(&out, 1, 2));
        (out, Some(weights))
    }
}

/// `head_dim ** -0.5`
#[expect(clippy::cast_precision_loss, reason = "a head's width")]
fn score_scale(query: &Tensor) -> f64 {
    (query.dim(-1) as f64).sqrt().recip()
}

/// `get_llama_4_attn_scale(...).to(dtype)`, `[1, 1, length, 1]`.
fn position_scale(cx: &Context, positions: &Tensor, dtype: DType) -> Tensor {
    let steps = cx.untracked("floor", cx.cast(positions, DType::F32));
    let log = cx.untracked("log", cx.add_scalar(&steps, 1.0));
    drop(steps);
    let scale = cx.add_scalar(cx.mul_scalar(&log, 1.0), 1.0);
    drop(log);
    cx.cast(cx.unsqueeze(cx.unsqueeze(scale, 1), 3), dtype)
}

/// Repeats key or value heads for grouped queries: a view, then a copy.
pub(in crate::arch) fn repeat_kv(cx: &Context, x: &Tensor, groups: u64) -> Tensor {
    if groups == 1 {
        return x.clone();
    }
    let [batch, heads, length, width] = [x.dim(0), x.dim(1), x.dim(2), x.dim(3)];
    let expanded = cx.expand(cx.unsqueeze(x, 2), &[batch, heads, groups, length, width]);
    cx.reshape(expanded, &[batch, heads * groups, length, width])
}

/// `StableLmLayerNormPerHead`
fn norm_each_head(cx: &Context, norms: &[NormLayer], x: &Tensor) -> Tensor {
    let sizes = vec![1; norms.len()];
    let heads = cx.split(x, &sizes, 1);
    let normed: Vec<Tensor> = norms.iter().zip(&heads).map(|(norm, head)| norm.forward(cx, head)).collect();
    let normed: Vec<&Tensor> = normed.iter().collect();
    cx.cat(&normed, 1)
}

impl Module for SelfAttention {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.sinks.leaves(visit);
        match &mut self.qkv {
            Qkv::Separate(all) => {
                all.iter_mut().for_each(|linear| linear.leaves(visit));
                self.output.leaves(visit);
            }
            Qkv::Fused(linear) => {
                self.output.leaves(visit);
                linear.leaves(visit);
            }
        }
        match &mut self.qk_norms {
            QkNorms::None => {}
            QkNorms::One(norms) => norms.iter_mut().for_each(|norm| norm.leaves(visit)),
            QkNorms::EachHead(norms) => norms.iter_mut().flatten().for_each(|norm| norm.leaves(visit)),
        }
        self.output_norm.leaves(visit);
        self.gate.leaves(visit);
    }
}
