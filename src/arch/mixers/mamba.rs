//! The first Mamba's mixer (`modeling_mamba.py`), without the `mamba_ssm` and `causal_conv1d` kernels: the scan is a Python
//! loop over the tokens.

use super::convolve::{convolved, is_step};
use super::scan::{self, Scan};
use crate::arch::cache::KvCache;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, Mamba, ModelType, Norm};
use crate::nn::{Builder, Conv1d, FreeParameters, Leaf, Linear, Module, NormLayer, Part, Weight};

/// `MambaMixer`
pub(in crate::arch) struct MambaMixer {
    spec: Mamba,
    conv1d: Conv1d,
    in_proj: Linear,
    x_proj: Linear,
    dt_proj: Linear,
    /// `A_log` and `D`
    free: FreeParameters,
    out_proj: Linear,
    /// Weights of norms that have none to learn (Falcon Mamba): time step, B, C.
    norm_buffers: Vec<Tensor>,
    /// Jamba's norms on time step, B and C.
    norms: Vec<NormLayer>,
    /// Whether `mamba_inner_fn` is tried first in training, which makes its arguments fp32 for nothing.
    tries_fused: bool,
}

impl MambaMixer {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig, spec: &Mamba) -> Self {
        let hidden_size = model.hidden_size;
        let Mamba { inner_size: inner, state_size: state, time_step_rank: rank, .. } = *spec;
        let linear = |name, from, to, bias| builder.linear(name, Part::Mixer, from, to, bias);
        let conv1d = Conv1d::new(builder, "conv1d", inner, spec.conv_kernel, spec.conv_bias);
        let in_proj = linear("in_proj", hidden_size, 2 * inner, spec.proj_bias);
        let x_proj = linear("x_proj", inner, rank + 2 * state, false);
        let dt_proj = linear("dt_proj", rank, inner, true);
        let free = builder.free("A_log", Part::Mixer, &[&[inner, state], &[inner]]);
        let out_proj = linear("out_proj", inner, hidden_size, spec.proj_bias);
        let norm_buffers = if model.model_type == ModelType::FalconMamba {
            [inner, state, state].iter().map(|&width| builder.buffer("layernorm", &[width], builder.dtype)).collect()
        } else {
            Vec::new()
        };
        let norms = match model.model_type {
            ModelType::Jamba => [("dt_layernorm", rank), ("b_layernorm", state), ("c_layernorm", state)]
                .map(|(name, width)| builder.norm(name, Norm::Rms, width))
                .into(),
            _ => Vec::new(),
        };
        let tries_fused = model.model_type != ModelType::Jamba;
        let spec = spec.clone();
        Self { spec, conv1d, in_proj, x_proj, dt_proj, free, out_proj, norm_buffers, norms, tries_fused }
    }

    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        padding: Option<&Tensor>,
        cache: Option<(&KvCache, usize)>,
    ) -> Tensor {
        let Mamba { state_size: state, time_step_rank: rank, .. } = self.spec;
        let (length, dtype) = (hidden.dim(1), hidden.dtype());
        let [a_log, d] = [&self.free.tensors[0], &self.free.tensors[1]];
        let masked = scan::without_padding(cx, hidden, padding);
        let projected = cx.transpose(self.in_proj.forward(cx, &masked), 1, 2);
        let a = cx.neg(cx.exp(cx.cast(a_log, DType::F32)));
        if self.tries_fused && cx.training() && cache.is_none() {
            let bias = self.dt_proj.bias.as_ref();
            let _arguments = cx.no_grad(|| (cx.cast(d, DType::F32), bias.map(|bias| cx.cast(bias, DType::F32))));
        }
        let [mut states, gate] = cx.split_in(projected.clone(), 1);
        let steps = is_step(cache, length);
        states = convolved(cx, &self.conv1d, &states, cache, true);
        states = scan::without_padding(cx, &cx.transpose(&states, 1, 2), padding);
        let parts = cx.split(self.x_proj.forward(cx, &states), &[rank, state, state], -1);
        let Ok([mut time_step, mut b, mut c]) = <[Tensor; 3]>::try_from(parts) else { unreachable!("three parts") };
        if !self.norm_buffers.is_empty() {
            time_step = scan::weightless_norm(cx, &time_step);
            b = scan::weightless_norm(cx, &b);
            c = scan::weightless_norm(cx, &c);
        }
        if let [dt_norm, b_norm, c_norm] = &self.norms[..] {
            time_step = dt_norm.forward(cx, &time_step);
            b = b_norm.forward(cx, &b);
            c = c_norm.forward(cx, &c);
        }
        time_step = self.time_step(cx, &time_step);
        let bias = self.dt_proj.bias.as_ref().map(|bias| cx.cast(bias, DType::F32));
        let mut _last_state = None;
        let out = match cache {
            Some((cache, layer)) if steps => {
                let last = |t: &Tensor, dim| cx.select(t, dim);
                let step = scan::Step {
                    state: &cache.recurrent_state(layer),
                    x: &last(&cx.transpose(&states, 1, 2), -1),
                    dt: &last(&time_step, -1),
                    a: &a,
                    b: &last(&b, 1),
                    c: &last(&c, 1),
                    d,
                    z: &last(&gate, -1),
                    bias: bias.as_ref(),
                };
                cx.unsqueeze(step.run(cx), 2)
            }
            _ => {
                let scan = Scan {
                    x: &cx.transpose(&states, 1, 2),
                    dt: &time_step,
                    a: &a,
                    b: &b,
                    c: &c,
                    d: &cx.cast(d, DType::F32),
                    z: &gate,
                    bias: bias.as_ref(),
                };
                let (out, last) = scan.run(cx);
                if let Some((cache, layer)) = cache {
                    cache.update_recurrent_state(cx, layer, &last);
                    _last_state = Some(last);
                }
                out
            }
        };
        self.out_proj.forward(cx, cx.cast(cx.transpose(&out, 1, 2), dtype))
    }

    /// `self.dt_proj.weight @ time_step.transpose(1, 2)`
    fn time_step(&self, cx: &Context, time_step: &Tensor) -> Tensor {
        let product = match &self.dt_proj.weight {
            Weight::Dense(weight) => cx.linear(time_step, weight, None),
            _ => self.dt_proj.forward(cx, time_step),
        };
        cx.contiguous(cx.transpose(product, 1, 2))
    }
}

impl Module for MambaMixer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.free.leaves(visit);
        self.conv1d.leaves(visit);
        self.in_proj.leaves(visit);
        self.x_proj.leaves(visit);
        self.dt_proj.leaves(visit);
        self.out_proj.leaves(visit);
        self.norms.iter_mut().for_each(|norm| norm.leaves(visit));
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.norm_buffers.iter_mut().for_each(visit);
    }
}
