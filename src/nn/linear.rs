//! Linear layers: dense or quantised, with or without an adapter.

use std::borrow::Borrow;

use smallvec::SmallVec;

use super::adapter::Adapter;
use super::module::Part;
use super::quantized::{FourBit, Int8};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// How a linear layer's weight is held.
pub enum Weight {
    /// `[out, in]`, or `[in, out]` in a `Conv1D`.
    Dense(Tensor),
    /// In 4 bits, with the bias.
    FourBit(Box<FourBit>),
    /// In 8 bits, with the bias.
    Int8(Box<Int8>),
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
    /// Whether it is a convolution: PEFT adapts one as it does a linear layer, but none is in `all-linear`, and none is
    /// quantised.
    pub convolution: bool,
    /// Whether it is Falcon's linear layer: a product with the weight's transpose, then a sum.
    pub written_out: bool,
    /// Its adapter.
    pub adapter: Option<Box<dyn Adapter>>,
}

impl Linear {
    /// What is not quantised of it, its adapter excluded.
    pub(super) fn dense_parameters(&mut self) -> SmallVec<[&mut Tensor; 2]> {
        match &mut self.weight {
            Weight::Dense(weight) => [Some(weight), self.bias.as_mut()].into_iter().flatten().collect(),
            Weight::FourBit(layer) => layer.bias_mut().into_iter().collect(),
            Weight::Int8(layer) => layer.bias_mut().into_iter().collect(),
        }
    }

    /// Its bias.
    pub(super) fn bias(&self) -> Option<Tensor> {
        match &self.weight {
            Weight::Dense(_) => self.bias.clone(),
            Weight::FourBit(layer) => layer.bias(),
            Weight::Int8(layer) => layer.bias(),
        }
    }

    /// The type adapters are made in (`_get_base_layer_device_and_dtype`, `peft/tuners/tuners_utils.py`).
    pub(crate) fn adapter_dtype(&self) -> DType {
        match &self.weight {
            Weight::Dense(weight) => weight.dtype(),
            Weight::FourBit(layer) => layer.compute_dtype,
            Weight::Int8(_) => DType::F32,
        }
    }

    /// The type it computes in; bf16 for an 8-bit layer, whose model is in a half type.
    pub(crate) fn half_dtype(&self) -> DType {
        match &self.weight {
            Weight::Int8(_) => DType::BF16,
            _ => self.adapter_dtype(),
        }
    }

    /// Applies it to the last dimension of `x`.
    pub fn forward(&self, cx: &Context, x: impl Borrow<Tensor>) -> Tensor {
        match &self.adapter {
            None => self.base(cx, x.borrow()),
            Some(_) if cx.adapters_disabled() => self.base(cx, x.borrow()),
            Some(adapter) => adapter.forward(cx, self, x.borrow()),
        }
    }

    /// The layer without its adapter.
    pub(super) fn base(&self, cx: &Context, x: &Tensor) -> Tensor {
        match (&self.weight, &self.bias) {
            (Weight::FourBit(layer), _) => layer.forward(cx, x),
            (Weight::Int8(layer), _) => layer.forward(cx, x),
            (Weight::Dense(weight), Some(bias)) if self.conv1d => cx.conv1d(x, weight, bias),
            (Weight::Dense(weight), bias) if self.written_out => {
                // a view of the weight: autocast's cache takes none
                let product = cx.linear(x, &cx.reshape(weight, weight.dims()), None);
                match bias {
                    Some(bias) => cx.add(product, bias),
                    None => product,
                }
            }
            (Weight::Dense(weight), bias) => cx.linear(x, weight, bias.as_ref()),
        }
    }
}
