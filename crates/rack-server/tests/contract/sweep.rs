//! Every step of every operation fails, before and after: what is left is whole.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rack_server::operations::Operation;
use rack_server::operations::build::Build;
use rack_server::operations::copy::Copy;
use rack_server::operations::delete::Delete;
use rack_server::operations::import::Import;
use rack_server::operations::promote::Promote;
use rack_server::operations::remove_build::RemoveBuild;
use serde_json::json;
use tempfile::TempDir;

use super::copies::ticket;
use super::flow::{PLAIN, text};
use super::releases::running;
use super::world::{Client, World, engine_state, files_below, tags, until};

/// A data directory with one rack, as tests find it again and again.
pub(crate) struct Scene {
    pub(crate) data: Arc<TempDir>,
    rack: Client,
    /// Release that runs, if one does.
    pub(crate) active: String,
    /// Newer release that does not.
    pub(crate) next: String,
    /// An archive of a build of the app from elsewhere.
    pub(crate) archive: Vec<u8>,
}

/// Names of the points of an operation, and whether all its steps up to that of a
/// name have been taken there.
pub(crate) fn points<O: Operation>(last: &str) -> Vec<(String, bool)> {
    let mut past = false;
    let mut points = Vec::new();
    for step in O::STEPS {
        points.push((format!("{}.{step}", O::KIND), past));
        past |= *step == last;
        points.push((format!("{}.{step}.after", O::KIND), past));
    }
    assert!(past, "{last} is a step of {}", O::KIND);
    points
}

/// Copies a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            std::fs::create_dir(&target).expect("a directory");
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copied");
        }
    }
}

impl Scene {
    /// `myapp` runs a release and has a newer one.
    pub(crate) async fn deployed() -> Self {
        let (world, rack) = World::with_rack().await;
        let active = rack.deploy("myapp").await;
        let next = rack.release("myapp", PLAIN).await;
        Self {
            data: world.stop().await,
            rack,
            active,
            next,
            archive: Vec::new(),
        }
    }

    /// `myapp` is empty, and an archive waits.
    pub(crate) async fn empty() -> Self {
        Self::awaiting(PLAIN).await
    }

    /// The same with an archive of a build of these files.
    pub(crate) async fn awaiting(files: &[(&str, &str)]) -> Self {
        let (elsewhere, far) = World::with_rack().await;
        far.create("myapp").await;
        let (build, log) = far.build("myapp", files).await;
        assert_eq!(build["status"], "complete", "{log}");
        let archive = far
            .get(&format!("/apps/myapp/builds/{}.tgz", text(&build, "id")))
            .await
            .body;
        elsewhere.stop().await;
        let (world, rack) = World::with_rack().await;
        rack.create("myapp").await;
        Self {
            data: world.stop().await,
            rack,
            active: String::new(),
            next: String::new(),
            archive,
        }
    }

    /// `myapp` has a build, whose id is `next`, and `other` is empty.
    pub(crate) async fn to_copy() -> Self {
        let (world, rack) = World::with_rack().await;
        rack.create("myapp").await;
        rack.create("other").await;
        let (build, log) = rack.build("myapp", PLAIN).await;
        assert_eq!(build["status"], "complete", "{log}");
        Self {
            data: world.stop().await,
            rack,
            active: String::new(),
            next: text(&build, "id"),
            archive: Vec::new(),
        }
    }

    /// A copy of the data directory.
    pub(crate) fn copy(&self) -> Arc<TempDir> {
        let data = tempfile::tempdir().expect("a directory");
        copy(self.data.path(), data.path());
        Arc::new(data)
    }

    /// The rack of a server.
    pub(crate) fn client(&self, address: std::net::SocketAddr) -> Client {
        Client {
            address,
            ..self.rack.clone()
        }
    }

    /// A server on a data directory.
    pub(crate) async fn open(&self, data: Arc<TempDir>, failpoints: &str) -> (World, Client) {
        let world = World::open(data, failpoints).await;
        let rack = self.client(world.address);
        (world, rack)
    }
}

/// Kinds and outcomes of all operations of the rack.
pub(crate) fn operations(data: &Path) -> Vec<(String, String)> {
    let path = data.join("racks").join("staging").join("rack.db");
    let database = rusqlite::Connection::open(path).expect("a database");
    let mut query = database
        .prepare("SELECT kind, outcome FROM operations")
        .expect("a table");
    let rows = query
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows");
    rows.collect::<Result<_, _>>().expect("rows")
}

/// No operation is open, and none has left a file.
pub(crate) async fn nothing_pends(data: &Path, what: &str) {
    until(&format!("{what}: the end of every operation"), async || {
        operations(data)
            .iter()
            .all(|(_, outcome)| outcome == "done" || outcome == "failed")
    })
    .await;
    let scratch = data.join("racks").join("staging").join("tmp");
    until(&format!("{what}: an empty tmp"), async || {
        files_below(&scratch).is_empty()
    })
    .await;
}

/// All that a rack and its engine keep, but for the record of operations and events.
pub(crate) fn kept(data: &Path) -> Vec<String> {
    let rack = data.join("racks").join("staging");
    let database = rusqlite::Connection::open(rack.join("rack.db")).expect("a database");
    let mut kept = Vec::new();
    for (table, key) in [
        ("builds", "id"),
        ("releases", "id"),
        ("images", "build || service"),
        ("images", "reference"),
    ] {
        let mut query = database
            .prepare(&format!("SELECT {key} FROM {table} ORDER BY 1"))
            .expect("a table");
        let rows = query.query_map([], |row| row.get::<_, String>(0));
        let rows = rows.expect("rows").map(|row| row.expect("a row"));
        kept.extend(rows.map(|row| format!("{table} {row}")));
    }
    for directory in ["objects", "tmp"] {
        kept.extend(files_below(&rack.join(directory)));
    }
    let engine = engine_state(data);
    for part in ["references", "images"] {
        // An engine that has never had one has not written any down.
        let names = engine[part].as_object().map(|names| names.keys().cloned());
        kept.extend(
            names
                .into_iter()
                .flatten()
                .map(|name| format!("{part} {name}")),
        );
    }
    kept.extend(files_below(&data.join("simulated").join("blobs")));
    kept
}

/// Exactly one process runs, of this release.
pub(crate) async fn runs_only(rack: &Client, release: &str, what: &str) {
    until(&format!("{what}: only {release} to run"), async || {
        let list = rack.get("/apps/myapp/processes").await.json();
        list.as_array().map(Vec::len) == Some(1)
            && list[0]["status"] == "running"
            && list[0]["release"] == json!(release)
    })
    .await;
}

/// Asks a service again and again, until told to stop; counts what goes wrong.
struct Prober {
    done: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<Vec<u16>>,
}

impl Prober {
    async fn start(world: &World) -> Self {
        let host = world.stranger().with("Host", "web.myapp.staging.localhost");
        until("the service to answer", async || {
            host.get("/").await.status == 200
        })
        .await;
        let (done, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (ends, counts) = (Arc::clone(&done), Arc::clone(&asked));
        let task = tokio::spawn(async move {
            let mut wrong = Vec::new();
            while !ends.load(Ordering::SeqCst) {
                let status = host.get("/").await.status;
                if status != 200 {
                    wrong.push(status);
                }
                counts.fetch_add(1, Ordering::SeqCst);
            }
            wrong
        });
        Self { done, asked, task }
    }

    async fn finish(self, what: &str) {
        let asked = self.asked.load(Ordering::SeqCst);
        until("a few more answers", async || {
            self.asked.load(Ordering::SeqCst) >= asked + 3
        })
        .await;
        self.done.store(true, Ordering::SeqCst);
        assert_eq!(
            self.task.await.expect("answers"),
            Vec::<u16>::new(),
            "{what}: a request went unserved"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_promote_that_fails_anywhere_serves_on() {
    let scene = Scene::deployed().await;
    for (point, past) in points::<Promote>("activate") {
        let (world, rack) = scene.open(scene.copy(), &format!("{point}=fail")).await;
        runs_only(&rack, &scene.active, &point).await;
        let prober = Prober::start(&world).await;
        rack.post(&format!("/apps/myapp/releases/{}/promote", scene.next), "")
            .await
            .ok();
        let app = rack.settled("myapp").await;
        let expected = if past { &scene.next } else { &scene.active };
        assert_eq!(app["release"], json!(expected), "{point}");
        runs_only(&rack, expected, &point).await;
        prober.finish(&point).await;
        nothing_pends(world.data.path(), &point).await;
        let release = rack
            .get(&format!("/apps/myapp/releases/{}", scene.next))
            .await
            .json();
        let reason = release["reason"].as_str().unwrap_or_default();
        assert_eq!(
            reason,
            if past {
                String::new()
            } else {
                format!("failpoint {point}")
            },
            "{point}"
        );
        let log = rack.log("myapp").await;
        assert_eq!(
            log.contains("was rolled back: failpoint"),
            !past,
            "{point}: {log}"
        );

        let data = world.stop().await;
        let (world, rack) = scene.open(data, "").await;
        runs_only(&rack, expected, &point).await;
        let app = rack.promote("myapp", &scene.next).await;
        assert_eq!(
            app["release"],
            json!(scene.next),
            "{point}: the next one succeeds"
        );
        runs_only(&rack, &scene.next, &point).await;
        nothing_pends(world.data.path(), &point).await;
    }
}

#[tokio::test]
async fn an_import_that_fails_anywhere_is_whole_or_nothing() {
    let scene = Scene::empty().await;
    let before = kept(scene.data.path());
    for (point, past) in points::<Import>("record") {
        let (world, rack) = scene.open(scene.copy(), &format!("{point}=fail")).await;
        rack.upload("/apps/myapp/builds/import", &scene.archive)
            .await
            .fails(500, &format!("failpoint {point}"));
        let builds = rack.get("/apps/myapp/builds").await.json();
        let kept = usize::from(past);
        assert_eq!(builds.as_array().map(Vec::len), Some(kept), "{point}");
        assert!(
            builds
                .as_array()
                .expect("a list")
                .iter()
                .all(|build| build["status"] == "complete"),
            "{point}"
        );
        let releases = rack.get("/apps/myapp/releases").await.json();
        assert_eq!(releases.as_array().map(Vec::len), Some(kept), "{point}");
        assert_eq!(
            tags(world.data.path(), "staging", "myapp").len(),
            kept,
            "{point}"
        );
        let objects = files_below(&world.rack_directory("staging").join("objects"));
        assert_eq!(objects.len(), kept, "{point}: {objects:?}");
        nothing_pends(world.data.path(), &point).await;
        if !past {
            assert_eq!(super::sweep::kept(world.data.path()), before, "{point}");
        }

        let data = world.stop().await;
        let (world, rack) = scene.open(data, "").await;
        let imported = rack
            .upload("/apps/myapp/builds/import", &scene.archive)
            .await
            .json();
        let app = rack.promote("myapp", &text(&imported, "release")).await;
        assert_eq!(app["release"], imported["release"], "{point}");
        nothing_pends(world.data.path(), &point).await;
    }
}

#[tokio::test]
async fn a_copy_that_fails_anywhere_is_whole_or_nothing() {
    let scene = Scene::to_copy().await;
    let before = kept(scene.data.path());
    for (point, past) in points::<Copy>("record") {
        let (world, rack) = scene.open(scene.copy(), &format!("{point}=fail")).await;
        let form = format!(
            "force=true&ticket={}",
            ticket(&rack, "myapp", &scene.next).await
        );
        rack.post("/apps/other/builds/copy", &form)
            .await
            .fails(500, &format!("failpoint {point}"));
        nothing_pends(world.data.path(), &point).await;
        if past {
            assert_ne!(kept(world.data.path()), before, "{point}");
        } else {
            assert_eq!(kept(world.data.path()), before, "{point}");
        }
        let builds = rack.get("/apps/other/builds").await.json();
        assert_eq!(
            builds.as_array().map(Vec::len),
            Some(usize::from(past)),
            "{point}"
        );

        let data = world.stop().await;
        let (world, rack) = scene.open(data, "").await;
        let form = format!(
            "force=true&ticket={}",
            ticket(&rack, "myapp", &scene.next).await
        );
        let copied = rack.post("/apps/other/builds/copy", &form).await.json();
        let app = rack.promote("other", &text(&copied, "release")).await;
        assert_eq!(app["release"], copied["release"], "{point}");
        nothing_pends(world.data.path(), &point).await;
    }
}

#[tokio::test]
async fn a_build_that_fails_anywhere_is_whole_or_nothing() {
    let scene = Scene::empty().await;
    for (point, past) in points::<Build>("images") {
        let (world, rack) = scene.open(scene.copy(), &format!("{point}=fail")).await;
        let (build, log) = rack.build("myapp", PLAIN).await;
        if past {
            assert_eq!(build["status"], "complete", "{point}: {log}");
        } else {
            assert_eq!(
                (&build["status"], &build["release"]),
                (&json!("failed"), &json!("")),
                "{point}"
            );
            assert_eq!(build["reason"], format!("failpoint {point}"));
            assert!(
                log.ends_with(&format!("ERROR: failpoint {point}\n")),
                "{log}"
            );
        }
        assert_eq!(
            tags(world.data.path(), "staging", "myapp").len(),
            usize::from(past),
            "{point}"
        );
        let releases = rack.get("/apps/myapp/releases").await.json();
        assert_eq!(
            releases.as_array().map(Vec::len),
            Some(usize::from(past)),
            "{point}"
        );
        nothing_pends(world.data.path(), &point).await;

        let data = world.stop().await;
        let (world, rack) = scene.open(data, "").await;
        let release = rack.release("myapp", PLAIN).await;
        assert_eq!(
            rack.promote("myapp", &release).await["release"],
            json!(release),
            "{point}"
        );
        nothing_pends(world.data.path(), &point).await;
    }
}

#[tokio::test]
async fn a_delete_that_fails_anywhere_can_be_asked_for_again() {
    let scene = Scene::deployed().await;
    for (point, past) in points::<Delete>("records") {
        let (world, rack) = scene.open(scene.copy(), &format!("{point}=fail")).await;
        runs_only(&rack, &scene.active, &point).await;
        rack.delete("/apps/myapp")
            .await
            .fails(500, &format!("failpoint {point}"));
        if past {
            rack.get("/apps/myapp")
                .await
                .fails(404, "app not found: myapp");
        } else {
            assert_eq!(
                rack.get("/apps/myapp").await.json()["status"],
                "deleting",
                "{point}"
            );
            let promote = format!("/apps/myapp/releases/{}/promote", scene.next);
            rack.post(&promote, "")
                .await
                .fails(403, "app is being deleted");
            rack.post(&promote, "force=true")
                .await
                .fails(403, "app is being deleted");
            rack.post("/apps/myapp/services/web/restart", "")
                .await
                .fails(403, "app is being deleted");
            rack.put("/apps/myapp/services/web", "count=2")
                .await
                .fails(403, "app is being deleted");
            rack.upload("/apps/myapp/objects/kept.tgz", &super::flow::source(PLAIN))
                .await
                .json();
            let builds = "/apps/myapp/builds";
            rack.post(builds, "url=object://myapp/kept.tgz")
                .await
                .fails(403, "app is being deleted");
            rack.upload("/apps/myapp/builds/import", b"")
                .await
                .fails(403, "app is being deleted");
        }
        nothing_pends(world.data.path(), &point).await;
        let data = world.stop().await;
        let (world, rack) = scene.open(data, "").await;
        if !past {
            rack.delete("/apps/myapp").await.ok();
        }
        is_gone(&world, &rack, &point).await;
    }
}

#[tokio::test]
async fn a_build_whose_removal_fails_anywhere_can_be_removed_again() {
    let scene = Scene::deployed().await;
    for (point, past) in points::<RemoveBuild>("records") {
        let (world, rack) = scene.open(scene.copy(), &format!("{point}=fail")).await;
        runs_only(&rack, &scene.active, &point).await;
        let release = format!("/apps/myapp/releases/{}", scene.next);
        let build = text(&rack.get(&release).await.json(), "build");
        let target = format!("/apps/myapp/builds/{build}");
        rack.delete(&target)
            .await
            .fails(500, &format!("failpoint {point}"));
        nothing_pends(world.data.path(), &point).await;
        for still in [&target, &release] {
            let status = if past { 404 } else { 200 };
            assert_eq!(rack.get(still).await.status, status, "{point}: {still}");
        }
        let data = world.stop().await;
        let (world, rack) = scene.open(data, "").await;
        if !past {
            assert_eq!(text(&rack.delete(&target).await.json(), "id"), build);
        }
        rack.get(&target)
            .await
            .fails(404, &format!("build not found: {build}"));
        let tags = tags(world.data.path(), "staging", "myapp");
        assert!(
            tags.len() == 1 && !tags[0].contains(&build),
            "{point}: {tags:?}"
        );
        let files = files_below(&world.rack_directory("staging"));
        assert!(!files.iter().any(|file| file.contains(&build)), "{files:?}");
        runs_only(&rack, &scene.active, &point).await;
        nothing_pends(world.data.path(), &point).await;
    }
}

/// Nothing is left of the app, and its name is free.
pub(crate) async fn is_gone(world: &World, rack: &Client, what: &str) {
    until(&format!("{what}: the app to be gone"), async || {
        rack.get("/apps/myapp").await.status == 404
    })
    .await;
    assert_eq!(
        tags(world.data.path(), "staging", "myapp"),
        Vec::<String>::new(),
        "{what}"
    );
    let left: Vec<_> = files_below(&world.rack_directory("staging"))
        .into_iter()
        .filter(|path| path.contains("myapp") || path.starts_with("tmp/"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "{what}");
    let processes = rack.get("/system/processes?all=true").await.json();
    assert_eq!(
        processes.as_array().map(Vec::len),
        Some(1),
        "{what}: {processes}"
    );
    nothing_pends(world.data.path(), what).await;
    let release = rack.deploy("myapp").await;
    assert_eq!(running(rack, "myapp").await, [release], "{what}");
}
