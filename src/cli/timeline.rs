//! Allocated memory over a step, as text.

use super::text::gib;
use crate::step::{Phase, TimelinePoint};
use crate::units::Bytes;

const ROWS: u64 = 8;
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Columns of the scale at the left.
const MARGIN: usize = 9;

/// A plot `width` columns wide with the phases named under it.
///
/// Every phase gets the room its name needs, and what is left is shared by the number of its events, so time runs evenly
/// within a phase and not between phases.
pub(super) fn plot(points: &[TimelinePoint], phases: &[Phase], width: u16) -> String {
    let spans = spans(points, phases.len());
    let room = usize::from(width).saturating_sub(MARGIN + phases.len());
    let columns = share(&spans, phases, room);
    let top = points.iter().map(|point| point.allocated_bytes).max().unwrap_or_default();
    let mut heights = Vec::new();
    for (&(start, end), &columns) in spans.iter().zip(&columns) {
        heights.extend(bars(points, start, end, columns).map(|bytes| eighths(bytes, top)));
        heights.push(None);
    }
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        let label = match row {
            _ if row == ROWS - 1 => gib(top),
            _ if row == ROWS / 2 - 1 => gib(Bytes(top.0 / 2)),
            _ => String::new(),
        };
        let bar = heights.iter().map(|height| match height {
            Some(height) => height.saturating_sub(row * 8).min(8),
            None => 0,
        });
        let bar: String = bar.map(|eighths| BLOCKS[usize::try_from(eighths).unwrap_or(0)]).collect();
        text.push_str(format!("{label:>7} ┤{bar}").trim_end());
        text.push('\n');
    }
    text.push_str("    GiB");
    let mut corner = " └";
    for (phase, &columns) in phases.iter().zip(&columns) {
        let name: String = phase.name.chars().take(columns).collect();
        text.push_str(&format!("{corner}{name:─<columns$}"));
        corner = "└";
    }
    text.push('\n');
    text
}

/// First and last event of each phase.
fn spans(points: &[TimelinePoint], phases: usize) -> Vec<(u64, u64)> {
    let last = points.last().map_or(0, |point| point.event + 1);
    let start = |phase: usize| points.iter().find(|point| point.phase >= phase).map_or(last, |point| point.event);
    (0..phases).map(|phase| (start(phase), start(phase + 1))).collect()
}

/// Columns of each phase.
fn share(spans: &[(u64, u64)], phases: &[Phase], room: usize) -> Vec<usize> {
    let least: Vec<usize> = phases.iter().map(|phase| phase.name.chars().count()).collect();
    let needed: usize = least.iter().sum();
    let events: u64 = spans.iter().map(|(start, end)| end - start).sum::<u64>().max(1);
    match room.checked_sub(needed) {
        Some(spare) => {
            least.iter().zip(spans).map(|(least, span)| least + part(spare, span.1 - span.0, events)).collect()
        }
        None => vec![room / phases.len().max(1); phases.len()],
    }
}

fn part(spare: usize, events: u64, of: u64) -> usize {
    let part = u128::from(events) * spare as u128 / u128::from(of);
    usize::try_from(part).unwrap_or(spare)
}

/// The most that was allocated in each of `columns` even slices of the events from `start` to before `end`.
fn bars(points: &[TimelinePoint], start: u64, end: u64, columns: usize) -> impl Iterator<Item = Bytes> + '_ {
    let count = columns.max(1) as u64;
    let edge = move |column: u64| {
        let offset = u128::from(end - start) * u128::from(column) / u128::from(count);
        start + u64::try_from(offset).unwrap_or(0)
    };
    (0..columns as u64).map(move |column| {
        let (from, to) = (edge(column), edge(column + 1).max(edge(column) + 1));
        let first = points.partition_point(|point| point.event < from);
        let after = points.partition_point(|point| point.event < to);
        let entering = points[..first].last().filter(|_| points.get(first).is_none_or(|point| point.event > from));
        entering.into_iter().chain(&points[first..after]).map(|point| point.allocated_bytes).max().unwrap_or_default()
    })
}

/// Height in eighths of a row; what is not nothing is seen.
fn eighths(bytes: Bytes, top: Bytes) -> Option<u64> {
    let height = u128::from(bytes.0) * u128::from(ROWS * 8) / u128::from(top.0.max(1));
    let height = u64::try_from(height).unwrap_or(0);
    Some(if bytes.0 > 0 { height.max(1) } else { 0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(name: &str) -> Phase {
        Phase { name: name.to_owned(), peak_bytes: Bytes::ZERO, end_bytes: Bytes::ZERO }
    }

    fn point(event: u64, gib: u64, phase: usize) -> TimelinePoint {
        TimelinePoint { event, allocated_bytes: Bytes::from_gib(gib), phase }
    }

    #[test]
    fn a_step_up_and_down() {
        let phases = [phase("forward"), phase("backward"), phase("clip")];
        let mut points: Vec<_> = (0..8).map(|i| point(i, i + 1, 0)).collect();
        points.extend((0..8).map(|i| point(8 + i, 8 - i, 1)));
        points.push(point(16, 4, 2));
        insta::assert_snapshot!(plot(&points, &phases, 50));
    }

    #[test]
    fn every_line_fits_and_nothing_panics() {
        let phases = ["load", "forward", "backward", "clip", "optimizer"].map(phase);
        for width in 10..90 {
            for points in [vec![], vec![point(0, 1, 0)], vec![point(5, 3, 2), point(5, 0, 4)]] {
                let text = plot(&points, &phases, width);
                assert!(
                    text.lines().all(|line| line.chars().count() <= usize::from(width.max(14))),
                    "{width}:\n{text}"
                );
            }
        }
    }
}
