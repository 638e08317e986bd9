//! Optimizer states on the host, where the step is taken too.
//!
//! torchao's `CPUOffloadOptimizer` (`torchao/optim/cpu_offload.py`, torchao 0.18) keeps a pinned copy of each large
//! parameter and its gradient, and its states, in the parameter's type. DeepSpeed's ZeRO-Offload
//! (`deepspeed/runtime/zero/stage_1_and_2.py`, DeepSpeed 0.19) keeps fp32 weights, gradients and moments there.

use super::{Algorithm, adamw, state};
use crate::ghost::{Context, Tensor};
use crate::job::OffloadOptimizer;

/// `minimal_size`: torchao leaves smaller parameters to an optimizer on the GPU.
const MINIMAL_SIZE: u64 = 4096;
/// An fp32 weight, gradient and two moments.
const ZERO_BYTES: u64 = 16;
/// torchao: a weight, a gradient and two moments, each in the weight's type.
const COPIES: u64 = 4;

/// Elements from which on a parameter's states are on the host; `None`: they never are.
pub(crate) const fn least_elements(offload: OffloadOptimizer) -> Option<u64> {
    match offload {
        OffloadOptimizer::No => None,
        OffloadOptimizer::Torchao => Some(MINIMAL_SIZE),
        OffloadOptimizer::Deepspeed => Some(0),
    }
}

pub(super) struct Offloaded {
    /// `d_opt`, which takes the fused implementation, over small parameters.
    on_gpu: adamw::AdamW,
    small: Vec<Tensor>,
    /// `temp_grad_buffer_for_gpu_offload`: as large as the largest parameter.
    buffer: Option<Tensor>,
    host_bytes: u64,
}

impl Offloaded {
    pub(super) fn new(cx: &Context, offload: OffloadOptimizer, parameters: &[Tensor]) -> Self {
        let least = least_elements(offload).unwrap_or(u64::MAX);
        let (small, large): (Vec<_>, Vec<_>) =
            parameters.iter().cloned().partition(|parameter| parameter.layout().numel() < least);
        let zero = offload == OffloadOptimizer::Deepspeed;
        let on_host = |parameter: &Tensor| {
            if zero {
                parameter.layout().numel().saturating_mul(ZERO_BYTES)
            } else {
                parameter.bytes().saturating_mul(COPIES)
            }
        };
        let host_bytes = large.iter().map(on_host).fold(0, u64::saturating_add);
        let largest = large.iter().max_by_key(|parameter| parameter.layout().numel()).filter(|_| zero);
        let buffer = largest.map(|largest| state(cx, &[largest.layout().numel()], largest.dtype()));
        let on_gpu = adamw::AdamW::new(adamw::Implementation::Fused, small.len());
        Self { on_gpu, small, buffer, host_bytes }
    }
}

impl Algorithm for Offloaded {
    fn step(&mut self, cx: &Context, _parameters: &[Tensor]) {
        self.on_gpu.step(cx, &self.small);
    }

    fn states(&self) -> Vec<&Tensor> {
        self.on_gpu.states().into_iter().chain(&self.buffer).collect()
    }

    fn host_bytes(&self) -> u64 {
        self.host_bytes
    }
}
