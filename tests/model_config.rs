//! What a config.json says where it says nothing: the class defaults of transformers 5.17, file by file.

use serde_json::{Map, Value, json};
use vramplan::model::{
    Activation, Block, DecoderConfig, LayerType, MlpLayout, ModelType, Norm, Projections, QkNorm, from_config,
};

/// The dimensions only, in the names each class uses.
fn least(model_type: &str) -> Map<String, Value> {
    let config = match model_type {
        "gpt2" => json!({"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}),
        "bloom" => json!({"hidden_size": 1024, "n_layer": 24, "n_head": 16, "vocab_size": 250_880}),
        "falcon" => {
            json!({"hidden_size": 4544, "num_hidden_layers": 32, "num_attention_heads": 71, "vocab_size": 65024})
        }
        "opt" => {
            json!({"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "ffn_dim": 3072,
                "vocab_size": 50272})
        }
        "helium" | "bitnet" => json!({"hidden_size": 2560, "num_hidden_layers": 12, "num_attention_heads": 20,
            "intermediate_size": 8192, "vocab_size": 32000}),
        "mamba" | "falcon_mamba" => json!({"hidden_size": 768, "num_hidden_layers": 24, "vocab_size": 50280}),
        "mamba2" => json!({"hidden_size": 4096, "num_hidden_layers": 64, "vocab_size": 32768}),
        "jamba" => json!({"hidden_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 32,
            "intermediate_size": 8192, "vocab_size": 32000, "num_experts": 1}),
        "granitemoehybrid" => json!({"hidden_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 32,
            "intermediate_size": 8192, "vocab_size": 32000, "num_local_experts": 0}),
        "nemotron_h" => json!({"hidden_size": 2048, "num_hidden_layers": 4, "num_attention_heads": 32,
            "intermediate_size": 8192, "vocab_size": 32000, "hybrid_override_pattern": "M-*-"}),
        "dbrx" => json!({"d_model": 2048, "n_layers": 12, "n_heads": 32, "vocab_size": 32000,
            "attn_config": {"kv_n_heads": 8}, "ffn_config": {"ffn_hidden_size": 512, "moe_num_experts": 8}}),
        "longcat_flash" => {
            json!({"hidden_size": 2048, "num_layers": 12, "num_attention_heads": 32, "vocab_size": 32000,
            "ffn_hidden_size": 8192, "expert_ffn_hidden_size": 512, "n_routed_experts": 8, "moe_topk": 2,
            "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128})
        }
        "deepseek_v4" => json!({"hidden_size": 2048, "num_hidden_layers": 3, "num_attention_heads": 32,
            "vocab_size": 32000, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512,
            "q_lora_rank": 768, "o_lora_rank": 512, "compress_ratios": [0, 4, 128]}),
        "mimo_v2_flash" => json!({"hidden_size": 2048, "num_hidden_layers": 2, "num_attention_heads": 32,
            "vocab_size": 32000, "n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 512,
            "hybrid_layer_pattern": [0, 1], "moe_layer_freq": [0, 1]}),
        // dense classes read nothing of experts and latents
        _ => json!({"hidden_size": 2048, "num_hidden_layers": 12, "num_attention_heads": 32,
            "intermediate_size": 8192, "vocab_size": 32000, "num_experts": 8, "num_experts_per_tok": 2,
            "moe_intermediate_size": 512, "shared_expert_intermediate_size": 512, "kv_lora_rank": 512,
            "q_lora_rank": 768, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128,
            "moe_num_shared_experts": 2, "intermediate_size_mlp": 8192, "n_shared_experts": 1, "n_group": 1, "topk_group": 1}),
    };
    let mut map = config.as_object().cloned().unwrap_or_default();
    map.insert("model_type".to_owned(), model_type.into());
    map
}

/// Model types with an encoder.
const ENCODING: [ModelType; 19] = [
    ModelType::Bert,
    ModelType::Roberta,
    ModelType::XlmRoberta,
    ModelType::Distilbert,
    ModelType::Electra,
    ModelType::T5,
    ModelType::Mt5,
    ModelType::Bart,
    ModelType::Mbart,
    ModelType::ModernBert,
    ModelType::Albert,
    ModelType::DebertaV2,
    ModelType::Mpnet,
    ModelType::EuroBert,
    ModelType::NomicBert,
    ModelType::Pegasus,
    ModelType::Marian,
    ModelType::M2m100,
    ModelType::Whisper,
];

fn decoders() -> impl Iterator<Item = ModelType> {
    ModelType::ALL.iter().copied().filter(|model_type| !ENCODING.contains(model_type) && !model_type.takes_images())
}

/// The model of [`least`] and the fields of `more`.
#[track_caller]
fn model(model_type: &str, more: Value) -> DecoderConfig {
    let mut map = least(model_type);
    map.extend(more.as_object().cloned().unwrap_or_default());
    let model = from_config("test", &Value::Object(map)).expect(model_type);
    model.decoder().expect(model_type).clone()
}

fn sliding(model: &DecoderConfig) -> Vec<usize> {
    let layers = model.layer_types.iter().enumerate();
    layers.filter(|(_, layer)| **layer == LayerType::SlidingAttention).map(|(index, _)| index).collect()
}

#[test]
fn every_type_reads_its_dimensions_alone() {
    for model_type in decoders() {
        let read = model(model_type.as_str(), json!({}));
        assert_eq!(read.model_type, model_type);
        assert_eq!(u64::try_from(read.layer_types.len()), Ok(read.num_hidden_layers));
        assert_eq!(model_type.to_string().parse(), Ok(model_type));
    }
}

#[test]
fn tied_word_embeddings_by_class() {
    let tied = [
        "mamba",
        "falcon_mamba",
        "lfm2",
        "lfm2_moe",
        "jetmoe",
        "gemma",
        "gemma2",
        "gemma3_text",
        "gemma3n_text",
        "gemma4_text",
        "gemma4_unified_text",
        "starcoder2",
        "falcon",
        "gpt2",
        "opt",
        "bloom",
        "smollm3",
        "cohere",
        "cohere2",
        "ernie4_5",
        "ernie4_5_moe",
        "minicpm3",
        "youtu",
        "granite_swa",
        "gpt_bigcode",
        "gpt_neo",
        "mpt",
        "xglm",
        "recurrent_gemma",
    ];
    for model_type in decoders() {
        let name = model_type.as_str();
        assert_eq!(model(name, json!({})).head.tied, tied.contains(&name), "{name}");
        assert!(model(name, json!({"tie_word_embeddings": true})).head.tied);
        assert!(!model(name, json!({"tie_word_embeddings": false})).head.tied);
    }
}

#[test]
fn pad_token_id_by_class() {
    for (name, pad) in [
        ("llama", None),
        ("mistral", None),
        ("qwen2", None),
        ("gemma", Some(0)),
        ("gemma2", Some(0)),
        ("gemma3_text", Some(0)),
        ("phi3", Some(32_000)),
        ("olmo2", Some(1)),
        ("opt", Some(1)),
    ] {
        assert_eq!(model(name, json!({})).pad_token_id, pad, "{name}");
        assert_eq!(model(name, json!({"pad_token_id": null})).pad_token_id, None, "{name}");
        assert_eq!(model(name, json!({"pad_token_id": 7})).pad_token_id, Some(7), "{name}");
    }
    // modeling_{gpt2,gpt_neox,falcon,bloom}.py: nn.Embedding without padding_idx.
    for name in ["gpt2", "gpt_neox", "falcon", "bloom"] {
        assert_eq!(model(name, json!({"pad_token_id": 7})).pad_token_id, None, "{name}");
    }
}

#[test]
fn activations_by_class() {
    for (name, activation) in [
        ("llama", Activation::Silu),
        ("gemma", Activation::GeluTanh),
        ("gemma2", Activation::GeluTanh),
        ("phi", Activation::GeluNew),
        ("starcoder2", Activation::GeluTanh),
        ("stablelm", Activation::Silu),
        ("falcon", Activation::Gelu),
        ("gpt2", Activation::GeluNew),
        ("gpt_neox", Activation::Gelu),
        ("opt", Activation::Relu),
        ("bloom", Activation::BloomGelu),
    ] {
        assert_eq!(model(name, json!({})).mlp.activation, activation, "{name}");
    }
    // configuration_gemma.py reads hidden_act, configuration_gemma2.py hidden_activation only.
    assert_eq!(model("gemma", json!({"hidden_act": "gelu"})).mlp.activation, Activation::Gelu);
    assert_eq!(model("gemma2", json!({"hidden_act": "gelu"})).mlp.activation, Activation::GeluTanh);
    assert_eq!(model("gpt2", json!({"activation_function": "relu"})).mlp.activation, Activation::Relu);
}

#[test]
fn dropouts_by_class() {
    let dropouts = |model: &DecoderConfig| (model.embedding.dropout, model.attention.dropout, model.residual_dropout);
    assert_eq!(dropouts(&model("llama", json!({}))), (0.0, 0.0, 0.0));
    // configuration_gpt2.py
    assert_eq!(dropouts(&model("gpt2", json!({}))), (0.1, 0.1, 0.1));
    assert_eq!(
        dropouts(&model("gpt2", json!({"resid_pdrop": 0, "attn_pdrop": 0.0, "embd_pdrop": 0.2}))),
        (0.2, 0.0, 0.0)
    );
    // configuration_opt.py; modeling_opt.py drops out branches, not the embedding
    assert_eq!(dropouts(&model("opt", json!({}))), (0.0, 0.0, 0.1));
    assert_eq!(dropouts(&model("gpt_neox", json!({"hidden_dropout": 0.1}))), (0.1, 0.0, 0.1));
    assert_eq!(dropouts(&model("phi", json!({"resid_pdrop": 0.1}))), (0.0, 0.0, 0.1));
    // modeling_phi3.py never applies embd_pdrop
    assert_eq!(dropouts(&model("phi3", json!({"embd_pdrop": 0.1, "resid_pdrop": 0.2}))), (0.0, 0.0, 0.2));
    // modeling_falcon.py applies attention_dropout under ALiBi only
    assert_eq!(dropouts(&model("falcon", json!({"attention_dropout": 0.1}))), (0.0, 0.0, 0.0));
    assert_eq!(dropouts(&model("falcon", json!({"attention_dropout": 0.1, "alibi": true}))), (0.0, 0.1, 0.0));
}

#[test]
fn biases_by_class() {
    let biases = |model: &DecoderConfig| (model.attention.qkv_bias, model.attention.output_bias, model.mlp.bias);
    for (name, expected) in [
        ("llama", (false, false, false)),
        ("qwen2", (true, false, false)),
        ("qwen3", (false, false, false)),
        ("phi", (true, true, true)),
        ("starcoder2", (true, true, true)),
        ("stablelm", (false, false, false)),
        ("falcon", (false, false, false)),
        ("gpt2", (true, true, true)),
        ("gpt_neox", (true, true, true)),
        ("opt", (true, true, true)),
        ("bloom", (true, true, true)),
    ] {
        assert_eq!(biases(&model(name, json!({}))), expected, "{name}");
    }
    assert_eq!(biases(&model("llama", json!({"attention_bias": true}))), (true, true, false));
    assert_eq!(biases(&model("granite", json!({"mlp_bias": true}))), (false, false, true));
    assert_eq!(biases(&model("starcoder2", json!({"use_bias": false}))), (false, false, false));
    assert_eq!(biases(&model("stablelm", json!({"use_qkv_bias": true}))), (true, false, false));
    assert_eq!(biases(&model("gpt_neox", json!({"attention_bias": false}))), (false, false, true));
    assert_eq!(biases(&model("opt", json!({"enable_bias": false}))), (false, false, false));
    assert!(model("phi", json!({})).head.bias);
}

#[test]
fn heads_by_class() {
    let heads =
        |model: &DecoderConfig| (model.attention.num_heads, model.attention.num_kv_heads, model.attention.head_dim);
    assert_eq!(heads(&model("llama", json!({}))), (32, 32, 64));
    assert_eq!(heads(&model("llama", json!({"num_key_value_heads": 4, "head_dim": 128}))), (32, 4, 128));
    assert_eq!(heads(&model("mistral", json!({}))), (32, 8, 64));
    assert_eq!(heads(&model("mistral", json!({"num_key_value_heads": null}))), (32, 32, 64));
    assert_eq!(heads(&model("qwen3", json!({}))), (32, 32, 128));
    assert_eq!(heads(&model("gemma", json!({}))), (32, 16, 256));
    assert_eq!(heads(&model("gemma3_text", json!({}))), (32, 4, 256));
    assert_eq!(heads(&model("starcoder2", json!({}))), (32, 2, 64));
    // No head_dim of its own: hidden_size / num_attention_heads.
    assert_eq!(heads(&model("gpt_neox", json!({"head_dim": 1}))), (32, 32, 64));
}

#[test]
fn rotary_dimensions_by_class() {
    let rotary = |name: &str, more| model(name, more).attention.rotary_dim;
    assert_eq!(rotary("llama", json!({})), Some(64));
    assert_eq!(rotary("phi", json!({})), Some(32));
    assert_eq!(rotary("phi", json!({"partial_rotary_factor": 0.4})), Some(25));
    assert_eq!(rotary("phi3", json!({})), Some(64));
    assert_eq!(rotary("phi3", json!({"partial_rotary_factor": 0.75})), Some(48));
    assert_eq!(rotary("stablelm", json!({})), Some(16));
    assert_eq!(rotary("gpt_neox", json!({})), Some(16));
    assert_eq!(rotary("gpt_neox", json!({"rotary_pct": 1.0})), Some(64));
    let v5 = json!({"rope_parameters": {"rope_type": "default", "partial_rotary_factor": 0.5}});
    assert_eq!(rotary("gpt_neox", v5.clone()), Some(32));
    assert_eq!(rotary("stablelm", v5), Some(32));
    for name in ["gpt2", "opt", "bloom"] {
        assert_eq!(rotary(name, json!({})), None, "{name}");
    }
    assert_eq!(rotary("falcon", json!({})), Some(64));
    assert_eq!(rotary("falcon", json!({"alibi": true})), None);
}

#[test]
fn windows_by_class() {
    let windowed = |name: &str, more| {
        let model = model(name, more);
        (model.sliding_window, sliding(&model))
    };
    let all: Vec<usize> = (0..12).collect();
    assert_eq!(windowed("llama", json!({"sliding_window": 4096})), (None, vec![]));
    assert_eq!(windowed("mistral", json!({})), (Some(4096), all.clone()));
    assert_eq!(windowed("mistral", json!({"sliding_window": null})), (None, vec![]));
    assert_eq!(windowed("mistral", json!({"sliding_window": "none"})), (None, vec![]));
    // configuration_starcoder2.py and configuration_phi3.py: None
    assert_eq!(windowed("starcoder2", json!({})), (None, vec![]));
    assert_eq!(windowed("starcoder2", json!({"sliding_window": 4096})), (Some(4096), all.clone()));
    assert_eq!(windowed("phi3", json!({"sliding_window": 2047})), (Some(2047), all));
    assert_eq!(windowed("qwen2", json!({"sliding_window": 512})), (None, vec![]));
    assert_eq!(
        windowed("qwen2", json!({"use_sliding_window": true, "sliding_window": 512, "max_window_layers": 10})),
        (Some(512), vec![10, 11])
    );
    assert_eq!(windowed("qwen3", json!({"use_sliding_window": true})), (None, vec![]), "max_window_layers is 28");
    assert_eq!(windowed("gemma", json!({})), (None, vec![]));
    assert_eq!(windowed("gemma2", json!({})), (Some(4096), vec![0, 2, 4, 6, 8, 10]));
    assert_eq!(
        windowed("gemma3_text", json!({"sliding_window": 512})),
        (Some(512), vec![0, 1, 2, 3, 4, 6, 7, 8, 9, 10])
    );
    assert_eq!(windowed("gemma3_text", json!({"sliding_window_pattern": 4})).1, [0, 1, 2, 4, 5, 6, 8, 9, 10]);
    let mut listed = vec!["full_attention"; 12];
    listed[3] = "sliding_attention";
    assert_eq!(windowed("gemma3_text", json!({"layer_types": listed})), (Some(4096), vec![3]));
}

#[test]
fn soft_caps_by_class() {
    let caps = |name: &str, more| {
        let model = model(name, more);
        (model.attention.logit_softcap, model.head.logit_softcap)
    };
    assert_eq!(caps("gemma2", json!({})), (true, true));
    assert_eq!(
        caps("gemma2", json!({"attn_logit_softcapping": null, "final_logit_softcapping": null})),
        (false, false)
    );
    assert_eq!(caps("gemma3_text", json!({})), (false, false));
    // modeling_gemma3.py does not pass attn_logit_softcapping on.
    assert_eq!(
        caps("gemma3_text", json!({"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0})),
        (false, true)
    );
}

#[test]
fn blocks_and_norms_by_class() {
    let shape = |name: &str, more| {
        let model = model(name, more);
        (model.block, model.norm, model.attention.qk_norm)
    };
    let layer = Norm::Layer { bias: true };
    assert_eq!(shape("llama", json!({})), (Block::PreNorm, Norm::Rms, QkNorm::None));
    assert_eq!(shape("qwen3", json!({})), (Block::PreNorm, Norm::Rms, QkNorm::PerHead));
    assert_eq!(shape("olmo2", json!({})), (Block::BranchNorm, Norm::RmsInFp32, QkNorm::FullWidth));
    assert_eq!(shape("gemma", json!({})), (Block::PreNorm, Norm::GemmaRms, QkNorm::None));
    assert_eq!(shape("gemma2", json!({})), (Block::Sandwich, Norm::GemmaRms, QkNorm::None));
    assert_eq!(shape("gemma3_text", json!({})), (Block::Sandwich, Norm::GemmaRms, QkNorm::PerHead));
    assert_eq!(shape("phi", json!({})), (Block::ParallelSharedNorm, layer, QkNorm::None));
    assert_eq!(shape("phi", json!({"qk_layernorm": true})).2, QkNorm::LayerNormShared);
    assert_eq!(shape("stablelm", json!({})), (Block::PreNorm, layer, QkNorm::None));
    assert_eq!(
        shape("stablelm", json!({"use_parallel_residual": true, "qk_layernorm": true})),
        (Block::ParallelSharedNorm, layer, QkNorm::LayerNormEachHead)
    );
    assert_eq!(shape("gpt_neox", json!({})).0, Block::ParallelTwoNorms);
    assert_eq!(shape("gpt_neox", json!({"use_parallel_residual": false})).0, Block::PreNorm);
    assert_eq!(shape("opt", json!({})).0, Block::PreNorm);
    assert_eq!(shape("opt", json!({"layer_norm_elementwise_affine": false})).1, Norm::LayerWithoutWeight);
}

#[test]
fn falcon_is_three_architectures() {
    let shape = |more| {
        let model = model("falcon", more);
        (model.block, model.attention.num_kv_heads)
    };
    assert_eq!(shape(json!({})), (Block::ParallelSharedNorm, 1));
    assert_eq!(shape(json!({"num_kv_heads": 71})), (Block::ParallelSharedNorm, 1));
    assert_eq!(shape(json!({"multi_query": false, "parallel_attn": false})), (Block::PreNorm, 71));
    let new =
        json!({"new_decoder_architecture": true, "hidden_size": 8192, "num_attention_heads": 128, "num_kv_heads": 8});
    assert_eq!(shape(new), (Block::ParallelTwoNorms, 8));
    assert_eq!(
        shape(json!({"new_decoder_architecture": true, "num_ln_in_parallel_attn": 1})),
        (Block::ParallelSharedNorm, 71)
    );
    assert_eq!(model("falcon", json!({})).mlp.intermediate_size, 4 * 4544);
    assert_eq!(model("falcon", json!({"ffn_hidden_size": 100})).mlp.intermediate_size, 100);
}

#[test]
fn learned_positions_and_projections() {
    let gpt2 = model("gpt2", json!({}));
    assert_eq!((gpt2.embedding.learned_positions, gpt2.max_position_embeddings), (Some(1024), 1024));
    assert_eq!(gpt2.mlp.intermediate_size, 3072);
    assert_eq!(model("gpt2", json!({"n_inner": 10, "n_positions": 2048})).mlp.intermediate_size, 10);
    let opt = model("opt", json!({"word_embed_proj_dim": 512, "do_layer_norm_before": false}));
    assert_eq!((opt.embedding.learned_positions, opt.embedding.projection_dim), (Some(2050), Some(512)));
    assert_eq!((opt.block, opt.final_norm), (Block::PostNorm, false));
    assert_eq!(model("opt", json!({"word_embed_proj_dim": 768})).embedding.projection_dim, None);
    let bloom = model("bloom", json!({}));
    assert!(bloom.embedding.norm && bloom.attention.alibi);
    assert_eq!(bloom.mlp.intermediate_size, 4096);
}

#[test]
fn matrices_stored_as_one() {
    for (name, projections, layout) in [
        ("llama", Projections::Separate, MlpLayout::Gated),
        ("phi3", Projections::Fused, MlpLayout::GatedFused),
        ("phi", Projections::Separate, MlpLayout::Plain),
        ("stablelm", Projections::Separate, MlpLayout::Gated),
        ("gpt_neox", Projections::Fused, MlpLayout::Plain),
        ("falcon", Projections::Fused, MlpLayout::Plain),
        ("gpt2", Projections::Fused, MlpLayout::Plain),
        ("opt", Projections::Separate, MlpLayout::Plain),
    ] {
        let model = model(name, json!({}));
        assert_eq!((model.attention.projections, model.mlp.layout), (projections, layout), "{name}");
    }
}

#[test]
fn granite_multiplies_always() {
    // modeling_granite.py: the products are taken also where the factor is the class default 1.
    let granite = model("granite", json!({}));
    assert_eq!(granite.residual_multiplier, Some(1.0));
    assert!(granite.embedding.scaled && granite.head.scaled);
    assert_eq!(model("granite", json!({"residual_multiplier": 0.22})).residual_multiplier, Some(0.22));
    assert!(model("gemma", json!({})).embedding.scaled);
}

#[test]
fn neighbouring_dimensions_turn_in_pairs() {
    for model_type in ["helium", "glm", "glm4", "ernie4_5"] {
        let mut map = least(model_type);
        map.insert("head_dim".to_owned(), json!(1));
        map.insert("num_key_value_heads".to_owned(), json!(4));
        map.insert("partial_rotary_factor".to_owned(), json!(1.0));
        let error = from_config("odd", &Value::Object(map)).expect_err(model_type).to_string();
        assert!(error.contains("even head_dim"), "{model_type}: {error}");
    }
}
