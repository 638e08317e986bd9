//! Bytes: the one unit of this crate.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One kibibyte, 2^10 bytes.
pub const KIB: u64 = 1 << 10;
/// One mebibyte, 2^20 bytes.
pub const MIB: u64 = 1 << 20;
/// One gibibyte, 2^30 bytes.
pub const GIB: u64 = 1 << 30;
/// One (decimal) gigabyte, 10^9 bytes: what vendors and tutorials print.
pub const GB: u64 = 1_000_000_000;

/// A number of bytes.
///
/// Shown to people in GiB (2^30), kept and serialised as an exact count.
///
/// ```
/// use vramplan::Bytes;
/// assert_eq!(Bytes::from_gib(24).to_string(), "24.00 GiB");
/// assert_eq!("24GiB".parse::<Bytes>().unwrap(), Bytes::from_gib(24));
/// assert_eq!("24GB".parse::<Bytes>().unwrap(), Bytes(24_000_000_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Bytes(pub u64);

impl Bytes {
    /// No bytes.
    pub const ZERO: Self = Self(0);

    /// `n` MiB; saturates at the largest count.
    pub const fn from_mib(n: u64) -> Self {
        Self(n.saturating_mul(MIB))
    }

    /// `n` GiB; saturates at the largest count.
    pub const fn from_gib(n: u64) -> Self {
        Self(n.saturating_mul(GIB))
    }

    /// The sum, or `None` where it would not fit 64 bits.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(n) => Some(Self(n)),
            None => None,
        }
    }

    /// The difference, or zero where `other` is larger.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// How much more than `other` it is, negative where it is less; kept within 64 bits.
    ///
    /// ```
    /// use vramplan::Bytes;
    /// assert_eq!(Bytes(2).signed_difference(Bytes(5)), -3);
    /// ```
    pub fn signed_difference(self, other: Self) -> i64 {
        let size = i64::try_from(self.0.abs_diff(other.0)).unwrap_or(i64::MAX);
        if self >= other { size } else { -size }
    }

    /// A share of it, of at most 1, as engines reckon it.
    ///
    /// ```
    /// use vramplan::Bytes;
    /// assert_eq!(Bytes::from_gib(24).share(0.5), Bytes::from_gib(12));
    /// ```
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "engines multiply floats"
    )]
    pub fn share(self, share: f64) -> Self {
        Self((self.0 as f64 * share) as u64)
    }

    /// In GiB, for people and plots; exact counts stay in [`Bytes`].
    #[allow(clippy::cast_precision_loss)]
    pub fn gib(self) -> f64 {
        self.0 as f64 / GIB as f64
    }

    /// In GB (10^9), the unit of tutorials and vendors.
    #[allow(clippy::cast_precision_loss)]
    pub fn gb(self) -> f64 {
        self.0 as f64 / GB as f64
    }
}

impl Add for Bytes {
    type Output = Self;
    /// Saturates: a sum of bytes beyond 2^64 is reported as the largest count rather than as a small one.
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Bytes {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Bytes {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.0 >= GIB / 100 {
            format!("{:.2} GiB", self.gib())
        } else if self.0 >= MIB / 10 {
            format!("{:.2} MiB", self.gib() * 1024.0)
        } else {
            format!("{} B", self.0)
        };
        f.pad(&text)
    }
}

/// A size that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("size `{0}`: expected a number of bytes or a number with KiB, MiB, GiB, TiB, KB, MB, GB or TB, such as 24GiB")]
pub struct ParseBytesError(String);

impl FromStr for Bytes {
    type Err = ParseBytesError;

    /// Reads `123`, `450MiB`, `24 GiB`, `79.2GiB`, `24GB` (10^9), `24G` (GiB).
    ///
    /// # Errors
    /// The text is not a number, has an unknown unit, or does not fit 64 bits.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseBytesError(text.to_owned());
        let trimmed = text.trim();
        let split = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(split);
        let scale = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => KIB,
            "m" | "mib" => MIB,
            "g" | "gib" => GIB,
            "t" | "tib" => GIB * 1024,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => GB,
            "tb" => GB * 1000,
            _ => return Err(fail()),
        };
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(scale).map(Bytes).ok_or_else(fail);
        }
        let value: f64 = number.parse().map_err(|_| fail())?;
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bytes = {
            let bytes = value * scale as f64;
            if !bytes.is_finite() || !(0.0..9.0e18).contains(&bytes) {
                return Err(fail());
            }
            bytes.round() as u64
        };
        Ok(Bytes(bytes))
    }
}
