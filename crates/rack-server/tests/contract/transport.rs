//! What every request and every answer have in common.

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::world::World;

on_both_engines!(
    requests_of_the_official_clients_are_understood,
    the_rack_describes_itself,
);

async fn requests_of_the_official_clients_are_understood(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let authorization = &rack.headers[0].1;
    let answer = rack
        .raw(
            format!(
                "GET /system? HTTP/1.1\r\nHost: {}\r\nUser-Agent: convox.go/dev\r\nAccept: */*\r\nAuthorization: \
                 {authorization}\r\nContent-Type: application/octet-stream\r\nRack: \r\nSession: \r\nVersion: dev\r\n\
                 Accept-Encoding: gzip\r\nConnection: close\r\n\r\n",
                world.address
            )
            .as_bytes(),
        )
        .await;
    let system = answer.json();
    assert_eq!(system["name"], "staging");
    assert_eq!(system["version"], "3.24.6-local");
    assert_eq!(answer.header("content-encoding"), None);
    assert_eq!(answer.header("rack"), None);
    assert_eq!(answer.header("version"), None);
    let request = answer.header("request-id").expect("a request id");
    assert!(
        request.len() == 12 && request.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{request}"
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
}

#[tokio::test]
async fn json_is_indented_escaped_and_ends_its_line() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    rack.put("/apps/myapp", "parameters=B%3D%253C%2526%253E%26A%3D1")
        .await
        .ok();
    let answer = rack.get("/apps/myapp").await;
    assert_eq!(
        answer.text(),
        "{\n  \"generation\": \"2\",\n  \"locked\": false,\n  \"name\": \"myapp\",\n  \"release\": \"\",\n  \
         \"status\": \"running\",\n  \"parameters\": {\n    \"A\": \"1\",\n    \"B\": \"\\u003c\\u0026\\u003e\"\n  }\n}\n"
    );
}

#[tokio::test]
async fn unknown_routes_and_wrong_methods_are_empty_404s() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    for (method, target) in [
        ("GET", "/"),
        ("GET", "/machines"),
        ("GET", "/apps/"),
        ("GET", "/nothing?x=1"),
        ("GET", "/apps/myapp/nothing"),
        ("GET", "/apps/myapp/processes/a/b/c"),
        ("PATCH", "/apps"),
        ("DELETE", "/system"),
        ("PUT", "/apps/myapp/builds"),
        ("OPTIONS", "/apps"),
        ("BREW", "/apps"),
        // Sockets exist only as sockets.
        ("GET", "/apps/myapp/logs"),
        ("GET", "/system/logs"),
        ("POST", "/apps/myapp/logs"),
        ("GET", "/apps/myapp/processes/abc/exec"),
    ] {
        for client in [&rack, &world.stranger()] {
            let answer = client.send(method, target, &[], b"").await;
            assert_eq!(
                (answer.status, answer.body.len()),
                (404, 0),
                "{method} {target}"
            );
        }
    }
}

#[tokio::test]
async fn leading_slashes_collapse() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("//apps?").await.json()[0]["name"], "myapp");
    assert_eq!(rack.get("///apps/myapp").await.json()["name"], "myapp");
    assert_eq!(
        rack.get("/apps//myapp").await.status,
        404,
        "only leading ones"
    );
}

#[tokio::test]
async fn errors_are_json_for_those_who_ask() {
    let (world, rack) = World::with_rack().await;
    let asks = [("Accept", "text/html, application/json;q=0.9")];
    let cases = [
        (
            world.stranger().send("GET", "/apps", &asks, b"").await,
            401,
            "invalid authentication",
        ),
        (
            rack.send("GET", "/apps/nope", &asks, b"").await,
            404,
            "app not found: nope",
        ),
        (
            rack.send("POST", "/apps", &asks, b"").await,
            400,
            "app name must not be empty",
        ),
        (
            rack.send("GET", "/apps/nope/builds/B", &asks, b"").await,
            404,
            "app not found: nope",
        ),
    ];
    for (answer, status, text) in cases {
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{answer:?}"
        );
        let body: serde_json::Value = serde_json::from_slice(&answer.body).expect("json");
        assert_eq!(body, json!({ "error": text }));
    }
    rack.send("GET", "/apps/nope", &[("Accept", "*/*")], b"")
        .await
        .fails(404, "app not found: nope");
}

#[tokio::test]
async fn parameters_come_from_the_form_then_from_the_query() {
    let (_world, rack) = World::with_rack().await;
    assert_eq!(
        rack.post("/apps?name=fromquery", "").await.json()["name"],
        "fromquery"
    );
    assert_eq!(
        rack.post("/apps?name=query", "name=form").await.json()["name"],
        "form"
    );
    // The type of the body is no matter: 2017 clients send forms as octet streams.
    assert_eq!(
        rack.upload("/apps", b"name=typeless").await.json()["name"],
        "typeless"
    );
    rack.post("/apps?name=x", "name=")
        .await
        .fails(400, "app name must not be empty");
    // A body on a GET is accepted and means nothing.
    assert_eq!(
        rack.send("GET", "/apps/form?", &[], b"name=x").await.json()["name"],
        "form"
    );
    let huge = format!("name={}", "a".repeat(5 << 20));
    rack.post("/apps", &huge)
        .await
        .fails(413, "the form is larger than 64 KiB");
}

#[tokio::test]
async fn booleans_integers_and_durations_are_gos() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    for (text, locked) in [
        ("true", true),
        ("false", false),
        ("true", true),
        ("TRUE", false),
        ("1", false),
    ] {
        rack.put("/apps/myapp", &format!("lock={text}")).await.ok();
        assert_eq!(
            rack.get("/apps/myapp").await.json()["locked"],
            locked,
            "{text}"
        );
    }
    rack.get("/apps/myapp/builds?limit=ten")
        .await
        .fails(400, "strconv.Atoi: parsing \"ten\": invalid syntax");
    rack.get("/apps/myapp/releases?limit=1.5")
        .await
        .fails(400, "strconv.Atoi: parsing \"1.5\": invalid syntax");
    assert_eq!(
        rack.get("/apps/myapp/releases?limit=").await.json(),
        json!([])
    );
    assert_eq!(
        rack.get("/apps/myapp/releases?limit=-3").await.json(),
        json!([])
    );
    for wait in ["1h0m0s", "300ms", "1.5s", "2m0s"] {
        assert_eq!(
            rack.get(&format!("/apps/myapp?settled={wait}"))
                .await
                .json()["status"],
            "running",
            "{wait}"
        );
    }
    rack.get("/apps/myapp?settled=soon")
        .await
        .fails(400, "time: invalid duration \"soon\"");
}

#[tokio::test]
async fn messages_hold_no_percent_sign() {
    let (_world, rack) = World::with_rack().await;
    let answer = rack.get("/apps/100%25s").await;
    answer.fails(404, "app not found: 100 percents");
}

#[tokio::test]
async fn paths_are_decoded_once() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/my%61pp").await.json()["name"], "myapp");
    rack.get("/apps/my%2561pp")
        .await
        .fails(404, "app not found: my percent61pp");
    let answer = rack.get("/apps/%ff%fe").await;
    assert!((400..500).contains(&answer.status), "{answer:?}");
}

async fn the_rack_describes_itself(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let port = world.address.port();
    assert_eq!(
        rack.get("/system").await.json(),
        json!({
            "count": 1, "domain": "staging.localhost", "name": "staging", "provider": "local",
            "rack-domain": format!("127.0.0.1:{port}"), "region": "", "status": "running", "type": engine.name(),
            "version": "3.24.6-local",
        })
    );
    let processes = rack.get("/system/processes").await.json();
    assert_eq!(
        (processes.as_array().map(Vec::len), &processes[0]["status"]),
        (Some(1), &json!("running"))
    );
    let releases = rack.get("/system/releases").await.json();
    assert_eq!(releases[0]["id"], "3.24.6-local");
    let log = rack
        .stream("/system/logs", &[("Follow", "false"), ("Prefix", "true")])
        .await;
    assert!(
        log.ended
            && log
                .text()
                .contains(" system/rack/staging rack staging created\n"),
        "{}",
        log.text()
    );
}
