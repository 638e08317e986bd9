//! What questions are asked of: a model, with what its files say and leave open.

use super::estimate::Doubts;
use crate::model::{Model, Source};

/// A model with what its files say of its weights, and what they leave open; a `&Model` alone is one of which no files are
/// known.
///
/// ```
/// use vramplan::{Bytes, job::{Job, Train}, model, plan::{Question, Room, Verdict}, step::{Doubts, Subject}};
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
    pub(crate) model: &'a Model,
    pub(crate) source: Option<&'a Source>,
    pub(crate) doubts: &'a Doubts,
}

impl<'a> Subject<'a> {
    /// A model whose files leave something open.
    pub const fn doubted(model: &'a Model, doubts: &'a Doubts) -> Self {
        Self { model, source: None, doubts }
    }

    /// A model whose weights are to be as its files have them, where the job's engine can hold them so.
    pub const fn stored(source: &'a Source, doubts: &'a Doubts) -> Self {
        Self { model: &source.model, source: Some(source), doubts }
    }
}

impl<'a> From<&'a Model> for Subject<'a> {
    fn from(model: &'a Model) -> Self {
        static NONE: Doubts = Doubts { notes: Vec::new(), doubtful: false };
        Self::doubted(model, &NONE)
    }
}
