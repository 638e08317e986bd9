//! What is verified: small Llama-like models and ways of training them.

use serde_json::json;

use crate::job::{FloatType, Job, Lora, Peft, Precision, TargetModules, Train};
use crate::model::{self, Model};

use super::VerifyError;

/// A model and how it is trained.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// Its name, made of what is special about it.
    pub name: String,
    /// The model.
    pub model: Model,
    /// How it is trained.
    pub train: Train,
    /// AdamW's learning rate.
    pub learning_rate: f64,
}

/// The sizes of a model.
#[derive(Clone, Copy)]
pub(super) struct Size {
    pub(super) name: &'static str,
    pub(super) hidden: u64,
    pub(super) intermediate: u64,
    pub(super) layers: u64,
    pub(super) heads: u64,
    pub(super) kv_heads: u64,
    pub(super) vocab: u64,
    pub(super) tied: bool,
    pub(super) batch: u64,
    pub(super) length: u64,
}

/// All heads with keys of their own and a head of its own; keys shared by groups, and a tied head; and a larger one.
const SIZES: [Size; 3] = [
    Size {
        name: "tiny",
        hidden: 64,
        intermediate: 128,
        layers: 2,
        heads: 4,
        kv_heads: 4,
        vocab: 256,
        tied: false,
        batch: 2,
        length: 32,
    },
    Size {
        name: "grouped",
        hidden: 128,
        intermediate: 256,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        vocab: 512,
        tied: true,
        batch: 2,
        length: 64,
    },
    Size {
        name: "small",
        hidden: 192,
        intermediate: 512,
        layers: 3,
        heads: 6,
        kv_heads: 6,
        vocab: 1024,
        tied: false,
        batch: 2,
        length: 64,
    },
];

/// Large enough for a step to change a norm's weight of 1 in bf16.
const LEARNING_RATE: f64 = 5e-3;

impl Configuration {
    fn of(
        size: Size,
        precision: Precision,
        compute: FloatType,
        lora: bool,
        checkpointing: bool,
        accumulation: u64,
    ) -> Result<Self, VerifyError> {
        let Size { hidden, intermediate, layers, heads, kv_heads, vocab, tied, batch, length, .. } = size;
        let config = json!({
            "model_type": "llama",
            "hidden_size": hidden,
            "intermediate_size": intermediate,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": kv_heads,
            "vocab_size": vocab,
            "tie_word_embeddings": tied,
        });
        let name = [
            size.name,
            match compute {
                FloatType::Fp32 => "fp32",
                _ => "bf16",
            },
            if precision.is_4bit() { "nf4" } else { "dense" },
            if lora { "lora" } else { "full" },
        ];
        let mut name = name.join("-");
        if checkpointing {
            name.push_str("-gc");
        }
        if accumulation > 1 {
            name.push_str(&format!("-ga{accumulation}"));
        }
        let peft = lora.then(|| {
            Peft::Lora(Lora {
                r: 8,
                lora_alpha: 16.0,
                target_modules: Some(TargetModules::AllLinear),
                ..Lora::default()
            })
        });
        let train = Train {
            precision,
            double_quant: precision.is_4bit(),
            compute_dtype: compute,
            per_device_train_batch_size: batch,
            max_seq_length: length,
            gradient_accumulation_steps: accumulation,
            gradient_checkpointing: checkpointing,
            peft,
            ..Train::default()
        };
        let model = model::from_config(&name, &config).map_err(|error| VerifyError::Model(error.to_string()))?;
        Job::train(name.as_str(), train.clone()).validate().map_err(|error| VerifyError::Model(error.to_string()))?;
        Ok(Self { name, model, train, learning_rate: LEARNING_RATE })
    }
}

/// The built-in configurations: three sizes, fp32 and bf16, each with full fine-tuning, LoRA and LoRA on NF4, with and without
/// gradient checkpointing; and with gradient accumulation in place of full fine-tuning's on NF4, which there is not.
///
/// # Errors
/// One of them is no job: a mistake in this module.
///
/// ```
/// assert_eq!(vramplan::verify::configurations()?.len(), 48);
/// # Ok::<(), vramplan::verify::VerifyError>(())
/// ```
pub fn configurations() -> Result<Vec<Configuration>, VerifyError> {
    of_sizes(&SIZES)
}

pub(super) fn of_sizes(sizes: &[Size]) -> Result<Vec<Configuration>, VerifyError> {
    let mut all = Vec::new();
    for &size in sizes {
        for (dense, compute) in [(Precision::Fp32, FloatType::Fp32), (Precision::Bf16, FloatType::Bf16)] {
            for checkpointing in [false, true] {
                let of = |precision, lora, accumulation| {
                    Configuration::of(size, precision, compute, lora, checkpointing, accumulation)
                };
                all.push(of(dense, false, 1)?);
                all.push(of(dense, true, 1)?);
                all.push(of(Precision::Nf4, true, 1)?);
                all.push(of(dense, true, 2)?);
            }
        }
    }
    Ok(all)
}
