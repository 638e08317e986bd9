//! Layers whose parameters are known and whose steps are not: RWKV, and the recurrent layers of OLMo Hybrid and
//! RecurrentGemma.

use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer;
use crate::arch::mlp::FeedForward;
use crate::ghost::{Context, Tensor};
use crate::model::{Counted, DecoderConfig};
use crate::nn::{Builder, FreeParameters, Leaf, Linear, Module, NormLayer, Part};

/// A layer that holds parameters.
pub(super) struct Layer {
    norms: Vec<NormLayer>,
    own: FreeParameters,
    linears: Vec<Linear>,
    mlp: Option<FeedForward>,
}

impl Layer {
    /// Layer `index` of `model`.
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, counted: &Counted, index: usize) -> Self {
        let width = model.hidden_size;
        let norm = |name| builder.norm(name, model.norm, width);
        let linear = |name, part, from, to, bias| builder.linear(name, part, from, to, bias);
        let mixer = |name, from, to, bias| linear(name, Part::Mixer, from, to, bias);
        let mlp = || Some(FeedForward::new(builder, model));
        match *counted {
            Counted::Rwkv { attention_hidden_size: attention } => {
                let inner = model.mlp.intermediate_size;
                let mut norms = vec![norm("ln1"), norm("ln2")];
                if index == 0 {
                    norms.insert(0, norm("pre_ln"));
                }
                let mix: &[u64] = &[1, 1, width];
                let shapes: [&[u64]; 7] = [&[attention], &[attention], mix, mix, mix, mix, mix];
                Self {
                    norms,
                    own: builder.free("time_decay", Part::Mixer, &shapes),
                    linears: vec![
                        mixer("key", width, attention, false),
                        mixer("value", width, attention, false),
                        mixer("receptance", width, attention, false),
                        mixer("output", attention, width, false),
                        linear("key", Part::Mlp, width, inner, false),
                        linear("receptance", Part::Mlp, width, width, false),
                        linear("value", Part::Mlp, inner, width, false),
                    ],
                    mlp: None,
                }
            }
            Counted::DeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, conv_kernel } => {
                let (keys, values) = (key_heads * key_head_dim, value_heads * value_head_dim);
                let convolution: &[u64] = &[2 * keys + values, 1, conv_kernel];
                let shapes: [&[u64]; 4] = [&[value_heads], &[value_heads], convolution, &[value_head_dim]];
                Self {
                    norms: vec![norm("input_layernorm"), norm("post_attention_layernorm")],
                    own: builder.free("A_log", Part::Mixer, &shapes),
                    linears: vec![
                        mixer("q_proj", width, keys, false),
                        mixer("k_proj", width, keys, false),
                        mixer("v_proj", width, values, false),
                        mixer("a_proj", width, value_heads, false),
                        mixer("b_proj", width, value_heads, false),
                        mixer("g_proj", width, values, false),
                        mixer("o_proj", values, width, false),
                    ],
                    mlp: mlp(),
                }
            }
            Counted::RgLru { lru_width: lru, conv_kernel } => {
                let heads = model.attention.num_heads;
                let block = lru / heads.max(1);
                let (gate, gate_bias): (&[u64], &[u64]) = (&[heads, block, block], &[heads, block]);
                let shapes: [&[u64]; 7] = [&[lru, 1, conv_kernel], &[lru], &[lru], gate, gate_bias, gate, gate_bias];
                Self {
                    norms: vec![norm("temporal_pre_norm"), norm("channel_pre_norm")],
                    own: builder.free("recurrent_param", Part::Mixer, &shapes),
                    linears: vec![
                        mixer("linear_y", width, lru, true),
                        mixer("linear_x", width, lru, true),
                        mixer("linear_out", lru, width, true),
                    ],
                    mlp: mlp(),
                }
            }
        }
    }
}

impl layer::Layer for Layer {
    fn forward(&self, _cx: &Context, _hidden: &Tensor, _: &Attend, _: Option<(&KvCache, usize)>) -> Attended {
        unreachable!("a job of a model that is only counted is refused before it is run")
    }
}

impl Module for Layer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.norms.iter_mut().for_each(|norm| norm.leaves(visit));
        self.own.leaves(visit);
        self.linears.iter_mut().for_each(|linear| linear.leaves(visit));
        self.mlp.leaves(visit);
    }
}
