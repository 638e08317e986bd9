//! The towers of vision-language models, and what projects from them, as lists of parameters.

use super::fields::Fields;
use super::limits;
use crate::dtype::DType;
use crate::model::{ModelError, ParameterGroup, ParameterList, Role};

const TOWER: Role = Role::Tower;

/// What the classes default to.
pub(super) struct VisionDefaults {
    pub(super) hidden_size: u64,
    pub(super) intermediate_size: u64,
    pub(super) num_hidden_layers: u64,
    pub(super) image_size: u64,
    pub(super) patch_size: u64,
}

/// The dimensions that vision transformers share.
pub(super) struct Vision {
    pub(super) hidden_size: u64,
    pub(super) intermediate_size: u64,
    pub(super) num_hidden_layers: u64,
    pub(super) channels: u64,
    pub(super) patch_size: u64,
    pub(super) image_size: u64,
    /// Patches of an image.
    pub(super) patches: u64,
}

impl Vision {
    /// From a `vision_config`.
    pub(super) fn read(fields: Fields<'_>, default: &VisionDefaults) -> Result<Self, ModelError> {
        let read = |names: &[&'static str], limit, default| fields.dimension_or(names, limit, default);
        let side = |field, default| fields.side(field, default);
        let (image_size, patch_size) =
            (side("image_size", default.image_size)?, side("patch_size", default.patch_size)?);
        Ok(Self {
            hidden_size: read(&["hidden_size"], limits::HIDDEN_SIZE, default.hidden_size)?,
            intermediate_size: read(&["intermediate_size"], limits::INTERMEDIATE_SIZE, default.intermediate_size)?,
            num_hidden_layers: read(
                &["num_hidden_layers", "depth"],
                limits::NUM_HIDDEN_LAYERS,
                default.num_hidden_layers,
            )?,
            channels: read(&["num_channels", "in_channels", "in_chans"], limits::CHANNELS, 3)?,
            patch_size,
            image_size,
            patches: (image_size / patch_size).pow(2),
        })
    }

    /// The kernel that makes patches.
    pub(super) fn patch(&self) -> [u64; 4] {
        [self.hidden_size, self.channels, self.patch_size, self.patch_size]
    }
}

/// Which order a layer of CLIP's kind lists its modules in.
#[derive(Clone, Copy, PartialEq)]
enum Order {
    AttentionFirst,
    NormFirst,
}

fn clip_layers(list: &mut ParameterList, vision: &Vision, order: Order) {
    let (d, inner) = (vision.hidden_size, vision.intermediate_size);
    list.repeat(vision.num_hidden_layers, |layer| {
        if order == Order::NormFirst {
            layer.layer_norm("vision_tower.encoder.layers.layer_norm1", d);
        }
        for path in [
            "vision_tower.encoder.layers.self_attn.k_proj",
            "vision_tower.encoder.layers.self_attn.v_proj",
            "vision_tower.encoder.layers.self_attn.q_proj",
            "vision_tower.encoder.layers.self_attn.out_proj",
        ] {
            layer.linear(TOWER, path, [d, d], true);
        }
        if order == Order::AttentionFirst {
            layer.layer_norm("vision_tower.encoder.layers.layer_norm1", d);
        } else {
            layer.layer_norm("vision_tower.encoder.layers.layer_norm2", d);
        }
        layer.linear(TOWER, "vision_tower.encoder.layers.mlp.fc1", [d, inner], true);
        layer.linear(TOWER, "vision_tower.encoder.layers.mlp.fc2", [inner, d], true);
        if order == Order::AttentionFirst {
            layer.layer_norm("vision_tower.encoder.layers.layer_norm2", d);
        }
    });
}

/// `CLIPVisionModel` without a projection.
pub(super) fn clip(list: &mut ParameterList, vision: &Vision) {
    let d = vision.hidden_size;
    list.once(|tower| {
        tower.parameter(TOWER, "vision_tower.embeddings.class_embedding", &[d]);
        tower.conv("vision_tower.embeddings.patch_embedding", &vision.patch(), false);
        tower.table("vision_tower.embeddings.position_embedding", vision.patches + 1, d);
        tower.buffer("vision_tower.embeddings.position_ids", &[1, vision.patches + 1], DType::I64);
        tower.layer_norm("vision_tower.pre_layrnorm", d);
    });
    clip_layers(list, vision, Order::AttentionFirst);
    list.once(|tower| tower.layer_norm("vision_tower.post_layernorm", d));
}

/// `SiglipVisionModel` without its pooling head.
pub(super) fn siglip(list: &mut ParameterList, vision: &Vision) {
    let d = vision.hidden_size;
    list.once(|tower| {
        tower.conv("vision_tower.embeddings.patch_embedding", &vision.patch(), true);
        tower.table("vision_tower.embeddings.position_embedding", vision.patches, d);
        tower.buffer("vision_tower.embeddings.position_ids", &[1, vision.patches], DType::I64);
    });
    clip_layers(list, vision, Order::NormFirst);
    list.once(|tower| tower.layer_norm("vision_tower.post_layernorm", d));
}

/// `SiglipMultiheadAttentionPoolingHead`: its attention is one module of PyTorch's.
pub(super) fn siglip_head(list: &mut ParameterList, vision: &Vision) {
    let (d, inner) = (vision.hidden_size, vision.intermediate_size);
    list.once(|head| {
        head.parameter(TOWER, "vision_model.head.probe", &[1, 1, d]);
        head.parameter(TOWER, "vision_model.head.attention.in_proj_weight", &[3 * d, d]);
        head.parameter(TOWER, "vision_model.head.attention.in_proj_bias", &[3 * d]);
        head.linear(TOWER, "vision_model.head.attention.out_proj", [d, d], true);
        head.layer_norm("vision_model.head.layernorm", d);
        head.linear(TOWER, "vision_model.head.mlp.fc1", [d, inner], true);
        head.linear(TOWER, "vision_model.head.mlp.fc2", [inner, d], true);
    });
}

/// `Idefics3VisionTransformer`
pub(super) fn idefics3(list: &mut ParameterList, vision: &Vision) {
    let d = vision.hidden_size;
    list.once(|tower| {
        tower.conv("vision_model.embeddings.patch_embedding", &vision.patch(), true);
        tower.table("vision_model.embeddings.position_embedding", vision.patches, d);
    });
    clip_layers(list, vision, Order::AttentionFirst);
    list.once(|tower| tower.layer_norm("vision_model.post_layernorm", d));
}

/// `PixtralVisionModel`
pub(super) fn pixtral(list: &mut ParameterList, vision: &Vision, head_dim: u64) {
    let (d, inner) = (vision.hidden_size, vision.intermediate_size);
    list.once(|tower| {
        tower.conv("vision_tower.patch_conv", &vision.patch(), false);
        tower.rms_norm("vision_tower.ln_pre", d);
        for _ in 0..2 {
            tower.buffer("vision_tower.patch_positional_embedding.inv_freq", &[head_dim / 2], DType::F32);
        }
    });
    list.repeat(vision.num_hidden_layers, |layer| {
        layer.rms_norm("vision_tower.transformer.layers.attention_norm", d);
        layer.linear(TOWER, "vision_tower.transformer.layers.feed_forward.gate_proj", [d, inner], false);
        layer.linear(TOWER, "vision_tower.transformer.layers.feed_forward.up_proj", [d, inner], false);
        layer.linear(TOWER, "vision_tower.transformer.layers.feed_forward.down_proj", [inner, d], false);
        for path in [
            "vision_tower.transformer.layers.attention.k_proj",
            "vision_tower.transformer.layers.attention.v_proj",
            "vision_tower.transformer.layers.attention.q_proj",
            "vision_tower.transformer.layers.attention.o_proj",
        ] {
            layer.linear(TOWER, path, [d, d], false);
        }
        layer.rms_norm("vision_tower.transformer.layers.ffn_norm", d);
    });
}

/// `InternVLVisionModel`
pub(super) fn internvl(list: &mut ParameterList, vision: &Vision, qk_norm: bool, bias: bool) {
    let (d, inner) = (vision.hidden_size, vision.intermediate_size);
    list.once(|tower| {
        tower.parameter(TOWER, "vision_tower.embeddings.cls_token", &[1, 1, d]);
        tower.parameter(TOWER, "vision_tower.embeddings.position_embeddings", &[1, vision.patches + 1, d]);
        tower.conv("vision_tower.embeddings.patch_embeddings.projection", &vision.patch(), true);
    });
    list.repeat(vision.num_hidden_layers, |layer| {
        layer.parameter(TOWER, "vision_tower.encoder.layer.lambda_1", &[d]);
        layer.parameter(TOWER, "vision_tower.encoder.layer.lambda_2", &[d]);
        for path in [
            "vision_tower.encoder.layer.attention.q_proj",
            "vision_tower.encoder.layer.attention.k_proj",
            "vision_tower.encoder.layer.attention.v_proj",
        ] {
            layer.linear(TOWER, path, [d, d], bias);
        }
        layer.linear(TOWER, "vision_tower.encoder.layer.attention.projection_layer", [d, d], true);
        if qk_norm {
            layer.rms_norm("vision_tower.encoder.layer.attention.q_norm", d);
            layer.rms_norm("vision_tower.encoder.layer.attention.k_norm", d);
        }
        layer.linear(TOWER, "vision_tower.encoder.layer.mlp.fc1", [d, inner], true);
        layer.linear(TOWER, "vision_tower.encoder.layer.mlp.fc2", [inner, d], true);
        layer.layer_norm("vision_tower.encoder.layer.layernorm_before", d);
        layer.layer_norm("vision_tower.encoder.layer.layernorm_after", d);
    });
}

/// Qwen's towers: patches of two frames, one fused projection.
pub(super) struct Visual {
    pub(super) vision: Vision,
    pub(super) temporal_patch_size: u64,
    /// Patches merged along each side.
    pub(super) merge: u64,
    pub(super) num_heads: u64,
}

impl Visual {
    pub(super) fn read(fields: Fields<'_>, default: &VisionDefaults, heads: u64) -> Result<Self, ModelError> {
        let read = |names: &[&'static str], limit, default| fields.dimension_or(names, limit, default);
        Ok(Self {
            vision: Vision::read(fields, default)?,
            temporal_patch_size: read(&["temporal_patch_size"], limits::IMAGE_SIZE, 2)?,
            merge: read(&["spatial_merge_size"], limits::IMAGE_SIZE, 2)?,
            num_heads: read(&["num_heads"], limits::NUM_HEADS, heads)?,
        })
    }

    fn patch(&self) -> [u64; 5] {
        let [out, channels, height, width] = self.vision.patch();
        [out, channels, self.temporal_patch_size, height, width]
    }

    /// Width of merged patches.
    fn merged(&self) -> u64 {
        self.vision.hidden_size.saturating_mul(self.merge * self.merge)
    }

    fn rotary(&self, tower: &mut ParameterGroup) {
        let dim = self.vision.hidden_size / self.num_heads / 2;
        for _ in 0..2 {
            tower.buffer("visual.rotary_pos_emb.inv_freq", &[dim / 2], DType::F32);
        }
    }

    /// The patch convolution and the rotary tables.
    fn front(&self, tower: &mut ParameterGroup) {
        tower.conv("visual.patch_embed.proj", &self.patch(), false);
        self.rotary(tower);
    }

    /// Every block: two norms, attention whose projections have biases as told, and a feed-forward part.
    fn blocks(
        &self,
        list: &mut ParameterList,
        norm: AddNorm,
        [qkv_bias, proj_bias]: [bool; 2],
        feed_forward: impl FnOnce(&mut ParameterGroup),
    ) {
        let d = self.vision.hidden_size;
        list.repeat(self.vision.num_hidden_layers, |block| {
            norm(block, "visual.blocks.norm1", d);
            norm(block, "visual.blocks.norm2", d);
            block.linear(TOWER, "visual.blocks.attn.qkv", [d, 3 * d], qkv_bias);
            block.linear(TOWER, "visual.blocks.attn.proj", [d, d], proj_bias);
            feed_forward(block);
        });
    }

    /// Two layers, between which there is an activation.
    fn plain(&self, block: &mut ParameterGroup, [first, second]: [&'static str; 2]) {
        let (d, inner) = (self.vision.hidden_size, self.vision.intermediate_size);
        block.linear(TOWER, first, [d, inner], true);
        block.linear(TOWER, second, [inner, d], true);
    }

    /// A gated feed-forward part.
    fn gated(&self, block: &mut ParameterGroup, inner: u64, bias: bool) {
        let d = self.vision.hidden_size;
        block.linear(TOWER, "visual.blocks.mlp.gate_proj", [d, inner], bias);
        block.linear(TOWER, "visual.blocks.mlp.up_proj", [d, inner], bias);
        block.linear(TOWER, "visual.blocks.mlp.down_proj", [inner, d], bias);
    }

    /// What merges patches and projects them.
    fn merger(&self, tower: &mut ParameterGroup, norm: AddNorm, out: u64) {
        let merged = self.merged();
        norm(tower, "visual.merger.ln_q", self.vision.hidden_size);
        tower.linear(TOWER, "visual.merger.mlp.0", [merged, merged], true);
        tower.linear(TOWER, "visual.merger.mlp.2", [merged, out], true);
    }
}

/// Adds a norm of a path and a width.
type AddNorm = fn(&mut ParameterGroup, &'static str, u64);

/// `Qwen2VisionTransformerPretrainedModel`
pub(super) fn qwen2_vl(list: &mut ParameterList, visual: &Visual, out: u64) {
    list.once(|tower| visual.front(tower));
    visual.blocks(list, ParameterGroup::layer_norm, [true, true], |block| {
        visual.plain(block, ["visual.blocks.mlp.fc1", "visual.blocks.mlp.fc2"]);
    });
    list.once(|tower| visual.merger(tower, ParameterGroup::layer_norm, out));
}

/// `Qwen2_5_VisionTransformerPretrainedModel`
pub(super) fn qwen2_5_vl(list: &mut ParameterList, visual: &Visual, out: u64) {
    list.once(|tower| visual.front(tower));
    visual.blocks(list, ParameterGroup::rms_norm, [true, true], |block| {
        visual.gated(block, visual.vision.intermediate_size, true);
    });
    list.once(|tower| visual.merger(tower, ParameterGroup::rms_norm, out));
}

/// `Qwen3VLVisionModel`
pub(super) fn qwen3_vl(list: &mut ParameterList, visual: &Visual, positions: u64, deepstack: u64, out: u64) {
    let (d, merged) = (visual.vision.hidden_size, visual.merged());
    list.once(|tower| {
        tower.conv("visual.patch_embed.proj", &visual.patch(), true);
        tower.table("visual.pos_embed", positions, d);
        visual.rotary(tower);
    });
    visual.blocks(list, ParameterGroup::layer_norm, [true, true], |block| {
        visual.plain(block, ["visual.blocks.mlp.linear_fc1", "visual.blocks.mlp.linear_fc2"]);
    });
    list.once(|tower| {
        tower.layer_norm("visual.merger.norm", d);
        tower.linear(TOWER, "visual.merger.linear_fc1", [merged, merged], true);
        tower.linear(TOWER, "visual.merger.linear_fc2", [merged, out], true);
    });
    list.repeat(deepstack, |merger| {
        merger.layer_norm("visual.deepstack_merger_list.norm", merged);
        merger.linear(TOWER, "visual.deepstack_merger_list.linear_fc1", [merged, merged], true);
        merger.linear(TOWER, "visual.deepstack_merger_list.linear_fc2", [merged, out], true);
    });
}

/// `Glm4vVisionModel`; `intermediate_size` is its merger's.
pub(super) fn glm4v(list: &mut ParameterList, visual: &Visual, bias: bool, out: u64) {
    let d = visual.vision.hidden_size;
    let (merge, merger_inner) = (visual.merge, visual.vision.intermediate_size);
    list.once(|tower| {
        tower.table("visual.embeddings.position_embedding", visual.vision.patches, d);
        tower.conv("visual.patch_embed.proj", &visual.patch(), true);
        visual.rotary(tower);
    });
    // the blocks' feed-forward is as wide as the output (`Glm4VisionMlp`)
    visual.blocks(list, ParameterGroup::rms_norm, [bias, false], |block| visual.gated(block, out, false));
    list.once(|tower| {
        tower.linear(TOWER, "visual.merger.proj", [out, out], false);
        tower.layer_norm("visual.merger.post_projection_norm", out);
        tower.linear(TOWER, "visual.merger.gate_proj", [out, merger_inner], false);
        tower.linear(TOWER, "visual.merger.up_proj", [out, merger_inner], false);
        tower.linear(TOWER, "visual.merger.down_proj", [merger_inner, out], false);
        tower.rms_norm("visual.post_conv_layernorm", d);
        tower.conv("visual.downsample", &[out, d, merge, merge], true);
        tower.rms_norm("visual.post_layernorm", d);
    });
}
