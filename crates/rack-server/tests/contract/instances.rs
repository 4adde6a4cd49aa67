//! The one machine of a rack, and shells on it.

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::status_of;
use super::world::until;

on_both_engines!(
    the_machine_is_the_one_instance,
    a_shell_runs_commands_and_is_gone,
    a_shell_goes_with_its_client,
    what_cannot_be_done_to_a_machine_is_refused,
);

async fn the_machine_is_the_one_instance(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let idle = rack.get("/instances?").await.json();
    let expected = json!([{
        "agent": true, "cpu": 0.0, "id": engine.name(), "memory": 0.0,
        "private-ip": "127.0.0.1", "processes": 0, "public-ip": "127.0.0.1",
        "started": idle[0]["started"], "status": "running",
    }]);
    assert_eq!(idle, expected);
    let started = idle[0]["started"].as_str().expect("a time");
    assert!(started > "2020" && started.ends_with('Z'), "{started}");
    rack.deploy("myapp").await;
    let mut seen = idle;
    until("the machine to be measured", async || {
        seen = rack.get("/instances").await.json();
        seen[0]["memory"].as_f64().is_some_and(|share| share > 0.0)
    })
    .await;
    assert_eq!(seen[0]["processes"], json!(1));
    for share in [&seen[0]["cpu"], &seen[0]["memory"]] {
        assert!(
            (0.0..=1.0).contains(&share.as_f64().expect("a number")),
            "{seen}"
        );
    }
    // Processes name the instance they are on.
    let processes = rack.get("/apps/myapp/processes").await.json();
    assert_eq!(processes[0]["instance"], seen[0]["id"]);
}

async fn a_shell_runs_commands_and_is_gone(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    // A pull gives the simulated engine an image with a shell; Docker has one.
    rack.deploy("myapp").await;
    let path = format!("/instances/{}/shell", engine.name());
    let headers = [("Command", "echo hello; exit 3"), ("Tty", "false")];
    let shell = rack.stream(&path, &headers).await;
    let (status, output) = status_of(&shell);
    assert_eq!(
        (status, String::from_utf8_lossy(&output).as_ref()),
        (3, "hello\n")
    );
    // Clients of 2017 say it in another way, with a terminal of exchanged size.
    let headers = [
        ("Command", "echo hello; exit 4"),
        ("Terminal", "xterm"),
        ("Height", "100"),
        ("Width", "40"),
    ];
    let old = rack
        .stream(&format!("/instances/{}/ssh", engine.name()), &headers)
        .await;
    let (status, output) = status_of(&old);
    assert_eq!(status, 4);
    assert!(
        String::from_utf8_lossy(&output).contains("hello"),
        "{output:?}"
    );
    if engine.is_docker() {
        let sized = "stty size; ls -d /proc/[0-9]* | wc -l";
        let headers = [("Command", sized), ("Height", "40"), ("Width", "100")];
        let (_, output) = status_of(&rack.stream(&path, &headers).await);
        let text = String::from_utf8_lossy(&output).into_owned();
        let mut lines = text.lines();
        assert_eq!(lines.next(), Some("40 100"), "{text}");
        let count = lines
            .next()
            .and_then(|line| line.trim().parse::<u32>().ok());
        let seen = count.unwrap_or_else(|| panic!("no number: {text:?}"));
        assert!(seen < 10, "sees processes of others: {text}");
    }
    until("the shells' processes to go", async || {
        let all = rack.get("/system/processes?all=true").await.json();
        all.as_array()
            .expect("a list")
            .iter()
            .all(|process| process["name"] != "shell")
    })
    .await;
}

async fn a_shell_goes_with_its_client(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let shells = async || {
        let all = rack.get("/system/processes?all=true").await.json();
        let all = all.as_array().expect("a list").clone();
        all.iter()
            .filter(|process| process["name"] == "shell")
            .count()
    };
    let headers = [("Command", "echo ready; sleep 10000"), ("Tty", "false")];
    let path = format!("/instances/{}/shell", engine.name());
    let mut socket = rack.socket(&path, &headers).await;
    socket.until("ready").await;
    assert_eq!(shells().await, 1);
    drop(socket);
    until("the shell to go", async || shells().await == 0).await;
}

async fn what_cannot_be_done_to_a_machine_is_refused(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.delete("/instances/i-0123")
        .await
        .fails(404, "instance not found: i-0123");
    rack.delete(&format!("/instances/{}", engine.name()))
        .await
        .fails(
            400,
            "instances cannot be terminated on a local rack: its only one is this machine",
        );
    rack.post("/instances/keyroll?", "").await.fails(
        400,
        "instance keys cannot be rolled on a local rack: its only instance is this machine, which has none",
    );
    let lost = rack.stream("/instances/i-0123/shell", &[]).await;
    let (status, output) = status_of(&lost);
    assert_eq!(
        (status, String::from_utf8_lossy(&output).as_ref()),
        (1, "ERROR: instance not found: i-0123\n")
    );
    let path = format!("/instances/{}/shell", engine.name());
    let odd = rack.stream(&path, &[("Height", "tall")]).await;
    let (status, output) = status_of(&odd);
    assert_eq!(
        (status, String::from_utf8_lossy(&output).as_ref()),
        (1, "ERROR: height and width must be whole numbers\n")
    );
    if !engine.is_docker() {
        // Nothing was pulled or built on it yet.
        let bare = rack.stream(&path, &[]).await;
        let (status, output) = status_of(&bare);
        assert_eq!(
            (status, String::from_utf8_lossy(&output).as_ref()),
            (
                1,
                "ERROR: no image with a shell is here: pull busybox:1.36 or build an app, then try again\n"
            )
        );
    }
}
