//! The command line, end to end.

use std::path::Path;

use assert_cmd::Command;
use serde_json::Value;

use super::server::Server;
use super::{COMMIT, CONFIG, PARAMETERS, file, folder, not_found, one_repository, tree};

fn vramplan(home: &Path, endpoint: &str, arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("vramplan").unwrap();
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HF_") || name.contains("HUGGING")) {
        command.env_remove(name);
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", endpoint).args(arguments);
    command
}

/// The one line of a command that fails with the exit code that the help names.
#[track_caller]
fn error(command: &mut Command) -> String {
    let output = command.assert().code(2).stdout("").get_output().stderr.clone();
    let line = String::from_utf8(output).unwrap();
    assert_eq!(line.lines().count(), 1, "{line}");
    line.trim_end().to_owned()
}

#[test]
fn a_model_on_the_hub_is_estimated() {
    let (home, server) = (folder(), Server::start(one_repository));
    let run = |endpoint: &str, arguments: &[&str]| -> Value {
        let arguments = [arguments, &["--json"]].concat();
        let output =
            vramplan(home.path(), endpoint, &arguments).assert().success().stderr("").get_output().stdout.clone();
        serde_json::from_slice(&output).unwrap()
    };
    let estimate = run(&server.url, &["estimate", "org/name", "--max-seq-length", "16"]);
    assert_eq!(estimate["model"]["name"], "org/name");
    assert_eq!(estimate["model"]["parameters"], PARAMETERS);
    assert!(estimate["peak"]["allocated_bytes"].as_u64().unwrap() > 2 * PARAMETERS);
    // Its config.json, its weights and their index, of which it has none; that too is remembered.
    assert_eq!(server.seen().len(), 3);
    assert_eq!(run(&server.url, &["estimate", "org/name", "--max-seq-length", "16"]), estimate);
    assert_eq!(server.seen().len(), 3);

    // From here on it is cached: no server answers, and the same is said as of the file itself.
    let nowhere = "http://127.0.0.1:1";
    assert_eq!(run(nowhere, &["estimate", "org/name", "--max-seq-length", "16"]), estimate);
    assert_eq!(run(nowhere, &["params", "org/name", "--offline"])["parameters"], PARAMETERS);
    assert_eq!(run(nowhere, &["params", "org/name", "--revision", COMMIT])["parameters"], PARAMETERS);
    assert_eq!(run(nowhere, &["params", &format!("org/name@{COMMIT}")])["parameters"], PARAMETERS);
    assert_eq!(run(nowhere, &["models", "show", "org/name"])["parameters"], PARAMETERS);
    let path = home.path().join("config.json");
    std::fs::write(&path, CONFIG).unwrap();
    let of_file = run(nowhere, &["estimate", path.to_str().unwrap(), "--max-seq-length", "16"]);
    assert_eq!((&of_file["peak"], &of_file["at_peak"]), (&estimate["peak"], &estimate["at_peak"]));
}

#[test]
fn a_built_in_model_needs_no_network() {
    let (home, server) = (folder(), Server::start(one_repository));
    vramplan(home.path(), &server.url, &["params", "meta-llama/Llama-2-7b-hf"]).assert().success().stderr("");
    vramplan(home.path(), &server.url, &["params", "7b", "--offline"]).assert().success().stderr("");
    assert_eq!(server.paths(), [""; 0]);
    assert_eq!(tree(home.path()), [""; 0]);
}

#[test]
fn what_cannot_be_had_is_one_line_and_exit_code_2() {
    let (home, server) = (folder(), Server::start(one_repository));
    let line = error(&mut vramplan(home.path(), &server.url, &["estimate", "org/other"]));
    assert!(line.starts_with("error: `org/other`: there is no such public repository on http://127.0.0.1:"), "{line}");
    let line = error(&mut vramplan(home.path(), &server.url, &["estimate", "org/other", "--offline"]));
    assert!(
        line.contains("--offline is given: leave that out, or fetch it with `hf download org/other config.json`"),
        "{line}"
    );
    let line = error(vramplan(home.path(), &server.url, &["estimate", "org/other"]).env("HF_HUB_OFFLINE", "1"));
    assert!(line.contains("HF_HUB_OFFLINE is set: unset it"), "{line}");
    assert_eq!(server.seen().len(), 1);
    let line = error(&mut vramplan(home.path(), &server.url, &["params", "org/na..me"]));
    assert!(line.contains("unknown model `org/na..me`") && line.contains("without -- or .. in it"), "{line}");
    let line = error(&mut vramplan(home.path(), &server.url, &["params", "org/name@../x"]));
    assert!(line.contains("no part of a revision is empty or begins with a dot"), "{line}");
    let line = error(&mut vramplan(home.path(), &server.url, &["params", "llama-2-7b", "--revision", "main"]));
    assert!(line.contains("a Hub id is org/name"), "{line}");
    let line = error(&mut vramplan(home.path(), &server.url, &["params", "org/name@v1", "--revision", "main"]));
    assert!(line.contains("give one of the two"), "{line}");
    assert_eq!(server.seen().len(), 1);
}

#[test]
fn the_token_is_sent_and_never_shown() {
    let server = Server::start(|request| match request.header("Authorization") {
        Some("Bearer hf_secret") if request.path.starts_with("/org/name/") => file(CONFIG),
        _ => not_found("RepoNotFound"),
    });
    let home = folder();
    std::fs::write(home.path().join("token"), "hf_secret\n").unwrap();
    vramplan(home.path(), &server.url, &["params", "org/name"]).assert().success();
    let line = error(&mut vramplan(home.path(), &server.url, &["params", "org/other"]));
    assert!(line.contains("that the token may see") && !line.contains("hf_secret"), "{line}");
}

/// A file of a Hub's model, its tensors as `named` says of each of the configuration's.
fn weights(named: impl Fn(&str) -> bool, dtype: &str, bytes: u64) -> Vec<u8> {
    let mut tensors =
        vec![("model.embed_tokens.weight".to_owned(), [100, 64]), ("lm_head.weight".to_owned(), [100, 64])];
    tensors.push(("model.norm.weight".to_owned(), [64, 1]));
    for layer in 0..2 {
        let mut add = |name: &str, shape| tensors.push((format!("model.layers.{layer}.{name}.weight"), shape));
        ["q", "k", "v", "o"].iter().for_each(|name| add(&format!("self_attn.{name}_proj"), [64, 64]));
        ["gate", "up"].iter().for_each(|name| add(&format!("mlp.{name}_proj"), [128, 64]));
        add("mlp.down_proj", [64, 128]);
        ["input", "post_attention"].iter().for_each(|name| add(&format!("{name}_layernorm"), [64, 1]));
    }
    let mut end = 0;
    let header: serde_json::Map<String, Value> = tensors
        .into_iter()
        .filter(|(name, _)| named(name))
        .map(|(name, shape)| {
            let start = end;
            end += bytes * shape[0] * shape[1];
            (name, serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [start, end]}))
        })
        .collect();
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header].concat()
}

/// The repository `org/name` with more files beside its config.json.
fn with_files(files: Vec<(&'static str, Vec<u8>)>) -> Server {
    Server::start(move |request| {
        let name = request.path.rsplit('/').next().unwrap();
        files
            .iter()
            .find(|(known, _)| *known == name)
            .map_or_else(|| one_repository(request), |(_, body)| file(&body[..]))
    })
}

/// What the library prints of `org/name` at `server`, as JSON.
fn said(server: &Server, home: &Path, arguments: &[&str]) -> Value {
    let output = vramplan(home, &server.url, arguments).arg("--json").assert().success().get_output().stdout.clone();
    serde_json::from_slice(&output).unwrap()
}

#[test]
fn what_the_weights_on_the_hub_are_stored_as_is_told() {
    let server = with_files(vec![("model.safetensors", weights(|_| true, "F32", 4))]);
    let home = folder();
    let params = said(&server, home.path(), &["params", "org/name"]);
    assert_eq!(params["parameters"], PARAMETERS);
    assert_eq!(params["stored"]["bytes"], 4 * PARAMETERS);
    assert_eq!(params["stored"]["by_dtype"]["F32"]["elements"], PARAMETERS);
    let estimate = said(&server, home.path(), &["estimate", "org/name"]);
    let notes = estimate["basis"]["notes"].to_string();
    assert!(notes.contains("the checkpoint is mostly F32, and weights are taken to be bf16"), "{notes}");
    assert_eq!(estimate["basis"]["validated"], true);
    // The second command found all of it in the cache, and so does one without a network.
    assert_eq!(server.seen().len(), 2);
    assert_eq!(said(&server, home.path(), &["estimate", "org/name", "--offline"]), estimate);
    let fp32 = said(&server, home.path(), &["estimate", "org/name", "--precision", "fp32"]);
    assert!(!fp32["basis"]["notes"].to_string().contains("the checkpoint"), "{fp32}");
}

#[test]
fn weights_on_the_hub_that_are_not_the_configurations_are_told() {
    let head = |name: &str| name == "lm_head.weight";
    let index = |files: [&str; 2]| {
        serde_json::json!({"weight_map": {"lm_head.weight": files[0], "model.norm.weight": files[1]}}).to_string()
    };
    // Two files that hold everything, then two of which one is missing a layer.
    for (second, doubtful) in [(true, false), (false, true)] {
        let rest = move |name: &str| !head(name) && (second || !name.contains(".layers.1."));
        let server = with_files(vec![
            ("model.safetensors.index.json", index(["a.safetensors", "b.safetensors"]).into_bytes()),
            ("a.safetensors", weights(head, "BF16", 2)),
            ("b.safetensors", weights(rest, "BF16", 2)),
        ]);
        let estimate = said(&server, folder().path(), &["estimate", "org/name"]);
        let notes = estimate["basis"]["notes"].to_string();
        assert_eq!(notes.contains("the estimate follows the configuration"), doubtful, "{notes}");
        assert_eq!(estimate["basis"]["validated"], !doubtful);
    }
    // What is no safetensors file does not stand in the way of what the configuration says.
    for broken in [vec![0xff; 8], b"version https://git-lfs".to_vec(), [&2_u64.to_le_bytes()[..], b"[]"].concat()] {
        let server = with_files(vec![("model.safetensors", broken)]);
        let estimate = said(&server, folder().path(), &["estimate", "org/name"]);
        assert!(estimate["basis"]["notes"].to_string().contains("its weights were not looked at"), "{estimate}");
    }
}
