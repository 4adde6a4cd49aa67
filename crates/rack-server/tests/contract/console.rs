//! The server outside its racks, as a console: the same on either engine.

use serde_json::json;

use super::engines::{Engine, on_both_engines};

on_both_engines!(
    the_server_says_that_it_is_there,
    racks_are_described_and_removed_by_their_full_names,
);

async fn the_server_says_that_it_is_there(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    for client in [&world.stranger(), &rack] {
        let answer = client.get("/check").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "ok"));
    }
    rack.get("/auth").await.ok();
    let refused = world.stranger().get("/auth").await;
    refused.fails(401, "invalid authentication");
}

async fn racks_are_described_and_removed_by_their_full_names(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    world.rack("production").await;
    staging.deploy("myapp").await;
    let server = world.server();
    let rack = server.get("/racks/personal/staging").await.json();
    assert_eq!(
        (&rack["name"], &rack["status"]),
        (&json!("staging"), &json!("running"))
    );
    server.delete("/racks/personal/staging").await.ok();
    server
        .get("/racks/personal/staging")
        .await
        .fails(404, "rack not found: personal/staging");
    let left = server.get("/racks").await.json();
    assert_eq!(left.as_array().map(Vec::len), Some(1), "{left}");
    // With everything of it, images included; they would be found by their builds.
    assert_eq!(world.volumes().await, Vec::<String>::new());
}
