//! What can be changed about a job so that it takes less, mildest first.

use schemars::JsonSchema;
use serde::Serialize;

use super::serving::of_serving;
use crate::job::{
    AttnImplementation, Infer, Job, Lora, OffloadOptimizer, Optim, Peft, Precision, TargetModules, Train, Workload,
};
use crate::serve::Serving;

/// One change to a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Change {
    /// The job file's field.
    pub field: &'static str,
    /// What it is.
    pub from: String,
    /// What it becomes.
    pub to: String,
    /// How the command line says it.
    pub flags: String,
    /// What it costs in time or quality.
    pub costs: &'static str,
}

impl Change {
    /// A field that goes from one value to another, and whose flag says which.
    pub(super) fn value<T: ToString>(field: &'static str, flag: &str, from: T, to: T, costs: &'static str) -> Self {
        let to = to.to_string();
        Self { field, from: from.to_string(), flags: format!("{flag} {to}"), to, costs }
    }
}

/// How much of a burden a lever is, for the order people are told of it: what costs nothing first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Burden {
    Nothing,
    Time,
    States,
    Host,
    Method,
    Quantised,
    Gpus,
    Data,
}

/// One value a lever can be set to.
#[derive(Clone, Debug)]
pub(super) struct Notch {
    pub(super) change: Change,
    apply: fn(&mut Workload, u64),
    value: u64,
}

impl Notch {
    pub(super) fn apply(&self, job: &mut Job) {
        (self.apply)(&mut job.workload, self.value);
    }
}

/// Values of one thing that can be changed, from the mildest.
#[derive(Clone, Debug)]
pub(super) struct Lever {
    pub(super) burden: Burden,
    pub(super) notches: Vec<Notch>,
}

/// The rank that LoRA is suggested with.
const RANK: u64 = 16;

/// Every lever there is for a job; `serving`: what an engine holds for it.
pub(super) fn levers(job: &Job, serving: Option<&Serving>) -> Vec<Lever> {
    let mut levers = match &job.workload {
        Workload::Train(train) => of_training(train),
        Workload::Infer(infer) => of_inference(infer),
        Workload::Serve(serve) => serving.map_or_else(Vec::new, |serving| of_serving(serve, serving)),
    };
    levers.retain(|lever| !lever.notches.is_empty());
    levers
}

fn of_training(train: &Train) -> Vec<Lever> {
    let mut levers = Vec::new();
    let mut add = |burden, notches| levers.push(Lever { burden, notches });
    if train.attn_implementation == AttnImplementation::Eager {
        add(Burden::Nothing, vec![sdpa("train.attn_implementation")]);
    }
    if !train.use_liger_kernel {
        let change = Change {
            field: "train.use_liger_kernel",
            from: "false".to_owned(),
            to: "true".to_owned(),
            flags: "--use-liger-kernel".to_owned(),
            costs: "nothing known; needs the liger-kernel package",
        };
        add(Burden::Nothing, vec![notch(change, 1, |workload, _| with_train(workload, |t| t.use_liger_kernel = true))]);
    }
    if !train.gradient_checkpointing {
        let change = Change {
            field: "train.gradient_checkpointing",
            from: "false".to_owned(),
            to: "true".to_owned(),
            flags: "--gradient-checkpointing".to_owned(),
            costs: "about a third more time: each layer's forward runs twice",
        };
        let checkpoint = |workload: &mut Workload, _| with_train(workload, |t| t.gradient_checkpointing = true);
        add(Burden::Time, vec![notch(change, 1, checkpoint)]);
    }
    add(Burden::Time, micro_batches(train));
    add(Burden::States, optimizers(train));
    if train.offload_optimizer == OffloadOptimizer::No {
        let change = Change {
            field: "train.offload_optimizer",
            from: "\"no\"".to_owned(),
            to: "\"torchao\"".to_owned(),
            flags: "--offload-optimizer torchao".to_owned(),
            costs: "a slow optimizer step on the CPU, and its states in the host's memory",
        };
        let offload =
            |workload: &mut Workload, _| with_train(workload, |t| t.offload_optimizer = OffloadOptimizer::Torchao);
        add(Burden::Host, vec![notch(change, 1, offload)]);
    }
    if train.peft.is_none() {
        let change = |on: &str, flags: &str| Change {
            field: "train.peft",
            from: "full fine-tuning".to_owned(),
            to: format!("LoRA, r = {RANK} on {on}"),
            flags: format!("--lora --r {RANK}{flags}"),
            costs: "learns less than full fine-tuning where the task is far from the model's",
        };
        let everywhere = change("every linear layer", " --target-modules all-linear");
        // experts that are stacked are no linear layers, and there PEFT's defaults for the type remain
        let somewhere = change("PEFT's default modules", "");
        add(
            Burden::Method,
            vec![
                notch(everywhere, RANK, |workload, r| {
                    with_train(workload, |t| t.peft = Some(lora(r, Some(TargetModules::AllLinear))))
                }),
                notch(somewhere, RANK, |workload, r| with_train(workload, |t| t.peft = Some(lora(r, None)))),
            ],
        );
    }
    add(Burden::Quantised, precisions(train.precision, "train.precision"));
    add(
        Burden::Data,
        shorter(train.max_seq_length, "train.max_seq_length", "--max-seq-length", |workload, tokens| {
            with_train(workload, |t| t.max_seq_length = tokens);
        }),
    );
    levers
}

fn of_inference(infer: &Infer) -> Vec<Lever> {
    let mut levers = Vec::new();
    let mut add = |burden, notches| levers.push(Lever { burden, notches });
    if infer.attn_implementation == AttnImplementation::Eager {
        add(Burden::Nothing, vec![sdpa("infer.attn_implementation")]);
    }
    if infer.logits_to_keep != 1 {
        let (flag, now) = ("--logits-to-keep", infer.logits_to_keep);
        let change = Change::value("infer.logits_to_keep", flag, now, 1, "no logits of the prompt");
        add(
            Burden::Nothing,
            vec![notch(change, 1, |workload, keep| with_infer(workload, |i| i.logits_to_keep = keep))],
        );
    }
    let batches = halvings(infer.batch_size, 1).map(|batch| {
        let change = Change::value("infer.batch_size", "--batch-size", infer.batch_size, batch, "less throughput");
        notch(change, batch, |workload, batch| with_infer(workload, |i| i.batch_size = batch))
    });
    add(Burden::Time, batches.collect());
    add(Burden::Quantised, precisions(infer.precision, "infer.precision"));
    add(
        Burden::Data,
        shorter(infer.prompt_length, "infer.prompt_length", "--prompt-length", |workload, tokens| {
            with_infer(workload, |i| i.prompt_length = tokens);
        }),
    );
    levers
}

pub(super) const fn notch(change: Change, value: u64, apply: fn(&mut Workload, u64)) -> Notch {
    Notch { change, apply, value }
}

fn with_train(workload: &mut Workload, change: impl FnOnce(&mut Train)) {
    if let Workload::Train(train) = workload {
        change(train);
    }
}

fn with_infer(workload: &mut Workload, change: impl FnOnce(&mut Infer)) {
    if let Workload::Infer(infer) = workload {
        change(infer);
    }
}

fn lora(r: u64, target_modules: Option<TargetModules>) -> Peft {
    Peft::Lora(Lora { r, target_modules, ..Lora::default() })
}

fn sdpa(field: &'static str) -> Notch {
    let change = Change {
        field,
        from: "\"eager\"".to_owned(),
        to: "\"sdpa\"".to_owned(),
        flags: "--attn-implementation sdpa".to_owned(),
        costs: "nothing; it is faster too",
    };
    notch(change, 1, |workload, _| match workload {
        Workload::Train(train) => train.attn_implementation = AttnImplementation::Sdpa,
        Workload::Infer(infer) => infer.attn_implementation = AttnImplementation::Sdpa,
        Workload::Serve(_) => {}
    })
}

/// Smaller micro-batches that add up to the same batch.
fn micro_batches(train: &Train) -> Vec<Notch> {
    let batch = train.per_device_train_batch_size;
    let Some(effective) = batch.checked_mul(train.gradient_accumulation_steps) else { return Vec::new() };
    halvings(batch, 1)
        .filter(|smaller| effective.is_multiple_of(*smaller))
        .map(|smaller| {
            let steps = effective / smaller;
            let change = Change {
                field: "train.per_device_train_batch_size",
                from: format!("{batch} x {} accumulated", train.gradient_accumulation_steps),
                to: format!("{smaller} x {steps} accumulated"),
                flags: format!("--per-device-train-batch-size {smaller} --gradient-accumulation-steps {steps}"),
                costs: "somewhat more time for the same batch: smaller matrices",
            };
            notch(change, smaller, |workload, smaller| {
                with_train(workload, |t| {
                    let effective = t.per_device_train_batch_size * t.gradient_accumulation_steps;
                    t.per_device_train_batch_size = smaller;
                    t.gradient_accumulation_steps = effective / smaller;
                });
            })
        })
        .collect()
}

/// Optimizers with fewer states on the GPU, in the place of AdamW.
fn optimizers(train: &Train) -> Vec<Notch> {
    if !matches!(train.optim, Optim::AdamwTorch | Optim::AdamwTorchFused | Optim::AdamwTorchLoop) {
        return Vec::new();
    }
    let change = |to: Optim, costs| Change {
        field: "train.optim",
        from: format!("\"{}\"", train.optim),
        to: format!("\"{to}\""),
        flags: format!("--optim {to}"),
        costs,
    };
    let eight = "little: 8-bit states follow AdamW closely in published comparisons; needs bitsandbytes";
    let paged = "as adamw_8bit; states may move to the host and back, which takes time";
    vec![
        notch(change(Optim::Adamw8bit, eight), 0, |workload, _| with_train(workload, |t| t.optim = Optim::Adamw8bit)),
        notch(change(Optim::PagedAdamw8bit, paged), 0, |workload, _| {
            with_train(workload, |t| t.optim = Optim::PagedAdamw8bit);
        }),
    ]
}

/// Smaller weights. Where they are trained themselves the job refuses what cannot be.
fn precisions(precision: Precision, field: &'static str) -> Vec<Notch> {
    let change = |to: Precision, flags: &str, costs| Change {
        field,
        from: format!("\"{precision}\""),
        to: format!("\"{to}\""),
        flags: flags.to_owned(),
        costs,
    };
    let bf16 = change(Precision::Bf16, "--precision bf16", "less exact weights and updates");
    let int8 =
        change(Precision::Int8, "--precision int8", "a little quality, and time: weights are quantised to 8 bits");
    let nf4 = change(
        Precision::Nf4,
        "--precision nf4 --double-quant",
        "some quality, and time: weights are quantised to 4 bits and unpacked for each use",
    );
    let mut notches = Vec::new();
    if precision == Precision::Fp32 {
        notches.push(notch(bf16, 0, |workload, _| store(workload, Precision::Bf16, false)));
    }
    if !precision.is_quantized() {
        notches.push(notch(int8, 0, |workload, _| store(workload, Precision::Int8, false)));
    }
    if !precision.is_4bit() {
        notches.push(notch(nf4, 0, |workload, _| store(workload, Precision::Nf4, true)));
    }
    notches
}

/// Weights are stored in `to` from here on.
fn store(workload: &mut Workload, to: Precision, double: bool) {
    *workload.precision_mut() = to;
    workload.set_double_quant(double);
}

/// Shorter sequences than `tokens`, no shorter than 256.
fn shorter(tokens: u64, field: &'static str, flag: &str, apply: fn(&mut Workload, u64)) -> Vec<Notch> {
    halvings(tokens, 256)
        .map(|fewer| notch(Change::value(field, flag, tokens, fewer, "longer texts are cut"), fewer, apply))
        .collect()
}

/// `value` halved again and again, down to `least`.
pub(super) fn halvings(value: u64, least: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(value / 2), |value| Some(value / 2)).take_while(move |value| *value >= least.max(1))
}
