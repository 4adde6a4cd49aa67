//! Builds whose images come from a registry: `builds import-image` of version 3
//! (`rack-api.md` §3.10), as that client sends it.

use std::sync::Arc;

use rack_server::operations::image_import::ImageImport;
use serde_json::{Value, json};

use super::crash::crash;
use super::engines::{Engine, on_both_engines};
use super::flow::text;
use super::sweep::{Scene, points};
use super::world::{Client, World, tags, until};

on_both_engines!(an_image_becomes_a_build_and_a_release,);

const TWO: &str = "services:
  web:
    image: debian:bookworm-slim
    command: sleep 100000
    termination:
      grace: 1
  worker:
    build: .
    command: sleep 100000
    termination:
      grace: 1
";

fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// A build without a source and with a manifest.
async fn external(rack: &Client, manifest: &str) -> String {
    let build = rack
        .post("/apps/myapp/builds?", "external=true&url=")
        .await
        .json();
    assert_eq!(
        (&build["status"], &build["release"]),
        (&json!("created"), &json!(""))
    );
    let id = text(&build, "id");
    let form = format!("manifest={}", escape(manifest));
    let build = rack
        .put(&format!("/apps/myapp/builds/{id}?"), &form)
        .await
        .json();
    assert_eq!(text(&build, "manifest"), manifest);
    id
}

async fn get(rack: &Client, id: &str) -> Value {
    rack.get(&format!("/apps/myapp/builds/{id}?")).await.json()
}

/// Waits for the end of an import.
async fn ended(rack: &Client, id: &str) -> Value {
    until("the end of the import", async || {
        get(rack, id).await["status"] != "running"
    })
    .await;
    get(rack, id).await
}

async fn import(rack: &Client, id: &str, form: &str) -> super::world::Answer {
    rack.post(&format!("/apps/myapp/builds/{id}/image?"), form)
        .await
}

async fn an_image_becomes_a_build_and_a_release(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let id = external(&rack, TWO).await;
    let form = "image=busybox%3A1.36&src-creds-pass=pull-secret&src-creds-user=me";
    let answer = import(&rack, &id.to_lowercase(), form).await;
    assert_eq!((answer.status, answer.body.len()), (202, 0), "{answer:?}");
    let build = ended(&rack, &id).await;
    assert_eq!(
        (&build["status"], &build["release"], &build["reason"]),
        (&json!("complete"), &json!(""), &json!("")),
        "the client makes the release"
    );
    assert_ne!(build["ended"], "0001-01-01T00:00:00Z");
    let images = build["images"].as_object().expect("images");
    assert_eq!(images.len(), 2);
    assert_ne!(images["web"], images["worker"], "web names its own image");
    let log = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    assert_eq!(
        log.text(),
        "Pulling: debian:bookworm-slim\nPulling: busybox:1.36\n"
    );

    let release = rack
        .post("/apps/myapp/releases?", &format!("build={id}"))
        .await
        .json();
    assert_eq!(text(&release, "manifest"), TWO);
    let path = format!("/apps/myapp/builds/{id}?");
    let form = format!("release={}", text(&release, "id"));
    assert_eq!(
        rack.put(&path, &form).await.json()["release"],
        release["id"]
    );
    let app = rack.promote("myapp", &text(&release, "id")).await;
    assert_eq!(app["release"], release["id"]);
    let processes = rack.get("/apps/myapp/processes").await.json();
    assert_eq!(processes.as_array().map(Vec::len), Some(2));

    // Images of a release never change.
    import(&rack, &id, "image=busybox").await.fails(
        409,
        &format!("build {id} has its images already: make another build"),
    );
    rack.put(&path, "manifest=services%3A").await.fails(
        409,
        &format!("build {id} is complete: only its release can be set"),
    );
}

#[tokio::test]
async fn what_cannot_be_imported_is_refused_in_the_words_of_racks() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let id = external(&rack, TWO).await;
    import(&rack, &id, "")
        .await
        .fails(422, "image param required");
    let invalid = "invalid image ref: must start with a letter or digit, contain only A-Z a-z 0-9 . _ : / @ + -, \
                   and not include // @- :- or /-";
    for image in ["-x", "a//b", "user:secret@host/a", "a b"] {
        import(&rack, &id, &format!("image={}", escape(image)))
            .await
            .fails(422, invalid);
    }
    import(&rack, "BAAAAAAAAAA", "image=busybox")
        .await
        .fails(404, "build not found: BAAAAAAAAAA");
    rack.post("/apps/nope/builds/BAAAAAAAAAA/image", "image=busybox")
        .await
        .fails(404, "app not found: nope");
    let blank = rack
        .post("/apps/myapp/builds", "external=true")
        .await
        .json();
    let blank = text(&blank, "id");
    import(&rack, &blank, "image=busybox").await.fails(
        422,
        &format!("build {blank} has no manifest; populate via BuildUpdate before BuildImportImage"),
    );
    let broken = external(&rack, "services: [web]\n").await;
    let answer = import(&rack, &broken, "image=busybox").await;
    assert_eq!(answer.status, 422);
    assert!(
        answer.text().starts_with("manifest parse failed: "),
        "{answer:?}"
    );
    let empty = external(&rack, "services: {}\n").await;
    import(&rack, &empty, "image=busybox")
        .await
        .fails(422, "manifest has no services to relay");
    for id in [&id, &blank, &broken, &empty] {
        assert_eq!(
            get(&rack, id).await["status"],
            "created",
            "nothing was begun"
        );
    }
}

#[tokio::test]
async fn a_build_without_images_is_never_complete() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let id = external(&rack, TWO).await;
    let path = format!("/apps/myapp/builds/{id}");
    rack.put(&path, "status=complete").await.fails(
        400,
        &format!("build {id} has no images: a local rack takes no pushed ones, let it build or use builds import-image"),
    );
    rack.put(&path, "status=running").await.fails(
        400,
        "status running is for the rack to set: a client can only give a build up as failed",
    );
    rack.put(&path, "release=RAAAAAAAAAA")
        .await
        .fails(404, "release not found: RAAAAAAAAAA");
    let other = text(&rack.set_env("myapp", "A=1").await, "id");
    rack.put(&path, &format!("release={other}"))
        .await
        .fails(400, &format!("release {other} is not of build {id}"));
    rack.put(&path, "ended=yesterday").await.fails(
        400,
        "time \"yesterday\" is not written as YYYYMMDD.hhmmss.nnnnnnnnn",
    );
    let build = rack
        .put(
            &path,
            "status=failed&started=20260102.030405.000000000&ended=20260102.030406.500000000&entrypoint=x&logs=y",
        )
        .await
        .json();
    assert_eq!(
        (&build["status"], &build["started"], &build["ended"]),
        (
            &json!("failed"),
            &json!("2026-01-02T03:04:05Z"),
            &json!("2026-01-02T03:04:06.5Z")
        )
    );
    assert_eq!(
        (&build["entrypoint"], &build["logs"]),
        (&json!("x"), &json!("y"))
    );
}

#[tokio::test]
async fn a_pull_that_fails_leaves_its_reason_and_can_be_tried_again() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let id = external(&rack, "services:\n  web:\n    build: .\n").await;
    // The engine knows no such reference.
    let form = "image=UPPER%2Fcase&src-creds-pass=pull-secret&src-creds-user=me";
    assert_eq!(import(&rack, &id, form).await.status, 202);
    let build = ended(&rack, &id).await;
    assert_eq!(build["status"], "failed");
    let reason = text(&build, "reason");
    assert!(
        reason.starts_with("image relay failed for service web: cannot pull "),
        "{reason}"
    );
    let log = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await
        .text();
    assert_eq!(log, format!("Pulling: UPPER/case\nERROR: {reason}\n"));
    assert_eq!(tags(world.data.path(), "staging", "myapp"), [""; 0]);
    for kept in ["rack.db", "rack.db-wal"] {
        if let Ok(bytes) = std::fs::read(world.rack_directory("staging").join(kept)) {
            assert!(
                !bytes.windows(11).any(|window| window == b"pull-secret"),
                "the password is in memory only"
            );
        }
    }
    assert_eq!(import(&rack, &id, "image=busybox").await.status, 202);
    let build = ended(&rack, &id).await;
    assert_eq!(
        (&build["status"], &build["reason"]),
        (&json!("complete"), &json!(""))
    );
}

#[tokio::test]
async fn every_step_that_fails_or_dies_is_undone() {
    for (at, whole) in [
        ("pull", false),
        ("pull.after", false),
        ("record", false),
        // Recorded is recorded.
        ("record.after", true),
    ] {
        let data = Arc::new(tempfile::tempdir().expect("a directory"));
        let world = World::open(data, &format!("import-image.{at}=fail")).await;
        let rack = world.rack("staging").await;
        rack.create("myapp").await;
        let id = external(&rack, TWO).await;
        assert_eq!(import(&rack, &id, "image=busybox").await.status, 202);
        let build = ended(&rack, &id).await;
        let status = if whole { "complete" } else { "failed" };
        assert_eq!(build["status"], status, "{at}");
        assert_eq!(build.get("images").is_some(), whole, "{at}");
        let kept = tags(world.data.path(), "staging", "myapp");
        assert_eq!(kept.len(), if whole { 2 } else { 0 }, "{at}: {kept:?}");
        // The app can go, whatever was left of the build.
        rack.delete("/apps/myapp").await.ok();
    }
}

#[tokio::test]
async fn a_server_that_dies_on_the_way_leaves_a_failed_build_or_a_whole_one() {
    let scene = Scene::empty().await;
    let (world, rack) = scene.open(Arc::clone(&scene.data), "").await;
    let id = external(&rack, TWO).await;
    world.stop().await;
    let target = format!("/apps/myapp/builds/{id}/image?image=busybox:1.36");
    for (point, whole) in points::<ImageImport>("record") {
        let (world, rack) = crash(&scene, &point, ("POST", &target, b"")).await;
        let build = ended(&rack, &id).await;
        let status = if whole { "complete" } else { "failed" };
        assert_eq!(build["status"], status, "{point}: {build}");
        let kept = tags(world.data.path(), "staging", "myapp");
        assert_eq!(kept.len(), if whole { 2 } else { 0 }, "{point}: {kept:?}");
        if !whole {
            let reason = "the server was stopped while it was under way";
            assert_eq!(text(&build, "reason"), reason, "{point}");
            // It can be tried again.
            assert_eq!(import(&rack, &id, "image=busybox%3A1.36").await.status, 202);
            assert_eq!(ended(&rack, &id).await["status"], "complete", "{point}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn no_more_than_four_run_at_once() {
    let data = Arc::new(tempfile::tempdir().expect("a directory"));
    let world = World::open(data, "").await;
    let rack = world.rack("staging").await;
    rack.create("myapp").await;
    let mut builds = Vec::new();
    for _ in 0..12 {
        builds.push(external(&rack, TWO).await);
    }
    let imports = builds.iter().map(|id| import(&rack, id, "image=busybox"));
    let answers = futures::future::join_all(imports).await;
    for (id, answer) in builds.iter().zip(answers) {
        if answer.status == 202 {
            assert_eq!(ended(&rack, id).await["status"], "complete");
        } else {
            answer.fails(
                409,
                "rack at concurrent-import cap (4 in flight); wait and retry",
            );
            assert_eq!(get(&rack, id).await["status"], "created");
        }
    }
}
