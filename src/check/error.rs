//! What can be wrong with a file of jobs.

/// What is wrong, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
#[non_exhaustive]
pub struct CheckError {
    /// The line, counted from 1.
    pub line: usize,
    /// The job, the field, its value and what would mend it.
    pub message: String,
}

impl CheckError {
    pub(super) fn new(line: usize, message: impl Into<String>) -> Self {
        Self { line, message: message.into() }
    }
}
