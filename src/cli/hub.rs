//! Models from the Hub, and a word to who waits for one.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use super::args::job::HubFlags;
use super::error::CliError;
use crate::hub::Hub;
use crate::model::Source;

/// What takes longer is announced.
const PATIENCE: Duration = Duration::from_secs(1);

/// The model of this name: from here, else from the Hub.
pub(super) fn find(name: &str, flags: &HubFlags) -> Result<Source, CliError> {
    let hub = Hub::from_process();
    let hub = if flags.offline { hub.offline("--offline is given") } else { hub };
    let notice = hub.host().map(|host| format!("asking {host} for {name} ..."));
    Ok(announced(notice, || Source::find_with(name, flags.revision.as_deref(), &hub))?)
}

/// Does `work`; where it takes long and somebody watches, `notice` says so.
pub(super) fn announced<T>(notice: Option<String>, work: impl FnOnce() -> T) -> T {
    let Some(notice) = notice.filter(|_| std::io::stderr().is_terminal()) else {
        return work();
    };
    let (done, waiting) = mpsc::channel::<()>();
    let watcher = std::thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // A terminal that is gone has nobody to tell.
            let _ = writeln!(anstream::stderr(), "{}", super::text::plain(&notice));
        }
    });
    let result = work();
    drop(done);
    // The watcher cannot fail but by printing.
    let _ = watcher.join();
    result
}
