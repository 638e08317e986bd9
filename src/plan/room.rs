//! What a card has for a job.

use schemars::JsonSchema;
use serde::Serialize;

use crate::hardware::{CUDA_CONTEXT, Device, Gpu, compute_capability, most_kept_by_driver};
use crate::job::{Job, Workload};
use crate::serve::CardSize;
use crate::units::Bytes;

/// What PyTorch gives cuBLAS more on compute capability 9.0 than on 8.0 for the forward's thread and the backward's: 32 MiB
/// a workspace instead of 8.125 (`getChosenWorkspaceSize`, `aten/src/ATen/cuda/CublasHandlePool.cpp`).
const MORE_WORKSPACE: Bytes = Bytes((32 << 20) - (8 << 20) - (128 << 10));

/// The card with the least and the card with the most context of those it was measured on, apart: 481 MiB is taken, up to
/// 712 MiB were seen (B200, torch 2.10).
const CONTEXT_UNSURE: Bytes = Bytes::from_mib(712 - 481);

/// The memory of a card, and what of it a job cannot have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Room {
    /// All of it, as the driver reports it.
    pub memory_bytes: Bytes,
    /// What the driver keeps from every process.
    pub driver_bytes: Bytes,
    /// What other processes hold.
    pub in_use_bytes: Bytes,
    /// What the job's own process holds before PyTorch allocates: the CUDA context and its kernels.
    pub context_bytes: Bytes,
    /// How much more the context may take than is set aside; zero where somebody has said what it takes.
    pub context_unsure_bytes: Bytes,
    /// Whether kernels choose as on the cards that runs are recorded for: not below compute capability 8.0, which has no
    /// flash attention and no bf16 of its own. Margins are wide where they do not.
    pub kernels_known: bool,
    /// What libraries take on this card beyond what they take on the cards that runs are recorded for, for each thread.
    pub workspace_bytes: Bytes,
    /// What engines take for their defaults.
    #[serde(skip)]
    pub size: CardSize,
    /// Its compute capability, where it is known.
    #[serde(skip)]
    pub compute_capability: Option<(u32, u32)>,
}

impl Room {
    /// A card of which a process may have `memory`, with the usual CUDA context.
    ///
    /// ```
    /// use vramplan::{Bytes, plan::Room};
    ///
    /// assert_eq!(Room::of(Bytes::from_gib(24)).with_context(Bytes::from_gib(1)).memory_bytes, Bytes::from_gib(24));
    /// ```
    pub const fn of(memory: Bytes) -> Self {
        Self {
            memory_bytes: memory,
            driver_bytes: Bytes::ZERO,
            in_use_bytes: Bytes::ZERO,
            context_bytes: CUDA_CONTEXT,
            context_unsure_bytes: CONTEXT_UNSURE,
            kernels_known: true,
            workspace_bytes: Bytes::ZERO,
            size: CardSize::of(memory),
            compute_capability: None,
        }
    }

    /// The whole of a GPU.
    ///
    /// ```
    /// use vramplan::{hardware, plan::Room};
    ///
    /// let room = Room::on(hardware::find("rtx-4090")?);
    /// // nvidia-smi says 24,564 MiB, torch 23.65 GiB
    /// assert_eq!(room.memory_bytes.0 - room.driver_bytes.0, 24_217 << 20);
    /// # Ok::<(), hardware::GpuError>(())
    /// ```
    pub fn on(gpu: &Gpu) -> Self {
        let compute_capability = gpu.compute_capability();
        let kernels_known = compute_capability.is_some_and(|capability| capability >= (8, 0));
        let size = if gpu.slug.starts_with("a100") { CardSize::Small } else { CardSize::of(gpu.memory()) };
        let driver_bytes = gpu.kept_by_driver();
        let room = Self { driver_bytes, kernels_known, size, compute_capability, ..Self::of(gpu.memory()) };
        if compute_capability >= Some((9, 0)) { room.with_larger_workspaces() } else { room }
    }

    /// What of an installed GPU, or of a slice of one, nobody holds; `None`: its memory is not known.
    pub fn of_device(device: &Device) -> Option<Self> {
        let memory = device.total.filter(|total| *total > Bytes::ZERO)?;
        let mut room = device.gpu.map_or_else(|| Self::of(memory), Self::on);
        room.memory_bytes = memory;
        room.driver_bytes = device.reserved.unwrap_or_else(|| match device.gpu {
            Some(gpu) => Bytes(gpu.kept_by_driver().0.min(memory.0)),
            None => most_kept_by_driver(memory),
        });
        room.in_use_bytes = device.used.unwrap_or_default();
        let capability = device.compute_capability.as_deref().and_then(compute_capability);
        room.kernels_known = capability.is_some_and(|capability| capability >= (8, 0));
        room.compute_capability = capability;
        Some(room)
    }

    /// The same with a context of known size.
    #[must_use]
    pub const fn with_context(self, context: Bytes) -> Self {
        Self { context_bytes: context, context_unsure_bytes: Bytes::ZERO, ..self }
    }

    /// The same on a card of compute capability 9.0 or above, where libraries' workspaces are larger.
    #[must_use]
    pub const fn with_larger_workspaces(self) -> Self {
        Self { workspace_bytes: MORE_WORKSPACE, ..self }
    }

    /// What the driver lets anybody have.
    pub fn usable(&self) -> Bytes {
        self.memory_bytes.saturating_sub(self.driver_bytes)
    }

    /// What a new process can have.
    pub fn free(&self) -> Bytes {
        self.usable().saturating_sub(self.in_use_bytes)
    }

    /// What the allocator can have for `job`.
    pub fn capacity(&self, job: &Job) -> Bytes {
        self.free().saturating_sub(self.beside(job))
    }

    /// What the job's process takes beside its allocator's segments.
    pub(crate) fn beside(&self, job: &Job) -> Bytes {
        let threads = match job.workload {
            Workload::Train(_) => 2,
            Workload::Infer(_) => 1,
            // engines' figures have it
            Workload::Serve(_) => 0,
        };
        self.context_bytes + Bytes(self.workspace_bytes.0.saturating_mul(threads))
    }
}
