//! What is fuzzed: every reader of outside bytes. None may panic, take long or take much memory.

use vramplan::hardware::{Inventory, Prices};
use vramplan::job::{JobFile, Peft};
use vramplan::model::{Checkpoint, Gguf, Source};
use vramplan::step::stored_weights;

/// A reader, its name and inputs to start from.
pub(crate) struct Reader {
    pub(crate) name: &'static str,
    pub(crate) read: fn(&[u8]),
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

pub(crate) const READERS: &[Reader] = &[
    Reader { name: "config", read: config, seeds: config_seeds },
    Reader { name: "safetensors", read: safetensors, seeds: safetensors_seeds },
    Reader { name: "gguf", read: gguf, seeds: gguf_seeds },
    Reader { name: "job", read: job, seeds: job_seeds },
    Reader { name: "adapter", read: adapter, seeds: adapter_seeds },
    Reader { name: "inventory", read: inventory, seeds: inventory_seeds },
    Reader { name: "prices", read: prices, seeds: prices_seeds },
];

/// A config.json, with its `quantization_config`.
pub(crate) fn config(data: &[u8]) {
    let Ok(value) = serde_json::from_slice(data) else { return };
    let Ok(source) = Source::from_config("fuzzed", &value) else { return };
    // a model of many layers is made whole, which is no reader's matter
    if let (Some(quantization), 0..=64) = (&source.quantization, source.model.num_hidden_layers()) {
        let _ = stored_weights(&source.model, quantization);
    }
}

/// A safetensors header.
pub(crate) fn safetensors(data: &[u8]) {
    if let Ok(checkpoint) = Checkpoint::from_safetensors_header("fuzzed", data, None) {
        assert_eq!(checkpoint.by_dtype().values().map(|total| total.bytes).sum::<u64>(), checkpoint.bytes());
    }
}

/// A GGUF file that ends with its header.
pub(crate) fn gguf(data: &[u8]) {
    if let Ok(gguf) = Gguf::read("fuzzed", data, 1 << 50) {
        assert_eq!(gguf.checkpoint.by_dtype().values().map(|total| total.bytes).sum::<u64>(), gguf.checkpoint.bytes());
        let _ = gguf.model("fuzzed");
    }
}

/// A job file.
pub(crate) fn job(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(file) = text.parse::<JobFile>() else { return };
    if let Ok(job) = vramplan::job::Job::try_from(file) {
        let _ = job.validate();
    }
}

/// An adapter_config.json.
pub(crate) fn adapter(data: &[u8]) {
    if let Ok(value) = serde_json::from_slice(data) {
        let _ = Peft::from_adapter_config(&value);
    }
}

/// What nvidia-smi or kubectl prints, or a list of GPUs.
pub(crate) fn inventory(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(inventory) = Inventory::from_text(text) {
        assert!(inventory.usable().all(|device| device.total.is_some()));
    }
}

/// A table of prices.
pub(crate) fn prices(data: &[u8]) {
    if let Ok(prices) = Prices::from_csv(data) {
        assert!(prices.all().iter().all(|price| price.gpu_count > 0));
    }
}

fn config_seeds() -> Vec<Vec<u8>> {
    let cards = vramplan::model::cards();
    let mut seeds: Vec<Vec<u8>> = cards
        .iter()
        .filter_map(|summary| vramplan::model::card(&summary.name))
        .map(|card| card.config.to_string().into_bytes())
        .collect();
    for method in [
        r#"{"quant_method":"gptq","bits":4,"group_size":128}"#,
        r#"{"quant_method":"awq","bits":4,"group_size":-1,"modules_to_not_convert":["visual","model.layers.*.mlp"]}"#,
        r#"{"quant_method":"fp8","weight_block_size":[128,128],"scale_fmt":"ue8m0"}"#,
        r#"{"quant_method":"compressed-tensors","format":"pack-quantized","config_groups":{"g":{"targets":["Linear"],
            "weights":{"num_bits":4,"group_size":32,"strategy":"group","symmetric":true}}},"ignore":["re:.*self_attn.*"]}"#,
        r#"{"quant_method":"bitsandbytes","load_in_4bit":true,"bnb_4bit_quant_type":"nf4"}"#,
    ] {
        seeds.push(
            format!(
                r#"{{"model_type":"llama","hidden_size":64,"intermediate_size":160,"num_hidden_layers":2,
                    "num_attention_heads":4,"vocab_size":100,"quantization_config":{method}}}"#
            )
            .into_bytes(),
        );
    }
    seeds
}

fn safetensors_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"a":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},"b":{"dtype":"F4","shape":[4],"data_offsets":[12,14]}}"#,
        r#"{"__metadata__":{"format":"pt"},"w":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}"#,
        "{}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn gguf_seeds() -> Vec<Vec<u8>> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let integer =
        |key: &str, value: u32| [text(key), 4_u32.to_le_bytes().to_vec(), value.to_le_bytes().to_vec()].concat();
    let mut seeds = Vec::new();
    for architecture in ["llama", "falcon", "gpt2", "stablelm", "qwen3moe", "phi3"] {
        let keys = ["block_count", "context_length", "embedding_length", "feed_forward_length", "attention.head_count"];
        let mut entries =
            vec![[text("general.architecture"), 8_u32.to_le_bytes().to_vec(), text(architecture)].concat()];
        entries.extend(keys.iter().map(|key| integer(&format!("{architecture}.{key}"), 64)));
        entries.push(integer(&format!("{architecture}.rope.dimension_count"), 1));
        let words = [text("one"), text("two")].concat();
        let list = [text("tokenizer.ggml.tokens"), 9_u32.to_le_bytes().to_vec(), 8_u32.to_le_bytes().to_vec()].concat();
        entries.push([list, 2_u64.to_le_bytes().to_vec(), words].concat());
        let kv_heads =
            [text(&format!("{architecture}.attention.head_count_kv")), 9_u32.to_le_bytes().to_vec()].concat();
        let values = [5_u32.to_le_bytes(), 1_u32.to_le_bytes(), 0_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat();
        entries.push([kv_heads, values].concat());
        let tensor = [
            text("token_embd.weight"),
            2_u32.to_le_bytes().to_vec(),
            64_u64.to_le_bytes().to_vec(),
            2_u64.to_le_bytes().to_vec(),
            2_u32.to_le_bytes().to_vec(),
            0_u64.to_le_bytes().to_vec(),
        ]
        .concat();
        let head = [
            &b"GGUF"[..],
            &3_u32.to_le_bytes(),
            &1_u64.to_le_bytes(),
            &(entries.len() as u64).to_le_bytes(),
            &entries.concat(),
            &tensor,
        ];
        seeds.push(head.concat());
    }
    seeds
}

fn job_seeds() -> Vec<Vec<u8>> {
    [
        "model = \"7b\"\n[train]\nprecision = \"nf4\"\ndouble_quant = true\noptim = \"adamw_8bit\"\nmax_grad_norm = 1.0\n\
         [train.peft]\ntype = \"lora\"\nr = 16\ntarget_modules = [\"q_proj\"]\n",
        "model = \"7b\"\n[infer]\nbatch_size = 2\nprompt_length = 4096\nkv_cache_dtype = \"auto\"\n",
        r#"{"model":{"name":"m","config":{"model_type":"llama"}},"train":{"fsdp":{"world_size":8},"max_seq_length":1}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn adapter_seeds() -> Vec<Vec<u8>> {
    [
        r#"{"peft_type":"LORA","r":8,"lora_alpha":16,"target_modules":["q_proj","v_proj"],"bias":"none","use_dora":true}"#,
        r#"{"peft_type":"PREFIX_TUNING","num_virtual_tokens":20,"prefix_projection":false,"encoder_hidden_size":64}"#,
        r#"{"peft_type":"IA3","target_modules":["k_proj"],"feedforward_modules":["down_proj"],"rank_pattern":{}}"#,
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn inventory_seeds() -> Vec<Vec<u8>> {
    [
        include_str!("../tests/inventories/nvidia-smi.xml"),
        include_str!("../tests/inventories/nodes.json"),
        include_str!("../tests/inventories/gpus.toml"),
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

fn prices_seeds() -> Vec<Vec<u8>> {
    let rows = include_str!("../data/prices.csv").lines();
    let some: Vec<&str> = rows.enumerate().filter(|(line, _)| line % 40 == 0).map(|(_, row)| row).collect();
    vec![some.join("\n").into_bytes()]
}
