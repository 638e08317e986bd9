//! The cards that `--gpu`, `--gpus-from` or `--memory` mean.

use super::args::judging::GpuArgs;
use super::error::CliError;
use super::gpus;
use super::text::plain;
use crate::hardware::{self, Device, Gpu, Inventory, Origin};
use crate::plan::Room;

/// A card that was asked for.
pub(super) struct Card {
    /// What it is called, where it has a name.
    pub(super) name: Option<String>,
    /// The GPU of the catalogue it is.
    pub(super) gpu: Option<&'static Gpu>,
    pub(super) room: Room,
}

impl GpuArgs {
    /// The cards, one at least.
    pub(super) fn cards(&self) -> Result<Vec<Card>, CliError> {
        let mut cards = match (self.gpu.as_deref(), self.memory) {
            (Some("auto"), _) => installed(gpus::inventory(self.gpus_from.as_deref())?)?,
            (None, None) if self.gpus_from.is_some() => installed(gpus::inventory(self.gpus_from.as_deref())?)?,
            (Some(name), _) => vec![named(name)?],
            (None, Some(memory)) => vec![Card { name: None, gpu: None, room: Room::of(memory) }],
            (None, None) => return Err(CliError::NoGpu),
        };
        cards.iter_mut().for_each(|card| card.room = self.with_context(card.room));
        Ok(cards)
    }

    /// Of the cards the one with the most memory that nobody holds.
    pub(super) fn roomiest(&self) -> Result<Card, CliError> {
        self.cards()?.into_iter().max_by_key(|card| card.room.free()).ok_or(CliError::NoGpu)
    }

    /// The room with the context that was asked for.
    pub(super) fn with_context(&self, room: Room) -> Room {
        match self.context {
            Some(context) => room.with_context(context),
            None => room,
        }
    }
}

fn named(name: &str) -> Result<Card, CliError> {
    let gpu = hardware::find(name)?;
    if !gpu.runs_cuda() {
        return Err(CliError::Unmodelled(format!(
            "{}: PyTorch's CUDA allocator is what is modelled, and it does not run there; --memory judges by size alone",
            gpu.name
        )));
    }
    Ok(Card { name: Some(gpu.name.clone()), gpu: Some(gpu), room: Room::on(gpu) })
}

/// The devices of an inventory that a job could be put on.
fn installed(inventory: Inventory) -> Result<Vec<Card>, CliError> {
    let card = |device: &Device| {
        let room = Room::of_device(device)?;
        Some(Card { name: Some(label(device)), gpu: device.gpu, room })
    };
    let cards: Vec<Card> = inventory.usable().filter_map(card).collect();
    if cards.is_empty() {
        let problems = inventory.problem.iter().chain(inventory.devices.iter().filter_map(|d| d.problem.as_ref()));
        let why: Vec<String> = problems.map(|problem| plain(problem)).collect();
        let why = if why.is_empty() { String::new() } else { format!(" ({})", why.join("; ")) };
        let from = if inventory.origin == Origin::Nvml { "on this machine" } else { "in that list" };
        return Err(CliError::Unmodelled(format!(
            "no GPU was found {from}{why}; name one, such as --gpu rtx-4090, or give --memory"
        )));
    }
    Ok(cards)
}

/// A device by its place and name.
fn label(device: &Device) -> String {
    let name = plain(&device.name);
    let place = match (&device.node, device.index) {
        (Some(node), _) => format!(" on {}", plain(node)),
        (None, Some(index)) => format!(" #{index}"),
        (None, None) => String::new(),
    };
    format!("{name}{place}")
}
