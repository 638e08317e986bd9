//! `--from`: training configurations of other tools.

use std::path::{Path, PathBuf};

use super::args::job::{InferFlags, JobArgs};
use super::asked::text_of;
use super::error::CliError;
use super::text::{plain, table, wrap};
use crate::job::from::{self, MAX_BYTES, NotModelled, Place, Report, Source};
use crate::job::{ConfigFormat, JobFile, ModelRef};

/// The job of the files given with `--from`, and what was made of their fields.
pub(super) fn read(args: &JobArgs) -> Result<Option<(JobFile, Report)>, CliError> {
    if args.from.is_empty() {
        return Ok(None);
    }
    if args.infer != InferFlags::default() {
        return Err(CliError::usage("--from reads training configurations; remove it, or the flags of inference"));
    }
    if !(args.from_format.is_empty() || args.from_format.len() == args.from.len()) {
        return Err(CliError::Usage(format!(
            "--from-format: {} for {} files; give one for each --from, or none",
            args.from_format.len(),
            args.from.len()
        )));
    }
    let asked = Files {
        paths: &args.from,
        formats: &args.from_format,
        partial: args.partial,
        given: |field| flagged(args, field),
        spell: flag,
        let_pass: "--partial",
    };
    asked.read().map(Some)
}

/// Configurations as somebody asked for them, and how they say what no file does.
pub(super) struct Files<'a, Given: Fn(&str) -> bool> {
    pub(super) paths: &'a [PathBuf],
    pub(super) formats: &'a [ConfigFormat],
    /// Whether what takes more memory and is not modelled is let pass.
    pub(super) partial: bool,
    /// Whether a field is given beside the files.
    pub(super) given: Given,
    /// How it is given there.
    pub(super) spell: fn(&str) -> String,
    /// How `partial` is.
    pub(super) let_pass: &'static str,
}

impl<Given: Fn(&str) -> bool> Files<'_, Given> {
    /// Their job, and what was made of their fields.
    pub(super) fn read(&self) -> Result<(JobFile, Report), CliError> {
        let mut sources = Vec::new();
        for (index, path) in self.paths.iter().enumerate() {
            let text = text_of(path, MAX_BYTES as u64, "a training configuration")?;
            let name = if path == Path::new("-") { "standard input".to_owned() } else { path.display().to_string() };
            sources.push(Source { name, text, format: self.formats.get(index).copied() });
        }
        let imported = from::import(&sources)?;
        let missing = imported.unsaid.iter().filter(|field| !(self.given)(field));
        let missing: Vec<String> = missing.map(|field| (self.spell)(field)).collect();
        if !missing.is_empty() {
            let name = sources.last().map_or("", |source| source.name.as_str());
            let fields = missing.join(" and ");
            return Err(CliError::Usage(format!(
                "{name}: a file like it does not say all that a job needs; add {fields}"
            )));
        }
        if !self.partial {
            refuse(&imported.report, self.let_pass)?;
        }
        let file =
            JobFile { model: imported.model.map(ModelRef::Named), train: Some(imported.train), ..JobFile::default() };
        Ok((file, imported.report))
    }
}

/// Whether a flag says what no file does.
fn flagged(args: &JobArgs, field: &str) -> bool {
    match field {
        "precision" => args.common.precision.is_some() || args.train.qlora,
        "per_device_train_batch_size" => args.common.batch.is_some(),
        "max_seq_length" => args.train.max_seq_length.is_some(),
        _ => false,
    }
}

fn flag(field: &str) -> String {
    format!("--{}", field.replace('_', "-"))
}

/// Figures that would say too little are for those who ask for them.
fn refuse(report: &Report, let_pass: &str) -> Result<(), CliError> {
    let mut fields = report.adds_memory();
    let Some(NotModelled { field, value, why, at, .. }) = fields.next() else { return Ok(()) };
    let others = match fields.count() {
        0 => String::new(),
        n => format!(" ({n} more like it)"),
    };
    let place = place(at).map_or_else(String::new, |place| format!("{place}: "));
    Err(CliError::Usage(format!(
        "{place}{field} = {value}: {why}{others}; the figures would say too little; add {let_pass} to see them"
    )))
}

fn place(at: &Place) -> Option<String> {
    match (at.file.as_str(), at.line) {
        ("", _) => None,
        (file, None) => Some(file.to_owned()),
        (file, Some(line)) => Some(format!("{file}, line {line}")),
    }
}

/// What was made of the files: in short, or field by field.
pub(super) fn section(report: &Report, verbose: bool, width: u16) -> String {
    let written = report.mapped.iter().filter(|field| field.at.is_some()).count();
    let defaults = report.mapped.len() - written;
    let more = if verbose { "" } else { "; --verbose lists them" };
    let mut out = String::from("\n");
    paragraph(
        &mut out,
        &format!(
            "From {}: {written} fields and {defaults} of its defaults are in the job, {} have no effect on it{more}.",
            report.format,
            report.ignored.len()
        ),
        width,
    );
    if !report.is_complete() {
        let mut rows = table(&["not modelled", "the job"], width);
        for field in &report.not_modelled {
            rows.add_row([plain(&format!("{} = {}", field.field, field.value)), field.effect.words().to_owned()]);
        }
        for field in &report.unknown {
            rows.add_row([plain(&format!("{} = {}", field.field, field.value)), "unknown field".to_owned()]);
        }
        out.push('\n');
        out.push_str(&super::text::lines(&rows));
        for note in report.notes() {
            paragraph(&mut out, &format!("- {}", plain(&note)), width);
        }
    }
    if verbose {
        out.push_str("\nIn the job:\n");
        for field in &report.mapped {
            let from = match (&field.at, field.default_of) {
                (Some(at), _) => place(at).unwrap_or_default(),
                (None, of) => format!("default, {}", of.unwrap_or_default()),
            };
            paragraph(
                &mut out,
                &plain(&format!("- {} = {} -> {} ({from})", field.field, field.value, field.to)),
                width,
            );
        }
        out.push_str("\nWithout an effect:\n");
        for field in &report.ignored {
            paragraph(&mut out, &plain(&format!("- {} = {}: {}", field.field, field.value, field.why)), width);
        }
    }
    out
}

fn paragraph(out: &mut String, text: &str, width: u16) {
    out.push_str(&wrap(text, width, "  "));
    out.push('\n');
}
