//! What fails, and what must still be true then: an exit status other than zero,
//! one line that says why, and production as it was.

use std::fs;
use std::path::Path;

use end_to_end::{EngineProxy, World, image_tags, tags_left, wait_until, write};

/// A deploy script that stops at its first failing line.
const SCRIPT: &str = r"
set -e
convox switch staging
BUILD_ID=$(convox build --id)
convox releases promote $BUILD_ID --wait
convox run web rake test --release $BUILD_ID
convox builds export $BUILD_ID > b.tgz
convox switch production
RELEASE_ID=$(convox builds import b.tgz --id)
convox releases promote $RELEASE_ID --wait
";

/// Changes the deployed app, runs the script, and checks that it fails with this
/// in its reason and that production is what it was.
fn fails(world: &World, change: impl FnOnce(&Path), reason: &str) {
    let app = world.tiny_deployed();
    let before = world.snapshot("production", "myapp");
    change(&app);
    let answer = world.script(&app, SCRIPT);
    assert_ne!(answer.status, 0, "{}\n{}", answer.stdout, answer.stderr);
    assert!(
        answer.stderr.contains(reason) || answer.stdout.contains(reason),
        "{reason:?} is said; stdout:\n{}\nstderr:\n{}",
        answer.stdout,
        answer.stderr
    );
    assert_eq!(world.snapshot("production", "myapp"), before);
}

fn break_the_build(app: &Path) {
    write(app, "Dockerfile", "FROM busybox:1.36\nRUN false\n");
}

#[test]
fn a_failing_build_stops_the_script_simulated() {
    fails(&World::simulated(), break_the_build, "ERROR: build failed");
}

#[test]
#[ignore = "needs Docker"]
fn a_failing_build_stops_the_script() {
    fails(&World::docker(), break_the_build, "ERROR: build failed");
}

/// The last build of staging, which must have failed, and the end of its log.
fn failed_build(world: &World) -> (String, String) {
    let build = world.api("staging", "/apps/myapp/builds")[0].clone();
    assert_eq!(build["status"], "failed", "{build}");
    let id = build["id"].as_str().expect("an id");
    let log = world
        .convox(&["builds", "logs", id, "-a", "myapp", "-r", "staging"])
        .ok();
    let last = log.lines().last().expect("a last line").to_owned();
    (build["reason"].to_string(), last)
}

#[test]
#[ignore = "needs Docker"]
fn a_build_that_takes_too_long_fails() {
    let mut world = World::docker();
    world.set("RACK_SERVER_BUILD_TIMEOUT", "3");
    let app = world.tiny();
    write(&app, "Dockerfile", "FROM busybox:1.36\nRUN sleep 300\n");
    let failed = world.convox_in(&app, &["build", "-r", "staging"]);
    assert_eq!(failed.status, 1, "{}", failed.stderr);
    let (reason, last) = failed_build(&world);
    assert!(reason.contains("longer than 3 seconds"), "{reason}");
    assert_eq!(last, "ERROR: the build took longer than 3 seconds");
}

#[test]
#[ignore = "needs Docker"]
fn a_cancelled_build_fails() {
    let world = World::docker();
    let app = world.tiny();
    write(&app, "Dockerfile", "FROM busybox:1.36\nRUN sleep 300\n");
    let mut build = world.spawn_convox(&app, &["build", "-r", "staging"]);
    wait_until("the build runs", || {
        world.api("staging", "/apps/myapp/builds")[0]["status"] == "running"
    });
    world.cancel("staging", "myapp");
    assert!(!build.wait().expect("an end").success());
    let (reason, last) = failed_build(&world);
    assert!(reason.contains("cancelled"), "{reason}");
    assert_eq!(last, "ERROR: the build was cancelled");
}

#[test]
#[ignore = "needs Docker"]
fn failing_tests_stop_the_script() {
    let change = |app: &Path| {
        write(
            app,
            "bin/rake",
            "#!/bin/sh\necho 'failed: one is not two' >&2\nexit 3\n",
        );
    };
    fails(&World::docker(), change, "failed: one is not two");
}

#[test]
#[ignore = "needs Docker"]
fn a_release_that_exits_is_rolled_back() {
    let world = World::docker();
    let change = |app: &Path| {
        write(
            app,
            "bin/serve",
            "#!/bin/sh\necho 'no such table' >&2\nexit 7\n",
        );
    };
    fails(&world, change, "exited with status 7");
    let logs = world
        .convox(&[
            "logs",
            "-a",
            "myapp",
            "-r",
            "staging",
            "--no-follow",
            "--since",
            "5m",
        ])
        .ok();
    assert!(
        logs.contains("| no such table"),
        "the last lines stand with the reason:\n{logs}"
    );
    assert_eq!(
        world.page("web.myapp.staging.localhost", "/").0,
        200,
        "the old release serves"
    );
}

#[test]
#[ignore = "needs Docker"]
fn a_release_that_is_never_healthy_is_rolled_back() {
    let mut world = World::docker();
    world.set("RACK_SERVER_PROMOTE_TIMEOUT", "3");
    let change = |app: &Path| {
        let text = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
        write(
            app,
            "convox.yml",
            &text.replace("path: /health", "path: /nothing"),
        );
    };
    fails(&world, change, "did not become healthy");
    assert_eq!(
        world.page("web.myapp.staging.localhost", "/").0,
        200,
        "the old release serves"
    );
    assert_eq!(world.api("staging", "/apps/myapp")["status"], "running");
}

fn requires_environment(world: &World) {
    let app = world.tiny_deployed();
    let before = world.snapshot("production", "myapp");
    write(
        &app,
        "convox.yml",
        "environment:\n  - TOKEN\nservices:\n  web:\n    build: .\n    port: 3000\n    health: /health\n",
    );
    let failed = world.convox_in(&app, &["build", "-r", "staging"]);
    assert_eq!(failed.status, 1);
    assert!(
        failed.stdout.contains("required env: TOKEN"),
        "{}",
        failed.stdout
    );
    // Set on staging only: production refuses at the promote, having said so at the import.
    world
        .convox_in(&app, &["env", "set", "TOKEN=1", "-r", "staging"])
        .ok();
    let script = SCRIPT.replace(
        "convox releases promote $RELEASE_ID --wait",
        "echo \"$RELEASE_ID\"",
    );
    let imported = world.script(&app, &script);
    assert!(
        imported.stderr.contains("TOKEN"),
        "the import warns: {}",
        imported.stderr
    );
    let release = imported
        .ok()
        .lines()
        .last()
        .expect("a release id")
        .to_owned();
    let reason = world
        .convox_in(&app, &["releases", "promote", &release, "-r", "production"])
        .error();
    assert!(reason.contains("required env: TOKEN"), "{reason}");
    let after = world.snapshot("production", "myapp");
    assert_ne!(after, before, "the import itself succeeded");
    assert_eq!(world.api("production", "/apps/myapp")["status"], "running");
}

#[test]
fn missing_environment_is_refused_simulated() {
    requires_environment(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn missing_environment_is_refused() {
    requires_environment(&World::docker());
}

fn damaged_archives(world: &World) {
    let app = world.tiny_deployed();
    let (_, build) = world.active("staging");
    let file = app.join("good.tgz");
    let name = |path: &Path| path.to_string_lossy().into_owned();
    world
        .convox_in(
            &app,
            &[
                "builds",
                "export",
                &build,
                "-f",
                &name(&file),
                "-r",
                "staging",
            ],
        )
        .ok();
    let good = fs::read(&file).expect("the archive");
    let before = world.snapshot("production", "myapp");
    // More than a bit: one alone can be a bit of padding, which says nothing.
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    for byte in &mut flipped[middle..middle + 16] {
        *byte ^= 0xff;
    }
    for (what, bytes) in [
        ("truncated", good[..good.len() - 100].to_vec()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("flipped in the middle", flipped),
        ("not gzip", b"this is not an archive".to_vec()),
        ("empty", Vec::new()),
    ] {
        let bad = app.join("bad.tgz");
        fs::write(&bad, bytes).expect("a file");
        let reason = world
            .convox_in(&app, &["builds", "import", &name(&bad), "-r", "production"])
            .error();
        assert!(reason.contains("import"), "{what}: {reason}");
        assert_eq!(world.snapshot("production", "myapp"), before, "{what}");
    }
    // A build of another app, by mistake.
    world
        .convox_in(&app, &["apps", "create", "other", "-r", "production"])
        .ok();
    let reason = world
        .convox_in(
            &app,
            &[
                "builds",
                "import",
                &name(&file),
                "-a",
                "other",
                "-r",
                "production",
            ],
        )
        .error();
    assert!(reason.contains("app myapp"), "{reason}");
    assert_eq!(
        world.api("production", "/apps/other/builds"),
        serde_json::json!([])
    );
    assert_eq!(world.snapshot("production", "myapp"), before);
    // Unless that is what is wanted, which is said.
    world
        .convox_in(
            &app,
            &[
                "builds",
                "import",
                "--force",
                &name(&file),
                "-a",
                "other",
                "-r",
                "production",
            ],
        )
        .ok();
    // And an app that is not there.
    let reason = world
        .convox_in(
            &app,
            &[
                "builds",
                "import",
                &name(&file),
                "-a",
                "nobody",
                "-r",
                "production",
            ],
        )
        .error();
    assert_eq!(reason, "app not found: nobody");
}

#[test]
fn damaged_archives_change_nothing_simulated() {
    damaged_archives(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn damaged_archives_change_nothing() {
    damaged_archives(&World::docker());
}

#[test]
#[ignore = "needs Docker"]
fn a_stopped_docker_is_said_and_survived() {
    let mut world = World::docker();
    let proxy = EngineProxy::new(&world.path().join("engine.sock"));
    world.set("DOCKER_HOST", &proxy.address());
    let app = world.tiny_deployed();
    let before = world.snapshot("production", "myapp");
    let (release, _) = world.active("staging");
    proxy.stop();
    let reason = world
        .convox_in(&app, &["run", "web", "true", "-r", "staging"])
        .error();
    assert!(
        reason.contains("cannot reach the docker engine"),
        "{reason}"
    );
    let reason = world
        .convox_in(&app, &["releases", "promote", &release, "-r", "staging"])
        .error();
    assert!(
        reason.contains("cannot reach the docker engine"),
        "{reason}"
    );
    let failed = world.convox_in(&app, &["build", "-r", "staging"]);
    assert_eq!(failed.status, 1);
    assert!(
        failed.stdout.contains("cannot reach the docker engine"),
        "{}",
        failed.stdout
    );
    proxy.start();
    wait_until("the app answers again", || {
        world.page("web.myapp.staging.localhost", "/").0 == 200
    });
    assert_eq!(world.snapshot("production", "myapp"), before);
    world
        .convox_in(&app, &["run", "web", "true", "-r", "staging"])
        .ok();
}

/// Docker goes away while it loads images, or right after: when it is back, nothing of
/// the import is there.
fn loses_docker_in_an_import(lose: impl FnOnce(&EngineProxy)) {
    let mut world = World::docker();
    let proxy = EngineProxy::new(&world.path().join("engine.sock"));
    world.set("DOCKER_HOST", &proxy.address());
    let app = world.tiny();
    write(
        &app,
        "bin/only-here",
        &format!("{:?}", std::time::SystemTime::now()),
    );
    let release = world
        .convox_in(&app, &["build", "--id", "-r", "staging"])
        .ok();
    let (archive, export) = ("b.tgz", ["builds", "export", &release, "-f", "b.tgz"]);
    world
        .convox_in(&app, &[&export[..], &["-r", "staging"]].concat())
        .ok();
    // Docker must not know the images.
    let images = image_tags(&world.path().join("data"), "staging");
    assert_eq!(images.len(), 1, "{images:?}");
    world
        .convox(&["apps", "delete", "myapp", "-r", "staging"])
        .ok();
    assert_eq!(tags_left(&images), Vec::<String>::new());
    let before = world.snapshot("production", "myapp");
    lose(&proxy);
    let reason = world
        .convox_in(&app, &["builds", "import", archive, "-r", "production"])
        .error();
    assert!(!reason.is_empty(), "it says why");
    assert!(!proxy.is_up(), "Docker went away: {reason}");
    proxy.start();
    wait_until("production is what it was", || {
        world.snapshot("production", "myapp") == before
    });
    wait_until("Docker has no image of the import", || {
        image_tags(&world.path().join("data"), "production").is_empty()
    });
    let scratch = world.path().join("data/racks/production/tmp");
    assert_eq!(fs::read_dir(scratch).expect("a directory").count(), 0);
    world
        .convox_in(&app, &["builds", "import", archive, "-r", "production"])
        .ok();
}

#[test]
#[ignore = "needs Docker"]
fn docker_lost_while_it_loads_leaves_nothing() {
    loses_docker_in_an_import(|proxy| proxy.stop_in_request("/images/load", 40_000));
}

#[test]
#[ignore = "needs Docker"]
fn docker_lost_after_it_has_loaded_leaves_nothing() {
    loses_docker_in_an_import(|proxy| proxy.stop_at_answer("/images/load"));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let mut world = World::simulated();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    world.set("RACK_SERVER_LISTEN", &address);
    let reason = world
        .convox(&["install", "--stack-name", "staging"])
        .error();
    assert!(reason.contains(&address), "{reason}");
}

#[test]
fn an_image_that_is_removed_before_it_is_kept_is_built_again() {
    for (lost, kept) in [(1, true), (4, true), (5, false)] {
        let mut world = World::simulated();
        world.set("TWINRACK_FAULTS", &format!("image-lost-{lost}"));
        world.install(&["staging"]);
        let app = world.example("tiny", "myapp");
        world.convox_in(&app, &["apps", "create", "myapp"]).ok();
        let deploy = world.convox_in(&app, &["deploy", "-a", "myapp"]);
        if kept {
            deploy.ok();
            continue;
        }
        let error = deploy.error();
        assert!(error.contains("each of the 5 times"), "{error}");
        // Whoever removed them is gone.
        world.convox_in(&app, &["deploy", "-a", "myapp"]).ok();
    }
}

/// The container of production's resource, if it runs, and the image it was made of.
fn resource_container() -> impl Fn(&World) -> Option<(String, String)> {
    |world| {
        let server = end_to_end::server_id(&world.path().join("data"))?;
        let server = format!("label=twinrack.server={server}");
        let words = [
            "ps",
            "--no-trunc",
            "--format",
            "{{.ID}} {{.Image}}",
            "--filter",
            &server,
        ];
        let words = [&words[..], &["--filter", "label=twinrack.kind=resource"]].concat();
        let listed = std::process::Command::new("docker").args(words).output();
        let listed = String::from_utf8(listed.expect("docker runs").stdout).expect("text");
        let (id, image) = listed.lines().next()?.split_once(' ')?;
        Some((id.to_owned(), image.to_owned()))
    }
}

#[test]
#[ignore = "needs Docker"]
fn a_resource_comes_back_whatever_happens_to_its_container() {
    let world = World::docker();
    let app = world.tiny();
    let manifest = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    let with = |resource: &str| format!("{manifest}resources:\n  cache: {{{resource}}}\n");
    write(&app, "convox.yml", &with("type: redis"));
    let on = ["-a", "myapp", "-r", "staging"];
    let deploy = ["deploy", "-a", "myapp", "-r", "staging"];
    world.convox_in(&app, &deploy).ok();
    let container = resource_container();
    let (first, image) = container(&world).expect("a resource runs");
    let docker = |words: &[&str]| {
        let done = std::process::Command::new("docker").args(words).output();
        done.expect("docker runs")
    };
    let said = |words: &[&str]| String::from_utf8(docker(words).stdout).expect("text");
    assert_eq!(
        said(&["exec", &first, "redis-cli", "set", "kept", "yes"]).trim(),
        "OK"
    );
    said(&["exec", &first, "redis-cli", "save"]);

    assert!(docker(&["rm", "-f", &first]).status.success());
    wait_until("another container is made", || {
        container(&world).is_some_and(|(id, _)| id != first)
    });
    let (second, _) = container(&world).expect("a resource runs");
    wait_until("it has what the first one had", || {
        said(&["exec", &second, "redis-cli", "get", "kept"]).trim() == "yes"
    });

    // A change that cannot work is taken back with the rest of the promote.
    write(
        &app,
        "convox.yml",
        &with("type: redis, image: 'busybox:1.36'"),
    );
    assert_ne!(world.convox_in(&app, &deploy).status, 0);
    wait_until("the resource is as it was", || {
        container(&world).is_some_and(|(id, now)| {
            now == image && said(&["exec", &id, "redis-cli", "get", "kept"]).trim() == "yes"
        })
    });

    // One that is no longer declared goes; what it held stays.
    write(&app, "convox.yml", &manifest);
    world.convox_in(&app, &deploy).ok();
    wait_until("no resource runs", || container(&world).is_none());
    write(&app, "convox.yml", &with("type: redis"));
    world.convox_in(&app, &deploy).ok();
    let (third, _) = container(&world).expect("a resource runs");
    assert_eq!(
        said(&["exec", &third, "redis-cli", "get", "kept"]).trim(),
        "yes"
    );
    world
        .convox(&[&["logs", "--no-follow"][..], &on].concat())
        .ok();
}

#[test]
#[ignore = "needs Docker"]
fn a_process_that_fails_its_liveness_check_is_replaced() {
    let world = World::docker();
    let app = world.tiny();
    let manifest = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    let liveness = "    liveness: {path: /live, grace: 1, interval: 1, failureThreshold: 2}\n";
    // One speaks no HTTP: that it listens is enough.
    let other = "  other: {build: ., port: 'tcp:4000', command: 'nc -ll -p 4000 -e cat', \
                 termination: {grace: 0}}\n";
    write(&app, "convox.yml", &format!("{manifest}{liveness}{other}"));
    write(
        &app,
        "Dockerfile",
        "FROM busybox:1.36\nCOPY bin/ /usr/local/bin/\nRUN mkdir -p /www/health /www/live && echo well | tee /www/health/index.html >/www/live/index.html\nEXPOSE 3000\nCMD [\"httpd\", \"-f\", \"-p\", \"3000\", \"-h\", \"/www\"]\n",
    );
    world
        .convox_in(&app, &["deploy", "-a", "myapp", "-r", "staging"])
        .ok();
    let web = || {
        let processes = world.api("staging", "/apps/myapp/processes");
        let processes = processes.as_array().expect("a list").clone();
        let mut web = processes.iter().filter(|process| process["name"] == "web");
        let id = web.next().map(|process| process["id"].to_string());
        id.map(|id| id.trim_matches('"').to_owned())
    };
    let first = web().expect("a process");
    let on = ["-a", "myapp", "-r", "staging"];
    let remove = ["exec", &first, "rm -r /www/live"];
    world.convox(&[&remove[..], &on].concat()).ok();
    wait_until("another process runs", || {
        web().is_some_and(|id| id != first)
    });
    let log = world.convox(&[&["logs", "--no-follow"][..], &on].concat());
    assert!(
        log.stdout
            .contains("failed its liveness check 2 times, stopping it: GET /live answered 404"),
        "{}",
        log.stdout
    );
}
