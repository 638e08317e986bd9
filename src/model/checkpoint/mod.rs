//! What a checkpoint's header says of its tensors: names, shapes, types and bytes, without the weights themselves.

mod gguf;
mod index;
mod open;
mod safetensors;
mod stored;
mod unique;

use schemars::JsonSchema;
use std::collections::BTreeMap;

pub use gguf::{Gguf, GgufValue};
pub use stored::StoredType;

/// The tensors of a checkpoint, as its headers list them.
///
/// ```
/// use vramplan::model::Checkpoint;
///
/// let header = br#"{"model.norm.weight":{"dtype":"BF16","shape":[4096],"data_offsets":[0,8192]}}"#;
/// let checkpoint = Checkpoint::from_safetensors_header("model.safetensors", header, None)?;
/// assert_eq!((checkpoint.parameters(), checkpoint.bytes()), (4096, 8192));
/// # Ok::<(), vramplan::model::ModelError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checkpoint {
    /// The file, index or folder it was read from, as people are told of it.
    pub name: String,
    /// `safetensors` or `GGUF`.
    pub format: &'static str,
    /// Its tensors, by name; no two have the same.
    pub tensors: Vec<StoredTensor>,
}

/// A tensor of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredTensor {
    /// Its name in the checkpoint.
    pub name: String,
    /// Its dimensions, the slowest first (GGUF's are turned round).
    pub shape: Vec<u64>,
    /// How its values are stored.
    pub dtype: StoredType,
    /// Values: the product of `shape`.
    pub elements: u64,
    /// Bytes it takes in the file.
    pub bytes: u64,
}

/// What the tensors of one type come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, JsonSchema)]
#[non_exhaustive]
pub struct TypeTotal {
    /// Tensors of the type.
    pub tensors: u64,
    /// Their values.
    pub elements: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Checkpoint {
    /// More than any model has: bounds the sums below.
    const MOST_BYTES: u64 = 1 << 60;

    /// A checkpoint of tensors that have been checked one by one; `Err`: what is wrong with them together.
    fn new(name: &str, format: &'static str, mut tensors: Vec<StoredTensor>) -> Result<Self, String> {
        tensors.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        if let Some([twice, _]) = tensors.array_windows().find(|[a, b]| a.name == b.name) {
            return Err(format!("the tensor `{}` is listed twice", super::error::one_line(&twice.name)));
        }
        let sum = |of: fn(&StoredTensor) -> u64| {
            tensors
                .iter()
                .try_fold(0_u64, |sum, tensor| sum.checked_add(of(tensor)))
                .filter(|&sum| sum < Self::MOST_BYTES)
        };
        if sum(|tensor| tensor.bytes).is_none() || sum(|tensor| tensor.elements).is_none() {
            return Err("its tensors together are larger than any model's".to_owned());
        }
        Ok(Self { name: name.to_owned(), format, tensors })
    }

    /// Values in all tensors. Where weights are packed (`I32` of GPTQ, `U8` of bitsandbytes), words and not weights are
    /// counted.
    pub fn parameters(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.elements).sum()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.iter().map(|tensor| tensor.bytes).sum()
    }

    /// The totals of each type, by its name.
    pub fn by_dtype(&self) -> BTreeMap<&'static str, TypeTotal> {
        let mut totals: BTreeMap<&'static str, TypeTotal> = BTreeMap::new();
        for tensor in &self.tensors {
            let total = totals.entry(tensor.dtype.name).or_default();
            total.tensors += 1;
            total.elements += tensor.elements;
            total.bytes += tensor.bytes;
        }
        totals
    }

    /// Whether every weight is stored as one float, so that its values are the model's parameters.
    pub fn is_unpacked(&self) -> bool {
        self.format == gguf::FORMAT || self.tensors.iter().all(|tensor| tensor.dtype.is_float())
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        let index = self.tensors.binary_search_by(|tensor| tensor.name.as_str().cmp(name)).ok()?;
        self.tensors.get(index)
    }
}
