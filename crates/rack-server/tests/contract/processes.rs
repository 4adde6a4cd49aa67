//! Processes, services and resources.

use std::sync::Arc;

use serde_json::json;

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, at_rest, status_of, text};
use super::world::{World, until};

on_both_engines!(
    processes_are_listed_and_looked_up,
    one_offs_run_and_are_gone,
    bytes_of_any_kind_pass_through_an_exec,
    output_comes_as_it_is_made,
    a_one_off_goes_with_its_client,
    a_stopped_process_of_a_service_is_replaced,
    services_are_described_scaled_and_restarted,
    resources_are_described,
    a_one_off_that_has_ended_well_is_complete,
);

const DATABASE: &str = "services:
  web:
    build: .
    port: 3000
    drain: 1
    resources: [database]
    termination:
      grace: 1
  worker:
    build: .
    command: sleep 100000
    termination:
      grace: 1
resources:
  database:
    type: redis
";

async fn processes_are_listed_and_looked_up(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/processes").await.json(), json!([]));
    let release = rack
        .release("myapp", &[("convox.yml", DATABASE), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let list = at_rest(rack.get("/apps/myapp/processes?").await.json());
    let names: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| text(process, "name"))
        .collect();
    assert_eq!(names, ["web", "worker"], "by name and id; no resources");
    let web = &list[0];
    let id = text(web, "id");
    assert!(
        id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{id}"
    );
    assert_eq!(
        (&web["app"], &web["release"], &web["status"], &web["ports"]),
        (
            &json!("myapp"),
            &json!(release),
            &json!("running"),
            &json!(["3000"])
        )
    );
    let one = rack.get(&format!("/apps/myapp/processes/{id}")).await;
    assert_eq!(at_rest(one.json()), *web);
    assert_eq!(
        rack.get(&format!("/apps/myapp/processes/{}", &id[..8]))
            .await
            .json()["id"],
        json!(id)
    );
    let workers = rack.get("/apps/myapp/processes?service=worker").await;
    assert_eq!(at_rest(workers.json()), json!([list[1]]));
    assert_eq!(
        rack.get("/apps/myapp/processes?release=RAAAAAAAAAA")
            .await
            .json(),
        json!([])
    );
    let target = format!("/apps/myapp/processes?service=web&release={release}");
    let webs = rack.get(&target).await.json();
    assert_eq!(at_rest(webs), json!([web]));
    for unknown in ["ffffffffffff", "web", ".."] {
        let answer = rack.get(&format!("/apps/myapp/processes/{unknown}")).await;
        assert_eq!(answer.status, 404, "{unknown}: {}", answer.text());
    }
    rack.get("/apps/myapp/processes/ffffffffffff")
        .await
        .fails(404, "process not found: ffffffffffff");
    rack.delete("/apps/myapp/processes/ffffffffffff")
        .await
        .fails(404, "process not found: ffffffffffff");
    let all = rack.get("/system/processes?all=true").await.json();
    let names: Vec<_> = all
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| text(process, "name"))
        .collect();
    assert_eq!(names, ["rack", "database", "web", "worker"]);
}

async fn one_offs_run_and_are_gone(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let release = rack.deploy("myapp").await;
    let run = async |headers: &[(&str, &str)]| {
        rack.send("POST", "/apps/myapp/services/web/processes?", headers, b"")
            .await
    };
    let process = run(&[
        ("Command", "sleep 3600"),
        ("Height", "40"),
        ("Width", "100"),
    ])
    .await
    .json();
    let id = text(&process, "id");
    assert_eq!(
        (&process["name"], &process["command"], &process["release"]),
        (&json!("web"), &json!("sleep 3600"), &json!(release))
    );
    let target = format!("/apps/myapp/processes/{id}");
    assert_eq!(rack.get(&target).await.json()["status"], "running");
    assert_eq!(
        rack.get("/apps/myapp/services").await.json()[0]["count"],
        1,
        "not a replica"
    );
    assert_eq!(
        rack.exec("myapp", &id, "echo $SERVICE $RELEASE $RACK", b"")
            .await,
        (0, format!("web {release} staging\n").into_bytes())
    );
    rack.delete(&target).await.ok();
    rack.get(&target)
        .await
        .fails(404, &format!("process not found: {id}"));

    let quick = run(&[
        ("Command", "echo detached; echo $EXTRA"),
        ("Environment", "EXTRA=a%26b&OTHER=x"),
    ])
    .await
    .json();
    let target = format!("/apps/myapp/processes/{}", text(&quick, "id"));
    until("the one-off to be gone", async || {
        rack.get(&target).await.status == 404
    })
    .await;
    let log = rack
        .stream(&format!("{target}/logs"), &[("Follow", "false")])
        .await;
    assert_eq!((log.text().as_str(), log.ended), ("detached\na&b\n", true));

    let older = run(&[
        ("Command", "sleep 60"),
        ("Release", &release.to_lowercase()),
    ])
    .await
    .json();
    assert_eq!(older["release"], json!(release));
    run(&[("Command", "true"), ("Release", "RAAAAAAAAAA")])
        .await
        .fails(404, "release not found: RAAAAAAAAAA");
    run(&[("Memory", "much")])
        .await
        .fails(400, "strconv.Atoi: parsing \"much\": invalid syntax");
    rack.send("POST", "/apps/myapp/services/nope/processes", &[], b"")
        .await
        .fails(404, "service not found: nope");
    rack.create("fresh").await;
    rack.send("POST", "/apps/fresh/services/web/processes", &[], b"")
        .await
        .fails(400, "no release for app: fresh");
}

async fn bytes_of_any_kind_pass_through_an_exec(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
    // Multi-byte characters cut in half, every byte there is, zero bytes, invalid UTF-8.
    let mut input: Vec<u8> = (0..40_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 11) as u8)
        .collect();
    input[0] = b'x';
    input.extend_from_slice("é\u{1f600}".repeat(700).as_bytes());
    input.extend_from_slice(b"\xff\xfe\xc3\x28\0");
    assert_eq!(
        rack.exec("myapp", &id, "cat", &input).await,
        (0, input.clone())
    );
    assert_eq!(
        rack.exec("myapp", "web", "cat", b"by service").await,
        (0, b"by service".to_vec())
    );
    assert_eq!(
        rack.exec("myapp", &id[..6], "cat", b"").await,
        (0, Vec::new())
    );
    for status in [0, 3, 255] {
        assert_eq!(
            rack.exec("myapp", &id, &format!("exit {status}"), b"")
                .await,
            (status, Vec::new())
        );
    }
    assert_eq!(
        rack.exec("myapp", &id, "echo before; exit 7", b"").await,
        (7, b"before\n".to_vec())
    );
    // Header values are UTF-8.
    assert_eq!(
        rack.exec("myapp", &id, "echo grün", b"").await,
        (0, "grün\n".as_bytes().to_vec())
    );
    assert_eq!(
        rack.exec("myapp", "nope", "true", b"").await,
        (1, b"ERROR: process not found: nope\n".to_vec())
    );
    assert_eq!(
        rack.exec("myapp", &id, "  ", b"").await,
        (1, b"ERROR: a command is required\n".to_vec())
    );
    let headers = [("Command", "true"), ("Height", "tall")];
    let refused = rack
        .stream(&format!("/apps/myapp/processes/{id}/exec"), &headers)
        .await;
    assert_eq!(
        status_of(&refused),
        (
            1,
            b"ERROR: height and width must be whole numbers\n".to_vec()
        )
    );
}

async fn output_comes_as_it_is_made(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let headers = [("Command", "cat"), ("Tty", "false")];
    let mut socket = rack
        .socket("/apps/myapp/processes/web/exec", &headers)
        .await;
    for word in ["one", "two"] {
        socket.writer.data(word.as_bytes()).await.expect("sent");
        assert_eq!(socket.until(word).await, word);
        socket.writer.ping().await.expect("sent");
    }
    socket.writer.end().await.expect("sent");
    assert_eq!(status_of(&socket.rest().await), (0, Vec::new()));
}

async fn a_one_off_goes_with_its_client(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let run = async || {
        text(
            &rack
                .send(
                    "POST",
                    "/apps/myapp/services/web/processes",
                    &[("Command", "sleep 3600")],
                    b"",
                )
                .await
                .json(),
            "id",
        )
    };
    let id = run().await;
    let target = format!("/apps/myapp/processes/{id}");
    let socket = rack
        .socket(
            &format!("{target}/exec"),
            &[("Command", "cat"), ("Tty", "false")],
        )
        .await;
    socket.writer.data(b"x").await.expect("sent");
    drop(socket);
    until("the one-off to be gone", async || {
        rack.get(&target).await.status == 404
    })
    .await;
    // A process of a service is not the client's to end.
    let web = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
    let mut socket = rack
        .socket(
            "/apps/myapp/processes/web/exec",
            &[("Command", "cat"), ("Tty", "false")],
        )
        .await;
    socket.writer.data(b"x").await.expect("sent");
    socket.until("x").await;
    drop(socket);
    // But its command is, whatever that does; the simulated engine's can not be seen.
    let target = "/apps/myapp/processes/web/exec";
    let long = [("Command", "echo up; sleep 31337; echo never")];
    let mut socket = rack.socket(target, &long).await;
    socket.until("up").await;
    drop(socket);
    let look = [
        ("Command", "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"),
        ("Tty", "false"),
    ];
    until("the command to be gone", async || {
        let seen = rack.stream(target, &look).await.bytes();
        !String::from_utf8_lossy(&seen).contains("sleep 31337")
    })
    .await;
    let id = run().await;
    rack.delete(&format!("/apps/myapp/processes/{id}"))
        .await
        .ok();
    assert_eq!(
        rack.get(&format!("/apps/myapp/processes/{web}"))
            .await
            .json()["status"],
        "running"
    );
}

async fn a_stopped_process_of_a_service_is_replaced(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let before = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
    rack.delete(&format!("/apps/myapp/processes/{before}"))
        .await
        .ok();
    until("another one to run", async || {
        let list = rack.get("/apps/myapp/processes").await.json();
        list.as_array().map(Vec::len) == Some(1)
            && list[0]["status"] == "running"
            && list[0]["id"] != json!(before)
    })
    .await;
}

async fn services_are_described_scaled_and_restarted(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/services").await.json(), json!([]));
    rack.put("/apps/myapp/services/web", "count=1")
        .await
        .fails(400, "no release for app: myapp");
    let release = rack
        .release("myapp", &[("convox.yml", DATABASE), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let services = rack.get("/apps/myapp/services").await.json();
    assert_eq!(
        services[0],
        json!({
            "count": 1, "cpu": services[0]["cpu"], "domain": format!("web.myapp.staging.localhost:{}", world.address.port()), "memory": services[0]["memory"],
            "name": "web",
            "ports": [
                { "balancer": 80, "certificate": "", "container": 3000 },
                { "balancer": 443, "certificate": "", "container": 3000 },
            ],
            "status": "running",
        })
    );
    assert!(
        services[0]["cpu"].is_u64() && services[0]["memory"].is_u64(),
        "integers"
    );
    assert_eq!(
        (
            &services[1]["name"],
            &services[1]["domain"],
            &services[1]["ports"]
        ),
        (&json!("worker"), &json!(""), &json!([]))
    );

    // The router reaches it by that name, on the same port.
    let host = world.stranger().with("Host", "web.myapp.staging.localhost");
    assert_eq!(host.get("/").await.status, 200);

    let update = async |form: &str| rack.put("/apps/myapp/services/web", form).await;
    rack.put("/apps/myapp/services/nope", "count=1")
        .await
        .fails(404, "service not found: nope");
    update("count=-1")
        .await
        .fails(400, "count must be between 0 and 100");
    update("count=101")
        .await
        .fails(400, "count must be between 0 and 100");
    update("count=two")
        .await
        .fails(400, "strconv.Atoi: parsing \"two\": invalid syntax");
    update("cpu=-1").await.fails(
        400,
        "cpu must be between 0 and 262144, memory between 4 and 4194304 MiB",
    );
    update("memory=1").await.fails(
        400,
        "cpu must be between 0 and 262144, memory between 4 and 4194304 MiB",
    );
    let of_web = async || {
        rack.get("/apps/myapp/processes?service=web")
            .await
            .json()
            .as_array()
            .cloned()
            .expect("a list")
    };
    update("count=3").await.ok();
    rack.settled("myapp").await;
    let three = of_web().await;
    assert_eq!(three.len(), 3);
    assert!(
        three.iter().all(|process| process["status"] == "running"),
        "{three:?}"
    );
    update("count=0").await.ok();
    rack.settled("myapp").await;
    until("none to be left", async || of_web().await.is_empty()).await;
    assert_eq!(host.get("/").await.status, 503);
    update("count=1&memory=512").await.ok();
    rack.settled("myapp").await;
    assert_eq!(
        rack.get("/apps/myapp/services").await.json()[0]["memory"],
        512
    );
    until("one to be left", async || of_web().await.len() == 1).await;

    let before = of_web().await;
    rack.post("/apps/myapp/services/nope/restart", "")
        .await
        .fails(404, "service not found: nope");
    let workers = "/apps/myapp/processes?service=worker";
    let worker = at_rest(rack.get(workers).await.json());
    rack.post("/apps/myapp/services/web/restart", "").await.ok();
    assert_eq!(rack.settled("myapp").await["release"], json!(release));
    until("the old one to go", async || {
        let after = of_web().await;
        after.len() == 1 && after[0]["id"] != before[0]["id"]
    })
    .await;
    assert_eq!(
        at_rest(rack.get(workers).await.json()),
        worker,
        "the other service is untouched"
    );
}

async fn resources_are_described(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    assert_eq!(
        rack.get("/apps/myapp/resources").await.json(),
        json!([]),
        "none before the first promote"
    );
    rack.get("/apps/myapp/resources/database")
        .await
        .fails(404, "no such resource: database");
    let release = rack
        .release("myapp", &[("convox.yml", DATABASE), PLAIN[1]])
        .await;
    rack.promote("myapp", &release).await;
    let list = rack.get("/apps/myapp/resources").await.json();
    assert_eq!(
        (&list[0]["name"], &list[0]["type"], &list[0]["status"]),
        (&json!("database"), &json!("redis"), &json!("running"))
    );
    let url = text(&list[0], "url");
    assert!(url.starts_with("redis://"), "{url}");
    assert_eq!(
        rack.get("/apps/myapp/resources/database").await.json(),
        list[0]
    );
    let (status, output) = rack.exec("myapp", "web", "echo $DATABASE_URL", b"").await;
    assert_eq!(
        (status, String::from_utf8_lossy(&output).trim_end()),
        (0, url.as_str())
    );
    let (_, output) = rack
        .exec("myapp", "worker", "echo [$DATABASE_URL]", b"")
        .await;
    assert_eq!(output, b"[]\n", "only services that ask for it");
    // Another release keeps it as it is.
    let next = text(&rack.set_env("myapp", "A=1").await, "id");
    rack.promote("myapp", &next).await;
    assert_eq!(rack.get("/apps/myapp/resources").await.json(), list);
}

#[tokio::test]
async fn a_service_that_is_none_has_no_log() {
    let (_world, rack) = World::with_rack().await;
    rack.deploy("myapp").await;
    let stream = rack.stream("/apps/myapp/services/nope/logs", &[]).await;
    assert_eq!(stream.text(), "ERROR: service not found: nope\n");
}

async fn a_one_off_that_has_ended_well_is_complete(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    for (command, wanted) in [("true", "complete"), ("exit 3", "crashed")] {
        let target = "/apps/myapp/services/web/processes";
        let run = rack
            .send("POST", target, &[("Command", command)], b"")
            .await;
        let status = text(&run.json(), "status");
        // It may run still when the answer is made.
        assert!(
            status == wanted || status == "running",
            "{command}: {status}"
        );
    }
}

#[tokio::test]
async fn a_size_that_fails_is_not_kept() {
    let (world, rack) = World::with_rack().await;
    rack.deploy("myapp").await;
    rack.put("/apps/myapp/services/web", "cpu=300").await.ok();
    rack.settled("myapp").await;
    let before = rack.get("/apps/myapp/services").await.json();
    assert_eq!(before[0]["cpu"], json!(300));
    let data = world.stop().await;
    for point in ["promote.resources", "promote.rollout", "promote.activate"] {
        let world = World::open(Arc::clone(&data), &format!("{point}=fail")).await;
        let rack = world.server().with("Rack", "staging");
        until("the app to be up", async || {
            rack.get("/apps/myapp/processes").await.json() != json!([])
        })
        .await;
        rack.put("/apps/myapp/services/web", "cpu=500&memory=700")
            .await
            .ok();
        rack.settled("myapp").await;
        let after = rack.get("/apps/myapp/services").await.json();
        for size in ["cpu", "memory", "count"] {
            assert_eq!(after[0][size], before[0][size], "{point}: {size}");
        }
        world.stop().await;
    }
}
