//! Recorded measurements: what real PyTorch allocated for a case, and the case as a model and a job.
//!
//! A row is one JSON object on a line, `{"id", "case", "measured"}`. The files under `tests/truth` hold them; the accuracy
//! example and the tests hold estimates against them.

mod files;

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::ghost::Entry;
use crate::job::{
    AttnImplementation, Head, Infer, Job, Lora, MixedPrecision, Objective, Optim, Peft, Precision, TargetModules,
    Train, Workload,
};
use crate::model::{self, Model};
use crate::step::{self, Estimate};

pub use files::{all_rows, case_files};

/// A measured case.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    /// Its name.
    pub id: String,
    /// What was run.
    pub case: Case,
    /// What was measured, in bytes.
    pub measured: Measured,
}

/// What was run.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
pub struct Case {
    /// The model's name.
    pub model: String,
    /// Its config.json fields.
    pub config: Value,
    /// `train` or `infer`
    pub task: String,
    /// `causal-lm`, `seq-cls` or `seq2seq-lm`
    pub head: String,
    /// How the base weights are held.
    pub weights: String,
    /// bitsandbytes' compute type.
    pub compute: String,
    /// Autocast type.
    pub amp: Option<String>,
    /// `sdpa` or `eager`
    pub attn: String,
    /// `experts_implementation` while decoding: the model's own where a case says nothing.
    pub decode_experts: String,
    /// The training method.
    pub method: Method,
    /// The optimizer.
    pub optimizer: String,
    /// Sequences.
    pub batch: u64,
    /// Tokens of each.
    pub seq: u64,
    /// Micro-batches of a step.
    pub grad_accum: u64,
    /// Gradient checkpointing.
    pub grad_checkpointing: bool,
    /// A padding mask is passed.
    pub mask: bool,
    /// `max_grad_norm`; 0: no clipping.
    pub clip: f64,
    /// Tokens decoded.
    pub new_tokens: u64,
    /// Prefill computes the logits of the last position alone.
    pub last_logits: bool,
    /// Steps run.
    pub steps: u64,
    /// What is learned.
    pub objective: String,
    /// Tokens of a completion.
    pub completion: Option<u64>,
    /// Weight of the KL term.
    pub beta: Option<f64>,
    /// An optimizer that works on the host.
    pub offload: String,
    /// Gradients go to the host too.
    pub offload_gradients: bool,
    /// Gradient checkpointing of every n-th layer.
    pub checkpoint_every: u64,
    /// Sequences are packed into one row.
    pub packing: bool,
    /// DPO: reference log-probabilities come with the batch.
    pub precompute_ref_log_probs: bool,
    /// Liger's kernels.
    pub liger: bool,
    /// What GaLore and APOLLO project to.
    pub rank: u64,
    /// What they project; absent: every linear layer.
    pub optim_target_modules: Option<Vec<String>>,
    /// Positions whose logits prefill computes, where it is neither one nor all.
    pub logits_to_keep: Option<u64>,
    /// Many GPUs.
    pub parallel: Option<Value>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            model: String::new(),
            config: Value::Null,
            task: "train".to_owned(),
            head: "causal-lm".to_owned(),
            weights: "bf16".to_owned(),
            compute: "bf16".to_owned(),
            amp: None,
            attn: "sdpa".to_owned(),
            decode_experts: "grouped_mm".to_owned(),
            method: Method::default(),
            optimizer: "adamw".to_owned(),
            batch: 1,
            seq: 1,
            grad_accum: 1,
            grad_checkpointing: false,
            mask: false,
            clip: 1.0,
            new_tokens: 8,
            last_logits: true,
            steps: 3,
            objective: "sft".to_owned(),
            completion: None,
            beta: None,
            offload: "no".to_owned(),
            offload_gradients: false,
            checkpoint_every: 1,
            packing: false,
            precompute_ref_log_probs: false,
            liger: false,
            rank: 128,
            optim_target_modules: None,
            logits_to_keep: None,
            parallel: None,
        }
    }
}

/// A case's training method.
#[derive(Clone, Debug, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // PEFT's words
pub struct Method {
    pub kind: String,
    pub r: u64,
    pub alpha: Option<f64>,
    pub targets: Vec<String>,
    pub dropout: f64,
    pub dora: bool,
    pub rslora: bool,
    pub modules_to_save: Vec<String>,
    pub virtual_tokens: u64,
    /// Further fields of PEFT's configuration.
    pub config: serde_json::Map<String, Value>,
    pub autocast_adapter_dtype: bool,
}

impl Default for Method {
    fn default() -> Self {
        Self {
            kind: "full".to_owned(),
            r: 8,
            alpha: None,
            targets: Vec::new(),
            dropout: 0.0,
            dora: false,
            rslora: false,
            modules_to_save: Vec::new(),
            virtual_tokens: 20,
            config: serde_json::Map::new(),
            autocast_adapter_dtype: true,
        }
    }
}

/// What was measured, in bytes; a field that the case does not have is zero.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // torch.cuda's words
pub struct Measured {
    pub loaded: u64,
    pub params_total: u64,
    pub params_trainable: u64,
    pub held_params: u64,
    pub held_buffers: u64,
    pub held_grads: u64,
    pub held_optimizer: u64,
    pub first: Option<StepBytes>,
    pub steady: Option<StepBytes>,
    pub prefill_peak: u64,
    pub decode_peak: u64,
    pub peak_allocated: u64,
    pub peak_reserved: u64,
}

/// A training step's measurements.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs)] // torch.cuda's words
pub struct StepBytes {
    pub forward_end: u64,
    pub forward_peak: u64,
    pub backward_end: u64,
    pub backward_peak: u64,
    pub clip_peak: u64,
    pub optimizer_peak: u64,
    pub step_end: u64,
    pub generation_peak: u64,
    pub score_peak: u64,
}

/// Why a case cannot be estimated.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct NotEstimable(pub String);

impl Row {
    /// Reads a row.
    ///
    /// # Errors
    /// The line is not a row.
    pub fn parse(line: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(line)
    }

    /// Reads a file's rows, one a line.
    ///
    /// # Errors
    /// A line is not a row.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        text.lines().filter(|line| !line.trim().is_empty()).map(Self::parse).collect()
    }

    /// The estimate to hold against the measurement.
    ///
    /// # Errors
    /// The model is not known, or the job is one that cannot be estimated.
    pub fn estimate(&self) -> Result<Estimate, NotEstimable> {
        let (model, job) = (self.case.model()?, self.case.job()?);
        step::estimate(&model, &job).map_err(|e| NotEstimable(e.to_string()))
    }

    /// Every charge and release of the case's run: loading, the first step and a steady one.
    ///
    /// # Errors
    /// As [`Row::estimate`].
    pub fn record(&self) -> Result<Vec<Entry>, NotEstimable> {
        let (model, job) = (self.case.model()?, self.case.job()?);
        step::record(&model, &job).map_err(|e| NotEstimable(e.to_string()))
    }
}

/// Signed relative errors of predictions, in percent.
#[derive(Clone, Debug, Default)]
pub struct Errors(Vec<f64>);

impl Errors {
    /// Adds a prediction's; returns it.
    #[expect(clippy::cast_precision_loss, reason = "percents")]
    pub fn add(&mut self, predicted: u64, measured: u64) -> f64 {
        let error = match (predicted, measured) {
            (0, 0) => 0.0,
            _ => 100.0 * (predicted as f64 / measured as f64 - 1.0),
        };
        self.0.push(error);
        error
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The size that `percent` of them do not exceed (nearest rank); zero where there are none.
    pub fn percentile(&self, percent: usize) -> f64 {
        let mut sizes: Vec<f64> = self.0.iter().map(|error| error.abs()).collect();
        sizes.sort_by(f64::total_cmp);
        let rank = (sizes.len() * percent).div_ceil(100).max(1);
        sizes.get(rank - 1).copied().unwrap_or(0.0)
    }

    /// Their median size.
    pub fn median(&self) -> f64 {
        self.percentile(50)
    }

    /// The size of the worst.
    pub fn worst(&self) -> f64 {
        self.percentile(100)
    }

    /// The worst prediction of less than was measured, as a negative number; zero where there is none.
    pub fn worst_under(&self) -> f64 {
        self.0.iter().copied().fold(0.0, f64::min)
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "median {:.4} %, p95 {:.3} %, worst {:.3} %, worst under-estimate {:.3} % ({} cases)",
            self.median(),
            self.percentile(95),
            self.worst(),
            self.worst_under(),
            self.count()
        )
    }
}

impl Case {
    /// The case's model.
    ///
    /// # Errors
    /// Its `model_type` is not known.
    pub fn model(&self) -> Result<Model, NotEstimable> {
        model::from_config(&self.model, &self.config).map_err(|e| NotEstimable(e.to_string()))
    }

    /// The case as a job.
    ///
    /// # Errors
    /// It asks for something that no job can say.
    pub fn job(&self) -> Result<Job, NotEstimable> {
        if self.parallel.is_some() {
            return Err(NotEstimable("several GPUs".to_owned()));
        }
        let (precision, double_quant) = match self.weights.split_once('-') {
            Some((kind, "dq")) => (word::<Precision>(kind)?, true),
            _ => (word::<Precision>(&self.weights)?, false),
        };
        let compute_dtype = word(&self.compute)?;
        let attn_implementation: AttnImplementation = word(&self.attn)?;
        if self.task == "infer" {
            let infer = Infer {
                precision,
                double_quant,
                compute_dtype,
                batch_size: self.batch,
                prompt_length: self.seq,
                max_new_tokens: self.new_tokens,
                logits_to_keep: self.logits_to_keep.unwrap_or(u64::from(self.last_logits)),
                attn_implementation,
                decode_experts: word(&self.decode_experts)?,
                ..Infer::default()
            };
            return Ok(Job::infer(self.model.clone(), infer));
        }
        let optim = self.optim()?;
        let train = Train {
            precision,
            double_quant,
            compute_dtype,
            mixed_precision: word::<MixedPrecision>(self.amp.as_deref().unwrap_or("no"))?,
            head: Some(word::<Head>(&self.head)?),
            num_labels: self.config["num_labels"].as_u64(),
            objective: word::<Objective>(&self.objective)?,
            precompute_ref_log_probs: self.precompute_ref_log_probs,
            max_completion_length: self.completion,
            beta: self.beta,
            num_generations: 2,
            offload_optimizer: word(&self.offload)?,
            offload_gradients: self.offload_gradients,
            checkpoint_every_n_layers: self.checkpoint_every,
            packing: self.packing,
            per_device_train_batch_size: self.batch,
            max_seq_length: self.seq,
            gradient_accumulation_steps: self.grad_accum,
            gradient_checkpointing: self.grad_checkpointing,
            optim,
            optim_target_modules: optim.is_low_rank().then(|| match &self.optim_target_modules {
                Some(names) => TargetModules::Names(names.clone()),
                None => TargetModules::AllLinear,
            }),
            optim_rank: self.rank,
            use_liger_kernel: self.liger,
            max_grad_norm: Some(self.clip),
            attn_implementation,
            attention_mask: self.mask,
            peft: self.peft()?,
            ..Train::default()
        };
        Ok(Job { workload: Workload::Train(train), ..Job::train(self.model.clone(), Train::default()) })
    }

    fn optim(&self) -> Result<Optim, NotEstimable> {
        match self.optimizer.as_str() {
            "adamw" => Ok(Optim::AdamwTorch),
            "adamw-fused" => Ok(Optim::AdamwTorchFused),
            "adamw-loop" => Ok(Optim::AdamwTorchLoop),
            other => word(&other.replace('-', "_")),
        }
    }

    fn peft(&self) -> Result<Option<Peft>, NotEstimable> {
        let method = &self.method;
        Ok(match method.kind.as_str() {
            "full" => None,
            "lora" => Some(Peft::Lora(Lora {
                r: method.r,
                lora_dropout: method.dropout,
                target_modules: Some(TargetModules::Names(method.targets.clone())),
                use_dora: method.dora,
                use_rslora: method.rslora,
                modules_to_save: method.modules_to_save.clone(),
                autocast_adapter_dtype: method.autocast_adapter_dtype,
                ..Lora::default()
            })),
            "prefix" => Some(method.configured("prefix_tuning", true)?),
            "prompt" => Some(method.configured("prompt_tuning", true)?),
            kind if Peft::of_type(kind).is_some() => Some(method.configured(kind, false)?),
            other => return Err(NotEstimable(format!("method {other}"))),
        })
    }
}

/// Fields that only a schedule reads.
const SCHEDULE: [&str; 1] = ["total_step"];

impl Method {
    /// A job's `[train.peft]` of this type with the configuration's fields.
    fn configured(&self, kind: &str, virtual_tokens: bool) -> Result<Peft, NotEstimable> {
        let mut table = self.config.clone();
        SCHEDULE.iter().for_each(|field| drop(table.remove(*field)));
        table.insert("type".to_owned(), kind.into());
        if virtual_tokens {
            table.insert("num_virtual_tokens".to_owned(), self.virtual_tokens.into());
        }
        serde_json::from_value(Value::Object(table)).map_err(|e| NotEstimable(e.to_string()))
    }
}

fn word<T: std::str::FromStr>(text: &str) -> Result<T, NotEstimable>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|e: T::Err| NotEstimable(e.to_string()))
}
