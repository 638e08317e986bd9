//! Flags over a job file over defaults.

use super::adapter;
use super::args::job::{CommonFlags, InferFlags, JobArgs, PeftFlags, TrainFlags};
use super::error::CliError;
use super::serving;
use crate::job::{Infer, Job, JobFile, Lora, ModelRef, Peft, Precision, TargetModules, Train, Workload};

/// The job that the arguments and the file, if there is one, ask for together.
pub(super) fn job(args: &JobArgs, file: Option<JobFile>) -> Result<Job, CliError> {
    let file = file.unwrap_or_default();
    let model = args.model.clone().map(ModelRef::Named).or(file.model).ok_or(CliError::NoModel)?;
    let workload = match (file.train, file.infer, args.infer.first()) {
        (train, infer, _) if file.serve.is_some() || args.serve.first().is_some() => {
            let other = [(train.is_some(), "[train]"), (infer.is_some(), "[infer]")].into_iter().find(|(is, _)| *is);
            if let Some((_, table)) = other {
                let with = args.serve.first().unwrap_or("[serve]");
                return Err(CliError::Usage(format!("{with}: the job file has {table}; remove one of them")));
            }
            Workload::Serve(serving::job(args, file.serve.unwrap_or_default())?)
        }
        (Some(_), Some(_), _) => {
            return Err(CliError::usage("the job file has both [train] and [infer]; remove one of them"));
        }
        (Some(_), None, Some(flag)) => {
            return Err(CliError::Usage(format!(
                "{flag}: the job file has [train]; remove the flag, or write [infer] instead"
            )));
        }
        (None, None, Some(_)) => Workload::Infer(infer_job(args, Infer::default())?),
        (None, Some(infer), _) => Workload::Infer(infer_job(args, infer)?),
        (train, None, None) => {
            Workload::Train(train_job(&args.common, &args.train, &args.peft, train.unwrap_or_default())?)
        }
    };
    Ok(Job { model, workload })
}

/// `train` with the flags that were given.
pub(super) fn train_job(
    common: &CommonFlags,
    flags: &TrainFlags,
    peft: &PeftFlags,
    mut train: Train,
) -> Result<Train, CliError> {
    let TrainFlags {
        objective,
        precompute_ref_log_probs,
        max_completion_length,
        num_generations,
        steps_per_generation,
        beta,
        checkpoint_every_n_layers,
        packing,
        torch_compile,
        offload_optimizer,
        offload_gradients,
        num_labels,
        max_seq_length,
        gradient_accumulation_steps,
        gradient_checkpointing,
        optim,
        ref optim_target_modules,
        optim_rank,
        use_liger_kernel,
        mixed_precision,
        max_grad_norm,
        attention_mask,
        zero_grad_set_to_none,
        keep_outputs,
        head,
        tensor_parallel_size,
        qlora,
    } = *flags;
    if qlora {
        train.precision = Precision::Nf4;
        // An explicit 8-bit or float precision keeps the rest of the shorthand and has no scales to quantise.
        train.double_quant = common.precision.is_none_or(Precision::is_4bit);
    }
    let CommonFlags { precision, double_quant, compute_dtype, attn_implementation, batch } = *common;
    set(&mut train.precision, precision);
    set(&mut train.double_quant, double_quant);
    set(&mut train.compute_dtype, compute_dtype);
    set(&mut train.attn_implementation, attn_implementation);
    set(&mut train.per_device_train_batch_size, batch);
    set(&mut train.objective, objective);
    set(&mut train.precompute_ref_log_probs, precompute_ref_log_probs);
    set(&mut train.max_completion_length, max_completion_length.map(Some));
    set(&mut train.num_generations, num_generations);
    set(&mut train.steps_per_generation, steps_per_generation.map(Some));
    set(&mut train.beta, beta.map(Some));
    set(&mut train.checkpoint_every_n_layers, checkpoint_every_n_layers);
    set(&mut train.packing, packing);
    set(&mut train.torch_compile, torch_compile);
    set(&mut train.offload_optimizer, offload_optimizer);
    set(&mut train.offload_gradients, offload_gradients);
    set(&mut train.num_labels, num_labels.map(Some));
    set(&mut train.max_seq_length, max_seq_length);
    set(&mut train.gradient_accumulation_steps, gradient_accumulation_steps);
    set(&mut train.gradient_checkpointing, gradient_checkpointing);
    set(&mut train.optim, optim);
    set(&mut train.optim_target_modules, optim_target_modules.as_deref().map(|names| Some(TargetModules::of(names))));
    set(&mut train.optim_rank, optim_rank);
    set(&mut train.use_liger_kernel, use_liger_kernel);
    set(&mut train.mixed_precision, mixed_precision);
    set(&mut train.max_grad_norm, max_grad_norm.map(Some));
    set(&mut train.attention_mask, attention_mask);
    set(&mut train.zero_grad_set_to_none, zero_grad_set_to_none);
    set(&mut train.keep_outputs, keep_outputs);
    set(&mut train.head, head.map(Some));
    set(&mut train.tensor_parallel_size, tensor_parallel_size);
    if qlora || peft.first().is_some() {
        train.peft = Some(peft.over(train.peft, qlora)?);
    }
    Ok(train)
}

fn infer_job(args: &JobArgs, mut infer: Infer) -> Result<Infer, CliError> {
    if let Some(flag) = args.train.first().or(args.peft.first()) {
        return Err(CliError::Usage(format!("{flag}: only training has it; remove it, or ask for training")));
    }
    let CommonFlags { precision, double_quant, compute_dtype, attn_implementation, batch } = args.common;
    let InferFlags { infer: _, prompt_length, max_new_tokens, logits_to_keep, kv_cache_dtype } = args.infer;
    set(&mut infer.precision, precision);
    set(&mut infer.double_quant, double_quant);
    set(&mut infer.compute_dtype, compute_dtype);
    set(&mut infer.attn_implementation, attn_implementation);
    set(&mut infer.batch_size, batch);
    set(&mut infer.prompt_length, prompt_length);
    set(&mut infer.max_new_tokens, max_new_tokens);
    set(&mut infer.logits_to_keep, logits_to_keep);
    set(&mut infer.kv_cache_dtype, kv_cache_dtype);
    Ok(infer)
}

pub(super) fn set<T>(field: &mut T, flag: Option<T>) {
    if let Some(value) = flag {
        *field = value;
    }
}

impl PeftFlags {
    /// The method that is asked for, the file's where it is the same, with the flags that were given.
    pub(super) fn over(&self, file: Option<Peft>, qlora: bool) -> Result<Peft, CliError> {
        let file = match &self.adapter {
            Some(path) => Some(adapter::read(path)?),
            None => file,
        };
        let shorthand = if qlora { "--qlora" } else { "--lora" };
        let asked = match (&self.peft, self.lora || qlora) {
            (Some(method), true) if method != "lora" => {
                return Err(CliError::Usage(format!("--peft {method}: {shorthand} asks for LoRA; remove one of them")));
            }
            (_, true) => Some("lora"),
            (method, false) => method.as_deref(),
        };
        let peft = match (asked, file) {
            (Some(asked), Some(file)) if file.type_name() == asked => file,
            (None, Some(file)) => file,
            (asked, _) => asked.and_then(Peft::of_type).unwrap_or_else(|| Peft::Lora(Lora::default())),
        };
        let kind = peft.type_name();
        let mut table = serde_json::to_value(peft)?;
        for (field, value) in self.fields() {
            table[field] = value;
        }
        serde_json::from_value(table).map_err(|error| {
            let flag = self.method_flag().unwrap_or("--peft");
            CliError::Usage(format!("{flag}: {error}; the method is {kind}, --peft names another"))
        })
    }

    /// What the flags say, by the job file's names.
    fn fields(&self) -> impl Iterator<Item = (&'static str, serde_json::Value)> {
        let targets = self.target_modules.as_deref().map(|names| match TargetModules::of(names) {
            TargetModules::AllLinear | TargetModules::Pattern(_) => names.concat().into(),
            TargetModules::Names(names) => names.into(),
        });
        [
            ("r", self.r.map(Into::into)),
            ("lora_alpha", self.lora_alpha.map(Into::into)),
            ("lora_dropout", self.lora_dropout.map(Into::into)),
            ("target_modules", targets),
            ("use_dora", self.use_dora.map(Into::into)),
            ("modules_to_save", self.modules_to_save.clone().map(Into::into)),
            ("init_r", self.init_r.map(Into::into)),
            ("oft_block_size", self.oft_block_size.map(Into::into)),
            ("num_virtual_tokens", self.num_virtual_tokens.map(Into::into)),
            ("prefix_projection", self.prefix_projection.map(Into::into)),
            ("reduction_factor", self.reduction_factor.map(Into::into)),
        ]
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| (name, value)))
    }

    /// The first of the flags that is a field of a method.
    fn method_flag(&self) -> Option<&'static str> {
        Self { lora: false, peft: None, adapter: None, ..self.clone() }.first()
    }

    /// The first of the flags that was given.
    pub(super) fn first(&self) -> Option<&'static str> {
        first(&[
            (self.lora, "--lora"),
            (self.peft.is_some(), "--peft"),
            (self.adapter.is_some(), "--adapter"),
            (self.r.is_some(), "--r"),
            (self.lora_alpha.is_some(), "--lora-alpha"),
            (self.lora_dropout.is_some(), "--lora-dropout"),
            (self.target_modules.is_some(), "--target-modules"),
            (self.use_dora.is_some(), "--use-dora"),
            (self.modules_to_save.is_some(), "--modules-to-save"),
            (self.init_r.is_some(), "--init-r"),
            (self.oft_block_size.is_some(), "--oft-block-size"),
            (self.num_virtual_tokens.is_some(), "--num-virtual-tokens"),
            (self.prefix_projection.is_some(), "--prefix-projection"),
            (self.reduction_factor.is_some(), "--reduction-factor"),
        ])
    }
}

impl TrainFlags {
    pub(super) fn first(&self) -> Option<&'static str> {
        first(&[
            (self.objective.is_some(), "--objective"),
            (self.precompute_ref_log_probs.is_some(), "--precompute-ref-log-probs"),
            (self.max_completion_length.is_some(), "--max-completion-length"),
            (self.num_generations.is_some(), "--num-generations"),
            (self.steps_per_generation.is_some(), "--steps-per-generation"),
            (self.beta.is_some(), "--beta"),
            (self.checkpoint_every_n_layers.is_some(), "--checkpoint-every-n-layers"),
            (self.packing.is_some(), "--packing"),
            (self.torch_compile.is_some(), "--torch-compile"),
            (self.offload_optimizer.is_some(), "--offload-optimizer"),
            (self.offload_gradients.is_some(), "--offload-gradients"),
            (self.num_labels.is_some(), "--num-labels"),
            (self.max_seq_length.is_some(), "--max-seq-length"),
            (self.gradient_accumulation_steps.is_some(), "--gradient-accumulation-steps"),
            (self.gradient_checkpointing.is_some(), "--gradient-checkpointing"),
            (self.optim.is_some(), "--optim"),
            (self.optim_target_modules.is_some(), "--optim-target-modules"),
            (self.optim_rank.is_some(), "--optim-rank"),
            (self.use_liger_kernel.is_some(), "--use-liger-kernel"),
            (self.mixed_precision.is_some(), "--mixed-precision"),
            (self.max_grad_norm.is_some(), "--max-grad-norm"),
            (self.attention_mask.is_some(), "--attention-mask"),
            (self.zero_grad_set_to_none.is_some(), "--zero-grad-set-to-none"),
            (self.keep_outputs.is_some(), "--keep-outputs"),
            (self.head.is_some(), "--head"),
            (self.tensor_parallel_size.is_some(), "--tensor-parallel-size"),
            (self.qlora, "--qlora"),
        ])
    }
}

impl InferFlags {
    pub(super) fn first(&self) -> Option<&'static str> {
        first(&[
            (self.infer, "--infer"),
            (self.prompt_length.is_some(), "--prompt-length"),
            (self.max_new_tokens.is_some(), "--max-new-tokens"),
            (self.logits_to_keep.is_some(), "--logits-to-keep"),
            (self.kv_cache_dtype.is_some(), "--kv-cache-dtype"),
        ])
    }
}

pub(super) fn first(flags: &[(bool, &'static str)]) -> Option<&'static str> {
    flags.iter().find(|(given, _)| *given).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::args::{Cli, Command};
    use super::*;
    use crate::job::{AttnImplementation, FloatType, KvCacheDtype, MixedPrecision, Optim, TargetModules};

    fn ask(flags: &str, file: &str) -> Result<Workload, String> {
        let words = ["vramplan", "estimate", "m"].into_iter().chain(flags.split_whitespace());
        let Command::Estimate(args) = Cli::try_parse_from(words).map_err(|error| error.to_string())?.command else {
            return Err("another command".to_owned());
        };
        let file = file.parse::<JobFile>().map_err(|error| error.to_string())?;
        job(&args.job, Some(file)).map(|job| job.workload).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn training(flags: &str, file: &str) -> Train {
        match ask(flags, file) {
            Ok(Workload::Train(train)) => train,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_training_flag_arrives() {
        let flags = "--precision nf4 --double-quant --compute-dtype fp16 --mixed-precision bf16 --batch 4 --seq 512 \
                     --gradient-accumulation-steps 2 --gradient-checkpointing --optim adamw_bnb_8bit --max-grad-norm 0 \
                     --attn-implementation eager --attention-mask --zero-grad-set-to-none=false --keep-outputs \
                     --r 16 --lora-alpha 32 --lora-dropout 0.1 --target-modules q_proj,v_proj --use-dora \
                     --modules-to-save lm_head,embed_tokens";
        let words = |names: [&str; 2]| names.map(str::to_owned).to_vec();
        let lora = Lora {
            r: 16,
            lora_alpha: 32.0,
            lora_dropout: 0.1,
            target_modules: Some(TargetModules::Names(words(["q_proj", "v_proj"]))),
            use_dora: true,
            modules_to_save: words(["lm_head", "embed_tokens"]),
            ..Lora::default()
        };
        let expected = Train {
            precision: Precision::Nf4,
            double_quant: true,
            compute_dtype: FloatType::Fp16,
            mixed_precision: MixedPrecision::Bf16,
            per_device_train_batch_size: 4,
            max_seq_length: 512,
            gradient_accumulation_steps: 2,
            gradient_checkpointing: true,
            optim: Optim::Adamw8bit,
            max_grad_norm: Some(0.0),
            attn_implementation: AttnImplementation::Eager,
            attention_mask: true,
            zero_grad_set_to_none: false,
            keep_outputs: true,
            peft: Some(Peft::Lora(lora)),
            ..Train::default()
        };
        assert_eq!(training(flags, ""), expected);
    }

    #[test]
    fn flags_win_over_the_file_and_leave_the_rest() {
        let file = "[train]\nmax_seq_length = 512\ngradient_checkpointing = true\n[train.peft]\ntype = \"lora\"\nr = 4\n\
                    target_modules = \"all-linear\"";
        let train = training("--batch-size 2 --gradient-checkpointing=false --lora-r 32", file);
        let lora = Lora { r: 32, target_modules: Some(TargetModules::AllLinear), ..Lora::default() };
        let expected = Train {
            per_device_train_batch_size: 2,
            max_seq_length: 512,
            peft: Some(Peft::Lora(lora)),
            ..Train::default()
        };
        assert_eq!(train, expected);
    }

    #[test]
    fn qlora_is_nf4_with_double_quantisation_and_lora() {
        let train = training("--qlora --r 4", "");
        assert_eq!(
            (train.precision, train.double_quant, train.lora().map(|lora| lora.r)),
            (Precision::Nf4, true, Some(4))
        );
        let eight = training("--qlora --precision int8", "");
        assert_eq!((eight.precision, eight.double_quant, eight.lora().is_some()), (Precision::Int8, false, true));
        assert!(!training("--qlora --double-quant=false", "").double_quant);
    }

    #[test]
    fn inference_is_asked_for_by_its_flags() {
        let expected = Infer {
            precision: Precision::Fp16,
            batch_size: 3,
            prompt_length: 100,
            max_new_tokens: 9,
            logits_to_keep: 0,
            kv_cache_dtype: KvCacheDtype::Fp16,
            ..Infer::default()
        };
        let flags = "--prompt-length 100 --max-new-tokens 9 --logits-to-keep 0 --kv-cache-dtype fp16 --batch 3 --precision fp16";
        assert_eq!(ask(flags, ""), Ok(Workload::Infer(expected)));
        assert_eq!(ask("--infer", ""), Ok(Workload::Infer(Infer::default())));
        let batch = Infer { batch_size: 5, ..Infer::default() };
        assert_eq!(ask("", "[infer]\nbatch_size = 5"), Ok(Workload::Infer(batch)));
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (flags, file, line) in [
            ("--infer --optim sgd", "", "--optim: only training has it; remove it, or ask for training"),
            ("--r 8", "[infer]", "--r: only training has it; remove it, or ask for training"),
            ("--infer", "[train]", "--infer: the job file has [train]; remove the flag, or write [infer] instead"),
            ("", "[train]\n[infer]", "the job file has both [train] and [infer]; remove one of them"),
            (
                "--r 8",
                "[train.peft]\ntype = \"ia3\"",
                "--r: train.peft.r = 8: ia3 has no such field, lora, loha, lokr, oft, vera have; remove it; the method is ia3, \
                 --peft names another",
            ),
            ("--peft ia3 --lora", "", "--peft ia3: --lora asks for LoRA; remove one of them"),
        ] {
            assert_eq!(ask(flags, file), Err(line.to_owned()));
        }
        assert!(training("--lora", "[train.peft]\ntype = \"ia3\"").lora().is_some());
    }
}
