//! Llama 3.2 Vision, of which only the parameters are known: its text part attends to images in some of its layers.

use super::fields::Fields;
use super::limits;
use super::vision::counted;
use super::vision_language::no_fields;
use super::vision_tower::{Vision, VisionDefaults};
use crate::model::{
    LayerCache, Model, ModelError, ParameterGroup, ParameterList, Role, Span, TokenCache, TokenCacheKind,
};

/// `MllamaForConditionalGeneration`
pub(super) fn read(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    let none = no_fields(fields.model_type);
    let (text, vision) =
        (fields.within("text_config")?.unwrap_or(none), fields.within("vision_config")?.unwrap_or(none));
    let width = text.dimension_or(&["hidden_size"], limits::HIDDEN_SIZE, 4096)?;
    let layers = text.dimension_or(&["num_hidden_layers"], limits::NUM_HIDDEN_LAYERS, 40)?;
    let heads = text.dimension_or(&["num_attention_heads"], limits::NUM_HEADS, 32)?;
    super::encoder::whole_heads("num_attention_heads", width, heads)?;
    let kv = text.dimension_or(&["num_key_value_heads"], limits::NUM_HEADS, 8)?.saturating_mul(width / heads);
    let inner = text.dimension_or(&["intermediate_size"], limits::INTERMEDIATE_SIZE, 14_336)?;
    let rows = text.dimension_or(&["vocab_size"], limits::VOCAB_SIZE, 128_256)?;
    let positions = text.dimension_or(&["max_position_embeddings"], limits::MAX_POSITION_EMBEDDINGS, 131_072)?;
    let cross = match text.list("cross_attention_layers")? {
        Some(list) => u64::try_from(list.len()).unwrap_or(u64::MAX),
        None => 8,
    };
    text.at_most("cross_attention_layers", cross, "num_hidden_layers", layers)?;
    let mut list = ParameterList::default();
    tower(&mut list, vision)?;
    let mut list = list.into_tower();
    // eight rows for tokens that stand for images
    list.once(|group| group.table("language_model.embed_tokens", rows + 8, width));
    list.repeat(layers - cross, |layer| {
        attention(layer, SELF, [width, kv]);
        feed_forward(layer, [width, inner]);
    });
    list.repeat(cross, |layer| {
        layer.parameter(Role::Other, "language_model.layers.cross_attn_attn_gate", &[1]);
        layer.parameter(Role::Other, "language_model.layers.cross_attn_mlp_gate", &[1]);
        attention(layer, CROSS, [width, kv]);
        layer.rms_norm("language_model.layers.cross_attn.q_norm", width / heads);
        layer.rms_norm("language_model.layers.cross_attn.k_norm", width / heads);
        feed_forward(layer, [width, inner]);
    });
    let out = vision.dimension_or(&["vision_output_dim"], limits::HIDDEN_SIZE, 7680)?;
    let tied = fields.boolean("tie_word_embeddings", false)? || text.boolean("tie_word_embeddings", false)?;
    list.once(|group| {
        group.rms_norm("language_model.norm", width);
        group.linear(Role::Tower, "multi_modal_projector", [out, width], true);
        if !tied {
            group.linear(Role::Head, "lm_head", [width, rows], false);
        }
    });
    let mut model = counted(name, fields, list, [width, layers], [rows, positions])?;
    let tiles = vision.dimension_or(&["max_num_tiles"], limits::IMAGE_SIZE, 4)?;
    let patches = Vision::read(vision, &TOWER)?.patches.saturating_add(1);
    let head_dim = width / heads;
    let own = TokenCache::of_heads(kv / head_dim, head_dim, Span::All);
    let seen = Span::Fixed(tiles.saturating_mul(patches));
    let image = TokenCache { kind: TokenCacheKind::CrossAttention, span: seen, ..own };
    if let Model::Listed(listed) = &mut model {
        let of = |index| LayerCache::of(if index < layers - cross { own } else { image });
        listed.caches = Some((0..layers).map(of).collect());
    }
    Ok(model)
}

const SELF: [&str; 4] = [
    "language_model.layers.self_attn.q_proj",
    "language_model.layers.self_attn.k_proj",
    "language_model.layers.self_attn.v_proj",
    "language_model.layers.self_attn.o_proj",
];
const CROSS: [&str; 4] = [
    "language_model.layers.cross_attn.q_proj",
    "language_model.layers.cross_attn.k_proj",
    "language_model.layers.cross_attn.v_proj",
    "language_model.layers.cross_attn.o_proj",
];

fn attention(layer: &mut ParameterGroup, [query, key, value, output]: [&'static str; 4], [width, kv]: [u64; 2]) {
    layer.linear(Role::Attention, query, [width, width], false);
    layer.linear(Role::Attention, key, [width, kv], false);
    layer.linear(Role::Attention, value, [width, kv], false);
    layer.linear(Role::Attention, output, [width, width], false);
}

fn feed_forward(layer: &mut ParameterGroup, [width, inner]: [u64; 2]) {
    layer.linear(Role::Mlp, "language_model.layers.mlp.gate_proj", [width, inner], false);
    layer.linear(Role::Mlp, "language_model.layers.mlp.up_proj", [width, inner], false);
    layer.linear(Role::Mlp, "language_model.layers.mlp.down_proj", [inner, width], false);
    layer.rms_norm("language_model.layers.input_layernorm", width);
    layer.rms_norm("language_model.layers.post_attention_layernorm", width);
}

/// `MllamaVisionConfig`'s own sizes.
const TOWER: VisionDefaults = VisionDefaults {
    hidden_size: 1280,
    intermediate_size: 5120,
    num_hidden_layers: 32,
    image_size: 448,
    patch_size: 14,
};

/// `MllamaVisionModel`
fn tower(list: &mut ParameterList, fields: Fields<'_>) -> Result<(), ModelError> {
    const ROLE: Role = Role::Tower;
    let vision = Vision::read(fields, &TOWER)?;
    let tiles = fields.dimension_or(&["max_num_tiles"], limits::IMAGE_SIZE, 4)?;
    let global = fields.dimension_or(&["num_global_layers"], limits::NUM_HIDDEN_LAYERS, 8)?;
    let (d, inner, patches) = (vision.hidden_size, vision.intermediate_size, vision.patches + 1);
    // the aspect ratios of four tiles, and one for none
    let ratios = match fields.list("supported_aspect_ratios")? {
        Some(list) => u64::try_from(list.len()).unwrap_or(u64::MAX),
        None => 8,
    }
    .saturating_add(1);
    list.once(|group| {
        group.parameter(ROLE, "vision_model.class_embedding", &[d]);
        group.conv("vision_model.patch_embedding", &vision.patch(), false);
        let positions = "vision_model.gated_positional_embedding";
        group.parameter(ROLE, positions, &[1]);
        group.parameter(ROLE, positions, &[patches, d]);
        group.table(positions, ratios, tiles.saturating_mul(patches).saturating_mul(d));
        for path in ["vision_model.pre_tile_positional_embedding", "vision_model.post_tile_positional_embedding"] {
            group.parameter(ROLE, path, &[1]);
            group.table(path, ratios, tiles.saturating_mul(d));
        }
        group.layer_norm("vision_model.layernorm_pre", d);
        group.layer_norm("vision_model.layernorm_post", d);
    });
    for (times, gated) in [(vision.num_hidden_layers, false), (global, true)] {
        list.repeat(times, |layer| {
            if gated {
                layer.parameter(ROLE, "vision_model.global_transformer.layers.gate_attn", &[1]);
                layer.parameter(ROLE, "vision_model.global_transformer.layers.gate_ffn", &[1]);
            }
            for path in [
                "vision_model.transformer.layers.self_attn.q_proj",
                "vision_model.transformer.layers.self_attn.k_proj",
                "vision_model.transformer.layers.self_attn.v_proj",
                "vision_model.transformer.layers.self_attn.o_proj",
            ] {
                layer.linear(ROLE, path, [d, d], false);
            }
            layer.linear(ROLE, "vision_model.transformer.layers.mlp.fc1", [d, inner], true);
            layer.linear(ROLE, "vision_model.transformer.layers.mlp.fc2", [inner, d], true);
            layer.layer_norm("vision_model.transformer.layers.input_layernorm", d);
            layer.layer_norm("vision_model.transformer.layers.post_attention_layernorm", d);
        });
    }
    Ok(())
}
