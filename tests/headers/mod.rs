//! Writers of the headers that the tests read.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

/// A safetensors file of zeros.
pub(crate) fn safetensors(dtype: &str, width: u64, tensors: &[(String, Vec<u64>)]) -> Vec<u8> {
    let mut entries = Map::new();
    entries.insert("__metadata__".to_owned(), json!({"format": "pt"}));
    let mut end = 0;
    for (name, shape) in tensors {
        let start = end;
        end += width * shape.iter().product::<u64>();
        entries.insert(name.clone(), json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}));
    }
    let header = Value::Object(entries).to_string();
    let data = vec![0; usize::try_from(end).expect("small")];
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// Writes `tensors` as `shards` files with their index.
pub(crate) fn shard(folder: &Path, tensors: &[(String, Vec<u64>)], shards: usize) {
    let mut places = Map::new();
    for (number, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let name = format!("model-{:05}-of-{shards:05}.safetensors", number + 1);
        fs::write(folder.join(&name), safetensors("BF16", 2, part)).expect("written");
        places.extend(part.iter().map(|(tensor, _)| (tensor.clone(), json!(name))));
    }
    let index = json!({"metadata": {"total_size": 1}, "weight_map": places});
    fs::write(folder.join("model.safetensors.index.json"), index.to_string()).expect("written");
}

/// A GGUF header that is being written.
pub(crate) struct GgufFile {
    version: u32,
    entries: u64,
    metadata: Vec<u8>,
    listed: u64,
    tensors: Vec<u8>,
    data: u64,
}

impl GgufFile {
    pub(crate) fn new(architecture: &str) -> Self {
        let mut file = Self { version: 3, entries: 0, metadata: Vec::new(), listed: 0, tensors: Vec::new(), data: 0 };
        file.key("general.architecture", 8);
        file.metadata.extend(text(architecture));
        file
    }

    pub(crate) fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.entries += 1;
        self.metadata.extend(text(key));
        self.metadata.extend(kind.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, key: &str, value: u32) {
        self.key(key, 4);
        self.metadata.extend(value.to_le_bytes());
    }

    pub(crate) fn texts(&mut self, key: &str, values: &[&str]) {
        self.key(key, 9);
        self.metadata.extend(8_u32.to_le_bytes());
        self.metadata.extend((values.len() as u64).to_le_bytes());
        self.metadata.extend(values.iter().flat_map(|value| text(value)));
    }

    /// A tensor of F32 (0), Q4_0 (2) or Q6_K (14); others are given no data.
    pub(crate) fn tensor(&mut self, name: &str, shape: &[u64], kind: u32) {
        self.listed += 1;
        self.tensors.extend(text(name));
        self.tensors.extend(u32::try_from(shape.len()).expect("small").to_le_bytes());
        self.tensors.extend(shape.iter().flat_map(|dim| dim.to_le_bytes()));
        self.tensors.extend(kind.to_le_bytes());
        self.tensors.extend(self.data.to_le_bytes());
        let values = shape.iter().fold(1_u64, |product, dim| product.saturating_mul(*dim));
        let bytes = match kind {
            0 => values.saturating_mul(4),
            2 => values / 32 * 18,
            14 => values / 256 * 210,
            _ => 0,
        };
        self.data = self.data.saturating_add(bytes).div_ceil(32).saturating_mul(32);
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.data
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        [
            &b"GGUF"[..],
            &self.version.to_le_bytes(),
            &self.listed.to_le_bytes(),
            &self.entries.to_le_bytes(),
            &self.metadata,
            &self.tensors,
        ]
        .concat()
    }
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}
