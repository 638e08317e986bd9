//! Layers of which only the size is known: they are counted, and never run.

use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer;
use crate::ghost::{Context, Tensor};
use crate::model::CountedLayer;
use crate::nn::{Builder, FreeParameters, Leaf, Module, Part};

/// A layer's parameters, one tensor for each part.
pub(super) struct Layer {
    parts: Vec<FreeParameters>,
}

impl Layer {
    pub(super) fn new(builder: &Builder<'_>, layer: CountedLayer) -> Self {
        let parts = [
            (Part::Attention, layer.attention),
            (Part::Mixer, layer.mixer),
            (Part::Mlp, layer.mlp),
            (Part::Experts, layer.experts),
            (Part::Norm, layer.norms),
            (Part::Other, layer.other),
        ];
        let parts = parts.into_iter().filter(|(_, count)| *count > 0);
        Self { parts: parts.map(|(part, count)| builder.free("counted", part, &[&[count]])).collect() }
    }
}

impl layer::Layer for Layer {
    fn forward(&self, _: &Context, _: &Tensor, _: &Attend, _: Option<(&KvCache, usize)>) -> Attended {
        unreachable!("what is only counted is not run")
    }
}

impl Module for Layer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.parts.iter_mut().for_each(|part| part.leaves(visit));
    }
}
