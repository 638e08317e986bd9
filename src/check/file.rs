//! Reading a file of jobs.

use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::entry::{Base, Entry, Limit};
use super::error::CheckError;
use crate::job::{JobError, JobFile, explain, mend};
use crate::units::Bytes;

/// Jobs, and what each may take.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct CheckFile {
    /// The jobs, in the order of the file.
    pub jobs: Vec<Entry>,
}

/// What stands beside the jobs.
const TOP: [&str; 3] = ["jobs", "allow_tight", "context"];
/// What of a job is a job file's.
const JOB: [&str; 4] = ["model", "train", "infer", "serve"];
/// All that a job can have.
const FIELDS: [&str; 12] =
    ["model", "job", "from", "partial", "gpu", "memory", "budget", "allow_tight", "context", "train", "infer", "serve"];
/// The longest name of a job.
const LONGEST_NAME: usize = 100;

type Key<'a> = Spanned<std::borrow::Cow<'a, str>>;
type Field<'a> = Spanned<DeValue<'a>>;

impl FromStr for CheckFile {
    type Err = CheckError;

    /// Reads TOML; what is wrong is told with its line.
    ///
    /// # Errors
    /// Not well-formed, a field that is not known, a value of the wrong type, no job, or a job without a limit.
    fn from_str(text: &str) -> Result<Self, CheckError> {
        let reader = Reader { text };
        let root = DeTable::parse(text)
            .map_err(|error| CheckError::new(reader.line(error.span()), error.message()))?
            .into_inner();
        let (mut jobs, mut allow_tight, mut context) = (None, false, None);
        for (key, value) in root {
            match key.get_ref().as_ref() {
                "jobs" => jobs = Some((key, value)),
                "allow_tight" => allow_tight = reader.flag(&key, &value)?,
                "context" => context = Some(reader.size(&key, &value)?),
                other => {
                    let fix = if JOB.contains(&other) || FIELDS.contains(&other) {
                        format!("it belongs to a job, as in [jobs.NAME] {other} = ...")
                    } else {
                        mend("", other, &TOP)
                    };
                    return Err(reader.error(&key, format!("unknown field `{}`; {fix}", shown(other))));
                }
            }
        }
        let none = "no jobs; add one, such as [jobs.finetune] with model, gpu and a table [jobs.finetune.train]";
        let (key, table) = jobs.ok_or_else(|| CheckError::new(1, none))?;
        let DeValue::Table(table) = table.into_inner() else {
            return Err(reader.error(&key, "jobs: expected tables, such as [jobs.finetune]".to_owned()));
        };
        if table.is_empty() {
            return Err(reader.error(&key, none.to_owned()));
        }
        let mut table: Vec<(Key<'_>, Field<'_>)> = table.into_iter().collect();
        table.sort_by_key(|(key, _)| key.span().start);
        let jobs = table.into_iter().map(|(key, value)| reader.job(&key, value, allow_tight, context));
        Ok(Self { jobs: jobs.collect::<Result<_, _>>()? })
    }
}

/// The text that is read, for the lines of what is wrong.
#[derive(Clone, Copy)]
struct Reader<'a> {
    text: &'a str,
}

impl<'a> Reader<'a> {
    fn line(self, span: Option<std::ops::Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start);
        self.text.bytes().take(start).filter(|&byte| byte == b'\n').count() + 1
    }

    fn error(self, key: &Key<'a>, message: String) -> CheckError {
        CheckError::new(self.line(Some(key.span())), message)
    }

    fn job(
        self,
        key: &Key<'a>,
        value: Field<'a>,
        allow_tight: bool,
        context: Option<Bytes>,
    ) -> Result<Entry, CheckError> {
        let name = key.get_ref().as_ref();
        if name.is_empty() || name.chars().count() > LONGEST_NAME || name.contains(char::is_control) {
            let message = format!("jobs.{}: a name has 1 to {LONGEST_NAME} printable characters", shown(name));
            return Err(self.error(key, message));
        }
        let of_job = |error: CheckError| CheckError::new(error.line, format!("jobs.{name}: {}", error.message));
        let (name, span) = (name.to_owned(), value.span());
        let DeValue::Table(table) = value.into_inner() else {
            return Err(self.error(key, format!("jobs.{name}: expected a table, such as [jobs.{name}]")));
        };
        let read = || {
            let mut entry = Entry {
                name: name.clone(),
                line: self.line(Some(key.span())),
                base: Base::Here,
                fields: serde_json::Value::Null,
                limit: Limit::Budget(Bytes::ZERO),
                allow_tight,
                context,
            };
            self.fields(&mut entry, key, table, span)?;
            Ok(entry)
        };
        read().map_err(of_job)
    }

    /// Reads the fields of a job into `entry`.
    fn fields(
        self,
        entry: &mut Entry,
        key: &Key<'a>,
        table: DeTable<'a>,
        span: std::ops::Range<usize>,
    ) -> Result<(), CheckError> {
        let mut rest = DeTable::new();
        let (mut limits, mut bases, mut partial) = (Vec::new(), Vec::new(), None);
        for (field, value) in table {
            match field.get_ref().as_ref() {
                "gpu" => limits.push(("gpu", Limit::Gpu(self.text(&field, &value)?))),
                "memory" => limits.push(("memory", Limit::Memory(self.size(&field, &value)?))),
                "budget" => limits.push(("budget", Limit::Budget(self.size(&field, &value)?))),
                "allow_tight" => entry.allow_tight = self.flag(&field, &value)?,
                "context" => entry.context = Some(self.size(&field, &value)?),
                "job" => bases.push(Base::Job(PathBuf::from(self.text(&field, &value)?))),
                "from" => bases.push(Base::From { paths: self.paths(&field, &value)?, partial: false }),
                "partial" => partial = Some((self.flag(&field, &value)?, field)),
                name if JOB.contains(&name) => drop(rest.insert(field, value)),
                name => {
                    let message = format!("unknown field `{}`; {}", shown(name), mend("", name, &FIELDS));
                    return Err(self.error(&field, message));
                }
            }
        }
        entry.limit = match (limits.pop(), limits.pop()) {
            (Some((_, limit)), None) => limit,
            (Some((one, _)), Some((other, _))) => {
                return Err(self.error(key, format!("has both {other} and {one}; remove one of them")));
            }
            _ => {
                let fix = "gpu = \"rtx-4090\", memory = \"24GiB\" or budget = \"20GiB\"";
                return Err(self.error(key, format!("what may it take? add {fix}")));
            }
        };
        entry.base = match (bases.pop(), bases.pop()) {
            (_, Some(_)) => return Err(self.error(key, "has both job and from; remove one of them".to_owned())),
            (Some(base), None) => base,
            (None, None) => Base::Here,
        };
        match (&mut entry.base, partial) {
            (_, None) => {}
            (Base::From { partial, .. }, Some((asked, _))) => *partial = asked,
            (_, Some((_, field))) => {
                return Err(self.error(&field, "partial: only configurations of from have it; remove it".to_owned()));
            }
        }
        let table = Spanned::new(span, DeValue::Table(rest));
        let explained = |path: String, error: &toml::de::Error| {
            let line = error.span().map_or_else(|| self.line(Some(key.span())), |span| self.line(Some(span)));
            CheckError::new(line, explain(&path, error.message()).to_string())
        };
        // read as a job first, whose errors name fields
        serde_path_to_error::deserialize::<_, JobFile>(ValueDeserializer::from(table.clone()))
            .map_err(|error| explained(error.path().to_string(), error.inner()))?;
        entry.fields = serde_json::Value::deserialize(ValueDeserializer::from(table))
            .map_err(|error| explained(".".to_owned(), &error))?;
        if entry.base == Base::Here {
            let whole = entry.over(None).and_then(crate::job::Job::try_from);
            whole.map_err(|error: JobError| {
                let text = error.to_string();
                let text = text.strip_prefix("the job ").unwrap_or(&text);
                let placed = |text: String, table: &&str| {
                    text.replace(&format!("[{table}]"), &format!("[jobs.{}.{table}]", entry.name))
                };
                self.error(key, JOB.iter().fold(text.to_owned(), placed))
            })?;
        }
        Ok(())
    }

    fn text(self, key: &Key<'a>, value: &Field<'a>) -> Result<String, CheckError> {
        value.get_ref().as_str().map(str::to_owned).ok_or_else(|| self.wrong(key, value, "a text in quotes"))
    }

    fn flag(self, key: &Key<'a>, value: &Field<'a>) -> Result<bool, CheckError> {
        value.get_ref().as_bool().ok_or_else(|| self.wrong(key, value, "true or false"))
    }

    fn size(self, key: &Key<'a>, value: &Field<'a>) -> Result<Bytes, CheckError> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            _ => return Err(self.wrong(key, value, "a size such as \"24GiB\", or a number of bytes")),
        };
        text.parse().map_err(|error| self.error(key, format!("{}: {error}", key.get_ref())))
    }

    fn paths(self, key: &Key<'a>, value: &Field<'a>) -> Result<Vec<PathBuf>, CheckError> {
        let wrong = |value: &Field<'a>| self.wrong(key, value, "a file's name, or a list of them");
        match value.get_ref() {
            DeValue::String(path) => Ok(vec![PathBuf::from(path.as_ref())]),
            DeValue::Array(paths) if !paths.is_empty() => {
                paths.iter().map(|path| path.get_ref().as_str().map(PathBuf::from).ok_or_else(|| wrong(path))).collect()
            }
            _ => Err(wrong(value)),
        }
    }

    fn wrong(self, key: &Key<'a>, value: &Field<'a>, expected: &str) -> CheckError {
        let written = self.text.get(value.span()).unwrap_or_default();
        self.error(key, format!("{} = {}: give {expected}", key.get_ref(), shown(written)))
    }
}

/// What was written, on one line and no longer than a line.
fn shown(text: &str) -> String {
    crate::model::one_line(text)
}
