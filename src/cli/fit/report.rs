//! A verdict as text.

use super::super::describe::verdict;
use super::super::text::{bold, gib, grouped, lines, table, warning, wrap};
use crate::plan::{Fit, Judged, Run, Rung, Suggestion, Verdict};
use crate::serve::Cache;
use crate::step::Peak;
use crate::units::Bytes;

/// Every card that was asked about.
pub(super) fn cards<'a>(cards: impl Iterator<Item = (&'a str, &'a Fit)>, width: u16) -> String {
    let mut rows = table(&["card", "verdict", "GiB", "in use", "on the card"], width);
    for (name, fit) in cards {
        let room = &fit.room;
        rows.add_row([
            name.to_owned(),
            verdict(fit.verdict).to_owned(),
            gib(room.memory_bytes),
            gib(room.in_use_bytes),
            gib(fit.device_bytes),
        ]);
    }
    format!("\n{}", lines(&rows))
}

pub(super) fn judged(judged: &Judged, gpu: Option<&str>, width: u16) -> String {
    let Judged { fit, peak, gpu_count, .. } = judged;
    let mut out = format!("\n{}\n", headline(fit, *gpu_count));
    let card = match (gpu, *gpu_count) {
        (Some(gpu), 1) => gpu.to_owned(),
        (None, 1) => "on the card".to_owned(),
        (Some(gpu), count) => format!("each of {count} {gpu}"),
        (None, count) => format!("on each of {count} cards"),
    };
    let mut rows = table(&[card.as_str(), "GiB"], width);
    for (name, bytes) in [
        ("memory", fit.room.memory_bytes),
        ("kept by the driver", fit.room.driver_bytes),
        ("held by other processes", fit.room.in_use_bytes),
        ("context and workspaces", context(fit, peak)),
        (if fit.cache.is_some() { "taken by the engine" } else { "left to PyTorch" }, fit.capacity_bytes),
        (if fit.cache.is_some() { "needed for these sequences" } else { "reserved at the peak" }, reserved(fit, peak)),
        ("allocated at the peak", if fit.cache.is_some() { Bytes::ZERO } else { peak.allocated_bytes }),
    ] {
        if bytes > Bytes::ZERO {
            rows.add_row([name.to_owned(), gib(bytes)]);
        }
    }
    out.push_str(&lines(&rows));
    out.push('\n');
    let mut say = |text: String| out.push_str(&(wrap(&text, width, "  ") + "\n"));
    match &fit.run {
        Run::Completed { frees_cache: false, .. } => {}
        Run::Completed { .. } => say(
            "The allocator gives cached memory back to the driver on the way, which takes time: a little more memory \
             would make the step faster."
                .to_owned(),
        ),
        Run::Refused { requested_bytes, free_bytes } => say(format!(
            "The engine does not start: \"Free memory on device ({:.2}/{:.2} GiB) on startup is less than desired GPU memory \
             utilization ({:.2} GiB).\" A smaller --gpu-memory-utilization takes less.",
            free_bytes.gib(),
            fit.room.usable().gib(),
            requested_bytes.gib()
        )),
        Run::OutOfMemory { .. } if fit.cache.is_some() => {
            say("What is left for the cache does not hold these sequences.".to_owned());
        }
        Run::OutOfMemory { phase, requested_bytes, allocated_bytes } => say(format!(
            "PyTorch runs out of memory in phase `{phase}`: {requested_bytes} more are asked for while live tensors hold \
             {allocated_bytes}."
        )),
    }
    if let Some(cache) = &fit.cache {
        if let Some(error) = &cache.error {
            say(format!("The engine does not start: \"{error}\" {}", would_do(cache)));
        }
        say(format!(
            "The cache has {} tokens: {:.2} sequences of max_model_len. The longest max_model_len with which the engine \
             starts: {}.",
            grouped(cache.kv_cache_tokens),
            cache.max_concurrency,
            grouped(cache.longest_max_model_len)
        ));
    }
    say(margin(fit));
    for note in &fit.notes {
        say(note.clone());
    }
    out
}

/// The flags with which an engine starts that does not.
fn would_do(cache: &Cache) -> String {
    let longest = (cache.longest_max_model_len > 0).then(|| format!("--max-model-len {}", cache.longest_max_model_len));
    let share = cache.least_gpu_memory_utilization.map(|share| format!("--gpu-memory-utilization {share}"));
    match (longest, share) {
        (Some(longest), Some(share)) => format!("It does with {longest} or {share}."),
        (Some(one), None) | (None, Some(one)) => format!("It does with {one}."),
        (None, None) => "No length and no share of this card would do.".to_owned(),
    }
}

/// The verdict, with what is left or missing.
fn headline(fit: &Fit, gpu_count: u64) -> String {
    let apart = match gpu_count {
        1 => Bytes(fit.headroom_bytes.unsigned_abs()).to_string(),
        count => format!("{} on each of {count} GPUs", Bytes(fit.headroom_bytes.unsigned_abs())),
    };
    match fit.verdict {
        Verdict::Fits => bold(format!("FITS, {apart} to spare")),
        Verdict::Tight => {
            warning(format!("TIGHT: {}", if runs(fit) { "it may just run" } else { "it may just not run" }))
        }
        Verdict::DoesNotFit => warning(format!("DOES NOT FIT: {apart} short")),
        Verdict::Unknown => warning("CANNOT TELL"),
    }
}

const fn runs(fit: &Fit) -> bool {
    matches!(fit.run, Run::Completed { .. })
}

fn context(fit: &Fit, peak: &Peak) -> Bytes {
    if fit.cache.is_some() {
        return fit.room.context_bytes;
    }
    fit.device_bytes.saturating_sub(reserved(fit, peak))
}

fn reserved(fit: &Fit, peak: &Peak) -> Bytes {
    match fit.run {
        Run::Completed { reserved_bytes, .. } => reserved_bytes,
        Run::OutOfMemory { .. } | Run::Refused { .. } => peak.reserved_bytes,
    }
}

fn margin(fit: &Fit) -> String {
    let margin = &fit.margin;
    let unsure = fit.room.context_unsure_bytes;
    let measured = match margin.cases {
        0 if fit.room.kernels_known => "no measured case is of this kind of job, so the margin is wide".to_owned(),
        0 => "below compute capability 8.0 kernels choose otherwise than where was measured, so the margin is wide"
            .to_owned(),
        cases => format!("the worst of {cases} measured cases ({})", margin.kind),
    };
    let mut text = format!("Margin: {}, {measured}", margin.under_bytes);
    if unsure > Bytes::ZERO {
        text.push_str(&format!("; and {unsure} by which CUDA contexts differ between cards (--context sets it)"));
    }
    text + "."
}

pub(super) fn suggestions(found: &[Suggestion], larger: Option<&Rung>, width: u16) -> String {
    let larger = larger.map(|rung| {
        let line = format!("The smallest GPU it fits as it is: {} ({}).", rung.value, rung.memory_bytes);
        format!("\n{}\n", wrap(&line, width, "  "))
    });
    let larger = larger.unwrap_or_default();
    if found.is_empty() {
        let nothing = "No change that is known makes it fit this card: a larger one, or a smaller model.";
        return format!("\n{}\n{larger}", wrap(nothing, width, ""));
    }
    let mut out = format!("\n{}\n", bold("What makes it fit"));
    for Suggestion { changes, device_bytes, saved_bytes, host_bytes, validated, .. } in found {
        let flags: Vec<&str> = changes.iter().map(|change| change.flags.as_str()).collect();
        out.push_str(&wrap(&format!("  {}", flags.join(" ")), width, "    "));
        out.push('\n');
        let costs: Vec<&str> = changes.iter().map(|change| change.costs).collect();
        let mut line = format!("{device_bytes} on the card, {saved_bytes} less; costs {}", costs.join("; "));
        if *host_bytes > Bytes::ZERO {
            line.push_str(&format!("; {host_bytes} of host memory"));
        }
        if !validated {
            line.push_str("; not validated");
        }
        for line in wrap(&line, width.saturating_sub(6), "").lines() {
            out.push_str(&format!("      {line}\n"));
        }
    }
    out + &larger
}
