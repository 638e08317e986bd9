//! States in place of tokens, as vLLM keeps them.

use crate::dtype::DType;
use crate::model::{Counted, Mixer, Model};

/// What a layer's state takes on one of `tp` GPUs; `None`: vLLM's shape of it is not known here.
///
/// The inputs of the convolution but the newest are kept in the model's type, the recurrence's state in fp32 where the model
/// says so (Qwen3.5's `mamba_ssm_dtype`) and in its own type otherwise
/// (`MambaStateShapeCalculator`, `MambaStateDtypeCalculator`, vllm/model_executor/layers/mamba/mamba_utils.py).
pub(super) fn state_bytes(model: &Model, tp: u64) -> Option<u64> {
    let half = DType::BF16.bytes();
    let bytes = |channels: u64, kernel: u64, recurrent: u64, each: u64| {
        let convolution = channels.div_ceil(tp).checked_mul(kernel.saturating_sub(1))?.checked_mul(half)?;
        convolution.checked_add(recurrent.div_ceil(tp).checked_mul(each)?)
    };
    match model.decoder()?.mixer.as_ref()? {
        Mixer::Mamba(mamba) => {
            bytes(mamba.inner_size, mamba.conv_kernel, mamba.inner_size.checked_mul(mamba.state_size)?, half)
        }
        Mixer::Mamba2(mamba) => {
            bytes(mamba.conv_channels(), mamba.conv_kernel, mamba.inner_size.checked_mul(mamba.state_size)?, half)
        }
        Mixer::ShortConv(conv) => bytes(model.decoder()?.hidden_size, conv.conv_kernel, 0, half),
        Mixer::GatedDelta(delta) => {
            let state = delta.num_value_heads.checked_mul(delta.key_head_dim)?.checked_mul(delta.value_head_dim)?;
            let each = if delta.fused { half } else { DType::F32.bytes() };
            bytes(delta.conv_channels(), delta.conv_kernel, state, each)
        }
        Mixer::Counted(Counted::DeltaNet { .. } | Counted::RgLru { .. } | Counted::Rwkv { .. }) => None,
    }
}
