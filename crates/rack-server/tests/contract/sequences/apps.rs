//! Sequences of apps (`rack-api.md` §7.1, §7.17, §7.18).

use std::collections::BTreeMap;

use serde_json::json;

use super::super::flow::{MANIFEST, PLAIN, text};
use super::super::wire::Generation::{V2, V3, Y2017};
use super::super::wire::{Official, Payload, STREAM};
use super::super::world::Client;
use super::builds::imported;
use super::{APP, RELEASE, list, message, promoted, shape, wait};

/// §7.1
pub(super) async fn apps_create(_rack: &Client, client: &Official) {
    let fields: &[_] = match client.generation {
        Y2017 => &[("generation", ""), ("name", "foo")],
        V2 => &[("name", "foo")],
        V3 => &[("name", "foo"), ("timeout", "30")],
    };
    let app = client.post("/apps", fields).await.json();
    shape(&app, APP);
    let waited = wait(client, "foo").await;
    assert_eq!(
        (&waited["name"], &waited["generation"], &waited["release"]),
        (&json!("foo"), &json!("2"), &json!(""))
    );
    let second = [("generation", "2"), ("name", "bar")];
    shape(&client.post("/apps", &second).await.json(), APP);
    let names: Vec<_> = list(&client.json("/apps").await)
        .iter()
        .map(|app| text(app, "name"))
        .collect();
    assert_eq!(names, ["bar", "foo"]);
    let again = client.post("/apps", fields).await;
    assert_eq!(message(client, &again), "app already exists: foo");
}

/// §7.17
pub(super) async fn apps_delete(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    client.fine(&client.delete("/apps/foo").await);
    for _ in 0..2 {
        let gone = client.get("/apps/foo").await;
        assert_eq!(message(client, &gone), "app not found: foo");
    }
    assert_eq!(client.json("/apps").await, json!([]));
}

/// §7.18: `login`
pub(super) async fn login(rack: &Client, client: &Official) {
    // The first generation sends less here than anywhere else.
    let answer = if client.generation == Y2017 {
        rack.with("User-Agent", "Go-http-client/1.1")
            .send("GET", "/auth", &[("Accept-Encoding", "gzip")], b"")
            .await
    } else {
        client.get("/auth").await
    };
    client.fine(&answer);
    let stranger = rack.with("Authorization", "Basic Y29udm94Om5vbmU=");
    let stranger = Client {
        headers: stranger.headers[1..].to_vec(),
        ..stranger
    };
    let stranger = Official::new(client.generation, &stranger, "staging");
    let refused = stranger.get("/auth").await;
    assert_eq!(refused.status, 401);
    assert_eq!(message(client, &refused), "invalid authentication");
    let challenge = refused.header("www-authenticate").unwrap_or_default();
    assert!(!challenge.starts_with("Session"), "{challenge}");
}

/// §7.18: `apps params set`
pub(super) async fn apps_params_set(rack: &Client, client: &Official) {
    rack.create("foo").await;
    client.json("/system").await;
    let wanted = BTreeMap::from([("Bar", "a&b"), ("Foo", "1")]);
    let answer = if client.generation == Y2017 {
        let fields: Vec<_> = wanted.iter().map(|(name, value)| (*name, *value)).collect();
        client.post("/apps/foo/parameters", &fields).await
    } else {
        // A map in a form is written twice.
        let map = [("parameters", "Bar=a%26b&Foo=1")];
        client.put("/apps/foo", &map).await
    };
    client.fine(&answer);
    let app = wait(client, "foo").await;
    assert_eq!(app["parameters"], json!(wanted));
    if client.generation == Y2017 {
        assert_eq!(client.json("/apps/foo/parameters").await, json!(wanted));
    }
}

/// §7.18: `apps lock` and `apps unlock`
pub(super) async fn apps_lock(rack: &Client, client: &Official) {
    rack.create("foo").await;
    client.fine(&client.put("/apps/foo", &[("lock", "true")]).await);
    assert_eq!(client.json("/apps/foo").await["locked"], true);
    let refused = client.delete("/apps/foo").await;
    assert_eq!(message(client, &refused), "app is locked: foo");
    client.fine(&client.put("/apps/foo", &[("lock", "false")]).await);
    assert_eq!(client.json("/apps/foo").await["locked"], false);
    client.fine(&client.delete("/apps/foo").await);
}

/// §7.18: `apps cancel`
pub(super) async fn apps_cancel(rack: &Client, client: &Official) {
    let first = rack.deploy("foo").await;
    // Neither engine ever finds it healthy.
    let files = [
        PLAIN[0],
        (
            "Dockerfile",
            "FROM busybox:1.36\nWORKDIR /app\nCOPY . .\nCMD [\"sleep\", \"600\"]\n",
        ),
        (".twinrack-faults", "slow-start-60000"),
    ];
    let slow = rack.release("foo", &files).await;
    rack.post(&format!("/apps/foo/releases/{slow}/promote"), "timeout=60")
        .await
        .ok();
    client.fine(&client.post("/apps/foo/cancel", &[]).await);
    if client.generation != Y2017 {
        let latest = client.find("/apps/foo/releases", "limit=1").await.json();
        let active = client.json(&format!("/apps/foo/releases/{first}")).await;
        assert_eq!(text(&list(&latest)[0], "id"), slow);
        let (build, env) = (text(&active, "build"), text(&active, "env"));
        let fields = [
            ("build", build.as_str()),
            ("description", "cancelled"),
            ("env", env.as_str()),
        ];
        let release = client.post("/apps/foo/releases", &fields).await.json();
        assert_eq!(text(&release, "description"), "cancelled");
        assert_eq!(text(&release, "build"), build);
    }
    let app = wait(client, "foo").await;
    assert_eq!(text(&app, "release"), first);
    let nothing = client.post("/apps/foo/cancel", &[]).await;
    assert_eq!(message(client, &nothing), "app is not updating");
}

/// §7.18: `apps export`, then `apps import` under the same name and under another one:
/// the build names the app it was exported from all the same.
pub(super) async fn apps_export_and_import(rack: &Client, client: &Official) {
    let manifest = MANIFEST.replace("environment:\n", "environment:\n  - SECRET=none\n");
    rack.create("foo").await;
    let files = [("convox.yml", manifest.as_str()), PLAIN[1]];
    rack.release("foo", &files).await;
    let release = text(&rack.set_env("foo", "SECRET=x").await, "id");
    rack.promote("foo", &release).await;
    rack.put("/apps/foo", "parameters=A%3D1").await.ok();

    let app = client.json("/apps/foo").await;
    shape(&app, APP);
    let active = text(&app, "release");
    let release = client.json(&format!("/apps/foo/releases/{active}")).await;
    shape(&release, RELEASE);
    let build = text(&release, "build");
    let archive = client.get(&format!("/apps/foo/builds/{build}.tgz")).await;
    assert_eq!(archive.status, 200);
    if client.generation == V3 {
        assert_eq!(client.json("/apps/foo/resources").await, json!([]));
    }
    client.fine(&client.delete("/apps/foo").await);

    for name in ["foo", "bar"] {
        // The generation is what the exported app had.
        let generation = text(&app, "generation");
        let fields = [("generation", generation.as_str()), ("name", name)];
        shape(&client.post("/apps", &fields).await.json(), APP);
        wait(client, name).await;
        let build = imported(client, name, &archive.body).await;
        let env = text(&release, "env");
        let target = format!("/apps/{name}");
        let releases = format!("{target}/releases");
        let made = client.post(&releases, &[("env", &env)]).await.json();
        assert_eq!(made["build"], build["id"]);
        promoted(client, name, &text(&made, "id")).await;
        let parameters = [("parameters", "A=1")];
        client.fine(&client.put(&target, &parameters).await);
        let app = wait(client, name).await;
        assert_eq!(app["parameters"], json!({ "A": "1" }));
        let processes = client.json(&format!("{target}/processes")).await;
        assert_eq!(processes[0]["release"], made["id"]);
    }
    // Its first build only.
    let target = "/apps/bar/builds/import";
    let payload = Payload::Chunks(STREAM, &archive.body);
    let again = client.request("POST", (target, ""), &[], payload).await;
    let told = message(client, &again);
    assert!(told.contains("a build of app foo, not of bar"), "{told}");
}

/// §7.18: `api get`
pub(super) async fn api_get(rack: &Client, client: &Official) {
    rack.create("foo").await;
    let apps = client.get("/apps").await;
    assert!(list(&apps.json()).len() == 1, "{apps:?}");
    let unknown = client.get("/nothing").await;
    assert_eq!((unknown.status, unknown.body.len()), (404, 0));
}
