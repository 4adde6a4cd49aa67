//! What clients before July 2018 do in ways of their own (`rack-api.md` §5).

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, multipart, source, status_of, text};
use super::wire::{Generation, Official, Payload};
use super::world::{Client, until};

on_both_engines!(
    everything_is_json_to_the_client_of_2017,
    environments_are_set_and_unset_by_release,
    variables_unset_at_the_same_time_all_go,
    formations_are_listed_and_scaled,
    parameters_are_fields_of_their_own,
    attached_runs_have_a_process_of_their_own,
    attached_runs_that_cannot_be_say_so_and_fail,
    detached_runs_answer_with_a_process_id,
    builds_are_deleted_with_all_they_left,
    sources_and_archives_come_in_parts,
    lists_and_logs_are_as_long_and_as_wide_as_then,
    incremental_builds_send_what_is_new,
    resources_of_the_rack_are_called_services,
    secure_ports_are_listed,
);

fn old(rack: &Client) -> Official {
    Official::new(Generation::Y2017, rack, "personal/staging")
}

async fn everything_is_json_to_the_client_of_2017(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    let success = json!({ "success": true });
    let created = client.post("/apps", &[("generation", ""), ("name", "myapp")]);
    assert_eq!(text(&created.await.json(), "status"), "running");
    assert_eq!(
        client.delete("/apps/myapp").await.json(),
        success,
        "no `ok`"
    );
    let refused = client.delete("/apps/myapp").await;
    assert_eq!(refused.status, 404);
    assert_eq!(refused.header("content-type"), Some("application/json"));
    assert_eq!(
        refused.text(),
        "{\n  \"error\": \"app not found: myapp\"\n}\n"
    );
    // Logging in sends less, and reads JSON too.
    let login = rack
        .with("User-Agent", "Go-http-client/1.1")
        .send("GET", "/auth", &[], b"")
        .await;
    assert_eq!(login.json(), success);
    rack.with("User-Agent", "convox.go/dev")
        .get("/auth?")
        .await
        .ok();
    let stranger = Official::new(
        Generation::Y2017,
        &rack_with(&rack, "Basic Y29udm94Om5vbmU="),
        "personal/staging",
    );
    let refused = stranger.get("/apps").await;
    assert_eq!(
        (refused.status, refused.text().as_str()),
        (401, "{\n  \"error\": \"invalid authentication\"\n}\n")
    );
}

fn rack_with(rack: &Client, authorization: &str) -> Client {
    Client {
        headers: vec![("Authorization".into(), authorization.into())],
        ..rack.clone()
    }
}

async fn environments_are_set_and_unset_by_release(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    let target = "/apps/myapp/environment";
    assert_eq!(client.json(target).await, json!({}));
    // Not the form its type says it is: signs that forms would change stay.
    let body = b"B=x y+z%20&=1\nA=1\n\nnothing\nA=2\n";
    let send = async |body: &[u8]| {
        client
            .request(
                "POST",
                (target, ""),
                &[],
                Payload::Bytes(super::world::FORM, body),
            )
            .await
    };
    let answer = send(body).await;
    assert_eq!(
        answer.text(),
        "{\n  \"A\": \"2\",\n  \"B\": \"x y+z%20\\u0026=1\"\n}\n"
    );
    let first = answer.header("release-id").expect("a release").to_owned();
    let release = client.json(&format!("/apps/myapp/releases/{first}")).await;
    assert_eq!(
        (&release["env"], &release["description"]),
        (&json!("A=2\nB=x y+z%20&=1"), &json!("env add:A add:B"))
    );
    assert_eq!(
        client.json(target).await,
        json!({ "A": "2", "B": "x y+z%20&=1" })
    );
    let answer = client.delete(&format!("{target}/A")).await;
    assert_eq!(answer.json(), json!({ "B": "x y+z%20&=1" }));
    let second = answer.header("release-id").expect("a release").to_owned();
    assert_ne!(first, second);
    let latest = client.find("/apps/myapp/releases", "limit=1").await.json();
    assert_eq!(text(&latest[0], "id"), second);
    // One that is not there: still a release, as then.
    let answer = client.delete(&format!("{target}/A")).await;
    assert_eq!(answer.json(), json!({ "B": "x y+z%20&=1" }));
    assert!(answer.header("release-id").is_some());
    assert_eq!(send(b"").await.json(), json!({}));
    let refused = send(b"A=\xff").await;
    assert_eq!(refused.status, 400, "{refused:?}");
    assert_eq!(client.json(target).await, json!({}));
    for refused in [
        client.get("/apps/nope/environment").await,
        client.delete("/apps/nope/environment/A").await,
    ] {
        assert_eq!(
            (refused.status, refused.text().as_str()),
            (404, "{\n  \"error\": \"app not found: nope\"\n}\n")
        );
    }
}

async fn variables_unset_at_the_same_time_all_go(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    let names: Vec<_> = ('A'..='H').map(String::from).collect();
    let env: Vec<_> = names.iter().map(|name| format!("{name}=1")).collect();
    rack.set_env("myapp", &env.join("\n")).await;
    let unset = names.iter().map(async |name| {
        let target = format!("/apps/myapp/environment/{name}");
        assert_eq!(client.delete(&target).await.status, 200);
    });
    futures::future::join_all(unset).await;
    assert_eq!(client.json("/apps/myapp/environment").await, json!({}));
}

async fn formations_are_listed_and_scaled(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    assert_eq!(client.json("/apps/myapp/formation").await, json!([]));
    let release = rack.release("myapp", PLAIN).await;
    rack.promote("myapp", &release).await;
    let service = rack.get("/apps/myapp/services").await.json()[0].clone();
    let expected = |count: i64, memory: &Value| {
        json!([{
            "balancer": service["domain"],
            "name": "web",
            "count": count,
            "memory": memory,
            "cpu": service["cpu"],
            "ports": [80, 443],
        }])
    };
    assert_eq!(
        client.json("/apps/myapp/formation").await,
        expected(1, &service["memory"])
    );
    let target = "/apps/myapp/formation/web";
    client.fine(&client.post(target, &[("count", "2")]).await);
    rack.settled("myapp").await;
    assert_eq!(
        client.json("/apps/myapp/formation").await,
        expected(2, &service["memory"])
    );
    // Numbers that clients older still send for dimensions to be left alone.
    let unchanged = [("count", "-2"), ("cpu", "-1"), ("memory", "0")];
    client.fine(&client.post(target, &unchanged).await);
    client.fine(
        &client
            .post(target, &[("count", "-2"), ("memory", "320")])
            .await,
    );
    rack.settled("myapp").await;
    assert_eq!(
        client.json("/apps/myapp/formation").await,
        expected(2, &json!(320))
    );
    assert_eq!(
        rack.get("/apps/myapp/services").await.json()[0]["count"],
        json!(2)
    );
    let refusals = [
        (target, ("count", "many"), 400, "count must be numeric"),
        (target, ("memory", "1.5"), 400, "memory must be numeric"),
        (
            target,
            ("count", "-1"),
            400,
            "count must be between 0 and 100",
        ),
        (
            "/apps/myapp/formation/nope",
            ("count", "1"),
            404,
            "service not found: nope",
        ),
    ];
    for (target, field, status, reason) in refusals {
        let answer = client.post(target, &[field]).await;
        assert_eq!(answer.status, status);
        let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(error, json!({ "error": reason }));
    }
    // `rack ps --stats` looks the rack itself up.
    let rack_itself = client.json("/apps/staging/formation").await;
    assert_eq!(text(&rack_itself[0], "name"), "rack");
    assert!(rack_itself[0]["memory"].as_i64() > Some(0), "{rack_itself}");
}

async fn parameters_are_fields_of_their_own(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    let target = "/apps/myapp/parameters";
    assert_eq!(client.json(target).await, json!({}));
    let fields = [("Internal", "No"), ("Text", "a b&c")];
    client.fine(&client.post(target, &fields).await);
    client.fine(&client.post(target, &[("Internal", "Yes")]).await);
    let wanted = json!({ "Internal": "Yes", "Text": "a b&c" });
    assert_eq!(client.json(target).await, wanted);
    assert_eq!(rack.get("/apps/myapp").await.json()["parameters"], wanted);
    let refused = client.post("/apps/nope/parameters", &fields).await;
    assert_eq!(refused.status, 404);
    // The rack answers to its name; `ps --stats` reads a number out of this.
    let rack_itself = client.json("/apps/staging/parameters").await;
    let memory: u64 = text(&rack_itself, "BuildMemory").parse().expect("a number");
    assert!(memory > 0, "{rack_itself}");
}

async fn attached_runs_have_a_process_of_their_own(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    let release = rack.deploy("myapp").await;
    let target = "/apps/myapp/processes/web/run";
    let headers = |command: &'static str| {
        [
            ("Command", command),
            ("Height", "0"),
            ("Release", ""),
            ("Width", "0"),
        ]
    };
    let stream = client
        .stream(target, &headers("echo $SERVICE $RELEASE; exit 3"))
        .await;
    let (status, output) = status_of(&stream);
    let output = String::from_utf8(output).expect("text");
    assert_eq!(
        (status, output.trim_end()),
        (3, format!("web {release}").as_str())
    );
    let alone = async || {
        let list = client.json("/apps/myapp/processes").await;
        list.as_array().expect("a list").len() == 1
    };
    until("the process to be gone", alone).await;
    // It is shown by its command while it runs, and goes with its client, which never
    // says that its input has ended.
    let mut socket = client.socket(target, &headers("echo ready; cat")).await;
    socket.until("ready").await;
    let processes = client.find("/apps/myapp/processes", "stats=false").await;
    let processes = processes.json();
    let commands: Vec<_> = processes
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| text(process, "command"))
        .collect();
    assert!(
        commands.contains(&"echo ready; cat".to_owned()),
        "{commands:?}"
    );
    socket.writer.data(b"seven\n").await.expect("sent");
    socket.until("seven").await;
    drop(socket);
    until("the abandoned process to be gone", alone).await;
}

async fn attached_runs_that_cannot_be_say_so_and_fail(engine: Engine) {
    type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.deploy("myapp").await;
    let cases: [Case<'_>; 5] = [
        (
            "/apps/myapp/processes/web/run",
            &[("Command", "")],
            "a command is required",
        ),
        (
            "/apps/myapp/processes/nope/run",
            &[("Command", "true")],
            "service not found: nope",
        ),
        (
            "/apps/nope/processes/web/run",
            &[("Command", "true")],
            "app not found: nope",
        ),
        (
            "/apps/myapp/processes/web/run",
            &[("Command", "true"), ("Release", "RAAAAAAAAAA")],
            "release not found: RAAAAAAAAAA",
        ),
        (
            "/apps/myapp/processes/web/run",
            &[("Command", "true"), ("Timeout", "soon")],
            "height, width and timeout must be whole numbers",
        ),
    ];
    for (target, headers, reason) in cases {
        let (status, output) = status_of(&client.stream(target, headers).await);
        assert_eq!(
            (status, String::from_utf8(output).expect("text")),
            (1, format!("ERROR: {reason}\n"))
        );
    }
    let list = client.json("/apps/myapp/processes").await;
    assert_eq!(list.as_array().expect("a list").len(), 1, "{list}");
}

async fn detached_runs_answer_with_a_process_id(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    let release = rack.deploy("myapp").await;
    let target = "/apps/myapp/processes/web/run";
    let fields = [("command", "echo detached; sleep 1000"), ("release", "")];
    let answer = client.post(target, &fields).await.json();
    assert_eq!(answer["success"], json!(true));
    let pid = text(&answer, "pid");
    let process = client.json(&format!("/apps/myapp/processes/{pid}")).await;
    assert_eq!(
        (&process["name"], &process["command"], &process["release"]),
        (
            &json!("web"),
            &json!("echo detached; sleep 1000"),
            &json!(release)
        )
    );
    client.fine(&client.delete(&format!("/apps/myapp/processes/{pid}")).await);
    let fields = [("command", "true"), ("release", "RAAAAAAAAAA")];
    assert_eq!(client.post(target, &fields).await.status, 404);
}

async fn builds_are_deleted_with_all_they_left(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let client = old(&rack);
    let active = rack.deploy("myapp").await;
    let release = rack.release("myapp", PLAIN).await;
    let build = text(
        &rack
            .get(&format!("/apps/myapp/releases/{release}"))
            .await
            .json(),
        "build",
    );
    let kept = text(
        &rack
            .get(&format!("/apps/myapp/releases/{active}"))
            .await
            .json(),
        "build",
    );
    let later = text(&rack.set_env("myapp", "A=1").await, "id");
    let refused = client.delete(&format!("/apps/myapp/builds/{kept}")).await;
    assert_eq!(
        (refused.status, refused.text()),
        (
            400,
            format!("{{\n  \"error\": \"cannot delete build of active release: {kept}\"\n}}\n")
        )
    );
    let tag = |build: &str| format!("twinrack/staging/myapp:web.{build}");
    let tags = world.tags("staging", "myapp").await;
    assert!(tags.contains(&tag(&build)), "{tags:?}");
    let deleted = client.delete(&format!("/apps/myapp/builds/{build}")).await;
    assert_eq!(text(&deleted.json(), "id"), build);
    assert_eq!(world.tags("staging", "myapp").await, [tag(&kept)]);
    for gone in [
        format!("/apps/myapp/builds/{build}"),
        format!("/apps/myapp/releases/{release}"),
        format!("/apps/myapp/releases/{later}"),
    ] {
        assert_eq!(client.get(&gone).await.status, 404, "{gone}");
    }
    let files = super::world::files_below(&world.rack_directory("staging"));
    assert!(!files.iter().any(|file| file.contains(&build)), "{files:?}");
    let list = client.json("/apps/myapp/builds").await;
    assert_eq!(list.as_array().expect("a list").len(), 1);
    assert_eq!(
        client
            .delete(&format!("/apps/myapp/builds/{build}"))
            .await
            .status,
        404
    );
}

async fn sources_and_archives_come_in_parts(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    // `docker-compose.yml` is what that client names when nobody names a manifest.
    let fields = [
        ("cache", "true"),
        ("config", "docker-compose.yml"),
        ("description", "old client"),
    ];
    let (kind, body) = multipart("source", &source(PLAIN), &fields);
    let send = async |body: &[u8], kind: &str| {
        client
            .request(
                "POST",
                ("/apps/myapp/builds", ""),
                &[],
                Payload::Chunks(kind, body),
            )
            .await
    };
    let build = send(&body, &kind).await.json();
    let id = text(&build, "id");
    let log = client
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    assert!(log.ended, "{log:?}");
    let build = client.json(&format!("/apps/myapp/builds/{id}")).await;
    assert_eq!(text(&build, "status"), "complete", "{}", log.text());
    let archive = client.get(&format!("/apps/myapp/builds/{id}.tgz")).await;
    assert_eq!(archive.header("content-encoding"), None);
    let (kind, body) = multipart("image", &archive.body, &[]);
    let imported = send(&body, &kind).await.json();
    assert_eq!(text(&imported, "status"), "complete");
    assert_ne!(text(&imported, "id"), id);
    assert_eq!(imported["images"], build["images"]);
    // Sources elsewhere are not fetched.
    for url in [
        "https://github.com/convox-examples/rails.git",
        "http://127.0.0.1/source.tgz",
        "ssh://git@example.com/app.git",
    ] {
        let refused = client.post("/apps/myapp/builds", &[("url", url)]).await;
        assert_eq!(refused.status, 400, "{refused:?}");
        assert!(
            refused.text().contains("only object:// sources"),
            "{refused:?}"
        );
    }
}

async fn lists_and_logs_are_as_long_and_as_wide_as_then(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    for number in 0..25 {
        rack.set_env("myapp", &format!("A={number}")).await;
    }
    let lengths = [
        (client.json("/apps/myapp/releases").await, 20),
        (
            client.find("/apps/myapp/releases", "limit=3").await.json(),
            3,
        ),
        (rack.get("/apps/myapp/releases").await.json(), 10),
    ];
    for (list, length) in lengths {
        assert_eq!(list.as_array().expect("a list").len(), length);
    }
    let options = [("Filter", ""), ("Follow", "false"), ("Since", "1h0m0s")];
    let log = client.stream("/system/logs", &options).await.text();
    let line = log
        .lines()
        .find(|line| line.contains("app myapp created"))
        .unwrap_or_else(|| panic!("no such line in {log}"));
    let (time, rest) = line.split_once(' ').expect("a time");
    assert!(time.ends_with('Z') && time.len() == 20, "{line}");
    assert!(rest.starts_with("system/"), "{line}");
}

async fn incremental_builds_send_what_is_new(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    let hash = |content: &str| rack_api::id::to_hex(&Sha256::digest(content));
    let index = |files: &[(&str, &str)]| {
        let items: serde_json::Map<_, _> = files
            .iter()
            .map(|(name, content)| {
                let item =
                    json!({ "name": name, "mode": 420, "mtime": "2017-10-18T11:24:36.5+02:00" });
                (hash(content), item)
            })
            .collect();
        Value::from(items).to_string()
    };
    let files = [PLAIN[0], PLAIN[1], ("a/b.txt", "content")];
    let described = index(&files);
    let diff = async |index: &str| client.post("/index/diff", &[("index", index)]).await.json();
    let missing = diff(&described).await;
    assert_eq!(missing.as_array().expect("a list").len(), 3);
    let fields = [
        ("cache", "true"),
        ("config", "convox.yml"),
        ("description", "incremental"),
        ("index", &described),
    ];
    let early = client.post("/apps/myapp/builds", &fields).await;
    assert_eq!(early.status, 400, "{early:?}");
    assert!(early.text().contains("3 files of the index"), "{early:?}");

    let named: Vec<_> = files.iter().map(|(_, text)| (hash(text), *text)).collect();
    let named: Vec<_> = named.iter().map(|(hash, text)| (&**hash, *text)).collect();
    let (kind, body) = multipart("update", &source(&named), &[]);
    let update = async |body: &[u8]| {
        let payload = Payload::Chunks(&kind, body);
        client
            .request("POST", ("/index/update", ""), &[], payload)
            .await
    };
    client.fine(&update(&body).await);
    assert_eq!(diff(&described).await, json!([]));
    let more = [files[0], files[1], files[2], ("new.txt", "new")];
    assert_eq!(diff(&index(&more)).await, json!([hash("new")]));

    let build = client.post("/apps/myapp/builds", &fields).await.json();
    let id = text(&build, "id");
    let log = client
        .stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    assert!(log.ended, "{log:?}");
    let target = format!("/apps/myapp/builds/{id}");
    until("the build to end", async || {
        client.json(&target).await["status"] != "running"
    })
    .await;
    let build = client.json(&target).await;
    assert_eq!(text(&build, "status"), "complete", "{}", log.text());
    assert_eq!(text(&build, "description"), "incremental");
    let scratch = super::world::files_below(&world.rack_directory("staging").join("tmp"));
    assert_eq!(scratch, Vec::<String>::new());

    // Nothing gets in under a false name, or is read as an index that is none.
    let (_, wrong) = multipart("update", &source(&[(named[0].0, "other")]), &[]);
    assert_eq!(update(&wrong).await.status, 400);
    let (_, neither) = multipart("file", b"x", &[]);
    assert_eq!(update(&neither).await.status, 400);
    for index in ["", "[]", "{\"../x\":{}}", "{\"x\":"] {
        let answer = client.post("/index/diff", &[("index", index)]).await;
        assert_eq!(answer.status, 400, "{index}: {answer:?}");
    }
}

async fn resources_of_the_rack_are_called_services(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    assert_eq!(client.get("/services").await.json(), json!([]));
    // Options are fields of their own, and waiting is the client's affair.
    let fields = [("name", "cache"), ("type", "redis"), ("wait", "true")];
    let made = client.post("/services", &fields).await.json();
    assert_eq!(
        (text(&made, "name"), text(&made, "type")),
        ("cache".into(), "redis".into())
    );
    until("the resource to run", async || {
        text(&client.get("/services/cache").await.json(), "status") == "running"
    })
    .await;
    let shown = client.get("/services/cache").await.json();
    assert_eq!(
        shown["exports"]["URL"],
        json!("redis://cache.resource.staging:6379/0")
    );
    let changed = client.put("/services/cache", &[("Database", "2")]).await;
    assert_eq!(text(&changed.json(), "name"), "cache");
    until("the resource to be changed", async || {
        let shown = client.get("/services/cache").await.json();
        text(&shown, "status") == "running"
            && shown["exports"]["URL"] == json!("redis://cache.resource.staging:6379/2")
    })
    .await;
    let gone = client.delete("/services/cache").await.json();
    assert_eq!(text(&gone, "name"), "cache");
    until("the resource to go", async || {
        client.get("/services/cache").await.status == 404
    })
    .await;
    assert_eq!(client.get("/services/cache").await.status, 404);
}

async fn secure_ports_are_listed(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let client = old(&rack);
    rack.create("myapp").await;
    assert_eq!(client.get("/apps/myapp/ssl").await.json(), json!([]));
    assert_eq!(client.get("/apps/nope/ssl").await.status, 404);
    let release = rack.release("myapp", PLAIN).await;
    rack.promote("myapp", &release).await;
    let ports = client.get("/apps/myapp/ssl").await.json();
    let domain = &rack.get("/apps/myapp/services").await.json()[0]["domain"];
    assert_eq!(
        ports,
        json!([{
            "certificate": "", "domain": domain, "expiration": "0001-01-01T00:00:00Z",
            "port": 443, "process": "web", "secure": false,
        }])
    );
}
