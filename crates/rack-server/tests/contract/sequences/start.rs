//! The sequence of `start` (`rack-api.md` §7.18): build, promote, follow, and copy what
//! changes into the processes.

use serde_json::json;

use super::super::flow::{PLAIN, source, text};
use super::super::wire::Generation::V3;
use super::super::wire::{Official, Payload, STREAM};
use super::super::world::{Client, until};
use super::{attached, list, message, wait};

/// §7.18: `start`, with a change and a removal of files while it runs
pub(super) async fn start(_rack: &Client, client: &Official) {
    let system = client.json("/system").await;
    assert_eq!(text(&system, "provider"), "local");
    assert_eq!(
        message(client, &client.get("/apps/foo").await),
        "app not found: foo"
    );
    let fields = [("generation", "2"), ("name", "foo")];
    assert_eq!(
        client.post("/apps", &fields).await.json()["generation"],
        "2"
    );
    let none = client.find("/apps/foo/releases", "limit=1").await;
    assert_eq!(none.json(), json!([]));
    let upload = Payload::Bytes(STREAM, &source(PLAIN));
    let stored = client
        .request("POST", ("/apps/foo/objects/", ""), &[], upload)
        .await
        .json();
    let url = text(&stored, "Url");
    assert!(url.starts_with("object://foo/tmp/"), "{url}");
    let mut fields = vec![("development", "true"), ("url", url.as_str())];
    if client.generation == V3 {
        fields.push(("external", "false"));
    }
    let build = client.post("/apps/foo/builds", &fields).await.json();
    let target = format!("/apps/foo/builds/{}", text(&build, "id"));
    let log = client.stream(&format!("{target}/logs"), &[]).await;
    assert!(log.ended, "{log:?}");
    let mut release = String::new();
    until("the build to be complete", async || {
        let build = client.json(&target).await;
        assert!(
            ["running", "complete"].contains(&text(&build, "status").as_str()),
            "{build}"
        );
        release = text(&build, "release");
        build["status"] == "complete"
    })
    .await;
    let promote = format!("/apps/foo/releases/{release}/promote");
    let fields = [
        ("development", "true"),
        ("force", "true"),
        ("idle", "false"),
        ("min", "0"),
        ("timeout", "300"),
    ];
    client.fine(&client.post(&promote, &fields).await);
    let options = [("Prefix", "true"), ("Since", "1s")];
    let mut log = client.socket("/apps/foo/logs", &options).await;
    let (_, app) = futures::future::join(log.until(" system/"), wait(client, "foo")).await;
    assert_eq!(text(&app, "release"), release);
    synchronise(client).await;
    // Interrupted.
    let app = client.json("/apps/foo").await;
    let promote = format!("/apps/foo/releases/{}/promote", text(&app, "release"));
    let fields = [("development", "false"), ("force", "true")];
    client.fine(&client.post(&promote, &fields).await);
    wait(client, "foo").await;
}

/// A tar of files as the client makes it: absolute names, bits of the kind of file in
/// the mode.
fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o100_644);
        // The library's own way refuses absolute names.
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        let appended = builder.append(&header, content.as_bytes());
        appended.expect("memory does not fail");
    }
    builder.into_inner().expect("memory does not fail")
}

/// What `start` does for files that have changed, and for files that have gone.
async fn synchronise(client: &Official) {
    let found = client.find("/apps/foo/processes", "service=web").await;
    let id = text(&list(&found.json())[0], "id");
    let process = format!("/apps/foo/processes/{id}");
    // With no other header there is a terminal, and no input at all.
    let headers = [("Command", "pwd")];
    let (status, directory) = attached(client, &format!("{process}/exec"), &headers, b"").await;
    assert_eq!((status, directory.trim()), (0, "/app"));
    let files = format!("{process}/files");
    let changed = archive(&[("/app/new.txt", "new"), ("/app/deep/er/two.txt", "two")]);
    let upload = Payload::Chunks(STREAM, &changed);
    let answer = client.request("POST", (&files, ""), &[], upload).await;
    client.fine(&answer);
    let there = async |name: &str| {
        let query = format!("file=%2Fapp%2F{name}");
        client.find(&files, &query).await.status
    };
    assert_eq!(there("new.txt").await, 200);
    assert_eq!(there("deep%2Fer%2Ftwo.txt").await, 200);
    // Removed are names below the directory that is watched; one is gone already.
    let query = "files=new.txt%2Cdeep%2Fer%2Ftwo.txt%2Cnever.txt";
    let answer = client
        .request("DELETE", (&files, query), &[], Payload::Nothing)
        .await;
    client.fine(&answer);
    assert_eq!(there("new.txt").await, 404);
    assert_eq!(there("deep%2Fer%2Ftwo.txt").await, 404);
    assert_eq!(there("convox.yml").await, 200, "what was not removed");
}
