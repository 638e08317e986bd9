//! Families whose classes come with their models' repositories (`trust_remote_code`) and are shaped like Llama: MiMo,
//! Baichuan, Qwen, InternLM 2 and 3, ChatGLM, MiniCPM and EXAONE.

use super::base::{Class, HeadDim, KvHeads, PadToken, read};
use super::fields::Fields;
use super::limits;
use super::llama::qwen2;
use crate::model::{Activation, DecoderConfig, MlpLayout, ModelError, Projections};

/// Qwen 2 with a module for tokens further ahead, which `AutoModelForCausalLM` does not load.
pub(super) fn mimo(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    qwen2(name, fields)
}

pub(super) fn baichuan(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { head_dim: HeadDim::Derived, kv_heads: KvHeads::Same, ..Class::default() };
    let mut model = read(name, fields, &class)?;
    // the repositories of the 13B models have a class of the same type with ALiBi and attention in whole tensors
    if model.num_hidden_layers == 40 {
        return Err(ModelError::Unsupported {
            field: "num_hidden_layers".to_owned(),
            value: "40".to_owned(),
            model_type: fields.model_type,
            fix: "the class of the 13B models has ALiBi, which is not modelled for this type".to_owned(),
        });
    }
    model.attention.projections = Projections::Fused;
    Ok(model)
}

pub(super) fn qwen(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { head_dim: HeadDim::Derived, kv_heads: KvHeads::Same, ..Class::default() };
    let mut model = read(name, fields, &class)?;
    if let Some(kv_channels) = fields.integer("kv_channels", limits::HEAD_DIM)? {
        model.attention.head_dim = kv_channels;
        model.attention.rotary_dim = Some(kv_channels);
    }
    model.attention.projections = Projections::Fused;
    // no_bias speaks of all but c_attn
    model.attention.qkv_bias = true;
    let bias = !fields.boolean("no_bias", true)?;
    model.attention.output_bias = bias;
    model.mlp.bias = bias;
    // the file's width is that of both matrices together
    model.mlp.intermediate_size /= 2;
    model.attention.dropout = fields.dropout("attn_dropout_prob", 0.0)?;
    model.embedding.dropout = fields.dropout("emb_dropout_prob", 0.0)?;
    Ok(model)
}

pub(super) fn internlm2(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { head_dim: HeadDim::Derived, pad_token_id: PadToken::Default(Some(0)), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    let bias = fields.boolean("bias", true)?;
    model.attention.qkv_bias = bias;
    model.attention.output_bias = bias;
    model.attention.projections = Projections::Fused;
    Ok(model)
}

pub(super) fn internlm3(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = read(name, fields, &Class { max_position_embeddings: 32_768, ..Class::default() })?;
    let bias = fields.boolean("bias", false)?;
    model.attention.qkv_bias = fields.boolean("qkv_bias", false)?;
    model.attention.output_bias = bias;
    model.mlp.bias = bias;
    Ok(model)
}

pub(super) fn chatglm(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let padded = fields.integer("padded_vocab_size", limits::VOCAB_SIZE)?.is_some();
    let class = Class {
        head_dim: HeadDim::Derived,
        kv_heads: KvHeads::Same,
        pad_token_id: PadToken::Unused,
        vocab_size: if padded { &["padded_vocab_size"] } else { &["vocab_size"] },
        ..Class::default()
    };
    if !fields.boolean("rmsnorm", true)? {
        return Err(ModelError::Unsupported {
            field: "rmsnorm".to_owned(),
            value: "false".to_owned(),
            model_type: fields.model_type,
            fix: "only ChatGLM 2 and later are modelled".to_owned(),
        });
    }
    let mut model = read(name, fields, &class)?;
    if let Some(kv_channels) = fields.integer("kv_channels", limits::HEAD_DIM)? {
        model.attention.head_dim = kv_channels;
    }
    if fields.boolean("multi_query_attention", false)? {
        let groups = fields.required(&["multi_query_group_num"], limits::NUM_HEADS)?;
        if !model.attention.num_heads.is_multiple_of(groups) {
            return Err(ModelError::NotAMultiple {
                field: "num_attention_heads".to_owned(),
                value: model.attention.num_heads,
                divisor_field: "multi_query_group_num".to_owned(),
                divisor: groups,
                fix: "every key and value head serves as many query heads".to_owned(),
            });
        }
        model.attention.num_kv_heads = groups;
    }
    let bias = fields.boolean("add_bias_linear", false)?;
    model.attention.projections = Projections::Fused;
    model.attention.qkv_bias = bias || fields.boolean("add_qkv_bias", false)?;
    model.attention.output_bias = bias;
    model.attention.rotary_dim = Some(model.attention.head_dim / 2);
    model.attention.dropout = fields.dropout("attention_dropout", 0.0)?;
    model.mlp.layout = MlpLayout::GatedFused;
    model.mlp.bias = bias;
    model.residual_dropout = fields.dropout("hidden_dropout", 0.0)?;
    model.final_norm = fields.boolean("post_layer_norm", true)?;
    Ok(model)
}

/// Llama with its embedding, branches and logits multiplied, as Granite's.
pub(super) fn minicpm(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { head_dim: HeadDim::Derived, ..Class::default() };
    let mut model = read(name, fields, &class)?;
    super::llama::set_attention_bias(&mut model, fields)?;
    model.embedding.scaled = true;
    model.head.scaled = true;
    model.residual_multiplier = Some(fields.number("scale_depth")?.unwrap_or(1.0));
    Ok(model)
}

pub(super) fn exaone(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { activation: ("activation_function", Activation::Silu), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    model.residual_dropout = fields.dropout("embed_dropout", 0.0)?;
    Ok(model)
}
