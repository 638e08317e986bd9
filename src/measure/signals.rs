//! Signals to this process, which are meant for the command.

use std::sync::mpsc::Sender;
use std::thread;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithRawSiginfo;
use signal_hook::iterator::{Handle, SignalsInfo};

use super::Event;

/// Those that would end this process.
const HANDED_ON: [i32; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// Those that a terminal sends to all of a pipeline.
const OF_A_TERMINAL: [i32; 3] = [SIGHUP, SIGINT, SIGQUIT];

/// Signals are told of as long as this is kept.
pub(super) struct Signals(Handle);

impl Signals {
    /// From now on signals are events, and end nothing.
    pub(super) fn watch(events: Sender<Event>) -> std::io::Result<Self> {
        let ignored = ignored();
        // what is ignored, as after nohup, the command is to ignore too: a handler would not be handed down
        let wanted = HANDED_ON.iter().copied().filter(|number| ignored >> (number - 1) & 1 == 0);
        let mut signals = SignalsInfo::<WithRawSiginfo>::new(wanted.chain([SIGCHLD]))?;
        let handle = signals.handle();
        thread::spawn(move || {
            for info in &mut signals.forever() {
                let number = info.si_signo;
                // the command is at the terminal as this process is
                let has_it = OF_A_TERMINAL.contains(&number) && from_terminal(info.si_code);
                let event = if has_it || number == SIGCHLD { Event::Woken } else { Event::Signal(number) };
                if events.send(event).is_err() {
                    return;
                }
            }
        });
        Ok(Self(handle))
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Linux says who sent a signal: above 0 it was the kernel. Elsewhere a terminal is taken to have, where there is one.
fn from_terminal(code: i32) -> bool {
    use std::io::IsTerminal;
    if cfg!(target_os = "linux") { code > 0 } else { std::io::stdin().is_terminal() }
}

/// The signals that this process was started to ignore, a bit each.
fn ignored() -> u64 {
    #[cfg(target_os = "linux")]
    {
        let status = procfs::process::Process::myself().and_then(|process| process.status());
        status.map_or(0, |status| status.sigign)
    }
    #[cfg(not(target_os = "linux"))]
    0
}
