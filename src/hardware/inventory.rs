//! What is installed: GPUs that a driver, a cluster or a file tells of.

use schemars::JsonSchema;
use serde::Serialize;

use super::catalogue::{Gpu, recognise};
use crate::units::Bytes;

/// GPUs that somebody has.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Inventory {
    /// Who tells of them.
    pub origin: Origin,
    /// Version of the driver, where it is known.
    pub driver_version: Option<String>,
    /// The GPUs, and slices of GPUs.
    pub devices: Vec<Device>,
    /// Why nothing, or not all, could be found out.
    pub problem: Option<String>,
}

/// Who tells of GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// The driver of this machine, through NVML.
    Nvml,
    /// The output of `nvidia-smi -q -x`.
    NvidiaSmi,
    /// The output of `kubectl get nodes -o json`, with the labels of GPU feature discovery.
    Kubernetes,
    /// A list that somebody wrote.
    List,
}

/// A GPU or a slice of one, or several that are alike.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Device {
    /// What its driver or its owner calls it; empty where it does not answer.
    pub name: String,
    /// Its place in the order that the driver has, from 0; a slice has its GPU's.
    pub index: Option<u32>,
    /// What the driver knows it by for good.
    pub uuid: Option<String>,
    /// The machine it is in.
    pub node: Option<String>,
    /// How many there are of it.
    pub count: u64,
    /// All of its memory, as the driver reports it.
    #[serde(rename = "total_bytes")]
    pub total: Option<Bytes>,
    /// What the driver keeps for itself of `total`, apart from `used`; `None`: it does not say, and `used` may have it.
    #[serde(rename = "reserved_bytes")]
    pub reserved: Option<Bytes>,
    /// What processes hold.
    #[serde(rename = "used_bytes")]
    pub used: Option<Bytes>,
    /// What nobody holds.
    #[serde(rename = "free_bytes")]
    pub free: Option<Bytes>,
    /// Pods that may be put on it at the same time, each with all of `total`; 1 where it is not shared.
    pub shared_by: u64,
    /// Whether ECC is on.
    pub ecc_enabled: Option<bool>,
    /// CUDA's compute capability, such as `8.9`.
    pub compute_capability: Option<String>,
    /// Whether and how it is cut into slices.
    pub mig: Mig,
    /// Processes that are on it, where the driver tells.
    pub processes: Vec<Process>,
    /// The GPU of the catalogue it is, of a slice the whole one.
    #[serde(serialize_with = "slug")]
    #[schemars(with = "Option<String>")]
    pub gpu: Option<&'static Gpu>,
    /// What could not be found out of it, and why.
    pub problem: Option<String>,
}

/// NVIDIA's Multi-Instance GPU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Mig {
    /// It is a whole GPU.
    #[default]
    Off,
    /// It is a GPU that is cut into slices, or could be: nothing runs on it itself.
    Parent,
    /// It is a slice.
    Slice {
        /// Its size, such as `3g.20gb`, where it is known.
        profile: Option<String>,
    },
}

/// A process on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[non_exhaustive]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// What it holds; `None`: the driver does not say.
    #[serde(rename = "used_bytes")]
    pub used: Option<Bytes>,
}

fn slug<S: serde::Serializer>(gpu: &Option<&'static Gpu>, serializer: S) -> Result<S::Ok, S::Error> {
    gpu.map(|gpu| gpu.slug.as_str()).serialize(serializer)
}

impl Inventory {
    /// One with nothing in it yet.
    pub(super) const fn of(origin: Origin) -> Self {
        Self { origin, driver_version: None, devices: Vec::new(), problem: None }
    }

    /// Those that a job could be put on: whole GPUs and slices whose memory is known.
    pub fn usable(&self) -> impl Iterator<Item = &Device> {
        self.devices.iter().filter(|device| device.is_usable())
    }
}

impl Device {
    /// One that is called `name`, of which nothing else is known.
    pub(super) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), count: 1, shared_by: 1, ..Self::default() }
    }

    /// Whether a job could be put on it: its memory is known, and it is not cut into slices.
    pub fn is_usable(&self) -> bool {
        self.count > 0 && self.mig != Mig::Parent && self.total.is_some_and(|total| total > Bytes::ZERO)
    }

    /// Looks a whole GPU up in the catalogue by its name and memory.
    pub(super) fn recognise(&mut self) {
        self.gpu = recognise(&self.name, self.total.unwrap_or_default());
        if self.compute_capability.is_none() {
            self.compute_capability = self.gpu.and_then(|gpu| gpu.compute_capability.clone());
        }
    }

    /// Takes from the whole GPU what a slice has of it.
    pub(super) fn belongs_to(&mut self, whole: &Self) {
        self.gpu = whole.gpu;
        self.ecc_enabled = whole.ecc_enabled;
        self.compute_capability.clone_from(&whole.compute_capability);
    }

    /// Notes something that could not be found out, beside what else could not.
    pub(super) fn lacks(&mut self, why: &str) {
        match &mut self.problem {
            Some(problem) => {
                problem.push_str("; ");
                problem.push_str(why);
            }
            None => self.problem = Some(why.to_owned()),
        }
    }
}
