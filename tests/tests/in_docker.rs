//! The server in a container of its own: the same racks, data and addresses as outside.

use std::net::{TcpListener, TcpStream};
use std::process::Command;

use end_to_end::{World, programs, root, wait_until};

/// The container and the image of a test, gone with it.
struct Made {
    container: String,
    image: String,
}

impl Drop for Made {
    fn drop(&mut self) {
        docker(&["rm", "--force", &self.container]);
        docker(&["rmi", "--force", &self.image]);
    }
}

fn docker(words: &[&str]) -> (bool, String) {
    let answer = Command::new("docker").args(words).output().expect("docker");
    let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
    (answer.status.success(), said)
}

#[test]
#[ignore = "needs Docker"]
fn a_server_in_a_container_has_the_same_racks_as_one_outside() {
    let mut world = World::docker();
    let made = Made {
        container: format!("twinrack-server-{}", world.port()),
        image: format!("twinrack-server-test:{}", world.port()),
    };
    let install = ["install", "--in-docker", "--stack-name", "staging"];
    world.set("TWINRACK_SERVER_IMAGE", &made.image);
    let answer = world.convox(&install);
    assert!(
        answer.stderr.contains("scripts/server-image makes it"),
        "{}",
        answer.stderr
    );
    let status = Command::new(root().join("scripts/server-image"))
        .arg(programs().join("rack-server"))
        .arg(&made.image)
        .status();
    assert!(status.expect("bash").success());

    world.convox(&install).ok();
    let (_, id) = docker(&[
        "container",
        "inspect",
        "--format",
        "{{.Id}}",
        &made.container,
    ]);
    assert!(!id.is_empty());
    let (_, variables) = docker(&[
        "container",
        "inspect",
        "--format",
        "{{.Config.Env}} {{.Args}}",
        &id,
    ]);
    assert!(!variables.contains("PASSWORD"), "{variables}");
    assert!(
        !world.path().join("data/password").exists(),
        "it has been read"
    );
    let app = world.example("tiny", "myapp");
    world
        .convox_in(&app, &["apps", "create", "myapp", "-r", "staging"])
        .ok();
    world
        .convox_in(&app, &["deploy", "-a", "myapp", "-r", "staging"])
        .ok();
    let host = "web.myapp.staging.localhost";
    let (release, _) = world.active("staging");
    assert!(world.page(host, "/").1.contains(&release));

    // It comes again with the engine, which here is asked to restart it, and when it has been
    // stopped, with the next command.
    docker(&["restart", &made.container]);
    world.wait_for_page(host);
    docker(&["stop", &made.container]);
    assert_eq!(world.active("staging").0, release);
    world.wait_for_page(host);
    let again = ["install", "--in-docker", "--stack-name", "production"];
    world.convox(&again).ok();

    // Without its container it runs outside, and back.
    docker(&["rm", "--force", &made.container]);
    assert_eq!(world.active("staging").0, release);
    world.wait_for_page(host);
    assert!(world.convox(&["racks"]).ok().contains("production"));
    let answer = world.convox(&["install", "--in-docker", "--stack-name", "third"]);
    assert_eq!(answer.status, 1);
    assert!(
        answer.stderr.contains("a server outside of Docker answers"),
        "{}",
        answer.stderr
    );
    assert!(world.kill_server());
    let further = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("bound").port()
    };
    let with = |port: u16| {
        let port = port.to_string();
        let words = ["install", "--in-docker", "--stack-name", "third", "--http"];
        world.convox(&[&words[..], &[&port]].concat())
    };
    with(further).ok();
    assert!(TcpStream::connect(("127.0.0.1", further)).is_ok());
    let refused = with(1);
    assert_eq!(refused.status, 1);
    let remedy = format!("`docker rm --force {}`", made.container);
    assert!(refused.stderr.contains(&remedy), "{}", refused.stderr);
    docker(&["stop", &made.container]);
    let refused = with(1);
    assert!(refused.stderr.contains(&remedy), "{}", refused.stderr);
    assert_eq!(world.active("staging").0, release);
    assert!(TcpStream::connect(("127.0.0.1", further)).is_ok());
    wait_until("the page to be there", || world.page(host, "/").0 == 200);
    for rack in ["staging", "production", "third"] {
        world.convox(&["rack", "uninstall", rack, "--force"]).ok();
    }
}
