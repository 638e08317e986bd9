//! LoRA, as PEFT 0.21 computes it.

use smallvec::SmallVec;

use super::adapter::Adapter;
use super::dora;
use super::linear::{Linear, Weight};
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// What adapters are made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraSpec {
    /// Rank.
    pub r: u64,
    /// What its update is multiplied by: `lora_alpha / r`, or `lora_alpha / sqrt(r)` with rsLoRA.
    pub scaling: f64,
    /// Dropout on the adapter's input.
    pub dropout: f64,
    /// Whether rows' magnitudes are trained apart (DoRA).
    pub use_dora: bool,
}

/// The adapter of one linear layer.
pub struct Lora {
    /// `[r, in]`
    pub a: Tensor,
    /// `[out, r]`
    pub b: Tensor,
    /// `[out]`, with DoRA.
    pub magnitude: Option<Tensor>,
    scaling: f64,
    dropout: f64,
}

impl Lora {
    /// An adapter for `base`, in the type of its weight or what it computes in.
    pub fn new(cx: &Context, base: &Linear, spec: LoraSpec) -> Self {
        let parameter = |name, dims: &[u64]| cx.parameter(name, dims, base.adapter_dtype(), true);
        let a = parameter("lora_A", &[spec.r, base.in_features]);
        let b = parameter("lora_B", &[base.out_features, spec.r]);
        let magnitude = spec.use_dora.then(|| dora::magnitude(cx, base, &a, &b));
        Self { a, b, magnitude, scaling: spec.scaling, dropout: spec.dropout }
    }

    /// `lora.Linear`: the input is cast under autocast too, and the sum is in the wider type.
    fn beside_dense(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let mut result = base.base(cx, x);
        let result_dtype = result.dtype();
        let x = cx.cast(x, self.a.dtype());
        result = match &self.magnitude {
            Some(magnitude) => self.decomposed(cx, base, magnitude, &x, &result),
            None => cx.add(&result, self.update(cx, &x)),
        };
        cx.cast(&result, result_dtype)
    }

    /// `lora.Linear4bit` and `lora.Linear8bitLt`: the update is cast rather than the sum, and autocast is left to cast.
    fn beside_quantized(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        let mut result = base.base(cx, x);
        if matches!(base.weight, Weight::FourBit(_)) {
            result = cx.copy(&result);
        }
        let result_dtype = result.dtype();
        let converts = cx.autocast_dtype().is_none();
        let x = if converts { cx.cast(x, self.a.dtype()) } else { x.clone() };
        if let Some(magnitude) = &self.magnitude {
            result = self.decomposed(cx, base, magnitude, &x, &result);
            return if converts { cx.cast(&result, result_dtype) } else { result };
        }
        let mut update = self.update(cx, &x);
        if converts {
            update = cx.cast(&update, result_dtype);
        }
        cx.add(&result, &update)
    }

    /// `lora_B(lora_A(dropout(x))) * scaling`
    fn update(&self, cx: &Context, x: &Tensor) -> Tensor {
        let low = cx.linear(cx.dropout(x, self.dropout), &self.a, None);
        cx.mul_scalar(cx.linear(low, &self.b, None), self.scaling)
    }

    /// `DoraLinearVariant.forward`: the base layer runs again where dropout is in the way of its result.
    fn decomposed(&self, cx: &Context, base: &Linear, magnitude: &Tensor, x: &Tensor, result: &Tensor) -> Tensor {
        let x = cx.dropout(x, self.dropout);
        let undropped = (self.dropout <= 0.0 || !cx.training()).then_some(result);
        let update = dora::update(cx, base, self, magnitude, &x, undropped);
        cx.add(result, &update)
    }
}

impl Adapter for Lora {
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor {
        match &base.weight {
            Weight::Dense(_) => self.beside_dense(cx, base, x),
            Weight::FourBit(_) | Weight::Int8(_) => self.beside_quantized(cx, base, x),
        }
    }

    /// What it begins with is drawn again, as what it was.
    fn cast_to_fp32(&mut self, cx: &Context) {
        let magnitude = self.magnitude.iter_mut().map(|magnitude| ("magnitude", magnitude));
        for (name, parameter) in [("lora_A", &mut self.a), ("lora_B", &mut self.b)].into_iter().chain(magnitude) {
            if parameter.dtype() != DType::F32 {
                *parameter = cx.parameter(name, parameter.dims(), DType::F32, true);
            }
        }
    }

    fn parameters(&self) -> SmallVec<[&Tensor; 4]> {
        [&self.a, &self.b].into_iter().chain(&self.magnitude).collect()
    }

    fn parameters_mut(&mut self) -> SmallVec<[&mut Tensor; 4]> {
        [&mut self.a, &mut self.b].into_iter().chain(&mut self.magnitude).collect()
    }
}
