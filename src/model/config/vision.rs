//! Vision models of which only the parameters are known, and CLIP and its kin.

use super::fields::Fields;
use super::limits;
use super::vision_tower::{self as tower, Vision, VisionDefaults};
use crate::dtype::DType;
use crate::model::{
    Activation, ListedConfig, Model, ModelError, ModelType, Origin, ParameterGroup, ParameterList, Role, VisionConfig,
};

/// A model that is counted, of these dimensions.
pub(super) fn counted(
    name: &str,
    fields: Fields<'_>,
    parameters: ParameterList,
    [hidden_size, num_hidden_layers]: [u64; 2],
    [vocab_size, max_position_embeddings]: [u64; 2],
) -> Result<Model, ModelError> {
    super::refuse_too_many(parameters.count())?;
    Ok(Model::Listed(ListedConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        hidden_size,
        num_hidden_layers,
        vocab_size,
        max_position_embeddings,
        parameters,
        caches: None,
    }))
}

/// Classes of the head that classifies images; `None`: the model stands alone.
fn labels(fields: Fields<'_>) -> Result<Option<u64>, ModelError> {
    match fields.architecture()? {
        Some(class) if class.ends_with("ForImageClassification") => {
            Ok(Some(fields.dimension_or(&["num_labels"], limits::NUM_LABELS, 2)?))
        }
        Some(class) if class.ends_with("Model") => Ok(None),
        Some(_) => Err(fields.unsupported(
            "architectures",
            "the classes known are those ending in Model and ForImageClassification; leave it out for the model alone",
        )),
        None => match fields.integer("num_labels", limits::NUM_LABELS)? {
            Some(labels) => Ok(Some(labels)),
            None => Ok(None),
        },
    }
}

fn classifier(list: &mut ParameterList, width: u64, labels: Option<u64>) {
    if let Some(labels) = labels {
        list.once(|head| head.linear(Role::Head, "classifier", [width, labels], true));
    }
}

/// `ViTModel`, `ViTForImageClassification`, `Dinov2Model`, `Dinov2ForImageClassification`
pub(super) fn transformer(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    let dino = fields.model_type == ModelType::Dinov2;
    let vision = Vision::read(fields, &VisionDefaults { patch_size: if dino { 14 } else { 16 }, ..VIT })?;
    let (d, labels) = (vision.hidden_size, labels(fields)?);
    let num_attention_heads = fields.dimension_or(&["num_attention_heads"], limits::NUM_HEADS, 12)?;
    super::encoder::whole_heads("num_attention_heads", d, num_attention_heads)?;
    let gated = dino && fields.boolean("use_swiglu_ffn", false)?;
    let mut intermediate_size = vision.intermediate_size;
    if dino {
        intermediate_size = d.saturating_mul(fields.dimension_or(&["mlp_ratio"], limits::EXPAND, 4)?);
        if fields.number("drop_path_rate")?.is_some_and(|rate| rate > 0.0) {
            return Err(
                fields.unsupported("drop_path_rate", "dropping whole branches is not modelled, so leave it out")
            );
        }
    }
    if gated {
        // two thirds, in whole eights
        intermediate_size = (intermediate_size * 2 / 3).div_ceil(8) * 8;
    }
    let model = VisionConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        hidden_size: d,
        num_hidden_layers: vision.num_hidden_layers,
        num_attention_heads,
        intermediate_size,
        image_size: vision.image_size,
        patch_size: vision.patch_size,
        num_channels: vision.channels,
        qkv_bias: fields.boolean("qkv_bias", true)?,
        gated,
        mask_token: dino && fields.boolean("use_mask_token", true)?,
        activation: fields.activation("hidden_act", Activation::Gelu)?,
        hidden_dropout: fields.dropout("hidden_dropout_prob", 0.0)?,
        attention_dropout: fields.dropout("attention_probs_dropout_prob", 0.0)?,
        num_labels: labels,
        pooler: match labels {
            None if !dino => Some(fields.dimension_or(&["pooler_output_size"], limits::HIDDEN_SIZE, d)?),
            _ => None,
        },
    };
    let layer = super::layer_parameters(d, 4 * u128::from(d), intermediate_size);
    let tables = (u128::from(model.patches()) + u128::from(labels.unwrap_or(0)) * 2) * u128::from(d);
    super::refuse_too_many(layer * u128::from(model.num_hidden_layers) + tables)?;
    Ok(Model::Vision(model))
}

/// `SwinModel`, `SwinForImageClassification`
pub(super) fn swin(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    let labels = labels(fields)?;
    let width = fields.dimension_or(&["embed_dim"], limits::HIDDEN_SIZE, 96)?;
    let depths = stages(fields, "depths", &[2, 2, 6, 2])?;
    let heads = stages(fields, "num_heads", &[3, 6, 12, 24])?;
    if depths.len() != heads.len() {
        return Err(fields.unsupported("num_heads", "it has one entry for each of depths"));
    }
    let vision = Vision::read(fields, &VisionDefaults { hidden_size: width, patch_size: 4, ..VIT })?;
    let window = fields.dimension_or(&["window_size"], limits::IMAGE_SIZE, 7)?;
    let (ratio, qkv_bias) = (fields.number("mlp_ratio")?.unwrap_or(4.0), fields.boolean("qkv_bias", true)?);
    if !(0.125..=64.0).contains(&ratio) {
        return Err(fields.unsupported("mlp_ratio", "it is from 1/8 to 64"));
    }
    fields.refuse("use_absolute_embeddings", "leave it out: relative positions alone are modelled")?;
    let mut list = ParameterList::default();
    list.once(|group| {
        let patch = [width, vision.channels, vision.patch_size, vision.patch_size];
        group.conv("embeddings.patch_embeddings.projection", &patch, true);
        group.layer_norm("embeddings.norm", width);
    });
    let mut d = width;
    let last = depths.len() - 1;
    for (stage, (&depth, &heads)) in depths.iter().zip(&heads).enumerate() {
        let inner = super::base::rounded_down(d, ratio);
        list.repeat(depth, |block| {
            for path in [
                "encoder.layers.blocks.attention.q_proj",
                "encoder.layers.blocks.attention.k_proj",
                "encoder.layers.blocks.attention.v_proj",
            ] {
                block.linear(Role::Attention, path, [d, d], qkv_bias);
            }
            block.linear(Role::Attention, "encoder.layers.blocks.attention.o_proj", [d, d], true);
            let rows = (2 * window - 1).saturating_mul(2 * window - 1);
            block.parameter(Role::Other, "encoder.layers.blocks.attention.relative_position_bias", &[rows, heads]);
            block.layer_norm("encoder.layers.blocks.layernorm_before", d);
            block.layer_norm("encoder.layers.blocks.layernorm_after", d);
            block.linear(Role::Mlp, "encoder.layers.blocks.mlp.fc1", [d, inner], true);
            block.linear(Role::Mlp, "encoder.layers.blocks.mlp.fc2", [inner, d], true);
        });
        if stage < last {
            list.once(|group| {
                group.linear(Role::Other, "encoder.layers.downsample.reduction", [4 * d, 2 * d], false);
                group.layer_norm("encoder.layers.downsample.norm", 4 * d);
            });
            d = d.saturating_mul(2);
        }
    }
    list.once(|group| group.layer_norm("layernorm", d));
    classifier(&mut list, d, labels);
    counted(name, fields, list, [d, depths.iter().sum()], [0, vision.patches])
}

/// `ConvNextModel`, `ConvNextForImageClassification`
pub(super) fn convnext(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    let labels = labels(fields)?;
    let depths = stages(fields, "depths", &[3, 3, 9, 3])?;
    let widths = stages(fields, "hidden_sizes", &[96, 192, 384, 768])?;
    if depths.len() != widths.len() {
        return Err(fields.unsupported("hidden_sizes", "it has one entry for each of depths"));
    }
    let patch = fields.side("patch_size", 4)?;
    let channels = fields.dimension_or(&["num_channels"], limits::CHANNELS, 3)?;
    let scaled = fields.number("layer_scale_init_value")?.unwrap_or(1e-6) > 0.0;
    let mut list = ParameterList::default();
    let mut before = widths.first().copied().unwrap_or(1);
    list.once(|group| {
        group.conv("embeddings.patch_embeddings", &[before, channels, patch, patch], true);
        group.layer_norm("embeddings.layernorm", before);
    });
    for (stage, (&depth, &d)) in depths.iter().zip(&widths).enumerate() {
        if stage > 0 {
            list.once(|group| {
                group.layer_norm("encoder.stages.downsampling_layer.0", before);
                group.conv("encoder.stages.downsampling_layer.1", &[d, before, 2, 2], true);
            });
        }
        list.repeat(depth, |layer| {
            if scaled {
                layer.parameter(Role::Other, "encoder.stages.layers.layer_scale_parameter", &[d]);
            }
            layer.conv("encoder.stages.layers.dwconv", &[d, 1, 7, 7], true);
            layer.layer_norm("encoder.stages.layers.layernorm", d);
            layer.linear(Role::Mlp, "encoder.stages.layers.pwconv1", [d, 4 * d], true);
            layer.linear(Role::Mlp, "encoder.stages.layers.pwconv2", [4 * d, d], true);
        });
        before = d;
    }
    list.once(|group| group.layer_norm("layernorm", before));
    classifier(&mut list, before, labels);
    counted(name, fields, list, [before, depths.iter().sum()], [0, 1])
}

/// `ResNetModel`, `ResNetForImageClassification`
pub(super) fn resnet(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    let labels = labels(fields)?;
    let depths = stages(fields, "depths", &[3, 4, 6, 3])?;
    let widths = stages(fields, "hidden_sizes", &[256, 512, 1024, 2048])?;
    if depths.len() != widths.len() {
        return Err(fields.unsupported("hidden_sizes", "it has one entry for each of depths"));
    }
    let bottleneck = match fields.text("layer_type")? {
        None | Some("bottleneck") => true,
        Some("basic") => false,
        Some(_) => return Err(fields.unsupported("layer_type", "it is \"basic\" or \"bottleneck\"")),
    };
    let downsamples_first = fields.boolean("downsample_in_first_stage", false)?;
    let embedding = fields.dimension_or(&["embedding_size"], limits::HIDDEN_SIZE, 64)?;
    let channels = fields.dimension_or(&["num_channels"], limits::CHANNELS, 3)?;
    let mut list = ParameterList::default();
    list.once(|group| convolution(group, ["embedder.embedder.convolution", EMBEDDER_NORM], [embedding, channels, 7]));
    let mut before = embedding;
    for (stage, (&depth, &d)) in depths.iter().zip(&widths).enumerate() {
        let strided = stage > 0 || downsamples_first;
        list.once(|layer| residual(layer, before, d, bottleneck, before != d || strided));
        list.repeat(depth - 1, |layer| residual(layer, d, d, bottleneck, false));
        before = d;
    }
    if let Some(labels) = labels {
        list.once(|head| head.linear(Role::Head, "classifier.1", [before, labels], true));
    }
    counted(name, fields, list, [before, depths.iter().sum()], [0, 1])
}

const EMBEDDER_NORM: &str = "embedder.embedder.normalization";

/// `ResNetConvLayer`: a convolution without bias and a batch norm.
fn convolution(group: &mut ParameterGroup, [conv, norm]: [&'static str; 2], [out, from, kernel]: [u64; 3]) {
    group.conv(conv, &[out, from, kernel, kernel], false);
    group.layer_norm(norm, out);
    for _ in 0..2 {
        group.buffer(norm, &[out], DType::F32);
    }
    group.buffer(norm, &[], DType::I64);
}

/// `ResNetBasicLayer`, `ResNetBottleNeckLayer`
fn residual(layer: &mut ParameterGroup, from: u64, d: u64, bottleneck: bool, shortcut: bool) {
    const NAMES: [&str; 2] = ["encoder.stages.layers.layer.convolution", "encoder.stages.layers.layer.normalization"];
    if shortcut {
        let names = ["encoder.stages.layers.shortcut.convolution", "encoder.stages.layers.shortcut.normalization"];
        convolution(layer, names, [d, from, 1]);
    }
    if bottleneck {
        let narrow = d / 4;
        convolution(layer, NAMES, [narrow, from, 1]);
        convolution(layer, NAMES, [narrow, narrow, 3]);
        convolution(layer, NAMES, [d, narrow, 1]);
    } else {
        convolution(layer, NAMES, [d, from, 3]);
        convolution(layer, NAMES, [d, d, 3]);
    }
}

/// One number for each stage.
fn stages(fields: Fields<'_>, field: &str, default: &[u64]) -> Result<Vec<u64>, ModelError> {
    let found = fields.indices(field, limits::STAGE)?;
    match found.len() {
        0 => Ok(default.to_vec()),
        1..=16 => Ok(found),
        _ => Err(fields.unsupported(field, "it has at most 16 stages")),
    }
}

/// `CLIPModel`, `SiglipModel`
pub(super) fn clip(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    let siglip = fields.model_type == ModelType::Siglip;
    let none = super::vision_language::no_fields(fields.model_type);
    let (text, vision) =
        (fields.within("text_config")?.unwrap_or(none), fields.within("vision_config")?.unwrap_or(none));
    let defaults = if siglip { VIT } else { VisionDefaults { patch_size: 32, ..VIT } };
    let vision = Vision::read(vision, &defaults)?;
    let width = if siglip { [768, 3072] } else { [512, 2048] };
    let d = text.dimension_or(&["hidden_size"], limits::HIDDEN_SIZE, width[0])?;
    let inner = text.dimension_or(&["intermediate_size"], limits::INTERMEDIATE_SIZE, width[1])?;
    let layers = text.dimension_or(&["num_hidden_layers"], limits::NUM_HIDDEN_LAYERS, 12)?;
    let rows = text.dimension_or(&["vocab_size"], limits::VOCAB_SIZE, if siglip { 32_000 } else { 49_408 })?;
    let positions =
        text.dimension_or(&["max_position_embeddings"], limits::MAX_POSITION_EMBEDDINGS, if siglip { 64 } else { 77 })?;
    let mut list = ParameterList::default();
    list.once(|group| {
        group.parameter(Role::Other, "logit_scale", if siglip { &[1] } else { &[] });
        if siglip {
            group.parameter(Role::Other, "logit_bias", &[1]);
        }
        group.table("text_model.embeddings.token_embedding", rows, d);
        group.table("text_model.embeddings.position_embedding", positions, d);
        group.buffer("text_model.embeddings.position_ids", &[1, positions], DType::I64);
    });
    list.repeat(layers, |layer| {
        for path in [
            "text_model.encoder.layers.self_attn.k_proj",
            "text_model.encoder.layers.self_attn.v_proj",
            "text_model.encoder.layers.self_attn.q_proj",
            "text_model.encoder.layers.self_attn.out_proj",
        ] {
            layer.linear(Role::Attention, path, [d, d], true);
        }
        layer.layer_norm("text_model.encoder.layers.layer_norm1", d);
        layer.linear(Role::Mlp, "text_model.encoder.layers.mlp.fc1", [d, inner], true);
        layer.linear(Role::Mlp, "text_model.encoder.layers.mlp.fc2", [inner, d], true);
        layer.layer_norm("text_model.encoder.layers.layer_norm2", d);
    });
    list.once(|group| group.layer_norm("text_model.final_layer_norm", d));
    let mut images = ParameterList::default();
    if siglip {
        let out = text.dimension_or(&["projection_size"], limits::HIDDEN_SIZE, d)?;
        list.once(|group| group.linear(Role::Other, "text_model.head", [d, out], true));
        tower::siglip(&mut images, &vision);
        tower::siglip_head(&mut images, &vision);
    } else {
        tower::clip(&mut images, &vision);
    }
    list.groups.extend(images.into_tower().groups);
    if !siglip {
        let out = fields.dimension_or(&["projection_dim"], limits::HIDDEN_SIZE, 512)?;
        list.once(|group| {
            group.linear(Role::Tower, "visual_projection", [vision.hidden_size, out], false);
            group.linear(Role::Other, "text_projection", [d, out], false);
        });
    }
    counted(name, fields, list, [d, layers + vision.num_hidden_layers], [rows, positions])
}

const VIT: VisionDefaults = VisionDefaults {
    hidden_size: 768,
    intermediate_size: 3072,
    num_hidden_layers: 12,
    image_size: 224,
    patch_size: 16,
};
