//! From staging to production, on both engines, and what must not happen on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use end_to_end::{
    EngineProxy, Load, World, image_tags, labelled, seed_script, tags_left, wait_until,
    workflow_script,
};

/// The seed's script writes one fixed file, so only one of it runs at a time.
fn script_turn() -> (MutexGuard<'static, ()>, fs::File) {
    static TURN: Mutex<()> = Mutex::new(());
    let here = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let file = fs::File::create(std::env::temp_dir().join("twinrack-test-script.lock"))
        .expect("a lock file");
    file.lock().expect("the lock");
    (here, file)
}

/// Two racks with the tiny app; its directory.
fn tiny(world: &World) -> PathBuf {
    let app = world.example("tiny", "myapp");
    world.install(&["staging", "production"]);
    for rack in ["staging", "production"] {
        world
            .convox_in(&app, &["apps", "create", "myapp", "-r", rack])
            .ok();
    }
    app
}

/// As [`tiny`], with one release active on both racks.
fn tiny_deployed(world: &World) -> PathBuf {
    let app = tiny(world);
    let (_turn, _lock) = script_turn();
    world.script(&app, &workflow_script()).ok();
    app
}

fn active(world: &World, rack: &str) -> (String, String) {
    let app = world.api(rack, "/apps/myapp");
    let release = app["release"].as_str().expect("a release").to_owned();
    let build = world.api(rack, &format!("/apps/myapp/releases/{release}"))["build"]
        .as_str()
        .expect("a build")
        .to_owned();
    (release, build)
}

fn assert_same_bits(world: &World) {
    let (staging_release, staging_build) = active(world, "staging");
    let (production_release, production_build) = active(world, "production");
    assert_ne!(staging_release, production_release);
    assert_ne!(staging_build, production_build);
    assert_eq!(
        world.digests("staging", "myapp", &staging_build),
        world.digests("production", "myapp", &production_build)
    );
    let provenance = world.api(
        "production",
        &format!("/apps/myapp/builds/{production_build}"),
    )["provenance"]
        .clone();
    assert_eq!(provenance["build"], staging_build);
    assert_eq!(provenance["rack"], "personal/staging");
}

/// The workflow on the tiny app, with the seed's own script where it is there.
fn workflow(world: &World) {
    let app = tiny(world);
    let (_turn, _lock) = script_turn();
    let script = seed_script().unwrap_or_else(workflow_script);
    let answer = world.script(&app, &script);
    let log = answer.stderr.clone();
    answer.ok();
    assert_same_bits(world);
    assert!(
        log.contains("+ convox releases promote"),
        "the script was traced"
    );
    let builds = world.api("production", "/apps/myapp/builds");
    assert_eq!(
        builds.as_array().map(Vec::len),
        Some(1),
        "production has the imported build only"
    );
    let build = builds[0]["id"].as_str().expect("an id");
    let build_log = world
        .convox(&["builds", "logs", build, "-a", "myapp", "-r", "production"])
        .ok();
    assert!(
        build_log.contains("Imported"),
        "production built nothing: {build_log}"
    );
    assert!(
        world
            .convox(&["racks"])
            .ok()
            .contains("personal/production  running")
    );
}

#[test]
fn workflow_on_the_simulated_engine() {
    workflow(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn workflow_on_docker() {
    let world = World::docker();
    workflow(&world);
    for rack in ["staging", "production"] {
        let (release, _) = active(&world, rack);
        let (status, page) = world.page(&format!("web.myapp.{rack}.localhost"), "/");
        assert_eq!(status, 200, "{page}");
        assert!(
            page.contains(&format!("RACK={rack}")) && page.contains(&format!("RELEASE={release}")),
            "{page}"
        );
    }
    assert_eq!(world.published_beyond_loopback(), Vec::<String>::new());
    // A second run on the same racks replaces what runs.
    let (_turn, _lock) = script_turn();
    world
        .script(&world.path().join("work/myapp"), &workflow_script())
        .ok();
    assert_same_bits(&world);
    for rack in ["staging", "production"] {
        assert_eq!(
            world.page(&format!("web.myapp.{rack}.localhost"), "/").0,
            200
        );
    }
}

#[test]
#[ignore = "needs Docker"]
fn workflow_with_a_database_on_docker() {
    let world = World::docker();
    let app = world.example("myapp", "myapp");
    world.install(&["staging", "production"]);
    for rack in ["staging", "production"] {
        world
            .convox_in(&app, &["apps", "create", "myapp", "-r", rack])
            .ok();
        world
            .convox_in(&app, &["env", "set", "SECRET_KEY=test", "-r", rack])
            .ok();
    }
    {
        let (_turn, _lock) = script_turn();
        let script = seed_script().unwrap_or_else(workflow_script);
        world.script(&app, &script).ok();
    }
    assert_same_bits(&world);
    // The migration ran in staging's database and nowhere else.
    let tables = |rack: &str| {
        let query = "ruby -e 'require %(pg); puts PG.connect(ENV.fetch(%(DATABASE_URL))).exec(\
                     %(select count(*) from information_schema.tables where table_schema = $$public$$)).getvalue(0, 0)'"
            .replace("$$", "'\\''");
        world
            .convox_in(&app, &["run", "web", &query, "-r", rack])
            .ok()
            .trim()
            .to_owned()
    };
    assert_ne!(tables("staging"), "0");
    assert_eq!(tables("production"), "0");
    let urls: Vec<_> = ["staging", "production"]
        .map(|rack| {
            let (status, page) = world.page(&format!("web.myapp.{rack}.localhost"), "/");
            assert_eq!(status, 200, "{page}");
            assert!(page.contains(rack), "{page}");
            world.api(rack, "/apps/myapp/resources/database")["url"].to_string()
        })
        .into();
    assert_ne!(
        urls[0], urls[1],
        "each rack has its own database and password"
    );
}

// What fails, and what must still be true then.

fn with_file(app: &Path, name: &str, text: &str) {
    fs::write(app.join(name), text).expect("a file");
}

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
    let app = tiny_deployed(world);
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
    with_file(app, "Dockerfile", "FROM busybox:1.36\nRUN false\n");
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

#[test]
#[ignore = "needs Docker"]
fn failing_tests_stop_the_script() {
    let change = |app: &Path| {
        with_file(
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
        with_file(
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
        with_file(
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
    let app = tiny_deployed(world);
    let before = world.snapshot("production", "myapp");
    with_file(
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
    let app = tiny_deployed(world);
    let (_, build) = active(world, "staging");
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
    let mut flipped = good.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for (what, bytes) in [
        ("truncated", good[..good.len() - 100].to_vec()),
        ("cut in half", good[..good.len() / 2].to_vec()),
        ("one bit flipped", flipped),
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
    let app = tiny_deployed(&world);
    let before = world.snapshot("production", "myapp");
    let (release, _) = active(&world, "staging");
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

/// Ends the server at a failpoint of a promote, and checks that the next one ends
/// in a definite state with the app serving.
fn dies_in_promote(world: &mut World, point: &str, promoted: bool) {
    let app = tiny_deployed(world);
    let (old, _) = active(world, "production");
    let before = world
        .api("production", "/apps/myapp/processes")
        .as_array()
        .map(Vec::len);
    world
        .convox_in(&app, &["env", "set", "GREETING=again", "-r", "production"])
        .ok();
    world.kill_server();
    world.set("RACK_SERVER_FAILPOINTS", &format!("{point}=abort"));
    let failed = world.convox_in(&app, &["releases", "promote", "-r", "production"]);
    assert_ne!(failed.status, 0, "{point}: {}", failed.stdout);
    world.wait_for_end_of_server();
    world.unset("RACK_SERVER_FAILPOINTS");
    // Any command starts the server again.
    wait_until("the app has settled", || {
        world.api("production", "/apps/myapp")["status"] == "running"
    });
    let (release, _) = active(world, "production");
    assert_eq!(release != old, promoted, "{point}");
    wait_until("only processes of the active release run", || {
        let processes = world.api("production", "/apps/myapp/processes");
        let processes = processes.as_array().expect("a list");
        Some(processes.len()) == before
            && processes
                .iter()
                .all(|process| process["release"] == release && process["status"] == "running")
    });
    world
        .convox_in(&app, &["releases", "promote", "-r", "production"])
        .ok();
}

#[test]
fn a_server_that_dies_in_a_promote_is_recovered_simulated() {
    // The simulated engine dies with its server, so what it ran is started anew.
    dies_in_promote(&mut World::simulated(), "promote.rollout", true);
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_before_the_rollout_is_recovered() {
    dies_in_promote(&mut World::docker(), "promote.rollout", true);
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_after_the_rollout_is_recovered() {
    dies_in_promote(&mut World::docker(), "promote.rollout.after", true);
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_after_activation_is_recovered() {
    dies_in_promote(&mut World::docker(), "promote.activate.after", true);
}

/// SIGKILL in the middle of a rollout: the next server finishes what was promised,
/// here by rolling back a release that never becomes healthy.
#[test]
#[ignore = "needs Docker"]
fn a_server_killed_in_the_middle_of_a_rollout_is_recovered() {
    let mut world = World::docker();
    world.set("RACK_SERVER_PROMOTE_TIMEOUT", "4");
    let app = tiny_deployed(&world);
    let (old, _) = active(&world, "staging");
    let text = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    with_file(
        &app,
        "convox.yml",
        &text.replace("path: /health", "path: /nothing"),
    );
    let release = world
        .convox_in(&app, &["build", "--id", "-r", "staging"])
        .ok();
    let mut promote = world.spawn_convox(&app, &["releases", "promote", &release, "-r", "staging"]);
    wait_until("a new process runs beside the old one", || {
        world
            .api("staging", "/apps/myapp/processes")
            .as_array()
            .is_some_and(|list| list.len() == 2)
    });
    world.kill_server();
    assert!(
        !promote.wait().expect("an end").success(),
        "nobody saw a success"
    );
    wait_until("the promote is rolled back", || {
        world.api("staging", "/apps/myapp")["status"] == "running"
            && world
                .api("staging", "/apps/myapp/processes")
                .as_array()
                .is_some_and(|list| list.len() == 1)
    });
    assert_eq!(active(&world, "staging").0, old);
    let reason =
        world.api("staging", &format!("/apps/myapp/releases/{release}"))["reason"].to_string();
    assert!(reason.contains("did not become healthy"), "{reason}");
    assert_eq!(
        world.page("web.myapp.staging.localhost", "/").0,
        200,
        "the old release serves"
    );
}

/// No request fails while releases, restarts and scales replace what answers.
#[test]
#[ignore = "needs Docker"]
fn no_request_fails_while_processes_are_replaced() {
    let world = World::docker();
    let app = tiny_deployed(&world);
    let load = Load::start(world.port(), "web.myapp.staging.localhost", 4);
    wait_until("requests are answered", || load.answered() > 20);
    for _ in 0..3 {
        world
            .convox_in(&app, &["releases", "promote", "-r", "staging"])
            .ok();
    }
    world
        .convox_in(&app, &["scale", "web", "--count", "2", "-r", "staging"])
        .ok();
    world.convox_in(&app, &["restart", "-r", "staging"]).ok();
    world
        .convox_in(&app, &["scale", "web", "--count", "1", "-r", "staging"])
        .ok();
    let (answered, failures) = load.stop();
    assert_eq!(failures, Vec::<String>::new(), "of {answered} requests");
}

fn dies_in_import(world: &mut World, point: &str) {
    let app = tiny_deployed(world);
    let (_, build) = active(world, "staging");
    world
        .convox_in(
            &app,
            &[
                "builds", "export", &build, "-f", "good.tgz", "-r", "staging",
            ],
        )
        .ok();
    let before = world.snapshot("production", "myapp");
    world.kill_server();
    world.set("RACK_SERVER_FAILPOINTS", &format!("{point}=abort"));
    let failed = world.convox_in(&app, &["builds", "import", "good.tgz", "-r", "production"]);
    assert_ne!(failed.status, 0, "{point}: {}", failed.stdout);
    world.wait_for_end_of_server();
    world.unset("RACK_SERVER_FAILPOINTS");
    wait_until("production is what it was", || {
        world.snapshot("production", "myapp") == before
    });
    world
        .convox_in(&app, &["builds", "import", "good.tgz", "-r", "production"])
        .ok();
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_in_an_import_leaves_nothing() {
    dies_in_import(&mut World::docker(), "import.load.after");
}

#[test]
#[ignore = "needs Docker"]
fn uninstalling_leaves_nothing_of_a_rack_and_touches_no_other() {
    let world = World::docker();
    let app = tiny_deployed(&world);
    let before = world.snapshot("production", "myapp");
    let text = fs::read_to_string(world.path().join("data/server.json")).expect("server.json");
    let server: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let server = server["id"].as_str().expect("an id");
    let images = image_tags(&world.path().join("data"), "staging");
    assert!(!images.is_empty(), "staging keeps images");
    world
        .convox_in(&app, &["rack", "uninstall", "staging", "--force"])
        .ok();
    assert_eq!(tags_left(&images), Vec::<String>::new());
    assert_eq!(world.snapshot("production", "myapp"), before);
    assert_eq!(world.page("web.myapp.production.localhost", "/").0, 200);
    assert!(
        labelled(server)
            .iter()
            .all(|object| !object.contains("staging")),
        "{:?}",
        labelled(server)
    );
    world
        .convox_in(&app, &["rack", "uninstall", "production", "--force"])
        .ok();
    assert_eq!(labelled(server), Vec::<String>::new());
    let left = fs::read_dir(world.path().join("data/racks"))
        .expect("racks")
        .count();
    assert_eq!(left, 0, "no files are left");
}
