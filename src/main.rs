//! The `vramplan` command.

#[cfg(feature = "verify")]
mod counting;

#[cfg(feature = "verify")]
#[global_allocator]
static ALLOCATOR: counting::Counting = counting::Counting::new();

#[cfg(feature = "verify")]
fn main() -> std::process::ExitCode {
    vramplan::cli::main_measuring(Some(&ALLOCATOR))
}

#[cfg(not(feature = "verify"))]
fn main() -> std::process::ExitCode {
    vramplan::cli::main()
}
