//! The description of a model of which only the parameters are known.

use super::{LayerCache, ModelType, Origin, ParameterList};

/// A model whose parameters are listed: it can be counted, not run.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedConfig {
    /// The name it was asked for by, or the card's.
    pub name: String,
    /// The `model_type` of its config.json.
    pub model_type: ModelType,
    /// How much is known about it.
    pub origin: Origin,
    /// Width of the hidden states.
    pub hidden_size: u64,
    /// Number of layers, of all its stacks together.
    pub num_hidden_layers: u64,
    /// Rows of the token embedding; 0: it takes no tokens.
    pub vocab_size: u64,
    /// Longest sequence its positions allow.
    pub max_position_embeddings: u64,
    /// Its parameters, tied ones once.
    pub parameters: ParameterList,
    /// What each layer keeps of a sequence, where it generates.
    pub caches: Option<Vec<LayerCache>>,
}
