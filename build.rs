//! Compiles the model cards in: `cards.rs` is a table of their names and texts. With the feature `cuda` it also sees to what
//! the program is linked with.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    if env::var_os("CARGO_FEATURE_CUDA").is_some() {
        cuda()?;
    }
    cards()
}

fn cards() -> io::Result<()> {
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

/// Sees to it that the program starts where CUDA is missing. On x86-64 Linux it brings the functions of CUDA's libraries itself
/// (`src/cuda/shim.rs`), so that where the linker is told to take those libraries and finds none, empty ones do. CUDA's
/// runtime, which has no such jumps, is linked in.
fn cuda() -> io::Result<()> {
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    if !is("CARGO_CFG_TARGET_OS", "linux") || !is("CARGO_CFG_TARGET_ARCH", "x86_64") {
        return Ok(());
    }
    let out = PathBuf::from(variable("OUT_DIR")?);
    let (runtime, empty) = (out.join("cuda-runtime"), out.join("cuda-empty"));
    fs::create_dir_all(&runtime)?;
    fs::create_dir_all(&empty)?;
    for library in ["cuda", "cublas", "cublasLt", "curand", "nvrtc"] {
        fs::write(empty.join(format!("lib{library}.a")), "!<arch>\n")?;
    }
    println!("cargo::rustc-link-arg=-L{}", empty.display());
    let toolkits = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(|name| {
        println!("cargo::rerun-if-env-changed={name}");
        env::var_os(name).map(PathBuf::from)
    });
    let toolkits: Vec<PathBuf> = toolkits.chain(["/usr/local/cuda".into(), "/opt/cuda".into()]).collect();
    let found = toolkits
        .iter()
        .flat_map(|toolkit| ["lib64", "lib", "targets/x86_64-linux/lib"].map(|folder| toolkit.join(folder)))
        .map(|folder| folder.join("libcudart_static.a"))
        .find(|file| file.is_file());
    match found {
        Some(file) => {
            fs::copy(file, runtime.join("libcudart.a"))?;
            println!("cargo::rustc-link-search=native={}", runtime.display());
        }
        None => {
            println!("cargo::warning=no libcudart_static.a in CUDA_HOME: the program will need libcudart.so to start")
        }
    }
    Ok(())
}

fn variable(name: &str) -> io::Result<String> {
    env::var(name).map_err(io::Error::other)
}
