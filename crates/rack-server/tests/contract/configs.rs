//! Configs: named values of an app, as version 3 clients keep them (`rack-api.md` §3.10).

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::world::World;

on_both_engines!(values_come_in_encoded_and_go_out_decoded,);

/// A form as clients send it.
fn form(value: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(value);
    let escaped: String = form_urlencoded::byte_serialize(encoded.as_bytes()).collect();
    format!("value={escaped}")
}

async fn values_come_in_encoded_and_go_out_decoded(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/configs?").await.json(), json!([]));
    let mask = "/apps/myapp/configs/cli-env-mask";
    // Clients take exactly these words for "nothing is masked".
    rack.get(mask)
        .await
        .fails(404, "app config not found: cli-env-mask");
    rack.put(mask, &form(b"SECRET,TOKEN")).await.ok();
    rack.put("/apps/myapp/configs/app.conf", &form("ünï\n<&>".as_bytes()))
        .await
        .ok();
    assert_eq!(
        rack.get(mask).await.json(),
        json!({ "name": "cli-env-mask", "value": "SECRET,TOKEN" })
    );
    rack.put(mask, &form(b"OTHER")).await.ok();
    assert_eq!(
        rack.get("/apps/myapp/configs").await.json(),
        json!([
            { "name": "app.conf", "value": "ünï\n<&>" },
            { "name": "cli-env-mask", "value": "OTHER" },
        ])
    );
    rack.put(mask, "value=").await.ok();
    assert_eq!(rack.get(mask).await.json()["value"], "");

    // Another app and another rack know nothing of it.
    rack.create("other").await;
    assert_eq!(rack.get("/apps/other/configs").await.json(), json!([]));
    let production = world.rack("production").await;
    production.create("myapp").await;
    assert_eq!(
        production.get("/apps/myapp/configs").await.json(),
        json!([])
    );
}

#[tokio::test]
async fn what_cannot_be_kept_is_refused() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let config = "/apps/myapp/configs/c";
    let answer = rack.put(config, "value=not!base64").await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().starts_with("failed to parse base 64 value: "),
        "{answer:?}"
    );
    rack.put(config, "").await.fails(400, "value is required");
    rack.put("/apps/myapp/configs/NAME", &form(b"x"))
        .await
        .fails(
            400,
            "a config name has lower-case letters, digits, dashes and dots only, 200 at most",
        );
    rack.put(config, &form(&vec![b'x'; (1 << 20) + 1]))
        .await
        .fails(400, "a config holds at most 1 MiB");
    rack.put(config, &form(&vec![b'x'; 1 << 20])).await.ok();
    for answer in [
        rack.get("/apps/nope/configs").await,
        rack.get("/apps/nope/configs/c").await,
        rack.put("/apps/nope/configs/c", &form(b"x")).await,
    ] {
        answer.fails(404, "app not found: nope");
    }
}

#[tokio::test]
async fn configs_outlive_the_server_and_go_with_their_app() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    rack.put("/apps/myapp/configs/c", &form(&[0xff, 0, 1]))
        .await
        .ok();
    let data = world.stop().await;
    let world = World::open(data, "").await;
    let rack = world.server().with("Rack", "staging");
    assert_eq!(
        rack.get("/apps/myapp/configs/c").await.json()["value"],
        "\u{fffd}\0\u{1}",
        "bytes that are no text are shown as such"
    );
    rack.delete("/apps/myapp").await.ok();
    rack.create("myapp").await;
    rack.get("/apps/myapp/configs/c")
        .await
        .fails(404, "app config not found: c");
}
