//! Job files: what is read, what is written, and the exact line for everything that is wrong.

#![allow(clippy::unwrap_used)]

use vramplan::job::{
    FloatType, Fsdp, Head, Infer, Job, JobFile, Lora, MixedPrecision, ModelRef, Optim, Peft, Precision, TargetModules,
    Train, Workload,
};

const EVERYTHING: &str = r#"
model = "llama-2-7b"

[train]
precision = "nf4"
double_quant = true
compute_dtype = "bf16"
mixed_precision = "no"
head = "causal-lm"
per_device_train_batch_size = 4
max_seq_length = 1024
gradient_accumulation_steps = 4
gradient_checkpointing = true
optim = "paged_adamw_8bit"
max_grad_norm = 0.3
attn_implementation = "sdpa"
attention_mask = false
zero_grad_set_to_none = false
keep_outputs = true
tensor_parallel_size = 1

[train.peft]
type = "lora"
r = 16
lora_alpha = 32
lora_dropout = 0.05
target_modules = ["q_proj", "v_proj"]
use_dora = true
modules_to_save = ["lm_head"]
"#;

fn everything() -> Train {
    Train {
        head: Some(Head::CausalLm),
        precision: Precision::Nf4,
        double_quant: true,
        per_device_train_batch_size: 4,
        max_seq_length: 1024,
        gradient_accumulation_steps: 4,
        gradient_checkpointing: true,
        optim: Optim::PagedAdamw8bit,
        max_grad_norm: Some(0.3),
        zero_grad_set_to_none: false,
        keep_outputs: true,
        peft: Some(Peft::Lora(Lora {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.05,
            target_modules: Some(TargetModules::Names(vec!["q_proj".into(), "v_proj".into()])),
            use_dora: true,
            modules_to_save: vec!["lm_head".into()],
            ..Lora::default()
        })),
        ..Train::default()
    }
}

#[test]
fn every_field_of_a_training_job_is_read() {
    let job: Job = EVERYTHING.parse().unwrap();
    assert_eq!(job, Job::train("llama-2-7b", everything()));
    job.validate().unwrap();
}

#[test]
fn a_job_survives_being_written_and_read() {
    for job in [
        Job::train("llama-2-7b", everything()),
        Job::train("7b", Train { max_grad_norm: Some(0.0), ..Train::default() }),
        Job::train("7b", Train { fsdp: Some(Fsdp { world_size: 8, ..Fsdp::default() }), ..Train::default() }),
        Job::infer("gpt2", Infer::default()),
    ] {
        assert_eq!(serde_json::to_string(&job).unwrap().parse::<Job>().unwrap(), job);
        assert_eq!(toml::to_string(&job).unwrap().parse::<Job>().unwrap(), job);
    }
}

#[test]
fn json_is_told_by_its_brace() {
    let json = r#"  {"model": "7b", "train": {"optim": "adamw", "max_grad_norm": null,
        "peft": {"type": "lora", "target_modules": "all-linear"}}}"#;
    let Workload::Train(train) = json.parse::<Job>().unwrap().workload else { panic!() };
    assert_eq!(train.optim, Optim::AdamwTorch);
    assert!(!train.clips());
    assert_eq!(train.lora(), Some(&Lora { target_modules: Some(TargetModules::AllLinear), ..Lora::default() }));
}

#[test]
fn an_empty_train_table_is_full_fine_tuning_with_the_trainers_defaults() {
    let job: Job = "model = \"7b\"\n[train]".parse().unwrap();
    assert_eq!(job.workload, Workload::default());
    let Workload::Train(train) = job.workload else { panic!() };
    assert!(train.clips() && train.zero_grad_set_to_none && train.peft.is_none());
    assert_eq!((train.per_device_train_batch_size, train.max_seq_length), (1, 2048));
    assert_eq!(train.float_type(), FloatType::Bf16);
}

#[test]
fn an_inference_job_is_read() {
    let text = "model = \"gpt2\"\n[infer]\nprecision = \"nf4\"\ncompute_dtype = \"fp16\"\nbatch_size = 2\nprompt_length = 4096\n\
                max_new_tokens = 64\nlogits_to_keep = 0\nkv_cache_dtype = \"auto\"\nruntime = \"transformers\"";
    let infer = Infer {
        precision: Precision::Nf4,
        compute_dtype: FloatType::Fp16,
        batch_size: 2,
        prompt_length: 4096,
        max_new_tokens: 64,
        logits_to_keep: 0,
        ..Infer::default()
    };
    assert_eq!(text.parse::<Job>().unwrap(), Job::infer("gpt2", infer));
}

#[test]
fn a_model_may_be_written_into_the_job() {
    let text = "[model]\nconfig = { model_type = \"llama\", hidden_size = 4096, rope_theta = 1e4 }\n[train]";
    let Job { model: ModelRef::Inline(model), .. } = text.parse().unwrap() else { panic!() };
    assert_eq!(model.name, None);
    assert_eq!(model.config["model_type"], "llama");
    assert_eq!(model.config["hidden_size"], 4096);
}

#[test]
fn a_job_file_may_leave_the_model_to_the_command_line() {
    let file: JobFile = "[train]\nmixed_precision = \"bf16\"\nhead = \"seq-cls\"".parse().unwrap();
    let train = file.train.unwrap();
    assert_eq!((file.model, train.mixed_precision, train.head), (None, MixedPrecision::Bf16, Some(Head::SeqCls)));
}

/// Each text with the line it must fail with, in reading or in validation.
fn check(cases: &[(&str, &str)]) {
    for (text, line) in cases {
        let error = text.parse::<Job>().and_then(|job| job.validate()).expect_err(text).to_string();
        assert_eq!(error, *line, "for {text}");
        assert!(!error.contains('\n'));
    }
}

#[test]
fn what_cannot_be_read_is_told_in_one_line() {
    check(&[
        ("model = \"7b\"", "the job has none of [train], [infer] and [serve]; add one of them"),
        ("model = \"7b\"\n[train]\n[infer]", "the job has both [train] and [infer]; remove one of them"),
        ("[train]", "the job names no model; add model = \"llama-2-7b\" or the like"),
        ("model = \"\"\n[train]", "model = \"\": name a model, such as \"llama-2-7b\""),
        ("model = 7\n[train]", "model: invalid type: integer `7`, expected a model's name or a table with its config"),
        ("[model]\nname = \"x\"\n[train]", "model: missing field `config`"),
        ("model = \"7b\"\n[train\n", "line 2: unclosed table, expected `]`"),
        (
            "model = \"7b\"\n[train]\nmax_seq_length = -1",
            "train.max_seq_length: invalid value: integer `-1`, expected u64",
        ),
        (
            "model = \"7b\"\n[train]\nmax_seq_length = \"2k\"",
            "train.max_seq_length: invalid type: string \"2k\", expected u64",
        ),
        (
            "model = \"7b\"\n[train]\nmixed_precision = true",
            "train.mixed_precision: invalid type: boolean `true`, expected one of no, fp16, bf16",
        ),
        (
            "model = \"7b\"\n[train]\nmixed_precision = \"yes\"",
            "train.mixed_precision: `yes` is not one of no, fp16, bf16",
        ),
        ("model = \"7b\"\n[train]\nr = 8", "unknown field `train.r`; it belongs in [train.peft]"),
        (
            "model = \"7b\"\n[train]\ngradient_checkpoint = true",
            "unknown field `train.gradient_checkpoint`; did you mean `gradient_checkpointing`?",
        ),
        ("modle = \"7b\"", "unknown field `modle`; did you mean `model`?"),
        ("model = \"7b\"\nzzz = 1", "unknown field `zzz`; expected one of model, train, infer, serve"),
        ("{\"model\": \"7b\", \"train\": {}", "EOF while parsing an object at line 1 column 27"),
        ("{\"model\": \"7b\", \"train\": {}} x", "trailing characters at line 1 column 30"),
        (
            "{\"model\": \"7b\", \"train\": {\"max_seq_length\": 1e3}}",
            "train.max_seq_length: invalid type: floating point `1000.0`, expected u64 at line 1 column 47",
        ),
        (
            "{\"model\": \"7b\", \"infer\": {\"gc\": 1}}",
            "unknown field `infer.gc`; expected one of precision, double_quant, \
          compute_dtype, batch_size, prompt_length, max_new_tokens, logits_to_keep, kv_cache_dtype, attn_implementation, decode_experts, runtime",
        ),
    ]);
}

#[test]
fn fields_of_another_peft_method_are_named() {
    let train = |peft: &str| format!("model = \"7b\"\n[train.peft]\n{peft}");
    for (peft, line) in [
        ("r = 8", "train.peft: missing field `type`"),
        (
            "type = \"ia3\"\nr = 8",
            "train.peft.r = 8: ia3 has no such field, lora, loha, lokr, oft, vera have; remove it",
        ),
        (
            "type = \"lora\"\nnum_virtual_tokens = 20",
            "train.peft.num_virtual_tokens = 20: lora has no such field, prefix_tuning, prompt_tuning have; remove it",
        ),
        (
            "type = \"lora\"\ninit_r = 20",
            "train.peft.init_r = 20: lora has no such field; set type = \"adalora\" or remove it",
        ),
        (
            "type = \"qlora\"",
            "train.peft: `qlora` is not one of lora, adalora, loha, lokr, oft, vera, ia3, prefix_tuning, prompt_tuning, adapter",
        ),
        (
            "type = \"lora\"\ntarget_modules = 3",
            "train.peft.target_modules: invalid type: integer `3`, expected a list of module names, \"all-linear\" or a regular \
             expression",
        ),
        ("type = \"lora\"\nrank = 8", "unknown field `train.peft.rank`; did you mean `r`?"),
    ] {
        check(&[(&train(peft), line)]);
    }
}

#[test]
fn contradictions_in_training_are_told_with_their_fix() {
    for (fields, line) in [
        ("per_device_train_batch_size = 0", "train.per_device_train_batch_size = 0: give a number from 1 to 1048576"),
        (
            "per_device_train_batch_size = 2000000",
            "train.per_device_train_batch_size = 2000000: give a number from 1 to 1048576",
        ),
        (
            "max_seq_length = 134217728\nper_device_train_batch_size = 1048576",
            "train.max_seq_length = 134217728: a batch of 1048576 is more than 1073741824 tokens at once; lower one of them",
        ),
        (
            "peft = { type = \"lora\", target_modules = [\"\"] }",
            "train.peft.target_modules = [\"\"]: name a module, such as \"q_proj\", or leave it out for the model type's default",
        ),
        ("max_seq_length = 0", "train.max_seq_length = 0: give a number from 1 to 134217728"),
        ("gradient_accumulation_steps = 0", "train.gradient_accumulation_steps = 0: give a number from 1 to 1048576"),
        ("max_grad_norm = -1.0", "train.max_grad_norm = -1: give a number from 0 (no clipping) up"),
        ("max_grad_norm = nan", "train.max_grad_norm = NaN: give a number from 0 (no clipping) up"),
        (
            "double_quant = true",
            "train.double_quant = true: only 4-bit weights have scales to quantise, not bf16; set precision = \"nf4\" or \
             double_quant = false",
        ),
        (
            "precision = \"nf4\"",
            "train.precision = \"nf4\": quantised weights cannot be trained; add [train.peft] type = \"lora\", or use bf16, fp16 \
             or fp32",
        ),
        (
            "precision = \"int8\"",
            "train.precision = \"int8\": quantised weights cannot be trained; add [train.peft] type = \"lora\", or use bf16, fp16 \
             or fp32",
        ),
        (
            "mixed_precision = \"fp16\"",
            "train.mixed_precision = \"fp16\": its gradient scaler needs fp32 weights, not bf16; set precision = \"fp32\" or \
             mixed_precision = \"no\"",
        ),
        (
            "mixed_precision = \"fp16\"\npeft = { type = \"lora\", autocast_adapter_dtype = false }",
            "train.mixed_precision = \"fp16\": its gradient scaler needs fp32 adapters, not bf16; set autocast_adapter_dtype = \
             true",
        ),
        ("peft = { type = \"lora\", r = 0 }", "train.peft.r = 0: give a number from 1 to 65536"),
        (
            "peft = { type = \"lora\", lora_dropout = 1.0 }",
            "train.peft.lora_dropout = 1: give a number from 0 up to, but not, 1",
        ),
        ("peft = { type = \"lora\", lora_alpha = 0 }", "train.peft.lora_alpha = 0: give a number above 0"),
        (
            "peft = { type = \"lora\", target_modules = [] }",
            "train.peft.target_modules = []: name a module, such as \"q_proj\", or leave it out for the model type's default",
        ),
        (
            "gradient_checkpointing = true\npeft = { type = \"prefix_tuning\" }",
            "train.gradient_checkpointing = true: PEFT does not prefix-tune with gradient checkpointing, which has no cache; turn \
             one of them off",
        ),
        (
            "precision = \"nf4\"\npeft = { type = \"loha\" }",
            "train.precision = \"nf4\": PEFT has no loha for quantised layers; use bf16, fp16 or fp32",
        ),
        (
            "peft = { type = \"oft\", r = 8 }",
            "train.peft.r = 8: its product with oft_block_size = 32 is the layer's width; give one of them and set the other to 0",
        ),
        (
            "peft = { type = \"lokr\", decompose_factor = -2 }",
            "train.peft.decompose_factor = -2: give a number above 0, or -1 for factors near the square root",
        ),
    ] {
        check(&[(&format!("model = \"7b\"\n[train]\n{fields}"), line)]);
    }
}

#[test]
fn what_is_not_supported_yet_is_said_so() {
    for (fields, line) in [
        (
            "objective = \"ppo\"\nprecision = \"nf4\"\npeft = { type = \"lora\" }",
            "train.objective = \"ppo\": not supported yet; its value model is trained whole; use precision = \"bf16\"",
        ),
        ("tensor_parallel_size = 2", "train.tensor_parallel_size = 2: not supported yet; use 1"),
        ("fsdp = { world_size = 8 }", "train.fsdp.world_size = 8: not supported yet; remove [train.fsdp]"),
        ("peft = { type = \"oft\", coft = true }", "train.peft.coft = true: not supported yet; use false"),
        (
            "peft = { type = \"oft\", use_cayley_neumann = false }",
            "train.peft.use_cayley_neumann = false: not supported yet; use true",
        ),
    ] {
        let text = format!("model = \"7b\"\n[train]\n{fields}");
        check(&[(&text, line)]);
        assert!(text.parse::<Job>().unwrap().validate().unwrap_err().is_unsupported());
    }
}

#[test]
fn contradictions_in_inference_are_told_with_their_fix() {
    for (fields, line) in [
        ("batch_size = 0", "infer.batch_size = 0: give a number from 1 to 1048576"),
        (
            "max_new_tokens = 134217728\nbatch_size = 1024",
            "infer.max_new_tokens = 134217728: a batch of 1024 is more than 1073741824 tokens at once; lower one of them",
        ),
        ("prompt_length = 0", "infer.prompt_length = 0: give a number from 1 to 134217728"),
        (
            "prompt_length = 8\nlogits_to_keep = 9",
            "infer.logits_to_keep = 9: the prompt has 8 positions; give at most that, or 0 for all",
        ),
        (
            "kv_cache_dtype = \"fp8\"",
            "infer.kv_cache_dtype = \"fp8\": transformers keeps keys and values in what the model computes in, here bf16; use \
             \"auto\"",
        ),
        (
            "runtime = \"vllm\"",
            "infer.runtime = \"vllm\": not supported yet; [infer] is transformers' generate(), \"transformers\"; an engine is asked for with [serve]",
        ),
    ] {
        check(&[(&format!("model = \"7b\"\n[infer]\n{fields}"), line)]);
    }
}

#[test]
fn nesting_without_end_is_an_error() {
    for text in
        ["x = ".to_owned() + &"[".repeat(100_000), "{\"model\": {\"config\": ".to_owned() + &"{\"a\":".repeat(100_000)]
    {
        assert!(!text.parse::<Job>().unwrap_err().to_string().contains('\n'));
    }
}

proptest::proptest! {
    #[test]
    fn no_text_panics(text in "[\\PC\\n]*", field in "[a-z_.]{1,12}", value in "[\\PC\\n]{0,12}") {
        for text in [text, format!("model = \"7b\"\n[train]\n{field} = {value}"), format!("{{\"model\": {value}}}")] {
            if let Err(error) = text.parse::<Job>() {
                proptest::prop_assert!(!error.to_string().contains('\n'), "{error}");
            }
        }
    }
}

#[test]
fn what_an_optimizer_or_an_objective_does_not_go_with_is_told() {
    for (fields, line) in [
        (
            "optim = \"apollo_adamw\"",
            "train.optim = \"apollo_adamw\": name the modules it projects: optim_target_modules = \"all-linear\", or \
             [\"self_attn\", \"mlp\"]",
        ),
        (
            "optim_target_modules = \"all-linear\"",
            "train.optim_target_modules = [...]: adamw_torch projects nothing; remove it, or use galore_adamw or apollo_adamw",
        ),
        (
            "optim = \"rmsprop_bnb\"",
            "train.optim = \"rmsprop_bnb\": bitsandbytes' RMSprop has no kernel for bf16 gradients; use rmsprop, or fp32 weights",
        ),
        (
            "precompute_ref_log_probs = true",
            "train.precompute_ref_log_probs = true: only objective = \"dpo\" and \"kto\" have a reference before training; remove it",
        ),
        (
            "objective = \"dpo\"\nhead = \"seq-cls\"",
            "train.objective = \"dpo\": it compares log-probabilities of tokens; use head = \"causal-lm\"",
        ),
        (
            "objective = \"dpo\"\nmax_completion_length = 4096",
            "train.max_completion_length = 4096: give a number from 1 to 2048",
        ),
    ] {
        check(&[(&format!("model = \"7b\"\n[train]\n{fields}"), line)]);
    }
}
