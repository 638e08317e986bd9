//! An ordered set in short sorted runs: for the few hundred free blocks a cache has, faster than a tree.

/// A run is cut in two beyond this many keys.
const LONGEST_RUN: usize = 96;

/// Keys in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct SortedSet {
    /// None is empty; all keys of a run are less than those of the next.
    runs: Vec<Vec<u128>>,
}

impl SortedSet {
    /// The run a key belongs to: the first whose last key is not less.
    fn run_of(&self, key: u128) -> usize {
        self.runs.partition_point(|run| run[run.len() - 1] < key)
    }

    pub(crate) fn insert(&mut self, key: u128) {
        if self.runs.is_empty() {
            self.runs.push(vec![key]);
            return;
        }
        let at = self.run_of(key).min(self.runs.len() - 1);
        let run = &mut self.runs[at];
        let place = run.partition_point(|&other| other < key);
        run.insert(place, key);
        if run.len() > LONGEST_RUN {
            let mut upper = Vec::with_capacity(LONGEST_RUN + 1);
            upper.extend(run.drain(LONGEST_RUN / 2..));
            self.runs.insert(at + 1, upper);
        }
    }

    pub(crate) fn remove(&mut self, key: u128) {
        let at = self.run_of(key);
        let Some(run) = self.runs.get_mut(at) else { return };
        let place = run.partition_point(|&other| other < key);
        if run.get(place) == Some(&key) {
            self.take(at, place);
        }
    }

    /// Takes out the least key that is not less than `key`.
    pub(crate) fn take_at_least(&mut self, key: u128) -> Option<u128> {
        let at = self.run_of(key);
        let run = self.runs.get(at)?;
        let place = run.partition_point(|&other| other < key);
        Some(self.take(at, place))
    }

    fn take(&mut self, at: usize, place: usize) -> u128 {
        let run = &mut self.runs[at];
        let key = run.remove(place);
        if run.is_empty() {
            self.runs.remove(at);
        }
        key
    }

    pub(crate) fn retain(&mut self, mut keep: impl FnMut(u128) -> bool) {
        for run in &mut self.runs {
            run.retain(|&key| keep(key));
        }
        self.runs.retain(|run| !run.is_empty());
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = u128> {
        self.runs.iter().flatten().copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_the_standard_librarys_ordered_set(steps in prop::collection::vec((0_u8..3, 0_u128..500), 0..2000)) {
            let (mut ours, mut theirs) = (SortedSet::default(), BTreeSet::new());
            for (step, key) in steps {
                match step {
                    0 => {
                        if theirs.insert(key) {
                            ours.insert(key);
                        }
                    }
                    1 => {
                        theirs.remove(&key);
                        ours.remove(key);
                    }
                    _ => {
                        let least = theirs.range(key..).next().copied();
                        least.iter().for_each(|key| {
                            theirs.remove(key);
                        });
                        prop_assert_eq!(ours.take_at_least(key), least);
                    }
                }
                prop_assert!(ours.iter().eq(theirs.iter().copied()));
            }
        }
    }
}
