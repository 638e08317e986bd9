//! What can be wrong with a job.

/// What is wrong with a job, in one line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JobError {
    /// The text is not TOML or JSON, or a value has the wrong type.
    #[error("{message}")]
    Syntax {
        /// What was found, and where.
        message: String,
    },
    /// A field is there that no job has.
    #[error("unknown field `{field}`; {fix}")]
    UnknownField {
        /// Its path.
        field: String,
        /// What to write instead.
        fix: String,
    },
    /// A word that is none of the choices.
    #[error("`{value}` is not one of {expected}")]
    Choice {
        /// The word.
        value: String,
        /// The choices.
        expected: String,
    },
    /// A value is out of range or contradicts another.
    #[error("{field} = {value}: {fix}")]
    Invalid {
        /// The field's path in a job file.
        field: &'static str,
        /// Its value as a job file has it.
        value: String,
        /// What is wrong with it and what would mend it.
        fix: String,
    },
    /// A value is sound, but this version has no model of what it asks for.
    #[error("{field} = {value}: not supported yet; {fix}")]
    Unsupported {
        /// The field's path in a job file.
        field: &'static str,
        /// Its value as a job file has it.
        value: String,
        /// What can be asked for instead.
        fix: String,
    },
    /// An adapter_config.json has something this version has no model of, or that no method has.
    #[error("`{field}` of the adapter_config.json is {value}: {fix}")]
    Adapter {
        /// The field.
        field: String,
        /// Its value as JSON.
        value: String,
        /// What is wrong with it and what would mend it.
        fix: String,
    },
    /// A job says neither or both of what it is.
    #[error("the job {0}")]
    Workload(&'static str),
}

impl JobError {
    /// Whether this version could not answer although the job makes sense.
    pub const fn is_unsupported(&self) -> bool {
        matches!(self, Self::Unsupported { .. })
    }

    pub(crate) fn invalid(field: &'static str, value: impl ToString, fix: impl Into<String>) -> Self {
        Self::Invalid { field, value: value.to_string(), fix: fix.into() }
    }

    pub(crate) fn unsupported(field: &'static str, value: impl ToString, fix: impl Into<String>) -> Self {
        Self::Unsupported { field, value: value.to_string(), fix: fix.into() }
    }
}
