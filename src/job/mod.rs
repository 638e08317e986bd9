//! What is to be run: the job file, as plain data.
//!
//! ```
//! use vramplan::job::{Job, Precision, Workload};
//!
//! let job: Job = r#"
//!     model = "llama-2-7b"
//!     [train]
//!     precision = "nf4"
//!     per_device_train_batch_size = 4
//!     [train.peft]
//!     type = "lora"
//!     r = 16
//! "#.parse()?;
//! let Workload::Train(train) = &job.workload else { unreachable!() };
//! assert_eq!(train.precision, Precision::Nf4);
//! assert_eq!(train.lora().map(|lora| lora.r), Some(16));
//! # Ok::<(), vramplan::job::JobError>(())
//! ```

mod adapter_config;
mod error;
pub mod from;
mod infer;
mod names;
mod parse;
mod peft;
mod serve;
mod train;
mod validate;
mod validate_objective;
mod validate_optim;

pub use error::JobError;
pub use infer::Infer;
pub use names::{
    AttnImplementation, ConfigFormat, ExpertsImplementation, FloatType, Head, KvCacheDtype, MixedPrecision,
    NonLinearity, Objective, OffloadOptimizer, Optim, Precision, Runtime,
};
pub use parse::{InlineModel, JobFile, ModelRef};
pub(crate) use parse::{explain, mend};
pub use peft::{
    AdaLora, Bottleneck, Ia3, LoHa, LoKr, Lora, Oft, Peft, PrefixTuning, PromptTuning, TargetModules, Vera,
};
pub(crate) use peft::{end_match, full_match, layer_number};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
pub use serve::Serve;
pub use train::{Fsdp, Train};

/// A model and what is to be done with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "JobFile", into = "JobFile")]
pub struct Job {
    /// The model.
    pub model: ModelRef,
    /// What is to be done with it.
    pub workload: Workload,
}

/// What is to be done with a model.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)] // one a job: boxing it would only burden those who read it
pub enum Workload {
    /// Training.
    Train(Train),
    /// Inference.
    Infer(Infer),
    /// Serving.
    Serve(Serve),
}

impl Default for Workload {
    /// Full fine-tuning with the defaults of [`Train`].
    fn default() -> Self {
        Self::Train(Train::default())
    }
}

impl Workload {
    /// How the model's weights are stored.
    pub const fn precision(&self) -> Precision {
        match self {
            Self::Train(train) => train.precision,
            Self::Infer(infer) => infer.precision,
            Self::Serve(serve) => serve.precision,
        }
    }

    /// The same to be set.
    pub const fn precision_mut(&mut self) -> &mut Precision {
        match self {
            Self::Train(train) => &mut train.precision,
            Self::Infer(infer) => &mut infer.precision,
            Self::Serve(serve) => &mut serve.precision,
        }
    }

    /// Says whether scales of 4-bit weights are quantised too; engines have no such choice.
    pub const fn set_double_quant(&mut self, double_quant: bool) {
        match self {
            Self::Train(train) => train.double_quant = double_quant,
            Self::Infer(infer) => infer.double_quant = double_quant,
            Self::Serve(_) => {}
        }
    }

    /// The method of a job that does not train the model itself.
    pub const fn peft(&self) -> Option<&Peft> {
        match self {
            Self::Train(train) => train.peft.as_ref(),
            Self::Infer(_) | Self::Serve(_) => None,
        }
    }
}

impl Job {
    /// Training of a model that is named, with the rest to be filled in.
    pub fn train(model: impl Into<String>, train: Train) -> Self {
        Self { model: ModelRef::Named(model.into()), workload: Workload::Train(train) }
    }

    /// Inference of a model that is named.
    pub fn infer(model: impl Into<String>, infer: Infer) -> Self {
        Self { model: ModelRef::Named(model.into()), workload: Workload::Infer(infer) }
    }

    /// Serving of a model that is named.
    pub fn serve(model: impl Into<String>, serve: Serve) -> Self {
        Self { model: ModelRef::Named(model.into()), workload: Workload::Serve(serve) }
    }
}
