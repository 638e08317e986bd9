//! A steady step once more, without recording it again.

use std::collections::{HashMap, VecDeque};

use crate::ghost::{ChargeId, Entry};

/// The step that `entries` end with, from `start` on, as it goes the next time.
///
/// Its charges get ids of their own. What it releases of the step before it (Adafactor's root mean squares, which every
/// step replaces) has its like, in size and order, among what it leaves behind itself.
pub(super) fn again(entries: &[Entry], start: usize) -> Vec<Entry> {
    let mut charges: Vec<(u64, bool)> = Vec::new();
    let mut before = 0;
    for (at, entry) in entries.iter().enumerate() {
        match *entry {
            Entry::Charge { bytes, .. } => {
                before += ChargeId::from(at < start);
                charges.push((bytes, true));
            }
            Entry::Release { id } => charges[id as usize].1 = false,
            _ => {}
        }
    }
    let mut left: HashMap<u64, VecDeque<ChargeId>> = HashMap::new();
    for (id, (bytes, alive)) in (0..).zip(&charges).skip(before as usize) {
        if *alive {
            left.entry(*bytes).or_default().push_back(id);
        }
    }
    let shifted = |id: ChargeId| id - before + charges.len() as ChargeId;
    let next = |entry: &Entry| match *entry {
        Entry::Charge { id, bytes, category } => Some(Entry::Charge { id: shifted(id), bytes, category }),
        Entry::Release { id } if id >= before => Some(Entry::Release { id: shifted(id) }),
        Entry::Release { id } => left.get_mut(&charges[id as usize].0)?.pop_front().map(|id| Entry::Release { id }),
        other => Some(other),
    };
    entries[start..].iter().filter_map(next).collect()
}

#[cfg(test)]
mod tests {
    use super::again;
    use crate::ghost::{Category, Entry};

    #[test]
    fn what_a_step_replaces_is_what_the_step_before_left() {
        let charge = |id, bytes| Entry::Charge { id, bytes, category: Category::Optimizer };
        let release = |id| Entry::Release { id };
        let load = [charge(0, 4), charge(1, 64), charge(2, 4)];
        let step = [charge(3, 4), release(0), charge(4, 64), release(4), charge(5, 4), release(2)];
        let entries = [&load[..], &step[..]].concat();
        let next = [charge(6, 4), release(3), charge(7, 64), release(7), charge(8, 4), release(5)];
        assert_eq!(again(&entries, load.len()), next);
    }
}
