//! A stand-in for CUDA's driver, cuBLAS and cuRAND, with the functions that candle and the program call: it keeps the books of
//! a stream-ordered pool and computes nothing. What is read back is zeros.
//!
//! Compiled by `tests/verify_cuda.rs` as a C library that goes by all their names. `STAND_IN_BYTES` is the card's memory,
//! `STAND_IN_ERROR` what `cuInit` answers. With `--cfg old` it lacks a function.
#![allow(non_snake_case)]

use std::collections::HashMap;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::sync::Mutex;

type Handle = *mut c_void;
type Out = *mut Handle;

const SUCCESS: c_int = 0;
const INVALID_VALUE: c_int = 1;
const OUT_OF_MEMORY: c_int = 2;
const NO_DEVICE: c_int = 100;

const CAPABILITY_MAJOR: c_int = 75;
const CAPABILITY_MINOR: c_int = 76;

const RESERVED_CURRENT: c_int = 5;
const RESERVED_HIGH: c_int = 6;
const USED_CURRENT: c_int = 7;
const USED_HIGH: c_int = 8;

/// What allocations are rounded up to, and the pages they come from.
const GRANULE: u64 = 512;
const PAGE: u64 = 2 << 20;
/// What the card is used for besides the pool.
const CONTEXT: u64 = 300 << 20;

#[derive(Default)]
struct Books {
    alive: Option<HashMap<u64, u64>>,
    next: u64,
    used: u64,
    used_high: u64,
    reserved: u64,
    reserved_high: u64,
}

static BOOKS: Mutex<Books> =
    Mutex::new(Books { alive: None, next: PAGE, used: 0, used_high: 0, reserved: 0, reserved_high: 0 });

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn total() -> u64 {
    number("STAND_IN_BYTES").unwrap_or(140 << 30)
}

fn books<T>(act: impl FnOnce(&mut Books) -> T) -> T {
    act(&mut BOOKS.lock().unwrap())
}

unsafe fn give<T>(place: *mut T, value: T) -> c_int {
    unsafe { place.write(value) };
    SUCCESS
}

/// Nobody looks at what a handle points to.
unsafe fn handle(place: Out) -> c_int {
    unsafe { give(place, 1 as Handle) }
}

/// Functions that do nothing.
macro_rules! idle {
    ($($name:ident)*) => {
        $(
            #[no_mangle]
            extern "C" fn $name() -> c_int {
                SUCCESS
            }
        )*
    };
}

/// Functions that give a handle first of all.
macro_rules! handles {
    ($($name:ident)*) => {
        $(
            #[no_mangle]
            unsafe extern "C" fn $name(place: Out) -> c_int {
                unsafe { handle(place) }
            }
        )*
    };
}

idle! {
    cuCtxDestroy_v2 cuCtxSetCurrent cuDevicePrimaryCtxRelease_v2 cuEventDestroy_v2 cuEventRecord cuLaunchKernel
    cuMemcpyDtoDAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8Async cuModuleUnload cuStreamDestroy_v2
    cuStreamSynchronize cuStreamWaitEvent
    cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmStridedBatchedEx cublasSetStream_v2
    curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream
}

handles! {
    cuCtxGetCurrent cuDeviceGetMemPool cuDevicePrimaryCtxRetain cuEventCreate cuModuleGetFunction cuModuleLoad
    cuModuleLoadData cublasCreate_v2 curandCreateGenerator
}

#[no_mangle]
extern "C" fn cuInit(_flags: c_uint) -> c_int {
    number("STAND_IN_ERROR").map_or(SUCCESS, |error| error as c_int)
}

#[no_mangle]
unsafe extern "C" fn cuDriverGetVersion(place: *mut c_int) -> c_int {
    unsafe { give(place, 13_000) }
}

#[no_mangle]
unsafe extern "C" fn cuGetErrorString(error: c_int, place: *mut *const c_char) -> c_int {
    let text = match error {
        OUT_OF_MEMORY => c"out of memory",
        NO_DEVICE => c"no CUDA-capable device is detected",
        _ => c"an error of the stand-in",
    };
    unsafe { give(place, text.as_ptr()) }
}

#[no_mangle]
unsafe extern "C" fn cuDeviceGet(place: *mut c_int, ordinal: c_int) -> c_int {
    unsafe { give(place, ordinal) }
}

#[no_mangle]
unsafe extern "C" fn cuDeviceGetAttribute(place: *mut c_int, attribute: c_int, _device: c_int) -> c_int {
    let value = match attribute {
        CAPABILITY_MAJOR => 9,
        CAPABILITY_MINOR => 0,
        // pools are there, as is whatever else is asked for
        _ => 1,
    };
    unsafe { give(place, value) }
}

#[no_mangle]
unsafe extern "C" fn cuDeviceGetName(place: *mut c_char, len: c_int, _device: c_int) -> c_int {
    let name = c"stand-in";
    if (len as usize) < name.to_bytes_with_nul().len() {
        return INVALID_VALUE;
    }
    unsafe { place.copy_from_nonoverlapping(name.as_ptr(), name.to_bytes_with_nul().len()) };
    SUCCESS
}

#[no_mangle]
unsafe extern "C" fn cuStreamIsCapturing(_stream: Handle, place: *mut c_int) -> c_int {
    unsafe { give(place, 0) }
}

#[no_mangle]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(place: *mut u8, _from: u64, bytes: usize, _stream: Handle) -> c_int {
    unsafe { place.write_bytes(0, bytes) };
    SUCCESS
}

#[no_mangle]
unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, all: *mut usize) -> c_int {
    let taken = CONTEXT + books(|books| books.reserved);
    unsafe {
        give(all, total() as usize);
        give(free, total().saturating_sub(taken) as usize)
    }
}

#[no_mangle]
unsafe extern "C" fn cuMemAllocAsync(place: *mut u64, bytes: usize, _stream: Handle) -> c_int {
    if bytes == 0 {
        return INVALID_VALUE;
    }
    let bytes = (bytes as u64).next_multiple_of(GRANULE);
    let made = books(|books| {
        let used = books.used + bytes;
        let reserved = books.reserved.max(used.next_multiple_of(PAGE));
        if CONTEXT + reserved > total() {
            return None;
        }
        let address = books.next;
        books.next += bytes.next_multiple_of(PAGE);
        books.alive.get_or_insert_default().insert(address, bytes);
        (books.used, books.reserved) = (used, reserved);
        books.used_high = books.used_high.max(used);
        books.reserved_high = books.reserved_high.max(reserved);
        Some(address)
    });
    made.map_or(OUT_OF_MEMORY, |address| unsafe { give(place, address) })
}

#[no_mangle]
extern "C" fn cuMemFreeAsync(address: u64, _stream: Handle) -> c_int {
    books(|books| match books.alive.get_or_insert_default().remove(&address) {
        Some(bytes) => {
            books.used -= bytes;
            SUCCESS
        }
        None => INVALID_VALUE,
    })
}

#[no_mangle]
unsafe extern "C" fn cuMemAlloc_v2(place: *mut u64, bytes: usize) -> c_int {
    unsafe { cuMemAllocAsync(place, bytes, std::ptr::null_mut()) }
}

#[no_mangle]
extern "C" fn cuMemFree_v2(address: u64) -> c_int {
    cuMemFreeAsync(address, std::ptr::null_mut())
}

#[no_mangle]
unsafe extern "C" fn cuMemPoolGetAttribute(_pool: Handle, attribute: c_int, place: *mut u64) -> c_int {
    let value = books(|books| match attribute {
        RESERVED_CURRENT => Some(books.reserved),
        RESERVED_HIGH => Some(books.reserved_high),
        USED_CURRENT => Some(books.used),
        USED_HIGH => Some(books.used_high),
        _ => None,
    });
    value.map_or(INVALID_VALUE, |value| unsafe { give(place, value) })
}

#[no_mangle]
unsafe extern "C" fn cuMemPoolSetAttribute(_pool: Handle, attribute: c_int, place: *const u64) -> c_int {
    let value = unsafe { place.read() };
    books(|books| match (attribute, value) {
        (RESERVED_HIGH, 0) => books.reserved_high = books.reserved,
        (USED_HIGH, 0) => books.used_high = books.used,
        // the threshold for giving memory back
        _ => {}
    });
    SUCCESS
}

#[cfg(not(old))]
#[no_mangle]
extern "C" fn cuMemPoolTrimTo(_pool: Handle, least: usize) -> c_int {
    books(|books| books.reserved = books.used.next_multiple_of(PAGE).max(least as u64).min(books.reserved));
    SUCCESS
}
