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

/// Which of bitsandbytes' optimizers it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Two moments (`Optimizer2State`).
    AdamW,
    /// One (`Optimizer1State`).
    Lion,
    /// One.
    RmsProp,
    /// A fast and a slow first moment in one tensor, and a second moment (`ademamix.py`).
    AdEMAMix,
}

impl Kind {
    /// State tensors of a parameter.
    const fn moments(self) -> usize {
        match self {
            Self::AdamW | Self::AdEMAMix => 2,
            Self::Lion | Self::RmsProp => 1,
        }
    }

    /// Elements of the n-th state for each element of the parameter.
    const fn width(self, moment: usize) -> u64 {
        match (self, moment) {
            (Self::AdEMAMix, 0) => 2,
            _ => 1,
        }
    }
}

pub(super) struct Bitsandbytes {
    kind: Kind,
    optim_bits: u32,
    is_paged: bool,
    maps: Vec<Tensor>,
    states: Vec<Option<States>>,
}

impl Bitsandbytes {
    pub(super) fn new(kind: Kind, optim_bits: u32, is_paged: bool, parameters: usize) -> Self {
        Self { kind, optim_bits, is_paged, maps: Vec::new(), states: (0..parameters).map(|_| None).collect() }
    }

    /// `init_state`.
    fn init(&mut self, cx: &Context, parameter: &Tensor) -> States {
        let numel = parameter.layout().numel();
        let mut states = States::default();
        if self.optim_bits == 8 && numel >= MIN_8BIT_SIZE {
            // the maps of a signed and an unsigned moment come with the first 8-bit state
            while self.maps.len() < self.kind.moments() {
                self.maps.push(state(cx, &[MAP_SIZE], DType::F32));
            }
            let blocks = numel.div_ceil(BLOCK_SIZE);
            let kind = self.kind;
            let scales = (0..kind.moments()).map(|i| state(cx, &[kind.width(i).saturating_mul(blocks)], DType::F32));
            // AdEMAMix makes its scales first
            if kind == Kind::AdEMAMix {
                states.tensors.extend(scales);
                self.buffers(cx, parameter, DType::U8, &mut states);
            } else {
                self.buffers(cx, parameter, DType::U8, &mut states);
                states.tensors.extend(scales);
            }
        } else {
            self.buffers(cx, parameter, DType::F32, &mut states);
        }
        states
    }

    /// `get_state_buffer` for each moment.
    fn buffers(&self, cx: &Context, parameter: &Tensor, dtype: DType, states: &mut States) {
        let numel = parameter.layout().numel();
        for moment in 0..self.kind.moments() {
            let elements = numel.saturating_mul(self.kind.width(moment));
            if self.is_paged && numel >= MIN_PAGED_SIZE {
                states.paged_bytes = states.paged_bytes.saturating_add(elements.saturating_mul(dtype.bytes()));
            } else if elements == numel {
                states.tensors.push(state_like(cx, parameter, dtype));
            } else {
                states.tensors.push(state(cx, &[elements], dtype));
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
