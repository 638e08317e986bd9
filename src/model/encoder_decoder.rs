//! The normalised description of an encoder-decoder.

use super::{Activation, ModelType, Origin};

/// What an encoder-decoder with a language-model head is, as far as memory is concerned; names follow Hugging Face
/// `transformers`.
#[derive(Clone, Debug, PartialEq)]
pub struct EncoderDecoderConfig {
    /// The name it was asked for by, or the card's.
    pub name: String,
    /// The `model_type` of its config.json.
    pub model_type: ModelType,
    /// How much is known about it.
    pub origin: Origin,
    /// Width of the hidden states.
    pub d_model: u64,
    /// Rows of the token embedding that encoder, decoder and head share.
    pub vocab_size: u64,
    /// Longest sequence its positions allow; T5's relative positions allow any.
    pub max_position_embeddings: u64,
    /// The encoder's layers.
    pub encoder: Stack,
    /// The decoder's layers.
    pub decoder: Stack,
    /// Width of one attention head (`d_kv`).
    pub head_dim: u64,
    /// How positions are told apart.
    pub positions: Positions,
    /// Norms stand before attention and feed-forward blocks rather than after the residual sums.
    pub norm_first: bool,
    /// A norm on the embeddings of each stack.
    pub embedding_norm: bool,
    /// A norm after the last layer of each stack.
    pub final_norm: bool,
    /// The feed-forward block multiplies two projections (T5 1.1).
    pub gated: bool,
    /// The feed-forward block's activation.
    pub activation: Activation,
    /// Dropout on embeddings and residual branches.
    pub dropout: f64,
    /// Dropout on attention probabilities.
    pub attention_dropout: f64,
    /// Dropout behind the feed-forward block's activation.
    pub activation_dropout: f64,
    /// The checkpoint has a head of its own (T5 1.1, mT5); transformers 5 ties it to the token embedding all the same.
    pub untied_head: bool,
    /// Hidden states are multiplied before the head (T5 1.0).
    pub scales_output: bool,
}

/// How an encoder-decoder tells positions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Positions {
    /// A bias on attention scores, from a table of this many rows in the first layer of each stack (T5).
    RelativeBias {
        /// `relative_attention_num_buckets`
        buckets: u64,
    },
    /// A sinusoidal table of this many rows in each stack: a parameter that is never trained (Pegasus, Marian).
    Fixed {
        /// `max_position_embeddings`
        rows: u64,
    },
    /// The encoder's come from a spectrogram through two convolutions (Whisper); the decoder's are a learned table of
    /// `max_position_embeddings` rows.
    Audio {
        /// Rows of the spectrogram.
        num_mel_bins: u64,
        /// Positions the encoder has for every recording; the spectrogram has twice as many columns.
        max_source_positions: u64,
    },
    /// A sinusoidal table of this many rows in each stack: a buffer (M2M-100).
    Counted {
        /// `max_position_embeddings`, and the rows before the first position.
        rows: u64,
    },
    /// A table of this many rows in each stack that is learned (BART).
    Learned {
        /// `max_position_embeddings`, and the rows before the first position.
        rows: u64,
    },
}

/// The layers of an encoder or of a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    /// Number of layers.
    pub num_layers: u64,
    /// Attention heads.
    pub num_heads: u64,
    /// Inner width of the feed-forward block.
    pub ffn_dim: u64,
}
