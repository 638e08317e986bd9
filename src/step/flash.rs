//! Which models the flash-attn package is modelled for.

use super::error::EstimateError;
use crate::ghost::FLASH_MAX_WIDTH;
use crate::job::{AttnImplementation, JobError, Train};
use crate::model::{Model, ModelType as T};

/// # Errors
/// The job asks for the package on a model whose attention has no place for it here. A packed batch needs none of its own:
/// without a mask the kernels are those of sdpa.
pub(super) fn check(model: &Model, job: &Train) -> Result<(), EstimateError> {
    if job.attn_implementation != AttnImplementation::FlashAttention2 || job.packing {
        return Ok(());
    }
    let no = |why: &str| {
        let fix = format!("{why} of {}; use \"sdpa\"", model.name());
        Err(JobError::unsupported("train.attn_implementation", "\"flash_attention_2\"", fix).into())
    };
    let Some(decoder) = model.decoder() else { return no("only decoders' attention is modelled, not that") };
    let own_layers = matches!(
        decoder.model_type,
        T::Gpt2
            | T::GptNeox
            | T::GptBigcode
            | T::GptNeo
            | T::Gptj
            | T::Codegen
            | T::Mpt
            | T::Persimmon
            | T::Xglm
            | T::Bloom
            | T::Falcon
            | T::Opt
            | T::Llama4
            | T::Llama4Text
    );
    if own_layers || decoder.mla.is_some() || decoder.mixer.is_some() || decoder.attention.sinks {
        return no("it is modelled for plain attention alone, not for that");
    }
    if decoder.attention.head_dim > FLASH_MAX_WIDTH {
        return no("the package has no kernels as wide as the heads");
    }
    Ok(())
}
