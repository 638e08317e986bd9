//! The exact text of what is said about a wrong config.json.

use proptest::prelude::*;
use serde_json::{Value, json};
use vramplan::model::{self, from_config};

fn llama(more: Value) -> Value {
    let mut config = json!({
        "model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "vocab_size": 32000,
    });
    for (field, value) in more.as_object().cloned().unwrap_or_default() {
        config[field] = value;
    }
    config
}

#[track_caller]
fn said(config: &Value) -> String {
    let message = from_config("test", config).expect_err("an error").to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

#[test]
fn an_unknown_model_type_lists_the_nearest() {
    assert_eq!(
        said(&json!({"model_type": "gemma9"})),
        "unknown model_type `gemma9`: the nearest known are gemma, gemma2, gemma3, gemma4, gemma3n"
    );
    assert!(said(&json!({"model_type": "LlamaForCausalLM"})).contains("the nearest known are llama"));
    for odd in ["", "xlnet"] {
        let message = said(&json!({"model_type": odd}));
        assert!(
            message.starts_with(&format!("unknown model_type `{odd}`: the known are llama, mistral, ")),
            "{message}"
        );
    }
    assert_eq!(said(&json!({"model_type": 3})), "`model_type` is 3: it must be a text such as \"llama\"");
}

#[test]
fn a_missing_dimension_is_named_with_its_other_names() {
    for (field, message) in [
        (
            "hidden_size",
            "missing field `hidden_size`: a `llama` config.json must give it (or n_embd, n_embed, d_model)",
        ),
        (
            "num_hidden_layers",
            "missing field `num_hidden_layers`: a `llama` config.json must give it (or n_layer, n_layers, num_layers)",
        ),
        (
            "num_attention_heads",
            "missing field `num_attention_heads`: a `llama` config.json must give it (or n_head, n_heads)",
        ),
        ("vocab_size", "missing field `vocab_size`: a `llama` config.json must give it"),
        (
            "intermediate_size",
            "missing field `intermediate_size`: a `llama` config.json must give it (or ffn_dim, n_inner, ffn_hidden_size)",
        ),
    ] {
        let mut config = llama(json!({}));
        config.as_object_mut().and_then(|map| map.remove(field));
        assert_eq!(said(&config), message);
        assert_eq!(said(&llama(json!({field: null}))), message);
    }
}

#[test]
fn an_absurd_number_is_named_with_its_range() {
    for (more, message) in [
        (json!({"num_attention_heads": 0}), "`num_attention_heads` is 0: it must be from 1 to 16384"),
        (
            json!({"num_hidden_layers": 1_u64 << 60}),
            "`num_hidden_layers` is 1152921504606846976: it must be from 1 to 10000",
        ),
        (json!({"vocab_size": u64::MAX}), "`vocab_size` is 18446744073709551615: it must be from 1 to 16777216"),
        (json!({"hidden_size": 1 << 21}), "`hidden_size` is 2097152: it must be from 1 to 1048576"),
        (json!({"head_dim": 0}), "`head_dim` is 0: it must be from 1 to 16384"),
        (json!({"max_position_embeddings": 0}), "`max_position_embeddings` is 0: it must be from 1 to 1073741824"),
        (json!({"attention_dropout": 1.5}), "`attention_dropout` is 1.5: it must be from 0 to 1"),
        (json!({"attention_dropout": -1}), "`attention_dropout` is -1: it must be from 0 to 1"),
        (
            json!({"hidden_size": 1 << 20, "intermediate_size": 1 << 24, "num_hidden_layers": 10_000}),
            "the configuration describes about 5.7e17 parameters, more than 2^50: \
             check hidden_size, intermediate_size, vocab_size and num_hidden_layers",
        ),
    ] {
        assert_eq!(said(&llama(more)), message);
    }
}

#[test]
fn a_wrong_type_is_named_with_what_is_wanted() {
    for (more, message) in [
        (json!({"hidden_size": -4096}), "`hidden_size` is -4096: it must be a whole number that is not negative"),
        (json!({"hidden_size": 4096.5}), "`hidden_size` is 4096.5: it must be a whole number that is not negative"),
        (json!({"hidden_size": 1e30}), "`hidden_size` is 1e+30: it must be from 1 to 1048576"),
        (json!({"hidden_size": "4096"}), "`hidden_size` is \"4096\": it must be a whole number: leave the quotes out"),
        (json!({"hidden_size": "a\nb"}), "`hidden_size` is \"a\\nb\": it must be a whole number that is not negative"),
        (json!({"hidden_size": [1]}), "`hidden_size` is an array: it must be a whole number that is not negative"),
        (json!({"hidden_size": {}}), "`hidden_size` is an object: it must be a whole number that is not negative"),
        (json!({"hidden_size": true}), "`hidden_size` is true: it must be a whole number that is not negative"),
        (json!({"attention_bias": 1}), "`attention_bias` is 1: it must be true or false"),
        (json!({"attention_dropout": "x"}), "`attention_dropout` is \"x\": it must be a number"),
        (json!({"pad_token_id": 0.5}), "`pad_token_id` is 0.5: it must be a whole number or null"),
        (
            json!({"hidden_act": "tanh"}),
            "`hidden_act` is \"tanh\": it must be one of silu, gelu, gelu_pytorch_tanh, gelu_new, gelu_fast, relu, relu2",
        ),
    ] {
        assert_eq!(said(&llama(more)), message);
    }
    assert_eq!(
        said(&json!("llama")),
        "the model's config is \"llama\": it must be an object such as {\"model_type\": \"llama\", \"hidden_size\": 4096, ...}"
    );
}

#[test]
fn numbers_that_do_not_divide_are_named_together() {
    assert_eq!(
        said(&llama(json!({"num_key_value_heads": 5}))),
        "`num_attention_heads` is 32, which is not a multiple of `num_key_value_heads` 5: \
         every key and value head serves as many query heads"
    );
    assert_eq!(
        said(&llama(json!({"num_attention_heads": 33}))),
        "`hidden_size` is 4096, which is not a multiple of `num_attention_heads` 33: change one of them, or give head_dim"
    );
    assert_eq!(
        said(&llama(json!({"model_type": "bloom", "num_attention_heads": 33}))),
        "`hidden_size` is 4096, which is not a multiple of `num_attention_heads` 33: change one of them"
    );
    assert_eq!(
        said(&llama(json!({"model_type": "qwen2", "num_attention_heads": 14, "head_dim": 64}))),
        "`num_attention_heads` is 14, which is not a multiple of `num_key_value_heads` 32: \
         that is the class default of the absent num_key_value_heads, so give it"
    );
}

#[test]
fn two_spellings_must_agree() {
    assert_eq!(
        said(&llama(json!({"n_embd": 768}))),
        "`hidden_size` is 4096 and `n_embd` is 768: they mean the same, so keep one of them"
    );
    assert!(from_config("test", &llama(json!({"n_embd": 4096}))).is_ok());
}

#[test]
fn layer_types_must_be_one_per_layer_and_known() {
    let gemma = |layer_types: Value| llama(json!({"model_type": "gemma3_text", "layer_types": layer_types}));
    assert_eq!(
        said(&gemma(json!(["full_attention"]))),
        "`layer_types` has 1 entries but `num_hidden_layers` is 32: give one entry per layer, or leave it out"
    );
    assert_eq!(
        said(&gemma(json!(vec!["mamba"; 32]))),
        "`layer_types[0]` is \"mamba\": it must be \"full_attention\" or \"sliding_attention\""
    );
    assert_eq!(said(&gemma(json!(7))), "`layer_types` is 7: it must be a list");
}

#[test]
fn what_is_not_modelled_is_refused() {
    assert_eq!(
        said(&llama(json!({"model_type": "gpt2", "add_cross_attention": true}))),
        "`add_cross_attention` is true, which is not supported for model_type `gpt2`: \
         decoders that read an encoder's output are not modelled, so leave it out"
    );
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (1_u64..200_000).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,120}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!({"partial_rotary_factor": 0.3})),
        Just(json!(["full_attention"])),
    ]
}

fn field() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "head_dim",
        "vocab_size",
        "max_position_embeddings",
        "n_embd",
        "n_layer",
        "n_head",
        "n_inner",
        "num_kv_heads",
        "layer_types",
        "sliding_window",
        "sliding_window_pattern",
        "use_sliding_window",
        "max_window_layers",
        "rope_parameters",
        "rope_scaling",
        "partial_rotary_factor",
        "rotary_pct",
        "attention_dropout",
        "hidden_act",
        "pad_token_id",
        "tie_word_embeddings",
        "word_embed_proj_dim",
        "num_ln_in_parallel_attn",
        "new_decoder_architecture",
        "residual_multiplier",
        "final_logit_softcapping",
        "use_bidirectional_attention",
    ])
}

proptest! {
    #[test]
    fn no_config_makes_it_panic(
        model_type in prop::sample::select(model::ModelType::ALL),
        changes in prop::collection::vec((field(), value()), 0..6),
    ) {
        let mut config = llama(json!({"model_type": model_type.as_str(), "num_key_value_heads": 8}));
        for (field, value) in changes {
            config[field] = value;
        }
        match from_config("test", &config) {
            Ok(model) => if let Some(model) = model.decoder() {
                prop_assert_eq!(u64::try_from(model.layer_types.len()), Ok(model.num_hidden_layers));
                prop_assert!(model.attention.num_heads.is_multiple_of(model.attention.num_kv_heads));
                prop_assert!(model.attention.rotary_dim.is_none_or(|turned| turned <= model.attention.head_dim));
                prop_assert!(model.sliding_window.is_some() || model.layer_types.iter().all(|layer| *layer != model::LayerType::SlidingAttention));
            }
            Err(error) => {
                let message = error.to_string();
                prop_assert!(!message.contains('\n') && message.len() < 600, "{}", message);
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_text_makes_it_panic(spec in ".{0,200}") {
        if let Err(error) = model::resolve(&spec) {
            prop_assert!(!error.to_string().contains('\n'));
        }
    }
}
