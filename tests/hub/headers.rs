//! The headers of safetensors files are read without their weights.

use std::fs;
use std::time::Duration;

use vramplan::hub::HubErrorKind as Kind;

use super::server::{Reply, Request, Server};
use super::{COMMIT, failure, file, folder, hub_with, id, not_found, tree};

/// A safetensors file: the length, the header, the data.
fn safetensors(header: &[u8], data: usize) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes()[..], header, &vec![7; data]].concat()
}

fn header(spaces: usize) -> Vec<u8> {
    let tensor = r#"{"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]}}"#;
    [tensor.as_bytes(), &vec![b' '; spaces]].concat()
}

/// The range that a request asks for, as servers answer it.
fn ranged(request: &Request, whole: &[u8]) -> Reply {
    let asked = request.header("Range").and_then(|range| range.strip_prefix("bytes=")?.split_once('-'));
    let Some((from, to)) = asked else { return file(whole) };
    let (from, to) = (from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap().min(whole.len() - 1));
    let reply = file(&whole[from..=to]).with("Content-Range", format!("bytes {from}-{to}/{}", whole.len()));
    Reply { status: 206, ..reply }
}

#[test]
fn a_short_header_takes_one_request_and_a_long_one_two() {
    for (spaces, requests) in [(0, 1), (60_000, 1), (70_000, 2), (3_000_000, 2)] {
        let header = header(spaces);
        let whole = safetensors(&header, 5_000_000);
        let server = Server::start(move |request| ranged(request, &whole));
        let home = folder();
        let hub = hub_with(home.path(), &server.url, &[]);
        assert_eq!(
            hub.safetensors_headers(&id("org/name")).unwrap(),
            [("model.safetensors".to_owned(), header.clone())]
        );
        assert_eq!(server.seen().len(), requests);
        assert!(server.sent() < 70_000 + header.len() as u64, "{}", server.sent());
        // Nothing of a part of a file is among the Hub's blobs; it is kept where libraries keep what they derive.
        let revision = if requests == 2 { COMMIT } else { "main" };
        assert!(server.paths().last().unwrap().contains(revision));
        assert_eq!(tree(home.path()), [format!("assets/vramplan/org--name/{COMMIT}/model.safetensors.header")]);
        let offline = hub_with(home.path(), "http://127.0.0.1:1", &[]);
        assert_eq!(
            offline.safetensors_header(&id(&format!("org/name@{COMMIT}")), "model.safetensors").unwrap(),
            header
        );
    }
}

#[test]
fn a_server_without_ranges_is_hung_up_on() {
    for spaces in [0, 100_000] {
        let header = header(spaces);
        let whole = safetensors(&header, 0);
        let server = Server::start(move |_| Reply { length: Some(1 << 40), endless: true, ..file(whole.clone()) });
        let hub = hub_with(folder().path(), &server.url, &[]);
        assert_eq!(hub.safetensors_header(&id("org/name"), "model.safetensors").unwrap(), header);
        std::thread::sleep(Duration::from_millis(200));
        assert!(server.sent() < 64 << 20, "{}", server.sent());
    }
}

#[test]
fn files_that_an_index_names_are_read_one_by_one() {
    let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let whole = safetensors(&header(0), 100);
    let server = Server::start(move |request| match request.path.rsplit('/').next().unwrap() {
        "model.safetensors" => not_found("EntryNotFound"),
        "model.safetensors.index.json" => {
            file(serde_json::json!({"weight_map": {"a": names[1], "b": names[0], "c": names[1]}}).to_string())
        }
        _ => ranged(request, &whole),
    });
    let home = folder();
    let hub = hub_with(home.path(), &server.url, &[]);
    let headers = hub.safetensors_headers(&id("org/name")).unwrap();
    assert_eq!(headers, names.map(|name| (name.to_owned(), header(0))));
    let last = format!("/org/name/resolve/{COMMIT}/{}", names[1]);
    assert_eq!((server.seen().len(), server.paths().last()), (4, Some(&last)));
    // All of it is here now.
    let offline = hub_with(home.path(), "http://127.0.0.1:1", &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.safetensors_headers(&id("org/name")).unwrap(), headers);
}

#[test]
fn a_file_that_is_cached_whole_is_read_there() {
    let home = folder();
    let snapshot = home.path().join("hub/models--org--name/snapshots").join(COMMIT);
    fs::create_dir_all(&snapshot).unwrap();
    fs::write(snapshot.join("model.safetensors"), safetensors(&header(5), 100)).unwrap();
    let hub = hub_with(home.path(), "http://127.0.0.1:1", &[("HF_HUB_OFFLINE", "1")]);
    let id = id(&format!("org/name@{COMMIT}"));
    assert_eq!(hub.safetensors_header(&id, "model.safetensors").unwrap(), header(5));
    for broken in [&b""[..], &[9; 7], &safetensors(&header(5), 0)[..20], &[0xff; 8], &[0; 8]] {
        fs::write(snapshot.join("model.safetensors"), broken).unwrap();
        failure(hub.safetensors_header(&id, "model.safetensors"));
    }
}

#[test]
fn what_is_no_safetensors_file_is_one_error() {
    let long = |length: u64| [&length.to_le_bytes()[..], b"{}"].concat();
    for (body, kind) in [
        (b"version https://git-lfs".to_vec(), Kind::BadAnswer),
        (vec![1, 2, 3], Kind::BadAnswer),
        (Vec::new(), Kind::BadAnswer),
        (long(0), Kind::BadAnswer),
        (long((8 << 20) + 1), Kind::BadAnswer),
        (long(u64::MAX), Kind::BadAnswer),
    ] {
        let server =
            Server::start(move |_| Reply { status: 206, ..file(body.clone()).with("Content-Range", "bytes 0-1/2") });
        let hub = hub_with(folder().path(), &server.url, &[]);
        let (found, line) = failure(hub.safetensors_header(&id("org/name"), "model.safetensors"));
        assert_eq!(found, kind, "{line}");
    }
    // Announced to be longer than the file is.
    let server = Server::start(move |request| {
        let from = if request.header("Range").unwrap().starts_with("bytes=0-") { 0 } else { 10 };
        let body = if from == 0 { long(1000) } else { vec![b' '; 500] };
        Reply { status: 206, ..file(body).with("Content-Range", format!("bytes {from}-{}/{}", from + 1, from + 2)) }
    });
    let hub = hub_with(folder().path(), &server.url, &[]);
    let (kind, line) = failure(hub.safetensors_header(&id("org/name"), "model.safetensors"));
    assert_eq!(kind, Kind::Network);
    assert!(line.contains("cut off"), "{line}");
}

#[test]
fn an_index_does_not_lead_out_of_the_repository() {
    for map in [r#"{"a": "../../x"}"#, r#"{"a": "/etc/passwd"}"#, r#"{"a": "x\\y"}"#, "{}", "[]", "7", r#"{"a": ""}"#] {
        let index = format!("{{\"weight_map\": {map}}}");
        let server = Server::start(move |request| {
            if request.path.ends_with("index.json") { file(index.clone()) } else { not_found("EntryNotFound") }
        });
        let hub = hub_with(folder().path(), &server.url, &[]);
        assert_eq!(failure(hub.safetensors_headers(&id("org/name"))).0, Kind::BadAnswer, "{map}");
        assert_eq!(server.seen().len(), 2);
    }
}
