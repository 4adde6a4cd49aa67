//! One-off processes: what they are given, what is remembered of them, and the
//! terminals of commands (`rack-api.md` §2.3, §2.4, §3.4 and §7.6).

use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{status_of, text};
use super::world::{Client, Connected, until};

on_both_engines!(
    the_status_of_a_run_is_that_of_its_command,
    a_detached_run_has_its_own_status,
    a_command_nobody_listens_to_any_more_has_not_succeeded,
    a_detached_run_outlives_those_who_look_into_it,
    a_process_that_is_stopped_takes_its_commands_along,
    runs_are_given_what_was_asked_for,
    a_command_without_input_sees_its_end,
    commands_run_where_there_is_no_shell,
    a_terminal_has_its_size_from_the_first_command_on,
    a_terminal_changes_its_size,
);

const RUN: &str = "/apps/myapp/services/web/processes?";

async fn start(rack: &Client, headers: &[(&str, &str)]) -> Value {
    rack.send("POST", RUN, headers, b"").await.json()
}

/// Starts what clients start to attach a command to.
async fn placeholder(rack: &Client) -> String {
    text(&start(rack, &[("Command", "sleep 3600")]).await, "id")
}

async fn attach(rack: &Client, process: &str, command: &str) -> Connected {
    let headers = [
        ("Command", command),
        ("Tty", "false"),
        ("Entrypoint", "true"),
    ];
    rack.socket(&format!("/apps/myapp/processes/{process}/exec"), &headers)
        .await
}

async fn record(rack: &Client, process: &str) -> Value {
    rack.get(&format!("/apps/myapp/runs/{process}"))
        .await
        .json()
}

async fn the_status_of_a_run_is_that_of_its_command(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let release = rack.deploy("myapp").await;
    let id = placeholder(&rack).await;
    let before = record(&rack, &id).await;
    assert_eq!(
        (
            &before["id"],
            &before["app"],
            &before["service"],
            &before["release"]
        ),
        (&json!(id), &json!("myapp"), &json!("web"), &json!(release))
    );
    assert_eq!(
        (&before["command"], &before["status"], &before["ended"]),
        (
            &json!("sleep 3600"),
            &Value::Null,
            &json!("0001-01-01T00:00:00Z")
        )
    );
    let socket = attach(&rack, &id, "echo working; exit 3").await;
    let (status, output) = status_of(&socket.rest().await);
    assert_eq!((status, output), (3, b"working\n".to_vec()));
    let after = record(&rack, &id).await;
    assert_eq!(
        (&after["command"], &after["status"]),
        (&json!("echo working; exit 3"), &json!(3))
    );
    assert_ne!(after["ended"], before["ended"]);
    // The client's last request, and what else is run meanwhile, change nothing.
    assert_eq!(rack.exec("myapp", &id, "exit 5", b"").await.0, 5);
    rack.delete(&format!("/apps/myapp/processes/{id}"))
        .await
        .ok();
    assert_eq!(record(&rack, &id).await, after);
    rack.get("/apps/myapp/runs/ffffffffffff")
        .await
        .fails(404, "process not found: ffffffffffff");
    rack.get(&format!("/apps/nope/runs/{id}"))
        .await
        .fails(404, "app not found: nope");
}

async fn a_detached_run_has_its_own_status(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = text(&start(&rack, &[("Command", "exit 7")]).await, "id");
    until("the end of the run", async || {
        record(&rack, &id).await["status"] == json!(7)
    })
    .await;
}

async fn a_command_nobody_listens_to_any_more_has_not_succeeded(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = placeholder(&rack).await;
    let mut socket = attach(&rack, &id, "cat").await;
    socket.writer.data(b"x").await.expect("sent");
    socket.until("x").await;
    drop(socket);
    until("the end of the run", async || {
        record(&rack, &id).await["status"] == json!(137)
    })
    .await;
    until("the process to be gone", async || {
        rack.get(&format!("/apps/myapp/processes/{id}"))
            .await
            .status
            == 404
    })
    .await;
}

async fn a_detached_run_outlives_those_who_look_into_it(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let detached = text(
        &start(&rack, &[("Command", "sleep 100000; true")]).await,
        "id",
    );
    let attached = placeholder(&rack).await;
    for id in [&detached, &attached] {
        let mut socket = attach(&rack, id, "cat").await;
        socket.writer.data(b"x").await.expect("sent");
        socket.until("x").await;
        drop(socket);
    }
    // The one that lived for its client goes, and the other one was left first.
    until("the attached one to be gone", async || {
        record(&rack, &attached).await["status"] == json!(137)
    })
    .await;
    let target = format!("/apps/myapp/processes/{detached}");
    assert_eq!(rack.get(&target).await.json()["status"], "running");
    assert_eq!(record(&rack, &detached).await["status"], Value::Null);
}

async fn a_process_that_is_stopped_takes_its_commands_along(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = placeholder(&rack).await;
    let mut socket = attach(&rack, &id, "echo ready; cat").await;
    socket.until("ready\n").await;
    rack.delete(&format!("/apps/myapp/processes/{id}"))
        .await
        .ok();
    let (status, _) = status_of(&socket.rest().await);
    assert_ne!(status, 0, "what was cut short has not succeeded");
    assert_eq!(record(&rack, &id).await["status"], json!(137));
}

async fn runs_are_given_what_was_asked_for(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let usual = start(&rack, &[("Command", "sleep 3600")]).await;
    let own = start(
        &rack,
        &[
            ("Command", "sleep 3600"),
            ("Image", "debian:bookworm-slim"),
            ("Volumes", "shared=%2Fshared&other=%2Fother"),
            ("Memory", "64"),
            ("Memory-Limit", "128"),
            ("Cpu", "250"),
            ("Cpu-Limit", "500"),
            ("Use-Service-Volume", "false"),
            ("Privileged", "false"),
            ("Gpu", "1"),
            ("Gpu-Vendor", "nvidia"),
            ("Node-Labels", "pool=big"),
            ("System-Critical", "true"),
        ],
    )
    .await;
    assert_ne!(usual["image"], own["image"]);
    assert_eq!(own["name"], "web");
    let own = text(&own, "id");
    let log = rack.log("myapp").await;
    let note = format!(
        "/web-{own} this rack takes no notice of gpu, gpu vendor, node labels, system critical of a process\n"
    );
    assert_eq!(log.matches(&note).count(), 1, "{log}");
    assert_eq!(log.matches("takes no notice").count(), 1, "{log}");

    // What one puts into a volume another one finds.
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "shared/x", b"x".as_slice())
        .expect("memory");
    let tar = tar.into_inner().expect("memory");
    rack.upload(&format!("/apps/myapp/processes/{own}/files"), &tar)
        .await
        .ok();
    let headers = [
        ("Command", "sleep 3600"),
        ("Volumes", "shared=%2Felsewhere"),
    ];
    let next = text(&start(&rack, &headers).await, "id");
    let target = format!("/apps/myapp/processes/{next}/files?file=/elsewhere/x");
    assert_eq!(rack.get(&target).await.status, 200);
    let target = format!("/apps/myapp/processes/{next}/files?file=/shared/x");
    assert_eq!(rack.get(&target).await.status, 404);

    for (name, value, reason) in [
        (
            "Cpu",
            "much",
            "strconv.Atoi: parsing \"much\": invalid syntax",
        ),
        (
            "Gpu",
            "1.5",
            "strconv.Atoi: parsing \"1.5\": invalid syntax",
        ),
        (
            "Volumes",
            "data=relative",
            "invalid volume data:relative: name it and mount it at an absolute path",
        ),
        (
            "Volumes",
            "data=%2F",
            "invalid volume data:/: name it and mount it at an absolute path",
        ),
    ] {
        let headers = [("Command", "sleep 1"), (name, value)];
        rack.send("POST", RUN, &headers, b"")
            .await
            .fails(400, reason);
    }
}

async fn a_command_without_input_sees_its_end(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let headers = [
        ("Command", "cat; echo done"),
        ("Tty", "false"),
        ("Disable-Stdin", "true"),
    ];
    let socket = rack
        .socket("/apps/myapp/processes/web/exec", &headers)
        .await;
    assert_eq!(status_of(&socket.rest().await), (0, b"done\n".to_vec()));
}

async fn commands_run_where_there_is_no_shell(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = "services:\n  web:\n    build: .\n    termination:\n      grace: 1\n";
    // One program that is what it is called.
    let program = if engine.is_docker() {
        "/bin/busybox"
    } else {
        "/bin/sh"
    };
    let dockerfile = format!(
        "FROM busybox:1.36 AS base\nFROM scratch\nCOPY --from=base {program} /bin/cat\n\
         COPY --from=base {program} /bin/sleep\nCMD [\"/bin/sleep\", \"100000\"]\n"
    );
    let files = [
        ("convox.yml", manifest),
        ("Dockerfile", dockerfile.as_str()),
    ];
    let release = rack.release("myapp", &files).await;
    rack.promote("myapp", &release).await;
    let run = placeholder(&rack).await;
    for process in ["web", run.as_str()] {
        let echoed = rack.exec("myapp", process, "cat", b"bytes\xff").await;
        assert_eq!(echoed, (0, b"bytes\xff".to_vec()), "{process}");
    }
    let (status, output) = rack.exec("myapp", "web", "cat '/no such/file'", b"").await;
    let output = String::from_utf8_lossy(&output).into_owned();
    assert!(output.contains("/no such/file"), "one word: {output}");
    assert_eq!(status, 1);
    let (status, output) = rack.exec("myapp", "web", "cat 'x", b"").await;
    let reason = b"ERROR: the image has no sh, and the command has an open quote\n".to_vec();
    assert_eq!((status, output), (1, reason));
    let (status, output) = rack.exec("myapp", "web", "nothing", b"").await;
    if engine.is_docker() {
        assert!(matches!(status, 126 | 127), "{status} {output:?}");
    }
}

/// The size that a command in a terminal sees when it looks.
async fn first_size(rack: &Client) -> (i64, String) {
    let headers = [("Command", "stty size"), ("Height", "43"), ("Width", "121")];
    let socket = rack
        .socket("/apps/myapp/processes/web/exec", &headers)
        .await;
    let (status, output) = status_of(&socket.rest().await);
    (status, String::from_utf8(output).expect("text"))
}

async fn a_terminal_has_its_size_from_the_first_command_on(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    for turn in 0..50 {
        let (status, output) = first_size(&rack).await;
        assert_eq!((status, output.trim_end()), (0, "43 121"), "turn {turn}");
    }
}

async fn a_terminal_changes_its_size(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let headers = [("Command", "sh"), ("Height", "43"), ("Width", "121")];
    let mut socket = rack
        .socket("/apps/myapp/processes/web/exec", &headers)
        .await;
    let looked = async |socket: &mut Connected| {
        socket
            .writer
            .data(b"stty size; echo looked\n")
            .await
            .expect("sent");
        // A terminal shows what is typed; what is said stands on lines of its own.
        socket.until("\nlooked").await
    };
    let seen = looked(&mut socket).await;
    assert!(seen.contains("43 121"), "{seen:?}");
    for payload in ["", "resize", "resize 0x0", "resize 1x70000", "what?"] {
        socket
            .writer
            .ping_with(payload.as_bytes())
            .await
            .expect("sent");
    }
    socket
        .writer
        .ping_with(b"resize 50x132")
        .await
        .expect("sent");
    until("the new size", async || {
        looked(&mut socket).await.contains("50 132")
    })
    .await;
    socket.writer.data(b"exit 4\n").await.expect("sent");
    assert_eq!(status_of(&socket.rest().await).0, 4);
}
