//! The jobs a plan chooses from.

use schemars::JsonSchema;
use serde::Serialize;

use crate::job::{Lora, Optim, Peft, Precision, TargetModules, Train};
use crate::model::Model;
use crate::step;

/// How much a method can learn, as far as the method decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Adapters on 4-bit weights.
    Qlora,
    /// Adapters on the weights as they are.
    Lora,
    /// Every parameter.
    Full,
}

impl Quality {
    /// The word people are shown.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Qlora => "QLoRA",
            Self::Lora => "LoRA",
            Self::Full => "full",
        }
    }
}

/// Jobs that differ in their micro-batch alone, the smallest first.
#[derive(Clone, Debug)]
pub(super) struct Ladder {
    pub(super) quality: Quality,
    /// How far it is from what people do first; of two that are as good, the one with less of it is shown.
    pub(super) effort: u32,
    pub(super) flags: Vec<String>,
    pub(super) jobs: Vec<Train>,
}

/// Optimizers that are tried, with how unusual each is.
const OPTIMS: [(Optim, u32); 6] = [
    (Optim::AdamwTorch, 0),
    (Optim::AdamwTorchFused, 1),
    (Optim::Adamw8bit, 2),
    (Optim::PagedAdamw8bit, 3),
    (Optim::Adafactor, 4),
    (Optim::Lion8bit, 5),
];

/// Ranks that are tried beside the job's own.
const RANKS: [u64; 3] = [8, 16, 64];

/// Every ladder of `train`'s kind with at least `quality`, each with `effective_batch` sequences in an optimizer step.
pub(super) fn ladders(model: &Model, train: &Train, least: Quality, effective_batch: u64) -> Vec<Ladder> {
    let mut ladders = Vec::new();
    for (method, quality, flags) in methods(model, train) {
        if quality < least {
            continue;
        }
        for (optim, unusual) in OPTIMS {
            for checkpointing in [false, true] {
                for liger in [false, true] {
                    let mut own = flags.clone();
                    let base = Train {
                        optim,
                        gradient_checkpointing: checkpointing,
                        use_liger_kernel: liger,
                        ..method.clone()
                    };
                    if optim != Train::default().optim {
                        own.push(format!("--optim {optim}"));
                    }
                    if checkpointing {
                        own.push("--gradient-checkpointing".to_owned());
                    }
                    if liger {
                        own.push("--use-liger-kernel".to_owned());
                    }
                    ladders.push(Ladder {
                        quality,
                        effort: unusual + u32::from(checkpointing) + 2 * u32::from(liger),
                        flags: own,
                        jobs: micro_batches(&base, effective_batch),
                    });
                }
            }
        }
    }
    ladders
}

/// The methods, with their command-line flags.
fn methods(model: &Model, train: &Train) -> Vec<(Train, Quality, Vec<String>)> {
    let full = |precision| Train { precision, double_quant: false, peft: None, ..train.clone() };
    let mut methods = vec![(full(Precision::Bf16), Quality::Full, Vec::new())];
    let asked = match &train.peft {
        Some(Peft::Lora(lora)) => Some(lora.clone()),
        _ => None,
    };
    // experts that are stacked are no linear layers, and there PEFT's defaults for the type remain
    let everywhere =
        step::count_parameters(model, Some(&Peft::Lora(linear(8, Some(TargetModules::AllLinear))))).is_ok();
    let targets_of = everywhere.then_some(TargetModules::AllLinear);
    let ranks = asked.as_ref().map_or_else(|| RANKS.to_vec(), |lora| vec![lora.r]);
    for r in ranks {
        let lora = asked.clone().unwrap_or_else(|| linear(r, targets_of.clone()));
        let flags = |shorthand: &str| vec![format!("{shorthand} --r {r}{}", targets(&lora))];
        let peft = Some(Peft::Lora(lora.clone()));
        let plain = Train { peft: peft.clone(), ..full(Precision::Bf16) };
        methods.push((plain, Quality::Lora, flags("--lora")));
        let packed = Train { precision: Precision::Nf4, double_quant: true, peft, ..train.clone() };
        methods.push((packed, Quality::Qlora, flags("--qlora")));
    }
    methods
}

fn linear(r: u64, target_modules: Option<TargetModules>) -> Lora {
    Lora { r, target_modules, ..Lora::default() }
}

fn targets(lora: &Lora) -> String {
    match &lora.target_modules {
        None => String::new(),
        Some(TargetModules::AllLinear) => " --target-modules all-linear".to_owned(),
        Some(TargetModules::Names(names)) => format!(" --target-modules {}", names.join(",")),
        Some(TargetModules::Pattern(pattern)) => format!(" --target-modules '{pattern}'"),
    }
}

/// The same job with every micro-batch that the effective batch is a multiple of.
fn micro_batches(train: &Train, effective_batch: u64) -> Vec<Train> {
    (1..=effective_batch)
        .filter(|batch| effective_batch.is_multiple_of(*batch))
        .map(|batch| Train {
            per_device_train_batch_size: batch,
            gradient_accumulation_steps: effective_batch / batch,
            ..train.clone()
        })
        .collect()
}
