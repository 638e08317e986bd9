//! What modules have in common: named leaves that hold parameters.

use smallvec::SmallVec;

use super::embedding::Embedding;
use super::free::FreeParameters;
use super::linear::Linear;
use super::norm::NormLayer;
use crate::ghost::Tensor;

/// What a parameter is part of, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Part {
    /// Token and position embeddings.
    Embedding,
    /// Attention projections.
    Attention,
    /// Feed-forward matrices.
    Mlp,
    /// Tables of numbers that are computed and never trained, yet parameters (sinusoidal positions).
    Fixed,
    /// Norms.
    Norm,
    /// Language-model head, where it is not tied.
    Head,
    /// Experts of a mixture, and the router that chooses among them.
    Experts,
    /// What mixes tokens in place of attention: state-space and linear-attention layers, convolutions.
    Mixer,
    /// A vision or audio tower and what projects from it.
    Tower,
    /// Poolers, relative position tables and the like.
    Other,
}

/// A module that holds parameters itself.
#[non_exhaustive]
pub enum Leaf<'a> {
    /// A linear layer.
    Linear(&'a mut Linear),
    /// An embedding table.
    Embedding(&'a mut Embedding),
    /// A norm.
    Norm(&'a mut NormLayer),
    /// Parameters of none of these.
    Free(&'a mut FreeParameters),
}

impl Leaf<'_> {
    /// Its name within its parent, as `target_modules` names it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Linear(linear) => linear.name,
            Self::Embedding(embedding) => embedding.name,
            Self::Norm(norm) => norm.name,
            Self::Free(free) => free.name,
        }
    }

    /// What it is part of.
    pub fn part(&self) -> Part {
        match self {
            Self::Linear(linear) => linear.part,
            Self::Embedding(_) => Part::Embedding,
            Self::Norm(_) => Part::Norm,
            Self::Free(free) => free.part,
        }
    }

    /// Whether its class registers its parameters with `requires_grad=False`: computed tables, and the corrections of scores of
    /// ERNIE 4.5 and AFMoE.
    pub fn never_trains(&self) -> bool {
        self.part() == Part::Fixed || matches!(self.name(), "e_score_correction_bias" | "expert_bias")
    }

    /// Its own parameters that are not quantised, adapters excluded, in registration order.
    pub fn dense_parameters(&mut self) -> SmallVec<[&mut Tensor; 2]> {
        match self {
            Self::Linear(linear) => linear.dense_parameters(),
            Self::Embedding(embedding) => SmallVec::from_iter([&mut embedding.weight]),
            Self::Norm(norm) => norm.parameters(),
            Self::Free(free) => free.tensors.iter_mut().collect(),
        }
    }
}

/// Something with leaves below it.
pub trait Module {
    /// Visits the leaves in the order `model.parameters()` lists them.
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>));

    /// Visits the buffers.
    fn buffers(&mut self, _visit: &mut dyn FnMut(&mut Tensor)) {}
}

impl<M: Module> Module for Option<M> {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        if let Some(module) = self {
            module.leaves(visit);
        }
    }
}

impl Module for Linear {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        visit(Leaf::Linear(self));
    }
}

impl Module for Embedding {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        visit(Leaf::Embedding(self));
    }
}

impl Module for FreeParameters {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        visit(Leaf::Free(self));
    }
}

impl Module for NormLayer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        visit(Leaf::Norm(self));
    }
}
