//! The GPUs that are known by name.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Bytes;

/// One GPU a line, each field with its source: what drivers report comes from transcripts, the rest from vendors' figures.
const DATA: &str = include_str!("../../data/gpus.json");

/// The most that a driver was seen to keep from processes of what it reports (A100 80GB: 81,920 MiB, of which torch sees
/// 81,049).
const DRIVER_KEEPS: Bytes = Bytes::from_mib(871);

/// A GPU as it can be bought or rented.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[non_exhaustive]
pub struct Gpu {
    /// Its name in commands, such as `rtx-4090`.
    pub slug: String,
    /// `nvidia`, `amd`, `intel` or `apple`.
    pub vendor: String,
    /// Its maker's name for it.
    pub name: String,
    /// What NVML reports as its name.
    pub nvml_name: Option<String>,
    /// `datacenter`, `workstation`, `consumer`, `laptop`, `embedded` or `unified`.
    pub class: String,
    /// Its maker's name for its generation.
    pub architecture: String,
    /// Memory as advertised, in GB that may be GiB.
    pub memory_advertised_gb: f64,
    /// Sizes it is sold with.
    pub memory_options_gb: Vec<f64>,
    /// GPUs that its driver shows of a board, which share what is advertised.
    #[serde(default = "one")]
    pub gpus_per_board: u32,
    /// What the driver reports in all, in MiB, with ECC as it usually is; `None`: no transcript was found.
    pub memory_total_mib: Option<u64>,
    /// What `torch.cuda.get_device_properties` reports, in MiB: what the driver does not keep for itself.
    pub torch_total_mib: Option<u64>,
    /// Whether ECC is on in `memory_total_mib`.
    pub ecc_enabled_in_total: Option<bool>,
    /// Other totals: with ECC the other way, of other drivers and clouds.
    pub memory_total_mib_other: BTreeMap<String, u64>,
    /// Whether it shares the host's memory.
    pub unified_memory: bool,
    /// Bandwidth of its memory, in GB/s.
    pub memory_bandwidth_gb_s: Option<f64>,
    /// CUDA's compute capability, such as `8.9`.
    pub compute_capability: Option<String>,
    /// Dense rate of fp16 matrix products, in TFLOPS.
    pub fp16_dense_tflops: Option<f64>,
    /// Dense rate of bf16 matrix products, in TFLOPS.
    pub bf16_dense_tflops: Option<f64>,
    /// How cards of a machine are joined beyond PCIe.
    pub interconnect: Option<String>,
    /// Its rate, in GB/s, both ways together.
    pub interconnect_gb_s: Option<f64>,
    /// Other names, as clouds and people write it.
    pub aliases: Vec<String>,
    /// Where each group of fields comes from.
    pub sources: BTreeMap<String, String>,
    /// What else is known.
    pub notes: String,
}

impl Gpu {
    /// What its driver reports in all. Where no transcript was found, 95 % of what is advertised for the least of its sizes,
    /// taken as 10^9 bytes; of memory that is shared with the host two thirds of that, as Metal lets a GPU have at least
    /// (`recommendedMaxWorkingSetSize`).
    pub fn memory(&self) -> Bytes {
        self.memory_total_mib.map_or_else(|| self.least_advertised(), Bytes::from_mib)
    }

    /// Whether [`Gpu::memory`] is what a driver was seen to report.
    pub const fn memory_is_reported(&self) -> bool {
        self.memory_total_mib.is_some()
    }

    /// What the driver keeps of [`Gpu::memory`] from every process; where torch's figure is not known, the most that it
    /// was seen to keep of any card, or a twentieth.
    pub fn kept_by_driver(&self) -> Bytes {
        match (self.memory_total_mib, self.torch_total_mib) {
            (Some(total), Some(torch)) => Bytes::from_mib(total.saturating_sub(torch)),
            _ => most_kept_by_driver(self.memory()),
        }
    }

    /// CUDA's compute capability in numbers; `None`: it has none.
    pub fn compute_capability(&self) -> Option<(u32, u32)> {
        compute_capability(self.compute_capability.as_deref()?)
    }

    /// Dense rate of matrix products in 16 bits, in operations a second.
    pub fn dense_rate(&self) -> Option<f64> {
        Some(self.bf16_dense_tflops.or(self.fp16_dense_tflops)? * 1e12)
    }

    /// Bandwidth of its memory, in bytes a second.
    pub fn bandwidth(&self) -> Option<f64> {
        Some(self.memory_bandwidth_gb_s? * 1e9)
    }

    /// Whether PyTorch's CUDA allocator runs on it, which is what is modelled.
    pub fn runs_cuda(&self) -> bool {
        self.vendor == "nvidia"
    }

    /// Whether `part` is part of one of its names, however it is spaced, or of its class or architecture.
    pub fn is_like(&self, part: &str) -> bool {
        let wanted = key(part);
        let kinds = [self.class.as_str(), &self.architecture, &self.vendor].map(key);
        self.names().map(key).chain(kinds).any(|known| known.contains(&wanted))
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a card's size in GB")]
    fn least_advertised(&self) -> Bytes {
        let least = self.memory_options_gb.iter().copied().fold(self.memory_advertised_gb, f64::min);
        let share = if self.unified_memory { 2.0 / 3.0 } else { 1.0 / f64::from(self.gpus_per_board.max(1)) };
        Bytes((least.max(0.0) * share * 0.95e9) as u64)
    }

    /// Every name it is found by.
    fn names(&self) -> impl Iterator<Item = &str> {
        let own = [Some(self.slug.as_str()), Some(self.name.as_str()), self.nvml_name.as_deref()];
        own.into_iter().flatten().chain(self.aliases.iter().map(String::as_str))
    }
}

const fn one() -> u32 {
    1
}

/// A compute capability such as `8.9` in numbers.
pub fn compute_capability(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The most that a driver is taken to keep of a card with so much memory, where it is not known.
pub fn most_kept_by_driver(memory: Bytes) -> Bytes {
    DRIVER_KEEPS.min(Bytes(memory.0 / 20))
}

/// Every GPU that is known, as the data has them.
pub fn catalogue() -> &'static [Gpu] {
    static GPUS: OnceLock<Vec<Gpu>> = OnceLock::new();
    GPUS.get_or_init(|| serde_json::from_str(DATA).expect("a test reads the same text"))
}

/// The GPUs a job can be put on: with CUDA, memory of their own, and not built into a laptop; those with the least memory
/// first.
pub fn by_memory() -> &'static [&'static Gpu] {
    static GPUS: OnceLock<Vec<&'static Gpu>> = OnceLock::new();
    GPUS.get_or_init(|| {
        let apart = |gpu: &&Gpu| {
            gpu.runs_cuda() && !gpu.unified_memory && !["laptop", "embedded"].contains(&gpu.class.as_str())
        };
        let mut gpus: Vec<&Gpu> = catalogue().iter().filter(apart).collect();
        gpus.sort_by_key(|gpu| gpu.memory());
        gpus
    })
}

/// Why a name is no GPU's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GpuError {
    /// No GPU has it.
    #[error("no GPU is called `{name}`{}; `vramplan gpus` lists them", near(nearest))]
    Unknown {
        /// The name.
        name: String,
        /// Slugs like it.
        nearest: Vec<String>,
    },
    /// Several have it.
    #[error("`{name}` is several GPUs: {}; name one", sized(choices))]
    Ambiguous {
        /// The name.
        name: String,
        /// Their slugs.
        choices: Vec<String>,
    },
}

/// Slugs with the memory of each.
fn sized(slugs: &[String]) -> String {
    let memory = |slug: &String| catalogue().iter().find(|gpu| gpu.slug == *slug).map(Gpu::memory);
    let sized = |slug: &String| memory(slug).map_or_else(|| slug.clone(), |memory| format!("{slug} ({memory})"));
    slugs.iter().map(sized).collect::<Vec<_>>().join(", ")
}

fn near(nearest: &[String]) -> String {
    if nearest.is_empty() { String::new() } else { format!("; did you mean {}?", nearest.join(" or ")) }
}

/// The GPU of that name: a slug, an alias, its maker's or NVML's name, however it is spaced, and without its brand.
///
/// # Errors
/// No GPU has the name, or several have.
///
/// ```
/// use vramplan::hardware;
///
/// assert_eq!(hardware::find("4090")?.slug, "rtx-4090");
/// assert_eq!(hardware::find("NVIDIA GeForce RTX 4090")?.slug, "rtx-4090");
/// assert!(hardware::find("rtx-pro-5000").is_err(), "there are two");
/// # Ok::<(), hardware::GpuError>(())
/// ```
pub fn find(name: &str) -> Result<&'static Gpu, GpuError> {
    let mut wanted = key(name);
    // `4080` is the card of that number, not its SUPER
    let series = format!("rtx{wanted}");
    if wanted.starts_with(|first: char| first.is_ascii_digit()) && named(&series).next().is_some() {
        wanted = series;
    }
    // a slug or an alias is written for one card, makers give several the same name
    let is_called = |gpu: &&Gpu| key(&gpu.slug) == wanted || gpu.aliases.iter().any(|alias| key(alias) == wanted);
    if let Some(gpu) = catalogue().iter().find(is_called) {
        return Ok(gpu);
    }
    let mut found: Vec<&Gpu> = named(&wanted).collect();
    if found.is_empty() && !wanted.is_empty() {
        // `4090` is part of a desktop card's name and of a laptop's, which is asked for as such
        found = catalogue().iter().filter(|gpu| gpu.names().any(|known| words_of(known, &wanted))).collect();
        if found.iter().any(|gpu| gpu.class != "laptop") {
            found.retain(|gpu| gpu.class != "laptop");
        }
    }
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(GpuError::Unknown { name: name.to_owned(), nearest: nearest(&wanted) }),
        several => {
            let choices = several.iter().map(|gpu| gpu.slug.clone()).collect();
            Err(GpuError::Ambiguous { name: name.to_owned(), choices })
        }
    }
}

/// The GPU that a driver reports by this name and with this much memory; of several the one nearest to it.
pub fn recognise(name: &str, total: Bytes) -> Option<&'static Gpu> {
    named(&key(name)).min_by_key(|gpu| gpu.memory().0.abs_diff(total.0))
}

/// The GPUs one of whose names is `wanted`.
fn named(wanted: &str) -> impl Iterator<Item = &'static Gpu> {
    catalogue().iter().filter(move |gpu| !wanted.is_empty() && gpu.names().any(|known| key(known) == wanted))
}

/// A name without case, spaces and what every maker writes before it; `80g` is `80gb`.
fn key(name: &str) -> String {
    const BRANDS: [&str; 6] = ["nvidia", "geforce", "tesla", "amd", "intel", "instinct"];
    let words = words(name).filter(|word| !BRANDS.contains(&word.as_str()));
    words.map(|word| if is_size(&word) { format!("{word}b") } else { word }).collect()
}

/// The words of a name: what letters and digits it has between other characters.
fn words(name: &str) -> impl Iterator<Item = String> {
    name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase)
}

/// `80g`
fn is_size(word: &str) -> bool {
    word.strip_suffix('g').is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether the name has the words that `wanted` is made of, one after another.
fn words_of(name: &str, wanted: &str) -> bool {
    let words: Vec<String> = words(name).collect();
    (0..words.len()).any(|from| (from + 1..=words.len()).any(|to| key(&words[from..to].join(" ")) == wanted))
}

/// Slugs that a name may have been meant for.
fn nearest(wanted: &str) -> Vec<String> {
    let mut near: Vec<(f64, &str)> = catalogue()
        .iter()
        .map(|gpu| {
            let likeness = gpu.names().map(|known| strsim::jaro_winkler(&key(known), wanted)).fold(0.0, f64::max);
            (likeness, gpu.slug.as_str())
        })
        .filter(|(likeness, _)| *likeness > 0.85)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(3).map(|(_, slug)| slug.to_owned()).collect()
}
