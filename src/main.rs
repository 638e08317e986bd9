//! The `vramplan` command.

fn main() {}
