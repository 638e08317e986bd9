//! Training configurations of other tools, read as a job.
//!
//! ```
//! use vramplan::job::from::{self, Source};
//!
//! let text = "base_model: NousResearch/Llama-2-7b-hf\nadapter: lora\nlora_r: 8\nlora_target_modules: [q_proj, v_proj]\n\
//!             sequence_len: 2048\nmicro_batch_size: 2\nattn_implementation: sdpa\nlora_qkv_kernel: false\n";
//! let imported = from::import(&[Source::new("config.yml", text)])?;
//! assert_eq!(imported.model.as_deref(), Some("NousResearch/Llama-2-7b-hf"));
//! assert_eq!(imported.train.per_device_train_batch_size, 2);
//! assert!(imported.report.is_complete());
//! # Ok::<(), from::FromError>(())
//! ```

mod accelerate;
mod axolotl;
mod deepspeed;
mod detect;
mod draft;
mod error;
mod fields;
mod llama_factory;
mod objective;
mod report;
mod trainer;
mod trl;
mod words;
mod yaml;

use draft::Draft;
pub use error::FromError;
use fields::Fields;
pub use report::{Effect, Ignored, Mapped, NotModelled, Place, Report, Unknown};

use super::{ConfigFormat, Train};

/// The most bytes a configuration may have.
pub const MAX_BYTES: usize = yaml::MAX_BYTES;

/// A training configuration as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What to call it in messages.
    pub name: String,
    /// Its text, YAML or JSON.
    pub text: String,
    /// Whose it is; `None`: its fields tell.
    pub format: Option<ConfigFormat>,
}

impl Source {
    /// A text whose format its fields tell.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), format: None }
    }
}

/// A training job read from other tools' configurations.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Imported {
    /// The model, where one is named.
    pub model: Option<String>,
    /// The job.
    pub train: Train,
    /// Fields of the job without which there is no answer and that no file says: `train` has defaults nobody chose.
    pub unsaid: Vec<&'static str>,
    /// What was made of each field.
    pub report: Report,
}

/// Reads configurations as one job; of those that say the same the later wins.
///
/// # Errors
/// Not YAML or JSON, of no known format, or a value that its tool refuses or that has no counterpart in a job. What has
/// an effect that is not modelled is no error: [`Report::adds_memory`] has what would make the figures say too little.
pub fn import(sources: &[Source]) -> Result<Imported, FromError> {
    let mut draft = Draft::default();
    let mut formats: Vec<&str> = Vec::new();
    for source in sources {
        let root = yaml::parse(&source.name, &source.text)?;
        let fields = Fields::new(&source.name, &root)?;
        let format = match source.format {
            Some(format) => format,
            None => detect::detect(&source.name, &fields)?,
        };
        formats.push(format.name());
        match format {
            ConfigFormat::Axolotl => axolotl::map(fields, &mut draft)?,
            ConfigFormat::LlamaFactory => llama_factory::map(fields, &mut draft)?,
            ConfigFormat::Trl => trl::map(fields, &mut draft)?,
            ConfigFormat::Transformers => trainer::map(fields, &mut draft)?,
            ConfigFormat::Deepspeed => deepspeed::map(fields, &mut draft)?,
            ConfigFormat::Accelerate => accelerate::map(fields, &mut draft)?,
        }
    }
    draft.report.format = formats.join(" + ");
    let (model, train, unsaid, report) = draft.finish();
    Ok(Imported { model, train, unsaid, report })
}

/// The known name most like `name`, if it is at least `alike`; patterns are none.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>, alike: f64) -> Option<String> {
    let likeness = |known: &str| strsim::jaro_winkler(name, known);
    let known = known.filter(|known| !known.ends_with('*') && *known != name);
    let best = known.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))?;
    (likeness(best) >= alike).then(|| best.to_owned())
}
