//! Bytes over time: the peak, the mean, and a curve of bounded length.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Serialize;

use crate::units::Bytes;

/// Points of a curve at most.
const MOST_POINTS: usize = 256;

/// A point of a curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub(crate) struct Point {
    /// Since the command began.
    pub(crate) seconds: f64,
    /// The most that was held about then.
    pub(crate) bytes: Bytes,
}

/// Readings of one quantity.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    points: Vec<Point>,
    /// Readings that a point stands for; and those that the last one has yet.
    stride: u64,
    filled: u64,
    peak: Option<Point>,
    sum: u128,
    held: u64,
}

impl Default for Series {
    fn default() -> Self {
        Self { points: Vec::new(), stride: 1, filled: 0, peak: None, sum: 0, held: 0 }
    }
}

impl Series {
    /// Adds a reading.
    pub(crate) fn add(&mut self, at: Duration, bytes: Bytes) {
        let point = Point { seconds: seconds(at), bytes };
        if self.peak.is_none_or(|peak| bytes > peak.bytes) {
            self.peak = Some(point);
        }
        if bytes > Bytes::ZERO {
            self.sum += u128::from(bytes.0);
            self.held += 1;
        }
        match self.points.last_mut() {
            Some(last) if self.filled < self.stride => {
                *last = higher(*last, point);
                self.filled += 1;
            }
            _ => {
                self.halve_if_full();
                self.points.push(point);
                self.filled = 1;
            }
        }
    }

    /// Where there is no room every two points become the higher of them.
    fn halve_if_full(&mut self) {
        if self.points.len() < MOST_POINTS {
            return;
        }
        let pairs = self.points.chunks(2);
        self.points = pairs.filter_map(|pair| pair.iter().copied().reduce(higher)).collect();
        self.stride = self.stride.saturating_mul(2);
    }

    /// The highest reading, the first of those.
    pub(crate) const fn peak(&self) -> Option<Point> {
        self.peak
    }

    /// The mean of the readings at which anything was held.
    pub(crate) fn mean(&self) -> Bytes {
        let mean = self.sum.checked_div(u128::from(self.held)).unwrap_or_default();
        Bytes(u64::try_from(mean).unwrap_or(u64::MAX))
    }

    /// The curve: each point is the highest of as many readings.
    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }
}

/// Seconds to a thousandth.
pub(crate) fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

fn higher(one: Point, other: Point) -> Point {
    if other.bytes > one.bytes { other } else { one }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn series(readings: &[u64]) -> Series {
        let mut series = Series::default();
        for (tick, bytes) in (0..).zip(readings) {
            series.add(Duration::from_millis(tick), Bytes(*bytes));
        }
        series
    }

    proptest! {
        #[test]
        fn however_long_the_run_the_curve_is_short_and_has_the_peak(readings in prop::collection::vec(0_u64..1000, 0..3000)) {
            let series = series(&readings);
            prop_assert!(series.points().len() <= MOST_POINTS);
            prop_assert!(readings.len() <= MOST_POINTS || series.points().len() >= MOST_POINTS / 2);
            let most = readings.iter().max().map(|bytes| Bytes(*bytes));
            prop_assert_eq!(series.peak().map(|peak| peak.bytes), most);
            prop_assert_eq!(series.points().iter().map(|point| point.bytes).max(), most);
            prop_assert!(series.points().is_sorted_by(|a, b| a.seconds < b.seconds));
        }
    }

    #[test]
    fn the_mean_is_of_the_time_that_something_is_held() {
        assert_eq!(series(&[0, 0, 10, 20, 0]).mean(), Bytes(15));
        assert_eq!(series(&[]).mean(), Bytes::ZERO);
        assert_eq!(series(&[u64::MAX, u64::MAX]).mean(), Bytes(u64::MAX));
    }
}
