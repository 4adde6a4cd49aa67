//! Builds: from objects and from parts, their logs, their failures.

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::{DOCKERFILE, MANIFEST, PLAIN, multipart, source, text};
use super::world::files_below;

on_both_engines!(
    a_build_becomes_a_release,
    the_log_of_a_build_that_has_ended_is_what_it_is,
    builds_are_listed_newest_first,
    what_cannot_be_built_is_refused_at_once,
    builds_that_fail_say_why_in_their_last_line,
    a_source_that_is_no_archive_fails_the_build,
    sources_come_in_parts_from_2017,
    arguments_reach_a_build_where_they_are_asked_for,
    a_build_is_cancelled,
    a_build_ends_with_its_app,
    a_build_that_is_deleted_half_way_leaves_no_image,
    services_that_share_a_recipe_share_an_image,
);

/// A source whose build takes long enough to be met half way.
pub(crate) const SLOW: &[(&str, &str)] = &[
    ("convox.yml", MANIFEST),
    (
        "Dockerfile",
        "FROM busybox:1.36\nRUN echo begun && sleep 600\n",
    ),
];

async fn a_build_becomes_a_release(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.upload("/apps/myapp/objects/tmp/a.tgz", &source(PLAIN))
        .await
        .json();
    let started = rack
        .post(
            "/apps/myapp/builds",
            "description=first%20one&git-sha=abc123&url=object%3A%2F%2Fmyapp%2Ftmp%2Fa.tgz",
        )
        .await
        .json();
    let id = text(&started, "id");
    assert!(
        id.len() == 11 && id.starts_with('B') && id.bytes().all(|byte| byte.is_ascii_uppercase()),
        "{id}"
    );
    assert_eq!(
        started["status"], "running",
        "v2 clients take `created` for finished"
    );
    assert_eq!(
        (&started["release"], &started["ended"]),
        (&json!(""), &json!("0001-01-01T00:00:00Z"))
    );
    assert_eq!(
        (&started["app"], &started["git-sha"]),
        (&json!("myapp"), &json!("abc123"))
    );

    let live = rack
        .stream(
            &format!("/apps/myapp/builds/{id}/logs"),
            &[("Since", "0s"), ("Follow", "false")],
        )
        .await;
    let build = rack.get(&format!("/apps/myapp/builds/{id}")).await.json();
    assert_eq!(
        build["status"], "complete",
        "the log ends after the build is recorded"
    );
    let release = text(&build, "release");
    assert!(release.len() == 11 && release.starts_with('R'), "{release}");
    assert_eq!(build["description"], "first one");
    assert_eq!(build["manifest"], MANIFEST);
    assert_eq!(build["reason"], "");
    assert_eq!(build["logs"], format!("object://myapp/build/{id}/logs"));
    assert_ne!(build["ended"], "0001-01-01T00:00:00Z");
    let digest = text(&build["images"], "web");
    assert!(
        digest.starts_with("sha256:") && digest.len() == 71,
        "{digest}"
    );

    let kept = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    assert!(live.ended && kept.ended);
    assert_eq!(live.bytes(), kept.bytes(), "byte for byte");
    assert_eq!(
        rack.get(&format!("/apps/myapp/objects/build/{id}/logs"))
            .await
            .body,
        kept.bytes()
    );
    let log = kept.text();
    assert!(
        log.contains("compiling") && log.contains("Building: .\n") && !log.contains('\u{1b}'),
        "{log}"
    );

    assert_eq!(
        world.tags("staging", "myapp").await,
        [format!("twinrack/staging/myapp:web.{id}")]
    );
    let released = rack
        .get(&format!("/apps/myapp/releases/{release}"))
        .await
        .json();
    assert_eq!(
        (&released["build"], &released["description"]),
        (&json!(id), &json!("first one"))
    );
    // Either id names it, in any case.
    for name in [release.clone(), release.to_lowercase(), id.to_lowercase()] {
        assert_eq!(
            rack.get(&format!("/apps/myapp/builds/{name}")).await.json()["id"],
            json!(id),
            "{name}"
        );
    }
}

async fn the_log_of_a_build_that_has_ended_is_what_it_is(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let (build, log) = rack.build("myapp", PLAIN).await;
    let id = text(&build, "id");
    let key = format!("/apps/myapp/objects/build/{id}/logs");
    let refusal = format!("build {id} has ended: its log is what it is");
    for key in [key.clone(), key.replace("/build/", "//build//")] {
        rack.upload(&key, b"forged").await.fails(409, &refusal);
        rack.delete(&key).await.fails(409, &refusal);
    }
    let again = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    assert_eq!(again.text(), log);
    // A build that is not there has no log to keep.
    let other = "/apps/myapp/objects/build/BAAAAAAAAAA/logs";
    rack.upload(other, b"x").await.json();
    rack.delete(other).await.ok();
}

async fn builds_are_listed_newest_first(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let mut ids = Vec::new();
    for _ in 0..12 {
        let answer = rack
            .post("/apps/myapp/builds", "url=object://myapp/none")
            .await;
        assert_eq!(answer.status, 404);
        ids.insert(
            0,
            json!(text(&rack.start_build("myapp", &[("x", "x")]).await, "id")),
        );
    }
    let listed = |list: serde_json::Value| -> Vec<_> {
        list.as_array()
            .expect("a list")
            .iter()
            .map(|build| build["id"].clone())
            .collect()
    };
    assert_eq!(
        listed(rack.get("/apps/myapp/builds").await.json()),
        ids[..10]
    );
    assert_eq!(
        listed(rack.get("/apps/myapp/builds?limit=3").await.json()),
        ids[..3]
    );
    assert_eq!(
        listed(rack.get("/apps/myapp/builds?limit=100").await.json()),
        ids
    );
}

async fn what_cannot_be_built_is_refused_at_once(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.create("other").await;
    rack.upload("/apps/myapp/objects/a.tgz", &source(PLAIN))
        .await
        .json();
    for (form, status, reason) in [
        ("", 400, "url is required"),
        (
            "url=https%3A%2F%2Fx%2Fy",
            400,
            "only object:// sources are supported (got https://x/y)",
        ),
        (
            "url=object%3A%2F%2Fother%2Fa.tgz",
            400,
            "source object://other/a.tgz belongs to another app",
        ),
        (
            "url=object%3A%2F%2Fmyapp%2Fnope",
            404,
            "object not found: nope",
        ),
        (
            "url=object%3A%2F%2Fmyapp%2F..%2Fother%2Fa",
            400,
            "invalid object key",
        ),
        (
            "url=object%3A%2F%2Fmyapp%2Fa.tgz&build-args=A",
            400,
            "invalid build args",
        ),
    ] {
        rack.post("/apps/myapp/builds", form)
            .await
            .fails(status, reason);
    }
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));
    rack.get("/apps/myapp/builds/BAAAAAAAAAA")
        .await
        .fails(404, "build not found: BAAAAAAAAAA");
    let missing = rack
        .stream("/apps/myapp/builds/BAAAAAAAAAA/logs", &[])
        .await;
    assert_eq!(
        (missing.text().as_str(), missing.ended),
        ("ERROR: build not found: BAAAAAAAAAA\n", true)
    );
}

async fn builds_that_fail_say_why_in_their_last_line(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let fault: [(&[(&str, &str)], &str); 1] = [(
        &[PLAIN[0], PLAIN[1], (".twinrack-faults", "build-fails\n")],
        "build-fails",
    )];
    let cases: [(&[(&str, &str)], &str); 6] = [
        (
            &[("Dockerfile", DOCKERFILE)],
            "convox.yml is not in the source",
        ),
        (
            &[("convox.yml", MANIFEST)],
            "Dockerfile is not in the source",
        ),
        (
            &[("convox.yml", "services: {}\n"), PLAIN[1]],
            "declares no services",
        ),
        (&[("convox.yml", "services: [\n"), PLAIN[1]], "convox.yml"),
        (
            &[PLAIN[0], ("Dockerfile", "FROM busybox:1.36\nRUN exit 3\n")],
            "3",
        ),
        (
            &[
                (
                    "convox.yml",
                    "environment: [KEY]\nservices:\n  web:\n    build: .\n",
                ),
                PLAIN[1],
            ],
            "KEY",
        ),
    ];
    let of_engine = if engine.is_docker() {
        &fault[..0]
    } else {
        &fault
    };
    for (files, reason) in cases.iter().chain(of_engine) {
        let (build, log) = rack.build("myapp", files).await;
        assert_eq!(
            (&build["status"], &build["release"]),
            (&json!("failed"), &json!("")),
            "{log}"
        );
        let said = text(&build, "reason");
        assert!(said.contains(reason), "{said} should say {reason}");
        let last = log.lines().last().expect("a line");
        assert_eq!(last, format!("ERROR: {said}"), "{log}");
        assert!(log.ends_with('\n'));
        let kept = rack
            .get(&format!(
                "/apps/myapp/objects/build/{}/logs",
                text(&build, "id")
            ))
            .await;
        assert_eq!(kept.text(), log);
        let export = rack
            .get(&format!("/apps/myapp/builds/{}.tgz", text(&build, "id")))
            .await;
        let refusal = format!(
            "build {} is failed: only complete builds can be exported",
            text(&build, "id")
        );
        export.fails(409, &refusal);
    }
    assert_eq!(world.tags("staging", "myapp").await, Vec::<String>::new());
    assert_eq!(rack.get("/apps/myapp/releases").await.json(), json!([]));
    assert_eq!(
        files_below(&world.rack_directory("staging").join("tmp")),
        Vec::<String>::new()
    );
}

async fn a_source_that_is_no_archive_fails_the_build(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let whole = source(PLAIN);
    for bytes in [b"not gzip".as_slice(), b"", &whole[..whole.len() / 2]] {
        rack.upload("/apps/myapp/objects/a.tgz", bytes).await.json();
        let id = text(
            &rack
                .post("/apps/myapp/builds", "url=object://myapp/a.tgz")
                .await
                .json(),
            "id",
        );
        let log = rack
            .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
            .await
            .text();
        assert!(
            log.lines().last().expect("a line").starts_with("ERROR: "),
            "{log}"
        );
        assert_eq!(
            rack.get(&format!("/apps/myapp/builds/{id}")).await.json()["status"],
            "failed"
        );
    }
}

async fn sources_come_in_parts_from_2017(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let files = [("docker/convox.yml", MANIFEST), ("Dockerfile", DOCKERFILE)];
    let fields = [
        ("cache", "false"),
        ("config", "docker/convox.yml"),
        ("description", "old client"),
    ];
    let (kind, body) = multipart("source", &source(&files), &fields);
    let answer = rack
        .send(
            "POST",
            "/apps/myapp/builds",
            &[("Content-Type", &kind)],
            &body,
        )
        .await;
    let id = text(&answer.json(), "id");
    let log = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await
        .text();
    let build = rack.get(&format!("/apps/myapp/builds/{id}")).await.json();
    assert_eq!(
        (&build["status"], &build["description"]),
        (&json!("complete"), &json!("old client")),
        "{log}"
    );

    let neither = "the upload has neither a source nor an image part";
    let (kind, body) = multipart("file", b"x", &[]);
    rack.send(
        "POST",
        "/apps/myapp/builds",
        &[("Content-Type", &kind)],
        &body,
    )
    .await
    .fails(400, neither);
    let half = &body[..body.len() / 2];
    let answer = rack
        .send(
            "POST",
            "/apps/myapp/builds",
            &[("Content-Type", &kind)],
            half,
        )
        .await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(
        files_below(&world.rack_directory("staging").join("tmp")),
        Vec::<String>::new()
    );
}

async fn arguments_reach_a_build_where_they_are_asked_for(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let dockerfile = "FROM busybox:1.36\nCOPY . .\nARG ASKED\nARG OTHER=none\nRUN echo [$ASKED] [$OTHER] [$SECRET]\n";
    rack.upload(
        "/apps/myapp/objects/a.tgz",
        &source(&[PLAIN[0], ("Dockerfile", dockerfile)]),
    )
    .await
    .json();
    rack.set_env("myapp", "SECRET=hidden\nASKED=env").await;
    let form = "build-args=ASKED%3Done%2COTHER%3Dtwo&url=object://myapp/a.tgz";
    let id = text(&rack.post("/apps/myapp/builds", form).await.json(), "id");
    let log = rack
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await
        .text();
    assert!(
        log.contains("[one] [two] []") && !log.contains("hidden"),
        "{log}"
    );
}

async fn a_build_is_cancelled(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let id = text(&rack.start_build("myapp", SLOW).await, "id");
    let mut follower = rack
        .socket(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    follower.until("begun").await;
    let log = rack
        .socket(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    rack.get(&format!("/apps/myapp/builds/{id}.tgz"))
        .await
        .fails(
            409,
            &format!("build {id} is running: only complete builds can be exported"),
        );
    rack.post("/apps/myapp/cancel", "").await.ok();
    let log = log.rest().await;
    assert!(
        log.ended && log.text().ends_with("ERROR: the build was cancelled\n"),
        "{}",
        log.text()
    );
    let build = rack.get(&format!("/apps/myapp/builds/{id}")).await.json();
    assert_eq!(
        (&build["status"], &build["reason"]),
        (&json!("failed"), &json!("the build was cancelled"))
    );
    assert_eq!(world.tags("staging", "myapp").await, Vec::<String>::new());
    rack.post("/apps/myapp/cancel", "")
        .await
        .fails(403, "app is not updating");
}

async fn a_build_ends_with_its_app(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let id = text(&rack.start_build("myapp", SLOW).await, "id");
    let mut log = rack
        .socket(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    log.until("begun").await;
    rack.delete("/apps/myapp").await.ok();
    log.rest().await;
    rack.get("/apps/myapp")
        .await
        .fails(404, "app not found: myapp");
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));
}

async fn a_build_that_is_deleted_half_way_leaves_no_image(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = "services:\n  web:\n    build: .\n  other:\n    build: slow\n";
    let files = [
        ("convox.yml", manifest),
        PLAIN[1],
        ("slow/Dockerfile", SLOW[1].1),
    ];
    let id = text(&rack.start_build("myapp", &files).await, "id");
    let mut log = rack
        .socket(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    log.until("begun").await;
    let tag = format!("twinrack/staging/myapp:web.{id}");
    assert_eq!(
        world.tags("staging", "myapp").await,
        [tag],
        "the first service is done"
    );
    rack.delete("/apps/myapp").await.ok();
    assert_eq!(world.tags("staging", "myapp").await, Vec::<String>::new());
    let left = files_below(&world.rack_directory("staging").join("objects"));
    assert_eq!(left, Vec::<String>::new());
}

async fn services_that_share_a_recipe_share_an_image(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = "services:\n  web:\n    build: .\n    port: 3000\n  worker:\n    build: .\n    command: sleep 1000\n  other:\n    build: other\n";
    let files = [
        ("convox.yml", manifest),
        PLAIN[1],
        (
            "other/Dockerfile",
            "FROM busybox:1.36\nRUN echo elsewhere\n",
        ),
    ];
    let (build, log) = rack.build("myapp", &files).await;
    let images = &build["images"];
    assert_eq!(images["web"], images["worker"]);
    assert_ne!(images["web"], images["other"]);
    assert_eq!(log.matches("Building: ").count(), 2, "{log}");
}
