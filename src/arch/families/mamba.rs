//! Mamba, Falcon Mamba and Mamba 2 (`modeling_mamba.py` and its kin): a norm and a mixer a layer.

use super::front::{Entered, Front, Input};
use crate::arch::attention::{Attend, Attended};
use crate::arch::cache::KvCache;
use crate::arch::layer::Layer;
use crate::arch::mixers::TokenMixer;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, Mixer, Norm};
use crate::nn::{Builder, Leaf, Module, NormLayer};

/// Nothing before the layers: no positions, no attention mask.
pub(super) struct Plain;

impl Front for Plain {
    fn enter(&self, _cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        let padding = input.run.attention_mask.cloned();
        Entered { padding, locals: vec![embeds.clone()], ..Entered::new(embeds) }
    }
}

impl Module for Plain {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}
}

/// `MambaBlock`
pub(super) struct Block {
    norm: NormLayer,
    mixer: TokenMixer,
    residual_in_fp32: bool,
}

impl Block {
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        let residual_in_fp32 = match &model.mixer {
            Some(Mixer::Mamba(spec)) => spec.residual_in_fp32,
            Some(Mixer::Mamba2(spec)) => spec.residual_in_fp32,
            _ => false,
        };
        Self {
            norm: builder.norm("norm", Norm::Rms, model.hidden_size),
            mixer: TokenMixer::new(builder, model),
            residual_in_fp32,
        }
    }
}

impl Layer for Block {
    fn forward(&self, cx: &Context, hidden: &Tensor, attend: &Attend, cache: Option<(&KvCache, usize)>) -> Attended {
        let dtype = self.norm.weight.as_ref().map_or(hidden.dtype(), Tensor::dtype);
        let mut states = self.norm.forward(cx, cx.cast(hidden, dtype));
        let residual = if self.residual_in_fp32 { cx.cast(hidden, DType::F32) } else { hidden.clone() };
        states = self.mixer.forward(cx, &states, attend.padding.as_ref(), cache);
        (cx.add(residual, &states), None)
    }
}

impl Module for Block {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.norm.leaves(visit);
        self.mixer.leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.mixer.buffers(visit);
    }
}
