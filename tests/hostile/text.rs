//! JSON and TOML: configurations, jobs, adapters.

use crate::files::{Case, many, nested};

/// More than any reader takes.
const MUCH: usize = 100_000_000;

const LLAMA: &str =
    r#""model_type":"llama","hidden_size":64,"intermediate_size":128,"num_attention_heads":4,"vocab_size":100"#;

fn case(what: &'static str, name: &'static str, command: &'static [&'static str], text: String) -> Case {
    Case { what, name, contents: text.into_bytes(), length: None, command, is_refused: true }
}

pub(crate) fn configurations() -> Vec<Case> {
    let case = |what, text| case(what, "config.json", &["estimate", "FILE"], text);
    let llama = |more: &str| format!("{{{LLAMA},{more}}}");
    let sliding = |times| {
        llama(&format!(
            r#""num_hidden_layers":2,"layer_types":[{}"full_attention"]"#,
            many(r#""full_attention","#, times)
        ))
    };
    vec![
        case("100 MB of numbers", llama(&format!(r#""x":[{}0]"#, many("0,", MUCH / 2)))),
        case("100 MB of spaces", many(" ", MUCH)),
        case("4 MB of brackets", nested(2_000_000)),
        case("brackets in a field", llama(&format!(r#""x":{}"#, nested(1_000_000)))),
        case("4 MB of one number", llama(&format!(r#""num_hidden_layers":{}"#, many("9", 4_000_000)))),
        case("2^63 layers", llama(r#""num_hidden_layers":9223372036854775808"#)),
        case("1e999 layers", llama(r#""num_hidden_layers":1e999"#)),
        case("NaN layers", llama(r#""num_hidden_layers":NaN"#)),
        case("minus one layer", llama(r#""num_hidden_layers":-1"#)),
        case("a billion layers", llama(r#""num_hidden_layers":1000000000"#)),
        case("a head of 2^62", llama(r#""num_hidden_layers":2,"head_dim":4611686018427387904"#)),
        case("a width of zero", r#"{"model_type":"llama","hidden_size":0,"intermediate_size":128,"num_attention_heads":4,"vocab_size":100,"num_hidden_layers":2}"#.to_owned()),
        Case { is_refused: false, ..case("200,000 kinds of layers for two layers", sliding(199_999)) },
        case("a byte that is no text", llama("\"num_hidden_layers\":2") + "\u{0}"),
    ]
}

pub(crate) fn jobs() -> Vec<Case> {
    let case = |what, text| case(what, "job.toml", &["estimate", "--job", "FILE"], text);
    let train = |field: &str| format!("model = \"7b\"\n[train]\n{field}\n");
    vec![
        case("100 MB of lines", many("a = 1\n", MUCH / 6)),
        case("100 MB of one word", train(&format!("precision = \"{}\"", many("x", MUCH)))),
        case("a megabyte of brackets", format!("a = {}", nested(500_000))),
        case("a megabyte of tables in tables", format!("[{}a]", many("a.", 500_000))),
        case("a megabyte of tables in braces", format!("a = {}1{}", many("{a=", 200_000), many("}", 200_000))),
        case("brackets as JSON", format!(r#"{{"model":"7b","train":{}}}"#, nested(500_000))),
        case("2^63 sequences", train("per_device_train_batch_size = 9223372036854775807")),
        case("2^64 sequences", train("per_device_train_batch_size = 18446744073709551616")),
        case("NaN for the norm", train("max_grad_norm = nan")),
        case("no end to the norm", train("max_grad_norm = inf")),
        case("a field twice", train("optim = \"sgd\"\noptim = \"sgd\"")),
        case(
            "2^63 of everything",
            train("per_device_train_batch_size = 4611686018427387904\nmax_seq_length = 4611686018427387904"),
        ),
        case(
            "2^40 tokens",
            "model = \"7b\"\n[infer]\nprompt_length = 1099511627776\nmax_new_tokens = 1099511627776\n".to_owned(),
        ),
        case("a rank of 2^62", train("[train.peft]\ntype = \"lora\"\nr = 4611686018427387904")),
        case("NaN for dropout", train("[train.peft]\ntype = \"lora\"\nlora_dropout = nan")),
    ]
}

pub(crate) fn adapters() -> Vec<Case> {
    let case = |what, text| case(what, "adapter_config.json", &["estimate", "gpt2", "--adapter", "FILE"], text);
    let lora = |more: &str| format!(r#"{{"peft_type":"LORA","target_modules":["c_attn"],{more}}}"#);
    vec![
        case("100 MB of numbers", lora(&format!(r#""x":[{}0]"#, many("0,", MUCH / 2)))),
        case("4 MB of brackets", lora(&format!(r#""r":{}"#, nested(2_000_000)))),
        case("a rank of 2^63", lora(r#""r":9223372036854775808"#)),
        case("NaN for the rank", lora(r#""r":NaN"#)),
        case("a rank of minus one", lora(r#""r":-1"#)),
        case("a rank of 1e999", lora(r#""r":1e999"#)),
        case("a million patterns", lora(&format!(r#""r":8,"rank_pattern":{{{}"y":8}}"#, many(r#""x":8,"#, 500_000)))),
        case(
            "250,000 targets that are none",
            format!(r#"{{"peft_type":"LORA","r":8,"target_modules":[{}"x"]}}"#, many(r#""x","#, 250_000)),
        ),
    ]
}

pub(crate) fn inventories() -> Vec<Case> {
    let case = |what, text| case(what, "gpus", &["gpus", "--gpus-from", "FILE"], text);
    let smi = |inside: &str| format!("<nvidia_smi_log>{inside}</nvidia_smi_log>");
    let entities: String = ('a'..'k')
        .zip('b'..'l')
        .map(|(of, name)| format!("<!ENTITY {name} '{}'>", many(&format!("&{of};"), 10)))
        .collect();
    vec![
        case("100 MB of XML", smi(&many("<gpu></gpu>", MUCH / 11))),
        case("30 MB of elements", smi(&many("<a/>", 7_500_000))),
        case("a million elements in elements", many("<a>", 1_000_000)),
        case("entities of entities", format!("<!DOCTYPE a [<!ENTITY a 'ha'>{entities}]>{}", smi("&k;"))),
        case("30 MB of attributes", format!("<nvidia_smi_log {}/>", (0..2_000_000).map(|n| format!("a{n}='' ")).collect::<String>())),
        Case { is_refused: false, ..case("30 MB of nodes", format!(r#"{{"items":[{}{{}}]}}"#, many("{},", 10_000_000))) },
        case("brackets as JSON", format!(r#"{{"items":{}}}"#, nested(1_000_000))),
        case(
            "2^64 MiB",
            r#"{"items":[{"metadata":{"labels":{"nvidia.com/gpu.product":"T4","nvidia.com/gpu.memory":"18446744073709551615"}}}]}"#
                .to_owned(),
        ),
        case("2 MB of TOML", many("[[gpu]]\nname='t4'\n", 110_000)),
        case("a list of 2^63 GPUs", "[[gpu]]\nname='t4'\ncount=9223372036854775807".to_owned()),
    ]
}

pub(crate) fn prices() -> Vec<Case> {
    let case = |what, text| case(what, "prices.csv", &["gpus", "--prices", "FILE"], text);
    let header = "cloud,gpu_slug,gpu_count,price_per_hour_usd,snapshot_date\n";
    vec![
        case("100 MB of commas", many(",", MUCH)),
        case("a quote without an end", format!("{header}\"{}", many("a,", 4_000_000))),
        case("an endless price", format!("{header}a,t4,1,1e999,2026\n")),
        case("2^64 GPUs", format!("{header}a,t4,18446744073709551616,1,2026\n")),
    ]
}
