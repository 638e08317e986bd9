//! What vLLM says of cards that cannot compute in a type.

use super::request::VllmRequest;
use crate::job::KvCacheDtype;
use crate::model::{QuantMethod, Quantization};

/// What an engine says of cards below a compute capability.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Caution {
    /// The compute capability from which on it says nothing.
    pub from: (u32, u32),
    /// What it says.
    pub says: &'static str,
}

/// The first with bf16.
const AMPERE: (u32, u32) = (8, 0);
/// The first with fp8.
const ADA: (u32, u32) = (8, 9);

/// Every caution that goes with what is asked for.
pub(super) fn cautions(request: &VllmRequest, quantization: Option<&Quantization>) -> Vec<Caution> {
    let in_fp8 = |quantization: &Quantization| match &quantization.method {
        QuantMethod::Fp8 { .. } | QuantMethod::FbgemmFp8 => true,
        QuantMethod::CompressedTensors(scheme) => scheme.format == "float-quantized",
        _ => false,
    };
    let fp8_weights = quantization.is_some_and(in_fp8);
    [
        (
            true,
            AMPERE,
            // `_get_and_verify_dtype`, vllm/config/model.py
            "vLLM: \"Your device doesn't support torch.bfloat16. Falling back to torch.float16 for compatibility.\", which \
             takes as much; with --dtype bfloat16 it does not start.",
        ),
        (
            fp8_weights,
            AMPERE,
            // `Fp8Config.get_min_capability`, vllm/model_executor/layers/quantization/fp8.py; 75 in later versions
            "vLLM: \"The quantization method fp8 is not supported for the current GPU. Minimum capability: 80.\"; later \
             versions start from compute capability 7.5 on.",
        ),
        (
            fp8_weights,
            ADA,
            // `prepare_fp8_layer_for_marlin`, vllm/model_executor/layers/quantization/utils/marlin_utils_fp8.py
            "vLLM: \"Your GPU does not have native support for FP8 computation but FP8 quantization is being used. Weight-only \
             FP8 compression will be used leveraging the Marlin kernel.\", which takes as much.",
        ),
        (
            request.kv_cache_dtype == KvCacheDtype::Fp8,
            ADA,
            "keys and values in fp8: FlashAttention has them from compute capability 9.0 on, vLLM's Triton kernels from 8.9 \
             (\"type fp8e4nv not supported in this architecture\"); below, vLLM starts with FlashInfer's kernels alone.",
        ),
    ]
    .into_iter()
    .filter_map(|(applies, from, says)| applies.then_some(Caution { from, says }))
    .collect()
}
