//! The server dies at every step of every operation; the next one brings all to an end.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rack_server::operations::Operation;
use rack_server::operations::build::Build;
use rack_server::operations::copy::Copy;
use rack_server::operations::delete::Delete;
use rack_server::operations::import::Import;
use rack_server::operations::promote::Promote;
use serde_json::json;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use super::builds::SLOW;
use super::copies::ticket;
use super::flow::{PLAIN, text};
use super::sweep::{Scene, is_gone, kept, nothing_pends, points, runs_only};
use super::world::{Client, SERVER_PASSWORD, World, tags, until, within};

/// The real program on a data directory.
pub(crate) struct Program {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) log: PathBuf,
}

impl Program {
    pub(crate) async fn start(data: &Path, failpoints: &str) -> Self {
        let program = Command::new(env!("CARGO_BIN_EXE_rack-server"));
        Self::begin(program, data, failpoints).await
    }

    /// The program where no file can become larger than so many KiB, as on a disk that
    /// is full.
    async fn start_confined(data: &Path, largest: u32) -> Self {
        let mut program = Command::new("bash");
        let script = format!("trap '' XFSZ; ulimit -f {largest}; exec \"$@\"");
        program.args(["-c", &script, "bash", env!("CARGO_BIN_EXE_rack-server")]);
        Self::begin(program, data, "").await
    }

    async fn begin(mut program: Command, data: &Path, failpoints: &str) -> Self {
        let log = data.join("stderr");
        let child = program
            .args([
                "--listen",
                "127.0.0.1:0",
                "--engine",
                "simulated",
                "--promote-timeout",
                "2",
                "--steady",
                "0.5",
                "--data",
            ])
            .arg(data)
            .env("RACK_SERVER_FAILPOINTS", failpoints)
            .env("RACK_SERVER_PASSWORD", SERVER_PASSWORD)
            .env("RACK_SERVER_LOG", "info,rack_server=trace")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file"))
            .kill_on_drop(true)
            .spawn()
            .expect("the program starts");
        let mut address = None;
        until("the program to listen", async || {
            let said = std::fs::read_to_string(&log).expect("a log");
            let plain = said
                .replace("\u{1b}[0m", "")
                .replace("\u{1b}[3m", "")
                .replace("\u{1b}[2m", "");
            let found = plain
                .split("address=")
                .nth(1)
                .and_then(|rest| rest.split_whitespace().next());
            address = found.and_then(|text| text.parse().ok());
            address.is_some()
        })
        .await;
        Self {
            child,
            address: address.expect("an address"),
            log,
        }
    }

    /// Waits until the program has died of itself.
    pub(crate) async fn died(mut self, what: &str) {
        let status = within(&format!("{what}: the crash"), self.child.wait())
            .await
            .expect("a status");
        assert_eq!(status.code(), None, "{what}: killed, not ended: {status}");
    }

    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("killed");
    }
}

/// Sends a request to a server that may die of it.
pub(crate) async fn send(client: &Client, method: &str, target: &str, body: &[u8]) {
    let mut stream = tokio::net::TcpStream::connect(client.address)
        .await
        .expect("a connection");
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        client.headers[0].1,
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    let mut answer = Vec::new();
    // Nothing, if the server has died.
    let _ = within("an answer or none", stream.read_to_end(&mut answer)).await;
}

/// Lets the program die at a point while it does what it is asked for, and opens
/// what it has left.
pub(crate) async fn crash(
    scene: &Scene,
    point: &str,
    request: (&str, &str, &[u8]),
) -> (World, Client) {
    crash_during(scene, point, async |rack| {
        let (method, target, body) = request;
        send(rack, method, target, body).await;
    })
    .await
}

/// The same for more than one request.
async fn crash_during(
    scene: &Scene,
    point: &str,
    requests: impl AsyncFnOnce(&Client),
) -> (World, Client) {
    let data: Arc<TempDir> = scene.copy();
    let program = Program::start(data.path(), &format!("{point}=abort")).await;
    let rack = scene.client(program.address);
    if !scene.active.is_empty() {
        runs_only(&rack, &scene.active, point).await;
    }
    requests(&rack).await;
    program.died(point).await;
    scene.open(data, "").await
}

async fn survive_promote(half: usize) {
    let scene = Scene::deployed().await;
    let promote = format!("/apps/myapp/releases/{}/promote", scene.next);
    let points = points::<Promote>("activate");
    for (point, _) in points
        .iter()
        .skip(half * Promote::STEPS.len())
        .take(Promote::STEPS.len())
    {
        let (world, rack) = crash(&scene, point, ("POST", &promote, b"")).await;
        until(
            &format!("{point}: the promote to be finished"),
            async || rack.get("/apps/myapp").await.json()["status"] == "running",
        )
        .await;
        let app = rack.get("/apps/myapp").await.json();
        assert_eq!(
            app["release"],
            json!(scene.next),
            "{point}: what was promised is done"
        );
        runs_only(&rack, &scene.next, point).await;
        nothing_pends(world.data.path(), point).await;
        let again = text(&rack.set_env("myapp", "A=1").await, "id");
        assert_eq!(
            rack.promote("myapp", &again).await["release"],
            json!(again),
            "{point}"
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promote_survives_a_crash_before_its_activation() {
    survive_promote(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promote_survives_a_crash_from_its_activation_on() {
    survive_promote(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_an_import_leaves_it_whole_or_undone() {
    let scene = Scene::empty().await;
    let before = kept(scene.data.path());
    for (point, past) in points::<Import>("record") {
        let request = (
            "POST",
            "/apps/myapp/builds/import",
            scene.archive.as_slice(),
        );
        let (world, rack) = crash(&scene, &point, request).await;
        nothing_pends(world.data.path(), &point).await;
        if !past {
            assert_eq!(kept(world.data.path()), before, "{point}");
        }
        let builds = rack.get("/apps/myapp/builds").await.json();
        assert_eq!(
            builds.as_array().map(Vec::len),
            Some(usize::from(past)),
            "{point}: {builds}"
        );
        assert_eq!(
            tags(world.data.path(), "staging", "myapp").len(),
            usize::from(past),
            "{point}"
        );
        let imported = rack
            .upload("/apps/myapp/builds/import", &scene.archive)
            .await
            .json();
        let app = rack.promote("myapp", &text(&imported, "release")).await;
        assert_eq!(app["release"], imported["release"], "{point}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_and_an_import_leaves_nothing() {
    // Half of it is left of random digits, however well they are compressed.
    let noise = rack_api::id::hex(12 << 20);
    let files = [PLAIN[0], PLAIN[1], ("noise", noise.as_str())];
    let scene = Scene::awaiting(&files).await;
    assert!(scene.archive.len() > 5 << 20, "{}", scene.archive.len());
    let before = kept(scene.data.path());
    let data: Arc<TempDir> = scene.copy();
    let program = Program::start_confined(data.path(), 4 << 10).await;
    let rack = scene.client(program.address);
    let answer = rack
        .upload("/apps/myapp/builds/import", &scene.archive)
        .await;
    let said = answer.text();
    assert!(answer.status >= 500, "{said}");
    assert!(said.to_lowercase().contains("file too large"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    nothing_pends(data.path(), "a full disk").await;
    assert_eq!(kept(data.path()), before);
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));
    program.kill().await;
    let (world, rack) = scene.open(data, "").await;
    let imported = rack
        .upload("/apps/myapp/builds/import", &scene.archive)
        .await
        .json();
    assert_eq!(imported["status"], "complete");
    nothing_pends(world.data.path(), "room again").await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_copy_leaves_it_whole_or_undone() {
    let scene = Scene::to_copy().await;
    let before = kept(scene.data.path());
    for (point, past) in points::<Copy>("record") {
        let (world, rack) = crash_during(&scene, &point, async |rack| {
            let ticket = ticket(rack, "myapp", &scene.next).await;
            let target = format!("/apps/other/builds/copy?force=true&ticket={ticket}");
            send(rack, "POST", &target, b"").await;
        })
        .await;
        nothing_pends(world.data.path(), &point).await;
        let builds = rack.get("/apps/other/builds").await.json();
        assert_eq!(
            builds.as_array().map(Vec::len),
            Some(usize::from(past)),
            "{point}: {builds}"
        );
        if !past {
            assert_eq!(kept(world.data.path()), before, "{point}");
        }
        let ticket = ticket(&rack, "myapp", &scene.next).await;
        let form = format!("force=true&ticket={ticket}");
        let copied = rack.post("/apps/other/builds/copy", &form).await.json();
        let app = rack.promote("other", &text(&copied, "release")).await;
        assert_eq!(app["release"], copied["release"], "{point}");
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_build_ends_it() {
    let mut scene = Scene::empty().await;
    let (world, rack) = scene.open(scene.copy(), "").await;
    rack.upload("/apps/myapp/objects/kept.tgz", &super::flow::source(PLAIN))
        .await
        .json();
    scene.data = world.stop().await;
    for (point, past) in points::<Build>("images") {
        let request = (
            "POST",
            "/apps/myapp/builds?url=object://myapp/kept.tgz",
            b"".as_slice(),
        );
        let (world, rack) = crash(&scene, &point, request).await;
        nothing_pends(world.data.path(), &point).await;
        let build = &rack.get("/apps/myapp/builds").await.json()[0];
        let log = rack
            .stream(
                &format!("/apps/myapp/builds/{}/logs", text(build, "id")),
                &[],
            )
            .await
            .text();
        if past {
            assert_eq!(build["status"], "complete", "{point}: {log}");
        } else {
            let reason = "the server was stopped while it was under way";
            assert_eq!(
                (&build["status"], &build["reason"]),
                (&json!("failed"), &json!(reason)),
                "{point}"
            );
            assert!(log.ends_with(&format!("ERROR: {reason}\n")), "{log}");
        }
        assert_eq!(
            tags(world.data.path(), "staging", "myapp").len(),
            usize::from(past),
            "{point}"
        );
        let release = rack.release("myapp", PLAIN).await;
        assert_eq!(
            rack.promote("myapp", &release).await["release"],
            json!(release),
            "{point}"
        );
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_during_a_delete_does_not_stop_it() {
    let scene = Scene::deployed().await;
    for (point, _) in points::<Delete>("records") {
        let (world, rack) = crash(&scene, &point, ("DELETE", "/apps/myapp", b"")).await;
        is_gone(&world, &rack, &point).await;
        world.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_does_not_outlive_its_server() {
    let scene = Scene::empty().await;
    // In good order.
    let (world, rack) = scene.open(scene.copy(), "").await;
    let id = text(&rack.start_build("myapp", SLOW).await, "id");
    let mut log = rack
        .socket(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    log.until("begun").await;
    let data = world.stop().await;
    let (world, rack) = scene.open(data, "").await;
    let build = rack.get(&format!("/apps/myapp/builds/{id}")).await.json();
    let reason = "the server was stopped during the build";
    assert_eq!(
        (&build["status"], &build["reason"]),
        (&json!("failed"), &json!(reason))
    );
    let log = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await
        .text();
    assert!(
        log.contains("begun") && log.ends_with(&format!("ERROR: {reason}\n")),
        "{log}"
    );
    nothing_pends(world.data.path(), "stopped").await;
    world.stop().await;

    // And all of a sudden.
    let data = scene.copy();
    let program = Program::start(data.path(), "").await;
    let rack = scene.client(program.address);
    let id = text(&rack.start_build("myapp", SLOW).await, "id");
    let mut log = rack
        .socket(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    log.until("begun").await;
    program.kill().await;
    assert!(
        !log.rest().await.ended,
        "a stream that breaks off does not say that it has ended"
    );
    let (world, rack) = scene.open(data, "").await;
    nothing_pends(world.data.path(), "killed").await;
    let build = rack.get(&format!("/apps/myapp/builds/{id}")).await.json();
    let reason = "the server was stopped while it was under way";
    assert_eq!(
        (&build["status"], &build["reason"]),
        (&json!("failed"), &json!(reason))
    );
    let log = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await
        .text();
    assert!(
        log.contains("begun") && log.ends_with(&format!("ERROR: {reason}\n")),
        "{log}"
    );
    world.stop().await;
}
