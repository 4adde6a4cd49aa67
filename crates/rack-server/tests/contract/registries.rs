//! Logins to image registries: checked, kept, used by builds and pulls.
//!
//! On Docker against a real registry, which each test starts on a loopback port and
//! ends; on the simulated engine against a declared one.

use std::fmt::Write as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use futures::FutureExt as _;
use serde_json::json;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::engines::{Engine, on_both_engines};
use super::world::{Client, World, until, within};

on_both_engines!(a_login_is_checked_kept_and_used);

const USER: &str = "deploy";
const PASSWORD: &str = "registry-password-???>>>~~~";
/// bcrypt of the password.
const HTPASSWD: &str = "deploy:$2b$05$abcdefghijklmnopqrstuuMebrNgceHBcw5k7i6yX0GcNLXH6EK.K\n";

/// A registry that wants a login, with an image at `image`.
struct Private {
    host: String,
    image: String,
}

fn form(server: &str, username: &str, password: &str) -> String {
    form_urlencoded::Serializer::new(String::new())
        .append_pair("server", server)
        .append_pair("username", username)
        .append_pair("password", password)
        .finish()
}

async fn every_line_of_the_rack(rack: &Client) -> String {
    let options = [("Follow", "false"), ("Since", "1h0m0s")];
    rack.stream("/system/logs", &options).await.text()
}

/// What a login is good for, from its refusal to its end.
async fn a_login_is_good_for_its_registry(rack: &Client, private: &Private) {
    let Private { host, image } = private;
    assert_eq!(rack.get("/registries").await.json(), json!([]));
    rack.create("myapp").await;
    let pulled = format!("services:\n  web:\n    image: {image}\n");
    let dockerfile = format!("FROM {image}\nRUN echo built on it\n");
    let built = [
        ("convox.yml", "services:\n  web:\n    build: .\n"),
        ("Dockerfile", dockerfile.as_str()),
    ];

    // Without a login neither a pull nor a build gets the image.
    for files in [&[("convox.yml", pulled.as_str())][..], &built[..]] {
        let (build, log) = rack.build("myapp", files).await;
        assert_eq!(build["status"], "failed", "{log}");
        let reason = build["reason"].as_str().expect("a reason");
        assert!(
            reason.ends_with("; if the image is private, add a login with: convox registries add"),
            "{reason}"
        );
    }

    // A wrong login is not kept.
    let refused = rack
        .post("/registries", &form(host, USER, "wrong-password"))
        .await;
    refused.fails(
        400,
        &format!("unable to authenticate: {host} does not take this username and password"),
    );
    assert_eq!(rack.get("/registries").await.json(), json!([]));

    // A right one is, under the name it was given by.
    let url = format!("https://{host}/v1/");
    let mine = json!({ "server": url, "username": USER, "password": PASSWORD });
    let added = rack.post("/registries", &form(&url, USER, PASSWORD)).await;
    assert_eq!(added.json(), mine);
    assert_eq!(rack.get("/registries").await.json(), json!([mine]));
    let mut told = String::new();
    for files in [&[("convox.yml", pulled.as_str())][..], &built[..]] {
        let (build, log) = rack.build("myapp", files).await;
        assert_eq!(build["status"], "complete", "{log}");
        write!(told, "{log}\n{build}\n").expect("memory");
    }
    told.push_str(&every_line_of_the_rack(rack).await);
    assert!(!told.contains(PASSWORD), "{told}");

    // The same registry by another name has the login of that name only.
    rack.post("/registries", &form(host, USER, PASSWORD))
        .await
        .json();
    let listed = rack.get("/registries").await.json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    assert_eq!(listed[0]["server"], json!(host));

    // Removed, slashes and all, as modern clients and those of 2017 say it.
    rack.delete(&format!("/registries/{url}?")).await.ok();
    rack.delete(&format!("/registries/{host}?"))
        .await
        .fails(404, &format!("no such registry: {host}"));
    rack.post("/registries", &form(host, USER, PASSWORD))
        .await
        .json();
    rack.delete(&format!("/registries?server={host}"))
        .await
        .ok();
    assert_eq!(rack.get("/registries").await.json(), json!([]));
}

/// A registry that only the simulated engine knows.
fn declared(world: &World) -> Private {
    let host = "registry.example.com:5000";
    let declared = json!({ host: { "username": USER, "password": PASSWORD } });
    let file = world.data.path().join("simulated").join("registries.json");
    std::fs::write(file, declared.to_string()).expect("written");
    Private {
        host: host.into(),
        image: format!("{host}/team/base:1"),
    }
}

#[tokio::test]
async fn what_is_no_login_is_refused() {
    let (world, rack) = World::with_rack().await;
    for (given, text) in [
        ("", "server must not be blank"),
        ("server=box.example", "username must not be blank"),
        (
            "server=box.example&username=u",
            "password must not be blank",
        ),
        ("server=+&username=u&password=p", "server must not be blank"),
        (
            "server=https://u:p@box.example&username=u&password=p",
            "server names no registry: give a host such as registry.example.com or 127.0.0.1:5000",
        ),
    ] {
        rack.post("/registries", given).await.fails(400, text);
    }
    rack.delete("/registries?")
        .await
        .fails(400, "server is required");
    rack.delete("/registries/https://index.docker.io/v1/")
        .await
        .fails(404, "no such registry: https://index.docker.io/v1/");
    // Logins stay when the server goes, and are of one rack.
    let url = "https://index.docker.io/v1/";
    rack.post("/registries", &form(url, "someone", "p+w"))
        .await
        .json();
    rack.post("/registries", &form("box.example", "u", "p"))
        .await
        .json();
    let listed = rack.get("/registries").await.json();
    let servers = [&listed[0]["server"], &listed[1]["server"]];
    assert_eq!(servers, [&json!("box.example"), &json!(url)]);
    let other = world.rack("other").await;
    assert_eq!(other.get("/registries").await.json(), json!([]));
    rack.delete("/registries/docker.io").await.ok();
}

/// A real registry with one account.
struct Registry {
    _process: Child,
    host: String,
    directory: TempDir,
}

impl Registry {
    async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        let config = json!({
            "version": "0.1",
            "log": { "level": "info", "accesslog": { "disabled": true } },
            "storage": { "filesystem": { "rootdirectory": at("storage") } },
            "http": { "addr": "127.0.0.1:0" },
            "auth": { "htpasswd": { "realm": "test", "path": at("htpasswd") } },
        });
        std::fs::write(at("config.yml"), config.to_string()).expect("written");
        std::fs::write(at("htpasswd"), HTPASSWD).expect("written");
        let log = std::fs::File::create(at("log")).expect("a file");
        let process = Command::new(registry_program())
            .arg("serve")
            .arg(at("config.yml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .expect("docker-registry starts: run scripts/ensure-tools registry");
        let mut host = None;
        until("the registry to listen", async || {
            let said = std::fs::read_to_string(at("log")).expect("a log");
            let after = said.split("listening on ").nth(1).unwrap_or_default();
            host = after
                .split(|c: char| c != '.' && c != ':' && !c.is_ascii_digit())
                .next()
                .filter(|host| host.starts_with("127.0.0.1:") && after.len() > host.len())
                .map(str::to_owned);
            host.is_some()
        })
        .await;
        Self {
            _process: process,
            host: host.expect("listening"),
            directory,
        }
    }

    /// The plain Docker client, with a configuration of this test's own.
    async fn docker(&self, words: &[&str]) {
        let done = Command::new("docker")
            .arg("--config")
            .arg(self.directory.path().join("docker"))
            .args(words)
            .output();
        let output = within("docker", done).await.expect("the docker client");
        assert!(output.status.success(), "docker {words:?}: {output:?}");
    }
}

/// On the path, or where `scripts/ensure-tools registry` unpacks it.
fn registry_program() -> PathBuf {
    let unpacked =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/usr/bin/docker-registry");
    if unpacked.exists() {
        unpacked
    } else {
        "docker-registry".into()
    }
}

/// A registry that is not there is another matter than a wrong password.
async fn is_not_there(rack: &Client, host: &str) {
    let answer = rack.post("/registries", &form(host, USER, PASSWORD)).await;
    assert_eq!(answer.status, 400);
    let text = answer.text();
    let start = format!("unable to authenticate: the login could not be checked with {host}: ");
    assert!(
        text.starts_with(&start) && !text.contains(PASSWORD),
        "{text}"
    );
    assert_eq!(rack.get("/registries").await.json(), json!([]));
}

async fn a_login_is_checked_kept_and_used(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    if !engine.is_docker() {
        let private = declared(&world);
        a_login_is_good_for_its_registry(&rack, &private).await;
        return is_not_there(&rack, "registry.invalid").await;
    }
    let registry = Registry::start().await;
    let image = format!("{}/team/base:1", registry.host);
    let login = [
        "login",
        "--username",
        USER,
        "--password",
        PASSWORD,
        &registry.host,
    ];
    registry.docker(&login).await;
    registry.docker(&["tag", "busybox:1.36", &image]).await;
    registry.docker(&["push", &image]).await;
    registry.docker(&["rmi", &image]).await;
    let private = Private {
        host: registry.host.clone(),
        image: image.clone(),
    };
    let tested = AssertUnwindSafe(async {
        a_login_is_good_for_its_registry(&rack, &private).await;
        is_not_there(&rack, "127.0.0.1:1").await;
    });
    let tested = tested.catch_unwind().await;
    // The engine keeps what it has pulled, as it does for everybody.
    registry.docker(&["rmi", "--force", &image]).await;
    if let Err(panic) = tested {
        std::panic::resume_unwind(panic);
    }
}
