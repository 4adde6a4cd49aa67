//! Builds that travel: export and import.

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::{MANIFEST, PLAIN, multipart, text};
use super::world::{Client, World, files_below, tags, until};

on_both_engines!(
    a_build_travels_with_the_same_bits,
    imports_come_as_2017_and_2018_sent_them,
    a_client_that_goes_away_leaves_nothing,
);

/// A deployed app's archive.
pub(crate) async fn archive(rack: &Client, app: &str) -> (serde_json::Value, Vec<u8>) {
    rack.create(app).await;
    let (build, log) = rack.build(app, PLAIN).await;
    assert_eq!(build["status"], "complete", "{log}");
    let answer = rack
        .get(&format!("/apps/{app}/builds/{}.tgz", text(&build, "id")))
        .await;
    assert_eq!(
        (answer.status, answer.header("content-encoding")),
        (200, None)
    );
    (build, answer.body)
}

async fn a_build_travels_with_the_same_bits(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let (build, bytes) = archive(&staging, "myapp").await;
    let by_release = staging
        .get(&format!(
            "/apps/myapp/builds/{}.tgz",
            text(&build, "release")
        ))
        .await;
    assert_eq!(by_release.status, 200, "a release id is as good");

    production.create("myapp").await;
    let halves = bytes.split_at(bytes.len() / 2);
    let imported = production
        .send_chunked("POST", "/apps/myapp/builds/import?", &[halves.0, halves.1])
        .await
        .json();
    assert_eq!(imported["status"], "complete");
    assert_eq!(imported["images"], build["images"]);
    assert_eq!(imported["manifest"], build["manifest"]);
    assert_ne!(imported["id"], build["id"]);
    let digest = artifact::Digest::of(&bytes).to_string();
    assert_eq!(
        imported["provenance"],
        json!({
            "app": "myapp", "build": build["id"], "rack": "personal/staging", "archive": digest,
            "imported": imported["ended"], "images-present": true,
        })
    );
    let release = text(&imported, "release");
    let app = production.promote("myapp", &release).await;
    assert_eq!(app["release"], json!(release));
    let log = production
        .stream(
            &format!("/apps/myapp/builds/{}/logs", text(&imported, "id")),
            &[],
        )
        .await
        .text();
    let digest = text(&build["images"], "web");
    let expected = format!(
        "Imported build {} of app myapp from personal/staging\nVerified web: {digest}\n\
         All images were on the engine already\n",
        text(&build, "id")
    );
    assert_eq!(log, expected);
    assert_eq!(world.tags("production", "myapp").await.len(), 1);
}

async fn imports_come_as_2017_and_2018_sent_them(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let (build, bytes) = archive(&staging, "myapp").await;
    production.create("myapp").await;
    let (kind, body) = multipart("image", &bytes, &[]);
    for target in ["/apps/myapp/builds", "/apps/myapp/builds/import"] {
        let imported = production
            .send("POST", target, &[("Content-Type", &kind)], &body)
            .await
            .json();
        assert_eq!(imported["images"], build["images"], "{target}");
    }
    let stored = production
        .upload("/apps/myapp/objects/", &bytes)
        .await
        .json();
    let url = text(&stored, "Url").replace('/', "%2F").replace(':', "%3A");
    let imported = production
        .post("/apps/myapp/builds/import", &format!("url={url}"))
        .await
        .json();
    assert_eq!(imported["images"], build["images"]);
    production
        .post("/apps/myapp/builds/import", "")
        .await
        .fails(400, "url is required");
    production
        .post("/apps/myapp/builds/import", "url=object%3A%2F%2Fother%2Fx")
        .await
        .fails(400, "object://other/x is not an object of app myapp");
    production
        .post("/apps/myapp/builds/import", "url=object%3A%2F%2Fmyapp%2Fx")
        .await
        .fails(404, "object not found: x");
    assert_eq!(
        production
            .get("/apps/myapp/objects?prefix=tmp/")
            .await
            .json(),
        json!([]),
        "uploads go after use"
    );
}

/// At every sixteenth of its archive, in a body of known and of unknown length.
async fn a_client_that_goes_away_leaves_nothing(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    let (_, bytes) = archive(&staging, "myapp").await;
    staging.delete("/apps/myapp").await.ok();
    production.create("myapp").await;
    let directory = world.rack_directory("production");
    for sixteenth in 0..16 {
        let chunked = sixteenth % 2 == 0;
        let sent = &bytes[..bytes.len() * sixteenth / 16];
        let length = bytes.len();
        let mut request = if chunked {
            let mut request = b"Transfer-Encoding: chunked\r\n\r\n".to_vec();
            request.extend(format!("{length:x}\r\n").into_bytes());
            request
        } else {
            format!("Content-Length: {length}\r\n\r\n").into_bytes()
        };
        request.extend_from_slice(sent);
        production
            .sends_and_leaves("POST", "/apps/myapp/builds/import", &request)
            .await;
    }
    // All of them have been heard before this one is.
    until("nothing to be under way", async || {
        files_below(&directory.join("tmp")).is_empty()
    })
    .await;
    assert_eq!(production.get("/apps/myapp/builds").await.json(), json!([]));
    assert_eq!(
        production.get("/apps/myapp/releases").await.json(),
        json!([])
    );
    assert_eq!(
        world.tags("production", "myapp").await,
        Vec::<String>::new()
    );
    assert_eq!(
        files_below(&directory.join("objects")),
        Vec::<String>::new()
    );
    let imported = production
        .upload("/apps/myapp/builds/import", &bytes)
        .await
        .json();
    assert_eq!(imported["status"], "complete");
    assert_eq!(world.tags("production", "myapp").await.len(), 1);
}

#[tokio::test]
async fn damaged_archives_change_nothing() {
    let (world, staging) = World::with_rack().await;
    let production = world.rack("production").await;
    let (_, bytes) = archive(&staging, "myapp").await;
    production.create("myapp").await;
    let tags_before = tags(world.data.path(), "production", "myapp");
    // More than a bit: one alone can be a bit of padding, which says nothing.
    let mut flipped = bytes.clone();
    let middle = flipped.len() / 2;
    for byte in &mut flipped[middle..middle + 16] {
        *byte ^= 0xff;
    }
    let mut longer = bytes.clone();
    longer.extend_from_slice(b"rubbish");
    for (what, body) in [
        ("empty", Vec::new()),
        ("not gzip", b"hello".to_vec()),
        ("half", bytes[..bytes.len() / 2].to_vec()),
        ("all but the last byte", bytes[..bytes.len() - 1].to_vec()),
        ("flipped in the middle", flipped),
        ("something appended", longer),
        ("a source", super::flow::source(PLAIN)),
    ] {
        let answer = production.upload("/apps/myapp/builds/import", &body).await;
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        let said = answer.text();
        assert!(
            said.starts_with("cannot import: ") && said.lines().count() == 1,
            "{what}: {said}"
        );
    }
    assert_eq!(production.get("/apps/myapp/builds").await.json(), json!([]));
    assert_eq!(
        production.get("/apps/myapp/releases").await.json(),
        json!([])
    );
    assert_eq!(tags(world.data.path(), "production", "myapp"), tags_before);
    assert_eq!(
        files_below(&world.rack_directory("production").join("tmp")),
        Vec::<String>::new()
    );
    let stored = files_below(&world.rack_directory("production").join("objects"));
    assert_eq!(stored, Vec::<String>::new(), "no build, no log of one");
}

/// The whole of a large upload is refused at its first bytes, and the client hears why.
#[tokio::test]
async fn a_large_refused_upload_keeps_its_reason() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let zeros = vec![0; 64 << 20];
    for _ in 0..5 {
        let answer = rack.upload("/apps/myapp/builds/import", &zeros).await;
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().contains("not compressed with gzip"),
            "{}",
            answer.text()
        );
        let answer = rack.upload("/apps/nobody/builds/import", &zeros).await;
        answer.fails(404, "app not found: nobody");
    }
}

#[tokio::test]
async fn an_archive_of_another_app_needs_force() {
    let (_world, rack) = World::with_rack().await;
    let (build, bytes) = archive(&rack, "myapp").await;
    rack.create("other").await;
    let refusal = "cannot import: the archive is a build of app myapp, not of other; to import it nevertheless \
                   use --force, or first `convox apps params set ImportFrom=myapp -a other`";
    rack.upload("/apps/other/builds/import", &bytes)
        .await
        .fails(400, refusal);
    let (kind, body) = multipart("image", &bytes, &[]);
    rack.send(
        "POST",
        "/apps/other/builds/import",
        &[("Content-Type", &kind)],
        &body,
    )
    .await
    .fails(400, refusal);
    assert_eq!(rack.get("/apps/other/builds").await.json(), json!([]));
    for (kind, body) in [("application/octet-stream", &bytes), (kind.as_str(), &body)] {
        let answer = rack
            .send(
                "POST",
                "/apps/other/builds/import?force=true",
                &[("Content-Type", kind)],
                body,
            )
            .await;
        let imported = answer.json();
        assert_eq!(
            (&imported["app"], &imported["images"]),
            (&json!("other"), &build["images"])
        );
    }
}

#[tokio::test]
async fn a_parameter_lets_builds_of_another_app_in() {
    let (_world, rack) = World::with_rack().await;
    let (_, bytes) = archive(&rack, "myapp").await;
    rack.create("other").await;
    for (parameters, status) in [
        ("ImportFrom%3Dsomebody", 400),
        ("ImportFrom%3Dsomebody%252Cmyapp", 200),
        ("ImportFrom%3D%252A", 200),
    ] {
        let body = format!("parameters={parameters}");
        rack.send(
            "PUT",
            "/apps/other",
            &[("Content-Type", "application/x-www-form-urlencoded")],
            body.as_bytes(),
        )
        .await
        .ok();
        let answer = rack.upload("/apps/other/builds/import", &bytes).await;
        assert_eq!(answer.status, status, "{parameters}: {}", answer.text());
    }
}

#[tokio::test]
async fn an_import_tells_what_environment_is_missing() {
    let (world, staging) = World::with_rack().await;
    let production = world.rack("production").await;
    let manifest = MANIFEST.replace(
        "  - GREETING=hello\n",
        "  - GREETING=hello\n  - ZEBRA\n  - SECRET_KEY\n",
    );
    staging.create("myapp").await;
    staging.set_env("myapp", "SECRET_KEY=s\nZEBRA=z").await;
    let (build, log) = staging
        .build("myapp", &[("convox.yml", &manifest), PLAIN[1]])
        .await;
    assert_eq!(build["status"], "complete", "{log}");
    assert_eq!(build.get("missing-environment"), None);
    let bytes = staging
        .get(&format!("/apps/myapp/builds/{}.tgz", text(&build, "id")))
        .await
        .body;
    production.create("myapp").await;
    production.set_env("myapp", "ZEBRA=z").await;
    let imported = production
        .upload("/apps/myapp/builds/import", &bytes)
        .await
        .json();
    assert_eq!(imported["missing-environment"], json!(["SECRET_KEY"]));
    let promoted = production
        .post(
            &format!(
                "/apps/myapp/releases/{}/promote",
                text(&imported, "release")
            ),
            "",
        )
        .await;
    assert_eq!(promoted.status, 400);
    assert!(
        promoted.text().contains("SECRET_KEY"),
        "{}",
        promoted.text()
    );
    assert_eq!(
        production.get("/apps/myapp").await.json()["status"],
        "running",
        "nothing has begun"
    );
    let release = text(
        &production.set_env("myapp", "ZEBRA=z\nSECRET_KEY=p").await,
        "id",
    );
    assert_eq!(
        production.promote("myapp", &release).await["release"],
        json!(release)
    );
}

#[tokio::test]
async fn an_engine_that_refuses_the_images_leaves_nothing() {
    let (world, rack) = World::with_rack().await;
    let (build, bytes) = archive(&rack, "myapp").await;
    rack.get("/apps/myapp/builds/BAAAAAAAAAA.tgz")
        .await
        .fails(404, "build not found: BAAAAAAAAAA");
    // The second server has an engine of its own, which knows none of the layers.
    let elsewhere = World::empty().await;
    let far = elsewhere.rack("production").await;
    far.create("myapp").await;
    let imported = far.upload("/apps/myapp/builds/import", &bytes).await.json();
    assert_eq!(imported["images"], build["images"]);
    assert_eq!(tags(elsewhere.data.path(), "production", "myapp").len(), 1);
    assert_eq!(tags(world.data.path(), "staging", "myapp").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_never_lands_in_a_deleted_app() {
    let (world, rack) = World::with_rack().await;
    let (_, bytes) = archive(&rack, "myapp").await;
    for round in 0..8 {
        rack.create("target").await;
        let importing = {
            let (rack, bytes) = (rack.clone(), bytes.clone());
            tokio::spawn(async move {
                rack.upload("/apps/target/builds/import?force=true", &bytes)
                    .await
            })
        };
        // Another moment each time.
        tokio::time::sleep(std::time::Duration::from_millis(round * 2)).await;
        rack.delete("/apps/target").await.ok();
        let answer = importing.await.expect("an answer");
        assert!([200, 403, 404, 409].contains(&answer.status), "{answer:?}");
        assert_eq!(
            tags(world.data.path(), "staging", "target"),
            Vec::<String>::new(),
            "{}",
            answer.text()
        );
        rack.create("target").await;
        assert_eq!(rack.get("/apps/target/builds").await.json(), json!([]));
        assert_eq!(rack.get("/apps/target/releases").await.json(), json!([]));
        rack.delete("/apps/target").await.ok();
    }
}
