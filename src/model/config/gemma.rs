//! The Gemma families: RMSNorm with (1 + weight), scaled embeddings, tied heads.

use super::base::{Class, HeadDim, KvHeads, PadToken, every, read, set_layer_types};
use super::fields::Fields;
use super::limits;
use super::llama::set_attention_bias;
use crate::model::{Activation, Block, DecoderConfig, ModelError, Norm, QkNorm};

fn class() -> Class {
    Class {
        max_position_embeddings: 8192,
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(0)),
        head_dim: HeadDim::Or(256),
        kv_heads: KvHeads::Default(Some(4)),
        activation: ("hidden_activation", Activation::GeluTanh),
        ..Class::default()
    }
}

fn read_gemma(name: &str, fields: Fields<'_>, class: &Class) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, class)?;
    set_attention_bias(&mut model, fields)?;
    model.embedding.scaled = true;
    model.norm = Norm::GemmaRms;
    Ok(model)
}

pub(super) fn gemma(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        kv_heads: KvHeads::Default(Some(16)),
        // Unlike its successors, which read hidden_activation.
        activation: ("hidden_act", Activation::GeluTanh),
        ..class()
    };
    read_gemma(name, fields, &class)
}

pub(super) fn gemma2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read_gemma(name, fields, &class())?;
    model.block = Block::Sandwich;
    model.attention.logit_softcap = fields.softcap("attn_logit_softcapping", true)?;
    model.head.logit_softcap = fields.softcap("final_logit_softcapping", true)?;
    let window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    set_layer_types(&mut model, fields, window, |layer| every(2, layer))?;
    Ok(model)
}

pub(super) fn gemma3_text(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 131_072, ..class() };
    let mut model = read_gemma(name, fields, &class)?;
    model.block = Block::Sandwich;
    model.attention.qk_norm = QkNorm::PerHead;
    // attn_logit_softcapping is a field of the class too, but its attention never applies it.
    model.head.logit_softcap = fields.softcap("final_logit_softcapping", false)?;
    let mut window = fields.nullable_integer("sliding_window", limits::SLIDING_WINDOW)?.or_class_default(Some(4096));
    if fields.boolean("use_bidirectional_attention", false)? {
        window = window.map(|window| window / 2 + 1);
    }
    let pattern = fields.integer("sliding_window_pattern", limits::SLIDING_WINDOW_PATTERN)?.unwrap_or(6);
    set_layer_types(&mut model, fields, window, |layer| every(pattern, layer))?;
    Ok(model)
}
