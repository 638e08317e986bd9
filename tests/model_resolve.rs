//! From what a user writes to a model: files, folders, cards and sizes, and what is said when none fits.

use std::fs;
use std::time::{Duration, Instant};

use vramplan::model::{self, DecoderConfig, ModelType, Origin};

const LLAMA: &str = r#"{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "vocab_size": 32000}"#;

fn message(spec: &str) -> String {
    let message = model::resolve(spec).expect_err(spec).to_string();
    assert!(!message.contains('\n'), "{message}");
    message
}

fn written(folder: &tempfile::TempDir, name: &str, bytes: &[u8]) -> String {
    let path = folder.path().join(name);
    fs::write(&path, bytes).expect("a file");
    path.to_string_lossy().into_owned()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn a_bare_size_is_a_guess_of_llama_s_shape() {
    let guess = model::resolve("7b").expect("a guess");
    let card = model::resolve("llama-2-7b").expect("a card");
    assert_eq!(guess.origin(), Origin::Guess);
    assert_eq!(guess.name(), "7b");
    let guessed = guess.decoder().expect("a decoder").clone();
    let known = card.decoder().expect("a decoder");
    assert_eq!(DecoderConfig { name: known.name.clone(), origin: Origin::Config, ..guessed }, *known);
    for size in ["350m", "1.5b", "13B", "70b", "671b"] {
        let guess = model::resolve(size).expect(size);
        assert_eq!((guess.origin(), guess.model_type()), (Origin::Guess, ModelType::Llama));
    }
}

#[test]
fn an_impossible_size_is_refused() {
    assert_eq!(message("999t"), "model size `999t` is out of range: give a size from 10m to 10t, such as 350m or 7b");
    assert_eq!(message("0b"), "model size `0b` is out of range: give a size from 10m to 10t, such as 350m or 7b");
    assert!(message("99999999999999999999999999b").contains("out of range"));
}

#[test]
fn a_file_and_a_folder_are_read() {
    let folder = folder();
    let file = written(&folder, "config.json", LLAMA.as_bytes());
    let by_file = model::resolve(&file).expect("a model");
    let by_folder = model::resolve(&folder.path().to_string_lossy()).expect("a model");
    assert_eq!(by_file, by_folder);
    assert_eq!(Some(by_file.name()), folder.path().file_name().and_then(|name| name.to_str()));

    let mine = written(
        &folder,
        "mine.toml",
        b"model_type = \"gpt2\"\nn_embd = 768\nn_layer = 12\nn_head = 12\nvocab_size = 50257\n",
    );
    let model = model::resolve(&mine).expect("a model");
    let intermediate_size = model.decoder().map(|decoder| decoder.mlp.intermediate_size);
    assert_eq!((model.name(), intermediate_size), ("mine", Some(3072)));
}

#[test]
fn a_byte_order_mark_is_not_an_error() {
    let folder = folder();
    let file = written(&folder, "config.json", format!("\u{feff}{LLAMA}").as_bytes());
    assert!(model::resolve(&file).is_ok());
}

#[test]
fn an_unknown_name_lists_the_nearest() {
    let said = message("lama-2-7b");
    assert!(said.starts_with("unknown model `lama-2-7b`: no card of that name, and not a size such as 7b; the nearest known are llama-2-7b, "), "{said}");
    let said = message("meta-llama/Llama-2-9b-hf");
    assert!(said.starts_with("unknown model `meta-llama/Llama-2-9b-hf`: no such file or folder, and no card of that name; the nearest known are "), "{said}");
    assert!(
        message("")
            .starts_with("unknown model ``: give a card's name, a path to a config.json, or a size such as 7b; ")
    );
    assert_eq!(
        message("zzzz"),
        "unknown model `zzzz`: no card of that name, and not a size such as 7b; `vramplan models` lists the known ones"
    );
    assert!(message("weird\nname").starts_with("unknown model `weird\\nname`: "));
    assert!(message(&"x".repeat(1 << 20)).len() < 500);
    assert!(message("a\0b").starts_with("unknown model `a\\u{0}b`"));
}

#[test]
fn a_path_that_is_none_says_so() {
    let folder = folder();
    let path = folder.path().join("none.json");
    assert_eq!(
        message(&path.to_string_lossy()),
        format!("cannot read `{}`: No such file or directory (os error 2)", path.display())
    );
    assert!(message(&folder.path().to_string_lossy()).contains("this folder has no config.json"));
    let weights = written(&folder, "weights.bin", b"x");
    assert!(message(&weights).contains("only files that end in .json or .toml are read"));
    let odd = folder.path().join("odd.json");
    fs::create_dir(&odd).expect("a folder");
    assert_eq!(
        message(&odd.to_string_lossy()),
        format!(
            "`{}` is not a regular file: give a config.json, a model card, or a folder that has a config.json",
            odd.display()
        )
    );
}

#[test]
fn a_huge_file_is_refused_from_its_size() {
    let folder = folder();
    let path = folder.path().join("config.json");
    fs::File::create(&path).and_then(|file| file.set_len(1 << 30)).expect("a sparse file");
    let start = Instant::now();
    assert_eq!(
        message(&path.to_string_lossy()),
        format!(
            "`{}` is 1073741824 bytes: a model's configuration is at most 4194304 bytes, so give its config.json",
            path.display()
        )
    );
    assert!(start.elapsed() < Duration::from_millis(100));
}

#[cfg(unix)]
#[test]
fn a_device_and_a_pipe_are_refused_without_opening_them() {
    let folder = folder();
    let link = folder.path().join("config.json");
    std::os::unix::fs::symlink("/dev/zero", &link).expect("a link");
    assert!(message(&link.to_string_lossy()).contains("is not a regular file"));

    let pipe = folder.path().join("pipe.json");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if made.is_ok_and(|status| status.success()) {
        assert!(message(&pipe.to_string_lossy()).contains("is not a regular file"));
    }
}

#[test]
fn a_file_that_is_not_json_is_refused_in_one_line() {
    let folder = folder();
    let said = |bytes: &[u8]| {
        let file = written(&folder, "config.json", bytes);
        message(&file).replace(&file, "F")
    };
    assert_eq!(said(b"\xff\xfe{}"), "`F` is not UTF-8 text (byte 0 is invalid): give a config.json or a model card");
    assert_eq!(said(b""), "`F` is not valid JSON: it is empty");
    assert_eq!(said(b"{\"hidden_size\": }"), "`F` is not valid JSON: expected value at line 1 column 17");
    assert_eq!(
        said(b"{\"model_type\": \"llama\",\n \"hidden_size\": NaN}"),
        "`F` is not valid JSON: NaN at line 2 is not a JSON number: replace it by a number or null"
    );
    assert_eq!(
        said(b"{\"hidden_size\": -Infinity}"),
        "`F` is not valid JSON: -Infinity at line 1 is not a JSON number: replace it by a number or null"
    );
    assert_eq!(
        said(b"{\"hidden_size\": [Infinity]}"),
        "`F` is not valid JSON: Infinity at line 1 is not a JSON number: replace it by a number or null"
    );
    assert_eq!(said(b"{\"hidden_size\": 1e999}"), "`F` is not valid JSON: number out of range at line 1 column 21");
    assert_eq!(said(&b"[".repeat(1 << 20)), "`F` is not valid JSON: it is nested deeper than 128 levels at line 1");
    assert_eq!(
        said(b"[1, 2]"),
        "`F` is an array: it must be an object such as {\"model_type\": \"llama\", \"hidden_size\": 4096, ...}"
    );
    assert_eq!(
        said(b"{}"),
        "missing field `model_type`: give the type its config.json has on the Hub, such as \"llama\""
    );
}

#[test]
fn a_file_that_is_not_toml_is_refused_in_one_line() {
    let folder = folder();
    let said = |text: &str| {
        let file = written(&folder, "model.toml", text.as_bytes());
        message(&file).replace(&file, "F")
    };
    assert!(said("a = \n").starts_with("`F` is not valid TOML: "));
    assert_eq!(said("a = nan"), "`F` is not valid TOML: the number NaN has no place in a config: replace it");
    assert_eq!(
        said("a = 2024-01-01"),
        "`F` is not valid TOML: the date 2024-01-01 has no place in a config: replace it"
    );
    assert!(said(&format!("a = {}", "[".repeat(100_000))).starts_with("`F` is not valid TOML: "));
}

#[test]
fn a_card_is_found_in_no_time() {
    // Debug builds are slow; a release build takes well under a millisecond.
    let start = Instant::now();
    assert!(model::card("bigscience/bloom").is_some());
    assert!(start.elapsed() < Duration::from_millis(500));
}
