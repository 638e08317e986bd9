//! GGUF headers: metadata and the list of tensors (format: llama.cpp, `docs/gguf.md` of ggml, and `ggml/src/gguf.cpp`).
//!
//! A reader of our own: gguf-rs-lib 0.3 knows version 3 only, and keeps whole tokenizers in memory.

mod config;
mod reader;
mod types;

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::path::Path;

pub use reader::GgufValue;
use reader::Reader;

use super::open::open_file;
use super::{Checkpoint, StoredTensor};
use crate::model::ModelError;
use crate::model::error::one_line;

pub(super) const FORMAT: &str = "GGUF";

/// `GGML_MAX_DIMS`
const MOST_DIMS: u32 = 4;
/// More than any file has.
const MOST_ENTRIES: u64 = 1 << 16;
const MOST_TENSORS: u64 = 1 << 18;
/// `GGML_MAX_NAME` is 64; keys may be up to 2^16 - 1 bytes.
const MOST_NAME: u64 = (1 << 16) - 1;
/// `GGUF_DEFAULT_ALIGNMENT`
const ALIGNMENT: u64 = 32;

/// The header of a GGUF file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Gguf {
    /// Its tensors.
    pub checkpoint: Checkpoint,
    /// What it says of the model, without tokenizers and long texts.
    pub metadata: BTreeMap<String, GgufValue>,
}

impl Gguf {
    /// Reads a file's header.
    ///
    /// # Errors
    /// It cannot be read, or is not a GGUF file of version 2 or 3.
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let (file, size) = open_file(path)?;
        Self::read(&path.display().to_string(), BufReader::new(file), size)
    }

    /// Reads a header from the start of a file that is `size` bytes long; `name` is for the message.
    ///
    /// # Errors
    /// As [`Self::open`].
    ///
    /// ```
    /// use vramplan::model::Gguf;
    /// let error = Gguf::read("notes.gguf", &b"hello, world!"[..], 13).expect_err("no GGUF");
    /// assert!(error.to_string().starts_with("`notes.gguf` is not valid GGUF"));
    /// ```
    pub fn read(name: &str, from: impl Read, size: u64) -> Result<Self, ModelError> {
        header(name, Reader::new(from, size), size).map_err(|reason| ModelError::Syntax {
            path: one_line(name),
            format: FORMAT,
            reason: without_controls(&reason),
        })
    }
}

/// Reasons hold names from the file.
fn without_controls(reason: &str) -> String {
    reason.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A tensor as it is listed, with its offset.
struct Listed {
    tensor: StoredTensor,
    offset: u64,
}

fn header<R: Read>(name: &str, mut from: Reader<R>, size: u64) -> Result<Gguf, String> {
    if from.bytes::<4>()? != *b"GGUF" {
        return Err("it does not start with the letters GGUF".to_owned());
    }
    match from.u32()? {
        2 | 3 => {}
        1 => {
            return Err(
                "it is of version 1, which llama.cpp no longer reads either: convert the model again".to_owned()
            );
        }
        version if version.swap_bytes() <= 0xffff => {
            return Err("it is written big-endian; only little-endian files are read: convert it with \
                        gguf-py's gguf_convert_endian.py"
                .to_owned());
        }
        version => return Err(format!("it is of version {version}; 2 and 3 are read")),
    }
    let tensors = at_most(from.u64()?, MOST_TENSORS, "tensors")?;
    let entries = at_most(from.u64()?, MOST_ENTRIES, "metadata entries")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..entries {
        let key = from.text(MOST_NAME)?;
        let kind = from.u32()?;
        let value = from.value(kind)?;
        if metadata.contains_key(&key) {
            return Err(format!("the key `{}` is given twice", one_line(&key)));
        }
        metadata.insert(key, value);
    }
    let mut listed = Vec::new();
    for _ in 0..tensors {
        listed.push(tensor(&mut from)?);
    }
    let alignment = match metadata.get("general.alignment") {
        None => ALIGNMENT,
        Some(GgufValue::Integer(alignment)) if alignment.is_power_of_two() && *alignment <= 1 << 20 => *alignment,
        Some(other) => return Err(format!("general.alignment is {other:?}, which is no power of two")),
    };
    let data = size.saturating_sub(from.position.next_multiple_of(alignment));
    check_offsets(&mut listed, alignment, data)?;
    let tensors = listed.into_iter().map(|listed| listed.tensor).collect();
    Ok(Gguf { checkpoint: Checkpoint::new(&one_line(name), FORMAT, tensors)?, metadata })
}

fn at_most(number: u64, most: u64, what: &str) -> Result<u64, String> {
    if number > most { Err(format!("it announces {number} {what}, and at most {most} are read")) } else { Ok(number) }
}

fn tensor<R: Read>(from: &mut Reader<R>) -> Result<Listed, String> {
    let name = from.text(MOST_NAME)?;
    let wrong = |what: String| format!("the tensor `{}` {what}", one_line(&name));
    let rank = from.u32()?;
    if rank > MOST_DIMS {
        return Err(wrong(format!("has {rank} dimensions, and ggml knows at most {MOST_DIMS}")));
    }
    let mut shape = (0..rank).map(|_| from.u64()).collect::<Result<Vec<_>, _>>()?;
    let row = shape.first().copied().unwrap_or(1);
    shape.reverse();
    let kind = from.u32()?;
    let offset = from.u64()?;
    let dtype = types::stored_type(kind).ok_or_else(|| wrong(format!("is of ggml type {kind}, which is not known")))?;
    if !row.is_multiple_of(dtype.block_values) {
        return Err(wrong(format!("has rows of {row} values, which are no whole blocks of {}", dtype.name)));
    }
    let elements =
        super::stored::elements(&shape).ok_or_else(|| wrong("has more elements than can be counted".to_owned()))?;
    let bytes = dtype.bytes(elements).ok_or_else(|| wrong("has more bytes than can be counted".to_owned()))?;
    Ok(Listed { tensor: StoredTensor { name, shape, dtype, elements, bytes }, offset })
}

/// Each tensor starts where the one before it ends, rounded up to the alignment (`gguf_init_from_file_impl`).
fn check_offsets(listed: &mut [Listed], alignment: u64, data: u64) -> Result<(), String> {
    listed.sort_by_key(|listed| listed.offset);
    let mut next = 0_u64;
    for Listed { tensor, offset } in listed {
        let name = one_line(&tensor.name);
        if *offset != next {
            return Err(format!("the tensor `{name}` is at {offset}, where {next} was expected"));
        }
        let end = next.checked_add(tensor.bytes).filter(|end| *end < 1 << 62);
        let end = end.ok_or_else(|| format!("the tensor `{name}` has more bytes than can be counted"))?;
        if end > data {
            return Err(format!("it is cut short: the tensor `{name}` ends at byte {end} of {data} bytes of data"));
        }
        next = end.next_multiple_of(alignment);
    }
    Ok(())
}
