//! The socket as a program uses it, and as an enemy would.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
};

use serde_json::Value;

use crate::node::{Folder, Node, PATIENCE, of_type, until};

/// One request as it stands on the wire; the answer's status and body.
fn ask(node: &Node, method: &str, path: &str, body: &str) -> (u16, String) {
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    speak(node, &[head.as_bytes(), body.as_bytes()].concat())
}

fn speak(node: &Node, bytes: &[u8]) -> (u16, String) {
    let mut stream = connect(node);
    // Whoever is refused early cannot write everything.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    (status, body)
}

fn connect(node: &Node) -> UnixStream {
    let stream = UnixStream::connect(node.socket()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The objects of an answer in chunks.
fn objects(body: &str) -> Vec<Value> {
    body.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(Value::is_object)
        .collect()
}

#[test]
fn a_program_gets_the_objects_that_the_command_prints() {
    let folder = Folder::with_daemons();
    let (alice, _bob) = folder.acquainted();
    let (status, sent) = ask(&alice, "POST", "/v1/send", r#"{"to":"Bob","text":"hi"}"#);
    assert_eq!((status, &objects(&sent)[0]["state"]), (200, &"saved".into()));
    for (path, args) in [
        ("/v1/queue/ls", &["queue", "ls"][..]),
        ("/v1/contact/ls", &["contact", "ls"]),
        ("/v1/bundle/ls", &["bundle", "ls"]),
    ] {
        let (status, body) = ask(&alice, "POST", path, "{}");
        let keys = |objects: &[Value]| -> Vec<Vec<String>> {
            objects.iter().map(|o| o.as_object().unwrap().keys().cloned().collect()).collect()
        };
        assert_eq!((status, keys(&objects(&body))), (200, keys(&alice.json(args))), "{path}");
    }
    let (status, why) = ask(&alice, "POST", "/v1/why", r#"{"id":"1234"}"#);
    let why = objects(&why).remove(0);
    assert_eq!((status, &why["type"], &why["code"]), (404, &"error".into(), &"unknown".into()));
}

#[test]
fn the_description_names_every_route_and_no_other_exists() {
    let folder = Folder::with_daemons();
    let node = folder.node("Alice");
    let (status, body) = ask(&node, "GET", "/v1/openapi.json", "");
    assert_eq!(status, 200);
    let document: Value = serde_json::from_str(&body).unwrap();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 30);
    for (path, methods) in paths {
        // Every one is there: asked in the wrong way, it says which is the right one.
        let wrong = if methods["post"].is_null() { "POST" } else { "GET" };
        assert_eq!(ask(&node, wrong, path, "").0, 405, "{path}");
        // And a request that makes no sense is refused, not misunderstood.
        if methods["post"]["requestBody"]["content"]["application/json"].is_object() {
            assert_eq!(ask(&node, "POST", path, r#"{"nonsense":1}"#).0, 400, "{path}");
            assert_eq!(ask(&node, "POST", path, "[]").0, 400, "{path}");
        }
    }
    for nowhere in ["/", "/v1/", "/v1/nothing", "/v1/../metrics", "/V1/status"] {
        assert_eq!(ask(&node, "POST", nowhere, "{}").0, 404, "{nowhere}");
    }
}

#[test]
fn figures_are_there_for_prometheus() {
    let folder = Folder::with_daemons();
    let (alice, _bob) = folder.acquainted();
    alice.send(["Bob", "hi"]);
    let (status, text) = ask(&alice, "GET", "/metrics", "");
    assert_eq!(status, 200);
    assert!(text.contains("postrider_bundles{class=\"own\"} 1\n"), "{text}");
    assert!(!text.contains("Bob"), "names stay here: {text}");
}

#[test]
fn a_listener_hears_what_it_missed() {
    let folder = Folder::with_daemons();
    let (alice, bob) = folder.acquainted();
    let stick = folder.dir("stick");
    let ids: Vec<String> = ["one", "two"].map(|text| alice.send(["Bob", text])).into();
    alice.toss(&stick);
    bob.toss(&stick);
    let listen = |after: u64| {
        let mut stream = connect(&bob);
        let head = format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nlast-event-id: {after}\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let data = lines.find_map(|line| line.unwrap().strip_prefix("data: ").map(str::to_owned));
        serde_json::from_str::<Value>(&data.unwrap()).unwrap()
    };
    // Each message is told, and that it lies in its folder: a thread of its own lays it, so the
    // four come in any order.
    let heard = [0, 1, 2, 3].map(listen);
    assert_eq!(heard.each_ref().map(|event| event["number"].as_u64().unwrap()), [1, 2, 3, 4]);
    for what in ["message", "laid"] {
        for id in &ids {
            let of = |event: &&Value| event["what"] == what && event["id"] == **id;
            assert_eq!(heard.iter().filter(of).count(), 1, "{what} {id}: {heard:?}");
        }
    }
}

#[test]
fn what_no_honest_program_sends_is_refused_and_costs_nobody_else_anything() {
    let folder = Folder::with_daemons();
    let node = folder.node("Alice");
    let endless_head = [b"GET / HTTP/1.1\r\nx: ".to_vec(), vec![b'x'; 4 << 20]].concat();
    let many_heads = [b"GET / HTTP/1.1\r\n".to_vec(), b"a: b\r\n".repeat(100_000)].concat();
    for hostile in [&endless_head[..], &many_heads, b"\0\0\0\0\r\n\r\n", b"GET\r\n\r\n"] {
        let (status, _) = speak(&node, hostile);
        assert!(status == 0 || (400..500).contains(&status), "{status}");
    }
    // A body that is said, or shown, to have no end.
    let said = b"POST /v1/send HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n".to_vec();
    let shown = b"POST /v1/send HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunk = [b"100000\r\n".to_vec(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    for (head, more) in [(said, vec![b' '; 1 << 20]), (shown, chunk)] {
        let (status, body) = speak(&node, &[head, more.repeat(8)].concat());
        // The answer may be lost when the socket closes under our writing.
        assert!(status == 400 || status == 0, "{status} {body}");
    }
    node.run(["status"]).ok();
}

#[test]
fn only_so_many_may_be_connected_and_the_rest_is_told() {
    let folder = Folder::with_daemons();
    let node = folder.node("Alice");
    until("the refusal", || {
        // Whoever says nothing is not kept for long, so they come anew each time.
        let _idle: Vec<UnixStream> = (0..64).map(|_| connect(&node)).collect();
        let (status, body) = speak(&node, b"");
        status == 503 && of_type(&objects(&body), "error").len() == 1
    });
    until("an answer", || node.run(["status"]).code == Some(0));
}
