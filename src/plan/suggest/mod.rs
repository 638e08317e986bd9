//! What to change about a job that does not fit: every answer is run before it is given.

mod levers;
mod serving;

use schemars::JsonSchema;
use serde::Serialize;

use self::levers::{Burden, Lever, Notch};
use super::fit::{Fit, Question, Verdict};
use super::room::Room;
use crate::job::Job;
use crate::step::EstimateError;
use crate::step::Subject;
use crate::units::Bytes;

pub use self::levers::Change;

/// Changes that make a job fit together, none of them to spare.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Suggestion {
    /// What to change.
    pub changes: Vec<Change>,
    /// What the card shows at the peak then.
    pub device_bytes: Bytes,
    /// How much less that is.
    pub saved_bytes: Bytes,
    /// What is left of the card.
    pub headroom_bytes: i64,
    /// What the host's memory must hold then.
    pub host_bytes: Bytes,
    /// Whether measurements stand behind the changed job's estimate.
    pub validated: bool,
    /// The job with the changes made.
    pub job: Job,
}

/// Changes in a combination at most.
const MOST_CHANGES: usize = 4;
/// Combinations at most; people read no more.
const MOST_SUGGESTIONS: usize = 12;

/// Single changes that make the job of `question` fit, and the shortest combinations of changes none of which does alone.
/// Each is the mildest of its kind that is enough. Empty: nothing known does.
///
/// ```
/// use vramplan::{Bytes, job::Job, model, plan::{self, Question, Room}};
///
/// let model = model::resolve("llama-2-7b")?;
/// let job: Job = r#"{"model": "llama-2-7b", "train": {"max_seq_length": 512}}"#.parse()?;
/// let suggestions = plan::suggest(&model, &Question::of(&model, &job)?, &Room::of(Bytes::from_gib(24)));
/// assert!(suggestions[0].changes.iter().any(|change| change.field == "train.peft"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn suggest<'a>(subject: impl Into<Subject<'a>>, question: &Question, room: &Room) -> Vec<Suggestion> {
    Search {
        subject: subject.into(),
        job: question.job(),
        room,
        levers: levers::levers(question.job(), question.serving()),
    }
    .run(question)
}

struct Search<'a> {
    subject: Subject<'a>,
    job: &'a Job,
    room: &'a Room,
    levers: Vec<Lever>,
}

/// The levers pulled, each with the notch it is pulled to.
type Pulled = Vec<(usize, usize)>;

struct Found {
    pulled: Pulled,
    question: Question,
    fit: Fit,
}

impl Search<'_> {
    fn run(&self, before: &Question) -> Vec<Suggestion> {
        let mut enough: Vec<Vec<usize>> = Vec::new();
        let mut found: Vec<Found> = Vec::new();
        for size in 1..=MOST_CHANGES.min(self.levers.len()) {
            // Where something short is known, only what is no burden is worth a longer list.
            let longest = if found.is_empty() { Burden::Data } else { Burden::States };
            if size > 2 && !found.is_empty() {
                break;
            }
            for levers in combinations(self.levers.len(), size) {
                let covered = enough.iter().any(|smaller| smaller.iter().all(|lever| levers.contains(lever)));
                let burden = levers.iter().map(|lever| self.levers[*lever].burden).max();
                if covered || (size > 1 && burden > Some(longest)) {
                    continue;
                }
                if let Some(mildest) = self.mildest(&levers) {
                    enough.push(levers);
                    found.push(mildest);
                }
            }
        }
        found.sort_by_key(|found| {
            let burdens = found.pulled.iter().map(|(lever, _)| self.levers[*lever].burden);
            (burdens.clone().max(), burdens.count())
        });
        found.truncate(MOST_SUGGESTIONS);
        let shown = before.fit(self.room).device_bytes;
        found.into_iter().map(|found| self.suggestion(found, shown)).collect()
    }

    /// The mildest notches of these levers with which the job fits, each let go as far as the others allow.
    fn mildest(&self, levers: &[usize]) -> Option<Found> {
        let strongest: Pulled = levers.iter().map(|lever| (*lever, self.levers[*lever].notches.len() - 1)).collect();
        let mut best = self.strongest(strongest)?;
        for position in 0..levers.len() {
            for notch in 0..best.pulled[position].1 {
                let mut milder = best.pulled.clone();
                milder[position].1 = notch;
                if let Ok(Some(fits)) = self.pull(milder) {
                    best = fits;
                    break;
                }
            }
        }
        Some(best)
    }

    /// The levers as far as they go; one whose last notch the job refuses goes as far as it allows.
    fn strongest(&self, mut pulled: Pulled) -> Option<Found> {
        loop {
            match self.pull(pulled.clone()) {
                Ok(found) => return found,
                Err(_) => pulled.iter_mut().rev().find(|(_, notch)| *notch > 0)?.1 -= 1,
            }
        }
    }

    /// The job with these levers pulled, where it fits; an error where there is no such job.
    fn pull(&self, pulled: Pulled) -> Result<Option<Found>, EstimateError> {
        let question = Question::of(self.subject, &self.changed(&pulled))?;
        let fit = question.fit(self.room);
        Ok((fit.verdict == Verdict::Fits).then_some(Found { pulled, question, fit }))
    }

    fn changed(&self, pulled: &Pulled) -> Job {
        let mut job = self.job.clone();
        self.notches(pulled).for_each(|notch| notch.apply(&mut job));
        job
    }

    fn notches<'b>(&'b self, pulled: &'b Pulled) -> impl Iterator<Item = &'b Notch> {
        pulled.iter().map(|(lever, notch)| &self.levers[*lever].notches[*notch])
    }

    fn suggestion(&self, Found { pulled, question, fit }: Found, before: Bytes) -> Suggestion {
        Suggestion {
            changes: self.notches(&pulled).map(|notch| notch.change.clone()).collect(),
            device_bytes: fit.device_bytes,
            saved_bytes: before.saturating_sub(fit.device_bytes),
            headroom_bytes: fit.headroom_bytes,
            host_bytes: question.estimate().held.host,
            validated: question.estimate().basis.validated,
            job: question.job().clone(),
        }
    }
}

/// Every choice of `size` of the first `count` numbers, in order.
fn combinations(count: usize, size: usize) -> Vec<Vec<usize>> {
    if size == 0 {
        return vec![Vec::new()];
    }
    (0..count)
        .flat_map(|last| {
            combinations(last, size - 1).into_iter().map(move |mut chosen| {
                chosen.push(last);
                chosen
            })
        })
        .collect()
}
