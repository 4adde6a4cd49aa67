//! Nothing secret appears where others read: logs, errors, labels.

use rack_server::api::{self, Answer};

use super::crash::Program;
use super::flow::{DOCKERFILE, PLAIN, text};
use super::roles::fill;
use super::world::{Client, SERVER_PASSWORD, World, files_below, until};

const VALUE: &str = "sentinel-of-an-environment-value";
const REGISTRY_PASSWORD: &str = "sentinel-of-a-registry-password";
const HOOK_PASSWORD: &str = "sentinel-of-a-webhook-password";
const HOOK_PATH: &str = "sentinel-of-a-webhook-path";
const MANIFEST: &str = "environment:
  - SECRET_KEY
services:
  web:
    build: .
    port: 3000
    drain: 1
    environment:
      - SECRET_KEY
    resources: [database]
    termination:
      grace: 1
resources:
  database:
    type: postgres
";

#[tokio::test(flavor = "multi_thread")]
async fn nothing_secret_is_told() {
    let data = tempfile::tempdir().expect("a directory");
    let program = Program::start(data.path(), "").await;
    let mut told: Vec<(String, Vec<u8>)> = Vec::new();

    let made = Client {
        address: program.address,
        headers: Vec::new(),
    };
    let basic = |password: &str| {
        let encoded = base64::Engine::encode(
            &base64::prelude::BASE64_STANDARD,
            format!("convox:{password}"),
        );
        made.with("Authorization", &format!("Basic {encoded}"))
    };
    let created = basic(SERVER_PASSWORD)
        .post("/racks", "name=staging")
        .await
        .json();
    let password = text(&created, "password");
    let rack = basic(&password);
    rack.create("myapp").await;
    rack.set_env("myapp", &format!("SECRET_KEY={VALUE}")).await;
    let files = [("convox.yml", MANIFEST), PLAIN[1]];
    let release = rack.release("myapp", &files).await;
    rack.promote("myapp", &release).await;
    let database = text(
        &rack.get("/apps/myapp/resources/database").await.json(),
        "url",
    );
    let database_password = database
        .split('@')
        .next()
        .and_then(|start| start.rsplit(':').next())
        .expect("a password")
        .to_owned();
    assert!(database_password.len() >= 10, "{database}");

    let token = {
        let form = "role=read&durationInHour=1";
        text(&rack.post("/system/jwt/token", form).await.json(), "token")
    };
    let key: String = rusqlite::Connection::open(data.path().join("racks/staging/rack.db"))
        .expect("a database")
        .query_row(
            "SELECT value FROM settings WHERE name = 'token-key'",
            [],
            |row| row.get(0),
        )
        .expect("a key");
    let forged = format!("{token}x");
    for presented in [&token, &forged] {
        let credentials = base64::Engine::encode(
            &base64::prelude::BASE64_STANDARD,
            format!("jwt:{presented}"),
        );
        let client = made.with("Authorization", &format!("Basic {credentials}"));
        told.push(("token".into(), client.post("/apps", "name=x").await.body));
    }

    told.extend(logins_and_hooks(&rack).await);

    // A run that works, failing ones, a failing build, a failing promote, refused requests.
    let headers = [
        ("Command", "sleep 60"),
        ("Environment", "MORE=sentinel-of-an-environment-value"),
    ];
    let run = rack
        .send("POST", "/apps/myapp/services/web/processes", &headers, b"")
        .await;
    told.push(("run".into(), run.body));
    rack.exec("myapp", "web", "test -n \"$SECRET_KEY\"; exit 4", b"")
        .await;
    let dockerfile = "FROM busybox:1.36\nARG SECRET_KEY\nRUN exit 3\n";
    let (build, log) = rack
        .build(
            "myapp",
            &[("convox.yml", MANIFEST), ("Dockerfile", dockerfile)],
        )
        .await;
    assert_eq!(build["status"], "failed", "{log}");
    told.push(("build".into(), build.to_string().into_bytes()));
    told.push(("build log".into(), log.into_bytes()));
    let sick = [
        ("convox.yml", MANIFEST),
        ("Dockerfile", DOCKERFILE),
        (".twinrack-faults", "crash-loop\n"),
    ];
    let sick = rack.release("myapp", &sick).await;
    rack.promote("myapp", &sick).await;
    let gone = text(&rack.set_env("myapp", "OTHER=1").await, "id");
    told.push((
        "missing".into(),
        rack.post(&format!("/apps/myapp/releases/{gone}/promote"), "")
            .await
            .body,
    ));
    told.push((
        "wrong".into(),
        basic("sentinel-of-a-wrong-password")
            .get("/apps")
            .await
            .body,
    ));
    told.push((
        "import".into(),
        rack.upload("/apps/myapp/builds/import", VALUE.as_bytes())
            .await
            .body,
    ));
    let process = &rack.get("/apps/myapp/processes").await.json()[0]["id"];
    let process = process.as_str().expect("a process").to_owned();
    let mut swept = 0;
    for route in api::table() {
        let plain = route.method == "GET" && !matches!(route.answer, Answer::Socket);
        if !plain || route.secrets {
            continue;
        }
        let target = fill(route.path, |before, name| {
            match (before.rsplit('/').nth(1).unwrap_or_default(), name) {
                (_, "app") => "myapp",
                (_, "service") => "web",
                (_, "pid") => &process,
                (_, "organization") => "personal",
                ("builds", "id") => build["id"].as_str().expect("an id"),
                ("resources", "name") => "database",
                _ => "staging",
            }
            .to_owned()
        });
        let answer = rack.get(&format!("{target}?all=true")).await;
        swept += usize::from(answer.status == 200);
        told.push((target, answer.body));
    }
    assert!(swept >= 10, "{swept} answers are looked at");
    told.push(("app log".into(), rack.log("myapp").await.into_bytes()));
    rack.delete("/apps/myapp").await.ok();
    told.push((
        "system log".into(),
        rack.stream("/system/logs", &[("Follow", "false")])
            .await
            .bytes(),
    ));
    let stderr = program.log.clone();
    program.kill().await;
    told.push(("stderr".into(), std::fs::read(&stderr).expect("a log")));
    for file in files_below(data.path()) {
        // Environments are kept in the database, readable by their owner only.
        if !file.contains("rack.db") {
            told.push((
                file.clone(),
                std::fs::read(data.path().join(file)).expect("a file"),
            ));
        }
    }
    assert!(
        told.iter().any(
            |(what, text)| what == "stderr" && text.windows(9).any(|part| part == b"listening")
        )
    );
    assert!(
        told.iter().any(|(what, text)| what == "system log"
            && String::from_utf8_lossy(text).contains("delivered to http://")),
        "the webhook was spoken of"
    );
    for secret in [
        VALUE,
        SERVER_PASSWORD,
        REGISTRY_PASSWORD,
        HOOK_PASSWORD,
        HOOK_PATH,
        &password,
        &database_password,
        &token,
        &key,
        "sentinel-of-a-wrong-password",
    ] {
        for (what, text) in &told {
            let found = text
                .windows(secret.len())
                .position(|part| part == secret.as_bytes());
            assert_eq!(
                found,
                None,
                "{what} tells {secret}: {}",
                String::from_utf8_lossy(text)
            );
        }
    }
}

/// Registries and webhooks that are kept, and ones that are refused; what is said of them.
async fn logins_and_hooks(rack: &Client) -> Vec<(String, Vec<u8>)> {
    let form = |fields: &[(&str, &str)]| {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(fields)
            .finish()
    };
    let mut told = Vec::new();
    let login = |server| {
        let fields = [
            ("server", server),
            ("username", "deploy"),
            ("password", REGISTRY_PASSWORD),
        ];
        form(&fields)
    };
    let server = "registry.example.com";
    rack.post("/registries", &login(server)).await.json();
    let url = format!("https://deploy:{REGISTRY_PASSWORD}@registry.example.com");
    for refused in ["registry.invalid", &url, ""] {
        let answer = rack.post("/registries", &login(refused)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        told.push((format!("login to {refused:?}"), answer.body));
    }
    let hook = |scheme: &str, port: &str| {
        let url = format!("{scheme}://hook:{HOOK_PASSWORD}@127.0.0.1:{port}/{HOOK_PATH}?a=b");
        form(&[
            ("kind", "webhook"),
            ("name", "hook"),
            ("parameters", &form(&[("Url", &url)])),
        ])
    };
    for (scheme, port) in [("ftp", "9"), ("http", "none")] {
        let answer = rack.post("/resources", &hook(scheme, port)).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        told.push((format!("webhook {scheme} {port}"), answer.body));
    }
    rack.post("/resources", &hook("http", "9")).await.json();
    let again = rack.post("/resources", &hook("http", "9")).await;
    told.push(("the same webhook".into(), again.body));
    // Its address is for who asks for it by name.
    told.push(("resources".into(), rack.get("/resources").await.body));
    rack.post("/events", "action=test:secrets").await.ok();
    until("the webhook to be spoken of", async || {
        let log = rack.stream("/system/logs", &[("Follow", "false")]).await;
        log.text().contains("delivered to http://")
    })
    .await;
    told
}

#[cfg(unix)]
#[tokio::test]
async fn state_is_readable_by_its_owner_only() {
    use std::os::unix::fs::PermissionsExt as _;

    let (world, rack) = World::with_rack().await;
    rack.create("myapp").await;
    until("the database to be there", async || {
        world.rack_directory("staging").join("rack.db").exists()
    })
    .await;
    for directory in [
        world.data.path().join("racks"),
        world.rack_directory("staging"),
    ] {
        let mode = std::fs::metadata(&directory)
            .expect("metadata")
            .permissions()
            .mode();
        assert_eq!(mode & 0o077, 0, "{}: {mode:o}", directory.display());
    }
}
