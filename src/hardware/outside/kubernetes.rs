//! `kubectl get nodes -o json`: the labels of NVIDIA's GPU feature discovery, and what can be allocated.
//!
//! The labels are those of `internal/lm/resource.go` and `mig-strategy.go` in NVIDIA/k8s-device-plugin: `RESOURCE.product`,
//! `.memory` (MiB), `.count`, `.replicas`, `.sharing-strategy`, where `RESOURCE` is `nvidia.com/gpu` or, for slices under the
//! mixed strategy, `nvidia.com/mig-PROFILE`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{InventoryError, MOST_GPUS, mib};
use crate::hardware::inventory::{Device, Inventory, Mig, Origin};
use crate::units::Bytes;

/// Whole GPUs, or slices where all are of one size.
const GPU: &str = "nvidia.com/gpu";
/// What slices of different sizes are called after.
const SLICE: &str = "nvidia.com/mig-";

/// A list of nodes, or one node.
#[derive(Deserialize)]
struct Nodes {
    #[serde(default)]
    kind: String,
    items: Option<Vec<Node>>,
    metadata: Option<Metadata>,
    #[serde(default)]
    status: Status,
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
    labels: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    allocatable: BTreeMap<String, serde_json::Value>,
}

pub(super) fn read(text: &str) -> Result<Inventory, InventoryError> {
    let mut json = serde_json::Deserializer::from_str(text);
    let nodes: Nodes =
        serde_path_to_error::deserialize(&mut json).map_err(|error| InventoryError::Json(error.to_string()))?;
    json.end().map_err(|error| InventoryError::Json(error.to_string()))?;
    let items = match (nodes.items, nodes.metadata) {
        (Some(items), _) => items,
        (None, Some(metadata)) if nodes.kind == "Node" => vec![Node { metadata, status: nodes.status }],
        _ => {
            let what = "JSON: it has no `items`; give the output of `kubectl get nodes -o json`";
            return Err(InventoryError::Wrong(what.to_owned()));
        }
    };
    let mut inventory = Inventory::of(Origin::Kubernetes);
    let mut unlabelled = Vec::new();
    for node in &items {
        let before = inventory.devices.len();
        for resource in node.resources() {
            inventory.devices.extend(node.device(resource)?);
        }
        if inventory.devices.len() == before && node.allocatable(GPU).is_some_and(|count| count > 0) {
            unlabelled.push(node.metadata.name.as_str());
        }
    }
    if let Some(first) = unlabelled.first() {
        inventory.problem = Some(format!(
            "{} nodes have GPUs and no labels that say which, {first} among them; GPU feature discovery sets them",
            unlabelled.len()
        ));
    } else if inventory.devices.is_empty() {
        inventory.problem = Some(format!("none of {} nodes has an NVIDIA GPU", items.len()));
    }
    Ok(inventory)
}

impl Node {
    /// The kinds of GPU and slice that its labels tell of.
    fn resources(&self) -> impl Iterator<Item = &str> {
        // a profile has a dot itself: `nvidia.com/mig-1g.5gb.product`
        let named = self.metadata.labels.keys().filter_map(|label| label.strip_suffix(".product"));
        named.filter(|resource| *resource == GPU || resource.starts_with(SLICE))
    }

    /// What its labels say of a kind.
    fn device(&self, resource: &str) -> Result<Option<Device>, InventoryError> {
        let label = |name: &str| self.metadata.labels.get(&format!("{resource}.{name}")).map(String::as_str);
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
        let reported = Device { name: whole.to_owned(), total, ..Device::named(whole) };
        device.gpu = recognised(reported, &device.mig);
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
        match self.status.allocatable.get(resource)? {
            serde_json::Value::String(text) => text.parse().ok(),
            value => value.as_u64(),
        }
        .filter(|count| *count <= MOST_GPUS)
    }

    fn wrong(&self, label: &str, value: &str, fix: &str) -> InventoryError {
        let value: String = value.chars().take(40).collect();
        InventoryError::Wrong(format!("node {}: label {label} is `{value}`: {fix}", self.metadata.name))
    }
}

/// The GPU of the catalogue; the memory of a slice tells nothing of the whole one's.
fn recognised(mut device: Device, mig: &Mig) -> Option<&'static crate::hardware::Gpu> {
    if *mig != Mig::Off {
        device.total = None;
    }
    device.recognise();
    device.gpu
}
