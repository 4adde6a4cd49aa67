//! Faults of a rack on the simulated engine: an addition of ours (`docs/additions.md`).

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::{Client, World};

on_both_engines!(faults_are_of_the_simulated_engine,);

async fn faults_are_of_the_simulated_engine(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let on = rack.get("/system/faults").await;
    let set = rack.post("/system/faults", "names=build-fails").await;
    let one = rack.delete("/system/faults/build-fails").await;
    let all = rack.delete("/system/faults").await;
    if !engine.is_docker() {
        assert_eq!(on.json(), json!([]));
        assert_eq!(set.json()[0]["name"], "build-fails");
        one.ok();
        all.ok();
        return;
    }
    for answer in [on, set, one, all] {
        assert_eq!(answer.status, 400);
        assert!(
            answer.text().contains("on the simulated engine"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn faults_are_of_one_rack_and_go_on_and_off() {
    let (world, rack) = World::with_rack().await;
    let production = world.rack("production").await;
    let answer = rack
        .post("/system/faults", "names=build-fails,never-healthy@web")
        .await;
    assert_eq!(
        answer.json(),
        json!([
            { "name": "build-fails", "effect": "builds fail at their last step" },
            { "name": "never-healthy@web", "effect": "processes answer 503" },
        ])
    );
    assert_eq!(production.get("/system/faults").await.json(), json!([]));
    // All or none.
    let answer = rack.post("/system/faults", "names=crash-loop,sunny").await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().starts_with("unknown fault \"sunny\": use "),
        "{answer:?}"
    );
    rack.post("/system/faults", "names=")
        .await
        .fails(400, "names is required");
    rack.delete("/system/faults/crash-loop")
        .await
        .fails(404, "fault is not on: crash-loop");

    for rack in [&rack, &production] {
        rack.create("myapp").await;
    }
    assert_eq!(rack.build("myapp", PLAIN).await.0["status"], "failed");
    let elsewhere = production.release("myapp", PLAIN).await;
    rack.delete("/system/faults/build-fails").await.ok();
    let release = rack.release("myapp", PLAIN).await;
    let app = rack.promote("myapp", &release).await;
    assert_eq!(app["release"], "", "it was never healthy");
    let kept = rack.get(&format!("/apps/myapp/releases/{release}")).await;
    assert!(text(&kept.json(), "reason").contains("answered 503"));
    let app = production.promote("myapp", &elsewhere).await;
    assert_eq!(app["release"], json!(elsewhere));
    rack.delete("/system/faults").await.ok();
    assert_eq!(rack.get("/system/faults").await.json(), json!([]));
    let app = rack.promote("myapp", &release).await;
    assert_eq!(app["release"], json!(release));
}

#[tokio::test]
async fn a_server_that_is_started_again_goes_on_with_faults() {
    let (world, rack) = World::with_rack().await;
    let answer = rack.post("/system/faults", "names=engine-down").await;
    assert_eq!(answer.json()[0]["effect"], "the engine does not answer");
    let world = World::open(world.stop().await, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    let on = rack.get("/system/faults").await;
    assert_eq!(on.json()[0]["name"], "engine-down");
    rack.delete("/system/faults/engine-down").await.ok();
}
