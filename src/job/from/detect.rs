//! Whose configuration a file is, by fields that no other tool has.

use super::FromError;
use super::fields::Fields;
use crate::job::ConfigFormat;

const AXOLOTL: &[&str] = &[
    "base_model",
    "micro_batch_size",
    "sequence_len",
    "sample_packing",
    "adapter",
    "lora_target_linear",
    "dataset_prepared_path",
    "pad_to_sequence_len",
    "evals_per_epoch",
    "saves_per_epoch",
];
const LLAMA_FACTORY: &[&str] = &[
    "finetuning_type",
    "stage",
    "cutoff_len",
    "template",
    "lora_rank",
    "lora_target",
    "quantization_bit",
    "flash_attn",
    "pure_bf16",
    "dataset_dir",
    "preprocessing_num_workers",
    "disable_gradient_checkpointing",
];
const DEEPSPEED: &[&str] = &[
    "zero_optimization",
    "train_micro_batch_size_per_gpu",
    "train_batch_size",
    "gradient_clipping",
    "zero_allow_untested_optimizer",
    "steps_per_print",
    "wall_clock_breakdown",
    "zero_force_ds_cpu_optimizer",
];
const ACCELERATE: &[&str] = &[
    "distributed_type",
    "compute_environment",
    "num_processes",
    "num_machines",
    "machine_rank",
    "main_training_function",
    "mixed_precision",
    "deepspeed_config",
    "downcast_bf16",
    "rdzv_backend",
];
const TRL: &[&str] = &[
    "max_length",
    "max_seq_length",
    "packing",
    "dataset_name",
    "dataset_text_field",
    "use_peft",
    "lora_r",
    "loss_type",
    "completion_only_loss",
    "assistant_only_loss",
    "padding_free",
    "model_init_kwargs",
    "chat_template_path",
    "packing_strategy",
    "eval_packing",
    "num_generations",
    "beta",
];
const TRANSFORMERS: &[&str] = &[
    "output_dir",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "optim",
    "learning_rate",
    "num_train_epochs",
    "max_steps",
    "bf16",
    "fp16",
    "lr_scheduler_type",
];

/// The format with the most fields of its own. TRL's files are transformers' with more fields.
pub(super) fn detect(file: &str, fields: &Fields) -> Result<ConfigFormat, FromError> {
    let count = |names: &[&str]| names.iter().filter(|name| fields.has(name)).count();
    let mut own = [
        (count(AXOLOTL), ConfigFormat::Axolotl),
        (count(LLAMA_FACTORY), ConfigFormat::LlamaFactory),
        (count(DEEPSPEED), ConfigFormat::Deepspeed),
        (count(ACCELERATE), ConfigFormat::Accelerate),
    ];
    own.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    let [(most, format), (next, other), ..] = own;
    let trainer = count(TRL) + count(TRANSFORMERS);
    match (most, trainer) {
        (0, 0) => {
            let formats = ConfigFormat::NAMES.join(", ");
            let message = format!("no field tells whose configuration it is; add --from-format with one of {formats}");
            Err(FromError::Missing { file: file.to_owned(), message })
        }
        (0, _) if count(TRL) > 0 => Ok(ConfigFormat::Trl),
        (0, _) => Ok(ConfigFormat::Transformers),
        _ if most == next => {
            let message = format!("it has fields of {format} and of {other}; add --from-format with one of them");
            Err(FromError::Missing { file: file.to_owned(), message })
        }
        _ => Ok(format),
    }
}
