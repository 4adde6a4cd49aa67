//! Who may do what, and how a request finds its rack.

use super::world::{SERVER_PASSWORD, World, files_below, tags};

const REFUSED: (u16, &str) = (401, "invalid authentication");

#[tokio::test]
async fn nothing_is_given_without_a_password() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    for (method, target) in [
        ("GET", "/auth"),
        ("GET", "/racks"),
        ("POST", "/racks"),
        ("DELETE", "/racks/staging"),
        ("GET", "/system"),
        ("GET", "/apps"),
        ("POST", "/apps"),
        ("DELETE", "/apps/myapp"),
        ("GET", "/apps/myapp/objects/x"),
        ("POST", "/apps/myapp/builds/import"),
    ] {
        for client in [
            world.stranger(),
            world.with_password("wrong"),
            world.with_password(""),
        ] {
            let answer = client.send(method, target, &[], b"").await;
            answer.fails(REFUSED.0, REFUSED.1);
            assert_eq!(
                answer.header("www-authenticate"),
                Some("Basic realm=\"convox\""),
                "{method} {target}"
            );
        }
    }
    assert_eq!(
        rack.get("/apps/myapp").await.status,
        200,
        "nothing has happened"
    );
    let check = world.stranger().get("/check").await;
    assert_eq!((check.status, check.text().as_str()), (200, "ok"));
}

#[tokio::test]
async fn schemes_other_than_basic_are_refused() {
    let (world, _) = World::with_rack().await;
    for value in [
        format!("Bearer {SERVER_PASSWORD}"),
        "Basic".to_owned(),
        "Basic !!!".to_owned(),
        "Basic bm9jb2xvbg==".to_owned(),
        String::new(),
    ] {
        let answer = world
            .stranger()
            .with("Authorization", &value)
            .get("/auth")
            .await;
        answer.fails(REFUSED.0, REFUSED.1);
    }
}

#[tokio::test]
async fn sockets_are_upgraded_and_then_refused_in_the_stream() {
    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    for target in [
        "/apps/myapp/logs",
        "/system/logs",
        "/apps/myapp/builds/BAAAAAAAAAA/logs",
    ] {
        let stream = world
            .stranger()
            .stream(target, &[("Follow", "false")])
            .await;
        assert_eq!(
            (stream.text().as_str(), stream.ended),
            ("ERROR: invalid authentication\n", true),
            "{target}"
        );
    }
}

#[tokio::test]
async fn passwords_arrive_raw_or_percent_encoded() {
    use std::fmt::Write as _;

    let data = std::sync::Arc::new(tempfile::tempdir().expect("a directory"));
    let world = World::open(data, "").await;
    let rack = world.rack("staging").await;
    let ours = rack.headers[0].1.strip_prefix("Basic ").expect("basic");
    let ours = base64::Engine::decode(&base64::prelude::BASE64_STANDARD, ours).expect("base64");
    let ours = String::from_utf8(ours).expect("text");
    let (_, password) = ours.split_once(':').expect("a colon");
    let mut encoded = String::new();
    for byte in password.bytes() {
        write!(encoded, "%{byte:02X}").expect("memory");
    }
    world.with_password(&encoded).get("/auth").await.ok();
    world.with_password(password).get("/auth").await.ok();
    world
        .with_password(&format!("{encoded}%00"))
        .get("/auth")
        .await
        .fails(REFUSED.0, REFUSED.1);
}

#[tokio::test]
async fn the_password_alone_finds_the_rack() {
    let world = World::empty().await;
    world.server().get("/auth").await.ok();
    let choose = "choose a rack: send its name in the Rack header or use its own password";
    world.server().get("/system").await.fails(400, choose);
    let staging = world.rack("staging").await;
    assert_eq!(
        world.server().get("/system").await.json()["name"],
        "staging",
        "the only one there is"
    );
    let production = world.rack("production").await;
    world.server().get("/system").await.fails(400, choose);
    assert_eq!(staging.get("/system").await.json()["name"], "staging");
    assert_eq!(production.get("/system").await.json()["name"], "production");
}

#[tokio::test]
async fn headers_and_hosts_name_the_rack() {
    let world = World::empty().await;
    let staging = world.rack("staging").await;
    world.rack("production").await;
    for name in ["production", "personal/production", " production "] {
        let answer = world.server().with("Rack", name).get("/system?").await;
        assert_eq!(answer.json()["name"], "production", "{name:?}");
        staging
            .with("Rack", name)
            .get("/system")
            .await
            .fails(REFUSED.0, REFUSED.1);
    }
    let port = world.address.port();
    for host in [
        format!("rack.production.localhost:{port}"),
        "RACK.production.LOCALHOST".to_owned(),
        // The domain that racks show of themselves.
        format!("production.localhost:{port}"),
    ] {
        let answer = world.server().with("Host", &host).get("/system").await;
        assert_eq!(answer.json()["name"], "production", "{host}");
        staging
            .with("Host", &host)
            .get("/system")
            .await
            .fails(REFUSED.0, REFUSED.1);
    }
    let both = world
        .server()
        .with("Host", "rack.production.localhost")
        .with("Rack", "staging");
    assert_eq!(
        both.get("/system").await.json()["name"],
        "staging",
        "the header comes first"
    );
    world
        .server()
        .with("Rack", "nowhere")
        .get("/system")
        .await
        .fails(404, "rack not found: nowhere");
    world
        .server()
        .with("Host", "rack.nowhere.localhost")
        .get("/system")
        .await
        .fails(404, "rack not found: nowhere");
    staging
        .with("Rack", "nowhere")
        .get("/system")
        .await
        .fails(REFUSED.0, REFUSED.1);
    assert_eq!(
        staging.with("Rack", "").get("/system").await.json()["name"],
        "staging",
        "an empty header names none"
    );
}

#[tokio::test]
async fn the_console_lists_what_the_caller_may_use() {
    let world = World::empty().await;
    let staging = world.rack("staging").await;
    world.rack("production").await;
    let names = |answer: &serde_json::Value| {
        let racks = answer.as_array().expect("a list").iter();
        racks
            .map(|rack| {
                format!(
                    "{}/{}",
                    rack["organization"]["name"].as_str().expect("text"),
                    rack["name"].as_str().expect("text")
                )
            })
            .collect::<Vec<_>>()
    };
    let all = world.server().get("/racks").await.json();
    assert_eq!(names(&all), ["personal/production", "personal/staging"]);
    assert_eq!(all[0]["status"], "running");
    assert_eq!(
        names(&staging.get("/racks").await.json()),
        ["personal/staging"]
    );
    // Version 3 asks for one before it reads parameters; without any in the answer,
    // and without a state, it asks the rack.
    let one = staging.get("/racks/personal/staging").await.json();
    assert_eq!(one["name"], "staging");
    assert_eq!(one["provider"], "local");
    assert!(one["parameters"].is_null() && one["state"].is_null());
    for hidden in ["personal/production", "other/staging"] {
        staging
            .get(&format!("/racks/{hidden}"))
            .await
            .fails(404, &format!("rack not found: {hidden}"));
    }
    let other = world.server().get("/racks/personal/production").await;
    assert_eq!(other.json()["name"], "production");
}

#[tokio::test]
async fn a_rack_with_running_apps_goes_at_once() {
    let world = World::empty().await;
    let staging = world.rack("staging").await;
    let production = world.rack("production").await;
    staging.deploy("myapp").await;
    let release = production.deploy("myapp").await;
    let began = std::time::Instant::now();
    world.server().delete("/racks/staging").await.ok();
    assert!(
        began.elapsed().as_secs() < 3,
        "nothing is waited for in vain"
    );
    assert_eq!(
        tags(world.data.path(), "staging", "myapp"),
        Vec::<String>::new()
    );
    let racks = files_below(&world.data.path().join("racks"));
    assert!(
        racks.iter().all(|path| path.starts_with("production/")),
        "{racks:?}"
    );
    let networks = world.engine_state()["networks"].clone();
    let networks = networks.as_object().expect("networks");
    assert!(
        networks
            .keys()
            .all(|name| name.starts_with("twinrack-production-")),
        "{networks:?}"
    );
    assert_eq!(
        production.get("/apps/myapp").await.json()["release"],
        serde_json::json!(release)
    );
    assert_eq!(
        production.get("/apps/myapp/processes").await.json()[0]["status"],
        "running"
    );
}

#[tokio::test]
async fn only_the_server_password_makes_and_removes_racks() {
    let world = World::empty().await;
    let staging = world.rack("staging").await;
    let refusal = "the server password is needed to make and remove racks";
    staging
        .post("/racks", "name=mine")
        .await
        .fails(403, refusal);
    staging.delete("/racks/staging").await.fails(403, refusal);
    staging
        .delete("/racks/personal/staging")
        .await
        .fails(403, refusal);

    let server = world.server();
    server
        .post("/racks", "")
        .await
        .fails(400, "name is required");
    server
        .post("/racks", "name=staging")
        .await
        .fails(409, "rack already exists: staging");
    server
        .post("/racks", "name=pr&engine=cloud")
        .await
        .fails(400, "unknown engine cloud: choose docker or simulated");
    for name in [
        "Staging",
        "a.b",
        "..",
        "-a",
        "a%2Fb",
        "abcdefghijklmnopqrstuvwxyz0",
    ] {
        let answer = server.post("/racks", &format!("name={name}")).await;
        assert_eq!(answer.status, 400, "{name}");
        assert!(answer.text().starts_with("rack name "), "{}", answer.text());
    }
    server
        .delete("/racks/nowhere")
        .await
        .fails(404, "rack not found: nowhere");

    staging.create("myapp").await;
    let production = world.rack("production").await;
    production.create("myapp").await;
    server.delete("/racks/personal/staging").await.ok();
    staging.get("/apps").await.fails(REFUSED.0, REFUSED.1);
    assert!(!world.rack_directory("staging").exists());
    assert_eq!(
        production.get("/apps").await.json()[0]["name"],
        "myapp",
        "the other rack is untouched"
    );
    let again = world.rack("staging").await;
    assert_eq!(
        again.get("/apps").await.json(),
        serde_json::json!([]),
        "a new rack begins empty"
    );
}
