//! Families of which parameters alone are known: RWKV, OLMo Hybrid and RecurrentGemma.

use super::base::{Class, HeadDim, KvHeads, PadToken, layers, listed_layer_types, read};
use super::fields::{Fields, wrong_type};
use super::gemma::gemma;
use super::limits;
use super::llama::set_attention_bias;
use super::mamba::without_attention;
use crate::model::{Block, Counted, DecoderConfig, LayerType, Mixer, MlpLayout, ModelError, Norm, QkNorm};

pub(super) fn rwkv(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let mut model = without_attention(name, fields, false)?;
    let width = model.hidden_size;
    model.norm = Norm::Layer { bias: true };
    model.mlp.layout = MlpLayout::Plain;
    model.mlp.intermediate_size = fields.integer("intermediate_size", limits::INTERMEDIATE_SIZE)?.unwrap_or(4 * width);
    model.max_position_embeddings = fields.integer("context_length", limits::MAX_POSITION_EMBEDDINGS)?.unwrap_or(1024);
    let attention_hidden_size = fields.integer("attention_hidden_size", limits::HIDDEN_SIZE)?.unwrap_or(width);
    model.mixer = Some(Mixer::Counted(Counted::Rwkv { attention_hidden_size }));
    Ok(model)
}

pub(super) fn olmo_hybrid(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    let class = Class { max_position_embeddings: 65_536, pad_token_id: PadToken::Default(None), ..Class::default() };
    let mut model = read(name, fields, &class)?;
    set_attention_bias(&mut model, fields)?;
    model.attention.qk_norm = QkNorm::FullWidth;
    model.block = Block::BranchNorm;
    model.norm = Norm::RmsInFp32;
    let heads = model.attention.num_heads;
    let dim = |field, default| Ok::<u64, ModelError>(fields.integer(field, limits::HEAD_DIM)?.unwrap_or(default));
    let count = |field| Ok::<u64, ModelError>(fields.integer(field, limits::NUM_HEADS)?.unwrap_or(heads));
    let key_heads = count("linear_num_key_heads")?;
    let three_quarters = 3 * model.attention.head_dim / 4;
    model.mixer = Some(Mixer::Counted(Counted::DeltaNet {
        key_heads,
        value_heads: count("linear_num_value_heads")?,
        key_head_dim: dim("linear_key_head_dim", three_quarters)?,
        value_head_dim: dim("linear_value_head_dim", 2 * three_quarters)?,
        conv_kernel: fields.integer("linear_conv_kernel_dim", limits::CONV_KERNEL)?.unwrap_or(4),
    }));
    model.layer_types = listed_layer_types(fields, model.num_hidden_layers)?.unwrap_or_else(|| {
        layers(model.num_hidden_layers, |layer| {
            if (layer + 1).is_multiple_of(4) { LayerType::FullAttention } else { LayerType::LinearAttention }
        })
    });
    Ok(model)
}

pub(super) fn recurrent_gemma(name: &str, fields: Fields<'_>) -> Result<DecoderConfig, ModelError> {
    const FIELD: &str = "block_types";
    let mut model = gemma(name, fields)?;
    let class = Class { head_dim: HeadDim::Derived, kv_heads: KvHeads::Default(None), ..Class::default() };
    let shape = read(name, fields, &class)?.attention;
    model.attention.num_kv_heads = shape.num_kv_heads;
    model.attention.head_dim = shape.head_dim;
    model.attention.rotary_dim = Some(shape.head_dim / 2);
    model.attention.qkv_bias = fields.boolean("attention_bias", false)?;
    model.attention.output_bias = true;
    model.mlp.bias = true;
    // the class halves what the file gives
    model.mlp.intermediate_size /= 2;
    model.mixer = Some(Mixer::Counted(Counted::RgLru {
        lru_width: fields.integer("lru_width", limits::HIDDEN_SIZE)?.unwrap_or(model.hidden_size),
        conv_kernel: fields.integer("conv1d_width", limits::CONV_KERNEL)?.unwrap_or(4),
    }));
    model.sliding_window = Some(fields.integer("attention_window_size", limits::SLIDING_WINDOW)?.unwrap_or(2048));
    let pattern = match fields.list(FIELD)? {
        None => vec![LayerType::LinearAttention, LayerType::LinearAttention, LayerType::SlidingAttention],
        Some(list) => list
            .iter()
            .enumerate()
            .map(|(index, entry)| match entry.as_str() {
                Some("recurrent") => Ok(LayerType::LinearAttention),
                Some("attention") => Ok(LayerType::SlidingAttention),
                _ => Err(wrong_type(&format!("{FIELD}[{index}]"), entry, "\"recurrent\" or \"attention\"")),
            })
            .collect::<Result<_, _>>()?,
    };
    if pattern.is_empty() {
        return Err(ModelError::WrongLength { field: FIELD.to_owned(), found: 0, expected: model.num_hidden_layers });
    }
    let all = (0..model.num_hidden_layers).zip(pattern.iter().copied().cycle());
    model.layer_types = all.map(|(_, layer_type)| layer_type).collect();
    Ok(model)
}
