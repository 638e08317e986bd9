//! GGUF files.

use crate::files::Case;

const U8: u32 = 0;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A file of so many tensors and entries, as it says, and what follows.
fn case(what: &'static str, tensors: u64, entries: u64, rest: &[u8]) -> Case {
    let contents = [b"GGUF".as_slice(), &3_u32.to_le_bytes(), &tensors.to_le_bytes(), &entries.to_le_bytes(), rest];
    Case {
        what,
        name: "model.gguf",
        contents: contents.concat(),
        length: None,
        command: &["params", "FILE"],
        is_refused: true,
    }
}

fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(key)[..], &kind.to_le_bytes(), value].concat()
}

fn array(kind: u32, length: u64, values: &[u8]) -> Vec<u8> {
    [&kind.to_le_bytes()[..], &length.to_le_bytes(), values].concat()
}

/// An F32 tensor at an offset.
fn tensor(name: &str, dims: &[u64], offset: u64) -> Vec<u8> {
    let shape: Vec<u8> = dims.iter().flat_map(|dim| dim.to_le_bytes()).collect();
    let count = u32::try_from(dims.len()).unwrap();
    [&text(name)[..], &count.to_le_bytes(), &shape, &0_u32.to_le_bytes(), &offset.to_le_bytes()].concat()
}

pub(crate) fn cases() -> Vec<Case> {
    let llama = || entry("general.architecture", STRING, &text("llama"));
    let deep: Vec<u8> = (0..400_000).flat_map(|_| array(ARRAY, 1, b"")).collect();
    let keys: Vec<u8> = (0..200_000).flat_map(|i| entry(&format!("k{i}"), U8, &[1])).collect();
    let words: Vec<u8> = (0..500_000).flat_map(|_| text("x")).collect();
    let tensors: Vec<u8> = (0..60_000).flat_map(|i| tensor(&format!("blk.{i}.w"), &[8], i * 32)).collect();
    vec![
        case("2^63 tensors", 1 << 63, 0, b""),
        case("2^63 entries", 0, 1 << 63, b""),
        case("a key of 2^63 bytes", 0, 1, &(1_u64 << 63).to_le_bytes()),
        case("a word of 2^63 bytes", 0, 1, &entry("k", STRING, &(1_u64 << 63).to_le_bytes())),
        case("an array of 2^63 bytes", 0, 1, &entry("k", ARRAY, &array(U8, 1 << 63, b""))),
        case("an array of 2^63 words", 0, 1, &entry("k", ARRAY, &array(STRING, 1 << 63, b""))),
        case("arrays 400,000 deep", 0, 1, &entry("k", ARRAY, &deep)),
        case("a key twice", 0, 2, &[llama(), llama()].concat()),
        case("a tensor twice", 2, 0, &[tensor("a", &[8], 0), tensor("a", &[8], 32)].concat()),
        case("offsets that overlap", 2, 0, &[tensor("a", &[16], 0), tensor("b", &[16], 32)].concat()),
        case("2^32 - 1 dimensions", 1, 0, &[text("a"), u32::MAX.to_le_bytes().to_vec()].concat()),
        case("2^126 elements", 1, 0, &tensor("a", &[1 << 63, 1 << 63], 0)),
        case("an offset of 2^63", 1, 0, &tensor("a", &[8], 1 << 63)),
        Case {
            command: &["estimate", "FILE"],
            ..case(
                "NaN for a number",
                0,
                2,
                &[llama(), entry("llama.block_count", F32, &f32::NAN.to_le_bytes())].concat(),
            )
        },
        case("200,000 keys that nobody knows", 0, 200_000, &keys),
        Case {
            is_refused: false,
            ..case("500,000 words", 0, 1, &entry("tokenizer.ggml.tokens", ARRAY, &array(STRING, 500_000, &words)))
        },
        case("60,000 tensors that are not there", 60_000, 0, &tensors),
        Case { length: Some(100_000_000), ..case("100 MB of zeros", 100_000, 100_000, b"") },
    ]
}
