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
    assert_eq!(server.seen().len(), 1);

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
