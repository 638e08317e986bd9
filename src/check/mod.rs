//! Budgets: several jobs in one file, what each may take, and a lock that says what changed since it was written, and why.
//!
//! ```
//! use vramplan::check::{CheckFile, Limit};
//!
//! let file: CheckFile = r#"
//!     [jobs.finetune]
//!     model = "llama-2-7b"
//!     gpu = "rtx-4090"
//!     [jobs.finetune.train]
//!     precision = "nf4"
//!     [jobs.finetune.train.peft]
//!     type = "lora"
//! "#.parse()?;
//! let entry = &file.jobs[0];
//! assert_eq!((entry.name.as_str(), &entry.limit), ("finetune", &Limit::Gpu("rtx-4090".to_owned())));
//! let job = entry.over(None)?;
//! assert!(job.train.is_some_and(|train| train.lora().is_some()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod causes;
mod changes;
mod entry;
mod error;
mod file;
mod inputs;
mod lock;
mod overlay;

pub use causes::{Cause, Difference, Kind, PartChange, compare};
pub use entry::{Base, Entry, Limit};
pub use error::CheckError;
pub use file::CheckFile;
pub use inputs::{Figures, Inputs};
pub use lock::{Lock, LockError, Locked};
