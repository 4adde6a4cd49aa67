//! Sequences of processes, services and their logs (`rack-api.md` §7.6 to §7.8, §7.10 to
//! §7.12).

use serde_json::json;

use super::super::flow::{MANIFEST, PLAIN, status_of, text};
use super::super::wire::Generation::{V2, V3, Y2017};
use super::super::wire::{Official, Payload};
use super::super::world::{Client, until};
use super::{PROCESS, attached, list, message, shape, wait, wait_with_logs};

/// §7.6
pub(super) async fn run(rack: &Client, client: &Official) {
    let release = rack.deploy("foo").await;
    match client.generation {
        Y2017 => run_2017(client, &release).await,
        V2 | V3 => run_later(client, &release).await,
    }
    until("one-offs to be gone", async || {
        list(&client.json("/apps/foo/processes").await).len() == 1
    })
    .await;
}

async fn run_2017(client: &Official, release: &str) {
    let formation = client.json("/apps/foo/formation").await;
    assert_eq!(text(&list(&formation)[0], "name"), "web");
    let target = "/apps/foo/processes/web/run";
    let headers = [
        ("Command", "echo $RELEASE; exit 3"),
        ("Height", "40"),
        ("Release", ""),
        ("Width", "100"),
    ];
    let (status, output) = attached(client, target, &headers, b"").await;
    assert_eq!((status, output.trim_end()), (3, release));
    let fields = [("command", "echo detached"), ("release", release)];
    let answer = client.post(target, &fields).await.json();
    assert_eq!(answer["success"], true);
    assert_eq!(text(&answer, "pid").len(), 12);
}

async fn run_later(client: &Official, release: &str) {
    if client.generation == V2 {
        client.json("/system").await;
    }
    let start = "/apps/foo/services/web/processes";
    let placeholder = [("Command", "sleep 3600"), ("Release", release)];
    let process = client
        .request("POST", (start, ""), &placeholder, Payload::Nothing)
        .await
        .json();
    let id = text(&process, "id");
    let target = format!("/apps/foo/processes/{id}");
    let mut polls = Vec::new();
    until("the process to run", async || {
        let process = client.json(&target).await;
        shape(&process, PROCESS);
        polls.push(text(&process, "status"));
        polls.ends_with(&["running".into(), "running".into()])
    })
    .await;
    let exec = format!("{target}/exec");
    let input = "0123456789abcdef\n".repeat(500);
    let headers = [
        ("Command", "cat; exit 3"),
        ("Entrypoint", "true"),
        ("Tty", "false"),
    ];
    let answered = attached(client, &exec, &headers, input.as_bytes()).await;
    assert_eq!(answered, (3, input));
    let answered = attached(client, &exec, &headers, b"").await;
    assert_eq!(answered, (3, String::new()), "as with </dev/null");
    // A terminal never ends.
    let headers = [
        ("Command", "echo hello; exit 255"),
        ("Entrypoint", "false"),
        ("Height", "40"),
        ("Width", "100"),
    ];
    let (status, output) = status_of(&client.stream(&exec, &headers).await);
    let output = String::from_utf8(output).expect("text");
    assert_eq!((status, output.trim_end()), (255, "hello"));
    client.fine(&client.delete(&target).await);
    assert_eq!(
        message(client, &client.get(&target).await),
        format!("process not found: {id}")
    );
    if client.generation == V2 {
        client.json("/system").await;
    }
    let command = [("Command", "echo détaché")];
    let process = client
        .request("POST", (start, ""), &command, Payload::Nothing)
        .await
        .json();
    shape(&process, "id:string");
}

/// §7.7
pub(super) async fn exec(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let processes = client.json("/apps/foo/processes").await;
    let id = text(&list(&processes)[0], "id");
    let target = format!("/apps/foo/processes/{id}/exec");
    let headers = |command: &'static str| {
        let mut headers = vec![("Command", command)];
        match client.generation {
            // It sends a size of nothing where there is no terminal.
            Y2017 => headers.extend([("Height", "0"), ("Width", "0")]),
            V2 | V3 => headers.push(("Tty", "false")),
        }
        headers
    };
    for status in [0, 3, 255] {
        let command = [
            "echo to both; exit 0",
            "echo to both; exit 3",
            "echo to both; exit 255",
        ];
        let command = command[[0, 3, 255]
            .iter()
            .position(|of| *of == status)
            .expect("one")];
        let (ended, output) = attached(client, &target, &headers(command), b"").await;
        assert_eq!((ended, output.trim_end()), (status, "to both"));
    }
    let missing = "/apps/foo/processes/ffffffffffff/exec";
    let (status, output) = status_of(&client.stream(missing, &headers("true")).await);
    assert_eq!(
        (status, String::from_utf8(output).expect("text").as_str()),
        (1, "ERROR: process not found: ffffffffffff\n")
    );
}

/// §7.8
pub(super) async fn logs(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let options = |filter: &'static str, since: &'static str| {
        let mut options = vec![("Filter", filter), ("Follow", "false"), ("Since", since)];
        if client.generation != Y2017 {
            options.push(("Prefix", "true"));
            options.sort_unstable();
        }
        options
    };
    let all = client
        .stream("/apps/foo/logs", &options("", "1h0m0s"))
        .await;
    assert!(all.ended, "{all:?}");
    let all = all.text();
    for line in all.lines() {
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.len() == 20 && time.ends_with('Z'), "{line}");
        let (stream, _) = rest.split_once(' ').expect("a stream");
        assert_eq!(stream.split('/').count(), 3, "{line}");
    }
    let promoting = client
        .stream("/apps/foo/logs", &options("promoting release", "2m0s"))
        .await;
    let promoting = promoting.text();
    assert!(
        promoting.lines().count() >= 1
            && promoting
                .lines()
                .all(|line| line.contains("promoting") && line.contains("release")),
        "{promoting:?} of {all}"
    );
    // Followed, it does not end before its client.
    let mut followed = options("", "1h0m0s");
    followed.retain(|(name, _)| !matches!(*name, "Follow" | "Filter"));
    if client.generation == V3 {
        let services = client
            .stream(
                "/apps/foo/services/web/logs",
                &[("Follow", "false"), ("Prefix", "true"), ("Tail", "5")],
            )
            .await;
        assert!(services.ended, "{services:?}");
    }
    let mut socket = client.socket("/apps/foo/logs", &followed).await;
    socket.until("promoting release").await;
    rack.set_env("foo", "A=1").await;
    drop(socket);
    let missing = client.stream("/apps/nope/logs", &followed).await;
    assert_eq!(missing.text(), "ERROR: app not found: nope\n");
    assert!(missing.ended);
}

/// §7.10
pub(super) async fn ps(rack: &Client, client: &Official) {
    let release = rack.deploy("foo").await;
    let processes = match client.generation {
        Y2017 => client.find("/apps/foo/processes", "stats=false").await,
        V2 | V3 => client.get("/apps/foo/processes").await,
    };
    let processes = processes.json();
    assert_eq!(list(&processes).len(), 1);
    let process = &list(&processes)[0];
    shape(process, PROCESS);
    assert_eq!(
        (&process["name"], &process["release"], &process["status"]),
        (&json!("web"), &json!(release), &json!("running"))
    );
    if client.generation != Y2017 {
        let query = format!("release={release}&service=web");
        let found = client.find("/apps/foo/processes", &query).await.json();
        assert_eq!(text(&list(&found)[0], "id"), text(process, "id"));
        let none = client.find("/apps/foo/processes", "service=none").await;
        assert_eq!(none.json(), json!([]));
    }
    if client.generation == V3 {
        assert_eq!(
            client.json("/apps/foo/budget").await,
            json!({ "config": null, "state": null })
        );
    }
    let id = text(process, "id");
    let target = format!("/apps/foo/processes/{id}");
    let looked_up = client.json(&target).await;
    shape(&looked_up, PROCESS);
    assert_eq!(text(&looked_up, "id"), id);
    client.fine(&client.delete(&target).await);
    until("another process in its place", async || {
        let processes = client.json("/apps/foo/processes").await;
        let processes = list(&processes);
        processes.len() == 1
            && processes[0]["id"] != json!(id)
            && processes[0]["status"] == "running"
    })
    .await;
    assert_eq!(
        message(client, &client.delete(&target).await),
        format!("process not found: {id}")
    );
}

/// §7.11
pub(super) async fn scale(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let count = async || {
        let services = if client.generation == Y2017 {
            client.json("/apps/foo/formation").await
        } else {
            if client.generation == V2 {
                client.json("/system").await;
            }
            client.json("/apps/foo/services").await
        };
        shape(
            &list(&services)[0],
            "count:integer cpu:integer memory:integer name:string ports:list",
        );
        let count = list(&services)[0]["count"].as_i64().expect("a number");
        let processes = client.json("/apps/foo/processes").await;
        let running = list(&processes)
            .iter()
            .filter(|process| process["name"] == "web")
            .count();
        (count, running)
    };
    assert_eq!(count().await, (1, 1));
    let fields = [("count", "2")];
    let answer = if client.generation == Y2017 {
        client.post("/apps/foo/formation/web", &fields).await
    } else {
        client.put("/apps/foo/services/web", &fields).await
    };
    client.fine(&answer);
    wait_with_logs(client, "foo").await;
    assert_eq!(count().await, (2, 2));
    if client.generation == V3 {
        client.json("/apps/foo/budget").await;
    }
}

/// §7.12
pub(super) async fn resources(rack: &Client, client: &Official) {
    let manifest = MANIFEST.replace(
        "    port: 3000\n",
        "    port: 3000\n    resources: [cache]\n",
    ) + "resources:\n  cache:\n    type: redis\n";
    rack.create("foo").await;
    assert_eq!(
        client.json("/apps/foo/resources").await,
        json!([]),
        "none before the first promote"
    );
    let files = [("convox.yml", manifest.as_str()), PLAIN[1]];
    let release = rack.release("foo", &files).await;
    rack.promote("foo", &release).await;
    if client.generation == V2 {
        client.json("/system").await;
    }
    let resources = client.json("/apps/foo/resources").await;
    let found = client.json("/apps/foo/resources/cache").await;
    assert_eq!(list(&resources).len(), 1);
    for resource in [&list(&resources)[0], &found] {
        shape(resource, "name:string status:string type:string url:string");
        assert_eq!(
            (&resource["name"], &resource["type"], &resource["status"]),
            (&json!("cache"), &json!("redis"), &json!("running"))
        );
        let url = text(resource, "url");
        let rest = url.strip_prefix("redis://").expect("a scheme");
        assert!(rest.contains(":6379"), "{url}");
    }
    let missing = client.get("/apps/foo/resources/none").await;
    assert_eq!(missing.status, 404);
    message(client, &missing);
}

/// §7.18: `restart`
pub(super) async fn restart(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let before = client.json("/apps/foo/processes").await;
    let services = client.json("/apps/foo/services").await;
    for service in list(&services) {
        let name = text(service, "name");
        let target = format!("/apps/foo/services/{name}/restart");
        client.fine(&client.post(&target, &[]).await);
    }
    wait(client, "foo").await;
    until("the old process to be gone", async || {
        let after = client.json("/apps/foo/processes").await;
        list(&after).len() == 1 && after[0]["id"] != before[0]["id"]
    })
    .await;
    let after = client.json("/apps/foo/processes").await;
    assert_eq!(after[0]["release"], before[0]["release"]);
}

/// §7.10: `ps --stats`, which only the first generation knows. It multiplies the fraction
/// of memory by what the formation says, and fails without a number for builds.
pub(super) async fn ps_stats(rack: &Client, client: &Official) {
    rack.deploy("foo").await;
    let mut processes = json!(null);
    until("the process to be measured", async || {
        let found = client.find("/apps/foo/processes", "stats=true").await;
        processes = found.json();
        let process = &list(&processes)[0];
        shape(process, PROCESS);
        let number = |name: &str| process[name].as_f64().expect("a number");
        number("cpu") > 0.0 && number("memory") > 0.0
    })
    .await;
    let process = &list(&processes)[0];
    let formation = client.json("/apps/foo/formation").await;
    let service = &list(&formation)[0];
    assert_eq!(service["name"], process["name"]);
    let asked = service["memory"].as_f64().expect("a number");
    assert!(asked > 0.0, "{service}");
    let used = process["memory"].as_f64().expect("a number") * asked;
    // It serves a page: more than a page of memory, and less than a gigabyte.
    assert!(0.01 < used && used < 1024.0, "{used} MiB: {process}");
    let machine = client.json("/system/capacity").await;
    let most = machine["cluster-cpu"].as_f64().expect("a number") / 1024.0 * 100.0;
    let cpu = process["cpu"].as_f64().expect("a number");
    assert!(cpu <= most, "{cpu} percent of one processor: {machine}");
    let system = client.json("/system").await;
    let target = format!("/apps/{}/parameters", text(&system, "name"));
    let memory = text(&client.json(&target).await, "BuildMemory");
    assert!(memory.parse::<u64>().is_ok(), "{memory}");
}
