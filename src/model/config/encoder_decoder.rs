//! Encoder-decoders: T5, BART and those that follow them.

use super::encoder::whole_heads;
use super::fields::{Fields, wrong_type};
use super::{base, limits};
use crate::model::{Activation, EncoderDecoderConfig, ModelError, Origin, Positions, Stack};

/// Relative positions end nowhere.
const UNBOUNDED: u64 = limits::MAX_POSITION_EMBEDDINGS.max;

pub(super) fn t5(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    let scales_output = fields.boolean("tie_word_embeddings", true)?;
    read_t5(name, fields, "relu", scales_output)
}

pub(super) fn mt5(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    let scales_output = true;
    read_t5(name, fields, "gated-gelu", scales_output)
}

fn read_t5(
    name: &str,
    fields: Fields<'_>,
    feed_forward: &str,
    scales_output: bool,
) -> Result<EncoderDecoderConfig, ModelError> {
    let num_heads = fields.required(&["num_heads", "num_attention_heads"], limits::NUM_HEADS)?;
    let ffn_dim = fields.required(&["d_ff"], limits::INTERMEDIATE_SIZE)?;
    let layers = fields.required(&["num_layers", "num_hidden_layers"], limits::NUM_HIDDEN_LAYERS)?;
    let decoder_layers = fields.integer("num_decoder_layers", limits::NUM_HIDDEN_LAYERS)?.unwrap_or(layers);
    let stack = |num_layers| Stack { num_layers, num_heads, ffn_dim };
    let (gated, activation) = feed_forward_proj(fields, feed_forward)?;
    let dropout = fields.dropout("dropout_rate", 0.1)?;
    Ok(EncoderDecoderConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        d_model: fields.required(&["d_model", "hidden_size"], limits::HIDDEN_SIZE)?,
        vocab_size: fields.required(&["vocab_size"], limits::VOCAB_SIZE)?,
        max_position_embeddings: UNBOUNDED,
        encoder: stack(layers),
        decoder: stack(decoder_layers),
        head_dim: fields.dimension(&["d_kv", "head_dim"], limits::HEAD_DIM)?.unwrap_or(64),
        positions: Positions::RelativeBias {
            buckets: fields.integer("relative_attention_num_buckets", limits::BUCKETS)?.unwrap_or(32),
        },
        norm_first: true,
        embedding_norm: false,
        final_norm: true,
        gated,
        activation,
        dropout,
        attention_dropout: dropout,
        activation_dropout: dropout,
        untied_head: !fields.boolean("tie_word_embeddings", true)?,
        scales_output,
    })
}

/// `relu`, `gated-gelu` and the like: whether it is gated, and its activation.
fn feed_forward_proj(fields: Fields<'_>, default: &str) -> Result<(bool, Activation), ModelError> {
    const FIELD: &str = "feed_forward_proj";
    let text = match fields.text(FIELD)? {
        Some(text) => text,
        None => default,
    };
    match text {
        "relu" => Ok((false, Activation::Relu)),
        "gelu" => Ok((false, Activation::Gelu)),
        "gated-gelu" => Ok((true, Activation::GeluNew)),
        "gated-relu" => Ok((true, Activation::Relu)),
        "gated-silu" => Ok((true, Activation::Silu)),
        other => Err(wrong_type(FIELD, &other.into(), "one of relu, gelu, gated-gelu, gated-relu, gated-silu")),
    }
}

/// Rows before the first position (`BartLearnedPositionalEmbedding`).
const POSITION_OFFSET: u64 = 2;

pub(super) fn bart(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    let d_model = fields.required(&["d_model", "hidden_size"], limits::HIDDEN_SIZE)?;
    let encoder = stack(fields, ["encoder_layers", "encoder_attention_heads", "encoder_ffn_dim"])?;
    let decoder = stack(fields, ["decoder_layers", "decoder_attention_heads", "decoder_ffn_dim"])?;
    whole_heads("encoder_attention_heads", d_model, encoder.num_heads)?;
    whole_heads("decoder_attention_heads", d_model, decoder.num_heads)?;
    let max_position_embeddings = base::max_position_embeddings(fields, 1024)?;
    Ok(EncoderDecoderConfig {
        name: name.to_owned(),
        model_type: fields.model_type,
        origin: Origin::Config,
        d_model,
        vocab_size: fields.required(&["vocab_size"], limits::VOCAB_SIZE)?,
        max_position_embeddings,
        encoder,
        decoder,
        head_dim: d_model / encoder.num_heads,
        positions: Positions::Learned { rows: max_position_embeddings + POSITION_OFFSET },
        norm_first: false,
        embedding_norm: true,
        final_norm: false,
        gated: false,
        activation: fields.activation("activation_function", Activation::Gelu)?,
        dropout: fields.dropout("dropout", 0.1)?,
        attention_dropout: fields.dropout("attention_dropout", 0.0)?,
        activation_dropout: fields.dropout("activation_dropout", 0.0)?,
        untied_head: false,
        scales_output: false,
    })
}

pub(super) fn mbart(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    Ok(EncoderDecoderConfig { norm_first: true, final_norm: true, ..bart(name, fields)? })
}

pub(super) fn pegasus(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    let model = mbart(name, fields)?;
    let positions = Positions::Fixed { rows: model.max_position_embeddings };
    Ok(EncoderDecoderConfig { positions, embedding_norm: false, ..model })
}

pub(super) fn marian(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    const SHARE: &str = "share_encoder_decoder_embeddings";
    const DECODER_VOCAB: &str = "decoder_vocab_size";
    if !fields.boolean(SHARE, true)? {
        return Err(fields.unsupported(SHARE, "only a vocabulary that both stacks share is modelled"));
    }
    let model = bart(name, fields)?;
    let decoder_rows = fields.integer(DECODER_VOCAB, limits::VOCAB_SIZE)?;
    if decoder_rows.is_some_and(|rows| rows != model.vocab_size) {
        return Err(fields.unsupported(DECODER_VOCAB, "a shared vocabulary has as many rows as `vocab_size`"));
    }
    let positions = Positions::Fixed { rows: model.max_position_embeddings };
    Ok(EncoderDecoderConfig { positions, embedding_norm: false, ..model })
}

pub(super) fn m2m_100(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    let model = mbart(name, fields)?;
    Ok(EncoderDecoderConfig {
        positions: Positions::Counted { rows: model.max_position_embeddings + POSITION_OFFSET },
        embedding_norm: false,
        activation: fields.activation("activation_function", Activation::Relu)?,
        attention_dropout: fields.dropout("attention_dropout", 0.1)?,
        ..model
    })
}

pub(super) fn whisper(name: &str, fields: Fields<'_>) -> Result<EncoderDecoderConfig, ModelError> {
    let model = mbart(name, fields)?;
    let targets = fields.integer("max_target_positions", limits::MAX_POSITION_EMBEDDINGS)?;
    Ok(EncoderDecoderConfig {
        positions: Positions::Audio {
            num_mel_bins: fields.integer("num_mel_bins", limits::HIDDEN_SIZE)?.unwrap_or(80),
            max_source_positions: fields
                .integer("max_source_positions", limits::MAX_POSITION_EMBEDDINGS)?
                .unwrap_or(1500),
        },
        max_position_embeddings: targets.unwrap_or(448),
        embedding_norm: false,
        dropout: fields.dropout("dropout", 0.0)?,
        ..model
    })
}

fn stack(fields: Fields<'_>, [layers, heads, ffn_dim]: [&'static str; 3]) -> Result<Stack, ModelError> {
    Ok(Stack {
        num_layers: fields.required(&[layers], limits::NUM_HIDDEN_LAYERS)?,
        num_heads: fields.required(&[heads], limits::NUM_HEADS)?,
        ffn_dim: fields.required(&[ffn_dim], limits::INTERMEDIATE_SIZE)?,
    })
}
