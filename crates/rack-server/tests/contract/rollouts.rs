//! How processes are replaced and brought back: what the manifest says of it, and what is
//! seen while it goes wrong (`builds-releases-runtime.md` §3.3–§3.6).

use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{DOCKERFILE, text};
use super::world::{Client, World, until};

on_both_engines!(
    only_what_has_changed_is_replaced,
    a_singleton_is_never_there_twice,
    agents_are_one_and_stop_first,
    what_is_killed_for_want_of_memory_says_so,
    names_of_volumes_are_never_shared,
    what_is_removed_from_outside_comes_back,
    a_domain_belongs_to_the_rack_that_has_it,
);

/// Two services, of which only one is told the greeting.
const TWO: &str = "services:
  web:
    build: .
    port: 3000
    environment:
      - GREETING=hello
    health:
      interval: 1
    drain: 1
    termination:
      grace: 1
  worker:
    build: .
    command: sleep 1000
    termination:
      grace: 1
";

/// Ids of the processes of a service that are not on their way out.
async fn ids(rack: &Client, service: &str) -> Vec<String> {
    let path = format!("/apps/myapp/processes?service={service}");
    let list = rack.get(&path).await.json();
    let mut ids: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .filter(|process| process["status"] != "stopping")
        .map(|process| text(process, "id"))
        .collect();
    ids.sort();
    ids
}

async fn status(rack: &Client, service: &str) -> String {
    let list = rack.get("/apps/myapp/services").await.json();
    let found = list.as_array().expect("a list").iter();
    let mut found = found.filter(|row| row["name"] == service);
    text(found.next().expect("the service"), "status")
}

async fn promote_changed(rack: &Client, release: &Value) {
    let id = text(release, "id");
    let path = format!("/apps/myapp/releases/{id}/promote");
    rack.post(&path, "changed=true").await.ok();
    assert_eq!(rack.settled("myapp").await["release"], json!(id));
}

async fn only_what_has_changed_is_replaced(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let files = [("convox.yml", TWO), ("Dockerfile", DOCKERFILE)];
    let first = rack.release("myapp", &files).await;
    rack.promote("myapp", &first).await;
    let (web, worker) = (ids(&rack, "web").await, ids(&rack, "worker").await);

    let greeted = rack.set_env("myapp", "GREETING=bye").await;
    promote_changed(&rack, &greeted).await;
    assert_eq!(ids(&rack, "worker").await, worker, "it would be the same");
    let second = ids(&rack, "web").await;
    assert_ne!(second, web);
    let log = rack.log("myapp").await;
    assert!(log.contains("unchanged, left as they run: worker"), "{log}");
    let (status, out) = rack.exec("myapp", &second[0], "echo $GREETING", b"").await;
    assert_eq!((status, &*out), (0, &b"bye\n"[..]));

    // Nothing changes for anybody: the release is the active one all the same.
    let unknown = rack.set_env("myapp", "GREETING=bye\nOTHER=1").await;
    promote_changed(&rack, &unknown).await;
    assert_eq!(ids(&rack, "web").await, second);
    assert_eq!(ids(&rack, "worker").await, worker);

    // A process that was left alone is brought back like any other, with the new release.
    rack.delete(&format!("/apps/myapp/processes/{}", worker[0]))
        .await
        .ok();
    until("another worker", async || {
        let now = ids(&rack, "worker").await;
        now.len() == 1 && now != worker
    })
    .await;
    let list = rack.get("/apps/myapp/processes?service=worker").await;
    let last = list.json().as_array().expect("a list").last().cloned();
    assert_eq!(last.expect("a worker")["release"], unknown["id"]);

    // What is promoted in the usual way is replaced.
    let usual = rack.set_env("myapp", "GREETING=bye").await;
    rack.promote("myapp", &text(&usual, "id")).await;
    assert_ne!(ids(&rack, "web").await, second);
}

/// Whether a line of a log comes before another.
fn in_order(log: &str, first: &str, then: &str) -> bool {
    let at = |words: &str| log.find(words).unwrap_or_else(|| panic!("{words}: {log}"));
    at(first) < at(then)
}

async fn stops_first(engine: Engine, extra: &str) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = format!(
        "services:\n  worker:\n    build: .\n    command: sleep 1000\n    environment: [N=1]\n    \
         termination:\n      grace: 1\n    {extra}\n"
    );
    let files = [("convox.yml", &*manifest), ("Dockerfile", DOCKERFILE)];
    let first = rack.release("myapp", &files).await;
    rack.promote("myapp", &first).await;
    assert_eq!(ids(&rack, "worker").await.len(), 1);
    let before = rack.log("myapp").await.len();
    let next = text(&rack.set_env("myapp", "N=2").await, "id");
    rack.promote("myapp", &next).await;
    let log = rack.log("myapp").await.split_off(before);
    let started = format!("started for release {next}");
    assert!(in_order(&log, " stopping", &started), "{log}");
    assert_eq!(ids(&rack, "worker").await.len(), 1);

    let before = rack.log("myapp").await.len();
    rack.post("/apps/myapp/services/worker/restart", "")
        .await
        .ok();
    rack.settled("myapp").await;
    let log = rack.log("myapp").await.split_off(before);
    assert!(in_order(&log, " stopping", &started), "{log}");
}

async fn a_singleton_is_never_there_twice(engine: Engine) {
    stops_first(engine, "singleton: true").await;
}

async fn agents_are_one_and_stop_first(engine: Engine) {
    stops_first(engine, "agent: true\n    scale: 3").await;
}

async fn what_is_killed_for_want_of_memory_says_so(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    // The simulated engine runs nothing that could want memory.
    let manifest = "services:
  hungry:
    build: .
    command: sleep 2; head -c 200m /dev/zero | tail
    scale:
      memory: 16
      limit:
        memory: 16
    termination:
      grace: 1
";
    let mut files = vec![("convox.yml", manifest), ("Dockerfile", DOCKERFILE)];
    if !engine.is_docker() {
        files[0].1 = "services:\n  hungry:\n    build: .\n    command: sleep 1000\n";
    }
    let release = rack.release("myapp", &files).await;
    rack.promote("myapp", &release).await;
    if !engine.is_docker() {
        let fault = rack
            .post("/system/faults", "names=out-of-memory@hungry")
            .await;
        assert_eq!(fault.status, 200);
        let id = ids(&rack, "hungry").await.remove(0);
        let path = format!("/apps/myapp/processes/{id}");
        rack.delete(&path).await.ok();
    }
    until("the reason to be said", async || {
        let log = rack.log("myapp").await;
        log.contains("process exited with status 137 (out of memory); starting another in 1 s")
    })
    .await;
    until("its status to say so", async || {
        status(&rack, "hungry").await == "crashing"
    })
    .await;
}

async fn names_of_volumes_are_never_shared(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = "services:
  worker:
    build: .
    command: sleep 1000
    volumes:
      - /a/b
      - /a_b
    termination:
      grace: 1
";
    let files = [("convox.yml", manifest), ("Dockerfile", DOCKERFILE)];
    let release = rack.release("myapp", &files).await;
    rack.promote("myapp", &release).await;
    let volumes = world.volumes().await;
    assert_eq!(volumes.len(), 2, "{volumes:?}");
}

#[tokio::test]
async fn crashes_are_seen_and_forgotten() {
    let (_world, rack) = World::with_rack().await;
    let good = rack.deploy("myapp").await;
    assert_eq!(status(&rack, "web").await, "running");
    let fault = rack.post("/system/faults", "names=crash-loop@web").await;
    assert_eq!(fault.status, 200);
    let id = ids(&rack, "web").await.remove(0);
    rack.delete(&format!("/apps/myapp/processes/{id}"))
        .await
        .ok();
    // Later and later.
    for pause in ["1 s", "2 s"] {
        let line = format!("process exited with status 1; starting another in {pause}");
        until("a crash to be told", async || {
            rack.log("myapp").await.contains(&line)
        })
        .await;
    }
    assert_eq!(status(&rack, "web").await, "crashing");
    until("a crash to be listed", async || {
        let list = rack.get("/apps/myapp/processes").await.json();
        let mut all = list.as_array().expect("a list").iter();
        all.any(|process| process["status"] == "crashed")
    })
    .await;
    rack.delete("/system/faults").await.ok();
    // Whoever promotes waits for nothing.
    rack.promote("myapp", &good).await;
    assert_eq!(status(&rack, "web").await, "running");
}

#[tokio::test]
async fn what_gets_unhealthy_is_taken_out_of_the_route_and_back_in() {
    let (world, rack) = World::with_rack().await;
    rack.deploy("myapp").await;
    let served = async || {
        let mut visitor = world.stranger();
        visitor
            .headers
            .push(("Host".into(), "web.myapp.staging.localhost".into()));
        visitor.get("/").await.status
    };
    assert_eq!(served().await, 200);
    let fault = rack.post("/system/faults", "names=never-healthy@web").await;
    assert_eq!(fault.status, 200);
    until("the route to be empty", async || {
        status(&rack, "web").await == "unhealthy"
    })
    .await;
    assert_eq!(served().await, 503);
    let list = rack.get("/apps/myapp/processes").await.json();
    assert_eq!(list[0]["status"], "unhealthy");
    let before = text(&list[0], "id");
    rack.delete("/system/faults").await.ok();
    until("it to be back", async || served().await == 200).await;
    assert_eq!(ids(&rack, "web").await, [before], "nobody replaced it");
    let log = rack.log("myapp").await;
    assert!(in_order(
        &log,
        "unhealthy, taken out of the route: GET / answered 503",
        "healthy again"
    ));
}

async fn what_is_removed_from_outside_comes_back(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let before = ids(&rack, "web").await;
    world.remove_process("staging", &before[0]).await;
    until("another process", async || {
        let now = ids(&rack, "web").await;
        now.len() == 1 && now != before
    })
    .await;
    let log = rack.log("myapp").await;
    assert!(
        log.contains("process was removed behind the rack's back; starting another in 1 s"),
        "{log}"
    );
}

async fn a_domain_belongs_to_the_rack_that_has_it(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let production = world.rack("production").await;
    let manifest = "services:\n  web:\n    build: .\n    port: 3000\n    domain: shop.example.test\n    drain: 1\n    \
                    termination:\n      grace: 1\n";
    let files = [("convox.yml", manifest), ("Dockerfile", DOCKERFILE)];
    let mut releases = Vec::new();
    for rack in [&rack, &production] {
        rack.create("myapp").await;
        releases.push(rack.release("myapp", &files).await);
    }
    rack.promote("myapp", &releases[0]).await;
    let path = format!("/apps/myapp/releases/{}/promote", releases[1]);
    let refused = production.post(&path, "").await;
    assert_eq!(refused.status, 409);
    assert!(
        refused.text().contains("shop.example.test") && refused.text().contains("staging"),
        "{refused:?}"
    );
    assert_eq!(production.get("/apps/myapp").await.json()["release"], "");
    // Once it is free, the other one has it.
    rack.delete("/apps/myapp").await.ok();
    until("the domain to be free", async || {
        production.post(&path, "").await.status == 200
    })
    .await;
    let app = production.settled("myapp").await;
    assert_eq!(app["release"], json!(releases[1]));
    let visitor = world.stranger().with("Host", "shop.example.test");
    assert_eq!(visitor.get("/").await.status, 200);
}
