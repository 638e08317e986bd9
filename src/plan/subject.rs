//! What questions are asked of: a model, with what its files leave open.

use crate::model::Model;
use crate::step::Doubts;

/// A model with what its files leave open; a `&Model` alone is one whose files leave nothing open.
///
/// ```
/// use vramplan::{Bytes, job::{Job, Train}, model, plan::{Question, Room, Subject, Verdict}, step::Doubts};
///
/// let (model, job) = (model::resolve("llama-2-7b")?, Job::train("llama-2-7b", Train::default()));
/// let room = Room::of(Bytes::from_gib(66));
/// assert_eq!(Question::of(&model, &job)?.fit(&room).verdict, Verdict::Fits);
/// let doubts = Doubts { notes: vec!["the checkpoint holds other tensors".to_owned()], doubtful: true };
/// assert_eq!(Question::of(Subject::doubted(&model, &doubts), &job)?.fit(&room).verdict, Verdict::Tight);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub(super) model: &'a Model,
    pub(super) doubts: &'a Doubts,
}

impl<'a> Subject<'a> {
    /// A model whose files leave something open.
    pub const fn doubted(model: &'a Model, doubts: &'a Doubts) -> Self {
        Self { model, doubts }
    }
}

impl<'a> From<&'a Model> for Subject<'a> {
    fn from(model: &'a Model) -> Self {
        static NONE: Doubts = Doubts { notes: Vec::new(), doubtful: false };
        Self { model, doubts: &NONE }
    }
}
