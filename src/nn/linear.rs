//! Linear layers: dense or quantised, with or without an adapter.

use std::borrow::Borrow;

use smallvec::SmallVec;

use super::lora::Lora;
use super::module::Part;
use crate::ghost::{Context, Tensor};

/// How a linear layer's weight is held.
pub enum Weight {
    /// `[out, in]`, or `[in, out]` in a `Conv1D`.
    Dense(Tensor),
}

/// `nn.Linear`, `Conv1D`, or what bitsandbytes and PEFT make of them.
pub struct Linear {
    /// Its name within its parent, as `target_modules` names it.
    pub name: &'static str,
    /// What it is part of.
    pub part: Part,
    /// Width of its input.
    pub in_features: u64,
    /// Width of its output.
    pub out_features: u64,
    /// Its weight.
    pub weight: Weight,
    /// `[out]`
    pub bias: Option<Tensor>,
    /// Whether it is a `Conv1D`.
    pub conv1d: bool,
    /// Its adapter.
    pub lora: Option<Lora>,
}

impl Linear {
    pub(super) fn dense_parameters(&mut self) -> SmallVec<[&mut Tensor; 2]> {
        let mut all = SmallVec::new();
        let Weight::Dense(weight) = &mut self.weight;
        all.push(weight);
        all.extend(self.bias.as_mut());
        all
    }

    /// Applies it to the last dimension of `x`.
    pub fn forward(&self, cx: &Context, x: impl Borrow<Tensor>) -> Tensor {
        match &self.lora {
            None => self.base(cx, x.borrow()),
            Some(lora) => lora.forward(cx, self, x.borrow()),
        }
    }

    /// The layer without its adapter.
    pub(super) fn base(&self, cx: &Context, x: &Tensor) -> Tensor {
        let Weight::Dense(weight) = &self.weight;
        match &self.bias {
            Some(bias) if self.conv1d => cx.conv1d(x, weight, bias),
            bias => cx.linear(x, weight, bias.as_ref()),
        }
    }
}
