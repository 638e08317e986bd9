//! Reading a Hugging Face config.json.
//!
//! The dimensions must be given; every other field that is absent takes the default of the `transformers` 5.17 class,
//! as in its `models/*/configuration_*.py`.

mod base;
mod counted;
mod deberta;
mod deepseek;
mod encoder;
mod encoder_decoder;
mod falcon;
mod fields;
mod gemma;
mod gpt;
mod hybrid;
mod interleaved;
mod layer_norm;
mod limits;
mod llama;
mod mamba;
mod mllama;
mod modernbert;
mod moe;
mod moe_in_turn;
mod nope;
mod own_code;
mod qwen3_next;
mod rotary_encoder;
mod sized;
mod tower;
mod vision;
mod vision_language;
mod vision_tower;
mod written_out;

use serde_json::Value;

use self::fields::Fields;
use super::error::show;
use super::{
    Counted, DecoderConfig, EncoderConfig, EncoderDecoderConfig, Mixer, MlpLayout, Model, ModelError, ModelType,
    Positions, QkNorm, Stack,
};

/// Reads a config.json of one of the [`ModelType`]s; `name` is what the model will be called.
///
/// # Errors
/// The `model_type` is unknown, a dimension is missing, or a field has a value no model can have.
///
/// # Example
/// ```
/// let config = serde_json::json!({
///     "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
///     "num_attention_heads": 32, "vocab_size": 32000,
/// });
/// let model = vramplan::model::from_config("llama-2-7b", &config)?;
/// let decoder = model.decoder().expect("a decoder");
/// assert_eq!(decoder.attention.head_dim, 128);
/// assert_eq!(decoder.attention.num_kv_heads, 32);
/// # Ok::<(), vramplan::model::ModelError>(())
/// ```
pub fn from_config(name: &str, config: &Value) -> Result<Model, ModelError> {
    let Some(map) = config.as_object() else {
        return Err(ModelError::NotAnObject { what: "the model's config".to_owned(), found: show(config) });
    };
    let model_type: ModelType = match map.get("model_type") {
        None | Some(Value::Null) => {
            return Err(ModelError::MissingField {
                field: "model_type".to_owned(),
                fix: "give the type its config.json has on the Hub, such as \"llama\"".to_owned(),
            });
        }
        Some(Value::String(text)) => text.parse()?,
        Some(other) => {
            return Err(fields::wrong_type("model_type", other, "a text such as \"llama\""));
        }
    };
    read(name, Fields::new(map, model_type))
}

/// Reads the fields of a known model type.
fn read(name: &str, fields: Fields<'_>) -> Result<Model, ModelError> {
    use ModelType as T;
    let model_type = fields.model_type;
    let model = match model_type {
        ModelType::Llama => llama::llama(name, fields),
        ModelType::Mistral => llama::mistral(name, fields),
        ModelType::Qwen2 => llama::qwen2(name, fields),
        ModelType::Qwen3 => llama::qwen3(name, fields),
        ModelType::Phi3 => llama::phi3(name, fields),
        ModelType::Olmo2 => llama::olmo2(name, fields),
        ModelType::Granite => llama::granite(name, fields),
        ModelType::Gemma => gemma::gemma(name, fields),
        ModelType::Gemma2 => gemma::gemma2(name, fields),
        ModelType::Gemma3Text => gemma::gemma3_text(name, fields),
        ModelType::Phi => layer_norm::phi(name, fields),
        ModelType::Starcoder2 => layer_norm::starcoder2(name, fields),
        ModelType::Stablelm => layer_norm::stablelm(name, fields),
        ModelType::GptNeox => layer_norm::gpt_neox(name, fields),
        ModelType::Falcon => falcon::falcon(name, fields),
        ModelType::Gpt2 => gpt::gpt2(name, fields),
        ModelType::Opt => gpt::opt(name, fields),
        ModelType::Bloom => gpt::bloom(name, fields),
        ModelType::Mixtral => moe::mixtral(name, fields),
        ModelType::Qwen2Moe => moe::qwen2_moe(name, fields),
        ModelType::Qwen3Moe => moe::qwen3_moe(name, fields),
        ModelType::Olmoe => moe::olmoe(name, fields),
        ModelType::Granitemoe => moe::granitemoe(name, fields),
        ModelType::Phimoe => moe::phimoe(name, fields),
        ModelType::GptOss => moe::gpt_oss(name, fields),
        ModelType::Glm4Moe => moe::glm4_moe(name, fields),
        ModelType::SolarOpen => moe::solar_open(name, fields),
        ModelType::Dots1 => moe::dots1(name, fields),
        ModelType::Ernie45Moe => moe::ernie4_5_moe(name, fields),
        ModelType::MinimaxM2 => moe::minimax_m2(name, fields),
        ModelType::DeepseekV2 => deepseek::deepseek_v2(name, fields),
        ModelType::DeepseekV3 => deepseek::deepseek_v3(name, fields),
        ModelType::Axk1 => deepseek::axk1(name, fields),
        ModelType::Glm4MoeLite => deepseek::glm4_moe_lite(name, fields),
        ModelType::Youtu => deepseek::youtu(name, fields),
        ModelType::Minicpm3 => deepseek::minicpm3(name, fields),
        ModelType::Deepseek => deepseek::deepseek(name, fields),
        ModelType::FlexOlmo => moe::flex_olmo(name, fields),
        ModelType::HunyuanV1Moe => moe::hunyuan_v1_moe(name, fields),
        ModelType::HyV3 => moe::hy_v3(name, fields),
        ModelType::Ministral3 => llama::ministral3(name, fields),
        ModelType::SeedOss => llama::seed_oss(name, fields),
        ModelType::HunyuanV1Dense => llama::hunyuan_v1_dense(name, fields),
        ModelType::Olmo => llama::olmo(name, fields),
        ModelType::Olmo3 => llama::olmo3(name, fields),
        ModelType::Bitnet => llama::bitnet(name, fields),
        ModelType::Arcee => llama::arcee(name, fields),
        ModelType::Smollm3 => nope::smollm3(name, fields),
        ModelType::Exaone4 => nope::exaone4(name, fields),
        ModelType::Cohere2 => nope::cohere2(name, fields),
        ModelType::Helium => interleaved::helium(name, fields),
        ModelType::Glm => interleaved::glm(name, fields),
        ModelType::Glm4 => interleaved::glm4(name, fields),
        ModelType::Cohere => interleaved::cohere(name, fields),
        ModelType::Ernie4_5 => interleaved::ernie4_5(name, fields),
        ModelType::Nemotron => layer_norm::nemotron(name, fields),
        ModelType::Jais2 => layer_norm::jais2(name, fields),
        ModelType::Mamba | ModelType::FalconMamba => mamba::mamba(name, fields),
        ModelType::Mamba2 => mamba::mamba2(name, fields),
        ModelType::Lfm2 => hybrid::lfm2(name, fields),
        ModelType::Bamba => hybrid::bamba(name, fields),
        ModelType::Granitemoehybrid => hybrid::granitemoehybrid(name, fields),
        ModelType::Jamba => hybrid::jamba(name, fields),
        ModelType::FalconH1 => hybrid::falcon_h1(name, fields),
        ModelType::NemotronH => hybrid::nemotron_h(name, fields),
        T::Lfm2Moe => hybrid::lfm2_moe(name, fields),
        T::Qwen3Next => qwen3_next::qwen3_next(name, fields),
        T::Qwen3_5 | T::Qwen3_5Text => qwen3_next::qwen3_5(name, fields),
        T::Qwen3_5Moe | T::Qwen3_5MoeText => qwen3_next::qwen3_5_moe(name, fields),
        T::Dbrx => sized::dbrx(name, fields),
        T::Jetmoe => sized::jetmoe(name, fields),
        T::Minimax => sized::minimax(name, fields),
        T::LongcatFlash => sized::longcat_flash(name, fields),
        T::DeepseekV32 | T::GlmMoeDsa => sized::sparse_latent(name, fields),
        T::KimiLinear => sized::kimi_linear(name, fields),
        T::KimiK25 => deepseek::kimi_k25(name, fields),
        T::MimoV2Flash => sized::mimo_v2_flash(name, fields),
        T::Laguna => sized::laguna(name, fields),
        T::Mellum => sized::mellum(name, fields),
        T::Gemma3nText => sized::gemma3n_text(name, fields),
        T::Gemma4Text | T::Gemma4UnifiedText => sized::gemma4_text(name, fields),
        T::Gemma3n | T::Gemma4 | T::Gemma4Unified => return sized::with_towers(name, fields),
        T::DeepseekV4 => sized::deepseek_v4(name, fields),
        T::Llama4 | T::Llama4Text => moe_in_turn::llama4(name, fields),
        T::Afmoe => moe_in_turn::afmoe(name, fields),
        T::GptBigcode => written_out::gpt_bigcode(name, fields),
        T::GptNeo => written_out::gpt_neo(name, fields),
        T::Gptj => written_out::gptj(name, fields),
        T::Codegen => written_out::codegen(name, fields),
        T::Mpt => written_out::mpt(name, fields),
        T::Persimmon => written_out::persimmon(name, fields),
        T::Xglm => written_out::xglm(name, fields),
        T::Rwkv => counted::rwkv(name, fields),
        T::OlmoHybrid => counted::olmo_hybrid(name, fields),
        T::RecurrentGemma => counted::recurrent_gemma(name, fields),
        T::GraniteSwa => llama::granite_swa(name, fields),
        T::Apertus => llama::apertus(name, fields),
        T::Mimo => own_code::mimo(name, fields),
        T::Baichuan => own_code::baichuan(name, fields),
        T::Qwen => own_code::qwen(name, fields),
        T::Internlm2 => own_code::internlm2(name, fields),
        T::Internlm3 => own_code::internlm3(name, fields),
        T::Chatglm => own_code::chatglm(name, fields),
        T::Minicpm => own_code::minicpm(name, fields),
        T::Exaone => own_code::exaone(name, fields),
        T::Bert | T::Roberta | T::XlmRoberta => return encoder(encoder::bert(name, fields)?),
        T::Electra => return encoder(encoder::electra(name, fields)?),
        T::Albert => return encoder(encoder::albert(name, fields)?),
        T::Mpnet => return encoder(encoder::mpnet(name, fields)?),
        T::DebertaV2 => return encoder(deberta::deberta_v2(name, fields)?),
        T::EuroBert => return encoder(rotary_encoder::eurobert(name, fields)?),
        T::NomicBert => return encoder(rotary_encoder::nomic_bert(name, fields)?),
        T::ModernBert => return encoder(modernbert::modernbert(name, fields)?),
        T::Distilbert => return encoder(encoder::distilbert(name, fields)?),
        T::T5 => return encoder_decoder(encoder_decoder::t5(name, fields)?),
        T::Mt5 => return encoder_decoder(encoder_decoder::mt5(name, fields)?),
        T::Bart => return encoder_decoder(encoder_decoder::bart(name, fields)?),
        T::Pegasus => return encoder_decoder(encoder_decoder::pegasus(name, fields)?),
        T::Marian => return encoder_decoder(encoder_decoder::marian(name, fields)?),
        T::M2m100 => return encoder_decoder(encoder_decoder::m2m_100(name, fields)?),
        T::Whisper => return encoder_decoder(encoder_decoder::whisper(name, fields)?),
        T::Mbart => return encoder_decoder(encoder_decoder::mbart(name, fields)?),
        T::Qwen2Vl
        | T::Qwen25Vl
        | T::Qwen3Vl
        | T::Qwen3VlMoe
        | T::Llava
        | T::LlavaNext
        | T::Gemma3
        | T::Paligemma
        | T::Mistral3
        | T::Idefics3
        | T::Internvl
        | T::Glm4v
        | T::Glm4vMoe
        | T::Fuyu => return vision_language::read(name, fields),
        T::Vit | T::Dinov2 => return vision::transformer(name, fields),
        T::Swin => return vision::swin(name, fields),
        T::Convnext => return vision::convnext(name, fields),
        T::Resnet => return vision::resnet(name, fields),
        T::Mllama => return mllama::read(name, fields),
        T::Clip | T::Siglip => return vision::clip(name, fields),
    }?;
    refuse_absurd_size(&model)?;
    Ok(Model::Decoder(model))
}

fn encoder(model: EncoderConfig) -> Result<Model, ModelError> {
    let wide = u128::from;
    let layer = layer_parameters(model.hidden_size, 4 * wide(model.hidden_size), model.intermediate_size);
    let rows = wide(model.vocab_size)
        + wide(model.max_position_embeddings)
        + wide(model.type_vocab_size)
        + wide(model.family.relative_rows());
    refuse_too_many(
        layer * wide(model.num_hidden_layers) + (2 * rows + wide(model.num_labels)) * wide(model.hidden_size),
    )?;
    Ok(Model::Encoder(model))
}

fn encoder_decoder(model: EncoderDecoderConfig) -> Result<Model, ModelError> {
    let wide = u128::from;
    let stack = |stack: &Stack| {
        let attention = 8 * wide(stack.num_heads) * wide(model.head_dim);
        layer_parameters(model.d_model, attention, stack.ffn_dim) * wide(stack.num_layers)
    };
    let positions = match model.positions {
        Positions::Learned { rows } | Positions::Fixed { rows } | Positions::Counted { rows } => wide(rows),
        Positions::RelativeBias { buckets } => wide(buckets),
        Positions::Audio { num_mel_bins, max_source_positions } => {
            wide(model.max_position_embeddings)
                + wide(max_source_positions)
                + 3 * (wide(num_mel_bins) + wide(model.d_model))
        }
    };
    let rows = wide(model.vocab_size) + 2 * positions;
    refuse_too_many(stack(&model.encoder) + stack(&model.decoder) + rows * wide(model.d_model))?;
    Ok(Model::EncoderDecoder(model))
}

/// At least as many as a layer has.
fn layer_parameters(width: u64, attention: u128, inner: u64) -> u128 {
    (attention + 3 * u128::from(inner) + 32) * u128::from(width)
}

/// Refuses a model whose dimensions are each possible but whose product is not.
fn refuse_absurd_size(model: &DecoderConfig) -> Result<(), ModelError> {
    let wide = u128::from;
    let (hidden, attention) = (wide(model.hidden_size), &model.attention);
    let heads = 2 * (wide(attention.num_heads) + wide(attention.num_kv_heads));
    let matrices: u128 = if model.mlp.layout == MlpLayout::Plain { 2 } else { 3 };
    let norms_and_biases: u128 = match attention.qk_norm {
        QkNorm::None => 16,
        _ => 32,
    };
    let mixer = match &model.mixer {
        Some(Mixer::Mamba(spec)) => {
            wide(spec.inner_size) * (3 * hidden + 2 * wide(spec.time_step_rank) + 4 * wide(spec.state_size) + 1024)
        }
        Some(Mixer::Mamba2(spec)) => (3 * wide(spec.conv_channels()) + wide(spec.num_heads)) * (hidden + 1024),
        Some(Mixer::GatedDelta(spec)) => {
            (2 * wide(spec.conv_channels()) + wide(spec.num_value_heads)) * (hidden + 1024)
        }
        Some(Mixer::Counted(Counted::Rwkv { attention_hidden_size })) => {
            (4 * wide(*attention_hidden_size) + hidden + 1024) * hidden
        }
        Some(Mixer::Counted(Counted::DeltaNet { key_heads, value_heads, key_head_dim, value_head_dim, .. })) => {
            let (keys, values) = (wide(*key_heads) * wide(*key_head_dim), wide(*value_heads) * wide(*value_head_dim));
            (2 * keys + 3 * values + 2 * wide(*value_heads)) * (hidden + 1024)
        }
        Some(Mixer::Counted(Counted::RgLru { lru_width, .. })) => {
            wide(*lru_width) * (3 * hidden + 2 * wide(*lru_width) + 1024)
        }
        Some(Mixer::ShortConv(_)) => (4 * hidden + 1024) * hidden,
        None => 0,
    };
    let experts: u128 = model.moe.as_ref().map_or(0, |moe| {
        let shared = moe.shared.map_or(0, |shared| wide(shared.intermediate_size));
        wide(moe.num_experts) * (3 * wide(moe.intermediate_size) + 4) + 3 * shared
    });
    let latent: u128 = model.mla.map_or(0, |mla| {
        let per_head = wide(mla.qk_nope_head_dim) + wide(mla.qk_rope_head_dim) + wide(mla.v_head_dim);
        let rank = wide(mla.q_lora_rank.unwrap_or(0)) + wide(mla.kv_lora_rank);
        wide(attention.num_heads) * per_head * (rank / hidden.max(1) + 3) + rank + wide(mla.qk_rope_head_dim)
    });
    let per_width = heads * wide(attention.head_dim)
        + matrices * wide(model.mlp.intermediate_size)
        + norms_and_biases
        + experts
        + latent;
    let layer = mixer + per_width * hidden;
    let counted: u128 = model.counted.iter().flatten().map(|layer| wide(layer.total())).sum();
    let layer = if model.counted.is_some() { 0 } else { layer };
    let tables = (2 * wide(model.vocab_size) + wide(model.embedding.learned_positions.unwrap_or(0))) * hidden;
    let loaded = model.tower.as_ref().map_or(0, |tower| tower.parameters.count());
    let towers = wide(model.tower_left_out).saturating_add(loaded);
    let parameters = (layer * wide(model.num_hidden_layers) + counted + tables).saturating_add(towers);
    refuse_too_many(parameters)
}

fn refuse_too_many(parameters: u128) -> Result<(), ModelError> {
    if parameters > u128::from(limits::PARAMETERS) {
        #[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
        return Err(ModelError::TooManyParameters { parameters: parameters as f64 });
    }
    Ok(())
}
