//! Gated delta nets (`Qwen3NextGatedDeltaNet`, `Qwen3_5GatedDeltaNet`).

use super::convolve::{convolved, is_step};
use super::delta_rule::DeltaRule;
use super::scan::without_padding;
use crate::arch::cache::KvCache;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{GatedDelta, Norm};
use crate::nn::{Builder, Conv1d, FreeParameters, Leaf, Linear, Module, NormLayer, Part};

/// What makes queries, keys, values, gates, learning rates and decays.
enum Projections {
    /// `in_proj_qkvz` and `in_proj_ba`
    Fused([Linear; 2]),
    /// `in_proj_qkv`, `in_proj_z`, `in_proj_b` and `in_proj_a`
    Separate([Linear; 4]),
}

/// `Qwen3NextGatedDeltaNet`
pub(in crate::arch) struct GatedDeltaNet {
    spec: GatedDelta,
    conv1d: Conv1d,
    projections: Projections,
    /// `dt_bias` and `A_log`
    free: FreeParameters,
    norm: NormLayer,
    out_proj: Linear,
}

/// What a projection of the hidden states gives.
struct Projected {
    /// Queries, keys and values beside each other, `[batch, channels, length]`.
    mixed: Tensor,
    /// The output's gate, `[batch, length, heads, value_head_dim]`.
    z: Tensor,
    /// `[batch, length, heads]`
    b: Tensor,
    /// `[batch, length, heads]`
    a: Tensor,
    /// Queries, keys and values, whose names the convolution's get.
    unmixed: Vec<Tensor>,
    /// What the caller has names for.
    _locals: Vec<Tensor>,
}

impl GatedDeltaNet {
    pub(super) fn new(builder: &Builder<'_>, width: u64, spec: &GatedDelta) -> Self {
        let linear = |name, from, to| builder.linear(name, Part::Mixer, from, to, false);
        let (channels, values, heads) = (spec.conv_channels(), spec.value_width(), spec.num_value_heads);
        let conv1d = Conv1d::new(builder, "conv1d", channels, spec.conv_kernel, false);
        let fused = spec.fused.then(|| {
            Projections::Fused([
                linear("in_proj_qkvz", width, channels + values),
                linear("in_proj_ba", width, 2 * heads),
            ])
        });
        let free = builder.free("A_log", Part::Mixer, &[&[heads], &[heads]]);
        let norm = builder.norm("norm", Norm::Rms, spec.value_head_dim);
        let out_proj = linear("out_proj", values, width);
        let projections = fused.unwrap_or_else(|| {
            Projections::Separate([
                linear("in_proj_qkv", width, channels),
                linear("in_proj_z", width, values),
                linear("in_proj_b", width, heads),
                linear("in_proj_a", width, heads),
            ])
        });
        Self { spec: spec.clone(), conv1d, projections, free, norm, out_proj }
    }

    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        padding: Option<&Tensor>,
        cache: Option<(&KvCache, usize)>,
    ) -> Tensor {
        let spec = &self.spec;
        let (batch, length) = (hidden.dim(0), hidden.dim(1));
        let [dt_bias, a_log] = [&self.free.tensors[0], &self.free.tensors[1]];
        let masked = without_padding(cx, hidden, padding);
        let steps = is_step(cache, length);
        let Projected { mut mixed, mut z, b, a, unmixed, _locals } = self.project(cx, &masked);
        mixed = convolved(cx, &self.conv1d, &mixed, cache, true);
        mixed = cx.transpose(&mixed, 1, 2);
        let parts = cx.split(&mixed, &[spec.key_width(), spec.key_width(), spec.value_width()], -1);
        let Ok([mut query, mut key, mut value]) = <[Tensor; 3]>::try_from(parts) else { unreachable!("three parts") };
        drop(unmixed);
        let heads = |x: &Tensor, width: u64| cx.reshape(x, &[batch, length, x.dim(-1) / width, width]);
        query = heads(&query, spec.key_head_dim);
        key = heads(&key, spec.key_head_dim);
        value = heads(&value, spec.value_head_dim);
        let beta = cx.sigmoid(&b);
        let decay = {
            let rate = cx.neg(cx.exp(cx.cast(a_log, DType::F32)));
            let step = cx.softplus(cx.add(cx.cast(&a, DType::F32), dt_bias));
            cx.mul(&rate, &step)
        };
        let groups = spec.num_value_heads / spec.num_key_heads;
        if groups > 1 {
            query = cx.repeat_interleave(&query, 2, groups);
            key = cx.repeat_interleave(&key, 2, groups);
        }
        let rule = DeltaRule { query: &query, key: &key, value: &value, decay: &decay, beta: &beta };
        let (mut out, mut _last_state) = match cache {
            Some((cache, layer)) if steps => rule.step(cx, cache.recurrent_state(layer)),
            _ => rule.chunks(cx, cache.is_some()),
        };
        if let (Some((cache, layer)), Some(state)) = (cache, &mut _last_state) {
            cache.update_recurrent_state(cx, layer, &state.state);
            cache.keep_graph(state.graph.take());
        }
        out = cx.reshape(&out, &[batch * length * spec.num_value_heads, spec.value_head_dim]);
        z = cx.reshape(&z, &[batch * length * spec.num_value_heads, spec.value_head_dim]);
        out = self.gated(cx, &out, &z);
        out = cx.reshape(&out, &[batch, length, spec.value_width()]);
        self.out_proj.forward(cx, &out)
    }

    fn project(&self, cx: &Context, hidden: &Tensor) -> Projected {
        let spec = &self.spec;
        let (batch, length) = (hidden.dim(0), hidden.dim(1));
        let value_heads = [batch, length, spec.num_value_heads, spec.value_head_dim];
        match &self.projections {
            Projections::Fused([qkvz, ba]) => {
                let (qkvz, ba) = (qkvz.forward(cx, hidden), ba.forward(cx, hidden));
                let groups = spec.num_value_heads / spec.num_key_heads;
                let (each_key, each_value) = (spec.key_head_dim, groups * spec.value_head_dim);
                let by_group = |x: &Tensor, sizes: &[u64]| {
                    let view = cx.reshape(x, &[batch, length, spec.num_key_heads, sizes.iter().sum()]);
                    cx.split(&view, sizes, 3)
                };
                let [query, key, value, z] = by_group(&qkvz, &[each_key, each_key, each_value, each_value])
                    .try_into()
                    .expect("one tensor for each size");
                let [b, a]: [Tensor; 2] = by_group(&ba, &[groups, groups]).try_into().expect("one for each size");
                let value = cx.reshape(&value, &value_heads);
                let z = cx.reshape(&z, &value_heads);
                let [b, a] = [b, a].map(|x| cx.reshape(&x, &[batch, length, spec.num_value_heads]));
                let flat = |x: &Tensor| cx.reshape(x, &[batch, length, x.layout().numel() / (batch * length)]);
                let (query, key, value) = (flat(&query), flat(&key), flat(&value));
                let mixed = cx.transpose(cx.cat(&[&query, &key, &value], -1), 1, 2);
                Projected { mixed, z, b, a, unmixed: vec![query, key, value], _locals: vec![qkvz, ba] }
            }
            Projections::Separate([qkv, z, b, a]) => Projected {
                mixed: cx.transpose(qkv.forward(cx, hidden), 1, 2),
                z: cx.reshape(z.forward(cx, hidden), &value_heads),
                b: b.forward(cx, hidden),
                a: a.forward(cx, hidden),
                unmixed: Vec::new(),
                _locals: Vec::new(),
            },
        }
    }

    /// `Qwen3NextRMSNormGated`
    fn gated(&self, cx: &Context, x: &Tensor, gate: &Tensor) -> Tensor {
        let input_dtype = x.dtype();
        let weight = self.norm.weight.as_ref().expect("this norm is learned");
        let mut x = cx.cast(x, DType::F32);
        let variance = cx.mean_last(cx.pow(&x, 2));
        x = cx.mul(&x, cx.rsqrt(cx.add_scalar(&variance, 1e-6)));
        x = cx.mul(weight, cx.cast(&x, input_dtype));
        x = cx.mul(&x, cx.silu(cx.cast(gate, DType::F32)));
        cx.cast(&x, input_dtype)
    }
}

impl Module for GatedDeltaNet {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.free.leaves(visit);
        self.conv1d.leaves(visit);
        if let Projections::Fused(all) = &mut self.projections {
            all.iter_mut().for_each(|linear| linear.leaves(visit));
        }
        self.norm.leaves(visit);
        self.out_proj.leaves(visit);
        if let Projections::Separate(all) = &mut self.projections {
            all.iter_mut().for_each(|linear| linear.leaves(visit));
        }
    }
}
