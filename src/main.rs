//! The `vramplan` command.

fn main() -> std::process::ExitCode {
    vramplan::cli::main()
}
