//! What PEFT puts in a linear layer's place.

use smallvec::SmallVec;

use super::linear::Linear;
use crate::dtype::DType;
use crate::ghost::{Context, Tensor};

/// A linear layer with something trained in or around it.
pub trait Adapter {
    /// `base` and what is added to it, applied to the last dimension of `x`.
    fn forward(&self, cx: &Context, base: &Linear, x: &Tensor) -> Tensor;

    /// Its parameters, in registration order.
    fn parameters(&self) -> SmallVec<[&Tensor; 4]>;

    /// The same, to be replaced.
    fn parameters_mut(&mut self) -> SmallVec<[&mut Tensor; 4]>;

    /// `cast_adapter_dtype`: half-precision adapters become fp32.
    fn cast_to_fp32(&mut self, cx: &Context) {
        to_fp32(cx, self.parameters_mut());
    }

    /// Those whose rows, or whose columns where it is true, are to be orthogonal.
    fn orthogonal(&self) -> SmallVec<[(&Tensor, bool); 2]> {
        SmallVec::new()
    }
}

/// Half-precision parameters become fp32 ones.
pub(super) fn to_fp32<'a>(cx: &Context, parameters: impl IntoIterator<Item = &'a mut Tensor>) {
    for parameter in parameters {
        if parameter.dtype() != DType::F32 {
            *parameter = cx.parameter("adapter", parameter.dims(), DType::F32, true);
        }
    }
}

/// A trained parameter of an adapter for `base`, in the type of its weight or what it computes in.
pub(super) fn parameter(cx: &Context, base: &Linear, name: &'static str, dims: &[u64]) -> Tensor {
    cx.parameter(name, dims, base.adapter_dtype(), true)
}

/// Says that an adapter's parameters are these fields.
macro_rules! adapter_parameters {
    ($($field:ident),+) => {
        fn parameters(&self) -> smallvec::SmallVec<[&crate::ghost::Tensor; 4]> {
            smallvec::SmallVec::from_iter([$(&self.$field),+])
        }

        fn parameters_mut(&mut self) -> smallvec::SmallVec<[&mut crate::ghost::Tensor; 4]> {
            smallvec::SmallVec::from_iter([$(&mut self.$field),+])
        }
    };
}
pub(super) use adapter_parameters;
