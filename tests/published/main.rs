//! What others measured on real GPUs and published, held against estimates of the same jobs:
//! `cargo test --test published -- --nocapture` prints the table.
//!
//! `../truth/published.jsonl` has a row a figure, with its source; `../truth/published.toml` what makes figures differ that
//! do, and the published figures that cannot be predicted, with the reason.

mod operation;
mod predict;
mod row;
mod table;

use std::collections::BTreeSet;
use std::sync::LazyLock;

use row::{Notes, Row};

/// A row and what is predicted for it.
struct Held {
    row: Row,
    predicted: u64,
}

impl Held {
    /// Signed, in percent of what was published.
    fn error(&self) -> f64 {
        percent(self.predicted, self.row.published)
    }

    /// As [`Held::error`], with what is known to differ put right.
    fn error_explained(&self) -> f64 {
        let causes: i64 = self.row.causes.iter().map(|cause| cause.bytes).sum();
        let predicted = self.predicted.checked_add_signed(causes);
        percent(
            predicted.unwrap_or_else(|| panic!("{}: its causes are larger than the figure", self.row.id)),
            self.row.published,
        )
    }
}

#[expect(clippy::cast_precision_loss, reason = "percents")]
fn percent(predicted: u64, published: u64) -> f64 {
    100.0 * (predicted as f64 / published as f64 - 1.0)
}

static NOTES: LazyLock<Notes> = LazyLock::new(Notes::read);

static HELD: LazyLock<Vec<Held>> = LazyLock::new(|| {
    let rows = Row::all();
    let predict = |row: &Row| {
        predict::predicted(row).unwrap_or_else(|why| {
            eprintln!("FAIL {}: {why}", row.id);
            1
        })
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let predicted: Vec<u64> = std::thread::scope(|scope| {
        let parts = rows.chunks(rows.len().div_ceil(threads));
        let workers: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(predict).collect::<Vec<_>>())).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a prediction")).collect()
    });
    rows.into_iter().zip(predicted).map(|(row, predicted)| Held { row, predicted }).collect()
});

#[test]
fn a_table_of_all_of_them() {
    println!("{}", table::of(&HELD, &NOTES));
}

#[test]
fn what_is_off_by_more_than_five_percent_is_explained() {
    let unexplained: Vec<String> = HELD
        .iter()
        .filter(|held| held.error().abs() > 5.0 && held.row.causes.is_empty())
        .map(|held| format!("{:+.2} % {}", held.error(), held.row.id))
        .collect();
    assert!(unexplained.is_empty(), "{unexplained:#?}");
}

#[test]
fn causes_account_for_what_they_explain() {
    for held in HELD.iter() {
        let (row, error) = (&held.row, held.error_explained());
        // with its causes put right, a figure is met; and never is less promised than they say
        assert!((-1.0..=5.0).contains(&error), "{}: {error:+.2} % after its causes", row.id);
        for cause in &row.causes {
            assert!(NOTES.causes.contains_key(&cause.why), "{}: `{}` is explained nowhere", row.id, cause.why);
        }
    }
    let used: BTreeSet<&str> = HELD.iter().flat_map(|held| &held.row.causes).map(|cause| cause.why.as_str()).collect();
    let unused: Vec<_> = NOTES.causes.keys().filter(|cause| !used.contains(cause.as_str())).collect();
    assert!(unused.is_empty(), "explained and not used: {unused:?}");
}

#[test]
fn operations_on_real_gpus_are_met_to_the_byte() {
    let operations: Vec<_> = HELD.iter().filter(|held| held.row.operation.is_some()).collect();
    assert!(operations.len() >= 10, "{}", operations.len());
    for Held { row, predicted } in operations {
        // benchmark tables keep MiB in single precision
        assert!(predicted.abs_diff(row.published) <= 1024, "{}: {predicted} of {}", row.id, row.published);
    }
}

#[test]
fn every_row_says_where_it_is_from() {
    let mut ids = BTreeSet::new();
    for row in HELD.iter().map(|held| &held.row) {
        assert!(ids.insert(&row.id), "{} twice", row.id);
        assert!(row.source.contains(':') && !row.printed.is_empty(), "{}", row.id);
    }
    assert!(NOTES.left_out.iter().all(|left| left.rows > 0 && left.reason.len() > 20));
}
