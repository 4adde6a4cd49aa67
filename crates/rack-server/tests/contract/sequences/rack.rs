//! Sequences about files, connections and the rack itself (`rack-api.md` §7.13 to §7.16,
//! §7.18).

use std::io::Read as _;

use serde_json::json;

use super::super::flow::text;
use super::super::wire::Generation::{V2, V3, Y2017};
use super::super::wire::{Official, Payload, STREAM};
use super::super::world::{Client, until};
use super::{PROCESS, RELEASE, SYSTEM, list, message, shape};

/// §7.13: bytes both ways, the client ends its direction first.
pub(super) async fn proxy(rack: &Client, client: &Official) {
    rack.deploy("myapp").await;
    let socket = client.socket("/proxy/web.myapp.staging/3000", &[]).await;
    let ask = b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n";
    for piece in ask.chunks(7) {
        socket.writer.data(piece).await.expect("sent");
    }
    // The first generation has no word for it.
    if client.generation != Y2017 {
        socket.writer.end().await.expect("sent");
    }
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

/// §7.14
pub(super) async fn rack(_rack: &Client, client: &Official) {
    let system = client.json("/system").await;
    shape(&system, SYSTEM);
    assert_eq!(
        (&system["name"], &system["status"], &system["provider"]),
        (&json!("staging"), &json!("running"), &json!("local"))
    );
    let own = if client.generation == Y2017 {
        client.find("/system/processes", "all=false").await
    } else {
        client.get("/system/processes").await
    };
    let own = own.json();
    for process in list(&own) {
        shape(process, PROCESS);
    }
    assert_eq!(text(&list(&own)[0], "name"), "rack");
    let all = client.find("/system/processes", "all=true").await.json();
    assert!(list(&all).len() >= list(&own).len());
    let releases = client.json("/system/releases").await;
    for release in list(&releases) {
        shape(release, RELEASE);
    }
    assert_eq!(releases[0]["id"], system["version"]);
}

/// §7.15
pub(super) async fn rack_logs(rack: &Client, client: &Official) {
    rack.create("foo").await;
    let options: &[_] = match client.generation {
        Y2017 => &[("Filter", ""), ("Follow", "true"), ("Since", "2m0s")],
        V2 | V3 => &[("Prefix", "true")],
    };
    let mut socket = client.socket("/system/logs", options).await;
    let log = socket.until("app foo created").await;
    let line = log
        .lines()
        .find(|line| line.contains("app foo created"))
        .expect("a line");
    assert_eq!(
        line.split(' ').nth(1).map(|s| s.split('/').count()),
        Some(3)
    );
    rack.create("bar").await;
    socket.until("app bar created").await;
}

/// §7.14: `rack scale`, which shows and sets the number of instances and their type.
pub(super) async fn rack_scale(_rack: &Client, client: &Official) {
    let system = client.json("/system").await;
    shape(&system, SYSTEM);
    let kind = text(&system, "type");
    // The first generation sends both, and -1 for a count that nobody gave.
    let sends: [&[(&str, &str)]; 3] = match client.generation {
        Y2017 => [
            &[("count", "1"), ("type", "")],
            &[("count", "-1"), ("type", &kind)],
            &[("count", "3"), ("type", "")],
        ],
        V2 | V3 => [&[("count", "1")], &[("type", &kind)], &[("count", "3")]],
    };
    for same in &sends[..2] {
        if client.generation != Y2017 {
            client.json("/system").await;
        }
        client.fine(&client.put("/system", same).await);
    }
    let refused = client.put("/system", sends[2]).await;
    assert_eq!(
        message(client, &refused),
        "count cannot be changed on a local rack: this machine is its one instance"
    );
    assert_eq!(client.json("/system").await, system);
}

/// §7.14: `rack update VERSION --wait`. The rack has the version of its server: to be told
/// that it has been updated would be a lie.
pub(super) async fn rack_update(_rack: &Client, client: &Official) {
    let system = client.json("/system").await;
    let version = text(&system, "version");
    let send = async |version: &str| {
        let fields: &[_] = match client.generation {
            V3 => &[("force", "false"), ("version", version)],
            Y2017 | V2 => &[("version", version)],
        };
        if client.generation != V2 {
            client.json("/system").await;
        }
        client.put("/system", fields).await
    };
    client.fine(&send(&version).await);
    if client.generation == V2 {
        let options = [("Prefix", "true"), ("Since", "5s")];
        let mut log = client.socket("/system/logs", &options).await;
        log.until(&format!("already runs version {version}")).await;
    }
    for _ in 0..2 {
        assert_eq!(client.json("/system").await, system, "running, at once");
    }
    let refused = send("20991231235959").await;
    let told = message(client, &refused);
    assert!(
        told.starts_with("version 20991231235959 is not known here: ")
            && told.contains(&version)
            && !told.contains('\n'),
        "{told}"
    );
    assert_eq!(client.json("/system").await, system);
    let releases = client.json("/system/releases").await;
    assert_eq!(list(&releases).len(), 1, "{releases}");
}
