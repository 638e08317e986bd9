//! Vision towers, of which only the size is known.

use super::fields::Fields;
use super::limits::{self, Limit};
use crate::model::ModelError;

/// The language model of a configuration that has one within, and whether its head is tied.
pub(super) fn language_model(fields: Fields<'_>) -> Result<(Fields<'_>, bool), ModelError> {
    let text = fields.within("text_config")?.unwrap_or(fields);
    let tied = fields.boolean("tie_word_embeddings", text.boolean("tie_word_embeddings", false)?)?;
    Ok((text, tied))
}

fn number(fields: Fields<'_>, field: &str, limit: Limit, default: u64) -> Result<u128, ModelError> {
    Ok(u128::from(fields.integer(field, limit)?.unwrap_or(default)))
}

/// A block of a vision transformer: attention and two matrices, all with biases, and two layer norms.
const fn block(width: u128, inner: u128) -> u128 {
    4 * width * width + 4 * width + 2 * width * inner + inner + width + 4 * width
}

/// A matrix with a bias.
const fn biased(from: u128, to: u128) -> u128 {
    from * to + to
}

fn possible(parameters: u128) -> Result<u64, ModelError> {
    match u64::try_from(parameters) {
        Ok(count) if count <= limits::PARAMETERS => Ok(count),
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        _ => Err(ModelError::TooManyParameters { parameters: parameters as f64 }),
    }
}

/// `Qwen3_5VisionModel`; none where the configuration has none.
pub(super) fn qwen3_5(fields: Fields<'_>) -> Result<u64, ModelError> {
    let Some(vision) = fields.within("vision_config")? else { return Ok(0) };
    let width = number(vision, "hidden_size", limits::HIDDEN_SIZE, 1152)?;
    let inner = number(vision, "intermediate_size", limits::INTERMEDIATE_SIZE, 4304)?;
    let patch = number(vision, "patch_size", limits::CONV_KERNEL, 16)?;
    let pixels = number(vision, "in_channels", limits::CONV_KERNEL, 3)?
        * number(vision, "temporal_patch_size", limits::CONV_KERNEL, 2)?
        * patch
        * patch;
    let merge = number(vision, "spatial_merge_size", limits::CONV_KERNEL, 2)?;
    let merged = merge * merge * width;
    possible(
        biased(pixels, width)
            + number(vision, "num_position_embeddings", limits::MAX_POSITION_EMBEDDINGS, 2304)? * width
            + number(vision, "depth", limits::NUM_HIDDEN_LAYERS, 27)? * block(width, inner)
            + 2 * width
            + biased(merged, merged)
            + biased(merged, number(vision, "out_hidden_size", limits::HIDDEN_SIZE, 3584)?),
    )
}

/// `Kimi_K25VisionModel` and what projects from it.
pub(super) fn kimi_k25(fields: Fields<'_>) -> Result<u64, ModelError> {
    let Some(vision) = fields.within("vision_config")? else { return Ok(0) };
    let width = number(vision, "vt_hidden_size", limits::HIDDEN_SIZE, 1152)?;
    let inner = number(vision, "vt_intermediate_size", limits::INTERMEDIATE_SIZE, 4304)?;
    let patch = number(vision, "patch_size", limits::CONV_KERNEL, 14)?;
    let places = number(vision, "init_pos_emb_height", limits::MAX_POSITION_EMBEDDINGS, 64)?
        * number(vision, "init_pos_emb_width", limits::MAX_POSITION_EMBEDDINGS, 64)?;
    // two by two patches are merged
    let merged = 4 * width;
    possible(
        biased(3 * patch * patch, width)
            + places * width
            + number(vision, "vt_num_hidden_layers", limits::NUM_HIDDEN_LAYERS, 27)? * block(width, inner)
            + 2 * width
            + 2 * width
            + biased(merged, merged)
            + biased(merged, number(vision, "text_hidden_size", limits::HIDDEN_SIZE, 7168)?),
    )
}

/// `Llama4VisionModel` and what projects from it to `text_width`.
pub(super) fn llama4(fields: Fields<'_>, text_width: u64) -> Result<u64, ModelError> {
    let Some(vision) = fields.within("vision_config")? else { return Ok(0) };
    let width = number(vision, "hidden_size", limits::HIDDEN_SIZE, 768)?;
    let inner = number(vision, "intermediate_size", limits::INTERMEDIATE_SIZE, 5632)?;
    let patch = number(vision, "patch_size", limits::CONV_KERNEL, 14)?;
    let side = number(vision, "image_size", limits::MAX_POSITION_EMBEDDINGS, 448)? / patch;
    let channels = number(vision, "num_channels", limits::CONV_KERNEL, 3)?;
    let projected = number(vision, "projector_output_dim", limits::HIDDEN_SIZE, 4096)?;
    possible(
        channels * patch * patch * width
            + width
            + (side * side + 1) * width
            + number(vision, "num_hidden_layers", limits::NUM_HIDDEN_LAYERS, 34)? * block(width, inner)
            + 4 * width
            + inner * number(vision, "projector_input_dim", limits::HIDDEN_SIZE, 4096)?
            + number(vision, "projector_input_dim", limits::HIDDEN_SIZE, 4096)? * projected
            + number(vision, "vision_output_dim", limits::HIDDEN_SIZE, 7680)? * u128::from(text_width),
    )
}
