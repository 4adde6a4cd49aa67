//! Where versions 2 and 3 disagree: the rows of `rack-api.md` §8 in their order, each
//! with what the table says to do.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use artifact::Format;
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jiff::{Timestamp, ToSpan as _};
use rack_api::{apart, exit_status};
use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{DOCKERFILE, MANIFEST, PLAIN, status_of, text};
use super::world::{Client, World, until, within};

on_both_engines!(
    error_status_is_typed,
    error_body_is_text_unless_json_is_listed,
    refused_credentials_are_asked_for_once_more,
    errors_after_the_upgrade_travel_in_the_stream,
    build_status_is_never_created,
    exec_command_is_a_shells_or_split,
    exec_target_is_a_process_or_a_service,
    prefix_is_absent_by_default,
    since_is_two_minutes_by_default,
    filter_matches_terms,
    keyroll_answers_no_key_pair,
    instance_cpu_and_memory_are_fractions,
    service_cpu_is_a_whole_number,
    processes_are_sorted_by_name_and_id,
    files_are_named_by_their_whole_path,
    export_archives_of_both_are_imported,
    release_age_is_strict,
    env_base_is_the_latest_release,
    release_lists_may_omit_env,
    head_tells_whether_an_object_is_there,
    resources_before_the_first_promote_are_none,
    object_keys_lose_their_leading_slash,
    budget_and_configs_keep_v3_quiet,
    app_status_is_never_failed,
    roles_with_a_password_are_all,
    read_only_tokens_open_no_socket_that_writes,
    tls_of_the_proxy_is_plain_tcp,
    bodies_of_get_and_delete_are_accepted,
    names_in_proxy_are_the_racks_own,
);

/// Services that end in a known order, with one that says things.
const TALKER: &str = "services:
  web:
    build: .
    port: 3000
    drain: 1
    termination:
      grace: 1
  talker:
    build: .
    command: sh -c 'echo alpha one; echo beta two; sleep 100000'
    termination:
      grace: 1
";

async fn talker(rack: &Client) -> String {
    rack.create("myapp").await;
    let files = [("convox.yml", TALKER), PLAIN[1]];
    let release = rack.release("myapp", &files).await;
    rack.promote("myapp", &release).await;
    release
}

async fn error_status_is_typed(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.put("/apps/myapp", "lock=true").await.ok();
    for (method, target, form, status) in [
        ("GET", "/apps/nope", "", 404),
        ("GET", "/apps/myapp/releases/nope", "", 404),
        ("POST", "/apps", "name=myapp", 409),
        ("DELETE", "/apps/myapp", "", 409),
        ("POST", "/apps", "name=system", 400),
        ("GET", "/apps/myapp/builds?limit=few", "", 400),
        ("POST", "/apps/myapp/cancel", "", 403),
    ] {
        let answer = rack.send(method, target, &[], form.as_bytes()).await;
        assert_eq!(answer.status, status, "{method} {target}");
        assert!(answer.text().trim().len() > 5, "only the text is read");
    }
}

async fn error_body_is_text_unless_json_is_listed(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.send("GET", "/apps/nope", &[("Accept", "*/*")], b"")
        .await
        .fails(404, "app not found: nope");
    let lists = [("Accept", "text/plain, application/json")];
    let answer = rack.send("GET", "/apps/nope", &lists, b"").await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(body, json!({ "error": "app not found: nope" }));
}

async fn refused_credentials_are_asked_for_once_more(engine: Engine) {
    let (world, _rack) = engine.with_rack().await;
    let answer = world.stranger().get("/apps").await;
    answer.fails(401, "invalid authentication");
    // Never `Session`, for which version 2 would look for a console's login.
    assert_eq!(
        answer.header("www-authenticate"),
        Some("Basic realm=\"convox\"")
    );
}

async fn errors_after_the_upgrade_travel_in_the_stream(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let exec = rack
        .stream("/apps/myapp/processes/nope/exec", &[("Command", "true")])
        .await;
    assert_eq!(
        status_of(&exec),
        (1, b"ERROR: process not found: nope\n".to_vec())
    );
    // Who asks for it is told that the rack speaks, by a ping before the same bytes.
    for (path, text) in [
        ("/apps/myapp/processes/nope/exec", "process not found: nope"),
        ("/instances/nope/shell", "instance not found: nope"),
        (
            "/apps/myapp/resources/nope/console",
            "no such resource: nope",
        ),
    ] {
        let headers = [("Command", "true"), (apart::HEADER, apart::WANTED)];
        let mut asking = rack.socket(path, &headers).await;
        let pinged = Arc::new(AtomicBool::new(false));
        let heard = Arc::clone(&pinged);
        asking.reader.on_ping(move |payload| {
            heard.fetch_or(payload == apart::PING, Ordering::Relaxed);
        });
        let said = asking.until("\n").await;
        assert_eq!(said, format!("ERROR: {text}\n"));
        assert!(pinged.load(Ordering::Relaxed), "{path}");
    }
    let log = rack.stream("/apps/nope/logs", &[]).await;
    assert_eq!(
        (log.text().as_str(), log.ended),
        ("ERROR: app not found: nope\n", true),
        "no marker where none belongs"
    );
}

async fn build_status_is_never_created(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let build = rack.start_build("myapp", PLAIN).await;
    assert_eq!(build["status"], "running");
    let target = format!("/apps/myapp/builds/{}", text(&build, "id"));
    let mut seen = Vec::new();
    until("the build to end", async || {
        let build = rack.get(&target).await.json();
        let complete = build["status"] == "complete";
        assert_eq!(complete, build["release"] != "", "both or neither");
        seen.push(text(&build, "status"));
        complete
    })
    .await;
    let unknown = seen
        .iter()
        .find(|status| !["running", "complete"].contains(&status.as_str()));
    assert_eq!(unknown, None);
}

async fn exec_command_is_a_shells_or_split(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    assert_eq!(
        rack.exec("myapp", "web", "A=b; echo $A | cat", b"").await,
        (0, b"b\n".to_vec())
    );
    if !engine.is_docker() {
        // Every simulated image has the simulated shell.
        return;
    }
    let bare = "FROM busybox:1.36 AS tools
RUN mkdir /only && cp /bin/busybox /only/busybox && ln -s busybox /only/echo && ln -s busybox /only/httpd
FROM scratch
COPY --from=tools /only /only
ENV PATH=/only
CMD [\"httpd\", \"-f\", \"-p\", \"3000\"]
";
    let manifest = MANIFEST.replace("interval: 1\n", "interval: 1\n      path: /only/echo\n");
    rack.create("bare").await;
    let files = [("convox.yml", manifest.as_str()), ("Dockerfile", bare)];
    let release = rack.release("bare", &files).await;
    let app = rack.promote("bare", &release).await;
    assert_eq!(app["release"], json!(release), "{}", rack.log("bare").await);
    assert_eq!(
        rack.exec("bare", "web", "echo 'one word'  two", b"").await,
        (0, b"one word two\n".to_vec())
    );
}

async fn exec_target_is_a_process_or_a_service(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
    for target in [id.as_str(), "web"] {
        let said = rack.exec("myapp", target, "echo here", b"").await;
        assert_eq!(said, (0, b"here\n".to_vec()), "{target}");
    }
}

async fn prefix_is_absent_by_default(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    talker(&rack).await;
    until("the lines", async || {
        rack.log("myapp").await.contains("beta two")
    })
    .await;
    let options = [("Follow", "false"), ("Filter", "alpha")];
    let plain = rack.stream("/apps/myapp/logs", &options).await;
    assert_eq!(plain.text(), "alpha one\n");
    let prefixed = [("Follow", "false"), ("Filter", "alpha"), ("Prefix", "true")];
    let prefixed = rack.stream("/apps/myapp/logs", &prefixed).await.text();
    assert!(
        prefixed.contains(" service/talker/") && prefixed.ends_with(" alpha one\n"),
        "{prefixed}"
    );
}

async fn since_is_two_minutes_by_default(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let release = rack.deploy("myapp").await;
    let release = rack.get(&format!("/apps/myapp/releases/{release}")).await;
    let build = text(&release.json(), "build");
    let command = [("Command", "true")];
    let run = "/apps/myapp/services/web/processes";
    let run = rack.send("POST", run, &command, b"").await.json();
    let run = text(&run, "id");
    let record = format!("/apps/myapp/runs/{run}");
    until("the run to end", async || {
        rack.get(&record).await.json()["status"] == 0
    })
    .await;
    let directory = world.rack_directory("staging").join("logs");
    let data = world.stop().await;
    // What an app has said some time ago, written by the log itself.
    let logs = rack_server::logs::Logs::open(&directory).expect("logs");
    for (age, word) in [(180.seconds(), "older"), (60.seconds(), "newer")] {
        let time = Timestamp::now().checked_sub(age).expect("a time");
        let stream = format!("service/web/{run}");
        for log in [logs.app("myapp"), logs.rack()] {
            log.append(time, &stream, word.as_bytes());
        }
    }
    logs.flush().expect("written");
    drop(logs);
    let world = engine.open(data, "").await;
    let rack = Client {
        address: world.address,
        ..rack
    };
    let still = ("Follow", "false");
    let process = format!("/apps/myapp/processes/{run}/logs");
    for target in [
        "/apps/myapp/logs",
        "/apps/myapp/services/web/logs",
        "/system/logs",
        &process,
    ] {
        let log = rack.stream(target, &[still]).await.text();
        let only_newer = log.contains("newer\n") && !log.contains("older");
        assert!(only_newer, "{target}: {log}");
        let log = rack.stream(target, &[still, ("Since", "1h")]).await.text();
        assert!(log.contains("older\nnewer\n"), "{target}: {log}");
    }
    // Build logs are whole, whatever their age and the options.
    let target = format!("/apps/myapp/builds/{build}/logs");
    let whole = rack.stream(&target, &[]).await.text();
    let since = rack.stream(&target, &[("Since", "1ns")]).await.text();
    assert!(!whole.is_empty() && whole == since);
}

async fn filter_matches_terms(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    talker(&rack).await;
    until("the lines", async || {
        rack.log("myapp").await.contains("beta two")
    })
    .await;
    for (filter, lines) in [
        ("alpha", "alpha one\n"),
        ("one alpha", "alpha one\n"),
        ("alpha two", ""),
        ("\"beta two\"", "beta two\n"),
        ("\"two beta\"", ""),
        ("two -alpha", "beta two\n"),
        ("?one ?two", "alpha one\nbeta two\n"),
        ("Alpha", ""),
    ] {
        let options = [("Follow", "false"), ("Filter", filter)];
        let log = rack
            .stream("/apps/myapp/services/talker/logs", &options)
            .await;
        assert_eq!(log.text(), lines, "{filter}");
    }
}

async fn keyroll_answers_no_key_pair(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let answer = rack.post("/instances/keyroll?", "").await;
    // Version 3 would write a key pair's name into the rack's parameters.
    assert_eq!(answer.status, 400);
    assert!(serde_json::from_slice::<Value>(&answer.body).is_err());
}

async fn instance_cpu_and_memory_are_fractions(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let instances = rack.get("/instances").await.json();
    let instances = instances.as_array().expect("a list");
    assert_eq!(instances.len(), 1, "this machine");
    for instance in instances {
        for name in ["cpu", "memory"] {
            let part = instance[name].as_f64().expect("a number");
            assert!((0.0..=1.0).contains(&part), "{name}: {instance}");
            let allocatable = &instance[format!("{name}-allocatable")];
            assert!(
                allocatable.is_null() || *allocatable == json!(0),
                "version 3 would divide by it: {instance}"
            );
        }
    }
}

async fn service_cpu_is_a_whole_number(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    rack.put("/apps/myapp/services/web", "cpu=512").await.ok();
    rack.settled("myapp").await;
    let service = rack.get("/apps/myapp/services").await.json()[0].clone();
    assert_eq!(service["cpu"], 512, "as it was set: {service}");
    assert!(service["memory"].is_u64(), "{service}");
}

async fn processes_are_sorted_by_name_and_id(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    talker(&rack).await;
    rack.put("/apps/myapp/services/web", "count=3").await.ok();
    rack.settled("myapp").await;
    let list = rack.get("/apps/myapp/processes").await.json();
    let keys: Vec<_> = list
        .as_array()
        .expect("a list")
        .iter()
        .map(|process| format!("{}-{}", text(process, "name"), text(process, "id")))
        .collect();
    assert_eq!(keys.len(), 4, "{keys:?}");
    assert!(keys.is_sorted(), "{keys:?}");
}

async fn files_are_named_by_their_whole_path(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
    let target = format!("/apps/myapp/processes/{id}/files?file=%2Fapp%2Fconvox.yml");
    let answer = rack.get(&target).await;
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let mut archive = tar::Archive::new(&answer.body[..]);
    let names: Vec<_> = archive
        .entries()
        .expect("a tar")
        .map(|entry| String::from_utf8_lossy(&entry.expect("an entry").path_bytes()).into_owned())
        .collect();
    assert_eq!(names, ["app/convox.yml"]);
}

/// What an archive of ours is made of: the build, and its images as Docker saves them.
fn taken_apart(archive: &[u8]) -> (artifact::BuildRecord, Vec<u8>) {
    use std::io::Read as _;

    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let (mut record, mut images) = (None, None);
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a name").display().to_string();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        if name == "build.json" {
            record = Some(serde_json::from_slice(&bytes).expect("a build"));
        } else if Path::new(&name).extension().is_some_and(|end| end == "tar") {
            images = Some(bytes);
        }
    }
    (record.expect("a build"), images.expect("images"))
}

/// Services and their tags in what Docker has saved.
fn tags_in(images: &[u8]) -> BTreeMap<String, String> {
    use std::io::Read as _;

    let mut archive = tar::Archive::new(images);
    let mut entries = archive.entries().expect("a tar");
    let is_manifest = |path: &Path| path == Path::new("manifest.json");
    let mut manifest = entries
        .find_map(|entry| {
            let entry = entry.expect("an entry");
            let found = is_manifest(&entry.path().expect("a name"));
            found.then_some(entry)
        })
        .expect("a manifest");
    let mut text = String::new();
    manifest.read_to_string(&mut text).expect("text");
    let manifest: Value = serde_json::from_str(&text).expect("JSON");
    let images = manifest.as_array().expect("images").iter();
    let tags = images.flat_map(|image| image["RepoTags"].as_array().expect("tags"));
    tags.map(|tag| {
        let tag = tag.as_str().expect("a tag");
        let (_, word) = tag.rsplit_once(':').expect("a tag");
        let (service, _) = word.split_once('.').expect("a service");
        (service.to_owned(), tag.to_owned())
    })
    .collect()
}

async fn export_archives_of_both_are_imported(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    staging.create("myapp").await;
    production.create("myapp").await;
    let (build, log) = staging.build("myapp", PLAIN).await;
    assert_eq!(build["status"], "complete", "{log}");
    let target = format!("/apps/myapp/builds/{}.tgz", text(&build, "id"));
    let exported = staging.get(&target).await;
    assert_eq!(exported.status, 200);
    let (record, images) = taken_apart(&exported.body);
    let tags = tags_in(&images);
    for format in [Format::Default, Format::V2, Format::V3] {
        let mut images = Cursor::new(&images);
        let mut archive = Vec::new();
        artifact::prepare(
            format,
            &record,
            &[],
            &artifact::Source::default(),
            &tags,
            &mut images,
        )
        .and_then(|prepared| prepared.write(&mut images, &mut archive, 1))
        .expect("an archive");
        let imported = production
            .upload("/apps/myapp/builds/import?", &archive)
            .await;
        let imported = imported.json();
        assert_eq!(imported["status"], "complete", "{format:?}");
        assert_eq!(imported["images"], build["images"], "{format:?}");
    }
}

async fn release_age_is_strict(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let first = rack.deploy("myapp").await;
    // Made as fast as can be, and still each at a time of its own.
    let mut created = Vec::new();
    let mut last = String::new();
    for number in 0..20 {
        let release = rack.set_env("myapp", &format!("N={number}")).await;
        created.push(text(&release, "created"));
        last = text(&release, "id");
    }
    let mut times: Vec<Timestamp> = created
        .iter()
        .map(|time| time.parse().expect("a time"))
        .collect();
    assert!(times.is_sorted(), "{created:?}");
    times.dedup();
    assert_eq!(times.len(), 20, "{created:?}");
    rack.promote("myapp", &last).await;
    rack.post(&format!("/apps/myapp/releases/{first}/promote"), "")
        .await
        .fails(400, "can not promote an older release, try rollback");
}

async fn env_base_is_the_latest_release(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    rack.set_env("myapp", "LATEST=yes").await;
    let next = rack
        .post("/apps/myapp/releases", "description=mine")
        .await
        .json();
    assert_eq!(next["env"], "LATEST=yes", "though it was never promoted");
}

async fn release_lists_may_omit_env(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let release = rack.set_env("myapp", "A=secret").await;
    let list = rack.get("/apps/myapp/releases?limit=1").await.json();
    assert_eq!(
        (&list[0]["id"], &list[0]["env"]),
        (&release["id"], &json!(""))
    );
    let one = format!("/apps/myapp/releases/{}", text(&release, "id"));
    assert_eq!(rack.get(&one).await.json()["env"], "A=secret");
}

async fn head_tells_whether_an_object_is_there(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.upload("/apps/myapp/objects/a/b", b"x").await.json();
    for (key, status) in [("a/b", 200), ("a/c", 404)] {
        let target = format!("/apps/myapp/objects/{key}");
        let answer = rack.send("HEAD", &target, &[], b"").await;
        assert_eq!((answer.status, answer.body.len()), (status, 0), "{key}");
    }
}

async fn resources_before_the_first_promote_are_none(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    assert_eq!(rack.get("/apps/myapp/resources").await.json(), json!([]));
}

async fn object_keys_lose_their_leading_slash(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let stored = rack.upload("/apps/myapp/objects//tmp/a", b"x").await.json();
    assert_eq!(stored["Url"], "object://myapp/tmp/a");
    assert_eq!(rack.get("/apps/myapp/objects/tmp/a").await.body, b"x");
    rack.delete("/apps/myapp/objects//tmp/a").await.ok();
}

async fn budget_and_configs_keep_v3_quiet(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let budget = rack.get("/apps/myapp/budget?").await.json();
    assert_eq!(budget, json!({ "config": null, "state": null }));
    rack.get("/apps/myapp/configs/cli-env-mask?")
        .await
        .fails(404, "app config not found: cli-env-mask");
    assert_eq!(rack.get("/apps/myapp/configs?").await.json(), json!([]));
}

async fn app_status_is_never_failed(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let good = rack.deploy("myapp").await;
    let bad = DOCKERFILE.replace("[\"httpd\", \"-f\", \"-p\", \"3000\"]", "[\"false\"]");
    let bad = rack
        .release("myapp", &[PLAIN[0], ("Dockerfile", &bad)])
        .await;
    rack.post(&format!("/apps/myapp/releases/{bad}/promote"), "")
        .await
        .ok();
    let mut seen = Vec::new();
    until("the end of the promote", async || {
        let status = text(&rack.get("/apps/myapp").await.json(), "status");
        seen.push(status.clone());
        status == "running"
    })
    .await;
    let words = ["updating", "rollback", "running"];
    assert!(
        seen.iter().all(|status| words.contains(&status.as_str())),
        "{seen:?}"
    );
    let app = rack.get("/apps/myapp").await.json();
    assert_eq!(app["release"], json!(good), "what waits reads this");
}

/// A client that presents a token.
async fn with_token(world: &World, maker: &Client, role: &str) -> Client {
    let form = format!("durationInHour=1&role={role}");
    let made = maker.post("/system/jwt/token", &form).await.json();
    let credentials = BASE64_STANDARD.encode(format!("jwt:{}", text(&made, "token")));
    world
        .stranger()
        .with("Authorization", &format!("Basic {credentials}"))
}

async fn roles_with_a_password_are_all(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    for (role, rights) in [("read", "r"), ("write", "rw"), ("admin", "rwa")] {
        let made = rack
            .post(
                "/system/jwt/token",
                &format!("durationInHour=1&role={role}"),
            )
            .await
            .json();
        let token = text(&made, "token");
        let claims = token.split('.').nth(1).expect("claims");
        let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).expect("base64");
        let claims: Value = serde_json::from_slice(&claims).expect("JSON");
        assert_eq!(claims["role"], rights);
    }
    let writer = with_token(&world, &rack, "write").await;
    writer.create("myapp").await;
    writer
        .put("/system/jwt/rotate", "")
        .await
        .fails(403, "admin role required");
    // A password may do what only an administrator may.
    rack.put("/system/jwt/rotate", "").await.ok();
    let answer = writer.get("/apps").await;
    assert_eq!(answer.status, 401, "its key is gone: {}", answer.text());
}

async fn read_only_tokens_open_no_socket_that_writes(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let reader = with_token(&world, &rack, "read").await;
    assert_eq!(reader.get("/apps").await.json()[0]["name"], "myapp");
    let command = [("Command", "true"), ("Tty", "false")];
    let refused = reader
        .stream("/apps/myapp/processes/web/exec", &command)
        .await;
    assert_eq!(
        status_of(&refused),
        (1, b"ERROR: process exec requires write access\n".to_vec())
    );
    let refused = reader.stream("/proxy/web.myapp/3000", &[]).await;
    assert_eq!(refused.text(), "ERROR: proxy requires write access\n");
    let log = reader
        .stream("/apps/myapp/logs", &[("Follow", "false")])
        .await;
    assert!(log.text().contains("is active"), "{}", log.text());
}

/// What a port of the rack answers to a plain HTTP request.
async fn through_proxy(rack: &Client, host: &str, headers: &[(&str, &str)]) -> String {
    let socket = rack.socket(&format!("/proxy/{host}/3000"), headers).await;
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    // A refused connection takes nothing.
    let _ = socket.writer.data(request).await;
    let _ = socket.writer.end().await;
    socket.rest().await.text()
}

async fn tls_of_the_proxy_is_plain_tcp(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let answer = through_proxy(&rack, "web.myapp", &[("Tls", "true")]).await;
    assert!(answer.starts_with("HTTP/1."), "{answer}");
}

async fn bodies_of_get_and_delete_are_accepted(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let form = [("Content-Type", super::world::FORM)];
    let listed = rack
        .send("GET", "/certificates?", &form, b"generated=true")
        .await;
    assert_eq!(listed.json(), json!([]));
    let app = rack.send("GET", "/apps/myapp?", &form, b"name=other").await;
    assert_eq!(app.json()["name"], "myapp");
    rack.send("DELETE", "/apps/myapp?", &form, b"ack_by=me")
        .await
        .ok();
}

async fn names_in_proxy_are_the_racks_own(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let answer = through_proxy(&rack, "web.myapp", &[]).await;
    assert!(answer.starts_with("HTTP/1."), "{answer}");
    let port = world.address.port();
    for host in ["localhost", "127.0.0.1", "169.254.169.254", "example.com"] {
        let target = format!("/proxy/{host}/{port}");
        let answer = within(host, rack.stream(&target, &[])).await.text();
        assert!(
            answer.starts_with("ERROR: ") && !answer.contains(exit_status::MARKER),
            "{host}: {answer}"
        );
    }
}
