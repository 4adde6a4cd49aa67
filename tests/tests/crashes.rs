//! Servers that die in the middle of something, and what the next one makes of it.

use std::fs;
use std::process::Command;

use end_to_end::{World, wait_until, write};

/// Ends the server at a failpoint of a promote, and checks that the next one ends
/// in a definite state with the app serving.
fn dies_in_promote(world: &mut World, point: &str, promoted: bool) {
    let app = world.tiny_deployed();
    let (old, _) = world.active("production");
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
    let (release, _) = world.active("production");
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
    let app = world.tiny_deployed();
    let (old, _) = world.active("staging");
    let text = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    write(
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
    assert_eq!(world.active("staging").0, old);
    let reason =
        world.api("staging", &format!("/apps/myapp/releases/{release}"))["reason"].to_string();
    assert!(reason.contains("did not become healthy"), "{reason}");
    assert_eq!(
        world.page("web.myapp.staging.localhost", "/").0,
        200,
        "the old release serves"
    );
}

/// Ends the server at a failpoint while a build comes to production, and checks that
/// the next one leaves nothing of it.
fn dies_while_a_build_comes(world: &mut World, point: &str, words: &[&str]) {
    let app = world.tiny_deployed();
    let (_, build) = world.active("staging");
    world
        .convox_in(
            &app,
            &[
                "builds", "export", &build, "-f", "good.tgz", "-r", "staging",
            ],
        )
        .ok();
    let before = world.snapshot("production", "myapp");
    let words: Vec<_> = words
        .iter()
        .map(|word| if *word == "BUILD" { &build } else { *word })
        .collect();
    world.kill_server();
    world.set("RACK_SERVER_FAILPOINTS", &format!("{point}=abort"));
    let failed = world.convox_in(&app, &words);
    assert_ne!(failed.status, 0, "{point}: {}", failed.stdout);
    world.wait_for_end_of_server();
    world.unset("RACK_SERVER_FAILPOINTS");
    wait_until("production is what it was", || {
        world.snapshot("production", "myapp") == before
    });
    world.convox_in(&app, &words).ok();
}

const IMPORT: &[&str] = &["builds", "import", "good.tgz", "-r", "production"];
const COPY: &[&str] = &[
    "builds",
    "copy",
    "BUILD",
    "--from",
    "staging",
    "--to",
    "production",
];

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_in_an_import_leaves_nothing() {
    dies_while_a_build_comes(&mut World::docker(), "import.load.after", IMPORT);
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_before_an_import_is_recorded_leaves_nothing() {
    dies_while_a_build_comes(&mut World::docker(), "import.record", IMPORT);
}

#[test]
#[ignore = "needs Docker"]
fn a_server_that_dies_in_a_copy_leaves_nothing() {
    dies_while_a_build_comes(&mut World::docker(), "copy.tag.after", COPY);
}

/// What runs goes on running without the server, and is reached again with the very
/// first request after its start.
#[test]
#[ignore = "needs Docker"]
fn a_restarted_server_knows_what_runs() {
    let world = World::docker();
    let app = world.tiny_deployed();
    let before = world.snapshot("production", "myapp");
    for _ in 0..3 {
        world.kill_server();
        world.convox_in(&app, &["racks"]).ok();
        let (status, page) = world.page("web.myapp.production.localhost", "/");
        assert_eq!(status, 200, "{page}");
    }
    assert_eq!(world.snapshot("production", "myapp"), before);
}

/// SIGKILL while an archive is being received: nothing of it is there afterwards.
#[test]
#[ignore = "needs Docker"]
fn a_server_killed_in_the_middle_of_an_import_leaves_nothing() {
    let world = World::docker();
    let app = world.tiny_deployed();
    let (_, build) = world.active("staging");
    world
        .convox_in(
            &app,
            &[
                "builds", "export", &build, "-f", "good.tgz", "-r", "staging",
            ],
        )
        .ok();
    let before = world.snapshot("production", "myapp");
    let scratch = world.path().join("data/racks/production/tmp");
    let received = || fs::read_dir(&scratch).into_iter().flatten().count();
    std::thread::scope(|scope| {
        // The rest of the archive never comes: the import is under way until the kill.
        let script =
            "(head -c 2000 good.tgz; sleep 3) | convox builds import -a myapp -r production";
        let import = scope.spawn(|| world.script(&app, script));
        wait_until("the archive is being received", || received() > 0);
        world.kill_server();
        let answer = import.join().expect("a thread without a panic");
        assert_ne!(answer.status, 0, "{}", answer.stdout);
        assert!(answer.stderr.contains("ERROR: "), "{}", answer.stderr);
    });
    wait_until("production is what it was", || {
        world.snapshot("production", "myapp") == before
    });
    assert_eq!(received(), 0, "no temporary file is left");
    world
        .convox_in(&app, &["builds", "import", "good.tgz", "-r", "production"])
        .ok();
}

/// SIGKILL while the engine is being given images that it lacks: they are not there
/// afterwards.
#[test]
#[ignore = "needs Docker"]
fn a_server_killed_while_it_hands_images_over_leaves_none() {
    let world = World::docker();
    let app = world.tiny();
    // Other tests must not have this image too.
    let own = world.path().to_string_lossy().into_owned();
    fs::write(app.join("bin/own"), own).expect("a file");
    world
        .convox_in(&app, &["build", "-a", "myapp", "-r", "staging"])
        .ok();
    let builds = world.api("staging", "/apps/myapp/builds");
    let build = builds[0]["id"].as_str().expect("a build").to_owned();
    let digests = world.digests("staging", "myapp", &build);
    let digest = digests["web"].as_str().expect("a digest").to_owned();
    world
        .convox_in(
            &app,
            &[
                "builds", "export", &build, "-f", "good.tgz", "-r", "staging",
            ],
        )
        .ok();
    for rack in ["staging", "production"] {
        world.convox(&["apps", "delete", "myapp", "-r", rack]).ok();
        world.wait_for_no_app(rack, "myapp");
    }
    let there = || {
        let found = Command::new("docker")
            .args(["image", "inspect", &digest])
            .output();
        found.expect("docker runs").status.success()
    };
    wait_until("the image is gone", || !there());
    world
        .convox(&["apps", "create", "myapp", "-r", "production"])
        .ok();
    let scratch = world.path().join("data/racks/production/tmp");
    let received = || fs::read_dir(&scratch).into_iter().flatten().count();
    std::thread::scope(|scope| {
        // All but the last bytes, and those never: too little at first to tell what it is.
        let script = "(head -c 2000 good.tgz; until [ -e go ]; do sleep 0.05; done; \
                      tail -c +2001 good.tgz | head -c -20; until [ -e stop ]; do sleep 0.05; done) \
                      | convox builds import -a myapp -r production";
        let import = scope.spawn(|| world.script(&app, script));
        wait_until("the archive is being received", || received() > 0);
        fs::write(app.join("go"), "").expect("a file");
        wait_until("it goes to the engine", || received() == 0);
        world.kill_server();
        fs::write(app.join("stop"), "").expect("a file");
        let answer = import.join().expect("a thread without a panic");
        assert_ne!(answer.status, 0, "{}", answer.stdout);
    });
    let builds = world.api("production", "/apps/myapp/builds");
    assert_eq!(builds, serde_json::json!([]));
    assert!(!there(), "nothing was told to make an image of what came");
    world
        .convox_in(&app, &["builds", "import", "good.tgz", "-r", "production"])
        .ok();
    assert!(there());
}

/// The engine finishes a load behind the back of a server that was killed in it: the
/// name it gives then is taken away again.
#[test]
#[ignore = "needs Docker"]
fn a_name_the_engine_gives_after_the_end_of_the_server_is_taken_away() {
    let mut world = World::docker();
    let app = world.tiny_deployed();
    let (_, build) = world.active("staging");
    let archive = [
        "builds", "export", &build, "-f", "good.tgz", "-r", "staging",
    ];
    world.convox_in(&app, &archive).ok();
    let digests = world.digests("staging", "myapp", &build);
    world.kill_server();
    world.set("RACK_SERVER_FAILPOINTS", "import.load=abort");
    assert_ne!(world.convox_in(&app, IMPORT).status, 0);
    world.wait_for_end_of_server();
    world.unset("RACK_SERVER_FAILPOINTS");
    let database = world.path().join("data/racks/production/rack.db");
    let lost: String = rusqlite::Connection::open(database)
        .and_then(|database| {
            let id = "SELECT payload ->> '$.arrival.id' FROM operations WHERE kind = 'import' AND outcome = 'running'";
            database.query_row(id, [], |row| row.get(0))
        })
        .expect("an import that was under way");
    world.convox(&["racks"]).ok();
    wait_until("the import is undone", || {
        let log = world.convox(&["rack", "logs", "--no-follow", "-r", "production"]);
        log.stdout.contains("ended the import of app myapp")
    });
    let name = format!("twinrack/production/myapp:web.{lost}");
    let image = digests["web"].as_str().expect("a digest");
    let docker = |words: &[&str]| {
        let done = Command::new("docker").args(words).output();
        done.expect("docker runs").status.success()
    };
    assert!(docker(&["tag", image, &name]));
    wait_until("the name is gone", || !docker(&["image", "inspect", &name]));
    assert!(docker(&["image", "inspect", image]), "staging has it still");
}
