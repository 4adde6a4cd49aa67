//! The rack itself: parameters, versions, and what a local one refuses.

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::text;

on_both_engines!(
    parameters_are_merged_and_stay,
    what_is_a_fact_cannot_be_changed,
    calls_about_clouds_are_answered,
    the_authority_can_be_had,
);

async fn the_authority_can_be_had(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let answer = rack.get("/system/ca").await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/x-pem-file")
    );
    let kept = std::fs::read_to_string(world.data.path().join("ca.pem")).expect("the authority");
    assert_eq!((answer.status, answer.text()), (200, kept));
    assert_eq!(answer.text().matches("-----BEGIN ").count(), 1, "no key");
    let production = world.rack("production").await;
    assert_eq!(production.get("/system/ca").await.body, answer.body);
    assert_eq!(world.stranger().get("/system/ca").await.status, 401);
}

async fn parameters_are_merged_and_stay(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    assert_eq!(rack.get("/system?").await.json().get("parameters"), None);
    rack.put("/system?", "parameters=idle_timeout%3D60%26tag%3Da%2526b")
        .await
        .ok();
    rack.put(
        "/system?",
        "parameters=idle_timeout%3D90%26HttpProxyPassword%3Dhidden",
    )
    .await
    .ok();
    let shown = json!({ "HttpProxyPassword": "****", "idle_timeout": "90", "tag": "a&b" });
    assert_eq!(rack.get("/system?").await.json()["parameters"], shown);
    // What was read masked changes nothing when it is sent back.
    rack.put("/system", "parameters=HttpProxyPassword%3D****")
        .await
        .ok();
    let log = rack
        .stream("/system/logs", &[("Follow", "false"), ("Since", "1h0m0s")])
        .await
        .text();
    assert!(
        log.contains("parameters set: HttpProxyPassword, idle_timeout\n"),
        "{log}"
    );
    assert!(!log.contains("hidden"), "{log}");
    rack.put("/system", "parameters=a+b%3D1").await.fails(
        400,
        "parameter names are at most 128 letters, digits, dots, hyphens and underscores",
    );

    let headers = rack.headers.clone();
    let data = world.stop().await;
    let world = engine.open(data, "").await;
    let mut rack = world.server();
    rack.headers = headers;
    assert_eq!(rack.get("/system").await.json()["parameters"], shown);
}

async fn what_is_a_fact_cannot_be_changed(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let system = rack.get("/system").await.json();
    let (version, kind) = (text(&system, "version"), text(&system, "type"));
    assert_eq!(kind, engine.name());
    for same in [
        String::new(),
        "count=1".into(),
        // The client of 2017 sends this for a count that nobody gave.
        "count=-1&type=".into(),
        format!("type={kind}"),
        format!("force=false&version={version}"),
    ] {
        rack.put("/system?", &same).await.ok();
    }
    for (form, text) in [
        (
            "count=3&parameters=a%3D1",
            "count cannot be changed on a local rack: this machine is its one instance".to_owned(),
        ),
        (
            "type=t3.small&parameters=a%3D1",
            format!(
                "type cannot be changed on a local rack: it is {kind}, the engine the rack was made with"
            ),
        ),
        (
            "version=20260101000000&parameters=a%3D1",
            format!(
                "version 20260101000000 is not known here: a local rack has the version of its \
                 rack-server, {version}; to update it install another rack-server"
            ),
        ),
        (
            "count=many",
            "strconv.Atoi: parsing \"many\": invalid syntax".to_owned(),
        ),
    ] {
        rack.put("/system?", form).await.fails(400, &text);
    }
    assert_eq!(
        rack.get("/system").await.json().get("parameters"),
        None,
        "all or nothing"
    );

    // The version that runs is the rack's only release, since it first ran.
    let releases = rack.get("/system/releases?").await.json();
    assert_eq!(releases.as_array().map(Vec::len), Some(1), "{releases}");
    assert_eq!(text(&releases[0], "id"), version);
    assert!(text(&releases[0], "created").as_str() > "2020");
    assert_eq!(rack.get("/system/releases?").await.json(), releases);

    // One that was there before is known, and still no request brings it back.
    let database = world.rack_directory("staging").join("rack.db");
    let headers = rack.headers.clone();
    let data = world.stop().await;
    let written = rusqlite::Connection::open(database)
        .expect("a database")
        .execute(
            "INSERT INTO versions (version, created) VALUES ('3.20.0-local', 1)",
            [],
        );
    written.expect("written");
    let world = engine.open(data, "").await;
    let mut rack = world.server();
    rack.headers = headers;
    let releases = rack.get("/system/releases").await.json();
    let ids = [&releases[0]["id"], &releases[1]["id"]];
    assert_eq!(ids, [&json!(version), &json!("3.20.0-local")]);
    rack.put("/system", "version=3.20.0").await.fails(
        400,
        &format!(
            "version 3.20.0 ran this rack before and {version} runs it now: to go back, \
             stop rack-server and start the one of version 3.20.0 on the same data"
        ),
    );
    rack.put("/system", &format!("version={version}"))
        .await
        .ok();
}

async fn calls_about_clouds_are_answered(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.get("/system/sync/whitelist/instances/ip?").await.ok();
    let text = "there are no RDS databases or snapshots on a local rack";
    rack.get("/rds/snapshots/mine?").await.fails(404, text);
    rack.delete("/rds/mine?").await.fails(404, text);
    let path = "/apps/myapp/resources/db/deletion-protection-and-snapshot/mine?";
    rack.post(path, "app=myapp").await.fails(404, text);
}
