//! CUDA's functions as the linker wants them and the loader does not.
//!
//! candle is linked against CUDA's libraries, and a program so linked does not start where they are missing. Here each of
//! their functions is a jump through a cell instead, so that nothing is left for the loader to find. [`load`] opens the
//! libraries and fills the cells; a cell that was not filled answers with its library's "not initialized".
//!
//! A function that candle came to use and that is not listed below is an undefined symbol when the program is linked.

use std::arch::global_asm;
use std::sync::atomic::{AtomicPtr, Ordering::Release};

use libloading::Library;

use super::places;

/// `CUDA_ERROR_NOT_INITIALIZED`
extern "C" fn no_driver() -> i32 {
    3
}

/// `CUBLAS_STATUS_NOT_INITIALIZED`
extern "C" fn no_cublas() -> i32 {
    1
}

/// `CURAND_STATUS_NOT_INITIALIZED`
extern "C" fn no_curand() -> i32 {
    101
}

/// What a cell holds: the address of a function.
type Cell = AtomicPtr<()>;

/// A library, and its functions with their cells.
struct Shared {
    /// File names, newest first: the number is the version of the interface.
    names: &'static [&'static str],
    functions: &'static [(&'static str, &'static Cell)],
}

/// For each function a cell, and code under the function's name that jumps to where the cell points.
macro_rules! functions {
    ($list:ident, $unfilled:path: $($name:ident)*) => {
        #[allow(non_upper_case_globals)]
        mod $list {
            use super::*;

            $(
                static $name: Cell = AtomicPtr::new($unfilled as extern "C" fn() -> i32 as *mut ());
                global_asm!(
                    concat!(".globl ", stringify!($name)),
                    concat!(".hidden ", stringify!($name)),
                    concat!(".type ", stringify!($name), ",@function"),
                    concat!(stringify!($name), ": jmp *{cell}(%rip)"),
                    cell = sym $name,
                    options(att_syntax),
                );
            )*

            pub(super) const ALL: &[(&str, &Cell)] = &[$((stringify!($name), &$name)),*];
        }
    };
}

functions! {
    driver, no_driver:
    cuCtxDestroy_v2 cuCtxGetCurrent cuCtxSetCurrent cuDeviceGet cuDeviceGetAttribute cuDeviceGetMemPool
    cuDeviceGetName cuDevicePrimaryCtxRelease_v2 cuDevicePrimaryCtxRetain cuDriverGetVersion cuEventCreate
    cuEventDestroy_v2 cuEventRecord cuGetErrorString cuInit cuLaunchKernel cuMemAllocAsync cuMemAlloc_v2
    cuMemFreeAsync cuMemFree_v2 cuMemGetInfo_v2 cuMemPoolGetAttribute cuMemPoolSetAttribute cuMemPoolTrimTo
    cuMemcpyDtoDAsync_v2 cuMemcpyDtoHAsync_v2 cuMemcpyHtoDAsync_v2 cuMemcpyPeerAsync cuMemsetD8Async
    cuModuleGetFunction cuModuleLoad cuModuleLoadData cuModuleUnload cuStreamDestroy_v2 cuStreamIsCapturing
    cuStreamSynchronize cuStreamWaitEvent
}

functions! {
    cublas, no_cublas:
    cublasCreate_v2 cublasDestroy_v2 cublasDgemmStridedBatched cublasGemmStridedBatchedEx cublasSetStream_v2
}

functions! {
    curand, no_curand:
    curandCreateGenerator curandDestroyGenerator curandSetPseudoRandomGeneratorSeed curandSetStream
}

/// In the order they are opened: cuBLAS needs its second library and finds it where it is open already.
const LIBRARIES: &[Shared] = &[
    Shared { names: &["libcuda.so.1"], functions: driver::ALL },
    Shared { names: &["libcublasLt.so.13", "libcublasLt.so.12"], functions: &[] },
    Shared { names: &["libcublas.so.13", "libcublas.so.12"], functions: cublas::ALL },
    Shared { names: &["libcurand.so.10"], functions: curand::ALL },
];

/// Opens CUDA's libraries and connects their functions. They stay open.
///
/// # Errors
/// A library or one of its functions is missing: which, and where it was looked for.
pub(super) fn load() -> Result<(), String> {
    for shared in LIBRARIES {
        let library = open(shared.names)?;
        for (name, cell) in shared.functions {
            // SAFETY: the address is only kept; whoever calls it does so by candle's declaration of this function.
            let found = unsafe { library.get::<*mut ()>(name.as_bytes()) };
            let Ok(function) = found else {
                return Err(format!(
                    "{} has no {name}: it is of another version than this program was built for",
                    shared.names[0]
                ));
            };
            cell.store(*function, Release);
        }
        // closing it would leave the cells pointing nowhere
        std::mem::forget(library);
    }
    Ok(())
}

fn open(names: &[&str]) -> Result<Library, String> {
    let mut said = None;
    for path in places::of(names) {
        // SAFETY: NVIDIA's libraries may be opened at any time; what runs then is theirs.
        match unsafe { Library::new(&path) } {
            Ok(library) => return Ok(library),
            // a library that is there and does not load is the better reason
            Err(error) if said.is_none() || path.is_file() => said = Some(reason(&error)),
            Err(_) => {}
        }
    }
    Err(format!(
        "{} is missing ({}); looked where the loader looks (LD_LIBRARY_PATH sets it) and in {}",
        names.join(" or "),
        said.unwrap_or_default(),
        places::list()
    ))
}

/// What the loader said, which the error keeps for its source.
fn reason(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}
