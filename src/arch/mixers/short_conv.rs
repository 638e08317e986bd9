//! LFM2's gated short convolution (`Lfm2ShortConv`).

use super::convolve::convolved;
use super::scan;
use crate::arch::cache::KvCache;
use crate::ghost::{Context, Tensor};
use crate::model::ShortConv;
use crate::nn::{Builder, Conv1d, Leaf, Linear, Module, Part};

/// `Lfm2ShortConv`
pub(in crate::arch) struct ShortConvMixer {
    conv: Conv1d,
    in_proj: Linear,
    out_proj: Linear,
}

impl ShortConvMixer {
    pub(super) fn new(builder: &Builder<'_>, hidden_size: u64, spec: &ShortConv) -> Self {
        let linear = |name, to| builder.linear(name, Part::Mixer, hidden_size, to, spec.bias);
        Self {
            conv: Conv1d::new(builder, "conv", hidden_size, spec.conv_kernel, spec.bias),
            in_proj: linear("in_proj", 3 * hidden_size),
            out_proj: linear("out_proj", hidden_size),
        }
    }

    pub(super) fn forward(
        &self,
        cx: &Context,
        hidden: &Tensor,
        padding: Option<&Tensor>,
        cache: Option<(&KvCache, usize)>,
    ) -> Tensor {
        let masked = scan::without_padding(cx, hidden, padding);
        let all = cx.transpose(self.in_proj.forward(cx, &masked), 1, 2);
        let [b, c, x] = cx.split_in(all.clone(), 1);
        let mut states = cx.mul(&b, &x);
        states = convolved(cx, &self.conv, &states, cache, false);
        let mut y = cx.mul(&c, &states);
        y = cx.contiguous(cx.transpose(&y, 1, 2));
        y = self.out_proj.forward(cx, &y);
        y
    }
}

impl Module for ShortConvMixer {
    fn leaves(&mut self, visit: &mut dyn FnMut(Leaf<'_>)) {
        self.conv.leaves(visit);
        self.in_proj.leaves(visit);
        self.out_proj.leaves(visit);
    }
}
