//! `nvidia-smi -q -x`.

use roxmltree::{Document, Node, ParsingOptions};

use super::{InventoryError, mib};
use crate::hardware::inventory::{Device, Inventory, Mig, Origin, Process};
use crate::units::Bytes;

/// Elements and texts of a file; a machine of 16 GPUs has about 20,000.
const MOST_NODES: u32 = 500_000;

/// Attributes of a file: a GPU has one, and the parser compares those of an element with one another.
const MOST_ATTRIBUTES: usize = 4096;

pub(super) fn read(text: &str) -> Result<Inventory, InventoryError> {
    // it names its DTD, and needs no entity of its own
    if text.contains("<!ENTITY") {
        return Err(InventoryError::Wrong("XML: it declares entities, which nvidia-smi does not".to_owned()));
    }
    let values = text.split('=').skip(1).filter(|after| after.trim_start().starts_with(['"', '\'']));
    if values.count() > MOST_ATTRIBUTES {
        return Err(InventoryError::Wrong(format!(
            "XML: more than {MOST_ATTRIBUTES} attributes; nvidia-smi prints few"
        )));
    }
    let options = ParsingOptions { allow_dtd: true, nodes_limit: MOST_NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options)?;
    let root = document.root_element();
    if !root.has_tag_name("nvidia_smi_log") {
        let name: String = root.tag_name().name().chars().take(40).collect();
        return Err(InventoryError::Wrong(format!(
            "XML: <{name}> is not what `nvidia-smi -q -x` prints, which is <nvidia_smi_log>"
        )));
    }
    let mut inventory = Inventory::of(Origin::NvidiaSmi);
    inventory.driver_version = said(root, "driver_version");
    for (index, gpu) in (0..).zip(children(root, "gpu")) {
        add(&mut inventory.devices, index, gpu);
    }
    if inventory.devices.is_empty() {
        inventory.problem = Some("nvidia-smi found no GPU".to_owned());
    }
    Ok(inventory)
}

/// Adds the GPU, and its slices behind it.
fn add(devices: &mut Vec<Device>, index: u32, element: Node<'_, '_>) {
    let mut gpu = Device::named(&said(element, "product_name").unwrap_or_default());
    gpu.index = Some(index);
    gpu.uuid = said(element, "uuid");
    gpu.ecc_enabled = child(element, "ecc_mode").and_then(|mode| enabled(mode, "current_ecc"));
    memory(&mut gpu, element);
    gpu.recognise();
    for process in child(element, "processes").into_iter().flat_map(|list| children(list, "process_info")) {
        if let Some(pid) = said(process, "pid").and_then(|pid| pid.parse().ok()) {
            gpu.processes.push(Process { pid, used: said(process, "used_memory").as_deref().and_then(size) });
        }
    }
    let cut = child(element, "mig_mode").and_then(|mode| enabled(mode, "current_mig")) == Some(true);
    let slices: Vec<Device> = child(element, "mig_devices")
        .into_iter()
        .flat_map(|list| children(list, "mig_device"))
        .map(|slice| sliced(&gpu, slice))
        .collect();
    if cut || !slices.is_empty() {
        gpu.mig = Mig::Parent;
    }
    devices.push(gpu);
    devices.extend(slices);
}

/// A slice; nvidia-smi does not name its profile.
fn sliced(gpu: &Device, element: Node<'_, '_>) -> Device {
    let place = said(element, "index").unwrap_or_else(|| "?".to_owned());
    let mut slice = Device::named(&format!("{} MIG {place}", gpu.name));
    slice.index = gpu.index;
    slice.uuid = said(element, "uuid");
    slice.mig = Mig::Slice { profile: None };
    slice.belongs_to(gpu);
    memory(&mut slice, element);
    slice
}

fn memory(device: &mut Device, element: Node<'_, '_>) {
    let Some(usage) = child(element, "fb_memory_usage") else {
        device.lacks("its memory: nvidia-smi does not print it");
        return;
    };
    let bytes = |name| said(usage, name).as_deref().and_then(size);
    device.total = bytes("total");
    device.reserved = bytes("reserved");
    device.used = bytes("used");
    device.free = bytes("free");
    if device.total.is_none() {
        let printed = child(usage, "total").and_then(|total| total.text()).unwrap_or("nothing").trim();
        // `Unknown Error`, `GPU is lost`, `N/A`
        device.lacks(&format!("its memory: nvidia-smi prints `{}`", printed.chars().take(60).collect::<String>()));
    }
}

/// `24564 MiB`
fn size(text: &str) -> Option<Bytes> {
    mib(text.strip_suffix("MiB")?)
}

fn enabled(element: Node<'_, '_>, name: &str) -> Option<bool> {
    match said(element, name)?.as_str() {
        "Enabled" => Some(true),
        "Disabled" => Some(false),
        _ => None,
    }
}

/// The text of a child that has one.
fn said(element: Node<'_, '_>, name: &str) -> Option<String> {
    let text = child(element, name)?.text()?.trim();
    (!text.is_empty() && text != "N/A").then(|| text.to_owned())
}

fn child<'a, 'input>(element: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    element.children().find(|child| child.has_tag_name(name))
}

fn children<'a, 'input>(element: Node<'a, 'input>, name: &str) -> impl Iterator<Item = Node<'a, 'input>> {
    element.children().filter(move |child| child.has_tag_name(name))
}
