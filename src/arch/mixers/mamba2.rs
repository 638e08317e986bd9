//! Mamba 2's mixer (`Mamba2Mixer`, `BambaMixer`, `GraniteMoeHybridMambaLayer`, `NemotronHMamba2Mixer`).

use super::convolve::{convolved, is_step};
use super::scan::without_padding;
use super::ssd::{ChunkScan, Step};
use crate::arch::cache::KvCache;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, Mamba2, ModelType, Norm};
use crate::nn::{Builder, Conv1d, FreeParameters, Leaf, Linear, Module, NormLayer, Part};

/// `Mamba2Mixer`
pub(in crate::arch) struct Mamba2Mixer {
    spec: Mamba2,
    conv1d: Conv1d,
    in_proj: Linear,
    /// `dt_bias`, `A_log` and `D`
    free: FreeParameters,
    norm: Option<NormLayer>,
    out_proj: Linear,
    /// The norm is over so many groups of channels (Nemotron-H).
    norm_groups: u64,
    /// Falcon-H1's multipliers of `in_proj`'s output, a buffer.
    mup_vector: Option<Tensor>,
}

impl Mamba2Mixer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, spec: &Mamba2) -> Self {
        let (width, inner, heads) = (model.hidden_size, spec.inner_size, spec.num_heads);
        let linear = |name, from, to| builder.linear(name, Part::Mixer, from, to, spec.proj_bias);
        let channels = spec.conv_channels();
        Self {
            conv1d: Conv1d::new(builder, "conv1d", channels, spec.conv_kernel, spec.conv_bias),
            in_proj: linear("in_proj", width, inner + channels + heads),
            free: builder.free("A_log", Part::Mixer, &[&[heads], &[heads], &[heads]]),
            norm: spec.gated_norm.then(|| builder.norm("norm", Norm::Rms, inner)),
            out_proj: linear("out_proj", inner, width),
            norm_groups: if model.model_type == ModelType::NemotronH { spec.num_groups } else { 1 },
            mup_vector: (model.model_type == ModelType::FalconH1)
                .then(|| builder.buffer("mup_vector", &[1, 1, inner + channels + heads], builder.dtype)),
            spec: spec.clone(),
        }
    }

    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        padding: Option<&Tensor>,
        cache: Option<(&KvCache, usize)>,
    ) -> Tensor {
        let spec = &self.spec;
        let (inner, heads, groups, state_size) = (spec.inner_size, spec.num_heads, spec.num_groups, spec.state_size);
        let head_dim = inner / heads;
        let (batch, length, dtype) = (hidden.dim(0), hidden.dim(1), hidden.dtype());
        let [dt_bias, a_log, d] = [&self.free.tensors[0], &self.free.tensors[1], &self.free.tensors[2]];
        let mut masked = without_padding(cx, hidden, padding);
        if self.mup_vector.is_some() {
            masked = cx.mul_scalar(&masked, 1.0);
        }
        let mut projected = self.in_proj.forward(cx, &masked);
        if let Some(vector) = &self.mup_vector {
            projected = cx.mul(&projected, vector);
        }
        let a = cx.neg(cx.exp(cx.cast(a_log, DType::F32)));
        let parts = cx.split(&projected, &[inner, spec.conv_channels(), heads], -1);
        let Ok([gate, mut states, dt]) = <[Tensor; 3]>::try_from(parts) else { unreachable!("three parts") };
        let steps = is_step(cache, length);
        states = cx.transpose(&states, 1, 2);
        states = convolved(cx, &self.conv1d, &states, cache, true);
        states = without_padding(cx, &cx.transpose(&states, 1, 2), padding);
        let parts = cx.split(&states, &[inner, groups * state_size, groups * state_size], -1);
        let Ok([x, b, c]) = <[Tensor; 3]>::try_from(parts) else { unreachable!("three parts") };
        // `hidden_states` is now the split
        drop(masked);
        let (mut _last_state, mut _scan_result) = (None, None);
        let mut out = match cache {
            Some((cache, layer)) if steps => {
                let wide = |t: &Tensor| cx.expand(cx.unsqueeze(t, 1), &[heads, head_dim]);
                let a = cx.expand(cx.unsqueeze(cx.unsqueeze(&a, 1), 2), &[heads, head_dim, state_size]);
                let out = Step {
                    state: &cache.recurrent_state(layer),
                    x: &cx.reshape(&x, &[batch, heads, head_dim]),
                    dt: &cx.expand(cx.transpose(&dt, 1, 2), &[batch, heads, head_dim]),
                    a: &a,
                    b: &cx.reshape(&b, &[batch, groups, state_size]),
                    c: &cx.reshape(&c, &[batch, groups, state_size]),
                    d: &wide(d),
                    dt_bias: &wide(dt_bias),
                    z: self.norm.is_none().then(|| cx.reshape(&gate, &[batch, heads, head_dim])),
                };
                cx.reshape(out.run(cx), &[batch, 1, inner])
            }
            _ => {
                let scan = ChunkScan {
                    x: cx.reshape(&x, &[batch, length, heads, head_dim]),
                    dt: &dt,
                    a: &a,
                    b: cx.reshape(&b, &[batch, length, groups, state_size]),
                    c: cx.reshape(&c, &[batch, length, groups, state_size]),
                    d,
                    dt_bias,
                    chunk_size: spec.chunk_size,
                };
                let (out, last) = scan.run(cx);
                if let Some((cache, layer)) = cache {
                    cache.update_recurrent_state(cx, layer, &last);
                    _last_state = Some(last);
                }
                _scan_result = Some(out.clone());
                cx.reshape(&out, &[batch, length, inner])
            }
        };
        if !(steps && self.norm.is_none()) {
            out = self.gated(cx, &out, &gate);
        }
        self.out_proj.forward(cx, cx.cast(&out, dtype))
    }

    /// `MambaRMSNormGated`, or the gate alone.
    fn gated(&self, cx: &Context, x: &Tensor, gate: &Tensor) -> Tensor {
        let Some(weight) = self.norm.as_ref().and_then(|norm| norm.weight.as_ref()) else {
            return cx.mul(x, cx.silu(gate));
        };
        let input_dtype = x.dtype();
        let gate = || cx.silu(cx.cast(gate, DType::F32));
        if self.mup_vector.is_some() {
            return self.falcon_h1_norm(cx, x, weight, &gate);
        }
        let mut x = cx.cast(x, DType::F32);
        x = cx.mul(&x, gate());
        let whole = x.dims().to_vec();
        if self.norm_groups > 1 {
            let mut grouped = cx.reshape(&x, &[whole[0], whole[1], self.norm_groups, whole[2] / self.norm_groups]);
            let variance = cx.mean_last(cx.pow(&grouped, 2));
            grouped = cx.mul(&grouped, cx.rsqrt(cx.add_scalar(&variance, 1e-6)));
            x = cx.reshape(&grouped, &whole);
            return cx.mul(weight, cx.cast(&x, input_dtype));
        }
        let variance = cx.mean_last(cx.pow(&x, 2));
        x = cx.mul(&x, cx.rsqrt(cx.add_scalar(&variance, 1e-6)));
        cx.mul(weight, cx.cast(&x, input_dtype))
    }
}

impl Mamba2Mixer {
    /// `FalconH1RMSNormGated`
    fn falcon_h1_norm(&self, cx: &Context, x: &Tensor, weight: &Tensor, gate: &dyn Fn() -> Tensor) -> Tensor {
        let (input_dtype, whole, groups) = (x.dtype(), x.dims(), self.spec.num_groups);
        let mut x = if self.spec.norm_before_gate { x.clone() } else { cx.mul(x, gate()) };
        x = cx.cast(&x, DType::F32);
        x = cx.reshape(&x, &[whole[0], whole[1], groups, whole[2] / groups]);
        let variance = cx.mean_last(cx.pow(&x, 2));
        x = cx.mul(&x, cx.rsqrt(cx.add_scalar(&variance, 1e-6)));
        x = cx.mul(cx.reshape(weight, &[groups, whole[2] / groups]), &x);
        x = cx.reshape(&x, whole);
        if self.spec.norm_before_gate {
            x = cx.mul(&x, gate());
        }
        cx.cast(&x, input_dtype)
    }
}

impl Module for Mamba2Mixer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.free.leaves(visit);
        self.conv1d.leaves(visit);
        self.in_proj.leaves(visit);
        self.norm.leaves(visit);
        self.out_proj.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.mup_vector.iter_mut().for_each(visit);
    }
}
