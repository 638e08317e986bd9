//! What stands beside a decoder that takes images.

use super::{ModelType, ParameterList};

/// The tower of a vision-language model and what projects from it, beside its text part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tower {
    /// The `model_type` of the whole model's config.json.
    pub model_type: ModelType,
    /// Its parameters, which come before the text part's.
    pub parameters: ParameterList,
    /// Text positions are those of three grids: of time, height and width.
    pub grids: Option<Grids>,
    /// When transformers looks for packed sequences in the positions of a batch without a mask.
    pub packing: Packing,
}

/// When packed sequences are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Packing {
    /// Where no cache is filled, as language models do.
    WithoutCache,
    /// In every first forward: the mask is made before there is a cache.
    AlsoWithCache,
    /// Never: the mask is made without positions.
    Never,
}

/// How the cosines of three grids of positions become one table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Grids {
    /// Sections of each, joined (Qwen2-VL).
    Sections,
    /// Written over the first (Qwen3-VL).
    Interleaved,
}
