//! Families with layers of their own, most of whose classes write attention out: GPT-BigCode, GPT-Neo, GPT-J, CodeGen, MPT,
//! Persimmon and XGLM.

use super::base::{Class, HeadDim, IntermediateSize, KvHeads, PadToken, as_long_as, read, rotary_dim};
use super::fields::{Fields, wrong_type};
use super::gpt::gpt2;
use super::layer_norm::plain_with_bias;
use super::limits;
use crate::model::{Activation, DecoderConfig, ModelError, Norm, Projections, QkNorm};

/// Positions of a model that has a square table of them.
const SQUARE_TABLE: u64 = 1 << 20;

fn class() -> Class {
    Class {
        pad_token_id: PadToken::Unused,
        head_dim: HeadDim::Derived,
        kv_heads: KvHeads::Same,
        intermediate_size: IntermediateSize::OrFourfold,
        activation: ("activation_function", Activation::GeluNew),
        ..Class::default()
    }
}

pub(super) fn gpt_bigcode(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = gpt2(name, fields)?;
    model.mlp.activation = fields.activation("activation_function", Activation::GeluTanh)?;
    if fields.boolean("multi_query", true)? {
        model.attention.num_kv_heads = 1;
    }
    has_square_table(&model)?;
    Ok(model)
}

pub(super) fn gpt_neo(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { tie_word_embeddings: true, num_heads: &["num_heads", "num_attention_heads"], ..class() };
    let mut model = read(name, fields, &class)?;
    check_attention_types(fields, model.num_hidden_layers)?;
    has_square_table(&model)?;
    plain_with_bias(&mut model);
    model.attention.qkv_bias = false;
    model.attention.rotary_dim = None;
    model.embedding.learned_positions = Some(model.max_position_embeddings);
    model.embedding.dropout = fields.dropout("embed_dropout", 0.0)?;
    model.residual_dropout = fields.dropout("resid_dropout", 0.0)?;
    Ok(model)
}

/// Refuses `attention_types` of another number of layers: `[[["global", "local"], 12]]` is of 24. Which of them are local
/// makes no difference to memory: all keep every key, and mask by a table of one size.
fn check_attention_types(fields: Fields<'_>, num_hidden_layers: u64) -> Result<(), ModelError> {
    const FIELD: &str = "attention_types";
    let Some(list) = fields.list(FIELD)? else { return Ok(()) };
    let mut layers: usize = 0;
    for (index, entry) in list.iter().enumerate() {
        let kinds = entry.get(0).and_then(|kinds| Some(kinds.as_array()?.len()));
        let times = entry.get(1).and_then(|times| usize::try_from(times.as_u64()?).ok());
        let (Some(kinds), Some(times)) = (kinds, times) else {
            return Err(wrong_type(&format!("{FIELD}[{index}]"), entry, "a list of layers and how often it repeats"));
        };
        layers = layers.saturating_add(kinds.saturating_mul(times));
    }
    as_long_as(num_hidden_layers, layers, FIELD)
}

pub(super) fn gptj(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &class())?;
    plain_with_bias(&mut model);
    model.attention.qkv_bias = false;
    model.attention.output_bias = false;
    model.attention.rotary_dim = fields.nullable_integer("rotary_dim", limits::HEAD_DIM)?.or_class_default(Some(64));
    refuse_wide_rotary(&model)?;
    model.attention.dropout = fields.dropout("attn_pdrop", 0.0)?;
    model.embedding.dropout = fields.dropout("embd_pdrop", 0.0)?;
    model.residual_dropout = fields.dropout("resid_pdrop", 0.0)?;
    model.head.bias = true;
    Ok(model)
}

/// Heads turn in pairs, and no more of one than there is.
fn refuse_wide_rotary(model: &DecoderConfig) -> Result<(), ModelError> {
    let head_dim = model.attention.head_dim;
    let turned = model.attention.rotary_dim.unwrap_or(head_dim);
    if turned > head_dim {
        return Err(ModelError::OutOfRange {
            field: "rotary_dim".to_owned(),
            value: turned.to_string(),
            min: "2".to_owned(),
            max: head_dim.to_string(),
        });
    }
    multiple("the turned dimensions of a head", turned, "a pair", 2, "give an even rotary_dim")
}

pub(super) fn codegen(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = gptj(name, fields)?;
    model.attention.projections = Projections::Fused;
    let heads = model.attention.num_heads;
    multiple(
        "n_head",
        heads,
        "the groups that qkv_proj is split into",
        4,
        "CodeGen's code splits its heads into four groups",
    )?;
    Ok(model)
}

fn multiple(field: &str, value: u64, divisor_field: &str, divisor: u64, fix: &str) -> Result<(), ModelError> {
    if value.is_multiple_of(divisor) {
        return Ok(());
    }
    let (field, divisor_field, fix) = (field.to_owned(), divisor_field.to_owned(), fix.to_owned());
    Err(ModelError::NotAMultiple { field, value, divisor_field, divisor, fix })
}

pub(super) fn mpt(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        tie_word_embeddings: true,
        // whatever expansion_ratio says
        intermediate_size: IntermediateSize::Fourfold,
        ..class()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    super::layer_norm::set_bias(&mut model, false);
    model.norm = Norm::Layer { bias: false };
    // MPT always has this one
    model.mlp.activation = Activation::Gelu;
    model.max_position_embeddings = fields.integer("max_seq_len", limits::MAX_POSITION_EMBEDDINGS)?.unwrap_or(2048);
    model.attention.projections = Projections::Fused;
    model.attention.rotary_dim = None;
    model.attention.alibi = true;
    if let Some(attention) = fields.within("attn_config")? {
        model.attention.dropout = attention.dropout("attn_pdrop", 0.0)?;
        model.attention.clips_qkv = attention.number("clip_qkv")?.is_some_and(|clip| clip != 0.0);
    }
    Ok(model)
}

pub(super) fn persimmon(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class {
        max_position_embeddings: 16_384,
        pad_token_id: PadToken::Default(None),
        intermediate_size: IntermediateSize::Required,
        activation: ("hidden_act", Activation::Relu2),
        ..class()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    model.attention.projections = Projections::Fused;
    model.attention.rotary_dim =
        Some(rotary_dim(model.attention.head_dim, fields.partial_rotary_factor("partial_rotary_factor", 0.5)?));
    if fields.boolean("qk_layernorm", true)? {
        model.attention.qk_norm = QkNorm::LayerNormShared;
    }
    model.residual_dropout = fields.dropout("hidden_dropout", 0.0)?;
    Ok(model)
}

pub(super) fn xglm(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    fields.refuse("add_cross_attention", "decoders that read an encoder's output are not modelled, so leave it out")?;
    let class = Class {
        tie_word_embeddings: true,
        pad_token_id: PadToken::Default(Some(1)),
        intermediate_size: IntermediateSize::Required,
        activation: ("activation_function", Activation::Gelu),
        num_heads: &["attention_heads", "num_attention_heads"],
        ..class()
    };
    let mut model = read(name, fields, &class)?;
    plain_with_bias(&mut model);
    model.attention.rotary_dim = None;
    model.attention.dropout = fields.dropout("attention_dropout", 0.1)?;
    // class default true; a factor of 1 multiplies too
    model.embedding.scaled = true;
    model.residual_dropout = fields.dropout("dropout", 0.1)?;
    model.embedding.dropout = model.residual_dropout;
    for dropped in ["activation_dropout", "layerdrop"] {
        if fields.dropout(dropped, 0.0)? > 0.0 {
            return Err(ModelError::Unsupported {
                field: dropped.to_owned(),
                value: "more than 0".to_owned(),
                model_type: fields.model_type,
                fix: "only the class default of 0 is modelled, so leave it out".to_owned(),
            });
        }
    }
    Ok(model)
}

/// Refuses a table of positions by positions that is wider than any.
fn has_square_table(model: &DecoderConfig) -> Result<(), ModelError> {
    if model.max_position_embeddings <= SQUARE_TABLE {
        return Ok(());
    }
    Err(ModelError::OutOfRange {
        field: "max_position_embeddings".to_owned(),
        value: model.max_position_embeddings.to_string(),
        min: "1".to_owned(),
        max: SQUARE_TABLE.to_string(),
    })
}
