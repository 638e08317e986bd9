//! The questions that the driver's library is asked.

use std::collections::BTreeMap;

use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device as Handle, Nvml};

use super::older;
use super::watch::Use;
use crate::hardware::inventory::{Device, Inventory, Mig, Process};
use crate::units::Bytes;

/// More GPUs of a machine, or slices of a GPU, than there are.
const MOST: u32 = 256;

/// What `nvmlDeviceGetMigMode` says of a GPU that is cut into slices.
const MIG_ON: u32 = 1;

/// Loads the library and fills in what there is; `None`: there is no driver to ask.
pub(super) fn open(inventory: &mut Inventory) -> Option<Nvml> {
    let nvml = match Nvml::init() {
        Ok(nvml) => nvml,
        Err(error) => {
            inventory.problem = Some(absent(&error));
            return None;
        }
    };
    list(&nvml, inventory);
    Some(nvml)
}

fn list(nvml: &Nvml, inventory: &mut Inventory) {
    inventory.driver_version = nvml.sys_driver_version().ok();
    let count = match nvml.device_count() {
        Ok(count) => count.min(MOST),
        Err(error) => {
            inventory.problem = Some(format!("the driver does not say how many GPUs there are: {}", why(&error)));
            return;
        }
    };
    if count == 0 {
        inventory.problem = Some("the driver runs and has no GPU".to_owned());
    }
    for index in 0..count {
        match nvml.device_by_index(index) {
            Ok(handle) => add(&mut inventory.devices, index, &handle),
            Err(error) => {
                let mut device = Device::named("");
                device.index = Some(index);
                device.lacks(&why(&error));
                inventory.devices.push(device);
            }
        }
    }
    older::fill(&mut inventory.devices);
}

/// What a GPU or a slice of an inventory says now.
pub(super) fn read(nvml: &Nvml, device: &Device) -> Use {
    let handle = match (&device.mig, device.index, device.uuid.as_deref()) {
        // nothing runs on it itself
        (Mig::Parent, ..) => return Use::default(),
        (Mig::Slice { .. }, _, Some(uuid)) => nvml.device_by_uuid(uuid),
        (Mig::Off, Some(index), _) => nvml.device_by_index(index),
        _ => Err(NvmlError::NotFound),
    };
    let mut now = Use::default();
    let handle = match handle {
        Ok(handle) => handle,
        Err(error) => {
            now.problem = Some(why(&error));
            return now;
        }
    };
    match handle.memory_info() {
        Ok(memory) => now.used = Some(Bytes(memory.used)),
        Err(error) => now.problem = Some(why(&error)),
    }
    match handle.running_compute_processes() {
        Ok(compute) => {
            now.processes = Some(processes(compute, handle.running_graphics_processes().unwrap_or_default()));
        }
        Err(error) if now.problem.is_none() => now.problem = Some(format!("its processes: {}", why(&error))),
        Err(_) => {}
    }
    now
}

/// Adds the GPU, and its slices behind it.
fn add(devices: &mut Vec<Device>, index: u32, handle: &Handle<'_>) {
    let mut gpu = asked(index, handle);
    gpu.recognise();
    // GPUs that cannot be cut say NotSupported, and old drivers cannot be asked
    let cut = handle.mig_mode().is_ok_and(|mode| mode.current == MIG_ON);
    if !cut {
        devices.push(gpu);
        return;
    }
    gpu.mig = Mig::Parent;
    let mut slices = Vec::new();
    match handle.mig_device_count() {
        // this is how many there can be, and places between them may be empty
        Ok(most) => {
            for place in 0..most.min(MOST) {
                match handle.mig_device_by_index(place) {
                    Ok(slice) => slices.push(sliced(&gpu, &slice)),
                    Err(NvmlError::NotFound | NvmlError::InvalidArg) => {}
                    Err(error) => gpu.lacks(&format!("slice {place}: {}", why(&error))),
                }
            }
        }
        Err(error) => gpu.lacks(&format!("its slices: {}", why(&error))),
    }
    devices.push(gpu);
    devices.append(&mut slices);
}

/// A slice of `gpu`.
fn sliced(gpu: &Device, handle: &Handle<'_>) -> Device {
    let mut slice = asked(gpu.index.unwrap_or_default(), handle);
    // `NVIDIA A100-SXM4-40GB MIG 3g.20gb`
    let profile = slice.name.rsplit_once(" MIG ").map(|(_, profile)| profile.to_owned());
    slice.mig = Mig::Slice { profile };
    slice.belongs_to(gpu);
    slice
}

/// What the driver says of a GPU or a slice; each question may fail by itself.
fn asked(index: u32, handle: &Handle<'_>) -> Device {
    let mut device = Device::named("");
    device.index = Some(index);
    match handle.name() {
        Ok(name) => device.name = name,
        // whoever does not give its name answers nothing else
        Err(error @ (NvmlError::GpuLost | NvmlError::ResetRequired)) => {
            device.lacks(&why(&error));
            return device;
        }
        Err(error) => device.lacks(&format!("its name: {}", why(&error))),
    }
    match handle.memory_info() {
        Ok(memory) => {
            device.total = Some(Bytes(memory.total));
            device.reserved = Some(Bytes(memory.reserved));
            device.used = Some(Bytes(memory.used));
            device.free = Some(Bytes(memory.free));
        }
        Err(NvmlError::FailedToLoadSymbol(_)) => device.lacks(older::MEMORY),
        Err(error) => device.lacks(&format!("its memory: {}", why(&error))),
    }
    device.uuid = handle.uuid().ok();
    device.ecc_enabled = handle.is_ecc_enabled().ok().map(|mode| mode.currently_enabled);
    device.compute_capability =
        handle.cuda_compute_capability().ok().map(|version| format!("{}.{}", version.major, version.minor));
    match handle.running_compute_processes() {
        Ok(compute) => device.processes = processes(compute, handle.running_graphics_processes().unwrap_or_default()),
        // as with its memory, for which there is another way
        Err(NvmlError::FailedToLoadSymbol(_)) if device.total.is_none() => {}
        Err(error) => device.lacks(&format!("its processes: {}", why(&error))),
    }
    device
}

/// Processes by number; one that computes and draws is in both lists.
fn processes(compute: Vec<ProcessInfo>, graphics: Vec<ProcessInfo>) -> Vec<Process> {
    let mut all = BTreeMap::new();
    for process in compute.into_iter().chain(graphics) {
        let used = match process.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(Bytes(bytes)),
            UsedGpuMemory::Unavailable => None,
        };
        let known = all.entry(process.pid).or_insert(used);
        *known = (*known).max(used);
    }
    all.into_iter().map(|(pid, used)| Process { pid, used }).collect()
}

/// Why there is nothing to ask.
fn absent(error: &NvmlError) -> String {
    match error {
        NvmlError::LibloadingError(_) => {
            format!("no NVIDIA driver: its library is not found ({})", loading(&error.to_string()))
        }
        NvmlError::DriverNotLoaded => "no NVIDIA driver: its library is there and it is not loaded".to_owned(),
        error => format!("the NVIDIA driver does not answer: {}", why(error)),
    }
}

/// An error, and what would mend it.
fn why(error: &NvmlError) -> String {
    match error {
        NvmlError::FailedToLoadSymbol(text) => format!("this driver cannot be asked ({})", loading(text)),
        NvmlError::GpuLost => "the GPU is lost: it fell off the bus; restart the machine".to_owned(),
        NvmlError::ResetRequired => "the GPU must be reset before it can be used again".to_owned(),
        NvmlError::NoPermission => "no permission to ask".to_owned(),
        NvmlError::NotSupported => "the driver does not tell for this GPU".to_owned(),
        NvmlError::LibRmVersionMismatch => {
            "the driver that runs and its library are of different versions; restart the machine".to_owned()
        }
        error => error.to_string(),
    }
}

/// What the loader said, without the words around it.
fn loading(text: &str) -> &str {
    text.rsplit_once("error occurred: ").map_or(text, |(_, said)| said)
}
