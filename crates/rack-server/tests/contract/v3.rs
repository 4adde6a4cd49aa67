//! What only version 3 asks for: balancers, services of the manifest, and what one
//! machine has not (`rack-api.md` §3.10).

use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::{World, until};

on_both_engines!(
    the_manifest_is_shown_as_declared,
    what_one_machine_has_not_is_refused_with_a_sentence,
    pushes_and_proxied_requests_are_refused_whatever_their_method,
    a_release_can_be_made_from_parts_of_others,
    percentages_of_a_promote_decide_who_goes_first,
    a_service_says_how_requests_reach_it,
);

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
    drain: 1
    termination:
      grace: 1
balancers:
  mail:
    service: web
    ports:
      25: 3001
      53: {protocol: UDP, port: 3002}
";

async fn the_manifest_is_shown_as_declared(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
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
    let balancers = rack.get("/apps/myapp/balancers?").await.json();
    let endpoint = text(&balancers[0], "endpoint");
    assert!(endpoint.starts_with("127.0.0.1:"), "{endpoint}");
    assert_eq!(
        balancers,
        json!([{
            "name": "mail",
            "endpoint": endpoint,
            "ports": [
                { "protocol": "TCP", "source": 25, "target": 3001 },
                { "protocol": "UDP", "source": 53, "target": 3002 },
            ],
            "service": "web",
        }])
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

async fn what_one_machine_has_not_is_refused_with_a_sentence(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
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
    rack.post("/apps/myapp/services/nope/triggers/enable", "opts=x")
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

async fn pushes_and_proxied_requests_are_refused_whatever_their_method(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let stranger = world.stranger();
    for path in [
        "/v2",
        "/v2/",
        "/v2/myapp/blobs/uploads/",
        "/v2/myapp/manifests/web.B?x=y",
    ] {
        for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] {
            let answer = stranger.send(method, path, &[], &[0xff; 3000]).await;
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
    let answer = stranger.get("/custom/http/proxy/").await;
    assert_eq!(answer.status, 401);
}

/// A form value.
fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

async fn a_release_can_be_made_from_parts_of_others(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let first = text(&rack.set_env("myapp", "A=1").await, "id");
    let (build, _) = rack.build("myapp", PLAIN).await;
    let built = text(&build, "release");
    rack.set_env("myapp", "A=2\nB=3").await;
    // As `releases create-from` sends it.
    let form = format!(
        "build={}&description={}&env={}",
        text(&build, "id"),
        escape(&format!(
            "Created from build release: {built} and environment release: {first}"
        )),
        escape("A=1")
    );
    let made = rack.post("/apps/myapp/releases?", &form).await.json();
    assert_eq!(
        (&made["build"], &made["env"], &made["description"]),
        (
            &build["id"],
            &json!("A=1"),
            &json!(format!(
                "Created from build release: {built} and environment release: {first}"
            ))
        )
    );
    // A parent gives what the form does not, its build and its environment.
    let child = rack
        .post(
            "/apps/myapp/releases",
            &format!("parent-release={built}&env={}", escape("A=1\nC=4")),
        )
        .await
        .json();
    assert_eq!(
        (&child["build"], &child["env"]),
        (&build["id"], &json!("A=1\nC=4"))
    );
    assert_eq!(child["description"], "env add:C");
    let child = rack
        .post("/apps/myapp/releases", &format!("parent-release={first}"))
        .await
        .json();
    assert_eq!(
        (&child["build"], &child["env"]),
        (&json!(""), &json!("A=1"))
    );
}

async fn percentages_of_a_promote_decide_who_goes_first(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    for (form, old_first) in [
        (
            "max=100&min=0&development=true&idle=false&timeout=300",
            true,
        ),
        ("max=200&min=100&development=false&idle=true", false),
    ] {
        let before = rack.log("myapp").await.len();
        let release = text(
            &rack.set_env("myapp", &format!("GREETING={form}")).await,
            "id",
        );
        rack.post(&format!("/apps/myapp/releases/{release}/promote"), form)
            .await
            .ok();
        assert_eq!(rack.settled("myapp").await["release"], json!(release));
        let mut log = String::new();
        until("the old process to stop", async || {
            log = rack.log("myapp").await.split_off(before);
            log.contains(" stopping")
        })
        .await;
        let at = |words: &str| log.find(words).unwrap_or_else(|| panic!("{words}: {log}"));
        let started = at(&format!("started for release {release}"));
        assert_eq!(at(" stopping") < started, old_first, "{form}: {log}");
    }
}

#[tokio::test]
async fn no_setter_of_eight_loses_anything() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    let setters = (0..8).map(|number| {
        let rack = rack.clone();
        tokio::spawn(async move {
            for round in 0..5 {
                loop {
                    let list = rack.get("/apps/myapp/releases?limit=1").await.json();
                    let (latest, env) = match list[0]["id"].as_str() {
                        None => (String::new(), String::new()),
                        Some(id) => {
                            let release =
                                rack.get(&format!("/apps/myapp/releases/{id}")).await.json();
                            (id.to_owned(), text(&release, "env"))
                        }
                    };
                    let env = escape(&format!("{env}\nK{number}_{round}=x"));
                    let form = format!("env={env}&latest={latest}");
                    let answer = rack.post("/apps/myapp/releases", &form).await;
                    match answer.status {
                        200 => break,
                        409 => {
                            let text = answer.text();
                            assert!(
                                text.ends_with(
                                    " was made meanwhile: read it, and make the change again\n"
                                ),
                                "{text}"
                            );
                        }
                        _ => panic!("{answer:?}"),
                    }
                }
            }
        })
    });
    for setter in futures::future::join_all(setters).await {
        setter.expect("no panic");
    }
    let list = rack.get("/apps/myapp/releases?limit=1").await.json();
    let id = text(&list[0], "id");
    let release = rack.get(&format!("/apps/myapp/releases/{id}")).await.json();
    assert_eq!(text(&release, "env").lines().count(), 40, "{release}");

    // A condition that does not hold, or that nothing can hold.
    rack.post("/apps/myapp/releases", "env=A%3D1&latest=")
        .await
        .fails(
            409,
            &format!("release {id} was made meanwhile: read it, and make the change again"),
        );
    rack.create("other").await;
    rack.post("/apps/other/releases", "env=A%3D1&latest=RAAAAAAAAAA")
        .await
        .fails(409, "RAAAAAAAAAA is not the latest release: there is none");
    let first = rack
        .post("/apps/other/releases", "env=A%3D1&latest=")
        .await
        .json();
    let form = format!("env=A%3D2&latest={}", text(&first, "id").to_lowercase());
    rack.post("/apps/other/releases", &form).await.json();
}

async fn a_service_says_how_requests_reach_it(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let manifest = "services:
  web:
    build: .
    port: 3000
    scale: 2
    health: {interval: 1}
    drain: 1
    termination: {grace: 1}
    whitelist: 192.0.2.0/24
";
    let release = rack
        .release("myapp", &[("convox.yml", manifest), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let host = world.stranger().with("Host", "web.myapp.staging.localhost");
    let cookie = async || {
        let answer = host.get("/").await;
        assert_eq!(answer.status, 200, "this machine may always come");
        answer.header("set-cookie").map(str::to_owned)
    };
    let mut told = None;
    until("two processes to choose from", async || {
        told = cookie().await;
        told.is_some()
    })
    .await;
    let told = told.expect("a cookie");
    let id = told.strip_prefix("twinrack-process=").expect("ours");
    let id = id.split(';').next().expect("a value");
    let processes = rack.get("/apps/myapp/processes").await.json().to_string();
    assert!(processes.contains(id), "{id} in {processes}");
    let manifest = manifest.replace("scale: 2", "tls: {redirect: true}");
    let release = rack
        .release("myapp", &[("convox.yml", manifest.as_str()), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let answer = host.get("/a?b=c").await;
    assert_eq!(answer.status, 308);
    assert_eq!(
        answer.header("location"),
        Some("https://web.myapp.staging.localhost/a?b=c")
    );
}
