//! Drivers older than 510: their library has only the first form of the question for memory, which the wrapper around it does
//! not ask. nvidia-smi comes with the driver and asks it.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::hardware::inventory::{Device, Inventory, Mig};
use crate::hardware::outside::MOST_BYTES;

/// What a GPU lacks whose driver is that old.
pub(super) const MEMORY: &str = "its memory: this driver is older than 510, and nvidia-smi does not say either";

/// Fills in what such GPUs lack, as far as nvidia-smi says it. It counts what the driver keeps as used.
pub(super) fn fill(devices: &mut [Device]) {
    let lacks = |device: &Device| device.problem.as_deref() == Some(MEMORY);
    if !devices.iter().any(lacks) {
        return;
    }
    let Some(printed) = printed() else { return };
    for device in devices.iter_mut().filter(|device| lacks(device)) {
        let same = |other: &&Device| other.uuid.is_some() && other.uuid == device.uuid && other.total.is_some();
        if let Some(other) = printed.devices.iter().find(same) {
            device.total = other.total;
            device.reserved = other.reserved;
            device.used = other.used;
            device.free = other.free;
            device.processes.clone_from(&other.processes);
            device.problem = None;
            if device.mig == Mig::Off {
                device.recognise();
            }
        }
    }
}

/// What nvidia-smi prints, where there is one.
fn printed() -> Option<Inventory> {
    let mut command = Command::new("nvidia-smi");
    command.args(["-q", "-x"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let mut text = String::new();
    let read = child.stdout.take()?.take(MOST_BYTES).read_to_string(&mut text);
    child.wait().ok()?;
    read.ok()?;
    Inventory::from_text(&text).ok()
}
