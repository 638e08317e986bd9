//! Optimizers: the states they keep, and what a step needs for a moment.

mod accumulators;
mod adafactor;
mod adam_mini;
mod adamw;
mod bitsandbytes;
mod groups;
mod low_rank;
mod muon;
mod offload;
mod schedule_free;
mod sgd;
mod stable_adamw;

use crate::dtype::DType;
use crate::ghost::{Category, Context, Kernel, Layout, Phase, Tensor};
use crate::job::{OffloadOptimizer, Optim, Train};

pub(super) use adam_mini::{Share, shares};
pub(super) use groups::own_matrices;
pub(super) use offload::least_elements;

/// How an optimizer updates its parameters.
trait Algorithm {
    /// One step over the parameters that have a gradient. States appear the first time.
    fn step(&mut self, cx: &Context, parameters: &[Tensor]);

    /// The states on the GPU.
    fn states(&self) -> Vec<&Tensor>;

    /// Bytes of states in managed memory, which the allocator does not see.
    fn paged_bytes(&self) -> u64 {
        0
    }

    /// Bytes of what it keeps in the host's memory.
    fn host_bytes(&self) -> u64 {
        0
    }
}

/// An optimizer over the trainable parameters.
pub(super) struct Optimizer {
    parameters: Vec<Tensor>,
    groups: Vec<Group>,
}

/// Parameters that one algorithm updates.
struct Group {
    parameters: Vec<Tensor>,
    algorithm: Box<dyn Algorithm>,
}

impl Optimizer {
    /// What `job` asks for, over `parameters`. `is_own` says of each whether it is one of those that an optimizer for
    /// matrices treats in its own way ([`own_matrices`]); others have no use for it. `shares`: for
    /// Adam-mini ([`shares`]).
    pub(super) fn new(cx: &Context, job: &Train, shares: Vec<Share>, parameters: Vec<Tensor>, is_own: &[bool]) -> Self {
        let (optim, rank) = (job.optim, job.optim_rank);
        if job.offload_optimizer != OffloadOptimizer::No {
            let algorithm = Box::new(offload::Offloaded::new(cx, job.offload_optimizer, &parameters));
            return Self { groups: vec![Group { parameters: parameters.clone(), algorithm }], parameters };
        }
        use bitsandbytes::{Bitsandbytes, Kind};
        let count = parameters.len();
        let bnb = |kind, bits, paged| -> Box<dyn Algorithm> { Box::new(Bitsandbytes::new(kind, bits, paged, count)) };
        let adamw =
            |implementation, count| -> Box<dyn Algorithm> { Box::new(adamw::AdamW::new(implementation, count)) };
        let (own, rest): (Vec<_>, Vec<_>) = parameters
            .iter()
            .cloned()
            .zip(is_own.iter().copied().chain(std::iter::repeat(false)))
            .partition(|(_, own)| *own);
        let [own, rest] = [own, rest].map(|list| list.into_iter().map(|(parameter, _)| parameter).collect::<Vec<_>>());
        let low_rank = |projection| {
            let algorithm = low_rank::LowRank::new(projection, rank, rest.len(), count);
            vec![Group { parameters: [rest.clone(), own.clone()].concat(), algorithm: Box::new(algorithm) }]
        };
        let algorithm: Box<dyn Algorithm> = match optim {
            Optim::AdamwTorch => adamw(adamw::Implementation::Foreach, count),
            Optim::AdamwTorchFused => adamw(adamw::Implementation::Fused, count),
            Optim::AdamwTorchLoop => adamw(adamw::Implementation::Loop, count),
            Optim::Sgd => Box::new(sgd::Sgd::new(false, count)),
            Optim::SgdMomentum => Box::new(sgd::Sgd::new(true, count)),
            Optim::Adagrad => Box::new(accumulators::Adagrad::new(cx, &parameters)),
            Optim::RmsProp => Box::new(accumulators::RmsProp::new(count)),
            Optim::Adafactor => Box::new(adafactor::Adafactor::new(count)),
            Optim::ScheduleFreeAdamw => Box::new(schedule_free::ScheduleFree::new(true, count)),
            Optim::ScheduleFreeSgd => Box::new(schedule_free::ScheduleFree::new(false, count)),
            Optim::StableAdamw => Box::new(stable_adamw::StableAdamW::new(count)),
            Optim::Adamw8bit => bnb(Kind::AdamW, 8, false),
            Optim::PagedAdamw => bnb(Kind::AdamW, 32, true),
            Optim::PagedAdamw8bit => bnb(Kind::AdamW, 8, true),
            Optim::Lion => bnb(Kind::Lion, 32, false),
            Optim::Lion8bit => bnb(Kind::Lion, 8, false),
            Optim::PagedLion => bnb(Kind::Lion, 32, true),
            Optim::PagedLion8bit => bnb(Kind::Lion, 8, true),
            Optim::AdEMAMix => bnb(Kind::AdEMAMix, 32, false),
            Optim::AdEMAMix8bit => bnb(Kind::AdEMAMix, 8, false),
            Optim::PagedAdEMAMix => bnb(Kind::AdEMAMix, 32, true),
            Optim::PagedAdEMAMix8bit => bnb(Kind::AdEMAMix, 8, true),
            Optim::RmsPropBnb => bnb(Kind::RmsProp, 32, false),
            Optim::RmsPropBnb8bit => bnb(Kind::RmsProp, 8, false),
            Optim::Muon => {
                let muon = Box::new(muon::Muon::new(own.len()));
                let others = adamw(adamw::Implementation::Foreach, rest.len());
                let groups =
                    vec![Group { parameters: own, algorithm: muon }, Group { parameters: rest, algorithm: others }];
                return Self { parameters, groups };
            }
            Optim::AdamMini => Box::new(adam_mini::AdamMini::new(shares)),
            Optim::GaloreAdamw => return Self { groups: low_rank(low_rank::Projection::Svd), parameters },
            Optim::ApolloAdamw => return Self { groups: low_rank(low_rank::Projection::Random), parameters },
        };
        Self { groups: vec![Group { parameters: parameters.clone(), algorithm }], parameters }
    }

    /// One step: states appear the first time.
    pub(super) fn step(&mut self, cx: &Context) {
        cx.set_phase(Phase::Optimizer);
        let groups = &mut self.groups;
        let step = || groups.iter_mut().for_each(|group| group.algorithm.step(cx, &group.parameters));
        cx.no_grad(|| cx.with_autocast_off(step));
    }

    /// Lets go of the gradients, or fills them with zeros where they are (`torch/optim/optimizer.py`, `zero_grad`).
    pub(super) fn zero_grad(&self, set_to_none: bool) {
        if set_to_none {
            self.parameters.iter().for_each(Tensor::clear_grad);
        }
    }

    /// Bytes of its states on the GPU, as asked for.
    pub(super) fn held_bytes(&self) -> u64 {
        self.groups.iter().flat_map(|group| group.algorithm.states()).map(Tensor::bytes).sum()
    }

    /// Bytes of what it keeps in the host's memory.
    pub(super) fn host_bytes(&self) -> u64 {
        self.groups.iter().map(|group| group.algorithm.host_bytes()).fold(0, u64::saturating_add)
    }

    /// Bytes of its states in managed memory.
    pub(super) fn paged_bytes(&self) -> u64 {
        self.groups.iter().map(|group| group.algorithm.paged_bytes()).fold(0, u64::saturating_add)
    }
}

/// The parameters that have a gradient, with their place among all.
fn with_grad(parameters: &[Tensor]) -> impl Iterator<Item = (usize, &Tensor, Tensor)> {
    parameters.iter().enumerate().filter_map(|(at, p)| p.grad().map(|grad| (at, p, grad)))
}

/// The parameters that a step updates.
fn updated(parameters: &[Tensor]) -> Vec<Tensor> {
    with_grad(parameters).map(|(_, parameter, _)| parameter.clone()).collect()
}

/// Binds a name again: what it stood for goes when the new value is there.
fn rebind(name: &mut Option<Tensor>, value: Tensor) {
    *name = Some(value);
}

/// A state of the given sizes.
fn state(cx: &Context, dims: &[u64], dtype: DType) -> Tensor {
    state_in(cx, Layout::contiguous(dims), dtype)
}

/// A state that takes after a tensor (`torch.zeros_like`).
fn state_like(cx: &Context, tensor: &Tensor, dtype: DType) -> Tensor {
    state_in(cx, *tensor.layout(), dtype)
}

fn state_in(cx: &Context, layout: Layout, dtype: DType) -> Tensor {
    cx.within(Category::Optimizer, || cx.launch(Kernel::Zeros, &[], layout, dtype))
}

/// An intermediate result as large as a tensor.
fn temporary_like(cx: &Context, tensor: &Tensor) -> Tensor {
    temporary(cx, *tensor.layout(), tensor.dtype())
}

/// An intermediate result for each of some tensors, as large as it is.
fn temporaries_like(cx: &Context, tensors: &[&Tensor]) -> Vec<Tensor> {
    tensors.iter().map(|tensor| temporary_like(cx, tensor)).collect()
}

fn scalar(cx: &Context, dtype: DType) -> Tensor {
    temporary(cx, Layout::contiguous(&[]), dtype)
}

fn temporary(cx: &Context, layout: Layout, dtype: DType) -> Tensor {
    cx.within(Category::Temporary, || cx.launch(Kernel::Scratch("optimizer"), &[], layout, dtype))
}

#[cfg(test)]
mod tests;
