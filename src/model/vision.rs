//! The normalised description of a vision transformer.

use super::{Activation, ModelType, Origin};

/// What a ViT or a DINOv2 is, as far as memory is concerned; names follow Hugging Face `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub struct VisionConfig {
    /// The name it was asked for by, or the card's.
    pub name: String,
    /// The `model_type` of its config.json.
    pub model_type: ModelType,
    /// How much is known about it.
    pub origin: Origin,
    /// Width of the hidden states.
    pub hidden_size: u64,
    /// Number of layers.
    pub num_hidden_layers: u64,
    /// Attention heads, each `hidden_size / num_attention_heads` wide.
    pub num_attention_heads: u64,
    /// Inner width of the feed-forward block; of each half, where it is gated.
    pub intermediate_size: u64,
    /// Sides of an image and of a patch, in pixels.
    pub image_size: u64,
    /// Side of a patch, in pixels.
    pub patch_size: u64,
    /// Channels of an image.
    pub num_channels: u64,
    /// Biases on queries, keys and values.
    pub qkv_bias: bool,
    /// `use_swiglu_ffn` of DINOv2.
    pub gated: bool,
    /// DINOv2's mask token.
    pub mask_token: bool,
    /// `hidden_act`
    pub activation: Activation,
    /// `hidden_dropout_prob`
    pub hidden_dropout: f64,
    /// `attention_probs_dropout_prob`
    pub attention_dropout: f64,
    /// Classes of the head that classifies images; `None`: the model stands alone.
    pub num_labels: Option<u64>,
    /// Width of the pooler that ViT has where it stands alone.
    pub pooler: Option<u64>,
}

impl VisionConfig {
    /// Patches of an image.
    pub const fn patches(&self) -> u64 {
        let side = self.image_size / self.patch_size;
        side * side
    }
}
