//! Logs of apps, services and processes.

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::until;

on_both_engines!(
    logs_are_prefixed_filtered_and_cut,
    followers_see_what_comes,
    logs_outlive_processes_and_the_server,
);

const TALKER: &str = "services:
  web:
    build: .
    port: 3000
    drain: 1
    termination:
      grace: 1
  talker:
    build: .
    command: sh -c 'echo alpha one; echo beta two; echo alpha three; sleep 100000'
    termination:
      grace: 1
";

async fn logs_are_prefixed_filtered_and_cut(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let release = rack
        .release("myapp", &[("convox.yml", TALKER), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let id = text(
        &rack
            .get("/apps/myapp/processes?service=talker")
            .await
            .json()[0],
        "id",
    );
    until("the lines to be stored", async || {
        rack.log("myapp").await.contains("alpha three")
    })
    .await;

    let read = async |target: &str, options: &[(&str, &str)]| {
        let options: Vec<_> = options
            .iter()
            .copied()
            .chain([("Follow", "false")])
            .collect();
        let stream = rack.stream(target, &options).await;
        assert!(stream.ended, "{target}");
        stream.text()
    };
    let prefixed = read("/apps/myapp/logs", &[("Prefix", "true")]).await;
    for line in prefixed.lines() {
        let mut parts = line.splitn(3, ' ');
        let (time, stream, message) = (parts.next(), parts.next(), parts.next());
        let (time, stream) = (time.expect("a time"), stream.expect("a stream"));
        assert!(
            time.len() == 20 && time.ends_with('Z') && !time.contains('.'),
            "{line}"
        );
        assert_eq!(stream.split('/').count(), 3, "{line}");
        assert!(message.is_some_and(|message| !message.is_empty()), "{line}");
    }
    assert!(
        prefixed.contains(&format!(" service/talker/{id} alpha one\n")),
        "{prefixed}"
    );
    let system = format!(" system/{}/", engine.name());
    assert!(prefixed.contains(&system), "{prefixed}");

    assert_eq!(
        read("/apps/myapp/logs", &[("Filter", "alpha")]).await,
        "alpha one\nalpha three\n"
    );
    assert_eq!(
        read("/apps/myapp/logs", &[("Filter", "alpha -one")]).await,
        "alpha three\n"
    );
    assert_eq!(
        read("/apps/myapp/logs", &[("Filter", "\"beta two\"")]).await,
        "beta two\n"
    );
    assert_eq!(
        read("/apps/myapp/logs", &[("Filter", "no such line")]).await,
        ""
    );
    assert_eq!(read("/apps/myapp/logs", &[("Since", "1ns")]).await, "");
    assert!(
        read("/apps/myapp/logs", &[("Since", "1h0m0s")])
            .await
            .contains("beta two\n")
    );
    let all = "alpha one\nbeta two\nalpha three\n";
    assert_eq!(read("/apps/myapp/services/talker/logs", &[]).await, all);
    assert_eq!(
        read("/apps/myapp/services/talker/logs", &[("Tail", "1")]).await,
        "alpha three\n"
    );
    assert_eq!(
        read(&format!("/apps/myapp/processes/{id}/logs"), &[]).await,
        all
    );
    assert_eq!(
        read("/apps/myapp/services/nope/logs", &[]).await,
        "ERROR: service not found: nope\n"
    );
    assert_eq!(
        read("/apps/myapp/processes/ffffffffffff/logs", &[]).await,
        "ERROR: process not found: ffffffffffff\n"
    );
    let refusal = "ERROR: invalid log option: use durations such as 5m and whole numbers\n";
    assert_eq!(
        read("/apps/myapp/logs", &[("Since", "yesterday")]).await,
        refusal
    );
    assert_eq!(read("/apps/myapp/logs", &[("Tail", "few")]).await, refusal);
}

async fn followers_see_what_comes(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    // Absent means follow.
    let mut all = rack
        .socket("/apps/myapp/logs", &[("Since", "1h"), ("Prefix", "true")])
        .await;
    let mut some = rack
        .socket(
            "/apps/myapp/logs",
            &[("Since", "1h"), ("Filter", "\"the second\"")],
        )
        .await;
    for word in ["first", "second"] {
        let command = format!("echo the {word}");
        let headers = [("Command", command.as_str())];
        rack.send("POST", "/apps/myapp/services/web/processes", &headers, b"")
            .await
            .json();
        all.until(&format!("the {word}\n")).await;
        all.writer.ping().await.expect("sent");
    }
    assert_eq!(some.until("\n").await, "the second\n");
    // A follower that goes away is no trouble for those that stay.
    drop(some);
    let headers = [("Command", "echo the third")];
    rack.send("POST", "/apps/myapp/services/web/processes", &headers, b"")
        .await
        .json();
    all.until("the third\n").await;
}

async fn logs_outlive_processes_and_the_server(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let headers = [("Command", "echo remembered")];
    rack.send("POST", "/apps/myapp/services/web/processes", &headers, b"")
        .await
        .json();
    until("the line to be stored", async || {
        rack.log("myapp").await.contains("remembered\n")
    })
    .await;
    let began = std::time::Instant::now();
    let data = world.stop().await;
    assert!(
        began.elapsed().as_secs() < 3 || engine.is_docker(),
        "running apps do not hold up a server that stops"
    );
    let world = engine.open(data, "").await;
    let rack = crate::world::Client {
        address: world.address,
        ..rack
    };
    assert!(rack.log("myapp").await.contains("remembered\n"));
    assert_eq!(rack.get("/apps/myapp").await.json()["status"], "running");
    until("the app to run again", async || {
        let list = rack.get("/apps/myapp/processes").await.json();
        list.as_array().map(Vec::len) == Some(1) && list[0]["status"] == "running"
    })
    .await;
}
