//! Runs the command and watches what it takes.

use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::files::Case;

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) output: String,
    pub(crate) errors: String,
    /// Processor time where the system tells it, else time.
    pub(crate) seconds: f64,
    /// The largest resident size; zero where the system does not tell it.
    pub(crate) peak_kib: u64,
}

impl Ran {
    /// The start of what it said.
    pub(crate) fn shown(&self) -> String {
        let said = if self.errors.is_empty() { &self.output } else { &self.errors };
        said.lines().next().unwrap_or("nothing").chars().take(160).collect()
    }
}

pub(crate) fn run(case: &Case, folder: &Path) -> Ran {
    let path = folder.join(case.name);
    std::fs::write(&path, &case.contents).unwrap();
    if let Some(length) = case.length {
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().set_len(length).unwrap();
    }
    let arguments = case.command.iter().map(|word| if *word == "FILE" { path.to_str().unwrap() } else { word });
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_vramplan"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let read = |mut from: Box<dyn Read + Send>| {
        std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = from.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        })
    };
    let output = read(Box::new(child.stdout.take().unwrap()));
    let errors = read(Box::new(child.stderr.take().unwrap()));
    let proc = std::path::PathBuf::from(format!("/proc/{}", child.id()));
    let (mut peak_kib, mut nanoseconds) = (0, None);
    let status = loop {
        peak_kib = high_water(&proc).unwrap_or(0).max(peak_kib);
        nanoseconds = on_processor(&proc).or(nanoseconds);
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    let seconds = nanoseconds.map_or_else(|| began.elapsed(), Duration::from_nanos).as_secs_f64();
    Ran { code: status.code(), output: output.join().unwrap(), errors: errors.join().unwrap(), seconds, peak_kib }
}

fn high_water(proc: &Path) -> Option<u64> {
    let status = std::fs::read_to_string(proc.join("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

fn on_processor(proc: &Path) -> Option<u64> {
    std::fs::read_to_string(proc.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
}
