//! `kubectl get nodes -o json`: the labels of NVIDIA's GPU feature discovery, and what can be allocated.
//!
//! The labels are those of `internal/lm/resource.go` and `mig-strategy.go` in NVIDIA/k8s-device-plugin: `RESOURCE.product`,
//! `.memory` (MiB), `.count`, `.replicas`, `.sharing-strategy`, where `RESOURCE` is `nvidia.com/gpu` or, for slices under the
//! mixed strategy, `nvidia.com/mig-PROFILE`.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::{InventoryError, MOST_GPUS, mib};
use crate::hardware::catalogue::recognise;
use crate::hardware::inventory::{Device, Inventory, Mig, Origin};
use crate::units::Bytes;

/// What is NVIDIA's begins with this.
const OURS: &str = "nvidia.com/";
/// Whole GPUs, or slices where all are of one size.
const GPU: &str = "nvidia.com/gpu";
/// What slices of different sizes are called after.
const SLICE: &str = "nvidia.com/mig-";

/// A list of nodes, or one node.
#[derive(Deserialize)]
struct Nodes {
    #[serde(default)]
    kind: String,
    items: Option<Items>,
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

/// The devices of nodes, each looked at as it is read: a cluster's nodes are long, and little of them is asked for.
#[derive(Default)]
struct Items {
    nodes: usize,
    devices: Vec<Device>,
    /// Of nodes with GPUs and no labels that say which: the first one's name, and how many there are.
    unlabelled: Option<(String, usize)>,
}

#[derive(Deserialize)]
struct Node {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    labels: Ours,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    allocatable: Ours,
}

/// The entries of a map that are NVIDIA's.
#[derive(Default)]
struct Ours(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Ours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Ours;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names and texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ours, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if name.starts_with(OURS) {
                        entries.insert(name, map.next_value()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Ours(entries))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Items;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of nodes")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Items, A::Error> {
                let mut items = Items::default();
                while let Some(node) = list.next_element::<Node>()? {
                    items.add(&node).map_err(serde::de::Error::custom)?;
                }
                Ok(items)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl Items {
    fn add(&mut self, node: &Node) -> Result<(), InventoryError> {
        self.nodes += 1;
        let mut labelled = false;
        for resource in node.resources() {
            labelled = true;
            self.devices.extend(node.device(resource)?);
        }
        if !labelled && node.allocatable(GPU).is_some_and(|count| count > 0) {
            self.unlabelled.get_or_insert_with(|| (node.metadata.name.clone(), 0)).1 += 1;
        }
        Ok(())
    }
}

pub(super) fn read(text: &str) -> Result<Inventory, InventoryError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let nodes: Nodes =
        serde_path_to_error::deserialize(&mut json).map_err(|error| InventoryError::Json(error.to_string()))?;
    json.end().map_err(|error| InventoryError::Json(error.to_string()))?;
    let items = match nodes.items {
        Some(items) => items,
        None if nodes.kind == "Node" => {
            let mut items = Items::default();
            items.add(&Node { metadata: nodes.metadata, status: nodes.status })?;
            items
        }
        None => {
            let what = "it has no `items`; give the output of `kubectl get nodes -o json`";
            return Err(InventoryError::Json(what.to_owned()));
        }
    };
    let mut inventory = Inventory::of(Origin::Kubernetes);
    inventory.problem = match items.unlabelled {
        Some((first, count)) => Some(format!(
            "{count} nodes have GPUs and no labels that say which, {first} among them; GPU feature discovery sets them"
        )),
        None if items.devices.is_empty() => Some(format!("none of {} nodes offers an NVIDIA GPU", items.nodes)),
        None => None,
    };
    inventory.devices = items.devices;
    Ok(inventory)
}

impl Node {
    /// The kinds of GPU and slice that its labels tell of.
    fn resources(&self) -> impl Iterator<Item = &str> {
        // a profile has a dot itself: `nvidia.com/mig-1g.5gb.product`
        let named = self.metadata.labels.0.keys().filter_map(|label| label.strip_suffix(".product"));
        named.filter(|resource| *resource == GPU || resource.starts_with(SLICE))
    }

    /// What its labels say of a kind.
    fn device(&self, resource: &str) -> Result<Option<Device>, InventoryError> {
        let label = |name: &str| self.metadata.labels.0.get(&format!("{resource}.{name}")).map(String::as_str);
        let number = |name: &str| {
            let Some(text) = label(name) else { return Ok(None) };
            match text.parse::<u64>() {
                Ok(number) if number <= MOST_GPUS || name == "memory" => Ok(Some(number)),
                _ => Err(self.wrong(&format!("{resource}.{name}"), text, "give a whole number")),
            }
        };
        let product = label("product").unwrap_or_default();
        let name = product.strip_suffix("-SHARED").unwrap_or(product);
        let mut device = Device::named(name);
        device.node = Some(self.metadata.name.clone());
        let whole = match name.split_once("-MIG-") {
            Some((whole, profile)) => {
                // a node whose slices break the single strategy offers none
                if profile == "INVALID" {
                    device.lacks("its slices are not what the cluster's strategy for them asks for");
                }
                device.mig = Mig::Slice { profile: Some(profile.to_owned()) };
                whole
            }
            None => name,
        };
        device.shared_by = number("replicas")?.unwrap_or(1).max(1);
        let total = match number("memory")? {
            None | Some(0) => None,
            Some(_) => {
                let text = label("memory").unwrap_or_default();
                Some(mib(text).ok_or_else(|| self.wrong(&format!("{resource}.memory"), text, "give MiB"))?)
            }
        };
        // under MPS a pod's limit is its share, with time slicing each sees all of it
        let mps = label("sharing-strategy") == Some("mps");
        device.total = total.map(|total| if mps { Bytes(total.0 / device.shared_by) } else { total });
        // GPUs that are shared may be offered under a name of their own
        let pods = [self.allocatable(resource), self.allocatable(&format!("{resource}.shared"))];
        let pods = pods.into_iter().flatten().reduce(u64::saturating_add);
        let allocatable = pods.map(|pods| if mps { pods } else { pods / device.shared_by });
        device.count = match (number("count")?, allocatable) {
            (Some(count), Some(allocatable)) if !mps => count.min(allocatable),
            (_, Some(allocatable)) => allocatable,
            (Some(count), None) => count,
            (None, None) => 0,
        };
        if mps {
            device.shared_by = 1;
        }
        // the memory of a slice tells nothing of the whole one's
        let total = total.filter(|_| device.mig == Mig::Off);
        device.gpu = recognise(whole, total.unwrap_or_default());
        device.compute_capability = match (number("compute.major")?, number("compute.minor")?) {
            (Some(major), Some(minor)) => Some(format!("{major}.{minor}")),
            _ => device.gpu.and_then(|gpu| gpu.compute_capability.clone()),
        };
        if device.total.is_none() {
            // a label without memory is an old one: what is known of the GPU stands in for whole ones
            match (device.gpu, &device.mig) {
                (Some(gpu), Mig::Off) => device.total = Some(gpu.memory()),
                _ => device.lacks("its memory: its labels do not say"),
            }
        }
        // under the mixed strategy GPUs that are cut are in the count of whole ones, and cannot be allocated
        Ok((device.count > 0).then_some(device))
    }

    fn allocatable(&self, resource: &str) -> Option<u64> {
        self.status.allocatable.0.get(resource)?.parse().ok().filter(|count| *count <= MOST_GPUS)
    }

    fn wrong(&self, label: &str, value: &str, fix: &str) -> InventoryError {
        let value: String = value.chars().take(40).collect();
        InventoryError::Wrong(format!("node {}: label {label} is `{value}`: {fix}", self.metadata.name))
    }
}
