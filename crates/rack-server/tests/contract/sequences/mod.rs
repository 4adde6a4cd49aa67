//! What official clients send for each command, in the order they send it
//! (`rack-api.md` §7), with what they read out of the answers and what it effects.
//! [`super::wire`] writes the requests as each generation does; where generations
//! differ in what they send, it says so here.
//!
//! One file per group of commands has the sequences, one per generation says which of
//! them it knows; here is what they share.

mod apps;
mod builds;
mod processes;
mod rack;
mod start;
mod v2;
mod v3;
mod y2017;

use serde_json::Value;

use self::apps::{
    api_get, apps_cancel, apps_create, apps_delete, apps_export_and_import, apps_lock,
    apps_params_set, login,
};
use self::builds::{build, builds_export_and_import, deploy, env_set, releases_promote};
use self::processes::{exec, logs, ps, ps_stats, resources, restart, run, scale};
use self::rack::{
    certs, cp, proxy, rack, rack_logs, rack_params_set, rack_resources, rack_scale, rack_update,
    registries,
};
use self::start::start;
use super::flow::{status_of, text};
use super::wire::Generation::{V2, V3, Y2017};
use super::wire::Official;
use super::world::{Answer, until};

/// Makes of each sequence a test on either engine, of a generation that has chosen a
/// rack by some name.
macro_rules! replay {
    ($generation:ident, $rack:literal: $($test:ident = $sequence:ident),+ $(,)?) => {
        $(
            async fn $test(engine: $crate::engines::Engine) {
                let (_world, rack) = engine.with_rack().await;
                let client = $crate::wire::Official::new(
                    $crate::wire::Generation::$generation,
                    &rack,
                    $rack,
                );
                $crate::sequences::$sequence(&rack, &client).await;
            }
        )+

        $crate::engines::on_both_engines!($($test),+);
    };
}
use replay;

const ZERO: &str = "0001-01-01T00:00:00Z";
const APP: &str = "generation:string locked:bool name:string release:string status:string";
const BUILD: &str = "app:string description:string entrypoint:string git-sha:string id:string logs:string \
                     manifest:string process:string reason:string release:string status:string started:time";
const RELEASE: &str =
    "app:string build:string created:time description:string env:string id:string manifest:string";
const PROCESS: &str = "app:string command:string cpu:number host:string id:string image:string instance:string \
                       memory:number name:string ports:list release:string started:time status:string";
const SYSTEM: &str = "count:integer domain:string name:string provider:string rack-domain:string region:string \
                      status:string type:string version:string";

/// The fields of an answer are there, and of the kinds that Go reads into its own.
#[track_caller]
fn shape(value: &Value, fields: &str) {
    for field in fields.split_ascii_whitespace() {
        let (name, kind) = field.split_once(':').expect("a kind");
        let found = &value[name];
        let fits = match kind {
            "string" => found.is_string(),
            "bool" => found.is_boolean(),
            "integer" => found.is_i64(),
            "number" => found.is_number(),
            "list" => found.is_array(),
            "time" => found.as_str().is_some_and(|time| {
                time != ZERO && time.ends_with('Z') && time.as_bytes()[10] == b'T'
            }),
            "zero" => found == ZERO,
            other => panic!("{other} is no kind"),
        };
        assert!(fits, "{name} is no {kind} in {value}");
    }
}

/// Reads a list.
#[track_caller]
fn list(value: &Value) -> &[Value] {
    value
        .as_array()
        .unwrap_or_else(|| panic!("{value} is no list"))
}

/// The message that a client shows for a failure.
#[track_caller]
fn message(client: &Official, answer: &Answer) -> String {
    assert!(answer.status >= 400, "{answer:?}");
    if client.generation == Y2017 {
        let error: Value = serde_json::from_slice(&answer.body).expect("JSON");
        text(&error, "error")
    } else {
        answer.text().trim().to_owned()
    }
}

/// Waits as clients do: twice in a row, the app must be running.
async fn wait(client: &Official, app: &str) -> Value {
    let target = format!("/apps/{app}");
    let mut seen = Vec::new();
    until("the app to be running", async || {
        let app = client.json(&target).await;
        if app["status"] == "running" {
            seen.push(app);
        } else {
            seen.clear();
        }
        seen.len() == 2
    })
    .await;
    seen.remove(1)
}

/// What `--wait` does beside that: the log says what happens.
async fn wait_with_logs(client: &Official, app: &str) -> Value {
    if client.generation == Y2017 {
        return wait(client, app).await;
    }
    let options = [("Prefix", "true"), ("Since", "5s")];
    let mut log = client.socket(&format!("/apps/{app}/logs"), &options).await;
    let narrated = log.until(" system/");
    let (waited, narrated) = futures::future::join(wait(client, app), narrated).await;
    for line in narrated.lines().filter(|line| line.contains(" system/")) {
        assert!(line.split(' ').count() >= 3, "{line}");
    }
    if client.generation == V3 {
        let processes = client.json(&format!("/apps/{app}/processes")).await;
        for process in list(&processes) {
            shape(process, PROCESS);
        }
    }
    waited
}

/// From the look at the app to the look whether the release is the one that runs.
async fn promoted(client: &Official, app: &str, release: &str) {
    let target = format!("/apps/{app}");
    let found = client.json(&target).await;
    shape(&found, APP);
    assert_eq!(text(&found, "status"), "running");
    let promote = format!("{target}/releases/{release}/promote");
    let answer = match client.generation {
        Y2017 => {
            let answer = client.post(&promote, &[]).await;
            let promoted = answer.json();
            shape(&promoted, RELEASE);
            assert_eq!(text(&promoted, "id"), release);
            answer
        }
        V2 => client.post(&promote, &[]).await,
        V3 => client.post(&promote, &[("force", "false")]).await,
    };
    client.fine(&answer);
    let waited = wait_with_logs(client, app).await;
    assert_eq!(text(&waited, "release"), release, "no rollback");
    let found = client.json(&target).await;
    assert_eq!(text(&found, "release"), release);
}

/// Sends input in the pieces of the generation; later ones say when it has ended.
async fn attached(
    client: &Official,
    target: &str,
    headers: &[(&str, &str)],
    input: &[u8],
) -> (i64, String) {
    let socket = client.socket(target, headers).await;
    for piece in input.chunks(1024) {
        socket.writer.data(piece).await.expect("sent");
    }
    if client.generation != Y2017 {
        socket.writer.end().await.expect("sent");
    }
    let (status, output) = status_of(&socket.rest().await);
    (status, String::from_utf8(output).expect("text"))
}
