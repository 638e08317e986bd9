//! What to do with a model: whether a job fits, methods side by side.

mod compare;
mod fit;
mod margin;
mod room;
mod suggest;

pub use compare::{Choice, Comparison, Fitting, compare};
pub use fit::{Fit, Judged, Question, Run, Verdict};
pub use margin::{Kind, KindErrors, Margin, measured};
pub use room::Room;
pub use suggest::{Change, Suggestion, suggest};
