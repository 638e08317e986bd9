//! Runs a job on a model over ghost tensors, phase by phase.

mod adapt;
mod basis;
mod clip;
mod count;
mod error;
mod estimate;
mod flash;
mod foreach;
mod head;
mod infer;
mod load;
mod objective;
mod optimizer;
mod record;
mod recording;
mod run;
mod serve;
mod stored;
mod subject;
mod train;

pub use count::{Parameters, count_parameters};
pub use error::EstimateError;
pub use estimate::*;
pub use recording::{High, Played, Recording};
pub use run::{estimate, estimate_with_timeline, record};
pub use subject::Subject;
#[cfg(feature = "verify")]
pub(crate) use train::{Part, Training};

pub use stored::{StoredWeights, stored_weights};
