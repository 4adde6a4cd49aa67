//! Resources of the rack: made, linked, changed, removed, and whole after every failure.

use std::path::Path;

use rack_server::operations::rack_resource::{Provide, Remove};
use serde_json::{Value, json};

use super::crash::Program;
use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::sweep::{nothing_pends, points};
use super::world::{Client, World, until};

on_both_engines!(
    a_resource_is_made_linked_and_removed,
    options_change_or_stay_as_they_were,
    a_rack_goes_with_its_resources,
    types_are_listed,
);

fn form(fields: &[(&str, &str)]) -> String {
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

async fn create(rack: &Client, kind: &str, name: &str, options: &[(&str, &str)]) -> Value {
    let fields = form(&[
        ("kind", kind),
        ("name", name),
        ("parameters", &form(options)),
    ]);
    rack.post("/resources", &fields).await.json()
}

/// Waits until a resource is running.
async fn runs(rack: &Client, name: &str) -> Value {
    let target = format!("/resources/{name}");
    until(&format!("{name} to run"), async || {
        rack.get(&target).await.json()["status"] == "running"
    })
    .await;
    rack.get(&target).await.json()
}

async fn made(rack: &Client, kind: &str, name: &str, options: &[(&str, &str)]) -> Value {
    create(rack, kind, name, options).await;
    runs(rack, name).await
}

async fn system_log(rack: &Client) -> String {
    let options = [("Follow", "false"), ("Since", "1h0m0s")];
    rack.stream("/system/logs", &options).await.text()
}

/// Processes of the rack's resources, by the name shown.
async fn processes(rack: &Client, name: &str) -> usize {
    let list = rack.get("/system/processes?all=true").await.json();
    let list = list.as_array().expect("a list");
    list.iter()
        .filter(|process| process["name"] == name)
        .count()
}

/// What a command in the app's service prints.
async fn output(rack: &Client, command: &str) -> String {
    let (status, output) = rack.exec("myapp", "web", command, b"").await;
    let output = String::from_utf8(output).expect("text");
    assert_eq!(status, 0, "{output}");
    output.trim().to_owned()
}

async fn a_resource_is_made_linked_and_removed(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    assert_eq!(rack.get("/resources").await.json(), json!([]));
    let release = rack.deploy("myapp").await;
    let created = create(
        &rack,
        "redis",
        "main",
        &[("Database", "3"), ("InstanceType", "x")],
    )
    .await;
    let status = text(&created, "status");
    assert!(status == "creating" || status == "running", "{status}");
    let main = runs(&rack, "main").await;
    assert_eq!(
        main,
        json!({
            "name": "main", "parameters": { "Database": "3", "InstanceType": "x" }, "status": "running",
            "type": "redis", "url": "redis://main.resource.staging:6379/3",
        })
    );
    assert_eq!(processes(&rack, "main").await, 1);
    let database = made(
        &rack,
        "postgres",
        "store",
        &[("Password", "sentinel-password")],
    )
    .await;
    assert_eq!(
        database["url"],
        "postgres://postgres:sentinel-password@store.resource.staging:5432/app?sslmode=disable"
    );
    assert_eq!(database["parameters"], json!({ "Password": "****" }));
    // Lists hold no addresses, for those hold passwords.
    let listed = rack.get("/resources").await;
    assert!(
        !listed.text().contains("sentinel-password"),
        "{}",
        listed.text()
    );
    let names: Vec<_> = listed
        .json()
        .as_array()
        .expect("a list")
        .iter()
        .map(|resource| {
            (
                text(resource, "name"),
                text(resource, "type"),
                text(resource, "url"),
            )
        })
        .collect();
    assert_eq!(
        names,
        [("main", "redis", ""), ("store", "postgres", "")].map(|(name, kind, url)| (
            name.to_owned(),
            kind.to_owned(),
            url.to_owned()
        ))
    );

    let linked = rack.post("/resources/main/links", "app=myapp").await.json();
    assert_eq!(linked["apps"][0]["name"], "myapp");
    rack.post("/resources/main/links", "app=myapp")
        .await
        .fails(409, "resource main is already linked to app myapp");
    rack.delete("/resources/main")
        .await
        .fails(409, "resource is linked to myapp");
    rack.delete("/apps/myapp")
        .await
        .fails(409, "app is linked to main resource");
    assert_eq!(rack.get("/apps/myapp").await.json()["status"], "running");
    // What runs stays as it is until the next promote.
    assert_eq!(output(&rack, "echo url=$MAIN_URL").await, "url=");
    rack.promote("myapp", &release).await;
    assert_eq!(
        output(&rack, "echo url=$MAIN_URL").await,
        "url=redis://main.resource.staging:6379/3"
    );
    if engine.is_docker() {
        let reached = output(
            &rack,
            "printf 'PING\\r\\nQUIT\\r\\n' | nc $MAIN_HOST $MAIN_PORT",
        )
        .await;
        assert!(reached.contains("PONG"), "{reached}");
    }

    // A restarted server finds it running.
    let data = world.stop().await;
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    let after = runs(&rack, "main").await;
    assert_eq!(
        (&after["url"], &after["apps"][0]["name"]),
        (&main["url"], &json!("myapp"))
    );
    until("one process", async || processes(&rack, "main").await == 1).await;

    let unlinked = rack.delete("/resources/main/links/myapp").await.json();
    assert!(unlinked.get("apps").is_none(), "{unlinked}");
    rack.delete("/resources/main/links/myapp")
        .await
        .fails(409, "resource main is not linked to app myapp");
    rack.promote("myapp", &release).await;
    assert_eq!(output(&rack, "echo url=$MAIN_URL").await, "url=");
    for name in ["main", "store"] {
        rack.delete(&format!("/resources/{name}")).await.ok();
        rack.get(&format!("/resources/{name}"))
            .await
            .fails(404, &format!("no such resource: {name}"));
        assert_eq!(processes(&rack, name).await, 0);
    }
    let volumes = world.volumes().await;
    assert!(
        volumes.iter().all(|volume| !volume.contains("resource")),
        "{volumes:?}"
    );
    assert!(!system_log(&rack).await.contains("sentinel-password"));
    // The name is free again.
    made(&rack, "redis", "main", &[]).await;
    rack.delete("/resources/main").await.ok();
    rack.delete("/apps/myapp").await.ok();
}

async fn options_change_or_stay_as_they_were(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    made(&rack, "redis", "main", &[]).await;
    let update = async |options: &[(&str, &str)]| {
        rack.put("/resources/main", &form(&[("parameters", &form(options))]))
            .await
    };
    update(&[("Database", "5"), ("NumCacheClusters", "2")])
        .await
        .json();
    let changed = runs(&rack, "main").await;
    assert_eq!(changed["url"], "redis://main.resource.staging:6379/5");
    assert_eq!(
        changed["parameters"],
        json!({ "Database": "5", "NumCacheClusters": "2" })
    );
    // An empty value is none.
    update(&[("Database", "")]).await.json();
    assert_eq!(
        runs(&rack, "main").await["url"],
        "redis://main.resource.staging:6379/0"
    );
    update(&[("Nope", "1")]).await.fails(
        400,
        "unknown option Nope of resource type redis: see convox rack resources options redis",
    );
    if engine.is_docker() {
        // There is no such version: it is as it was, and the log says why.
        update(&[("EngineVersion", "0.0.0-nope")]).await.json();
        let after = runs(&rack, "main").await;
        assert_eq!(after["parameters"], json!({ "NumCacheClusters": "2" }));
        let log = system_log(&rack).await;
        assert!(
            log.contains("resource main could not be updated and is as it was"),
            "{log}"
        );
        assert_eq!(processes(&rack, "main").await, 1);
        create(&rack, "redis", "bad", &[("EngineVersion", "0.0.0-nope")]).await;
        until("the failed one to be gone", async || {
            rack.get("/resources/bad").await.status == 404
        })
        .await;
        let log = system_log(&rack).await;
        assert!(log.contains("resource bad could not be created"), "{log}");
    }
}

async fn a_rack_goes_with_its_resources(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let other = world.rack("other").await;
    made(&rack, "redis", "main", &[]).await;
    made(&other, "redis", "main", &[]).await;
    assert_eq!(
        other.get("/resources/main").await.json()["url"],
        "redis://main.resource.other:6379/0"
    );
    rack.delete("/resources/main").await.ok();
    assert_eq!(processes(&other, "main").await, 1);
    made(&rack, "redis", "main", &[]).await;
    world.server().delete("/racks/staging").await.ok();
    let volumes = world.volumes().await;
    assert_eq!(volumes.len(), 1, "{volumes:?}");
    assert_eq!(processes(&other, "main").await, 1);
}

async fn types_are_listed(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let types = rack.send("OPTIONS", "/resources?", &[], b"").await.json();
    assert_eq!(text(&types[6], "name"), "redis");
}

#[tokio::test]
async fn types_have_options_and_everything_else_is_refused() {
    let (_world, rack) = Engine::simulated().with_rack().await;
    let types = rack.send("OPTIONS", "/resources", &[], b"").await.json();
    let names: Vec<_> = types
        .as_array()
        .expect("a list")
        .iter()
        .map(|kind| text(kind, "name"))
        .collect();
    let all = [
        "mariadb",
        "memcached",
        "mysql",
        "postgis",
        "postgres",
        "rabbitmq",
        "redis",
        "valkey",
        "webhook",
    ];
    assert_eq!(names, all);
    assert_eq!(
        types[4]["parameters"][0],
        json!({ "default": "app", "description": "Name of the database (cannot be changed later)", "name": "Database" })
    );
    assert_eq!(types[4]["parameters"][1]["default"], "15");
    for kind in types.as_array().expect("a list") {
        for option in kind["parameters"].as_array().expect("a list") {
            assert!(!text(option, "description").is_empty() && !text(option, "name").is_empty());
        }
    }
    rack.create("myapp").await;
    create(&rack, "webhook", "hook", &[("Url", "http://127.0.0.1:9/")]).await;
    made(&rack, "postgres", "store", &[]).await;
    let options = [("Database", "orders"), ("Password", "long-enough")];
    let queue = made(&rack, "rabbitmq", "queue", &options).await;
    assert_eq!(
        queue["url"],
        "amqp://app:long-enough@queue.resource.staging:5672/orders"
    );
    for (form, status, said) in [
        ("", 400, "kind is required"),
        ("kind=oracle", 400, "invalid resource type: oracle"),
        ("kind=webhook", 400, "Url is required"),
        ("kind=webhook&parameters=Url%3D", 400, "Url is required"),
        (
            "kind=webhook&parameters=Url%3Dftp%3A%2F%2Fx",
            400,
            "invalid url: only http and https can be used",
        ),
        (
            "kind=webhook&name=hook&parameters=Url%3Dhttp%3A%2F%2Fx",
            409,
            "resource named hook already exists",
        ),
        (
            "kind=postgres&name=store",
            409,
            "resource named store already exists",
        ),
        (
            "kind=postgres&name=A_b",
            400,
            "invalid resource name: use at most 40 lowercase letters, digits and hyphens, a letter first",
        ),
        (
            "kind=redis&parameters=Database%3D16",
            400,
            "invalid Database: use a number from 0 to 15",
        ),
        (
            "kind=postgres&parameters=Nope%3D1",
            400,
            "unknown option Nope of resource type postgres: see convox rack resources options postgres",
        ),
    ] {
        rack.post("/resources", form).await.fails(status, said);
    }
    let missing = "no such resource: nope";
    rack.get("/resources/nope").await.fails(404, missing);
    rack.put("/resources/nope", "").await.fails(404, missing);
    rack.delete("/resources/nope").await.fails(404, missing);
    rack.post("/resources/nope/links", "app=myapp")
        .await
        .fails(404, missing);
    rack.delete("/resources/nope/links/myapp")
        .await
        .fails(404, missing);
    rack.post("/resources/store/links", "app=nope")
        .await
        .fails(404, "app not found: nope");
    rack.post("/resources/store/links", "")
        .await
        .fails(400, "app is required");
    rack.delete("/resources/store/links/nope")
        .await
        .fails(404, "app not found: nope");
    rack.delete("/resources/store/links/myapp")
        .await
        .fails(409, "resource store is not linked to app myapp");
    rack.post("/resources/hook/links", "app=myapp")
        .await
        .fails(400, "resource type webhook does not have a link strategy");
    rack.put(
        "/resources/store",
        &form(&[("parameters", "Database=other")]),
    )
    .await
    .fails(
        400,
        "Database of resource store cannot be changed: create another resource",
    );
    rack.put("/resources/hook", &form(&[("parameters", "Url=")]))
        .await
        .fails(400, "Url is required");
    // As clients of 2017 say it; and a name is found where none is given.
    let old = rack
        .post(
            "/resources",
            "type=webhook&name=old&url=http%3A%2F%2F127.0.0.1%3A9%2Fx",
        )
        .await
        .json();
    assert_eq!(old["url"], "http://127.0.0.1:9/x");
    let unnamed = rack
        .post(
            "/resources",
            "kind=webhook&parameters=Url%3Dhttp%253A%252F%252F127.0.0.1%253A9%252F",
        )
        .await
        .json();
    let name = text(&unnamed, "name");
    assert!(
        name.strip_prefix("webhook-")
            .is_some_and(|digits| digits.len() == 6),
        "{name}"
    );
    let unnamed = rack.post("/resources", "kind=redis").await.json();
    let name = text(&unnamed, "name");
    assert!(
        name.strip_prefix("redis-")
            .is_some_and(|digits| digits.len() == 4),
        "{name}"
    );
    runs(&rack, &name).await;
}

/// A data directory whose rack has a running resource `main`.
async fn with_resource() -> (std::sync::Arc<tempfile::TempDir>, Client) {
    let (world, rack) = World::with_rack().await;
    made(&rack, "redis", "main", &[("Database", "1")]).await;
    (world.stop().await, rack)
}

fn copy(from: &Path) -> std::sync::Arc<tempfile::TempDir> {
    let data = tempfile::tempdir().expect("a directory");
    super::sweep::copy(from, data.path());
    std::sync::Arc::new(data)
}

async fn open(
    data: std::sync::Arc<tempfile::TempDir>,
    rack: &Client,
    failpoints: &str,
) -> (World, Client) {
    let world = World::open(data, failpoints).await;
    let rack = Client {
        address: world.address,
        ..rack.clone()
    };
    (world, rack)
}

/// Nothing is left of a resource, and its name is free.
async fn is_gone(world: &World, rack: &Client, name: &str, what: &str) {
    until(&format!("{what}: {name} to be gone"), async || {
        rack.get(&format!("/resources/{name}")).await.status == 404
    })
    .await;
    nothing_pends(world.data.path(), what).await;
    assert_eq!(processes(rack, name).await, 0, "{what}");
    let state = world.engine_state();
    let volumes = state["volumes"].as_object().expect("volumes");
    let volume = format!("-resource-{name}");
    assert!(
        volumes.keys().all(|key| !key.ends_with(&volume)),
        "{what}: {state}"
    );
    made(rack, "redis", name, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_fails_anywhere_leaves_nothing() {
    let (data, rack) = with_resource().await;
    for (point, _) in points::<Provide>("record") {
        let (world, rack) = open(copy(data.path()), &rack, &format!("{point}=fail")).await;
        create(&rack, "redis", "fresh", &[]).await;
        until(&format!("{point}: the failure to be said"), async || {
            let said = format!("resource fresh could not be created: failpoint {point}");
            system_log(&rack).await.contains(&said)
        })
        .await;
        let data = world.stop().await;
        let (world, rack) = open(data, &rack, "").await;
        is_gone(&world, &rack, "fresh", &point).await;
        assert_eq!(
            runs(&rack, "main").await["parameters"]["Database"],
            "1",
            "{point}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_update_that_fails_anywhere_changes_nothing() {
    let (data, rack) = with_resource().await;
    for (point, _) in points::<Provide>("record") {
        let (world, rack) = open(copy(data.path()), &rack, &format!("{point}=fail")).await;
        let fields = form(&[("parameters", "Database=2")]);
        rack.put("/resources/main", &fields).await.json();
        until(&format!("{point}: the failure to be said"), async || {
            let said =
                format!("resource main could not be updated and is as it was: failpoint {point}");
            system_log(&rack).await.contains(&said)
        })
        .await;
        assert_eq!(
            runs(&rack, "main").await["parameters"]["Database"],
            "1",
            "{point}"
        );
        let data = world.stop().await;
        let (world, rack) = open(data, &rack, "").await;
        rack.put("/resources/main", &fields).await.json();
        until(&format!("{point}: the next one succeeds"), async || {
            runs(&rack, "main").await["parameters"]["Database"] == "2"
        })
        .await;
        nothing_pends(world.data.path(), &point).await;
        until("one process", async || processes(&rack, "main").await == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delete_of_a_resource_that_fails_anywhere_can_be_asked_for_again() {
    let (data, rack) = with_resource().await;
    for (point, past) in points::<Remove>("record") {
        let (world, rack) = open(copy(data.path()), &rack, &format!("{point}=fail")).await;
        rack.delete("/resources/main")
            .await
            .fails(500, &format!("failpoint {point}"));
        if !past {
            assert_eq!(
                rack.get("/resources/main").await.json()["status"],
                "deleting"
            );
            rack.put("/resources/main", "parameters=Database%3D2")
                .await
                .fails(
                    409,
                    "resource main is deleting: try again once it is running",
                );
        }
        let data = world.stop().await;
        let (world, rack) = open(data, &rack, "").await;
        if !past {
            rack.delete("/resources/main").await.ok();
        }
        is_gone(&world, &rack, "main", &point).await;
    }
}

/// Lets the program die at a point, and opens what it has left.
async fn crash(
    data: &Path,
    rack: &Client,
    point: &str,
    request: (&str, &str, &str),
) -> (World, Client) {
    let data = copy(data);
    let program = Program::start(data.path(), &format!("{point}=abort")).await;
    let client = Client {
        address: program.address,
        ..rack.clone()
    };
    runs(&client, "main").await;
    let (method, target, body) = request;
    super::crash::send(&client, method, target, body.as_bytes()).await;
    program.died(point).await;
    open(data, rack, "").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_it_makes_a_resource_finishes_it() {
    let (data, rack) = with_resource().await;
    for (point, _) in points::<Provide>("record") {
        let request = ("POST", "/resources?kind=redis&name=fresh", "");
        let (world, rack) = crash(data.path(), &rack, &point, request).await;
        runs(&rack, "fresh").await;
        nothing_pends(world.data.path(), &point).await;
        until("one process each", async || {
            processes(&rack, "fresh").await == 1 && processes(&rack, "main").await == 1
        })
        .await;
        rack.delete("/resources/fresh").await.ok();
        is_gone(&world, &rack, "fresh", &point).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_while_it_removes_a_resource_finishes_it() {
    let (data, rack) = with_resource().await;
    for (point, _) in points::<Remove>("record") {
        let request = ("DELETE", "/resources/main", "");
        let (world, rack) = crash(data.path(), &rack, &point, request).await;
        is_gone(&world, &rack, "main", &point).await;
    }
}

#[tokio::test]
async fn links_win_over_defaults_and_not_over_the_release() {
    let (_world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    made(&rack, "redis", "greeting", &[]).await;
    rack.post("/resources/greeting/links", "app=myapp")
        .await
        .json();
    let manifest = "services:\n  web:\n    build: .\n    environment: [GREETING_URL=default]\n";
    let release = rack
        .release("myapp", &[("convox.yml", manifest), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let url = output(&rack, "echo $GREETING_URL").await;
    assert!(url.starts_with("redis://"), "{url}");
    assert_eq!(
        output(&rack, "echo $GREETING_HOST").await,
        "greeting.resource.staging"
    );
    let release = rack
        .post("/apps/myapp/releases", "env=GREETING_URL%3Down")
        .await
        .json();
    rack.promote("myapp", &text(&release, "id")).await;
    assert_eq!(output(&rack, "echo $GREETING_URL").await, "own");
}
