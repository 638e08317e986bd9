//! bitsandbytes' optimizers (`bitsandbytes/optim/optimizer.py`, bitsandbytes 0.50.2).
//!
//! Their kernels update in place and need nothing for a moment; what counts is the states. Block-wise 8-bit states have an
//! fp32 scale for every 256 elements and share their quantisation maps; large states of a paged optimizer lie in managed
//! memory, outside PyTorch's allocator.

use super::{Algorithm, state, state_like, with_grad};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// `min_8bit_size`: smaller parameters keep 32-bit states.
const MIN_8BIT_SIZE: u64 = 4096;
/// `blocksize` in `init_state`.
const BLOCK_SIZE: u64 = 256;
/// Entries of a quantisation map (`create_dynamic_map` in `bitsandbytes/functional.py`).
const MAP_SIZE: u64 = 256;
/// `get_state_buffer`: smaller states of a paged optimizer are ordinary tensors.
const MIN_PAGED_SIZE: u64 = 100_000;

/// What a parameter keeps.
#[derive(Default)]
struct States {
    tensors: Vec<Tensor>,
    paged_bytes: u64,
}

pub(super) struct Bitsandbytes {
    /// Moments of a parameter: two for AdamW (`Optimizer2State`), one for Lion (`Optimizer1State`).
    moments: usize,
    optim_bits: u32,
    is_paged: bool,
    maps: Vec<Tensor>,
    states: Vec<Option<States>>,
}

impl Bitsandbytes {
    pub(super) fn adamw(optim_bits: u32, is_paged: bool, parameters: usize) -> Self {
        Self::new(2, optim_bits, is_paged, parameters)
    }

    pub(super) fn lion(optim_bits: u32, parameters: usize) -> Self {
        Self::new(1, optim_bits, false, parameters)
    }

    fn new(moments: usize, optim_bits: u32, is_paged: bool, parameters: usize) -> Self {
        Self { moments, optim_bits, is_paged, maps: Vec::new(), states: (0..parameters).map(|_| None).collect() }
    }

    /// `init_state`.
    fn init(&mut self, cx: &Context, parameter: &Tensor) -> States {
        let numel = parameter.layout().numel();
        let mut states = States::default();
        if self.optim_bits == 8 && numel >= MIN_8BIT_SIZE {
            // the maps of a signed and an unsigned moment come with the first 8-bit state
            while self.maps.len() < self.moments {
                self.maps.push(state(cx, &[MAP_SIZE], DType::F32));
            }
            self.buffers(cx, parameter, DType::U8, &mut states);
            let scales = (0..self.moments).map(|_| state(cx, &[numel.div_ceil(BLOCK_SIZE)], DType::F32));
            states.tensors.extend(scales);
        } else {
            self.buffers(cx, parameter, DType::F32, &mut states);
        }
        states
    }

    /// `get_state_buffer` for each moment.
    fn buffers(&self, cx: &Context, parameter: &Tensor, dtype: DType, states: &mut States) {
        let numel = parameter.layout().numel();
        for _ in 0..self.moments {
            if self.is_paged && numel >= MIN_PAGED_SIZE {
                states.paged_bytes = states.paged_bytes.saturating_add(numel.saturating_mul(dtype.bytes()));
            } else {
                states.tensors.push(state_like(cx, parameter, dtype));
            }
        }
    }
}

impl Algorithm for Bitsandbytes {
    fn step(&mut self, cx: &Context, parameters: &[Tensor]) {
        for (at, parameter, _) in with_grad(parameters) {
            if self.states[at].is_none() {
                self.states[at] = Some(self.init(cx, parameter));
            }
        }
    }

    fn states(&self) -> Vec<&Tensor> {
        self.states.iter().flatten().flat_map(|states| &states.tensors).chain(&self.maps).collect()
    }

    fn paged_bytes(&self) -> u64 {
        self.states.iter().flatten().map(|states| states.paged_bytes).fold(0, u64::saturating_add)
    }
}
