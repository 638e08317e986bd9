//! What is cached is read without a network, and what is fetched is cached as `huggingface_hub` would.

use std::fs;
use std::path::Path;

use vramplan::hub::HubErrorKind;
use vramplan::model;

use super::server::{Reply, Server};
use super::{COMMIT, CONFIG, ETAG, PARAMETERS, failure, file, folder, hub_with, id, not_found, one_repository, tree};

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:1";

/// `models--org--name` as huggingface_hub 1.x writes it (docs/source/en/guides/manage-cache.md).
fn written_by_python(home: &Path, links: bool) {
    let repository = home.join("hub/models--org--name");
    let snapshot = repository.join("snapshots").join(COMMIT);
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::create_dir_all(repository.join("blobs")).unwrap();
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    if links {
        fs::write(repository.join("blobs").join(ETAG), CONFIG).unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(format!("../../blobs/{ETAG}"), snapshot.join("config.json")).unwrap();
    } else {
        fs::write(snapshot.join("config.json"), CONFIG).unwrap();
    }
}

#[test]
fn a_cache_of_the_python_library_is_read_without_a_network() {
    for links in [cfg!(unix), false] {
        let home = folder();
        written_by_python(home.path(), links);
        for spec in ["org/name", "org/name@main", &format!("org/name@{COMMIT}")] {
            for variables in [&[][..], &[("HF_HUB_OFFLINE", "1")]] {
                let hub = hub_with(home.path(), NOWHERE, variables);
                let found = hub.config(&id(spec)).unwrap();
                assert_eq!((found.bytes, found.commit.as_deref()), (CONFIG.as_bytes().to_vec(), Some(COMMIT)));
                let model = model::resolve_with(spec, None, &hub).unwrap();
                assert_eq!(vramplan::step::count_parameters(&model, None).unwrap().total, PARAMETERS);
            }
        }
    }
}

#[test]
fn what_was_fetched_is_laid_out_as_the_python_library_does() {
    let (home, server) = (folder(), Server::start(one_repository));
    let hub = hub_with(home.path(), &server.url, &[]);
    assert_eq!(hub.config(&id("org/name")).unwrap().bytes, CONFIG.as_bytes());
    assert_eq!(
        tree(&home.path().join("hub")),
        [
            "CACHEDIR.TAG".to_owned(),
            format!("models--org--name/blobs/{ETAG}"),
            "models--org--name/refs/main".to_owned(),
            format!("models--org--name/snapshots/{COMMIT}/config.json"),
        ]
    );
    let repository = home.path().join("hub/models--org--name");
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
    // The second time nothing is asked, nor with no network at all.
    assert_eq!(server.seen().len(), 1);
    hub.config(&id("org/name")).unwrap();
    assert_eq!(server.seen().len(), 1);
    hub_with(home.path(), NOWHERE, &[("HF_HUB_OFFLINE", "1")]).config(&id("org/name")).unwrap();
}

#[test]
fn without_links_the_file_itself_is_in_the_snapshot() {
    let (home, server) = (folder(), Server::start(one_repository));
    let hub = hub_with(home.path(), &server.url, &[("HF_HUB_DISABLE_SYMLINKS", "1")]);
    hub.config(&id("org/name")).unwrap();
    let path = home.path().join(format!("hub/models--org--name/snapshots/{COMMIT}/config.json"));
    assert!(fs::symlink_metadata(path).unwrap().is_file());
    assert_eq!(tree(&home.path().join("hub/models--org--name/blobs")), [""; 0]);
}

#[test]
fn another_file_of_a_cached_snapshot_is_of_its_commit() {
    // The weights were fetched by another program, the branch has moved since.
    let home = folder();
    let repository = home.path().join("hub/models--org--name");
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), COMMIT).unwrap();
    let server = Server::start(|request| {
        if request.path == format!("/org/name/resolve/{COMMIT}/config.json") {
            file(CONFIG)
        } else {
            not_found("EntryNotFound")
        }
    });
    hub_with(home.path(), &server.url, &[]).config(&id("org/name")).unwrap();
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
}

#[test]
fn a_commit_that_is_gone_is_asked_for_by_its_branch() {
    let home = folder();
    let repository = home.path().join("hub/models--org--name");
    fs::create_dir_all(repository.join("refs")).unwrap();
    fs::write(repository.join("refs/main"), "f".repeat(40)).unwrap();
    let server = Server::start(|request| match request.path.as_str() {
        "/org/name/resolve/main/config.json" => file(CONFIG),
        _ => not_found("RevisionNotFound"),
    });
    hub_with(home.path(), &server.url, &[]).config(&id("org/name")).unwrap();
    assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
}

#[test]
fn what_is_not_cached_says_how_to_get_it() {
    let home = folder();
    let offline = hub_with(home.path(), NOWHERE, &[("HF_HUB_OFFLINE", "1")]);
    let cache = home.path().join("hub").display().to_string();
    let (kind, line) = failure(offline.config(&id("org/name")));
    assert_eq!(kind, HubErrorKind::Offline);
    assert_eq!(
        line,
        format!(
            "`org/name`: it is not in the cache {cache} and HF_HUB_OFFLINE is set: unset it, or fetch it with \
             `hf download org/name config.json`"
        )
    );
    let (_, line) =
        failure(hub_with(home.path(), NOWHERE, &[]).offline("--offline is given").config(&id("org/name@v1")));
    assert!(line.contains("--offline is given") && line.contains("config.json --revision v1`"), "{line}");

    // Known to be absent, as huggingface_hub notes it.
    let absent = home.path().join("hub/models--org--name/.no_exist").join(COMMIT);
    fs::create_dir_all(&absent).unwrap();
    fs::write(absent.join("config.json"), "").unwrap();
    let (kind, _) = failure(offline.config(&id(&format!("org/name@{COMMIT}"))));
    assert_eq!(kind, HubErrorKind::NoSuchFile);
}

#[test]
fn an_answer_that_names_no_commit_is_used_and_not_kept() {
    for (commit, etag) in [("", ETAG), ("../../../x", ETAG), (COMMIT, "../../../../x"), (COMMIT, "")] {
        let server = Server::start(move |_| {
            Reply::new(200).with("X-Repo-Commit", commit).with("ETag", format!("\"{etag}\"")).body(CONFIG)
        });
        let home = folder();
        let hub = hub_with(&home.path().join("in"), &server.url, &[]);
        assert_eq!(hub.config(&id("org/name")).unwrap().bytes, CONFIG.as_bytes());
        assert_eq!(tree(home.path()), [""; 0]);
    }
}

#[test]
fn a_cache_that_cannot_be_written_does_not_matter() {
    let (home, server) = (folder(), Server::start(one_repository));
    fs::write(home.path().join("hub"), "a file is in the way").unwrap();
    assert!(hub_with(home.path(), &server.url, &[]).config(&id("org/name")).is_ok());
}

#[test]
fn a_cached_file_that_is_too_large_or_broken_is_one_error() {
    let home = folder();
    written_by_python(home.path(), false);
    let path = home.path().join(format!("hub/models--org--name/snapshots/{COMMIT}/config.json"));
    fs::write(&path, vec![b' '; (4 << 20) + 1]).unwrap();
    let (kind, line) = failure(hub_with(home.path(), NOWHERE, &[]).config(&id("org/name")));
    assert_eq!(kind, HubErrorKind::Cache);
    assert!(line.contains("remove it"), "{line}");
    fs::write(&path, "{").unwrap();
    let error = model::resolve_with("org/name", None, &hub_with(home.path(), NOWHERE, &[])).unwrap_err().to_string();
    assert!(error.starts_with("`org/name/config.json` is not valid JSON"), "{error}");
}

#[test]
fn many_at_once_leave_one_whole_file() {
    let (home, server) = (folder(), Server::start(one_repository));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| hub_with(home.path(), &server.url, &[]).config(&id("org/name")).unwrap());
        }
    });
    assert_eq!(tree(&home.path().join("hub")).len(), 4);
    let hub = hub_with(home.path(), NOWHERE, &[]);
    assert_eq!(hub.config(&id("org/name")).unwrap().bytes, CONFIG.as_bytes());
}
