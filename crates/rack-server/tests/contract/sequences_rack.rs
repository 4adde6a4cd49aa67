//! Sequences about files, connections and the rack itself (`rack-api.md` §7.13, §7.14,
//! §7.16, §7.18), as [`super::sequences`] replays all others.

use std::io::Read as _;

use serde_json::json;

use super::flow::text;
use super::wire::{Official, Payload, STREAM};
use super::world::{Client, until};

/// §7.13: bytes both ways, the client ends its direction first.
pub(super) async fn proxy(rack: &Client, client: &Official) {
    rack.deploy("myapp").await;
    let socket = client.socket("/proxy/web.myapp.staging/3000", &[]).await;
    let ask = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    for piece in ask.chunks(7) {
        socket.writer.data(piece).await.expect("sent");
    }
    socket.writer.end().await.expect("sent");
    let answer = socket.rest().await;
    assert!(answer.ended, "{answer:?}");
    assert!(answer.text().contains(" 200 OK\r\n"), "{}", answer.text());
    let nowhere = client.socket("/proxy/127.0.0.1/22", &[]).await;
    let refused = nowhere.rest().await.text();
    assert!(refused.starts_with("ERROR: "), "{refused}");
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        // Clients write absolute names, which the library's own way refuses.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder
            .append(&header, content.as_bytes())
            .expect("memory does not fail");
    }
    builder.into_inner().expect("memory does not fail")
}

/// §7.16: up and down again.
pub(super) async fn cp(rack: &Client, client: &Official) {
    rack.deploy("myapp").await;
    let id = text(&client.json("/apps/myapp/processes").await[0], "id");
    let files = format!("/apps/myapp/processes/{id}/files");
    let sent = archive(&[
        ("/tmp/dst/one.txt", "first"),
        ("/tmp/dst/b/two.txt", "second"),
    ]);
    let answer = client
        .request("POST", (&files, ""), &[], Payload::Chunks(STREAM, &sent))
        .await;
    client.fine(&answer);
    let got = client.find(&files, "file=%2Ftmp%2Fdst").await;
    assert_eq!(got.status, 200, "{}", String::from_utf8_lossy(&got.body));
    let mut found = Vec::new();
    let mut tar = tar::Archive::new(got.body.as_slice());
    for entry in tar.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").to_string_lossy().into_owned();
        if entry.header().entry_type().is_file() {
            let mut content = String::new();
            entry.read_to_string(&mut content).expect("text");
            found.push((name, content));
        }
    }
    found.sort();
    // The full path without its first slash, by which clients find their way.
    assert_eq!(
        found,
        [
            ("tmp/dst/b/two.txt", "second"),
            ("tmp/dst/one.txt", "first")
        ]
        .map(|(name, content)| (name.to_owned(), content.to_owned()))
    );
    let single = client.find(&files, "file=%2Ftmp%2Fdst%2Fone.txt").await;
    let mut tar = tar::Archive::new(single.body.as_slice());
    let first = tar
        .entries()
        .expect("a tar")
        .next()
        .expect("one")
        .expect("one");
    assert_eq!(
        first.path().expect("a name").to_string_lossy(),
        "tmp/dst/one.txt"
    );
    let missing = client.find(&files, "file=%2Ftmp%2Fnone").await;
    assert_eq!(missing.status, 404);
}

/// §7.14: `rack params set`, which writes and reads again.
pub(super) async fn rack_params_set(_rack: &Client, client: &Official) {
    let before = client.json("/system").await;
    assert!(before["parameters"]["Sentinel"].is_null(), "{before}");
    let answer = client
        .put("/system", &[("parameters", "Sentinel=a%26b")])
        .await;
    client.fine(&answer);
    let after = client.json("/system").await;
    assert_eq!(after["parameters"]["Sentinel"], json!("a&b"));
    assert_eq!(after["status"], json!("running"));
    let answer = client.put("/system", &[("count", "1")]).await;
    client.fine(&answer);
}

/// §7.18: `certs generate`, `certs`, `certs delete`.
pub(super) async fn certs(_rack: &Client, client: &Official) {
    let fields = [("domains", "one.example.test,two.example.test")];
    let made = client.post("/certificates/generate", &fields).await.json();
    let id = text(&made, "id");
    let listed = client.json("/certificates").await;
    assert_eq!(listed[0]["id"], json!(id));
    assert_eq!(
        listed[0]["domains"],
        json!(["one.example.test", "two.example.test"])
    );
    assert!(text(&listed[0], "expiration").as_str() > "2026", "{listed}");
    let answer = client.delete(&format!("/certificates/{id}")).await;
    client.fine(&answer);
    assert_eq!(client.json("/certificates").await, json!([]));
}

/// §7.18: `registries`, `registries remove` with a server that has slashes.
pub(super) async fn registries(_rack: &Client, client: &Official) {
    assert_eq!(client.json("/registries").await, json!([]));
    let fields = [("password", "p"), ("server", ""), ("username", "u")];
    let blank = client.post("/registries", &fields).await;
    assert!(blank.status >= 400, "{blank:?}");
    assert!(blank.text().contains("server"), "{}", blank.text());
    let unknown = client
        .delete("/registries/https://none.example.test/v1/")
        .await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown.text().contains("https://none.example.test/v1/"),
        "{}",
        unknown.text()
    );
}

/// §7.18 and §4.13: `rack resources create`, its wait, `rack resources`, `delete`.
pub(super) async fn rack_resources(_rack: &Client, client: &Official) {
    let types = client
        .request("OPTIONS", ("/resources", ""), &[], Payload::Nothing)
        .await
        .json();
    assert!(
        types.as_array().is_some_and(|types| types.len() >= 3),
        "{types}"
    );
    let fields = [("kind", "redis"), ("name", "cache")];
    let made = client.post("/resources", &fields).await.json();
    assert_eq!(text(&made, "name"), "cache");
    until("the resource to be running", async || {
        text(&client.json("/resources/cache").await, "status") == "running"
    })
    .await;
    let listed = client.json("/resources").await;
    assert_eq!(text(&listed[0], "type"), "redis");
    let answer = client.delete("/resources/cache").await;
    client.fine(&answer);
    // What ends the client's wait is this text.
    until("the resource to be gone", async || {
        client
            .get("/resources/cache")
            .await
            .text()
            .contains("no such resource: cache")
    })
    .await;
}
