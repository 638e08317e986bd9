//! How words and numbers are read.

use std::str::FromStr;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};

use crate::job::JobError;

/// Reads one of `names` or their other spellings, and lists the names in the help.
pub(in crate::cli) fn words<T>(
    names: &'static [&'static str],
    aliases: &'static [&'static [&'static str]],
) -> impl TypedValueParser<Value = T>
where
    T: FromStr<Err = JobError> + Clone + Send + Sync + 'static,
{
    let values = names.iter().zip(aliases).map(|(name, aliases)| PossibleValue::new(*name).aliases(*aliases));
    PossibleValuesParser::new(values).try_map(|word| word.parse::<T>())
}

/// Reads a whole number; whether it is in range is for the job to say.
pub(in crate::cli) fn whole(text: &str) -> Result<u64, String> {
    text.parse().map_err(|error: std::num::ParseIntError| match error.kind() {
        std::num::IntErrorKind::PosOverflow => "no job is that large".to_owned(),
        _ => "give a whole number, such as 4".to_owned(),
    })
}

/// Reads a number; its range, too, is for the job.
pub(in crate::cli) fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "give a number, such as 0.5".to_owned())
}
