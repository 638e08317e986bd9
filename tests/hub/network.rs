//! Redirects, refusals, and servers that misbehave.

use std::time::{Duration, Instant};

use vramplan::hub::{Hub, HubErrorKind as Kind};
use vramplan::model;

use super::server::{Reply, Server};
use super::{COMMIT, CONFIG, ETAG, failure, file, folder, hub_with, id, not_found, one_repository, tree};

/// What comes of one answer to everything, with nothing left in the cache.
#[track_caller]
fn refused(reply: Reply, variables: &[(&str, &str)]) -> (Kind, String) {
    let server = Server::start(move |_| reply.clone());
    let home = folder();
    let failure = failure(hub_with(home.path(), &server.url, variables).config(&id("org/name")));
    assert_eq!(tree(home.path()), [""; 0]);
    failure
}

const TOKEN: &[(&str, &str)] = &[("HF_TOKEN", "hf_secret")];

#[test]
fn a_revision_is_one_part_of_the_address() {
    let (home, server) = (folder(), Server::start(|_| file(CONFIG)));
    hub_with(home.path(), &server.url, &[]).config(&id("org/name@refs/pr/1")).unwrap();
    assert_eq!(server.paths(), ["/org/name/resolve/refs%2Fpr%2F1/config.json"]);
    assert!(home.path().join("hub/models--org--name/refs/refs/pr/1").is_file());
}

#[test]
fn the_token_goes_to_the_hub_and_nowhere_else() {
    let store = Server::start(|_| Reply::new(200).with("ETag", "\"of-the-store\"").body(CONFIG));
    let to = store.url.clone();
    // A renamed repository, then a store of large files, as the Hub redirects.
    let hub = Server::start(move |request| match request.path.as_str() {
        "/org/name/resolve/main/config.json" => Reply::new(307).with("Location", "/new/name/resolve/main/config.json"),
        _ => Reply::new(302)
            .with("Location", format!("{to}/blob?signed=1"))
            .with("X-Repo-Commit", COMMIT)
            .with("ETag", "\"not-this\"")
            .with("X-Linked-Etag", format!("\"{ETAG}\"")),
    });
    let home = folder();
    hub_with(home.path(), &hub.url, TOKEN).config(&id("org/name")).unwrap();
    assert_eq!(hub.seen().len(), 2);
    assert!(hub.seen().iter().all(|request| request.header("Authorization") == Some("Bearer hf_secret")));
    assert_eq!(store.paths(), ["/blob?signed=1"]);
    assert!(store.seen().iter().all(|request| request.header("Authorization").is_none()));
    // The blob is called what the Hub, not the store, says.
    assert!(home.path().join(format!("hub/models--org--name/blobs/{ETAG}")).is_file());
}

#[test]
fn redirects_end() {
    let (kind, line) = refused(Reply::new(302).with("Location", "/round/and/round"), &[]);
    assert_eq!(kind, Kind::BadAnswer);
    assert!(line.contains("more than 5 redirects"), "{line}");
    for location in ["", "file:///etc/passwd", "http://hf_user:pass@127.0.0.1/"] {
        assert_eq!(refused(Reply::new(302).with("Location", location), &[]).0, Kind::BadAnswer, "{location}");
    }
}

#[test]
fn refusals_say_what_to_do() {
    let gated = || Reply::new(401).with("X-Error-Code", "GatedRepo").with("X-Error-Message", "Access is restricted");
    let (kind, line) = refused(gated(), &[]);
    assert_eq!(kind, Kind::Gated);
    assert!(
        line.contains("accept its licence at http://127.0.0.1:") && line.contains("/org/name, then set HF_TOKEN"),
        "{line}"
    );
    let (kind, line) = refused(Reply { status: 403, ..gated() }, TOKEN);
    assert_eq!(kind, Kind::Gated);
    assert!(line.contains("the token's account has no access") && !line.contains("hf_secret"), "{line}");

    let missing = || Reply::new(401).with("X-Error-Code", "RepoNotFound");
    let (kind, line) = refused(missing(), &[]);
    assert_eq!(kind, Kind::NoSuchRepository);
    assert!(line.contains("check its name, or set HF_TOKEN if it is private"), "{line}");
    assert_eq!(refused(not_found("RepoNotFound"), TOKEN).0, Kind::NoSuchRepository);
    let rejected = Reply::new(401).with("X-Error-Message", "Invalid credentials in Authorization header");
    let (kind, line) = refused(rejected, TOKEN);
    assert_eq!(kind, Kind::Unauthorized);
    assert!(line.contains("does not accept the token"), "{line}");
    assert_eq!(refused(Reply::new(403), TOKEN).0, Kind::Unauthorized);
    let (kind, line) = refused(not_found("RevisionNotFound"), &[]);
    assert_eq!(kind, Kind::NoSuchRevision);
    assert!(line.contains("no branch, tag or commit `main`"), "{line}");
    let (kind, line) = refused(Reply::new(418).with("X-Error-Message", "tea\u{9}pot"), &[]);
    assert_eq!(kind, Kind::BadAnswer);
    assert!(line.contains("418") && line.contains("tea\\tpot"), "{line}");
}

#[test]
fn a_repository_without_a_config_says_what_it_has() {
    let of = |files: &'static [&'static str]| {
        let server = Server::start(move |request| match request.path.as_str() {
            "/api/models/org/name/revision/main" => {
                let siblings: Vec<_> = files.iter().map(|file| serde_json::json!({"rfilename": file})).collect();
                Reply::new(200).body(serde_json::json!({"id": "org/name", "siblings": siblings}).to_string())
            }
            "/org/name/resolve/main/adapter_config.json" => file(
                r#"{"peft_type": "LORA", "base_model_name_or_path": "meta-llama/Llama-3.1-8B", "r": 16,
                    "target_modules": ["q_proj", "v_proj"]}"#,
            ),
            _ => not_found("EntryNotFound"),
        });
        failure(hub_with(folder().path(), &server.url, &[]).config(&id("org/name")))
    };
    let (kind, line) = of(&["README.md", "m-Q4_K_M.gguf", "m-Q8_0.gguf"]);
    assert_eq!(kind, Kind::NoSuchFile);
    assert!(line.contains("GGUF files (m-Q4_K_M.gguf, m-Q8_0.gguf): `hf download org/name m-Q4_K_M.gguf`"), "{line}");
    let (_, line) = of(&["a", "b", "c", "d", "e", "f"]);
    assert!(line.contains("its files are a, b, c, d and 2 more"), "{line}");
    let (kind, line) = of(&["adapter_config.json", "adapter_model.safetensors"]);
    assert_eq!(kind, Kind::Adapter);
    assert!(line.contains("a LORA adapter of `meta-llama/Llama-3.1-8B`"), "{line}");
    assert!(
        line.contains("`vramplan estimate meta-llama/Llama-3.1-8B --r 16 --target-modules q_proj,v_proj`"),
        "{line}"
    );
    // Where the list is not to be had either.
    let (kind, line) = refused(not_found("EntryNotFound"), &[]);
    assert_eq!(kind, Kind::NoSuchFile);
    assert!(line.contains("it has no config.json"), "{line}");
}

#[test]
fn a_rate_limit_is_waited_for_where_it_is_short() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    for status in [429, 503] {
        let count = AtomicUsize::new(0);
        let server = Server::start(move |request| {
            let first = count.fetch_add(1, Ordering::SeqCst) == 0;
            if first { Reply::new(status).with("Retry-After", "1") } else { one_repository(request) }
        });
        let began = Instant::now();
        hub_with(folder().path(), &server.url, &[]).config(&id("org/name")).unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1));
    }
    let began = Instant::now();
    let (kind, line) = refused(Reply::new(429).with("Retry-After", "240"), &[]);
    assert_eq!(kind, Kind::RateLimited);
    assert!(line.contains("try again in 240 s, or set HF_TOKEN"), "{line}");
    assert_eq!(refused(Reply::new(429).with("Retry-After", "99999999999999999999"), &[]).0, Kind::RateLimited);
    assert!(began.elapsed() < Duration::from_secs(5));
    // And not for ever.
    let server = Server::start(|_| Reply::new(429).with("Retry-After", "0"));
    assert_eq!(failure(hub_with(folder().path(), &server.url, &[]).config(&id("org/name"))).0, Kind::RateLimited);
    assert_eq!(server.seen().len(), 3);
}

#[test]
fn what_is_cut_off_is_not_kept() {
    let (kind, line) = refused(Reply { length: Some(1000), ..file(CONFIG) }, &[]);
    assert_eq!(kind, Kind::Network);
    assert!(line.contains("config.json was cut off before its end: try again"), "{line}");
}

#[test]
fn what_is_too_large_is_not_read() {
    let server = Server::start(|_| Reply { length: Some(1 << 40), endless: true, ..file("{") });
    let (kind, line) = failure(hub_with(folder().path(), &server.url, &[]).config(&id("org/name")));
    assert_eq!(kind, Kind::TooLarge);
    assert!(line.contains("config.json is 1099511627776 bytes"), "{line}");
    std::thread::sleep(Duration::from_millis(200));
    // No more than what fits between the sockets.
    assert!(server.sent() < 32 << 20, "{}", server.sent());
}

#[test]
fn a_web_page_is_no_configuration() {
    let (kind, line) = refused(
        Reply { headers: vec![("Content-Type", "text/html; charset=utf-8".to_owned())], ..file("<html>Log in</html>") },
        &[],
    );
    assert_eq!(kind, Kind::BadAnswer);
    assert!(line.contains("a web page came instead"), "{line}");
}

#[test]
fn what_is_no_json_is_one_error() {
    let server = Server::start(|_| file("<html>"));
    let home = folder();
    let error =
        model::resolve_with("org/name", None, &hub_with(home.path(), &server.url, &[])).unwrap_err().to_string();
    assert!(error.starts_with("`org/name/config.json` is not valid JSON") && !error.contains('\n'), "{error}");
    let server = Server::start(|_| file(b"\xff\xfe".as_slice()));
    let error = model::resolve_with("org/name", None, &hub_with(folder().path(), &server.url, &[])).unwrap_err();
    assert!(error.to_string().contains("not UTF-8"), "{error}");
}

#[test]
fn a_server_that_is_slow_or_absent_is_given_up() {
    let variables = &[("HF_HUB_DOWNLOAD_TIMEOUT", "1")];
    let began = Instant::now();
    let (kind, line) = refused(Reply { delay: Duration::from_secs(20), ..file(CONFIG) }, variables);
    assert_eq!(kind, Kind::Network);
    assert!(line.contains("did not answer in time") && line.contains("HF_HUB_DOWNLOAD_TIMEOUT"), "{line}");
    assert!(began.elapsed() < Duration::from_secs(10));

    // A name that is reserved for having no address (RFC 2606), and a port where nothing listens.
    for endpoint in ["http://hub.invalid", "http://127.0.0.1:1"] {
        let (kind, line) = failure(hub_with(folder().path(), endpoint, variables).config(&id("org/name")));
        assert_eq!(kind, Kind::Network, "{line}");
        assert!(line.contains("`hf download org/name config.json`"), "{line}");
    }
    let (kind, line) = failure(hub_with(folder().path(), "huggingface.co", &[]).config(&id("org/name")));
    assert_eq!(kind, Kind::BadAnswer);
    assert!(line.contains("HF_ENDPOINT is `huggingface.co`"), "{line}");
}

#[test]
fn what_is_here_is_not_asked_for() {
    let (home, server) = (folder(), Server::start(one_repository));
    let hub = hub_with(home.path(), &server.url, &[]);
    let resolved =
        |spec: &str, hub: &Hub| model::resolve_with(spec, None, hub).map(|_| ()).map_err(|error| error.to_string());
    for known in ["llama-2-7b", "meta-llama/Llama-2-7b-hf", "7b"] {
        assert_eq!(resolved(known, &hub), Ok(()));
    }
    let existing = home.path().join("there");
    std::fs::create_dir(&existing).unwrap();
    for none in [
        "llama-none",
        "no/such/model",
        "./org/name",
        "org/model.gguf",
        "org/config.json",
        "",
        existing.to_str().unwrap(),
    ] {
        assert!(resolved(none, &hub).is_err(), "{none}");
    }
    assert_eq!(server.paths(), [""; 0]);
    // And the library's own `resolve` asks nobody.
    assert!(model::resolve("org/name").is_err());
    // A card is of no revision in particular.
    assert!(model::resolve_with("meta-llama/Llama-2-7b-hf", Some("main"), &hub).is_err());
    assert_eq!(server.paths(), ["/meta-llama/Llama-2-7b-hf/resolve/main/config.json"]);
    assert!(model::resolve_with("llama-2-7b", Some("main"), &hub).unwrap_err().to_string().contains("a Hub id is"));
}
