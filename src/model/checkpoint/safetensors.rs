//! The header of a safetensors file: eight bytes that say how long it is, then JSON.

use std::collections::HashMap;

use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::value::RawValue;

use super::unique::Unique;
use super::{Checkpoint, StoredTensor, StoredType};
use crate::model::ModelError;
use crate::model::error::one_line;

pub(super) const FORMAT: &str = "safetensors";
/// More tensors than any model has.
pub(super) const MOST_TENSORS: usize = super::unique::MOST_ENTRIES;

impl Checkpoint {
    /// The longest header read; a tensor takes some 100 bytes of it, and files of real checkpoints have some thousands.
    pub const MAX_SAFETENSORS_HEADER: u64 = 8 << 20;

    /// How long the header is that follows a file's first eight bytes; `name` is for the message.
    ///
    /// # Errors
    /// Longer than [`Self::MAX_SAFETENSORS_HEADER`], so that nothing need be allocated for it.
    pub fn safetensors_header_length(name: &str, first_bytes: [u8; 8]) -> Result<u64, ModelError> {
        let length = u64::from_le_bytes(first_bytes);
        if length > Self::MAX_SAFETENSORS_HEADER {
            return Err(malformed(
                name,
                &format!(
                    "its first 8 bytes say that its header is {length} bytes long, and at most {} are read",
                    Self::MAX_SAFETENSORS_HEADER
                ),
            ));
        }
        Ok(length)
    }

    /// Reads a header: the JSON alone, without the eight bytes before it. `data_bytes` is what follows it in the file,
    /// where that is known.
    ///
    /// # Errors
    /// Not JSON, a tensor is listed twice, its offsets do not follow the last tensor's or do not fit its shape and type,
    /// or the file is shorter or longer than its tensors.
    pub fn from_safetensors_header(name: &str, header: &[u8], data_bytes: Option<u64>) -> Result<Self, ModelError> {
        let wrong = |reason: String| malformed(name, &reason);
        if header.len() as u64 > Self::MAX_SAFETENSORS_HEADER {
            return Err(wrong(format!("its header is longer than {} bytes", Self::MAX_SAFETENSORS_HEADER)));
        }
        let unreadable = |error: serde_json::Error| wrong(format!("its header: {}", one_line(&error.to_string())));
        let Unique(entries) = serde_json::from_slice::<Unique<&RawValue>>(header).map_err(unreadable)?;
        let mut listed: Vec<(String, TensorInfo)> = Vec::with_capacity(entries.len());
        for (key, entry) in entries {
            if key == "__metadata__" {
                serde_json::from_str::<HashMap<String, String>>(entry.get()).map_err(unreadable)?;
                continue;
            }
            let info = serde_json::from_str(entry.get())
                .map_err(|error| wrong(format!("the tensor `{}`: {}", one_line(&key), one_line(&error.to_string()))))?;
            listed.push((key, info));
        }
        listed.sort_by_key(|(_, info)| info.data_offsets);
        let tensors =
            listed.iter().map(|(name, info)| stored(name, info)).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        // checks that the offsets leave no hole and that each tensor has the bytes of its shape and type
        let metadata = Metadata::new(None, listed).map_err(|error| wrong(one_line(&error.to_string())))?;
        let described = metadata.data_len() as u64;
        match data_bytes {
            Some(data) if data < described => {
                return Err(wrong(format!("it is cut short: its tensors are {described} bytes, and {data} are there")));
            }
            Some(data) if data > described => {
                return Err(wrong(format!("{} bytes follow its last tensor", data - described)));
            }
            _ => {}
        }
        Self::new(name, FORMAT, tensors).map_err(wrong)
    }
}

impl Checkpoint {
    /// The checkpoint whose files have these headers, each a file's name and what
    /// [`Self::from_safetensors_header`] takes; `name` is the whole's.
    ///
    /// # Errors
    /// As of that, or they list a tensor twice or more than any model has.
    pub fn from_safetensors_headers(name: &str, headers: &[(String, Vec<u8>)]) -> Result<Self, ModelError> {
        let mut tensors = Vec::new();
        for (file, header) in headers {
            tensors.extend(Self::from_safetensors_header(&format!("{name}/{file}"), header, None)?.tensors);
            if tensors.len() > MOST_TENSORS {
                return Err(malformed(name, &format!("its files list more than {MOST_TENSORS} tensors")));
            }
        }
        Self::new(name, FORMAT, tensors).map_err(|reason| malformed(name, &reason))
    }
}

pub(super) fn malformed(name: &str, reason: &str) -> ModelError {
    ModelError::Syntax { path: one_line(name), format: FORMAT, reason: reason.to_owned() }
}

fn stored(name: &str, info: &TensorInfo) -> Result<StoredTensor, String> {
    let wrong = |what: &str| format!("the tensor `{}` {what}", one_line(name));
    let dtype = stored_type(info.dtype).ok_or_else(|| wrong("is of a type that is not known"))?;
    let shape: Vec<u64> = info.shape.iter().map(|&dim| dim as u64).collect();
    let elements = super::stored::elements(&shape).ok_or_else(|| wrong("has more elements than can be counted"))?;
    let bytes = dtype.bytes(elements).ok_or_else(|| wrong("does not fill whole bytes"))?;
    Ok(StoredTensor { name: name.to_owned(), shape, dtype, elements, bytes })
}

fn stored_type(dtype: Dtype) -> Option<StoredType> {
    let of = |name, bytes| Some(StoredType::new(name, 1, bytes));
    match dtype {
        Dtype::BOOL => of("BOOL", 1),
        Dtype::F4 => Some(StoredType::new("F4", 2, 1)),
        Dtype::F6_E2M3 => Some(StoredType::new("F6_E2M3", 4, 3)),
        Dtype::F6_E3M2 => Some(StoredType::new("F6_E3M2", 4, 3)),
        Dtype::U8 => of("U8", 1),
        Dtype::I8 => of("I8", 1),
        Dtype::F8_E5M2 => of("F8_E5M2", 1),
        Dtype::F8_E4M3 => of("F8_E4M3", 1),
        Dtype::F8_E8M0 => of("F8_E8M0", 1),
        Dtype::F8_E4M3FNUZ => of("F8_E4M3FNUZ", 1),
        Dtype::F8_E5M2FNUZ => of("F8_E5M2FNUZ", 1),
        Dtype::I16 => of("I16", 2),
        Dtype::U16 => of("U16", 2),
        Dtype::F16 => of("F16", 2),
        Dtype::BF16 => of("BF16", 2),
        Dtype::I32 => of("I32", 4),
        Dtype::U32 => of("U32", 4),
        Dtype::F32 => of("F32", 4),
        Dtype::C64 => of("C64", 8),
        Dtype::F64 => of("F64", 8),
        Dtype::I64 => of("I64", 8),
        Dtype::U64 => of("U64", 8),
        _ => None,
    }
}
