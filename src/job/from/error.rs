//! What can be wrong with a training configuration.

/// Why a training configuration gives no job; one line that names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FromError {
    /// The text is not YAML or JSON, or beyond what a configuration can be.
    #[error("{file}{}: {message}", at(*line))]
    Syntax {
        /// The file.
        file: String,
        /// The line, counted from 1; 0 where it is not known.
        line: usize,
        /// What was found.
        message: String,
    },
    /// A field has a value that its tool refuses, or that this version cannot answer.
    #[error("{file}{}: {field} = {value}: {fix}", at(*line))]
    Value {
        /// The file.
        file: String,
        /// The line, counted from 1; 0 where it is not known.
        line: usize,
        /// The field's path in the file.
        field: String,
        /// Its value, shortened.
        value: String,
        /// What is wrong with it and what would mend it.
        fix: String,
    },
    /// Something that has to be there is not.
    #[error("{file}: {message}")]
    Missing {
        /// The file.
        file: String,
        /// What is missing and what would mend it.
        message: String,
    },
}

fn at(line: usize) -> String {
    if line == 0 { String::new() } else { format!(", line {line}") }
}
