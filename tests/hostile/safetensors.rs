//! Headers of safetensors files.

use crate::files::{Case, many, nested};

fn case(what: &'static str, header: &[u8], is_refused: bool) -> Case {
    let contents = [&(header.len() as u64).to_le_bytes()[..], header].concat();
    Case { what, name: "model.safetensors", contents, length: None, command: &["params", "FILE"], is_refused }
}

fn tensor(name: &str, from: u64, to: u64) -> String {
    format!(r#""{name}":{{"dtype":"U8","shape":[{}],"data_offsets":[{from},{to}]}}"#, to - from)
}

fn object(entries: impl IntoIterator<Item = String>) -> Vec<u8> {
    format!("{{{}}}", entries.into_iter().collect::<Vec<_>>().join(",")).into_bytes()
}

pub(crate) fn cases() -> Vec<Case> {
    let announced =
        |what, bytes: u64, length| Case { contents: bytes.to_le_bytes().to_vec(), length, ..case(what, b"", true) };
    // some 100,000 tensors: as many as a header that is read can list
    let full = object((0..98_000).map(|i| tensor(&format!("model.layers.{i}.w"), i, i + 1)));
    assert!((7 << 20..8 << 20).contains(&full.len()), "{}", full.len());
    let size = full.len() as u64 + 8 + 98_000;
    vec![
        announced("a header of 2^63 bytes", 1 << 63, None),
        announced("a header of 100 MB", 100_000_000, Some(100_000_008)),
        announced("a header of 2^64 - 1 bytes", u64::MAX, Some(1 << 33)),
        case("offsets that overlap", &object([tensor("a", 0, 8), tensor("b", 4, 12)]), true),
        case("offsets with a hole", &object([tensor("a", 0, 8), tensor("b", 9, 12)]), true),
        case("a tensor twice", &object([tensor("a", 0, 8), tensor("a", 8, 12)]), true),
        case(
            "a shape of 2^96 elements",
            br#"{"a":{"dtype":"U8","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,1]}}"#,
            true,
        ),
        case(
            "offsets near 2^64",
            br#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[18446744073709551615,18446744073709551614]}}"#,
            true,
        ),
        case("NaN for an offset", br#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[NaN,1]}}"#, true),
        case("8 MB of brackets", format!(r#"{{"a":{}}}"#, nested(4_000_000)).as_bytes(), true),
        case("8 MB of open brackets", many("[", 8_000_000).as_bytes(), true),
        case("8 MB of zeros", &vec![0; 8_000_000], true),
        case(
            "8 MB of metadata",
            format!(r#"{{"__metadata__":{{{}"k":"v"}}}}"#, many(r#""x":"y","#, 900_000)).as_bytes(),
            false,
        ),
        case(
            "a dimension a byte",
            format!(r#"{{"a":{{"dtype":"U8","shape":[{}1],"data_offsets":[0,1]}}}}"#, many("1,", 4_000_000)).as_bytes(),
            true,
        ),
        case("8 MB of names", &object((0..700_000).map(|i| format!(r#""{i}":0"#))), true),
        Case {
            name: "model.safetensors.index.json",
            contents: [br#"{"weight_map":"#.as_slice(), &object((0..1_400_000).map(|i| format!(r#""{i}":"a""#))), b"}"]
                .concat(),
            ..case("24 MB of names in an index", b"", true)
        },
        Case { length: Some(size), ..case("8 MB of tensors, all good", &full, false) },
    ]
}
