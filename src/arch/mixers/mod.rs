//! What mixes tokens in place of attention: state-space layers, convolutions, linear attention.
//!
//! Each is the PyTorch code of its `transformers` module, which runs where the `mamba_ssm`, `causal_conv1d` and
//! `flash-linear-attention` kernels are not installed; those keep less.

mod convolve;
mod delta_rule;
mod gated_delta;
mod mamba;
mod mamba2;
mod scan;
mod short_conv;
mod ssd;

use self::gated_delta::GatedDeltaNet;
use self::mamba::MambaMixer;
use self::mamba2::Mamba2Mixer;
use self::short_conv::ShortConvMixer;
use super::cache::KvCache;
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, Mixer};
use crate::nn::{Builder, Leaf, Module};

/// The mixer of a layer.
pub(super) enum TokenMixer {
    Mamba(Box<MambaMixer>),
    Mamba2(Box<Mamba2Mixer>),
    ShortConv(Box<ShortConvMixer>),
    GatedDelta(Box<GatedDeltaNet>),
}

impl TokenMixer {
    /// That of a layer of `model`.
    ///
    /// # Panics
    /// The model has none: a mistake in reading its configuration.
    pub(super) fn new(builder: &Builder<'_>, model: &DecoderConfig) -> Self {
        match model.mixer.as_ref().expect("a layer that does not attend has a mixer") {
            Mixer::Mamba(spec) => Self::Mamba(Box::new(MambaMixer::new(builder, model, spec))),
            Mixer::Mamba2(spec) => Self::Mamba2(Box::new(Mamba2Mixer::new(builder, model, spec))),
            Mixer::Counted(_) => unreachable!("its layers are another kind"),
            Mixer::ShortConv(spec) => Self::ShortConv(Box::new(ShortConvMixer::new(builder, model.hidden_size, spec))),
            Mixer::GatedDelta(spec) => Self::GatedDelta(Box::new(GatedDeltaNet::new(builder, model.hidden_size, spec))),
        }
    }

    /// Applies it to `hidden`, `[batch, length, hidden_size]`, whose `padding` is blanked out.
    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        padding: Option<&Tensor>,
        cache: Option<(&KvCache, usize)>,
    ) -> Tensor {
        match self {
            Self::Mamba(mixer) => mixer.forward(cx, hidden, padding, cache),
            Self::Mamba2(mixer) => mixer.forward(cx, hidden, padding, cache),
            Self::ShortConv(mixer) => mixer.forward(cx, hidden, padding, cache),
            Self::GatedDelta(mixer) => mixer.forward(cx, hidden, padding, cache),
        }
    }

    fn module(&mut self) -> &mut dyn Module {
        match self {
            Self::Mamba(mixer) => mixer.as_mut(),
            Self::Mamba2(mixer) => mixer.as_mut(),
            Self::ShortConv(mixer) => mixer.as_mut(),
            Self::GatedDelta(mixer) => mixer.as_mut(),
        }
    }
}

impl Module for TokenMixer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.module().leaves(visit);
    }

    fn buffers(&mut self, visit: &mut dyn FnMut(&mut Tensor)) {
        self.module().buffers(visit);
    }
}
