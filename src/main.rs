//! The `vramplan` command.

#[cfg(feature = "verify")]
mod counting;
#[cfg(feature = "cuda")]
mod cuda;

#[cfg(feature = "verify")]
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting::new();

#[cfg(feature = "verify")]
fn main() -> std::process::ExitCode {
    vramplan::cli::main_measuring(Some(vramplan::cli::Measures { gauge: &ALLOCATOR, gpu: gpu() }))
}

#[cfg(feature = "cuda")]
const fn gpu() -> Option<&'static (dyn vramplan::verify::Gpu + Sync)> {
    Some(&cuda::Cuda)
}

#[cfg(all(feature = "verify", not(feature = "cuda")))]
const fn gpu() -> Option<&'static (dyn vramplan::verify::Gpu + Sync)> {
    None
}

#[cfg(not(feature = "verify"))]
fn main() -> std::process::ExitCode {
    vramplan::cli::main()
}
