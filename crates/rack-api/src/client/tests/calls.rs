//! What each call puts on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::server::Server;
use crate::client::{Client, ClientError, Endpoint, Upload};
use crate::{build, certificate, diagnose, process, release, service, system};

const JSON: &str = "{}";
const FORM: &str = "application/x-www-form-urlencoded";

/// Makes each call against a server that answers `$answer` and compares method,
/// target and body.
macro_rules! assert_calls {
    ($answer:expr, $client:ident, [$(($call:expr, $line:expr, $body:expr)),+ $(,)?]) => {
        let server = Server::answering(200, $answer).await;
        let $client = server.client();
        $(
            $call.await.expect($line);
            let request = server.last();
            assert_eq!(request.line, $line);
            assert_eq!(std::str::from_utf8(&request.body), Ok($body), "{}", $line);
            let form = (!$body.is_empty()).then_some(FORM);
            assert_eq!(request.header("content-type"), form, "{}", $line);
        )+
    };
}

#[tokio::test]
async fn every_request_says_who_asks() {
    let server = Server::answering(200, JSON).await;
    server.client().system_get().await.expect("system");
    let request = server.last();
    assert_eq!(request.line, "GET /system");
    // base64 of `convox:s/cret`
    assert_eq!(
        request.header("authorization"),
        Some("Basic Y29udm94OnMvY3JldA==")
    );
    assert_eq!(request.header("rack"), Some("personal/staging"));
    assert_eq!(request.header("version"), Some("dev"));
    assert_eq!(request.header("accept"), Some("*/*"));
    assert_eq!(request.header("accept-encoding"), None);
    assert!(
        request
            .header("user-agent")
            .expect("sent")
            .starts_with("twinrack/")
    );
}

#[tokio::test]
async fn calls_about_racks_choose_none() {
    let server = Server::answering(200, JSON).await;
    let client = server.client();
    client
        .rack_create("staging", Some("simulated"), None)
        .await
        .expect("create");
    client.rack_delete("staging").await.expect("delete");
    client.auth().await.expect("auth");
    let requests = server.recorded();
    let lines: Vec<_> = requests
        .iter()
        .map(|request| request.line.as_str())
        .collect();
    assert_eq!(lines, ["POST /racks", "DELETE /racks/staging", "GET /auth"]);
    assert_eq!(requests[0].body, b"engine=simulated&name=staging");
    for request in requests {
        assert_eq!(request.header("rack"), None, "{}", request.line);
    }
}

#[tokio::test]
async fn objects_are_read_and_changed() {
    let parameters: BTreeMap<_, _> =
        [("Bar".into(), "a&b".into()), ("Foo".into(), "1".into())].into();
    let build = build::CreateOptions {
        build_args: vec!["A=1".into(), "B=2".into()],
        description: Some("a b".into()),
        development: true,
        manifest: Some("convox.yml".into()),
        no_cache: true,
        git_sha: Some("abc".into()),
    };
    let release = release::CreateOptions {
        env: Some("A=1\nB=x y\nFOO=bar".into()),
        build: Some("BABC".into()),
        description: None,
        parent_release: Some("RABC".into()),
        latest: Some("RDEF".into()),
    };
    let promote = release::PromoteOptions {
        development: Some(true),
        force: Some(true),
        idle: Some(false),
        min: Some(0),
        timeout: Some(300),
        ..release::PromoteOptions::default()
    };
    let update = service::UpdateOptions {
        count: Some(2),
        cpu: None,
        memory: Some(1024),
        ..service::UpdateOptions::default()
    };
    assert_calls!(
        JSON,
        client,
        [
            (client.app_get("my app"), "GET /apps/my%20app", ""),
            (client.app_create("foo", None), "POST /apps", "name=foo"),
            (
                client.app_create("foo", Some("2")),
                "POST /apps",
                "generation=2&name=foo"
            ),
            (client.app_delete("foo"), "DELETE /apps/foo", ""),
            (client.app_lock("foo", false), "PUT /apps/foo", "lock=false"),
            (
                client.app_parameters("foo", &parameters),
                "PUT /apps/foo",
                "parameters=Bar%3Da%2526b%26Foo%3D1"
            ),
            (client.app_cancel("foo"), "POST /apps/foo/cancel", ""),
            (
                client.build_create("foo", "object://foo/tmp/x.tgz", &build),
                "POST /apps/foo/builds",
                "build-args=A%3D1%2CB%3D2&description=a+b&development=true&git-sha=abc&manifest=convox.yml\
             &no-cache=true&url=object%3A%2F%2Ffoo%2Ftmp%2Fx.tgz"
            ),
            (
                client.build_create("foo", "object://foo/x", &build::CreateOptions::default()),
                "POST /apps/foo/builds",
                "url=object%3A%2F%2Ffoo%2Fx"
            ),
            (
                client.build_get("foo", "BABC"),
                "GET /apps/foo/builds/BABC",
                ""
            ),
            (
                client.release_create("foo", &release),
                "POST /apps/foo/releases",
                "build=BABC&env=A%3D1%0AB%3Dx+y%0AFOO%3Dbar&latest=RDEF&parent-release=RABC"
            ),
            (
                client.release_get("foo", "RABC"),
                "GET /apps/foo/releases/RABC",
                ""
            ),
            (
                client.release_promote("foo", "RABC", &release::PromoteOptions::default()),
                "POST /apps/foo/releases/RABC/promote",
                ""
            ),
            (
                client.release_promote("foo", "RABC", &promote),
                "POST /apps/foo/releases/RABC/promote",
                "development=true&force=true&idle=false&min=0&timeout=300"
            ),
            (
                client.process_get("foo", "abc"),
                "GET /apps/foo/processes/abc",
                ""
            ),
            (
                client.process_stop("foo", "abc"),
                "DELETE /apps/foo/processes/abc",
                ""
            ),
            (
                client.service_update("foo", "web", &update),
                "PUT /apps/foo/services/web",
                "count=2&memory=1024"
            ),
            (
                client.service_restart("foo", "web"),
                "POST /apps/foo/services/web/restart",
                ""
            ),
            (
                client.resource_get("foo", "db"),
                "GET /apps/foo/resources/db",
                ""
            ),
            (client.api_get("apps?limit=1"), "GET /apps?limit=1", ""),
            (client.api_get("/apps"), "GET /apps", ""),
        ]
    );
}

#[tokio::test]
async fn what_belongs_to_the_rack_is_read_and_changed() {
    let options: BTreeMap<_, _> = [("size".to_owned(), "a&b".to_owned())].into();
    let domains = ["a.example".to_owned(), "b.example".to_owned()];
    let generate = certificate::GenerateOptions {
        issuer: None,
        duration: Some(Duration::from_secs(3600)),
    };
    let update = system::UpdateOptions {
        count: Some(3),
        kind: Some("large".into()),
        parameters: options.clone(),
        version: Some("20200101".into()),
    };
    assert_calls!(
        JSON,
        client,
        [
            (
                client.certificate_create("PUB", "KEY", None),
                "POST /certificates",
                "key=KEY&pub=PUB"
            ),
            (
                client.certificate_generate(&domains, &generate),
                "POST /certificates/generate",
                "domains=a.example%2Cb.example&duration=1h0m0s"
            ),
            (
                client.certificate_delete("cert-1"),
                "DELETE /certificates/cert-1",
                ""
            ),
            (
                client.certificate_renew("foo"),
                "POST /certificates/foo/renew",
                ""
            ),
            (
                client.certificate_apply("foo", "web", 443, "cert-1"),
                "PUT /apps/foo/ssl/web/443",
                "id=cert-1"
            ),
            (
                client.registry_add("quay.io/x", "me", "s&s"),
                "POST /registries",
                "password=s%26s&server=quay.io%2Fx&username=me"
            ),
            (
                client.registry_remove("quay.io/x"),
                "DELETE /registries/quay.io/x",
                ""
            ),
            (client.instance_keyroll(), "POST /instances/keyroll", ""),
            (
                client.instance_terminate("i-1"),
                "DELETE /instances/i-1",
                ""
            ),
            (
                client.system_update(&update),
                "PUT /system",
                "count=3&parameters=size%3Da%2526b&type=large&version=20200101"
            ),
            (
                client.token_create("read", 2),
                "POST /system/jwt/token",
                "durationInHour=2&role=read"
            ),
            (client.token_rotate(), "PUT /system/jwt/rotate", ""),
            (
                client.instances_let_in(),
                "GET /system/sync/whitelist/instances/ip",
                ""
            ),
            (
                client.rack_resource_create("redis", None, &options),
                "POST /resources",
                "kind=redis&parameters=size%3Da%2526b"
            ),
            (client.rack_resource_get("r"), "GET /resources/r", ""),
            (
                client.rack_resource_update("r", &options),
                "PUT /resources/r",
                "parameters=size%3Da%2526b"
            ),
            (client.rack_resource_delete("r"), "DELETE /resources/r", ""),
            (
                client.rack_resource_link("r", "foo"),
                "POST /resources/r/links",
                "app=foo"
            ),
            (
                client.rack_resource_unlink("r", "foo"),
                "DELETE /resources/r/links/foo",
                ""
            ),
            (
                client.config_set("foo", "c", b"\xff"),
                "PUT /apps/foo/configs/c",
                "value=%2Fw%3D%3D"
            ),
            (client.config_get("foo", "c"), "GET /apps/foo/configs/c", ""),
            (
                client.files_delete("foo", "abc", &["/a b".into(), "c".into()]),
                "DELETE /apps/foo/processes/abc/files?files=%2Fa+b%2Cc",
                ""
            ),
            (
                client.app_diagnose("foo", &diagnose::Options::default()),
                "GET /apps/foo/diagnose?age=300&all=false&events=true&lines=200&previous=true",
                ""
            ),
        ]
    );
}

#[tokio::test]
async fn lists_are_read_even_when_null() {
    for answer in ["[]", "null"] {
        assert_calls!(
            answer,
            client,
            [
                (client.rack_list(), "GET /racks", ""),
                (client.app_list(), "GET /apps", ""),
                (client.build_list("foo", None), "GET /apps/foo/builds", ""),
                (
                    client.build_list("foo", Some(5)),
                    "GET /apps/foo/builds?limit=5",
                    ""
                ),
                (
                    client.release_list("foo", Some(1)),
                    "GET /apps/foo/releases?limit=1",
                    ""
                ),
                (
                    client.process_list("foo", None, None),
                    "GET /apps/foo/processes",
                    ""
                ),
                (
                    client.process_list("foo", Some("web"), Some("RABC")),
                    "GET /apps/foo/processes?release=RABC&service=web",
                    ""
                ),
                (client.service_list("foo"), "GET /apps/foo/services", ""),
                (client.resource_list("foo"), "GET /apps/foo/resources", ""),
                (client.system_processes(false), "GET /system/processes", ""),
                (
                    client.system_processes(true),
                    "GET /system/processes?all=true",
                    ""
                ),
                (client.system_releases(), "GET /system/releases", ""),
                (client.certificate_list(false), "GET /certificates", ""),
                (
                    client.certificate_list(true),
                    "GET /certificates?generated=true",
                    ""
                ),
                (client.registry_list(), "GET /registries", ""),
                (client.instance_list(), "GET /instances", ""),
                (client.rack_resource_list(), "GET /resources", ""),
                (client.rack_resource_types(), "OPTIONS /resources", ""),
                (client.config_list("foo"), "GET /apps/foo/configs", ""),
                (client.balancer_list("foo"), "GET /apps/foo/balancers", ""),
            ]
        );
    }
}

#[tokio::test]
async fn null_and_unknown_fields_are_tolerated() {
    let answer =
        r#"[{"id":"abc","ports":null,"started":"0001-01-01T00:00:00Z","task_definition":"x"}]"#;
    let server = Server::answering(200, answer).await;
    let processes = server
        .client()
        .process_list("foo", None, None)
        .await
        .expect("processes");
    assert_eq!(processes[0].id, "abc");
    assert_eq!(processes[0].started, None);
}

#[tokio::test]
async fn runs_carry_their_options_in_headers() {
    let server = Server::answering(200, JSON).await;
    let client = server.client();
    let options = process::RunOptions {
        command: Some("echo grüße".into()),
        environment: [("A".into(), "1&2".into()), ("B".into(), "x y".into())].into(),
        height: Some(40),
        width: Some(100),
        memory: Some(256),
        release: Some("RABC".into()),
        cpu_limit: Some(500),
        volumes: [("data".into(), "/data".into())].into(),
        privileged: Some(false),
        ..process::RunOptions::default()
    };
    client
        .process_run("foo", "web", &options)
        .await
        .expect("run");
    let request = server.last();
    assert_eq!(request.line, "POST /apps/foo/services/web/processes");
    assert_eq!(request.body, b"");
    assert_eq!(request.header("content-length"), Some("0"));
    for (name, value) in [
        ("command", "echo grüße"),
        ("environment", "A=1%262&B=x+y"),
        ("height", "40"),
        ("width", "100"),
        ("memory", "256"),
        ("release", "RABC"),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    client
        .process_run("foo", "web", &process::RunOptions::default())
        .await
        .expect("run");
    for name in [
        "command",
        "environment",
        "height",
        "width",
        "memory",
        "release",
    ] {
        assert_eq!(server.last().header(name), None, "{name}");
    }
    let options = process::RunOptions {
        command: Some("a\nb".into()),
        ..Default::default()
    };
    let error = client
        .process_run("foo", "web", &options)
        .await
        .expect_err("a line break");
    assert_eq!(
        error.to_string(),
        "command must not contain line breaks or control characters"
    );
}

#[tokio::test]
async fn bodies_are_streamed_both_ways() {
    let body: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
    let server = Server::answering(200, r#"{"Url":"object://foo/tmp/x.tgz","id":"BABC"}"#).await;
    let client = server.client();

    let object = client
        .object_store("foo", "tmp/x.tgz", Bytes::from(body.clone()).into())
        .await;
    assert_eq!(object.expect("stored").url, "object://foo/tmp/x.tgz");
    let request = server.last();
    assert_eq!(request.line, "POST /apps/foo/objects/tmp/x.tgz");
    assert_eq!(
        request.header("content-type"),
        Some("application/octet-stream")
    );
    assert_eq!(request.header("content-length"), Some("1000000"));
    assert!(request.body == body);

    let archive = Upload::from_reader(std::io::Cursor::new(body.clone()));
    assert_eq!(
        client
            .build_import("foo", archive)
            .await
            .expect("imported")
            .id,
        "BABC"
    );
    let request = server.last();
    assert_eq!(request.line, "POST /apps/foo/builds/import");
    assert_eq!(request.header("transfer-encoding"), Some("chunked"));
    assert!(request.body == body);

    let server = Server::answering(200, body.clone()).await;
    let client = server.client();
    let mut download = client
        .build_export("foo", "BABC", None)
        .await
        .expect("export");
    assert_eq!(download.length(), Some(1_000_000));
    let mut got = Vec::new();
    while let Some(piece) = download.chunk().await.expect("a piece") {
        got.extend_from_slice(&piece);
    }
    assert!(got == body);
    assert_eq!(server.last().line, "GET /apps/foo/builds/BABC.tgz");
    let format = Some("v3");
    client
        .build_export("foo", "BABC", format)
        .await
        .expect("export");
    assert_eq!(
        server.last().line,
        "GET /apps/foo/builds/BABC.tgz?format=v3"
    );
    client
        .object_fetch("foo", "/tmp/x.tgz")
        .await
        .expect("fetch");
    assert_eq!(server.last().line, "GET /apps/foo/objects//tmp/x.tgz");
}

#[tokio::test]
async fn settled_apps_tell_whether_the_server_waited() {
    let ours = Server::with_headers(&[("Twinrack", "0.1.0")], r#"{"status":"running"}"#).await;
    let client = ours.client();
    assert!(!client.is_twinrack(), "nobody has answered yet");
    let (app, waited) = client
        .app_get_settled("foo", Duration::from_secs(30))
        .await
        .expect("app");
    assert_eq!((app.status.as_str(), waited), ("running", true));
    assert!(client.is_twinrack());
    assert_eq!(ours.last().line, "GET /apps/foo?settled=30s");

    let real = Server::answering(200, r#"{"status":"updating"}"#).await;
    let client = real.client();
    let (_, waited) = client
        .app_get_settled("foo", Duration::from_secs(30))
        .await
        .expect("app");
    assert!(!waited && !client.is_twinrack());
}

#[tokio::test]
async fn names_below_localhost_are_this_machine() {
    let server = Server::answering(200, JSON).await;
    let port = server.address.port();
    for host in ["localhost", "rack.staging.localhost"] {
        let endpoint = Endpoint::parse(&format!("http://{host}:{port}/prefix/")).expect("a url");
        Client::new(endpoint).system_get().await.expect(host);
        assert_eq!(server.last().line, "GET /prefix/system");
        assert_eq!(
            server.last().header("host"),
            Some(format!("{host}:{port}").as_str())
        );
        assert_eq!(server.last().header("authorization"), None);
    }
}

#[tokio::test]
async fn senseless_calls_send_nothing() {
    let server = Server::answering(200, JSON).await;
    let client = server.client();
    let comma = build::CreateOptions {
        build_args: vec!["A=1,2".into()],
        ..Default::default()
    };
    for error in [
        client.app_delete("").await.expect_err("no name"),
        client.app_delete("..").await.expect_err("no name"),
        client
            .build_create("foo", "x", &comma)
            .await
            .map(drop)
            .expect_err("a comma"),
    ] {
        assert!(matches!(error, ClientError::Invalid(_)), "{error:?}");
    }
    assert!(server.recorded().is_empty());
}
