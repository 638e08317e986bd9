//! What to do with a model: whether a job fits, what makes it fit, the largest that does, methods side by side.

mod compare;
mod fit;
mod ladder;
mod margin;
mod room;
mod search;
mod solve;
mod suggest;
mod tutorial;

pub use crate::step::Subject;
pub use compare::{Choice, Comparison, Fitting, compare};
pub(crate) use fit::difference;
pub use fit::{Fit, Judged, Question, Run, Verdict};
pub use ladder::{Ladder, Rung, largest_model, smallest_gpu};
pub use margin::{Kind, KindErrors, Margin, errors_of, measured};
pub use room::Room;
pub use search::{
    Bound, Constraints, Goal, Offer, Plan, Quality, ROOFLINE, Searched, ServingRate, TrainConstraints, search,
    search_serving, serving_rate,
};
pub use solve::{Quantity, Solution, SolveError, Tried, solve};
pub use suggest::{Change, Suggestion, suggest};
pub use tutorial::{Claim, ClaimRun, Judgement, TutorialError, tutorial_table};
