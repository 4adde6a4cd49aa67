//! `convox start`: the source runs, is kept in step, is built anew when its recipe
//! changes, and what was there before comes back at the end.

use std::fs;
use std::process::Command;

use end_to_end::{Follower, World, wait_until};

/// A file of the process of the service that runs now, if it is there.
fn shown(world: &World, file: &str) -> Option<String> {
    let processes = world.api("staging", "/apps/myapp/processes");
    let pid = processes.as_array()?.first()?["id"].as_str()?.to_owned();
    let copy = world.path().join("copied");
    let words = ["cp", &format!("{pid}:{file}"), &copy.display().to_string()];
    let answer = world.convox(&[&words[..], &["-a", "myapp", "-r", "staging"]].concat());
    if answer.status != 0 {
        return None;
    }
    let text = fs::read_to_string(&copy).expect("a file");
    fs::remove_file(copy).expect("removed");
    Some(text)
}

fn a_source_runs_and_is_kept_in_step(world: &World) {
    world.install(&["staging"]);
    let app = world.example("tiny", "myapp");
    world.convox(&["apps", "create", "myapp"]).ok();
    world.convox_in(&app, &["deploy", "-a", "myapp"]).ok();
    let (before, build) = world.active("staging");

    let mut start = world.follow_in(&app, &["start", "-a", "myapp"]);
    let seen = start.until("convox | starting sync from bin to /usr/local/bin on web");
    let development = world.api("staging", "/apps/myapp")["release"].clone();
    assert_ne!(development, before.as_str());
    // What becomes of the processes is shown from their start on, not only once it went well.
    let release = development.as_str().expect("an id");
    let started = format!("web    | started for release {release}\n");
    if !seen.contains(&started) {
        start.until(&started);
    }

    fs::write(app.join("bin/new"), "first\n").expect("a file");
    start.until("convox | sync: bin/new to /usr/local/bin on web");
    wait_until("the file is there", || {
        shown(world, "/usr/local/bin/new").as_deref() == Some("first\n")
    });
    // A process that is started later is as the source is now.
    world.convox(&["restart", "-a", "myapp"]).ok();
    wait_until("the file is in the new process", || {
        shown(world, "/usr/local/bin/new").as_deref() == Some("first\n")
    });
    fs::remove_file(app.join("bin/new")).expect("removed");
    start.until("convox | remove: bin/new from /usr/local/bin on web");
    wait_until("the file is gone", || {
        shown(world, "/usr/local/bin/new").is_none()
    });

    let manifest = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    fs::write(app.join("convox.yml"), format!("{manifest}\n# changed\n")).expect("written");
    start.until("convox | convox.yml has changed");
    start.until("build  | starting build");
    start.until("convox | promoting ");
    wait_until("the new build is active", || {
        let active = world.api("staging", "/apps/myapp")["release"].clone();
        active != development && active != before.as_str()
    });

    interrupt(&start);
    start.until("convox | stopping");
    assert_eq!(start.status(), Some(0));
    // Racks take no older release: it is a new one with the build of before.
    let (back, again) = world.active("staging");
    assert_ne!(back, before);
    assert_eq!(again, build);
}

fn interrupt(start: &Follower) {
    let pid = start.id().to_string();
    let sent = Command::new("kill").args(["-INT", &pid]).status();
    assert!(sent.expect("kill").success());
}

#[test]
fn a_source_is_kept_in_step_simulated() {
    a_source_runs_and_is_kept_in_step(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn a_source_is_kept_in_step_on_docker() {
    a_source_runs_and_is_kept_in_step(&World::docker());
}

/// A directory that becomes a file does so in the process; files that are ignored, and
/// services without a build, make nothing be built.
#[test]
#[ignore = "needs Docker"]
fn a_directory_may_become_a_file() {
    let world = World::docker();
    world.install(&["staging"]);
    let app = world.example("tiny", "myapp");
    let manifest = fs::read_to_string(app.join("convox.yml")).expect("a manifest");
    let other =
        "  other: {image: 'busybox:1.36', command: 'sleep 3600', termination: {grace: 0}}\n";
    fs::write(app.join("convox.yml"), format!("{manifest}{other}")).expect("written");
    fs::write(app.join(".dockerignore"), "ignored*\n").expect("written");
    fs::create_dir(app.join("bin/thing")).expect("a directory");
    fs::write(app.join("bin/thing/part"), "1\n").expect("a file");
    world.convox(&["apps", "create", "myapp"]).ok();
    let mut start = world.follow_in(&app, &["start", "-a", "myapp"]);
    start.until("convox | starting sync from bin to /usr/local/bin on web");
    let release = world.api("staging", "/apps/myapp")["release"].clone();
    let web = || {
        let processes = world.api("staging", "/apps/myapp/processes");
        let mut found = processes.as_array().expect("a list").iter();
        let web = found.find(|process| process["name"] == "web");
        web.expect("a process")["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let reads = |file: &str| {
        let words = ["exec", &web(), "cat", file, "-a", "myapp", "-r", "staging"];
        world.convox(&words).stdout
    };
    fs::remove_dir_all(app.join("bin/thing")).expect("removed");
    fs::write(app.join("bin/thing"), "2\n").expect("a file");
    fs::write(app.join("ignored"), "x").expect("a file");
    fs::write(app.join("bin/more"), "3\n").expect("a file");
    wait_until("the directory is a file", || {
        reads("/usr/local/bin/thing") == "2\n" && reads("/usr/local/bin/more") == "3\n"
    });
    // What comes after is not held up by anything.
    fs::write(app.join("bin/thing"), "4\n").expect("a file");
    wait_until("the file changes", || {
        reads("/usr/local/bin/thing") == "4\n"
    });
    assert_eq!(
        world.api("staging", "/apps/myapp")["release"],
        release,
        "nothing was built"
    );
    interrupt(&start);
    start.until("convox | stopping");
}
