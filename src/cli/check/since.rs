//! What differs from the lock, in words.

use super::lock::Since;
use crate::check::{Cause, Difference, Kind};
use crate::units::Bytes;

/// So many parts of a cause are named.
const PARTS: usize = 4;

/// A difference: its headline, and a line for each reason.
pub(super) struct Told {
    pub(super) headline: String,
    pub(super) reasons: Vec<String>,
}

/// All of them in a line.
pub(super) fn summary(since: &Since) -> String {
    let name = since.path.display();
    let count = since.differences.len();
    let jobs = if count == 1 { "job differs" } else { "jobs differ" };
    match (since.found, since.written, count) {
        (false, true, _) => format!("{name} is written; commit it"),
        (false, false, _) => format!("there is no {name}: write it with --update-lock, and commit it"),
        (true, _, 0) => format!("nothing differs from {name}"),
        (true, true, _) => format!("{count} {jobs} from what {name} said; it is written anew"),
        (true, false, _) if since.locked => {
            format!("{count} {jobs} from {name}, and --locked allows none: --update-lock, and commit it")
        }
        (true, false, _) => format!("{count} {jobs} from {name}"),
    }
}

pub(super) fn told(difference: &Difference) -> Told {
    let plain = |headline: &str| Told { headline: headline.to_owned(), reasons: Vec::new() };
    let Kind::Changed { device_bytes_before, device_bytes, causes, without_effect } = &difference.kind else {
        return plain(if difference.kind == Kind::Added { "new: not in the lock" } else { "gone: in the lock alone" });
    };
    let change = crate::plan::difference(*device_bytes, *device_bytes_before);
    let headline = if change == 0 {
        format!("{device_bytes} on the card as before")
    } else {
        format!("{device_bytes_before} -> {device_bytes} on the card ({})", signed(change))
    };
    let mut reasons: Vec<String> =
        causes.iter().map(|cause| format!("{}: {}", effect(cause), cause.what.join("; "))).collect();
    if !without_effect.is_empty() {
        reasons.push(format!("no effect on memory: {}", without_effect.join("; ")));
    }
    Told { headline, reasons }
}

/// `logits +3.90 GiB, weights +0.73 GiB`
fn effect(cause: &Cause) -> String {
    let shown = cause.parts.iter().take(PARTS).map(|part| format!("{} {}", part.part, signed(part.bytes)));
    let mut shown: Vec<String> = shown.collect();
    if cause.parts.len() > PARTS {
        let others: i64 = cause.parts[PARTS..].iter().fold(0, |sum, part| sum.saturating_add(part.bytes));
        shown.push(format!("others {}", signed(others)));
    }
    if shown.is_empty() && cause.device_bytes != 0 {
        shown.push(format!("on the card {}", signed(cause.device_bytes)));
    }
    if shown.is_empty() {
        shown.push(format!("trained parameters {:+}", cause.trainable_parameters));
    }
    shown.join(", ")
}

fn signed(bytes: i64) -> String {
    format!("{}{}", if bytes < 0 { '-' } else { '+' }, Bytes(bytes.unsigned_abs()))
}
