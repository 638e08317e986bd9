//! Strides, held against PyTorch's: `truth/layouts.jsonl` was recorded with torch 2.11 on random views.

use serde::Deserialize;
use serde_json::Value;
use vramplan::ghost::Layout;

/// A tensor made contiguous and then looked at in another way.
#[derive(Deserialize)]
struct Made {
    dims: Vec<u64>,
    ops: Vec<Vec<Value>>,
}

#[derive(Deserialize)]
struct View {
    dims: Vec<u64>,
    /// None: PyTorch refuses it.
    strides: Option<Vec<u64>>,
}

#[derive(Deserialize)]
struct Row {
    #[serde(flatten)]
    made: Made,
    strides: Vec<u64>,
    contiguous: bool,
    /// Of `-a`.
    neg: Option<Vec<u64>>,
    other: Option<Made>,
    /// Of `a + other`.
    add: Option<Vec<u64>>,
    view: Option<View>,
}

impl Made {
    fn layout(&self) -> Layout {
        self.ops.iter().fold(Layout::contiguous(&self.dims), |layout, op| {
            let numbers: Vec<u64> = op[1..].iter().map(|n| n.as_u64().expect("a number")).collect();
            let dim = |i: usize| isize::try_from(numbers[i]).expect("a dimension");
            match op[0].as_str() {
                Some("transpose") => layout.transpose(dim(0), dim(1)),
                Some("narrow") => layout.narrow(dim(0), numbers[1]),
                Some("unsqueeze") => layout.unsqueeze(usize::try_from(numbers[0]).expect("a dimension")),
                Some("select") => layout.select(dim(0)),
                Some("expand") => layout.expand(&numbers),
                _ => panic!("no view {op:?}"),
            }
        })
    }
}

/// Strides of the dimensions that have any: where there is one element, the stride is never used.
fn used(layout: &Layout, strides: &[u64]) -> Vec<u64> {
    let both = layout.dims().iter().zip(strides);
    both.filter(|(dim, _)| **dim != 1).map(|(_, stride)| *stride).collect()
}

#[track_caller]
fn same(ours: &Layout, theirs: &[u64], line: &str) {
    assert_eq!(used(ours, ours.strides()), used(ours, theirs), "{line}");
}

fn rows() -> impl Iterator<Item = (&'static str, Row)> {
    include_str!("truth/layouts.jsonl").lines().map(|line| (line, serde_json::from_str(line).expect("a row")))
}

#[test]
fn views_have_pytorchs_strides() {
    for (line, row) in rows() {
        let layout = row.made.layout();
        same(&layout, &row.strides, line);
        assert_eq!(layout.is_contiguous(), row.contiguous, "{line}");
    }
}

#[test]
fn sizes_change_without_a_copy_where_pytorch_can() {
    for (line, row) in rows() {
        let Some(view) = row.view else { continue };
        match (row.made.layout().view(&view.dims), view.strides) {
            (Some(ours), Some(theirs)) => same(&ours, &theirs, line),
            (ours, theirs) => assert_eq!(ours.is_some(), theirs.is_some(), "{line}"),
        }
    }
}

#[test]
fn new_tensors_are_laid_out_as_their_operands() {
    for (line, row) in rows() {
        let layout = row.made.layout();
        if let Some(neg) = row.neg {
            same(&Layout::elementwise(&[&layout]), &neg, line);
        }
        if let (Some(other), Some(add)) = (row.other, row.add) {
            same(&Layout::elementwise(&[&layout, &other.layout()]), &add, line);
        }
    }
}
