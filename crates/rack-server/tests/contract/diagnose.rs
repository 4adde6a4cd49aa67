//! Reports on what stands in the way of an app (`rack-api.md` §3.10, §4.8).

use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::{Client, World, until};

on_both_engines!(a_healthy_app_has_nothing_to_show_but_numbers,);

const DATABASE: &str = "services:
  web:
    build: .
    port: 3000
    health:
      interval: 1
    drain: 1
    resources: [database]
    termination:
      grace: 1
  worker:
    build: .
    command: sleep 100000
    scale: 2
    termination:
      grace: 1
resources:
  database:
    type: redis
";

async fn report(rack: &Client, query: &str) -> Value {
    rack.get(&format!("/apps/myapp/diagnose?{query}"))
        .await
        .json()
}

fn pods(report: &Value) -> Vec<Value> {
    report["pods"].as_array().cloned().unwrap_or_default()
}

async fn a_healthy_app_has_nothing_to_show_but_numbers(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let nothing = report(&rack, "").await;
    assert_eq!(nothing["overview"], json!({ "services": [] }));
    assert_eq!(nothing["summary"]["total"], 0);
    assert!(nothing.get("pods").is_none());
    let release = rack
        .release("myapp", &[("convox.yml", DATABASE), PLAIN[1]])
        .await;
    assert_eq!(
        rack.promote("myapp", &release).await["release"],
        json!(release)
    );

    // With an age of less than nothing no process counts as new.
    let old = report(&rack, "age=-1").await;
    assert_eq!(
        (&old["namespace"], &old["rack"], &old["app"]),
        (&json!("staging-myapp"), &json!("staging"), &json!("myapp"))
    );
    assert_eq!(
        old["overview"]["services"],
        json!([
            { "name": "web", "desiredReplicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "status": "running" },
            { "name": "worker", "desiredReplicas": 2, "readyReplicas": 2, "updatedReplicas": 2, "status": "running" },
        ])
    );
    assert_eq!(
        old["summary"],
        json!({ "total": 4, "unhealthy": 0, "notReady": 0, "new": 0, "healthy": 4 })
    );
    assert_eq!(pods(&old).len(), 0, "{old}");
    assert_eq!(pods(&report(&rack, "age=-1&all=true").await).len(), 4);

    let new = report(&rack, "age=100000&services=web").await;
    assert_eq!(
        new["overview"]["services"].as_array().map(Vec::len),
        Some(1)
    );
    let [web] = &pods(&new)[..] else {
        panic!("one process: {new}");
    };
    let listed = rack.get("/apps/myapp/processes?service=web").await.json();
    assert_eq!(web["name"], listed[0]["id"]);
    assert_eq!(
        (
            &web["service"],
            &web["phase"],
            &web["ready"],
            &web["restarts"],
            &web["classification"]
        ),
        (
            &json!("web"),
            &json!("Running"),
            &json!("1/1"),
            &json!(0),
            &json!("new")
        )
    );
    if !engine.is_docker() {
        let said = "simulated: httpd -f -p 3000\n";
        assert!(text(web, "logs").contains(said), "{web}");
    }
    let happened = web["events"].as_array().expect("events");
    assert!(
        happened
            .iter()
            .any(|event| event["message"] == "healthy" && event["type"] == "Normal"),
        "{web}"
    );
    let bare = report(
        &rack,
        "age=100000&services=web&events=false&lines=0&checks=services",
    )
    .await;
    assert!(bare.get("overview").is_none());
    assert!(pods(&bare)[0].get("events").is_none() && pods(&bare)[0].get("logs").is_none());
    let overview = report(&rack, "checks=init,overview").await;
    assert!(overview.get("summary").is_none() && overview.get("overview").is_some());
}

#[tokio::test]
async fn a_deploy_that_failed_is_told_with_its_reason() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let files = [PLAIN[0], PLAIN[1], (".twinrack-faults", "crash-loop")];
    let release = rack.release("myapp", &files).await;
    assert_eq!(rack.promote("myapp", &release).await["release"], "");
    let found = report(&rack, "").await;
    let web = &found["overview"]["services"][0];
    assert_eq!(
        (
            &web["name"],
            &web["status"],
            &web["desiredReplicas"],
            &web["readyReplicas"]
        ),
        (&json!("web"), &json!("stalled"), &json!(1), &json!(0)),
        "{found}"
    );
    assert!(
        text(web, "stallReason").contains("exited with status 1"),
        "{web}"
    );
    let warnings = found["overview"]["events"].as_array().expect("events");
    let rolled_back = format!("release {release} was rolled back");
    for words in [&rolled_back, "exited with status 1"] {
        let of_it = |event: &&Value| text(event, "message").contains(words);
        let event = warnings.iter().find(of_it).expect(words);
        assert_eq!(event["type"], "Warning", "{event}");
        assert_ne!(text(event, "hint"), "", "{event}");
    }
    let times: Vec<_> = warnings
        .iter()
        .map(|event| text(event, "timestamp"))
        .collect();
    let mut sorted = times.clone();
    sorted.sort();
    sorted.reverse();
    assert_eq!(times, sorted, "newest first");
}

#[tokio::test]
async fn a_deploy_under_way_shows_who_is_not_ready() {
    let (_world, rack) = World::with_rack().await;
    let first = rack.deploy("myapp").await;
    let files = [PLAIN[0], PLAIN[1], (".twinrack-faults", "slow-start-60000")];
    let slow = rack.release("myapp", &files).await;
    rack.post(
        &format!("/apps/myapp/releases/{slow}/promote"),
        "timeout=60",
    )
    .await
    .ok();
    let mut found = Value::Null;
    until("a process that is not ready", async || {
        found = report(&rack, "").await;
        found["summary"]["notReady"] == 1
    })
    .await;
    assert_eq!(found["overview"]["services"][0]["status"], "deploying");
    let pod = &pods(&found)[0];
    assert_eq!(
        (&pod["classification"], &pod["ready"], &pod["stateDetail"]),
        (&json!("not-ready"), &json!("0/1"), &json!("NotHealthy")),
        "the worst comes first"
    );
    assert_ne!(pod["hint"], "");
    rack.post("/apps/myapp/cancel", "").await.ok();
    assert_eq!(rack.settled("myapp").await["release"], json!(first));
}

#[tokio::test]
async fn bad_questions_are_refused() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    for (query, sentence) in [
        (
            "lines=many",
            "strconv.Atoi: parsing \"many\": invalid syntax",
        ),
        ("lines=-1", "lines must not be negative"),
        ("age=x", "strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            "checks=overview,nodes",
            "unknown check: nodes (checks are overview, init, services)",
        ),
    ] {
        rack.get(&format!("/apps/myapp/diagnose?{query}"))
            .await
            .fails(400, sentence);
    }
    rack.get("/apps/nope/diagnose?")
        .await
        .fails(404, "app not found: nope");
}
