//! From staging to production, on both engines, and nothing lost on the way.

use std::fs;

use end_to_end::{
    Load, World, image_tags, labelled, script_turn, seed_script, server_id, tags_left, wait_until,
    workflow_script,
};

/// The workflow on the tiny app, with the seed's own script where it is there.
fn workflow(world: &World) {
    let app = world.tiny();
    let _turn = script_turn();
    let script = seed_script().unwrap_or_else(workflow_script);
    let answer = world.script(&app, &script);
    let log = answer.stderr.clone();
    answer.ok();
    world.assert_same_bits();
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
        let (release, _) = world.active(rack);
        let (status, page) = world.page(&format!("web.myapp.{rack}.localhost"), "/");
        assert_eq!(status, 200, "{page}");
        assert!(
            page.contains(&format!("RACK={rack}")) && page.contains(&format!("RELEASE={release}")),
            "{page}"
        );
    }
    assert_eq!(world.published_beyond_loopback(), Vec::<String>::new());
    // A second run on the same racks replaces what runs.
    let _turn = script_turn();
    world
        .script(&world.path().join("work/myapp"), &workflow_script())
        .ok();
    world.assert_same_bits();
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
        let _turn = script_turn();
        let script = seed_script().unwrap_or_else(workflow_script);
        world.script(&app, &script).ok();
    }
    world.assert_same_bits();
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

/// No request fails while releases, restarts and scales replace what answers.
#[test]
#[ignore = "needs Docker"]
fn no_request_fails_while_processes_are_replaced() {
    let world = World::docker();
    let app = world.tiny_deployed();
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

#[test]
#[ignore = "needs Docker"]
fn uninstalling_leaves_nothing_of_a_rack_and_touches_no_other() {
    let world = World::docker();
    let app = world.tiny_deployed();
    let before = world.snapshot("production", "myapp");
    let server = server_id(&world.path().join("data")).expect("a server");
    let images = image_tags(&world.path().join("data"), "staging");
    assert!(!images.is_empty(), "staging keeps images");
    world
        .convox_in(&app, &["rack", "uninstall", "staging", "--force"])
        .ok();
    assert_eq!(tags_left(&images), Vec::<String>::new());
    assert_eq!(world.snapshot("production", "myapp"), before);
    assert_eq!(world.page("web.myapp.production.localhost", "/").0, 200);
    assert!(
        labelled(&server)
            .iter()
            .all(|object| !object.contains("staging")),
        "{:?}",
        labelled(&server)
    );
    world
        .convox_in(&app, &["rack", "uninstall", "production", "--force"])
        .ok();
    assert_eq!(labelled(&server), Vec::<String>::new());
    let left = fs::read_dir(world.path().join("data/racks"))
        .expect("racks")
        .count();
    assert_eq!(left, 0, "no files are left");
}

/// Several at once read, change and write: nobody undoes what another has set.
#[test]
fn concurrent_setters_lose_nothing() {
    let world = World::simulated();
    let app = world.tiny();
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (world, app) = (&world, &app);
            scope.spawn(move || {
                for round in 0..2 {
                    let pair = format!("K{number}_{round}=x");
                    world
                        .convox_in(app, &["env", "set", &pair, "-a", "myapp", "-r", "staging"])
                        .ok();
                }
            });
        }
    });
    let all = world
        .convox_in(&app, &["env", "-a", "myapp", "-r", "staging"])
        .ok();
    for number in 0..8 {
        for round in 0..2 {
            assert!(all.contains(&format!("K{number}_{round}=x\n")), "{all}");
        }
    }
}
