//! Loading: the model's parameters as `from_pretrained` leaves them.

use crate::arch::{Network, network};
use crate::dtype::DType;
use crate::ghost::{Context, Phase, Tensor};
use crate::job::Precision;
use crate::model::{Model, ModelType};
use crate::nn::{Builder, Device, Kernels, Leaf, Linear, Part, Quantization, Quantizer, Weight};

/// How the linear layers of a job's base model are quantised; `None`: they are not.
pub(super) fn quantization(precision: Precision, double_quant: bool) -> Option<Quantization> {
    match precision {
        Precision::Int8 => Some(Quantization::Int8),
        precision if precision.is_4bit() => Some(Quantization::FourBit { double_quant }),
        _ => None,
    }
}

/// The model on the GPU, frozen; what is not quantised of it in `dtype`.
pub(super) fn load(
    cx: &Context,
    model: &Model,
    dtype: DType,
    quantization: Option<Quantization>,
    kernels: Kernels,
) -> Box<dyn Network> {
    cx.set_phase(Phase::Load);
    let Some(quantization) = quantization else {
        return network(&Builder { cx, dtype, device: Device::Cuda, kernels }, model);
    };
    let mut network = network(&Builder { cx, dtype, device: Device::Meta, kernels }, model);
    let mut quantizer = Quantizer::new(cx, quantization, dtype);
    network.leaves(&mut |leaf| match leaf {
        Leaf::Linear(linear) if is_quantized(model.model_type(), linear) => quantizer.quantize(linear),
        _ => {}
    });
    materialise(cx, network.as_mut());
    cx.ledger().empty_cache();
    network
}

/// Every `nn.Linear` but the head. `Conv1D` is another class, and so is Falcon's linear layer, which transformers 5.17
/// leaves as it is (`type(module) is nn.Linear`, `integrations/bitsandbytes.py`).
fn is_quantized(model_type: ModelType, linear: &Linear) -> bool {
    // a class of its own too
    let router = matches!(model_type, ModelType::Llama4 | ModelType::Llama4Text) && linear.name == "router";
    linear.part != Part::Head && !linear.conv1d && !linear.convolution && model_type != ModelType::Falcon && !router
}

/// What was not quantised comes to the GPU, the head last. A tied head gets a weight of its own, which goes when it is
/// tied again.
fn materialise(cx: &Context, network: &mut dyn Network) {
    let mut embedding: Option<Tensor> = None;
    network.leaves(&mut |mut leaf| {
        if leaf.part() == Part::Head || is_held_quantized(&leaf) {
            return;
        }
        let (name, part) = (leaf.name(), leaf.part());
        for parameter in leaf.dense_parameters() {
            *parameter = cx.parameter(name, parameter.dims(), parameter.dtype(), false);
            // the token table is the first of a model's embeddings
            if part == Part::Embedding {
                embedding.get_or_insert_with(|| parameter.clone());
            }
        }
    });
    network.buffers(&mut |buffer| *buffer = cx.buffer("buffer", buffer.dims(), buffer.dtype()));
    let tied = network.is_tied();
    network.leaves(&mut |mut leaf| {
        if leaf.part() != Part::Head {
            return;
        }
        let name = leaf.name();
        for parameter in leaf.dense_parameters() {
            *parameter = cx.parameter(name, parameter.dims(), parameter.dtype(), false);
        }
        if let (Leaf::Linear(head), Some(embedding), true) = (leaf, &embedding, tied) {
            head.weight = Weight::Dense(embedding.clone());
        }
    });
}

fn is_held_quantized(leaf: &Leaf<'_>) -> bool {
    matches!(leaf, Leaf::Linear(linear) if !matches!(linear.weight, Weight::Dense(_)))
}
