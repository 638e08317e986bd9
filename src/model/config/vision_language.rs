//! Vision-language models: a text part read as its own family, and a tower beside it.

use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::fields::Fields;
use super::limits;
use super::vision_tower::{self as tower, Vision, VisionDefaults, Visual};
use crate::model::{
    DecoderConfig, Grids, Model, ModelError, ModelType, Packing, ParameterGroup, ParameterList, Role, Tower,
};

const TOWER: Role = Role::Tower;
static NO_FIELDS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

/// An object that is absent.
pub(super) fn no_fields(model_type: ModelType) -> Fields<'static> {
    Fields::new(&NO_FIELDS, model_type)
}

/// A vision-language model: its text part, with the tower beside it.
pub(super) fn read(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    use ModelType as T;
    let mut text = text_part(name, fields)?;
    let vision = fields.within("vision_config")?.unwrap_or(no_fields(fields.model_type));
    let mut list = ParameterList::default();
    let width = text.hidden_size;
    match fields.model_type {
        T::Qwen2Vl => {
            let visual = qwen2_visual(vision)?;
            tower::qwen2_vl(&mut list, &visual, vision.dimension_or(&["hidden_size"], limits::HIDDEN_SIZE, 3584)?);
        }
        T::Qwen25Vl => {
            let default = VisionDefaults { hidden_size: 3584, intermediate_size: 3420, num_hidden_layers: 32, ..QWEN };
            let visual = Visual::read(vision, &default, 16)?;
            tower::qwen2_5_vl(&mut list, &visual, out_hidden_size(vision, 3584)?);
        }
        T::Qwen3Vl | T::Qwen3VlMoe => {
            let default = VisionDefaults {
                hidden_size: 1152,
                intermediate_size: 4304,
                num_hidden_layers: 27,
                patch_size: 16,
                ..QWEN
            };
            let visual = Visual::read(vision, &default, 16)?;
            let positions = vision.dimension_or(&["num_position_embeddings"], limits::MAX_POSITION_EMBEDDINGS, 2304)?;
            let deepstack = vision.list("deepstack_visual_indexes")?.map_or(3, <[_]>::len);
            let deepstack = u64::try_from(deepstack).unwrap_or(u64::MAX);
            tower::qwen3_vl(&mut list, &visual, positions, deepstack, out_hidden_size(vision, 3584)?);
        }
        T::Glm4v | T::Glm4vMoe => {
            let default = VisionDefaults {
                hidden_size: 1536,
                intermediate_size: 13_696,
                num_hidden_layers: 24,
                image_size: 336,
                ..QWEN
            };
            let visual = Visual::read(vision, &default, 12)?;
            let bias = vision.boolean("attention_bias", false)?;
            tower::glm4v(&mut list, &visual, bias, out_hidden_size(vision, 4096)?);
        }
        T::Llava | T::LlavaNext => {
            if fields.model_type == T::LlavaNext {
                list.once(|group| group.parameter(TOWER, "image_newline", &[width]));
            }
            only_tower(vision, "clip_vision_model")?;
            let vision = Vision::read(vision, &clip_defaults(fields)?)?;
            tower::clip(&mut list, &vision);
            let features = feature_layers(fields)?.saturating_mul(vision.hidden_size);
            let bias = fields.boolean("multimodal_projector_bias", true)?;
            list.once(|group| two_layers(group, [features, width], bias));
        }
        T::Gemma3 => {
            only_tower(vision, "siglip_vision_model")?;
            let vision = Vision::read(vision, &SIGLIP)?;
            tower::siglip(&mut list, &vision);
            let from = vision.hidden_size;
            list.once(|group| {
                group.parameter(TOWER, "multi_modal_projector.mm_input_projection_weight", &[from, width]);
                group.rms_norm("multi_modal_projector.mm_soft_emb_norm", from);
            });
        }
        T::Paligemma => {
            only_tower(vision, "siglip_vision_model")?;
            let default = match fields.within("vision_config")? {
                Some(_) => SIGLIP,
                None => VisionDefaults {
                    hidden_size: 1152,
                    intermediate_size: 4096,
                    num_hidden_layers: 27,
                    patch_size: 14,
                    ..SIGLIP
                },
            };
            let vision = Vision::read(vision, &default)?;
            tower::siglip(&mut list, &vision);
            let out = fields.dimension_or(&["projection_dim"], limits::HIDDEN_SIZE, 2048)?;
            list.once(|group| group.linear(TOWER, "multi_modal_projector.linear", [vision.hidden_size, out], true));
        }
        T::Mistral3 => {
            only_tower(vision, "pixtral")?;
            let heads = vision.dimension_or(&["num_attention_heads"], limits::NUM_HEADS, 16)?;
            let default = match fields.within("vision_config")? {
                Some(_) => PIXTRAL,
                None => VisionDefaults { patch_size: 14, image_size: 1540, ..PIXTRAL },
            };
            let pixtral = Vision::read(vision, &default)?;
            let head_dim = vision.dimension_or(&["head_dim"], limits::HEAD_DIM, pixtral.hidden_size / heads)?;
            tower::pixtral(&mut list, &pixtral, head_dim);
            let (from, merge) =
                (pixtral.hidden_size, fields.dimension_or(&["spatial_merge_size"], limits::IMAGE_SIZE, 2)?);
            let features = feature_layers(fields)?.saturating_mul(from);
            let bias = fields.boolean("multimodal_projector_bias", false)?;
            list.once(|group| {
                group.rms_norm("multi_modal_projector.norm", from);
                let merged = from.saturating_mul(merge * merge);
                group.linear(TOWER, "multi_modal_projector.patch_merger.merging_layer", [merged, from], false);
                two_layers(group, [features, width], bias);
            });
        }
        T::Fuyu => {
            let side = fields.side("patch_size", 30)?;
            let channels = fields.dimension_or(&["num_channels"], limits::CHANNELS, 3)?;
            let patch = side.saturating_mul(side).saturating_mul(channels);
            list.once(|group| group.linear(TOWER, "vision_embed_tokens", [patch, width], true));
        }
        T::Idefics3 => {
            let default = VisionDefaults {
                hidden_size: 1152,
                intermediate_size: 3072,
                num_hidden_layers: 12,
                image_size: 224,
                patch_size: 32,
            };
            let vision = Vision::read(vision, &default)?;
            tower::idefics3(&mut list, &vision);
            let scale = fields.dimension_or(&["scale_factor"], limits::IMAGE_SIZE, 2)?;
            let from = vision.hidden_size.saturating_mul(scale * scale);
            list.once(|group| group.linear(TOWER, "connector.modality_projection.proj", [from, width], false));
        }
        _ => {
            let default = VisionDefaults {
                hidden_size: 1024,
                intermediate_size: 4096,
                num_hidden_layers: 24,
                image_size: 448,
                patch_size: 14,
            };
            let internvl = Vision::read(vision, &default)?;
            let (norm, bias) = (vision.boolean("use_qk_norm", false)?, vision.boolean("attention_bias", false)?);
            if vision.text("norm_type")?.is_some_and(|norm| norm != "layer_norm") {
                return Err(vision.unsupported("norm_type", "only \"layer_norm\" is modelled"));
            }
            tower::internvl(&mut list, &internvl, norm, bias);
            let ratio = fields.number("downsample_ratio")?.unwrap_or(0.5);
            let from = merged_width(fields, internvl.hidden_size, ratio)?;
            list.once(|group| {
                group.layer_norm("multi_modal_projector.layer_norm", from);
                two_layers(group, [from, width], true);
            });
        }
    }
    text.head.tied = ties(fields, &text)?;
    text.tower = Some(Tower {
        model_type: fields.model_type,
        parameters: list.into_tower(),
        grids: match fields.model_type {
            T::Qwen2Vl | T::Qwen25Vl | T::Glm4v | T::Glm4vMoe => Some(Grids::Sections),
            T::Qwen3Vl | T::Qwen3VlMoe => Some(Grids::Interleaved),
            _ => None,
        },
        packing: match fields.model_type {
            T::Qwen2Vl | T::Qwen25Vl | T::Glm4v | T::Glm4vMoe | T::Gemma3 => Packing::Never,
            T::Paligemma => Packing::AlsoWithCache,
            _ => Packing::WithoutCache,
        },
    });
    super::refuse_absurd_size(&text)?;
    Ok(Model::Decoder(text))
}

const QWEN: VisionDefaults =
    VisionDefaults { hidden_size: 0, intermediate_size: 0, num_hidden_layers: 0, image_size: 224, patch_size: 14 };
const SIGLIP: VisionDefaults = VisionDefaults {
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    image_size: 224,
    patch_size: 16,
};
const PIXTRAL: VisionDefaults = VisionDefaults {
    hidden_size: 1024,
    intermediate_size: 4096,
    num_hidden_layers: 24,
    image_size: 1024,
    patch_size: 16,
};

/// LLaVA without a `vision_config` has CLIP's large tower, with one CLIP's own defaults.
fn clip_defaults(fields: Fields<'_>) -> Result<VisionDefaults, ModelError> {
    Ok(match fields.within("vision_config")? {
        Some(_) => VisionDefaults { patch_size: 32, ..SIGLIP },
        None => VisionDefaults {
            hidden_size: 1024,
            intermediate_size: 4096,
            num_hidden_layers: 24,
            image_size: 336,
            patch_size: 14,
        },
    })
}

/// Qwen2-VL's tower: its `hidden_size` is that of what it returns.
fn qwen2_visual(fields: Fields<'_>) -> Result<Visual, ModelError> {
    let default = VisionDefaults { hidden_size: 1280, num_hidden_layers: 32, ..QWEN };
    let mut visual = Visual::read(fields, &default, 16)?;
    let vision = &mut visual.vision;
    vision.hidden_size = fields.dimension_or(&["embed_dim"], limits::HIDDEN_SIZE, 1280)?;
    vision.intermediate_size =
        vision.hidden_size.saturating_mul(fields.dimension_or(&["mlp_ratio"], limits::EXPAND, 4)?);
    Ok(visual)
}

fn out_hidden_size(fields: Fields<'_>, default: u64) -> Result<u64, ModelError> {
    fields.dimension_or(&["out_hidden_size"], limits::HIDDEN_SIZE, default)
}

/// Refuses a tower of another type.
fn only_tower(vision: Fields<'_>, only: &str) -> Result<(), ModelError> {
    match vision.text("model_type")? {
        Some(found) if found != only => {
            Err(vision.unsupported("model_type", &format!("of its vision_config only \"{only}\" is known")))
        }
        _ => Ok(()),
    }
}

/// How many layers' features are joined.
fn feature_layers(fields: Fields<'_>) -> Result<u64, ModelError> {
    const FIELD: &str = "vision_feature_layer";
    match fields.map().get(FIELD) {
        Some(Value::Array(layers)) => Ok(u64::try_from(layers.len()).unwrap_or(u64::MAX)),
        _ => fields.signed(FIELD).map(|_| 1),
    }
}

fn two_layers(group: &mut ParameterGroup, [from, width]: [u64; 2], bias: bool) {
    group.linear(TOWER, "multi_modal_projector.linear_1", [from, width], bias);
    group.linear(TOWER, "multi_modal_projector.linear_2", [width, width], bias);
}

/// `hidden_size * int(1 / downsample_ratio) ** 2`
fn merged_width(fields: Fields<'_>, hidden_size: u64, ratio: f64) -> Result<u64, ModelError> {
    if !(ratio > 0.0 && ratio <= 1.0) || 1.0 / ratio > 256.0 {
        return Err(fields.unsupported("downsample_ratio", "it is the inverse of a whole number up to 256"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 1 to 256, and meant to truncate")]
    let factor = (1.0 / ratio) as u64;
    Ok(hidden_size.saturating_mul(factor * factor))
}

/// The text part: `text_config`, or the fields themselves where the file is flat (Qwen2-VL).
fn text_part(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    use ModelType as T;
    let (default, own) = match fields.model_type {
        T::Qwen2Vl => (T::Qwen2, "qwen2_vl_text"),
        T::Qwen25Vl => (T::Qwen2, "qwen2_5_vl_text"),
        T::Qwen3Vl => (T::Qwen3, "qwen3_vl_text"),
        T::Qwen3VlMoe => (T::Qwen3Moe, "qwen3_vl_moe_text"),
        T::Glm4v => (T::Glm4, "glm4v_text"),
        T::Glm4vMoe => (T::Glm4Moe, "glm4v_moe_text"),
        T::Gemma3 => (T::Gemma3Text, "gemma3_text"),
        T::Paligemma => (T::Gemma, "gemma"),
        T::Mistral3 => (T::Mistral, "mistral"),
        T::Internvl => (T::Qwen2, "qwen2"),
        T::Fuyu => (T::Persimmon, "persimmon"),
        _ => (T::Llama, "llama"),
    };
    let text = match fields.within("text_config")? {
        Some(text) => text,
        None => fields,
    };
    let model_type = match text.text("model_type")? {
        Some(found) if found == own || found == fields.model_type.as_str() => default,
        Some(found) => found.parse()?,
        None => default,
    };
    let mut map = text.map().clone();
    if fields.within("text_config")?.is_some() {
        for (field, default) in text_defaults(model_type) {
            map.entry(field).or_insert_with(|| default.into());
        }
    }
    match super::read(name, Fields::new(&map, model_type))? {
        Model::Decoder(text) if text.tower.is_none() => Ok(text),
        _ => Err(fields.unsupported("text_config", "its text part must be a decoder")),
    }
}

/// The dimensions that files on the Hub leave to the class of their text part.
fn text_defaults(model_type: ModelType) -> impl Iterator<Item = (&'static str, u64)> {
    const FIELDS: [&str; 5] =
        ["hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size"];
    let defaults = match model_type {
        ModelType::Gemma3Text => Some([2304, 9216, 26, 8, 262_208]),
        ModelType::Llama => Some([4096, 11_008, 32, 32, 32_000]),
        ModelType::Mistral => Some([4096, 14_336, 32, 32, 32_000]),
        ModelType::Qwen2 => Some([4096, 22_016, 32, 32, 151_936]),
        ModelType::Gemma => Some([3072, 24_576, 28, 16, 256_000]),
        _ => None,
    };
    defaults.into_iter().flat_map(|defaults| FIELDS.into_iter().zip(defaults))
}

/// Whether the head is tied: the whole model's flag, and the text part's where the class forwards it.
fn ties(fields: Fields<'_>, text: &DecoderConfig) -> Result<bool, ModelError> {
    use ModelType as T;
    let default = matches!(fields.model_type, T::Gemma3 | T::Paligemma | T::Mistral3 | T::Internvl);
    let own = fields.boolean("tie_word_embeddings", default)?;
    let forwarded = matches!(fields.model_type, T::Qwen2Vl | T::Qwen25Vl | T::Glm4v | T::Glm4vMoe | T::Llava);
    Ok(own || (forwarded && text.head.tied))
}
