//! A list of GPUs that somebody wrote, in TOML.

use serde::Deserialize;

use super::{InventoryError, MOST_GPUS};
use crate::hardware::catalogue::find;
use crate::hardware::inventory::{Device, Inventory, Origin};
use crate::units::Bytes;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    gpu: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    count: Option<u64>,
    memory: Option<Size>,
    used: Option<Size>,
    node: Option<String>,
}

/// `"24GiB"`, or bytes.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Size {
    Bytes(u64),
    Text(String),
}

/// Longer lists are no one's own.
const MOST_BYTES: usize = 256 << 10;

pub(super) fn read(text: &str) -> Result<Inventory, InventoryError> {
    if text.len() > MOST_BYTES {
        return Err(InventoryError::Toml(format!("larger than {} KiB; is it a list of GPUs?", MOST_BYTES >> 10)));
    }
    let list: List = toml::from_str(text).map_err(|error| InventoryError::Toml(one_line(text, &error)))?;
    let mut inventory = Inventory::of(Origin::List);
    for (place, entry) in list.gpu.into_iter().enumerate() {
        let device = entry.device().map_err(|why| InventoryError::Wrong(format!("gpu[{place}].{why}")))?;
        inventory.devices.push(device);
    }
    if inventory.devices.is_empty() {
        inventory.problem = Some("the list has no GPU".to_owned());
    }
    Ok(inventory)
}

impl Entry {
    fn device(self) -> Result<Device, String> {
        let mut device = Device::named(&self.name);
        device.node = self.node;
        device.count = match self.count {
            None => 1,
            Some(count) if (1..=MOST_GPUS).contains(&count) => count,
            Some(count) => return Err(format!("count = {count}: give a number from 1 to {MOST_GPUS}")),
        };
        let memory = self.memory.map(|size| size.bytes("memory")).transpose()?;
        match (find(&self.name), memory) {
            (Ok(gpu), _) => {
                device.gpu = Some(gpu);
                device.compute_capability.clone_from(&gpu.compute_capability);
                device.total = Some(memory.unwrap_or_else(|| gpu.memory()));
            }
            // of GPUs with one name the memory may tell
            (Err(_), Some(memory)) => {
                device.total = Some(memory);
                device.recognise();
            }
            (Err(error), None) => return Err(format!("name: {error}; or give its memory")),
        }
        let total = device.total.unwrap_or_default();
        if total == Bytes::ZERO {
            return Err("memory = 0: give its size, such as \"24GiB\"".to_owned());
        }
        let used = self.used.map_or(Ok(Bytes::ZERO), |size| size.bytes("used"))?;
        if used > total {
            return Err(format!("used = {used}: it has {total}"));
        }
        device.used = Some(used);
        device.free = Some(total.saturating_sub(used));
        Ok(device)
    }
}

impl Size {
    fn bytes(&self, field: &str) -> Result<Bytes, String> {
        match self {
            Self::Bytes(bytes) => Ok(Bytes(*bytes)),
            Self::Text(text) => {
                text.parse().map_err(|error: crate::units::ParseBytesError| format!("{field}: {error}"))
            }
        }
    }
}

/// What is wrong, and where.
fn one_line(text: &str, error: &toml::de::Error) -> String {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.matches('\n').count() + 1);
    let message = error.message().lines().next().unwrap_or_default();
    let place = line.map_or_else(String::new, |line| format!("line {line}: "));
    format!(
        "{place}{message}; a list of GPUs is written [[gpu]] name = \"rtx-4090\", and may have count, memory, used, node"
    )
}
