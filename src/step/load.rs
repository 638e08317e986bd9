//! Loading: the model's parameters as `from_pretrained` leaves them.

use crate::arch::Decoder;
use crate::dtype::DType;
use crate::ghost::{Context, Phase};
use crate::model::Model;
use crate::nn::{Builder, Device};

/// The model on the GPU, frozen, in `dtype`.
pub(super) fn load(cx: &Context, model: &Model, dtype: DType) -> Decoder {
    cx.set_phase(Phase::Load);
    let builder = Builder { cx, dtype, device: Device::Cuda };
    Decoder::new(&builder, model)
}
