//! Compiles the model cards in: `cards.rs` is a table of their names and texts.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let cards = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("model-cards");
    println!("cargo::rerun-if-changed={}", cards.display());
    let mut files: Vec<PathBuf> =
        fs::read_dir(&cards)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "toml"));
    let mut table: Vec<(String, PathBuf)> =
        files.into_iter().filter_map(|file| Some((file.file_stem()?.to_str()?.to_owned(), file.clone()))).collect();
    table.sort();
    let mut code = String::from("static CARDS: &[(&str, &str)] = &[\n");
    for (stem, file) in table {
        writeln!(code, "    ({stem:?}, include_str!({:?})),", file.display().to_string()).map_err(io::Error::other)?;
    }
    code.push_str("];\n");
    fs::write(Path::new(&variable("OUT_DIR")?).join("cards.rs"), code)
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}
