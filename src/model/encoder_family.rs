//! How families of encoders differ from BERT.

use super::{Activation, DecoderConfig, LayerType};

/// What an encoder's layers and embeddings are built as.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum EncoderFamily {
    /// BERT and those that copy its layers: learned positions, norms after the sums.
    Bert,
    /// ALBERT: a few layers' weights serve all layers.
    Albert {
        /// `num_hidden_groups`: groups of layers, each with weights of its own.
        num_hidden_groups: u64,
        /// `inner_group_num`: layers of a group.
        inner_group_num: u64,
    },
    /// MPNet: a bias on attention scores, from one table, of how far tokens are apart.
    Mpnet {
        /// `relative_attention_num_buckets`
        buckets: u64,
    },
    /// DeBERTa v2 and v3: attention to contents and to relative positions.
    DebertaV2(DebertaV2),
    /// EuroBERT and Nomic's BERT: Llama's layers, without a causal mask.
    Rotary(Box<DecoderConfig>),
    /// ModernBERT: rotary positions, norms before the blocks, some layers with a window.
    ModernBert(ModernBert),
}

impl EncoderFamily {
    /// Rows of its table of relative positions; 0: none.
    pub fn relative_rows(&self) -> u64 {
        match self {
            Self::Mpnet { buckets } => *buckets,
            Self::DebertaV2(DebertaV2 { relative_attention: Some(relative), .. }) => relative.span.saturating_mul(2),
            _ => 0,
        }
    }

    /// Whether its class knows gradient checkpointing (`supports_gradient_checkpointing`).
    pub fn checkpoints(&self) -> bool {
        !matches!(self, Self::Albert { .. } | Self::Mpnet { .. })
    }
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

/// What DeBERTa's classes are built with.
#[derive(Clone, Debug, PartialEq)]
pub struct DebertaV2 {
    /// `relative_attention`, and what it attends by.
    pub relative_attention: Option<RelativeAttention>,
    /// `position_biased_input`: a table of absolute positions too.
    pub position_biased_input: bool,
    /// `pooler_dropout`
    pub pooler_dropout: f64,
    /// `pooler_hidden_act`
    pub pooler_activation: Activation,
}

/// How attention looks at relative positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelativeAttention {
    /// Rows of the table for either direction: `position_buckets`, else `max_relative_positions`.
    pub span: u64,
    /// Distances are put into buckets.
    pub in_buckets: bool,
    /// `norm_rel_ebd` has a layer norm on the table.
    pub norm: bool,
    /// `share_att_key`: positions go through the projections of contents.
    pub share_att_key: bool,
    /// `c2p` among `pos_att_type`.
    pub content_to_position: bool,
    /// `p2c` among `pos_att_type`.
    pub position_to_content: bool,
}
