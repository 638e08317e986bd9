//! How families of encoders differ from BERT.

use super::LayerType;

/// What an encoder's layers and embeddings are built as.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EncoderFamily {
    /// BERT and those that copy its layers: learned positions, norms after the sums.
    Bert,
    /// ModernBERT: rotary positions, norms before the blocks, some layers with a window.
    ModernBert(ModernBert),
}

/// What ModernBERT's classes are built with.
#[derive(Clone, Debug, PartialEq)]
pub struct ModernBert {
    /// Each layer's attention span.
    pub layer_types: Vec<LayerType>,
    /// How far to either side a layer with a window attends: half of `local_attention`.
    pub sliding_window: u64,
    /// `attention_bias`
    pub attention_bias: bool,
    /// `mlp_bias`
    pub mlp_bias: bool,
    /// `norm_bias`
    pub norm_bias: bool,
    /// `classifier_bias`: on the dense layer of every head.
    pub head_bias: bool,
    /// `decoder_bias`: on the masked-language-model head.
    pub decoder_bias: bool,
    /// `embedding_dropout`
    pub embedding_dropout: f64,
    /// `mlp_dropout`
    pub mlp_dropout: f64,
}
