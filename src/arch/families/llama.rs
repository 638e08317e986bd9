//! What Llama-like models do before their layers (`LlamaModel.forward` and its kin).

use super::front::{Entered, Front, Input};
use crate::ghost::{Context, Tensor};
use crate::model::{DecoderConfig, LayerType, ModelType, Packing};
use crate::nn::{Leaf, Module};

/// Masks for full and for sliding layers; embeddings multiplied or dropped out.
pub(super) struct Spans {
    multiplier: bool,
    dropout: f64,
    full: bool,
    sliding: bool,
    sliding_window: Option<u64>,
    /// Some layers mix tokens without attention.
    mixes: bool,
    packing: Packing,
    /// Layers slide over chunks of the sequence.
    chunks: bool,
}

impl Spans {
    pub(super) fn new(model: &DecoderConfig) -> Self {
        use ModelType::{
            Afmoe, Cohere2, Exaone4, FalconH1, Gemma2, Gemma3Text, GptOss, Granite, GraniteSwa, Granitemoe,
            Granitemoehybrid,
        };
        use ModelType::{Olmo3, Qwen2, Qwen2Moe, Qwen3, Smollm3};
        let has = |layer_type| model.layer_types.contains(&layer_type);
        let hybrid = has(LayerType::Hybrid);
        // these make the full mask whether or not a layer takes it
        let always_full = matches!(
            model.model_type,
            Afmoe
                | Cohere2
                | Exaone4
                | Gemma2
                | Gemma3Text
                | GptOss
                | GraniteSwa
                | Olmo3
                | Qwen2
                | Qwen2Moe
                | Qwen3
                | Smollm3
        );
        Self {
            chunks: matches!(model.model_type, ModelType::Llama4 | ModelType::Llama4Text),
            multiplier: model.model_type == Afmoe && model.embedding.scaled
                || matches!(model.model_type, Granite | GraniteSwa | Granitemoe | Granitemoehybrid | FalconH1),
            dropout: model.embedding.dropout,
            full: always_full || hybrid || has(LayerType::FullAttention),
            // Qwen2-MoE makes a sliding mask too, of a window of nothing where it has none
            sliding: matches!(model.model_type, GptOss | GraniteSwa | Qwen2Moe | Afmoe)
                || has(LayerType::SlidingAttention),
            sliding_window: model.sliding_window.or((model.model_type == Qwen2Moe).then_some(0)),
            mixes: model.mixer.is_some(),
            packing: match &model.tower {
                Some(tower) => tower.packing,
                None if model.model_type == Afmoe => Packing::Never,
                None => Packing::WithoutCache,
            },
        }
    }
}

impl Front for Spans {
    fn enter(&self, cx: &Context, embeds: Tensor, input: &Input<'_>) -> Entered {
        // Granite gives the product the name of what was multiplied
        let embeds = if self.multiplier { cx.mul_scalar(embeds, 1.0) } else { embeds };
        let positions = input.positions(cx);
        let searched = Some(&positions).filter(|_| self.packing != Packing::Never);
        let mut input = *input;
        if self.packing == Packing::AlsoWithCache && input.past == 0 {
            input.run.cache = None;
        }
        let mask = if self.full { input.mask(cx, searched, input.run.attention_mask) } else { None };
        let sliding_mask =
            if self.sliding { input.sliding_mask(cx, searched, self.sliding_window, self.chunks) } else { None };
        let hidden = cx.dropout(&embeds, self.dropout);
        let padding = if self.mixes { input.run.attention_mask.filter(|_| input.length > 1).cloned() } else { None };
        Entered {
            positions: Some(positions),
            padding,
            mask,
            sliding_mask,
            locals: vec![embeds],
            ..Entered::new(hidden)
        }
    }
}

impl Module for Spans {
    fn leaves(&mut self, _visit: &mut dyn FnMut(Leaf<'_>)) {}
}
