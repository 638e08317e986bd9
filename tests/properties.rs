//! What holds for every job on every model, tried on small random ones.

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};
use vramplan::ghost::{Entry, Phase};
use vramplan::job::{
    AttnImplementation, FloatType, Infer, Job, JobError, Lora, MixedPrecision, Optim, Peft, Precision, TargetModules,
    Train, Workload,
};
use vramplan::model::{self, Model, ModelType, Support};
use vramplan::step::{self, Estimate};

/// Families with layers that mix tokens otherwise than by attention: what holds of attention need not hold of them.
const MIXING: [ModelType; 15] = [
    ModelType::Mamba,
    ModelType::FalconMamba,
    ModelType::Mamba2,
    ModelType::Lfm2,
    ModelType::Bamba,
    ModelType::Granitemoehybrid,
    ModelType::Jamba,
    ModelType::FalconH1,
    ModelType::NemotronH,
    ModelType::Lfm2Moe,
    ModelType::Qwen3Next,
    ModelType::Qwen3_5,
    ModelType::Qwen3_5Text,
    ModelType::Qwen3_5Moe,
    ModelType::Qwen3_5MoeText,
];

/// Families with an encoder, whose configurations have fields of their own.
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

/// A config.json of any decoder that attends in every layer: few and narrow layers, every switch that changes what is run.
fn config() -> impl Strategy<Value = Value> {
    let sizes =
        (select(vec![1_u64, 2, 4, 8]), select(vec![8_u64, 16, 64, 128]), 1_u64..=3, 16_u64..=600, 16_u64..=2000);
    let attending: Vec<ModelType> = ModelType::ALL.iter().copied().filter(|kind| runs(*kind)).collect();
    (select(attending), sizes, any::<[bool; 6]>(), select(vec![0.25_f64, 0.5, 1.0]), select(vec![4_u64, 16, 512]))
        .prop_map(|(model_type, (heads, head_dim, layers, inner, vocab), switch, fraction, window)| {
            let mut config = common(model_type, heads, head_dim, layers, inner, vocab);
            config.insert("num_key_value_heads".to_owned(), json!(if switch[0] { heads } else { heads.div_ceil(2) }));
            config.insert("tie_word_embeddings".to_owned(), json!(switch[1]));
            let special = special(model_type, switch, fraction, window, heads * head_dim);
            config.extend(special.as_object().cloned().unwrap_or_default());
            Value::Object(config)
        })
}

/// Whether these sizes are ones of its configuration, and its steps are modelled.
fn runs(model_type: ModelType) -> bool {
    !MIXING.contains(&model_type) && !ENCODING.contains(&model_type) && !model_type.takes_images()
        && model_type.support() != Support::CountedOnly
        // its heads come in fours
        && model_type != ModelType::Codegen
}

fn common(model_type: ModelType, heads: u64, head_dim: u64, layers: u64, inner: u64, vocab: u64) -> Map<String, Value> {
    let config = json!({
        "model_type": model_type.as_str(), "hidden_size": heads * head_dim, "head_dim": head_dim,
        "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": inner, "vocab_size": vocab,
        "intermediate_size_mlp": inner,
        "max_position_embeddings": 256, "pad_token_id": 0,
    });
    config.as_object().cloned().unwrap_or_default()
}

/// What only some families read.
fn special(model_type: ModelType, switch: [bool; 6], fraction: f64, window: u64, hidden_size: u64) -> Value {
    let [.., a, b, c, d] = switch;
    let dropout = if d { 0.1 } else { 0.0 };
    match model_type {
        ModelType::Mistral => json!({"sliding_window": window}),
        ModelType::Qwen2 | ModelType::Qwen3 => {
            json!({"sliding_window": window, "use_sliding_window": a, "max_window_layers": u64::from(b)})
        }
        ModelType::Gemma2 | ModelType::Gemma3Text => json!({"sliding_window": window, "attention_bias": a}),
        ModelType::Phi => json!({"partial_rotary_factor": fraction, "qk_layernorm": a, "resid_pdrop": dropout}),
        ModelType::Phi3 => json!({"partial_rotary_factor": fraction, "sliding_window": a.then_some(window)}),
        ModelType::Starcoder2 => {
            json!({"use_bias": a, "sliding_window": b.then_some(window), "residual_dropout": dropout})
        }
        ModelType::Stablelm => json!({
            "partial_rotary_factor": fraction, "use_qkv_bias": a, "qk_layernorm": b, "use_parallel_residual": c,
            "hidden_dropout": dropout,
        }),
        ModelType::Falcon => json!({
            "new_decoder_architecture": a, "multi_query": b, "alibi": c, "parallel_attn": d, "bias": switch[0],
        }),
        ModelType::GptNeox => json!({
            "rotary_pct": fraction, "use_parallel_residual": a, "attention_bias": b, "hidden_dropout": dropout,
        }),
        ModelType::Opt => json!({
            "do_layer_norm_before": a, "word_embed_proj_dim": if b { hidden_size } else { 8 }, "enable_bias": c,
            "dropout": dropout,
        }),
        ModelType::Bloom => json!({"hidden_dropout": dropout}),
        ModelType::Gptj => json!({"rotary_dim": 2, "attn_pdrop": dropout}),
        // its other layers are Conv1D: with a tied head GaLore and APOLLO have nothing to project
        ModelType::Gpt2 => json!({
            "resid_pdrop": dropout, "embd_pdrop": dropout, "attn_pdrop": dropout, "tie_word_embeddings": false,
        }),
        _ => json!({
            "attention_bias": a, "mlp_bias": b, "num_experts": 4, "num_experts_per_tok": if c { 1 } else { 3 },
            "moe_intermediate_size": window, "shared_expert_intermediate_size": window, "n_shared_experts": u64::from(d),
            "norm_topk_prob": d, "n_group": 1, "topk_group": 1, "first_k_dense_replace": u64::from(a),
            "kv_lora_rank": 16, "q_lora_rank": null, "qk_nope_head_dim": window, "qk_rope_head_dim": 8,
            "v_head_dim": 2 * window,
        }),
    }
}

fn small_model() -> impl Strategy<Value = Model> {
    config().prop_map(|config| model::from_config("small", &config).expect("a config that a model can have"))
}

/// Any of a choice's values.
fn named<T: std::str::FromStr<Err = JobError> + std::fmt::Debug>(names: &'static [&str]) -> impl Strategy<Value = T> {
    select(names).prop_map(|name| name.parse().expect(name))
}

/// How weights are held and what of them is trained.
fn method() -> impl Strategy<Value = Train> {
    let lora = (1_u64..=16, any::<bool>(), any::<bool>()).prop_map(|(r, dropout, all)| Lora {
        r,
        lora_dropout: if dropout { 0.1 } else { 0.0 },
        target_modules: all.then_some(TargetModules::AllLinear),
        ..Lora::default()
    });
    (
        named::<Precision>(Precision::NAMES),
        named::<FloatType>(FloatType::NAMES),
        named::<MixedPrecision>(MixedPrecision::NAMES),
        any::<bool>(),
        any::<bool>(),
        lora,
    )
        .prop_map(|(precision, compute_dtype, mixed_precision, double_quant, full, lora)| {
            let full = full && !precision.is_quantized();
            Train {
                precision,
                double_quant: double_quant && precision.is_4bit(),
                compute_dtype,
                // a gradient scaler wants fp32 weights
                mixed_precision: if full && mixed_precision == MixedPrecision::Fp16 && precision != Precision::Fp32 {
                    MixedPrecision::Bf16
                } else {
                    mixed_precision
                },
                peft: (!full).then_some(Peft::Lora(lora)),
                ..Train::default()
            }
        })
}

fn train() -> impl Strategy<Value = Train> {
    let implementation = select(vec![AttnImplementation::Sdpa, AttnImplementation::Eager]);
    let sizes = (1_u64..=3, 1_u64..=96, 1_u64..=4);
    (method(), sizes, named::<Optim>(Optim::NAMES), implementation, any::<[bool; 5]>()).prop_map(
        |(method, (batch, length, accumulation), optim, attn_implementation, switch)| Train {
            optim_target_modules: (optim.is_low_rank() && method.peft.is_none()).then_some(TargetModules::AllLinear),
            per_device_train_batch_size: batch,
            max_seq_length: length,
            gradient_accumulation_steps: accumulation,
            // what a job with these would be refused for
            optim: match optim {
                Optim::RmsPropBnb | Optim::RmsPropBnb8bit => Optim::RmsProp,
                optim if (optim.is_low_rank() || optim == Optim::AdamMini) && method.peft.is_some() => {
                    Optim::AdamwTorch
                }
                optim => optim,
            },
            attn_implementation,
            gradient_checkpointing: switch[0],
            attention_mask: switch[1],
            zero_grad_set_to_none: switch[2],
            keep_outputs: switch[3],
            max_grad_norm: switch[4].then_some(1.0),
            ..method
        },
    )
}

fn infer() -> impl Strategy<Value = Infer> {
    let implementation = select(vec![AttnImplementation::Sdpa, AttnImplementation::Eager]);
    (
        named::<Precision>(Precision::NAMES),
        named::<FloatType>(FloatType::NAMES),
        implementation,
        1_u64..=3,
        1_u64..=96,
        1_u64..=5,
        any::<bool>(),
    )
        .prop_map(|(precision, compute_dtype, attn_implementation, batch, length, new, last)| Infer {
            precision,
            compute_dtype,
            attn_implementation,
            batch_size: batch,
            prompt_length: length,
            max_new_tokens: new,
            logits_to_keep: u64::from(last),
            ..Infer::default()
        })
}

/// Training on `model`; where PEFT would turn every linear layer into adapters of stacked experts, which is refused, its
/// defaults are adapted.
fn training(model: &Model, mut train: Train) -> Job {
    if let Some(Peft::Lora(lora)) = &mut train.peft
        && step::count_parameters(model, Some(&Peft::Lora(lora.clone()))).is_err()
    {
        lora.target_modules = None;
    }
    Job::train("small", train)
}

/// Bytes as they were asked for, not rounded to blocks, over the entries of a run.
struct Totals {
    /// Live after each entry.
    live: Vec<u64>,
    entries: Vec<Entry>,
}

impl Totals {
    fn of(model: &Model, job: &Job) -> Self {
        let entries = step::record(model, job).expect("a job that can be estimated");
        let (mut sizes, mut live) = (HashMap::new(), Vec::with_capacity(entries.len()));
        let mut now = 0;
        for entry in &entries {
            match *entry {
                Entry::Charge { id, bytes, .. } => {
                    assert_eq!(sizes.insert(id, bytes), None, "a charge is made once before it is released");
                    now += bytes;
                }
                Entry::Release { id } => now -= sizes.remove(&id).expect("what is released was charged"),
                Entry::Begin { .. } | Entry::EmptyCache => {}
            }
            live.push(now);
        }
        Self { live, entries }
    }

    fn peak(&self) -> u64 {
        self.live.iter().copied().max().unwrap_or(0)
    }

    /// Live bytes where each stretch of a phase begins.
    fn at(&self, phase: Phase) -> Vec<u64> {
        let begins = self.entries.iter().zip(&self.live);
        begins.filter(|(entry, _)| **entry == Entry::Begin { phase }).map(|(_, live)| *live).collect()
    }

    fn end(&self) -> u64 {
        self.live.last().copied().unwrap_or(0)
    }
}

fn check_figures(estimate: &Estimate) -> Result<(), TestCaseError> {
    let peak = &estimate.peak;
    prop_assert_eq!(estimate.at_peak.total(), peak.allocated_bytes);
    prop_assert!(peak.reserved_bytes >= peak.allocated_bytes);
    prop_assert!(peak.device_bytes >= peak.reserved_bytes);
    let held = estimate.held;
    prop_assert!(held.weights + held.buffers + held.optimizer <= peak.allocated_bytes);
    for phase in &estimate.phases {
        prop_assert!(phase.end_bytes <= phase.peak_bytes && phase.peak_bytes <= peak.allocated_bytes, "{:?}", phase);
    }
    prop_assert!(estimate.phases.iter().any(|phase| phase.name == peak.phase));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(192) })]

    #[test]
    fn parts_sum_to_the_peak_of_training(model in small_model(), train in train()) {
        check_figures(&step::estimate(&model, &training(&model, train)).expect("a job that can be estimated"))?;
    }

    #[test]
    fn parts_sum_to_the_peak_of_inference(model in small_model(), infer in infer()) {
        check_figures(&step::estimate(&model, &Job::infer("small", infer)).expect("a job that can be estimated"))?;
    }

    #[test]
    fn a_steady_step_ends_where_it_began(model in small_model(), train in train()) {
        let totals = Totals::of(&model, &training(&model, train));
        // a step has as many as are accumulated, or as many as tell how it goes on
        let begins = totals.at(Phase::Forward);
        prop_assert_eq!(totals.end(), begins[begins.len() / 2]);
    }

    #[test]
    fn checkpointing_never_keeps_more_for_backward(model in small_model(), train in train()) {
        // bitsandbytes' 8-bit products keep their inputs on the graph, checkpointed or not
        if train.precision == Precision::Int8 {
            return Ok(());
        }
        let max_seq_length = train.max_seq_length + 16;
        // a region keeps its mask as it came, without regions it is kept as the kernel read it
        let mask = 4 * train.per_device_train_batch_size * model.decoder().map_or(0, |decoder| decoder.attention.num_heads) * max_seq_length.pow(2);
        let kept = |gradient_checkpointing| {
            let job = training(&model, Train { gradient_checkpointing, max_seq_length, ..train.clone() });
            let totals = Totals::of(&model, &job);
            totals.at(Phase::Backward)[0] - totals.at(Phase::Forward)[0]
        };
        prop_assert!(kept(true) <= kept(false) + mask, "{} > {} + {}", kept(true), kept(false), mask);
    }

    // what was asked for, not what was allocated: a block may be up to a mebibyte larger than its tensor, and another
    // size of tensors may find blocks that fit better

    #[test]
    fn more_sequences_never_take_less(model in small_model(), train in train(), more in 1_u64..4) {
        let with = |per_device_train_batch_size| {
            Totals::of(&model, &training(&model, Train { per_device_train_batch_size, ..train.clone() })).peak()
        };
        let batch = train.per_device_train_batch_size;
        prop_assert!(with(batch + more) >= with(batch), "{} < {}", with(batch + more), with(batch));
    }

    #[test]
    fn longer_sequences_never_take_less(model in small_model(), train in train(), more in 1_u64..100) {
        let with = |max_seq_length| Totals::of(&model, &training(&model, Train { max_seq_length, ..train.clone() })).peak();
        let length = train.max_seq_length;
        prop_assert!(with(length + more) >= with(length), "{} < {}", with(length + more), with(length));
    }

    #[test]
    fn a_higher_rank_never_takes_less(model in small_model(), train in train(), more in 1_u64..16) {
        let Some(lora) = train.lora() else { return Ok(()) };
        // which keep the states of small adapters in 32 bits, and so take less for a larger one
        if train.optim.name().ends_with("8bit") {
            return Ok(());
        }
        let with = |r| {
            let peft = Some(Peft::Lora(Lora { r, ..lora.clone() }));
            Totals::of(&model, &training(&model, Train { peft, ..train.clone() })).peak()
        };
        prop_assert!(with(lora.r + more) >= with(lora.r), "{} < {}", with(lora.r + more), with(lora.r));
    }

    #[test]
    fn more_layers_never_take_less(config in config(), train in train(), more in 1_u64..3) {
        let with = |layers: u64| {
            let mut config = config.clone();
            config["num_hidden_layers"] = json!(layers);
            let model = model::from_config("small", &config).expect("a model");
            Totals::of(&model, &training(&model, train.clone())).peak()
        };
        let layers = config["num_hidden_layers"].as_u64().expect("a number");
        prop_assert!(with(layers + more) >= with(layers), "{} < {}", with(layers + more), with(layers));
    }

    #[test]
    fn longer_prompts_and_more_of_them_never_take_less(model in small_model(), infer in infer(), more in 1_u64..100) {
        let with = |batch_size, prompt_length| {
            Totals::of(&model, &Job::infer("small", Infer { batch_size, prompt_length, ..infer.clone() })).peak()
        };
        let (batch, length) = (infer.batch_size, infer.prompt_length);
        prop_assert!(with(batch, length + more) >= with(batch, length));
        prop_assert!(with(batch + 1, length) >= with(batch, length));
    }
}

/// A value that a field of a file might have.
fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        prop_oneof![0_u64..4, Just(u64::MAX), Just(1 << 20), Just(1 << 40), any::<u64>()].prop_map(Value::from),
        prop_oneof![Just(-1_i64), any::<i64>()].prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z_]{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_job_of_any_size_is_refused_or_estimated(
        name in select(vec!["gpt2", "llama-3.1-405b", "bloom-176b", "gemma-3-270m"]),
        train in train(), batch in 0_u32..=20, length in 0_u32..=27,
    ) {
        let model = model::resolve(name).expect(name);
        let train = Train { per_device_train_batch_size: 1 << batch, max_seq_length: 1 << length, ..train };
        if let Ok(estimate) = step::estimate(&model, &training(&model, train)) {
            check_figures(&estimate)?;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn a_field_with_any_value_is_refused_or_estimated(
        config in config(), train in train(), field in any::<prop::sample::Index>(), value in any_value(),
    ) {
        let mut config = config;
        let fields: Vec<String> = config.as_object().expect("an object").keys().cloned().collect();
        config[field.get(&fields)] = value;
        if let Ok(model) = model::from_config("odd", &config)
            && model.num_hidden_layers() <= 8
        {
            // whatever it says, it does not panic
            if let Ok(estimate) = step::estimate(&model, &training(&model, train)) {
                check_figures(&estimate)?;
            }
        }
    }

    #[test]
    fn a_job_with_any_value_is_refused_or_estimated(
        train in train(), field in any::<prop::sample::Index>(), value in any_value(),
    ) {
        let mut file = serde_json::to_value(Job::train("small", train)).expect("a job");
        let train = file["train"].as_object_mut().expect("a table");
        let fields: Vec<String> = train.keys().cloned().collect();
        train.insert(field.get(&fields).clone(), value);
        if let Ok(job) = file.to_string().parse::<Job>()
            && job.validate().is_ok()
        {
            let config = json!({
                "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
                "num_attention_heads": 4, "vocab_size": 100,
            });
            let model = model::from_config("small", &config).expect("a model");
            if let Ok(estimate) = step::estimate(&model, &job) {
                check_figures(&estimate)?;
            }
        }
    }

    #[test]
    fn a_config_without_one_of_its_dimensions_is_refused(
        config in config(),
        dimension in select(vec!["hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size"]),
        worthless in select(vec![json!(null), json!(0), json!(-3), json!(1.5), json!("four"), json!([4])]),
    ) {
        let mut config = config;
        config[dimension] = worthless;
        prop_assert!(model::from_config("broken", &config).is_err());
        config.as_object_mut().expect("an object").remove(dimension);
        prop_assert!(model::from_config("broken", &config).is_err());
    }

    #[test]
    fn a_job_of_nothing_is_refused(train in train(), which in 0_usize..4) {
        let mut train = train;
        match which {
            0 => train.per_device_train_batch_size = 0,
            1 => train.max_seq_length = 0,
            2 => train.gradient_accumulation_steps = 0,
            _ => train.max_grad_norm = Some(f64::NAN),
        }
        let model = model::resolve("gpt2").expect("a card");
        let job = training(&model, train);
        prop_assert!(matches!(job.workload, Workload::Train(_)));
        prop_assert!(step::estimate(&model, &job).is_err());
    }
}
