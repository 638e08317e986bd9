//! A stand-in for NVIDIA's library `libnvidia-ml.so.1`, with the calls that are made of it and GPUs that behave badly.
//!
//! Compiled by `tests/gpus.rs` as a C library; `STAND_IN` says what kind of machine it plays:
//! `cards` (the list below), `none` (no GPU), `not-loaded`, `mismatch` and `count-denied` (errors), `many` (a count and a
//! number of processes that cannot be). With `--cfg old` it lacks the calls that came with driver 510.
//!
//! `STAND_IN=script` plays three cards whose processes are in the file of `STAND_IN_SCRIPT`, read at every question, a line each:
//! `CARD pid PID MIB` (or `-` for what the driver does not say), `CARD used MIB`, `CARD lost`, `hangs`. What is used of a
//! card is what its lines say together. The file may not be there.
#![allow(non_snake_case)]

use std::ffi::{c_char, c_int, c_uint, c_void};

type Handle = *mut c_void;

const SUCCESS: c_int = 0;
const INVALID_ARGUMENT: c_int = 2;
const NOT_SUPPORTED: c_int = 3;
const NO_PERMISSION: c_int = 4;
const NOT_FOUND: c_int = 6;
const INSUFFICIENT_SIZE: c_int = 7;
const DRIVER_NOT_LOADED: c_int = 9;
const GPU_IS_LOST: c_int = 15;
const LIB_RM_VERSION_MISMATCH: c_int = 18;

const MIB: u64 = 1 << 20;
const UNAVAILABLE: u64 = u64::MAX;

struct Card {
    name: &'static str,
    uuid: &'static str,
    /// total, reserved, used, in MiB
    memory: Result<[u64; 3], c_int>,
    capability: (c_int, c_int),
    ecc: Option<bool>,
    processes: Result<&'static [(c_uint, u64)], c_int>,
    /// Where its slices are.
    slices: &'static [Option<usize>],
}

const PLAIN: Card = Card {
    name: "NVIDIA GeForce RTX 4090",
    uuid: "GPU-0",
    memory: Ok([24_564, 347, 0]),
    capability: (8, 9),
    ecc: None,
    processes: Ok(&[]),
    slices: &[],
};

const CARDS: [Card; 7] = [
    Card { memory: Ok([24_564, 347, 3072]), processes: Ok(&[(4242, 2900 * MIB), (77, UNAVAILABLE)]), ..PLAIN },
    // full
    Card { uuid: "GPU-1", memory: Ok([24_564, 347, 24_217]), processes: Ok(&[(1, 24_000 * MIB)]), ..PLAIN },
    // lost: there is a handle, and nothing is answered
    Card { memory: Err(GPU_IS_LOST), processes: Err(GPU_IS_LOST), ..PLAIN },
    // lost: there is no handle
    PLAIN,
    Card {
        name: "NVIDIA A100-SXM4-40GB",
        uuid: "GPU-4",
        memory: Ok([40_960, 621, 25]),
        capability: (8, 0),
        ecc: Some(true),
        // two slices and a place without one
        slices: &[Some(0), None, Some(1)],
        ..PLAIN
    },
    Card {
        name: "NVIDIA H100 80GB HBM3",
        uuid: "GPU-5",
        memory: Ok([81_559, 551, 4]),
        capability: (9, 0),
        ecc: Some(true),
        processes: Err(NO_PERMISSION),
        ..PLAIN
    },
    Card { name: "NVIDIA GB10", uuid: "GPU-6", memory: Err(NOT_SUPPORTED), capability: (12, 1), ..PLAIN },
];

const SLICES: [Card; 2] = [
    Card {
        name: "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
        uuid: "MIG-0",
        memory: Ok([20_096, 0, 12]),
        capability: (8, 0),
        ..PLAIN
    },
    Card {
        name: "NVIDIA A100-SXM4-40GB MIG 1g.5gb",
        uuid: "MIG-1",
        memory: Ok([4864, 0, 4000]),
        capability: (8, 0),
        ..PLAIN
    },
];

/// What the script says of a card now.
#[derive(Default)]
struct Scene {
    used: u64,
    processes: Vec<(c_uint, u64)>,
    lost: bool,
}

/// The scene, for as long as nothing else is played.
fn scene(handle: Handle) -> Option<Scene> {
    if !plays("script") {
        return None;
    }
    let mut scene = Scene::default();
    let text = std::env::var("STAND_IN_SCRIPT").ok().and_then(|path| std::fs::read_to_string(path).ok());
    for line in text.unwrap_or_default().lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        if words == ["hangs"] {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
        let mine = words.first().and_then(|word| word.parse().ok()) == Some((handle as usize).wrapping_sub(1));
        match words.get(1..) {
            Some(["pid", pid, mib]) if mine => {
                let bytes = mib.parse::<u64>().map_or(UNAVAILABLE, |mib| mib * MIB);
                scene.used += mib.parse::<u64>().unwrap_or(0);
                scene.processes.extend(pid.parse().map(|pid| (pid, bytes)));
            }
            Some(["used", mib]) if mine => scene.used += mib.parse::<u64>().unwrap_or(0),
            Some(["lost"]) if mine => scene.lost = true,
            _ => {}
        }
    }
    Some(scene)
}

fn memory(handle: Handle) -> Result<[u64; 3], c_int> {
    match scene(handle) {
        Some(Scene { lost: true, .. }) => Err(GPU_IS_LOST),
        Some(scene) => Ok([24_564, 347, scene.used]),
        None => card(handle).and_then(|card| card.memory),
    }
}

fn processes(handle: Handle) -> Result<Vec<(c_uint, u64)>, c_int> {
    match scene(handle) {
        Some(Scene { lost: true, .. }) => Err(GPU_IS_LOST),
        Some(scene) => Ok(scene.processes),
        None => card(handle).and_then(|card| card.processes).map(<[_]>::to_vec),
    }
}

/// Handles of slices are above those of cards.
const FIRST_SLICE: usize = 1000;
const LOST: [usize; 2] = [2, 3];

fn plays(kind: &str) -> bool {
    std::env::var("STAND_IN").is_ok_and(|played| played == kind)
}

fn card(handle: Handle) -> Result<&'static Card, c_int> {
    let index = (handle as usize).wrapping_sub(1);
    if plays("script") {
        return Ok(&PLAIN);
    }
    if LOST.contains(&index) {
        return Err(GPU_IS_LOST);
    }
    if plays("many") {
        return Ok(&CARDS[0]);
    }
    CARDS.get(index).or_else(|| SLICES.get(index.wrapping_sub(FIRST_SLICE))).ok_or(INVALID_ARGUMENT)
}

fn code(result: Result<(), c_int>) -> c_int {
    result.err().unwrap_or(SUCCESS)
}

unsafe fn put(text: &str, to: *mut c_char, length: c_uint) -> Result<(), c_int> {
    if text.len() >= length as usize {
        return Err(INSUFFICIENT_SIZE);
    }
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr().cast(), to, text.len());
        *to.add(text.len()) = 0;
    }
    Ok(())
}

#[no_mangle]
pub extern "C" fn nvmlInit_v2() -> c_int {
    match () {
        () if plays("not-loaded") => DRIVER_NOT_LOADED,
        () if plays("mismatch") => LIB_RM_VERSION_MISMATCH,
        () if plays("hangs") => {
            std::thread::sleep(std::time::Duration::from_secs(3600));
            SUCCESS
        }
        () => SUCCESS,
    }
}

#[no_mangle]
pub extern "C" fn nvmlShutdown() -> c_int {
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn nvmlSystemGetDriverVersion(to: *mut c_char, length: c_uint) -> c_int {
    code(unsafe { put("570.86.15", to, length) })
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetCount_v2(count: *mut c_uint) -> c_int {
    if plays("count-denied") {
        return NO_PERMISSION;
    }
    let cards = match () {
        () if plays("none") => 0,
        () if plays("many") => c_uint::MAX,
        () if plays("script") => 3,
        () => CARDS.len() as c_uint,
    };
    unsafe { *count = cards };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetHandleByIndex_v2(index: c_uint, handle: *mut Handle) -> c_int {
    if index == 3 {
        return GPU_IS_LOST;
    }
    unsafe { *handle = (index as usize + 1) as Handle };
    SUCCESS
}

/// Slices are asked for by name.
#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, handle: *mut Handle) -> c_int {
    let uuid = unsafe { std::ffi::CStr::from_ptr(uuid) };
    match SLICES.iter().position(|slice| uuid.to_bytes() == slice.uuid.as_bytes()) {
        Some(place) => {
            unsafe { *handle = (FIRST_SLICE + place + 1) as Handle };
            SUCCESS
        }
        None => NOT_FOUND,
    }
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetName(handle: Handle, to: *mut c_char, length: c_uint) -> c_int {
    code(card(handle).and_then(|card| unsafe { put(card.name, to, length) }))
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetUUID(handle: Handle, to: *mut c_char, length: c_uint) -> c_int {
    code(card(handle).and_then(|card| unsafe { put(card.uuid, to, length) }))
}

#[repr(C)]
pub struct Memory {
    version: c_uint,
    total: u64,
    reserved: u64,
    free: u64,
    used: u64,
}

#[cfg(not(old))]
#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, info: *mut Memory) -> c_int {
    // as the driver checks it: the structure's size and its version
    if unsafe { (*info).version } as usize != size_of::<Memory>() | 2 << 24 {
        return INVALID_ARGUMENT;
    }
    code(memory(handle).map(|[total, reserved, used]| unsafe {
        (*info).total = total * MIB;
        (*info).reserved = reserved * MIB;
        (*info).used = used * MIB;
        (*info).free = (total - reserved - used) * MIB;
    }))
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetCudaComputeCapability(
    handle: Handle,
    major: *mut c_int,
    minor: *mut c_int,
) -> c_int {
    code(card(handle).map(|card| unsafe { (*major, *minor) = card.capability }))
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetEccMode(handle: Handle, current: *mut c_uint, pending: *mut c_uint) -> c_int {
    code(card(handle).and_then(|card| card.ecc.ok_or(NOT_SUPPORTED)).map(|on| unsafe {
        *current = on.into();
        *pending = on.into();
    }))
}

#[repr(C)]
pub struct Process {
    pid: c_uint,
    used: u64,
    gpu_instance: c_uint,
    compute_instance: c_uint,
}

#[cfg(not(old))]
#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetComputeRunningProcesses_v3(
    handle: Handle,
    count: *mut c_uint,
    infos: *mut Process,
) -> c_int {
    let processes = match processes(handle) {
        Ok(processes) => processes,
        Err(error) => return error,
    };
    let room = unsafe { *count } as usize;
    unsafe { *count = processes.len() as c_uint };
    if room < processes.len() {
        return INSUFFICIENT_SIZE;
    }
    for (place, (pid, used)) in processes.iter().enumerate() {
        let process =
            Process { pid: *pid, used: *used, gpu_instance: c_uint::MAX, compute_instance: c_uint::MAX };
        unsafe { infos.add(place).write(process) };
    }
    SUCCESS
}

/// The first process of each card draws too; those of a script do not.
#[cfg(not(old))]
#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetGraphicsRunningProcesses_v3(
    handle: Handle,
    count: *mut c_uint,
    infos: *mut Process,
) -> c_int {
    let first = match processes(handle) {
        Ok(_) if plays("script") => None,
        Ok(processes) => processes.first().copied(),
        Err(error) => return error,
    };
    let room = unsafe { *count };
    unsafe { *count = first.is_some().into() };
    match first {
        None => SUCCESS,
        Some(_) if room == 0 => INSUFFICIENT_SIZE,
        Some((pid, _)) => {
            let process =
                Process { pid, used: MIB, gpu_instance: c_uint::MAX, compute_instance: c_uint::MAX };
            unsafe { infos.write(process) };
            SUCCESS
        }
    }
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetMigMode(handle: Handle, current: *mut c_uint, pending: *mut c_uint) -> c_int {
    code(card(handle).and_then(|card| match card.capability {
        (8 | 9, 0) => {
            let on = !card.slices.is_empty();
            unsafe { (*current, *pending) = (on.into(), on.into()) };
            Ok(())
        }
        _ => Err(NOT_SUPPORTED),
    }))
}

/// How many there may be.
#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetMaxMigDeviceCount(_: Handle, count: *mut c_uint) -> c_int {
    unsafe { *count = 7 };
    SUCCESS
}

#[no_mangle]
pub unsafe extern "C" fn nvmlDeviceGetMigDeviceHandleByIndex(handle: Handle, index: c_uint, slice: *mut Handle) -> c_int {
    code(card(handle).and_then(|card| {
        let place = card.slices.get(index as usize).copied().flatten().ok_or(NOT_FOUND)?;
        unsafe { *slice = (FIRST_SLICE + place + 1) as Handle };
        Ok(())
    }))
}
