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
    /// Without a mask, transformers looks for packed sequences in the positions.
    pub packs: bool,
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
