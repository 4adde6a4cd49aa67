//! Racks whose engine is on another machine, over ssh.

use std::fs;
use std::os::unix::fs::symlink;

use end_to_end::{World, programs};

/// A world where `ssh` leads to this machine.
fn world() -> World {
    let mut world = World::docker();
    let directory = world.path().join("bin");
    fs::create_dir(&directory).expect("a directory");
    symlink(programs().join("stand-in-ssh"), directory.join("ssh")).expect("a link");
    let path = std::env::var("PATH").expect("a PATH");
    let programs = programs();
    world.set(
        "PATH",
        &format!("{}:{}:{path}", directory.display(), programs.display()),
    );
    world
}

#[test]
#[ignore = "needs Docker"]
fn a_rack_can_live_on_another_machine() {
    let world = world();
    let app = world.example("tiny", "myapp");
    world.install(&["staging"]);
    let words = ["install", "--stack-name", "production", "--docker-host"];
    world
        .convox(&[&words[..], &["ssh://ann@box:2222"]].concat())
        .ok();
    for rack in ["staging", "production"] {
        world
            .convox_in(&app, &["apps", "create", "myapp", "-r", rack])
            .ok();
    }
    world
        .convox_in(&app, &["deploy", "-a", "myapp", "-r", "staging"])
        .ok();
    // Another engine, as far as anybody knows: the archive goes from the one to the other.
    let (_, build) = world.active("staging");
    let words = ["builds", "copy", &build, "-a", "myapp", "--from", "staging"];
    let copied = world.convox(&[&words[..], &["--to", "production"]].concat());
    assert!(
        copied.stderr.contains("another engine") || copied.status == 0,
        "{copied:?}"
    );
    copied.ok();
    world
        .convox(&["releases", "promote", "-a", "myapp", "-r", "production"])
        .ok();
    world.assert_same_bits();
    let (status, page) = world.page("web.myapp.production.localhost", "/");
    assert_eq!(status, 200, "{page}");
    assert!(page.contains("RACK=production"), "{page}");
    let words = [
        "run",
        "web",
        "echo over there",
        "-a",
        "myapp",
        "-r",
        "production",
    ];
    assert_eq!(world.convox(&words).ok(), "over there\n");
    let asked = fs::read_to_string(world.path().join("home/ssh.log")).expect("a log");
    assert!(
        asked.contains("-l ann -p 2222 -- box docker system dial-stdio\n"),
        "{asked}"
    );
    assert!(asked.contains("-l ann -p 2222 -W 127.0.0.1:"), "{asked}");

    // Also after a crash of the server.
    world.kill_server();
    world.convox(&["racks"]).ok();
    world.wait_for_page("web.myapp.production.localhost");
    world
        .convox(&["rack", "uninstall", "production", "--force"])
        .ok();
}

#[test]
#[ignore = "needs Docker"]
fn an_address_that_leads_nowhere_makes_no_rack() {
    let world = world();
    for (address, reason) in [
        ("ssh://nowhere", "Could not resolve hostname nowhere"),
        ("ssh://-oProxyCommand=x", "it is not USER@HOST:PORT"),
        ("box", "has no scheme"),
        (
            "unix:///nowhere.sock",
            "nothing answers at unix:///nowhere.sock",
        ),
    ] {
        let words = ["install", "--stack-name", "there", "--docker-host", address];
        let answer = world.convox(&words);
        assert_eq!(answer.status, 1, "{address}");
        assert!(
            answer.stderr.contains(reason),
            "{address}: {}",
            answer.stderr
        );
        assert_eq!(answer.stderr.lines().count(), 1, "{}", answer.stderr);
    }
    assert!(!world.convox(&["racks"]).ok().contains("there"));
}
