//! bitsandbytes' linear layers, as 0.50.2 loads and runs them.

mod four_bit;
mod int8;

pub use four_bit::FourBit;
pub use int8::Int8;

use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// How linear layers are quantised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Quantization {
    /// `load_in_4bit`: NF4 or FP4, which take the same room.
    FourBit {
        /// `bnb_4bit_use_double_quant`
        double_quant: bool,
    },
    /// `load_in_8bit`: LLM.int8().
    Int8,
}

/// Quantises linear layers one after another.
pub struct Quantizer<'a> {
    cx: &'a Context,
    kind: Quantization,
    compute_dtype: DType,
    shared_code: Option<Tensor>,
}

impl<'a> Quantizer<'a> {
    /// One whose layers compute in `compute_dtype`.
    pub fn new(cx: &'a Context, kind: Quantization, compute_dtype: DType) -> Self {
        Self { cx, kind, compute_dtype, shared_code: None }
    }

    /// Quantises a layer, whose weight and bias come from the host.
    pub fn quantize(&mut self, linear: &mut Linear) {
        let (cx, rows, columns) = (self.cx, linear.out_features, linear.in_features);
        let bias = |name| cx.parameter(name, &[rows], self.compute_dtype, false);
        linear.weight = match self.kind {
            Quantization::FourBit { double_quant } => {
                let matrix = four_bit::load(cx, rows, columns, self.compute_dtype, double_quant, &mut self.shared_code);
                let bias = linear.bias.take().map(|_| bias(linear.name));
                Weight::FourBit(Box::new(FourBit::new(matrix, self.compute_dtype, bias)))
            }
            Quantization::Int8 => {
                let matrix = int8::load(cx, rows, columns);
                Weight::Int8(Box::new(Int8::new(matrix, linear.bias.take().map(|_| bias(linear.name)))))
            }
        };
    }
}
