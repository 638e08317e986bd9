//! Reading GGUF's primitive values from bytes that may be anything.

use std::io::{self, Read};

/// More than any header has: the longest hold a tokenizer of some 20 MB.
const MOST_HEADER_BYTES: u64 = 256 << 20;
/// Texts longer than this (chat templates) are passed over.
const MOST_TEXT: u64 = 1 << 16;
/// Arrays longer than this (tokenizers) are passed over; those of sizes have one entry a layer.
const MOST_KEPT: u64 = 16_384;
/// Arrays in arrays.
const MOST_DEPTH: u32 = 4;

/// A metadata value, as far as sizes can depend on it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// Any unsigned or signed integer that is not negative.
    Integer(u64),
    /// A float, or a negative integer.
    Number(f64),
    /// A flag.
    Bool(bool),
    /// A text; empty where it is longer than 64 KiB.
    Text(String),
    /// An array: its length, and its values where they are numbers and not too many.
    Array(u64, Vec<GgufValue>),
}

/// Reads values one after another and counts what it reads.
pub(super) struct Reader<R> {
    from: R,
    /// Bytes read.
    pub(super) position: u64,
    /// Bytes there are.
    size: u64,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(from: R, size: u64) -> Self {
        Self { from, position: 0, size }
    }

    fn left(&self) -> u64 {
        self.size.saturating_sub(self.position)
    }

    fn advance(&mut self, bytes: u64) -> Result<(), String> {
        if bytes > self.left() {
            return Err(format!(
                "it is cut short: {bytes} bytes are announced at byte {}, and {} are there",
                self.position,
                self.left()
            ));
        }
        self.position += bytes;
        if self.position > MOST_HEADER_BYTES {
            return Err(format!("its header is longer than {MOST_HEADER_BYTES} bytes"));
        }
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, String> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, String> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), String> {
        self.advance(bytes)?;
        let skipped =
            io::copy(&mut (&mut self.from).take(bytes), &mut io::sink()).map_err(|error| error.to_string())?;
        if skipped < bytes { Err("it is cut short".to_owned()) } else { Ok(()) }
    }

    /// A text that is needed, of at most `most` bytes.
    pub(super) fn text(&mut self, most: u64) -> Result<String, String> {
        let length = self.u64()?;
        if length > most {
            return Err(format!("a name of {length} bytes at byte {}", self.position));
        }
        self.advance(length)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.from.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        String::from_utf8(bytes).map_err(|_| format!("a name before byte {} is not UTF-8", self.position))
    }

    /// A value of the type with this number (`gguf_type`, llama.cpp `ggml/include/gguf.h`).
    pub(super) fn value(&mut self, kind: u32) -> Result<GgufValue, String> {
        self.nested(kind, 0)
    }

    fn nested(&mut self, kind: u32, depth: u32) -> Result<GgufValue, String> {
        let signed = |value: i64| match u64::try_from(value) {
            Ok(value) => GgufValue::Integer(value),
            #[expect(clippy::cast_precision_loss, reason = "no size is negative")]
            Err(_) => GgufValue::Number(value as f64),
        };
        Ok(match kind {
            0 => GgufValue::Integer(u64::from(self.bytes::<1>()?[0])),
            1 => signed(i64::from(i8::from_le_bytes(self.bytes()?))),
            2 => GgufValue::Integer(u64::from(u16::from_le_bytes(self.bytes()?))),
            3 => signed(i64::from(i16::from_le_bytes(self.bytes()?))),
            4 => GgufValue::Integer(u64::from(self.u32()?)),
            5 => signed(i64::from(i32::from_le_bytes(self.bytes()?))),
            6 => GgufValue::Number(f64::from(f32::from_le_bytes(self.bytes()?))),
            7 => GgufValue::Bool(self.bytes::<1>()?[0] != 0),
            8 => self.long_text()?,
            9 => self.array(depth)?,
            10 => GgufValue::Integer(self.u64()?),
            11 => signed(i64::from_le_bytes(self.bytes()?)),
            12 => GgufValue::Number(f64::from_le_bytes(self.bytes()?)),
            other => return Err(format!("a value of the unknown type {other} at byte {}", self.position)),
        })
    }

    fn long_text(&mut self) -> Result<GgufValue, String> {
        let length = self.u64()?;
        if length > MOST_TEXT {
            self.skip(length)?;
            return Ok(GgufValue::Text(String::new()));
        }
        self.advance(length)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.from.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(GgufValue::Text(String::from_utf8_lossy(&bytes).into_owned()))
    }

    fn array(&mut self, depth: u32) -> Result<GgufValue, String> {
        if depth == MOST_DEPTH {
            return Err(format!("arrays nested deeper than {MOST_DEPTH} at byte {}", self.position));
        }
        let kind = self.u32()?;
        let length = self.u64()?;
        let width = match kind {
            0 | 1 | 7 => 1,
            2 | 3 => 2,
            4..=6 => 4,
            10..=12 => 8,
            8 => {
                for _ in 0..length {
                    let text = self.u64()?;
                    self.skip(text)?;
                }
                return Ok(GgufValue::Array(length, Vec::new()));
            }
            9 => {
                for _ in 0..length {
                    self.nested(kind, depth + 1)?;
                }
                return Ok(GgufValue::Array(length, Vec::new()));
            }
            other => return Err(format!("an array of the unknown type {other} at byte {}", self.position)),
        };
        if length > MOST_KEPT {
            let bytes = length.checked_mul(width).ok_or_else(|| format!("an array of {length} values"))?;
            self.skip(bytes)?;
            return Ok(GgufValue::Array(length, Vec::new()));
        }
        let values = (0..length).map(|_| self.nested(kind, depth + 1)).collect::<Result<_, _>>()?;
        Ok(GgufValue::Array(length, values))
    }
}
