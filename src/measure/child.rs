//! The command itself: its streams, its end and its signals are its own.

use std::ffi::OsString;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::Sender;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Event;
#[cfg(unix)]
use super::signals::Signals;
use super::tree::MARK;

pub(super) struct Child {
    process: std::process::Child,
    mark: String,
    #[cfg(unix)]
    _signals: Signals,
}

impl Child {
    /// Starts the command; signals to this process are told of from just before.
    pub(super) fn start(command: &[OsString], events: Sender<Event>) -> std::io::Result<Self> {
        #[cfg(unix)]
        let signals = Signals::watch(events)?;
        #[cfg(not(unix))]
        drop(events);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mark = format!("{}-{}", std::process::id(), now.as_nanos());
        let [program, arguments @ ..] = command else {
            return Err(std::io::Error::new(std::io::ErrorKind::NotFound, "no command"));
        };
        let process = Command::new(program).args(arguments).env(MARK, &mark).spawn()?;
        Ok(Self {
            process,
            mark,
            #[cfg(unix)]
            _signals: signals,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// What its environment has under [`MARK`].
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> std::io::Result<Option<ExitStatus>> {
        self.process.try_wait()
    }

    /// Hands a signal on; it has not been waited for, so its number is still its own.
    #[cfg(unix)]
    pub(super) fn signal(&self, number: i32) {
        if let Some(signal) = rustix::process::Signal::from_named_raw(number) {
            // one that has ended needs it no more
            let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.process), signal);
        }
    }

    #[cfg(not(unix))]
    pub(super) fn signal(&self, _: i32) {}
}
