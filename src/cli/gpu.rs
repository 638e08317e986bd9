//! The card that `--gpu` or `--memory` means.

use super::args::GpuArgs;
use super::error::CliError;
use crate::hardware::{self, Gpu};
use crate::plan::Room;

/// A card that was asked for.
pub(super) struct Card {
    /// What it is called, where it has a name.
    pub(super) gpu: Option<&'static Gpu>,
    pub(super) room: Room,
}

impl GpuArgs {
    /// The card.
    pub(super) fn card(&self) -> Result<Card, CliError> {
        let (gpu, room) = match (&self.gpu, self.memory) {
            (Some(name), _) => {
                let gpu = hardware::find(name)?;
                if !gpu.runs_cuda() {
                    return Err(CliError::Unmodelled(format!(
                        "{}: PyTorch's CUDA allocator is what is modelled, and it does not run there; --memory judges by size alone",
                        gpu.name
                    )));
                }
                (Some(gpu), Room::on(gpu))
            }
            (None, Some(memory)) => (None, Room::of(memory)),
            (None, None) => return Err(CliError::NoGpu),
        };
        Ok(Card { gpu, room: self.with_context(room) })
    }

    /// The room with the context that was asked for.
    pub(super) fn with_context(&self, room: Room) -> Room {
        match self.context {
            Some(context) => room.with_context(context),
            None => room,
        }
    }
}
