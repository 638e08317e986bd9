//! The lock: what each job took, and what from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::inputs::{Figures, Inputs};

/// `vramplan.lock/1`
const SCHEMA: &str = "vramplan.lock/1";

/// What each job took when the lock was written.
///
/// ```
/// use vramplan::check::Lock;
///
/// let lock = Lock::default();
/// assert_eq!(Lock::read(&lock.to_text())?, lock);
/// # Ok::<(), vramplan::check::LockError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Lock {
    /// The version of this shape: `vramplan.lock/1`.
    pub schema: String,
    /// By their names.
    pub jobs: BTreeMap<String, Locked>,
}

/// A job in a lock.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Locked {
    /// The version that computed the figures.
    pub vramplan: String,
    /// What it took.
    pub figures: Figures,
    /// What from.
    pub inputs: Inputs,
}

/// Why a text is no lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; write it anew with `vramplan check --update-lock`")]
pub struct LockError(String);

impl Default for Lock {
    fn default() -> Self {
        Self { schema: SCHEMA.to_owned(), jobs: BTreeMap::new() }
    }
}

impl Locked {
    /// Figures of this version.
    pub fn new(figures: Figures, inputs: Inputs) -> Self {
        Self { vramplan: env!("CARGO_PKG_VERSION").to_owned(), figures, inputs }
    }
}

impl Lock {
    /// Reads a lock.
    ///
    /// # Errors
    /// It is none, or of another version of this shape.
    pub fn read(text: &str) -> Result<Self, LockError> {
        #[derive(Deserialize)]
        struct Any {
            schema: String,
        }
        let any: Any = serde_json::from_str(text).map_err(|error| LockError(format!("not a lock: {error}")))?;
        if any.schema != SCHEMA {
            let schema = crate::model::one_line(&any.schema);
            return Err(LockError(format!("schema = {schema:?}: this version reads {SCHEMA:?}")));
        }
        serde_json::from_str(text).map_err(|error| LockError(format!("not a lock: {error}")))
    }

    /// JSON with its keys sorted, the same for the same jobs.
    pub fn to_text(&self) -> String {
        // maps with texts for keys are always JSON
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
