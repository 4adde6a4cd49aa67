//! What official clients send for each command, in the order they send it
//! (`rack-api.md` §7), with what they read out of the answers and what it effects.
//! [`super::wire`] writes the requests as each generation does; where generations
//! differ in what they send, it says so here.

use std::collections::BTreeMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::flow::{DOCKERFILE, MANIFEST, PLAIN, multipart, source, status_of, text};
use super::wire::Generation::{V2, V3, Y2017};
use super::wire::{Official, Payload, STREAM};
use super::world::{Answer, Client, FORM, Stream, until};

/// Makes of each sequence a test on either engine, of a generation that has chosen a
/// rack by some name.
macro_rules! replay {
    ($generation:ident, $rack:literal: $($test:ident = $sequence:ident),+ $(,)?) => {
        $(
            async fn $test(engine: $crate::engines::Engine) {
                let (_world, rack) = engine.with_rack().await;
                let client = $crate::wire::Official::new(
                    $crate::wire::Generation::$generation,
                    &rack,
                    $rack,
                );
                $crate::sequences::$sequence(&rack, &client).await;
            }
        )+

        $crate::engines::on_both_engines!($($test),+);
    };
}
pub(super) use super::sequences_rack::{
    certs, cp, proxy, rack_params_set, rack_resources, registries,
};
pub(super) use replay;

const ZERO: &str = "0001-01-01T00:00:00Z";
const APP: &str = "generation:string locked:bool name:string release:string status:string";
const BUILD: &str = "app:string description:string entrypoint:string git-sha:string id:string logs:string \
                     manifest:string process:string reason:string release:string status:string started:time";
const RELEASE: &str =
    "app:string build:string created:time description:string env:string id:string manifest:string";
const PROCESS: &str = "app:string command:string cpu:number host:string id:string image:string instance:string \
                       memory:number name:string ports:list release:string started:time status:string";
const SYSTEM: &str = "count:integer domain:string name:string provider:string rack-domain:string region:string \
                      status:string type:string version:string";

/// The fields of an answer are there, and of the kinds that Go reads into its own.
#[track_caller]
fn shape(value: &Value, fields: &str) {
    for field in fields.split_ascii_whitespace() {
        let (name, kind) = field.split_once(':').expect("a kind");
        let found = &value[name];
        let fits = match kind {
            "string" => found.is_string(),
            "bool" => found.is_boolean(),
            "integer" => found.is_i64(),
            "number" => found.is_number(),
            "list" => found.is_array(),
            "time" => found.as_str().is_some_and(|time| {
                time != ZERO && time.ends_with('Z') && time.as_bytes()[10] == b'T'
            }),
            "zero" => found == ZERO,
            other => panic!("{other} is no kind"),
        };
        assert!(fits, "{name} is no {kind} in {value}");
    }
}

/// Reads a list.
#[track_caller]
fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

/// The message that a client shows for a failure.
#[track_caller]
fn message(client: &Official, answer: &Answer) -> String {
    assert!(answer.status >= 400, "{answer:?}");
    if client.generation == Y2017 {
        let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
        text(&error, "error")
    } else {
        answer.text().trim().to_owned()
    }
}

/// Waits as clients do: twice in a row, the app must be running.
async fn wait(client: &Official, app: &str) -> Value {
    let target = format!("/apps/{app}");
    let mut seen = Vec::new();
    until("the app to be running", async || {
        let app = client.json(&target).await;
        if app["status"] == "running" {
            seen.push(app);
        } else {
            seen.clear();
        }
        seen.len() == 2
    })
    .await;
    seen.remove(1)
}

/// What `--wait` does beside that: the log says what happens.
async fn wait_with_logs(client: &Official, app: &str) -> Value {
    if client.generation == Y2017 {
        return wait(client, app).await;
    }
    let options = [("Prefix", "true"), ("Since", "5s")];
    let mut log = client.socket(&format!("/apps/{app}/logs"), &options).await;
    let narrated = log.until(" system/");
    let (waited, narrated) = futures::future::join(wait(client, app), narrated).await;
    for line in narrated.lines().filter(|line| line.contains(" system/")) {
        assert!(line.split(' ').count() >= 3, "{line}");
    }
    if client.generation == V3 {
        let processes = client.json(&format!("/apps/{app}/processes")).await;
        for process in list(&processes) {
            shape(process, PROCESS);
        }
    }
    waited
}

/// §7.1
pub(super) async fn apps_create(_rack: &Client, client: &Official) {
    let fields: &[_] = match client.generation {
        Y2017 => &[("generation", ""), ("name", "foo")],
        V2 => &[("name", "foo")],
        V3 => &[("name", "foo"), ("timeout", "30")],
    };
    let app = client.post("/apps", fields).await.json();
    shape(&app, APP);
    let waited = wait(client, "foo").await;
    assert_eq!(
        (&waited["name"], &waited["generation"], &waited["release"]),
        (&json!("foo"), &json!("2"), &json!(""))
    );
    let second = [("generation", "2"), ("name", "bar")];
    shape(&client.post("/apps", &second).await.json(), APP);
    let names: Vec<_> = list(&client.json("/apps").await)
        .iter()
        .map(|app| text(app, "name"))
        .collect();
    assert_eq!(names, ["bar", "foo"]);
    let again = client.post("/apps", fields).await;
    assert_eq!(message(client, &again), "app already exists: foo");
}

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

/// From the look at the app to the look whether the release is the one that runs.
async fn promoted(client: &Official, release: &str) {
    let app = client.json("/apps/foo").await;
    shape(&app, APP);
    assert_eq!(text(&app, "status"), "running");
    let target = format!("/apps/foo/releases/{release}/promote");
    let answer = match client.generation {
        Y2017 => {
            let answer = client.post(&target, &[]).await;
            let promoted = answer.json();
            shape(&promoted, RELEASE);
            assert_eq!(text(&promoted, "id"), release);
            answer
        }
        V2 => client.post(&target, &[]).await,
        V3 => client.post(&target, &[("force", "false")]).await,
    };
    client.fine(&answer);
    let waited = wait_with_logs(client, "foo").await;
    assert_eq!(text(&waited, "release"), release, "no rollback");
    let app = client.json("/apps/foo").await;
    assert_eq!(text(&app, "release"), release);
}

/// §7.3
pub(super) async fn deploy(rack: &Client, client: &Official) {
    rack.create("foo").await;
    if client.generation == Y2017 {
        assert_eq!(client.json("/apps/foo").await["status"], "running");
    }
    let release = built(client).await;
    promoted(client, &release).await;
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
    promoted(client, &newest).await;
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
    promoted(client, &text(&copy, "id")).await;
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
    promoted(client, &unset).await;
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

/// Sends input in the pieces of the generation; later ones say when it has ended.
async fn attached(
    client: &Official,
    target: &str,
    headers: &[(&str, &str)],
    input: &[u8],
) -> (i64, String) {
    let socket = client.socket(target, headers).await;
    for piece in input.chunks(1024) {
        socket.writer.data(piece).await.expect("sent");
    }
    if client.generation != Y2017 {
        socket.writer.end().await.expect("sent");
    }
    let (status, output) = status_of(&socket.rest().await);
    (status, String::from_utf8(output).expect("text"))
}

/// §7.6
pub(super) async fn run(rack: &Client, client: &Official) {
    let release = rack.deploy("foo").await;
    match client.generation {
        Y2017 => run_2017(client, &release).await,
        V2 | V3 => run_later(client, &release).await,
    }
    until("one-offs to be gone", async || {
        list(&client.json("/apps/foo/processes").await).len() == 1
    })
    .await;
}

async fn run_2017(client: &Official, release: &str) {
    let formation = client.json("/apps/foo/formation").await;
    assert_eq!(text(&list(&formation)[0], "name"), "web");
    let target = "/apps/foo/processes/web/run";
    let headers = [
        ("Command", "echo $RELEASE; exit 3"),
        ("Height", "40"),
        ("Release", ""),
        ("Width", "100"),
    ];
    let (status, output) = attached(client, target, &headers, b"").await;
    assert_eq!((status, output.trim_end()), (3, release));
    let fields = [("command", "echo detached"), ("release", release)];
    let answer = client.post(target, &fields).await.json();
    assert_eq!(answer["success"], true);
    assert_eq!(text(&answer, "pid").len(), 12);
}

async fn run_later(client: &Official, release: &str) {
    if client.generation == V2 {
        client.json("/system").await;
    }
    let start = "/apps/foo/services/web/processes";
    let placeholder = [("Command", "sleep 3600"), ("Release", release)];
    let process = client
        .request("POST", (start, ""), &placeholder, Payload::Nothing)
        .await
        .json();
    let id = text(&process, "id");
    let target = format!("/apps/foo/processes/{id}");
    let mut polls = Vec::new();
    until("the process to run", async || {
        let process = client.json(&target).await;
        shape(&process, PROCESS);
        polls.push(text(&process, "status"));
        polls.ends_with(&["running".into(), "running".into()])
    })
    .await;
    let exec = format!("{target}/exec");
    let input = "0123456789abcdef\n".repeat(500);
    let headers = [
        ("Command", "cat; exit 3"),
        ("Entrypoint", "true"),
        ("Tty", "false"),
    ];
    let answered = attached(client, &exec, &headers, input.as_bytes()).await;
    assert_eq!(answered, (3, input));
    let answered = attached(client, &exec, &headers, b"").await;
    assert_eq!(answered, (3, String::new()), "as with </dev/null");
    // A terminal never ends.
    let headers = [
        ("Command", "echo hello; exit 255"),
        ("Entrypoint", "false"),
        ("Height", "40"),
        ("Width", "100"),
    ];
    let (status, output) = status_of(&client.stream(&exec, &headers).await);
    let output = String::from_utf8(output).expect("text");
    assert_eq!((status, output.trim_end()), (255, "hello"));
    client.fine(&client.delete(&target).await);
    assert_eq!(
        message(client, &client.get(&target).await),
        format!("process not found: {id}")
    );
    if client.generation == V2 {
        client.json("/system").await;
    }
    let command = [("Command", "echo détaché")];
    let process = client
        .request("POST", (start, ""), &command, Payload::Nothing)
        .await
        .json();
    shape(&process, "id:string");
}

/// §7.7
pub(super) async fn exec(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let processes = client.json("/apps/foo/processes").await;
    let id = text(&list(&processes)[0], "id");
    let target = format!("/apps/foo/processes/{id}/exec");
    let headers = |command: &'static str| {
        let mut headers = vec![("Command", command)];
        match client.generation {
            // It sends a size of nothing where there is no terminal.
            Y2017 => headers.extend([("Height", "0"), ("Width", "0")]),
            V2 | V3 => headers.push(("Tty", "false")),
        }
        headers
    };
    for status in [0, 3, 255] {
        let command = [
            "echo to both; exit 0",
            "echo to both; exit 3",
            "echo to both; exit 255",
        ];
        let command = command[[0, 3, 255]
            .iter()
            .position(|of| *of == status)
            .expect("one")];
        let (ended, output) = attached(client, &target, &headers(command), b"").await;
        assert_eq!((ended, output.trim_end()), (status, "to both"));
    }
    let missing = "/apps/foo/processes/ffffffffffff/exec";
    let (status, output) = status_of(&client.stream(missing, &headers("true")).await);
    assert_eq!(
        (status, String::from_utf8(output).expect("text").as_str()),
        (1, "ERROR: process not found: ffffffffffff\n")
    );
}

/// §7.8
pub(super) async fn logs(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let options = |filter: &'static str, since: &'static str| {
        let mut options = vec![("Filter", filter), ("Follow", "false"), ("Since", since)];
        if client.generation != Y2017 {
            options.push(("Prefix", "true"));
            options.sort_unstable();
        }
        options
    };
    let all = client
        .stream("/apps/foo/logs", &options("", "1h0m0s"))
        .await;
    assert!(all.ended, "{all:?}");
    let all = all.text();
    for line in all.lines() {
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
        let (stream, _) = rest.split_once(' ').expect("a stream");
        assert_eq!(stream.split('/').count(), 3, "{line}");
    }
    let promoting = client
        .stream("/apps/foo/logs", &options("promoting release", "2m0s"))
        .await;
    let promoting = promoting.text();
    assert!(
        promoting.lines().count() >= 1
            && promoting
                .lines()
                .all(|line| line.contains("promoting") && line.contains("release")),
        "{promoting:?} of {all}"
    );
    // Followed, it does not end before its client.
    let mut followed = options("", "1h0m0s");
    followed.retain(|(name, _)| !matches!(*name, "Follow" | "Filter"));
    if client.generation == V3 {
        let services = client
            .stream(
                "/apps/foo/services/web/logs",
                &[("Follow", "false"), ("Prefix", "true"), ("Tail", "5")],
            )
            .await;
        assert!(services.ended, "{services:?}");
    }
    let mut socket = client.socket("/apps/foo/logs", &followed).await;
    socket.until("promoting release").await;
    rack.set_env("foo", "A=1").await;
    drop(socket);
    let missing = client.stream("/apps/nope/logs", &followed).await;
    assert_eq!(missing.text(), "ERROR: app not found: nope\n");
    assert!(missing.ended);
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
async fn imported(client: &Official, app: &str, archive: &[u8]) -> Value {
    client.json("/system").await;
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
    let copy = imported(client, "foo", &archive.body).await;
    assert_ne!(text(&copy, "id"), id);
    assert_eq!(copy["manifest"], build["manifest"]);
    let release = text(&copy, "release");
    let release = client.json(&format!("/apps/foo/releases/{release}")).await;
    assert_eq!(release["build"], copy["id"]);
    let missing = client.get("/apps/foo/builds/BAAAAAAAAAA.tgz").await;
    assert_eq!(message(client, &missing), "build not found: BAAAAAAAAAA");
}

/// §7.10
pub(super) async fn ps(rack: &Client, client: &Official) {
    let release = rack.deploy("foo").await;
    let processes = match client.generation {
        Y2017 => client.find("/apps/foo/processes", "stats=false").await,
        V2 | V3 => client.get("/apps/foo/processes").await,
    };
    let processes = processes.json();
    assert_eq!(list(&processes).len(), 1);
    let process = &list(&processes)[0];
    shape(process, PROCESS);
    assert_eq!(
        (&process["name"], &process["release"], &process["status"]),
        (&json!("web"), &json!(release), &json!("running"))
    );
    if client.generation != Y2017 {
        let query = format!("release={release}&service=web");
        let found = client.find("/apps/foo/processes", &query).await.json();
        assert_eq!(text(&list(&found)[0], "id"), text(process, "id"));
        let none = client.find("/apps/foo/processes", "service=none").await;
        assert_eq!(none.json(), json!([]));
    }
    if client.generation == V3 {
        assert_eq!(
            client.json("/apps/foo/budget").await,
            json!({ "config": null, "state": null })
        );
    }
    let id = text(process, "id");
    let target = format!("/apps/foo/processes/{id}");
    let looked_up = client.json(&target).await;
    shape(&looked_up, PROCESS);
    assert_eq!(text(&looked_up, "id"), id);
    client.fine(&client.delete(&target).await);
    until("another process in its place", async || {
        let processes = client.json("/apps/foo/processes").await;
        let processes = list(&processes);
        processes.len() == 1
            && processes[0]["id"] != json!(id)
            && processes[0]["status"] == "running"
    })
    .await;
    assert_eq!(
        message(client, &client.delete(&target).await),
        format!("process not found: {id}")
    );
}

/// §7.11
pub(super) async fn scale(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let count = async || {
        let services = if client.generation == Y2017 {
            client.json("/apps/foo/formation").await
        } else {
            if client.generation == V2 {
                client.json("/system").await;
            }
            client.json("/apps/foo/services").await
        };
        shape(
            &list(&services)[0],
            "count:integer cpu:integer memory:integer name:string ports:list",
        );
        let count = list(&services)[0]["count"].as_i64().expect("a number");
        let processes = client.json("/apps/foo/processes").await;
        let running = list(&processes)
            .iter()
            .filter(|process| process["name"] == "web")
            .count();
        (count, running)
    };
    assert_eq!(count().await, (1, 1));
    let fields = [("count", "2")];
    let answer = if client.generation == Y2017 {
        client.post("/apps/foo/formation/web", &fields).await
    } else {
        client.put("/apps/foo/services/web", &fields).await
    };
    client.fine(&answer);
    wait_with_logs(client, "foo").await;
    assert_eq!(count().await, (2, 2));
    if client.generation == V3 {
        client.json("/apps/foo/budget").await;
    }
}

/// §7.12
pub(super) async fn resources(rack: &Client, client: &Official) {
    let manifest = MANIFEST.replace(
        "    port: 3000\n",
        "    port: 3000\n    resources: [cache]\n",
    ) + "resources:\n  cache:\n    type: redis\n";
    rack.create("foo").await;
    assert_eq!(
        client.json("/apps/foo/resources").await,
        json!([]),
        "none before the first promote"
    );
    let files = [("convox.yml", manifest.as_str()), PLAIN[1]];
    let release = rack.release("foo", &files).await;
    rack.promote("foo", &release).await;
    if client.generation == V2 {
        client.json("/system").await;
    }
    let resources = client.json("/apps/foo/resources").await;
    let found = client.json("/apps/foo/resources/cache").await;
    assert_eq!(list(&resources).len(), 1);
    for resource in [&list(&resources)[0], &found] {
        shape(resource, "name:string status:string type:string url:string");
        assert_eq!(
            (&resource["name"], &resource["type"], &resource["status"]),
            (&json!("cache"), &json!("redis"), &json!("running"))
        );
        let url = text(resource, "url");
        let rest = url.strip_prefix("redis://").expect("a scheme");
        assert!(rest.contains(":6379"), "{url}");
    }
    let missing = client.get("/apps/foo/resources/none").await;
    assert_eq!(missing.status, 404);
    message(client, &missing);
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

/// §7.17
pub(super) async fn apps_delete(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    client.fine(&client.delete("/apps/foo").await);
    for _ in 0..2 {
        let gone = client.get("/apps/foo").await;
        assert_eq!(message(client, &gone), "app not found: foo");
    }
    assert_eq!(client.json("/apps").await, json!([]));
}

/// §7.18: `login`
pub(super) async fn login(rack: &Client, client: &Official) {
    // The first generation sends less here than anywhere else.
    let answer = if client.generation == Y2017 {
        rack.with("User-Agent", "Go-http-client/1.1")
            .send("GET", "/auth", &[("Accept-Encoding", "gzip")], b"")
            .await
    } else {
        client.get("/auth").await
    };
    client.fine(&answer);
    let stranger = rack.with("Authorization", "Basic Y29udm94Om5vbmU=");
    let stranger = Client {
        headers: stranger.headers[1..].to_vec(),
        ..stranger
    };
    let stranger = Official::new(client.generation, &stranger, "staging");
    let refused = stranger.get("/auth").await;
    assert_eq!(refused.status, 401);
    assert_eq!(message(client, &refused), "invalid authentication");
    let challenge = refused.header("www-authenticate").unwrap_or_default();
    assert!(!challenge.starts_with("Session"), "{challenge}");
}

/// §7.18: `restart`
pub(super) async fn restart(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let before = client.json("/apps/foo/processes").await;
    let services = client.json("/apps/foo/services").await;
    for service in list(&services) {
        let name = text(service, "name");
        let target = format!("/apps/foo/services/{name}/restart");
        client.fine(&client.post(&target, &[]).await);
    }
    wait(client, "foo").await;
    until("the old process to be gone", async || {
        let after = client.json("/apps/foo/processes").await;
        list(&after).len() == 1 && after[0]["id"] != before[0]["id"]
    })
    .await;
    let after = client.json("/apps/foo/processes").await;
    assert_eq!(after[0]["release"], before[0]["release"]);
}

/// §7.18: `apps params set`
pub(super) async fn apps_params_set(rack: &Client, client: &Official) {
    rack.create("foo").await;
    client.json("/system").await;
    let wanted = BTreeMap::from([("Bar", "a&b"), ("Foo", "1")]);
    let answer = if client.generation == Y2017 {
        let fields: Vec<_> = wanted.iter().map(|(name, value)| (*name, *value)).collect();
        client.post("/apps/foo/parameters", &fields).await
    } else {
        // A map in a form is written twice.
        let map = [("parameters", "Bar=a%26b&Foo=1")];
        client.put("/apps/foo", &map).await
    };
    client.fine(&answer);
    let app = wait(client, "foo").await;
    assert_eq!(app["parameters"], json!(wanted));
    if client.generation == Y2017 {
        assert_eq!(client.json("/apps/foo/parameters").await, json!(wanted));
    }
}

/// §7.18: `apps lock` and `apps unlock`
pub(super) async fn apps_lock(rack: &Client, client: &Official) {
    rack.create("foo").await;
    client.fine(&client.put("/apps/foo", &[("lock", "true")]).await);
    assert_eq!(client.json("/apps/foo").await["locked"], true);
    let refused = client.delete("/apps/foo").await;
    assert_eq!(message(client, &refused), "app is locked: foo");
    client.fine(&client.put("/apps/foo", &[("lock", "false")]).await);
    assert_eq!(client.json("/apps/foo").await["locked"], false);
    client.fine(&client.delete("/apps/foo").await);
}

/// §7.18: `apps cancel`
pub(super) async fn apps_cancel(rack: &Client, client: &Official) {
    let first = rack.deploy("foo").await;
    // Neither engine ever finds it healthy.
    let files = [
        PLAIN[0],
        (
            "Dockerfile",
            "FROM busybox:1.36\nWORKDIR /app\nCOPY . .\nCMD [\"sleep\", \"600\"]\n",
        ),
        (".twinrack-faults", "slow-start-60000"),
    ];
    let slow = rack.release("foo", &files).await;
    rack.post(&format!("/apps/foo/releases/{slow}/promote"), "timeout=60")
        .await
        .ok();
    client.fine(&client.post("/apps/foo/cancel", &[]).await);
    if client.generation != Y2017 {
        let latest = client.find("/apps/foo/releases", "limit=1").await.json();
        let active = client.json(&format!("/apps/foo/releases/{first}")).await;
        assert_eq!(text(&list(&latest)[0], "id"), slow);
        let (build, env) = (text(&active, "build"), text(&active, "env"));
        let fields = [
            ("build", build.as_str()),
            ("description", "cancelled"),
            ("env", env.as_str()),
        ];
        let release = client.post("/apps/foo/releases", &fields).await.json();
        assert_eq!(text(&release, "description"), "cancelled");
        assert_eq!(text(&release, "build"), build);
    }
    let app = wait(client, "foo").await;
    assert_eq!(text(&app, "release"), first);
    let nothing = client.post("/apps/foo/cancel", &[]).await;
    assert_eq!(message(client, &nothing), "app is not updating");
}

/// §7.18: `apps export`, then `apps import` into another app
pub(super) async fn apps_export_and_import(rack: &Client, client: &Official) {
    let manifest = MANIFEST.replace("environment:\n", "environment:\n  - SECRET=none\n");
    rack.create("foo").await;
    let files = [("convox.yml", manifest.as_str()), PLAIN[1]];
    rack.release("foo", &files).await;
    let release = text(&rack.set_env("foo", "SECRET=x").await, "id");
    rack.promote("foo", &release).await;
    rack.put("/apps/foo", "parameters=A%3D1").await.ok();

    let app = client.json("/apps/foo").await;
    shape(&app, APP);
    let active = text(&app, "release");
    let release = client.json(&format!("/apps/foo/releases/{active}")).await;
    shape(&release, RELEASE);
    let build = text(&release, "build");
    let archive = client.get(&format!("/apps/foo/builds/{build}.tgz")).await;
    assert_eq!(archive.status, 200);
    if client.generation == V3 {
        assert_eq!(client.json("/apps/foo/resources").await, json!([]));
    }
    client.fine(&client.delete("/apps/foo").await);

    shape(&client.post("/apps", &[("name", "foo")]).await.json(), APP);
    wait(client, "foo").await;
    let build = imported(client, "foo", &archive.body).await;
    let env = text(&release, "env");
    let made = client.post("/apps/foo/releases", &[("env", &env)]).await;
    let made = made.json();
    assert_eq!(made["build"], build["id"]);
    promoted(client, &text(&made, "id")).await;
    let parameters = [("parameters", "A=1")];
    client.fine(&client.put("/apps/foo", &parameters).await);
    let app = wait(client, "foo").await;
    assert_eq!(app["parameters"], json!({ "A": "1" }));
    let processes = client.json("/apps/foo/processes").await;
    assert_eq!(processes[0]["release"], made["id"]);
}

/// §7.18: `start`, up to the synchronisation of files
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
    let fields = [("development", "true"), ("url", url.as_str())];
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
    let processes = client.json("/apps/foo/processes").await;
    let exec = format!("/apps/foo/processes/{}/exec", text(&processes[0], "id"));
    let headers = [("Command", "pwd"), ("Tty", "false")];
    let (status, directory) = attached(client, &exec, &headers, b"").await;
    assert_eq!((status, directory.as_str()), (0, "/app\n"));
    // Interrupted.
    let app = client.json("/apps/foo").await;
    let promote = format!("/apps/foo/releases/{}/promote", text(&app, "release"));
    let fields = [("development", "false"), ("force", "true")];
    client.fine(&client.post(&promote, &fields).await);
    wait(client, "foo").await;
}

/// §7.18: `api get`
pub(super) async fn api_get(rack: &Client, client: &Official) {
    rack.create("foo").await;
    let apps = client.get("/apps").await;
    assert!(list(&apps.json()).len() == 1, "{apps:?}");
    let unknown = client.get("/nothing").await;
    assert_eq!((unknown.status, unknown.body.len()), (404, 0));
}
