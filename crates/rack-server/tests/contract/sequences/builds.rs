//! Sequences of builds, releases and the environment (`rack-api.md` §7.2 to §7.5, §7.9).

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::super::flow::{DOCKERFILE, MANIFEST, PLAIN, multipart, source, text};
use super::super::wire::Generation::{V3, Y2017};
use super::super::wire::{Official, Payload, STREAM};
use super::super::world::{Client, FORM, Stream, until};
use super::{BUILD, RELEASE, SYSTEM, list, message, promoted, shape};

/// Uploads a source and begins a build as the generation does; returns it.
async fn begin_build(client: &Official, files: &[(&str, &str)], more: &[(&str, &str)]) -> Value {
    shape(&client.json("/system").await, SYSTEM);
    let source = source(files);
    if client.generation == Y2017 {
        let fields = [("cache", "true"), ("config", ""), ("description", "")];
        let (kind, body) = multipart("source", &source, &fields);
        let payload = Payload::Chunks(&kind, &body);
        let target = ("/apps/foo/builds", "");
        return client.request("POST", target, &[], payload).await.json();
    }
    let key = format!("tmp/{}.tgz", rack_api::id::hex(30));
    let stored = client
        .request(
            "POST",
            (&format!("/apps/foo/objects/{key}"), ""),
            &[],
            Payload::Bytes(STREAM, &source),
        )
        .await
        .json();
    let url = format!("object://foo/{key}");
    assert_eq!(stored, json!({ "Url": url }));
    let mut fields = more.to_vec();
    fields.push(("url", &url));
    client.post("/apps/foo/builds", &fields).await.json()
}

/// Builds as the generation does; returns the build and its log.
async fn build_with(
    client: &Official,
    files: &[(&str, &str)],
    more: &[(&str, &str)],
) -> (Value, Stream) {
    let begun = begin_build(client, files, more).await;
    shape(&begun, BUILD);
    shape(&begun, "ended:zero");
    assert_eq!(begun["status"], "running", "no client waits for another");
    let id = text(&begun, "id");
    assert!(id.len() == 11 && id.starts_with('B'), "{id}");
    let logs = format!("/apps/foo/builds/{id}/logs");
    if client.generation == Y2017 {
        client.json("/system").await;
    }
    let live = client.stream(&logs, &[]).await;
    assert!(live.ended, "{live:?}");
    let target = format!("/apps/foo/builds/{id}");
    let mut build = json!(null);
    until("the build to end", async || {
        build = client.json(&target).await;
        build["status"] != "running"
    })
    .await;
    shape(&build, BUILD);
    shape(&build, "ended:time");
    if client.generation != Y2017 {
        if client.generation == V3 {
            build = client.json(&target).await;
        }
        let whole = client.stream(&logs, &[]).await;
        assert!(whole.ended, "{whole:?}");
        assert_eq!(whole.bytes(), live.bytes(), "what was streamed, once more");
    }
    assert!(!live.bytes().contains(&0x1b), "no colours");
    (build, live)
}

/// Builds the usual app; returns the release.
async fn built(client: &Official) -> String {
    let (build, log) = build_with(client, PLAIN, &[]).await;
    assert_eq!(text(&build, "status"), "complete", "{}", log.text());
    text(&build, "release")
}

/// §7.2
pub(super) async fn build(rack: &Client, client: &Official) {
    rack.create("foo").await;
    let hash = "0123456789abcdef0123456789abcdef01234567";
    let options = [
        ("build-args", "A=1,B=2"),
        ("description", "build 0123456789 a subject"),
        ("git-sha", hash),
        ("manifest", "convox.yml"),
        ("no-cache", "true"),
    ];
    let dockerfile = format!("{DOCKERFILE}ARG A\nRUN echo argument is $A\n");
    let files = [PLAIN[0], ("Dockerfile", dockerfile.as_str())];
    let (build, log) = build_with(client, &files, &options).await;
    assert_eq!(text(&build, "status"), "complete", "{}", log.text());
    assert_eq!(text(&build, "manifest"), MANIFEST);
    if client.generation != Y2017 {
        assert_eq!(text(&build, "git-sha"), hash);
        assert_eq!(text(&build, "description"), "build 0123456789 a subject");
        assert!(log.text().contains("argument is 1"), "{}", log.text());
    }
    let id = text(&build, "id");
    assert_eq!(
        text(&build, "logs"),
        format!("object://foo/build/{id}/logs")
    );
    let release = text(&build, "release");
    let release = client.json(&format!("/apps/foo/releases/{release}")).await;
    shape(&release, RELEASE);
    assert_eq!(text(&release, "build"), id);
    let builds = client.json("/apps/foo/builds").await;
    assert_eq!(text(&list(&builds)[0], "id"), id);
    // One that fails says so last.
    let broken = [PLAIN[0], ("Dockerfile", "FROM busybox:1.36\nRUN exit 3\n")];
    let (build, log) = build_with(client, &broken, &[]).await;
    assert_eq!(text(&build, "status"), "failed");
    assert_eq!(text(&build, "release"), "");
    let log = log.text();
    let last = log.lines().last().expect("a line");
    assert!(last.starts_with("ERROR: "), "{log}");
}

/// §7.3
pub(super) async fn deploy(rack: &Client, client: &Official) {
    rack.create("foo").await;
    if client.generation == Y2017 {
        assert_eq!(client.json("/apps/foo").await["status"], "running");
    }
    let release = built(client).await;
    promoted(client, "foo", &release).await;
    let processes = client.json("/apps/foo/processes").await;
    assert_eq!(text(&list(&processes)[0], "release"), release);
}

/// §7.4
pub(super) async fn releases_promote(rack: &Client, client: &Official) {
    let first = rack.deploy("foo").await;
    let newest = text(&rack.set_env("foo", "A=1").await, "id");
    let releases = if client.generation == Y2017 {
        client.json("/apps/foo/releases").await
    } else {
        client.find("/apps/foo/releases", "limit=1").await.json()
    };
    shape(&list(&releases)[0], RELEASE);
    assert_eq!(text(&list(&releases)[0], "id"), newest);
    promoted(client, "foo", &newest).await;
    // An older one needs a rollback: a copy that is newer.
    let target = format!("/apps/foo/releases/{first}");
    let refused = client.post(&format!("{target}/promote"), &[]).await;
    assert_eq!(
        message(client, &refused),
        "can not promote an older release, try rollback"
    );
    if client.generation == Y2017 {
        return;
    }
    let old = client.json(&target).await;
    let (build, env) = (text(&old, "build"), text(&old, "env"));
    let fields = [("build", build.as_str()), ("env", env.as_str())];
    let copy = client.post("/apps/foo/releases", &fields).await.json();
    shape(&copy, RELEASE);
    assert_eq!((text(&copy, "build"), text(&copy, "env")), (build, env));
    promoted(client, "foo", &text(&copy, "id")).await;
}

/// §7.5
pub(super) async fn env_set(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let (set, unset) = if client.generation == Y2017 {
        env_set_2017(client).await
    } else {
        env_set_later(client).await
    };
    let env = async |id: &str| {
        let release = client.json(&format!("/apps/foo/releases/{id}")).await;
        shape(&release, RELEASE);
        text(&release, "env")
    };
    assert_eq!(env(&set).await, "A=1\nB=x y\nC=a=b&c");
    assert_eq!(env(&unset).await, "B=x y\nC=a=b&c");
    promoted(client, "foo", &unset).await;
}

async fn env_set_2017(client: &Official) -> (String, String) {
    let target = "/apps/foo/environment";
    assert_eq!(client.json(target).await, json!({}));
    let body = Payload::Bytes(FORM, b"C=a=b&c\nA=1\nB=x y\n");
    let answer = client.request("POST", (target, ""), &[], body).await;
    assert_eq!(answer.json(), json!({ "A": "1", "B": "x y", "C": "a=b&c" }));
    let set = answer.header("release-id").expect("a release").to_owned();
    assert_eq!(client.json(target).await["C"], "a=b&c");
    let answer = client.delete(&format!("{target}/A")).await;
    assert_eq!(answer.json(), json!({ "B": "x y", "C": "a=b&c" }));
    let unset = answer.header("release-id").expect("a release").to_owned();
    (set, unset)
}

async fn env_set_later(client: &Official) -> (String, String) {
    let mut made = Vec::new();
    for env in ["A=1\nB=x y\nC=a=b&c", "B=x y\nC=a=b&c"] {
        // The base is the latest release, promoted or not.
        let latest = client.find("/apps/foo/releases", "limit=1").await.json();
        let latest = text(&list(&latest)[0], "id");
        if let Some(last) = made.last() {
            assert_eq!(&latest, last);
        }
        let base = client.json(&format!("/apps/foo/releases/{latest}")).await;
        shape(&base, RELEASE);
        client.json("/system").await;
        let release = client.post("/apps/foo/releases", &[("env", env)]).await;
        let release = release.json();
        shape(&release, RELEASE);
        assert_eq!(text(&release, "env"), env);
        made.push(text(&release, "id"));
    }
    assert_eq!(
        text(
            &client
                .json(&format!("/apps/foo/releases/{}", made[1]))
                .await,
            "description"
        ),
        "env remove:A"
    );
    if client.generation == V3 {
        let fields = [("env", "A=9"), ("parent-release", made[0].as_str())];
        let release = client.post("/apps/foo/releases", &fields).await.json();
        assert_eq!(
            text(&release, "description"),
            "env change:A remove:B remove:C"
        );
        let env = [("env", "B=x y\nC=a=b&c")];
        let release = client.post("/apps/foo/releases", &env).await.json();
        made[1] = text(&release, "id");
    }
    (made.remove(0), made.remove(0))
}

/// Names and bytes of the entries of an archive.
fn entries(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(GzDecoder::new(archive));
    let entries = archive.entries().expect("a tar");
    entries
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("its bytes");
            let path = entry.path().expect("a name");
            (path.to_string_lossy().into_owned(), bytes)
        })
        .collect()
}

/// Sends an archive as the generation does; returns the build.
pub(super) async fn imported(client: &Official, app: &str, archive: &[u8]) -> Value {
    let answer = if client.generation == Y2017 {
        let (kind, body) = multipart("image", archive, &[]);
        let target = format!("/apps/{app}/builds");
        let payload = Payload::Chunks(&kind, &body);
        client.request("POST", (&target, ""), &[], payload).await
    } else {
        let target = format!("/apps/{app}/builds/import");
        let payload = Payload::Chunks(STREAM, archive);
        client.request("POST", (&target, ""), &[], payload).await
    };
    let build = answer.json();
    shape(&build, BUILD);
    shape(&build, "ended:time");
    assert_eq!(text(&build, "status"), "complete");
    assert!(text(&build, "release").starts_with('R'), "{build}");
    build
}

/// §7.9
pub(super) async fn builds_export_and_import(rack: &Client, client: &Official) {
    rack.create("foo").await;
    rack.create("bar").await;
    let (build, _) = rack.build("foo", PLAIN).await;
    let id = text(&build, "id");
    let archive = client.get(&format!("/apps/foo/builds/{id}.tgz")).await;
    assert_eq!(archive.status, 200);
    assert_eq!(archive.header("content-encoding"), None);
    let inside = entries(&archive.body);
    assert_eq!(inside[0].0, "build.json");
    let described: Value = serde_json::from_slice(&inside[0].1).expect("JSON");
    shape(&described, BUILD);
    assert_eq!(text(&described, "id"), id);
    assert!(
        inside
            .iter()
            .any(|(name, _)| name.rsplit('.').next() == Some("tar"))
    );
    client.json("/system").await;
    let copy = imported(client, "foo", &archive.body).await;
    assert_ne!(text(&copy, "id"), id);
    assert_eq!(copy["manifest"], build["manifest"]);
    let release = text(&copy, "release");
    let release = client.json(&format!("/apps/foo/releases/{release}")).await;
    assert_eq!(release["build"], copy["id"]);
    let missing = client.get("/apps/foo/builds/BAAAAAAAAAA.tgz").await;
    assert_eq!(message(client, &missing), "build not found: BAAAAAAAAAA");
}
