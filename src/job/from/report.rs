//! What was made of each field of a training configuration.

use schemars::JsonSchema;
use serde::Serialize;

/// What was made of the fields of one or more training configurations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Report {
    /// What the files are: `trl`, or `trl + deepspeed` where there are several.
    pub format: String,
    /// Fields, and defaults of their tool, that went into the job.
    pub mapped: Vec<Mapped>,
    /// Fields without an effect on the figures.
    pub ignored: Vec<Ignored>,
    /// Fields with an effect on memory that the figures do not have.
    pub not_modelled: Vec<NotModelled>,
    /// Fields that are not known, each with the nearest that is.
    pub unknown: Vec<Unknown>,
}

/// Where a field stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Place {
    /// The file.
    pub file: String,
    /// The line, counted from 1; absent where it is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

/// A field that went into the job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Mapped {
    /// Its path in the file.
    pub field: String,
    /// Its value, shortened; for a default what the tool does.
    pub value: String,
    /// What of the job it sets, as in a job file.
    pub to: String,
    /// Where it stands; absent for a default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<Place>,
    /// The source of a default: which file of which version of the tool.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_of: Option<&'static str>,
}

/// A field without an effect on the figures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Ignored {
    /// Its path in the file.
    pub field: String,
    /// Its value, shortened.
    pub value: String,
    /// Why it makes no difference.
    pub why: String,
    /// Where it stands.
    pub at: Place,
}

/// A field whose effect on memory the figures do not have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct NotModelled {
    /// Its path in the file.
    pub field: String,
    /// Its value, shortened.
    pub value: String,
    /// Which way the real job is from the figures.
    pub effect: Effect,
    /// What it does.
    pub why: String,
    /// Where it stands.
    pub at: Place,
}

impl NotModelled {
    /// What a tool does where nothing is written.
    pub(super) fn by_default(field: &str, value: &str, effect: Effect, why: &str) -> Self {
        let value = format!("{value} (the default)");
        Self { field: field.to_owned(), value, effect, why: why.to_owned(), at: Place::default() }
    }
}

/// A field that no list has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Unknown {
    /// Its path in the file.
    pub field: String,
    /// Its value, shortened.
    pub value: String,
    /// The nearest field that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// Where it stands.
    pub at: Place,
}

/// Which way a job is from its figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Effect {
    /// It takes more: the figures say too little.
    More,
    /// It takes less: the figures are an upper bound.
    Less,
    /// It takes a little more or less, or nobody has measured which.
    Either,
}

impl Effect {
    /// In words, of the job.
    pub const fn words(self) -> &'static str {
        match self {
            Self::More => "takes more",
            Self::Less => "takes less",
            Self::Either => "more or less",
        }
    }
}

impl Report {
    /// The fields because of which the figures say too little.
    pub fn adds_memory(&self) -> impl Iterator<Item = &NotModelled> {
        self.not_modelled.iter().filter(|field| field.effect == Effect::More)
    }

    /// Whether a file says how weights are held, which a default of its tool only takes for granted.
    pub fn writes_precision(&self) -> bool {
        self.mapped.iter().any(|field| field.at.is_some() && field.to.starts_with("precision = "))
    }

    /// Whether every field with an effect on memory is in the job.
    pub fn is_complete(&self) -> bool {
        self.not_modelled.is_empty() && self.unknown.is_empty()
    }

    /// What a reader of the figures should know about them.
    pub fn notes(&self) -> Vec<String> {
        let unmodelled = self.not_modelled.iter().map(|field| {
            let way = match field.effect {
                Effect::More => "the job takes MORE than these figures",
                Effect::Less => "the job takes less",
                Effect::Either => "the job may take more or less",
            };
            format!("{} = {} is not modelled, {way}: {}", field.field, field.value, field.why)
        });
        let unknown = self.unknown.iter().map(|field| {
            let nearest = field.nearest.as_ref().map_or_else(String::new, |name| format!("; is it `{name}`?"));
            format!("{} = {} is not known and in no figure{nearest}", field.field, field.value)
        });
        unmodelled.chain(unknown).collect()
    }
}
