//! What only version 3 asks for: balancers, services of the manifest, and what one
//! machine has not (`rack-api.md` §3.10).

use serde_json::{Value, json};

use super::flow::PLAIN;
use super::world::World;

const BALANCED: &str = "environment:
  - GREETING=hello
services:
  web:
    build: .
    port: 3000
    environment:
      - PORT_NAME
    scale: 2-4
    health:
      interval: 1
balancers:
  mail:
    service: web
    ports:
      25: 3001
      53: {protocol: UDP, port: 3002}
";

#[tokio::test]
async fn the_manifest_is_shown_as_declared() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/balancers").await.json(), json!([]));
    rack.get("/apps/myapp/manifest/services/web")
        .await
        .fails(400, "no release for app: myapp");
    rack.set_env("myapp", "PORT_NAME=http").await;
    let release = rack
        .release("myapp", &[("convox.yml", BALANCED), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    assert_eq!(
        rack.get("/apps/myapp/balancers?").await.json(),
        json!([{
            "name": "mail",
            "endpoint": "",
            "ports": [
                { "protocol": "TCP", "source": 25, "target": 3001 },
                { "protocol": "UDP", "source": 53, "target": 3002 },
            ],
            "service": "web",
        }]),
        "nothing listens, so there is no endpoint"
    );
    assert_eq!(
        rack.get("/apps/myapp/manifest/services/web").await.json(),
        json!({
            "name": "web",
            "environment": ["GREETING=hello", "PORT_NAME"],
            "scale": { "min": 2, "max": 4 },
        })
    );
    rack.get("/apps/myapp/manifest/services/nope")
        .await
        .fails(404, "service not found: nope");
    for path in ["balancers", "manifest/services/web"] {
        rack.get(&format!("/apps/nope/{path}"))
            .await
            .fails(404, "app not found: nope");
    }
}

#[tokio::test]
async fn what_one_machine_has_not_is_refused_with_a_sentence() {
    let (_world, rack) = World::with_rack().await;
    rack.deploy("myapp").await;
    assert_eq!(
        rack.get("/apps/myapp/budget?").await.json(),
        json!({ "config": null, "state": null })
    );
    assert_eq!(
        rack.get("/apps/myapp/budget/shutdown-state").await.json(),
        Value::Null
    );
    let budget =
        "budgets are not available on a local rack: what runs on your own machine has no price";
    let scaling =
        "autoscaling is not available on a local rack: set the number of processes with scale";
    let triggers = "/services/web/triggers";
    for (method, path, form, sentence) in [
        ("POST", "/budget", "monthly-cap-usd=10", budget),
        ("DELETE", "/budget", "ack_by=me", budget),
        ("POST", "/budget/reset", "ack_by=me", budget),
        ("POST", "/budget/simulate-shutdown", "", budget),
        ("POST", "/budget/dismiss-recovery", "ack_by=me", budget),
        (
            "GET",
            "/cost",
            "",
            "costs are not tracked on a local rack: what runs on your own machine has no price",
        ),
        (
            "POST",
            "/services/web/scale-override",
            "active=true",
            scaling,
        ),
        (
            "POST",
            &format!("{triggers}/enable"),
            "opts=%7B%7D",
            scaling,
        ),
        ("POST", &format!("{triggers}/disable"), "", scaling),
        (
            "POST",
            &format!("{triggers}/threshold"),
            "type=cpu&threshold=5",
            scaling,
        ),
        ("PUT", "/services/web", "min=1&max=3", scaling),
        (
            "PUT",
            "/services/web",
            "gpu=1",
            "gpus are not available on a local rack: leave gpu out",
        ),
    ] {
        let headers = [("Content-Type", super::world::FORM)];
        rack.send(
            method,
            &format!("/apps/myapp{path}?"),
            &headers,
            form.as_bytes(),
        )
        .await
        .fails(400, sentence);
        rack.send(
            method,
            &format!("/apps/nope{path}?"),
            &headers,
            form.as_bytes(),
        )
        .await
        .fails(404, "app not found: nope");
    }
    rack.post(
        &format!("/apps/myapp/services/nope/triggers/enable"),
        "opts=x",
    )
    .await
    .fails(404, "service not found: nope");
    // A gpu count of none is what there is.
    rack.put("/apps/myapp/services/web", "count=1&gpu=0")
        .await
        .ok();
    let karpenter = "karpenter is not available on a local rack: its only node is this machine";
    rack.post("/system/karpenter/cleanup", "")
        .await
        .fails(400, karpenter);
    let json = [("Accept", "text/html, application/json")];
    let answer = rack
        .send("POST", "/system/karpenter/cleanup", &json, b"")
        .await;
    assert_eq!(
        (
            answer.status,
            serde_json::from_slice::<Value>(&answer.body).ok()
        ),
        (400, Some(json!({ "error": karpenter })))
    );
    let letsencrypt =
        "letsencrypt is not available on a local rack: certificates come from its own authority";
    rack.get("/letsencrypt/config")
        .await
        .fails(400, letsencrypt);
    rack.send(
        "PUT",
        "/letsencrypt/config",
        &[("Content-Type", "application/json")],
        br#"{"role":"x","solvers":[]}"#,
    )
    .await
    .fails(400, letsencrypt);
}

#[tokio::test]
async fn pushes_and_proxied_requests_are_refused_whatever_their_method() {
    let (world, rack) = World::with_rack().await;
    for path in [
        "/v2",
        "/v2/",
        "/v2/myapp/blobs/uploads/",
        "/v2/myapp/manifests/web.B?x=y",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = rack.send(method, path, &[], &[0xff; 3000]).await;
            assert_eq!(answer.status, 404, "{method} {path}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
            if method != "HEAD" {
                let error: Value = serde_json::from_slice(&answer.body).expect("json");
                assert_eq!(
                    error["errors"][0],
                    json!({
                        "code": "UNSUPPORTED",
                        "message": "a local rack takes no pushed images: let it build, or use builds import-image",
                    }),
                    "{method} {path}"
                );
            }
        }
    }
    for path in ["/custom/http/proxy/", "/custom/http/proxy/a//b?c"] {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            rack.send(method, path, &[("X-Host", "web"), ("X-Port", "80")], b"")
                .await
                .fails(
                    404,
                    "the http proxy is not available on a local rack: ask the service by its host name",
                );
        }
        let head = rack.send("HEAD", path, &[], b"").await;
        assert_eq!((head.status, head.body.len()), (404, 0));
    }
    assert_eq!(world.stranger().get("/v2/").await.status, 401);
}
