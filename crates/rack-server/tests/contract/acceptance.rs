//! The acceptance checklist of `rack-api.md` §9, line by line. The lines that speak of
//! "both CLIs" are tested by what those send and read.

use rack_api::exit_status;
use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{DOCKERFILE, PLAIN, source, status_of, text};
use super::frames::{BINARY, CLOSE, Frame, TEXT};
use super::world::{Client, until};

on_both_engines!(
    line_01_system_with_an_empty_session_header,
    line_02_unknown_paths_and_methods_are_empty_404s,
    line_03_passwords_with_signs_authenticate,
    line_04_bytes_arrive_unaltered,
    line_05_exit_codes_propagate,
    line_06_no_data_in_binary_frames_and_an_end_to_every_stream,
    line_07_runs_without_input_with_input_and_on_a_terminal,
    line_08_logs_end_parse_durations_and_cut_seconds,
    line_09_build_logs_replay_byte_for_byte,
    line_10_a_deploy_tells_its_story_once_and_fails_with_rollback,
    line_11_a_deleted_app_is_not_found,
    line_12_large_chunked_unnamed_and_slashed,
    line_13_maps_and_lists,
    line_14_files_are_copied_both_ways,
    line_15_what_v3_lists_needs_no_word_on_stderr,
    line_16_errors_hold_no_percent_sign,
    line_17_downloads_are_not_encoded,
    line_18_zero_times_and_whole_numbers,
);

/// Id of the only process of a service.
async fn process(rack: &Client, app: &str, service: &str) -> String {
    let target = format!("/apps/{app}/processes?service={service}");
    text(&rack.get(&target).await.json()[0], "id")
}

async fn line_01_system_with_an_empty_session_header(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    let request = format!(
        "GET /system? HTTP/1.1\r\nHost: {}\r\nAuthorization: {}\r\nSession: \r\n\
         Content-Type: application/octet-stream\r\nConnection: close\r\n\r\n",
        world.address, rack.headers[0].1
    );
    let system = rack.raw(request.as_bytes()).await.json();
    assert_eq!(
        (&system["name"], &system["status"], &system["provider"]),
        (&json!("staging"), &json!("running"), &json!("local"))
    );
}

async fn line_02_unknown_paths_and_methods_are_empty_404s(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    for (method, target) in [
        ("GET", "/machines"),
        ("GET", "/nowhere?"),
        ("PATCH", "/apps"),
        ("POST", "/system"),
    ] {
        let answer = rack.send(method, target, &[], b"").await;
        assert_eq!(
            (
                answer.status,
                answer.header("content-type"),
                answer.body.len()
            ),
            (404, None, 0),
            "{method} {target}"
        );
    }
    // Our server is also the console that clients look for there.
    let racks = rack.get("/racks").await.json();
    assert_eq!(racks[0]["name"], "staging");
}

async fn line_03_passwords_with_signs_authenticate(engine: Engine) {
    const PASSWORD: &str = "a+b!/c%d";
    let world = engine.with_password(PASSWORD).empty().await;
    // As typed, and as Go takes it from the text of a URL.
    for sent in [PASSWORD, "a+b%21%2Fc%25d"] {
        world.with_password(sent).get("/auth").await.ok();
    }
    for wrong in ["a b!/c%d", "a+b!/c", "a%2Bb!/c%d%00"] {
        let answer = world.with_password(wrong).get("/auth").await;
        answer.fails(401, "invalid authentication");
    }
}

async fn line_04_bytes_arrive_unaltered(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = process(&rack, "myapp", "web").await;
    let mut input: Vec<u8> = (0..3000).map(|_| rand::random()).collect();
    assert_eq!(
        rack.exec("myapp", &id, "cat", &input).await,
        (0, input.clone())
    );
    // Surely no UTF-8, cut in the middle of what looks like a character.
    input.splice(1020..1030, *b"\xff\xfe\xf0\x9f\x98\xc3\x28\0\x80\xe2");
    assert_eq!(rack.exec("myapp", &id, "cat", &input).await, (0, input));
}

async fn line_05_exit_codes_propagate(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = process(&rack, "myapp", "web").await;
    for status in [0, 3, 255] {
        let command = format!("exit {status}");
        let (found, _) = rack.exec("myapp", &id, &command, b"").await;
        assert_eq!(found, status, "{command}");
    }
    // No shell says -1, but an engine may of a process that never began.
    assert_eq!(
        exit_status::encode(-1),
        format!("{}-1\n", exit_status::MARKER)
    );
    for (target, command, error) in [
        ("ffffffffffff", "true", "process not found: ffffffffffff"),
        (id.as_str(), "", "a command is required"),
    ] {
        let (status, output) = rack.exec("myapp", target, command, b"").await;
        let output = String::from_utf8(output).expect("text");
        assert_eq!(output, format!("ERROR: {error}\n"));
        assert_ne!(status, 0, "{error}");
    }
}

/// A stream is text frames, then one empty binary frame, then the socket's end.
#[track_caller]
fn ends_well(frames: &[Frame], what: &str) {
    let opcodes: Vec<_> = frames.iter().map(|frame| frame.opcode).collect();
    let [data @ .., BINARY, CLOSE] = &opcodes[..] else {
        panic!("{what}: {frames:?}");
    };
    assert!(data.iter().all(|opcode| *opcode == TEXT), "{what}");
    assert!(!data.is_empty(), "{what}: nothing was said");
    let end = &frames[frames.len() - 2];
    assert!(end.payload.is_empty(), "{what}: data at the end is lost");
}

async fn line_06_no_data_in_binary_frames_and_an_end_to_every_stream(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let release = rack.deploy("myapp").await;
    let id = process(&rack, "myapp", "web").await;
    let build = text(
        &rack
            .get(&format!("/apps/myapp/releases/{release}"))
            .await
            .json(),
        "build",
    );
    let still = [("Follow", "false"), ("Since", "1h0m0s")];
    let exec = [
        ("Command", "echo said; printf '\\377\\376'"),
        ("Tty", "false"),
    ];
    let sockets = [
        "/apps/myapp/logs".to_owned(),
        "/system/logs".to_owned(),
        format!("/apps/myapp/builds/{build}/logs"),
        format!("/apps/myapp/processes/{id}/exec"),
        "/apps/nope/logs".to_owned(),
        "/apps/myapp/builds/nope/logs".to_owned(),
        "/apps/myapp/processes/nope/logs".to_owned(),
        "/apps/nope/processes/nope/exec".to_owned(),
    ];
    for target in sockets {
        let execs = target.ends_with("/exec");
        let headers = if execs { &exec } else { &still };
        let frames = rack.frames(&target, headers, execs).await;
        ends_well(&frames, &target);
        if execs {
            let marker = String::from_utf8_lossy(&frames[frames.len() - 3].payload);
            assert!(
                marker.starts_with(exit_status::MARKER) && marker.ends_with('\n'),
                "{target}: the marker has a frame of its own: {frames:?}"
            );
        }
    }
}

async fn line_07_runs_without_input_with_input_and_on_a_terminal(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let headers = [
        ("Command", "sleep 3600"),
        ("Height", "40"),
        ("Width", "100"),
    ];
    let run = rack
        .send("POST", "/apps/myapp/services/web/processes?", &headers, b"")
        .await
        .json();
    let id = text(&run, "id");
    let target = format!("/apps/myapp/processes/{id}");
    until("the process to run", async || {
        rack.get(&target).await.json()["status"] == "running"
    })
    .await;
    // `</dev/null`, then piped.
    assert_eq!(
        rack.exec("myapp", &id, "cat; exit 4", b"").await,
        (4, Vec::new())
    );
    assert_eq!(
        rack.exec("myapp", &id, "cat", b"piped").await,
        (0, b"piped".to_vec())
    );
    // Without the header there is a terminal, whose client says nothing of an end.
    // The size may arrive when the command has begun, as that of a window does.
    let command = if engine.is_docker() {
        "until [ \"$(stty size)\" = \"40 100\" ]; do usleep 10000; done 2>/dev/null; echo typed; exit 5"
    } else {
        "echo typed; exit 5"
    };
    let headers = [
        ("Command", command),
        ("Entrypoint", "false"),
        ("Height", "40"),
        ("Width", "100"),
    ];
    let socket = rack.socket(&format!("{target}/exec"), &headers).await;
    let (status, output) = status_of(&socket.rest().await);
    let output = String::from_utf8(output).expect("text");
    assert_eq!(status, 5, "{output}");
    let line_end = if engine.is_docker() { "\r\n" } else { "\n" };
    assert_eq!(output, format!("typed{line_end}"));
    rack.delete(&target).await.ok();
    rack.get(&target)
        .await
        .fails(404, &format!("process not found: {id}"));
}

async fn line_08_logs_end_parse_durations_and_cut_seconds(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let options = [("Follow", "false"), ("Prefix", "true"), ("Since", "1h0m0s")];
    let log = rack.stream("/apps/myapp/logs", &options).await;
    assert!(log.ended);
    let log = log.text();
    assert!(log.contains("is active"), "{log}");
    for line in log.lines() {
        let (time, _) = line.split_once(' ').expect("a time");
        let shape: String = time
            .chars()
            .map(|c| if c.is_ascii_digit() { '0' } else { c })
            .collect();
        assert_eq!(shape, "0000-00-00T00:00:00Z", "{line}");
    }
}

async fn line_09_build_logs_replay_byte_for_byte(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let loud = format!(
        "FROM busybox:1.36\nRUN printf '\\033[31mred {}\\033[0m\\n' && sleep 1\nRUN echo second\n",
        rack_api::id::hex(8)
    );
    let files = [PLAIN[0], ("Dockerfile", loud.as_str())];
    let id = text(&rack.start_build("myapp", &files).await, "id");
    let target = format!("/apps/myapp/builds/{id}/logs");
    // One follows from the beginning, one comes when something has been said.
    let mut first = rack.socket(&target, &[]).await;
    let begun = first.until("\n").await;
    let (first, second) = tokio::join!(first.rest(), rack.stream(&target, &[]));
    let first = [begun.into_bytes(), first.bytes()].concat();
    let kept = rack.stream(&target, &[("Prefix", "true")]).await;
    let again = rack.stream(&target, &[("Since", "1ns")]).await;
    assert!(second.ended && kept.ended && again.ended);
    let text = String::from_utf8(first).expect("text");
    assert!(
        text.contains("second") && !text.contains('\u{1b}'),
        "{text}"
    );
    for replay in [&second, &kept, &again] {
        assert_eq!(replay.text(), text);
    }
}

async fn line_10_a_deploy_tells_its_story_once_and_fails_with_rollback(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let good = rack.release("myapp", PLAIN).await;
    let bad = DOCKERFILE.replace(
        "[\"httpd\", \"-f\", \"-p\", \"3000\"]",
        "[\"sh\", \"-c\", \"exit 7\"]",
    );
    let bad = rack
        .release("myapp", &[PLAIN[0], ("Dockerfile", &bad)])
        .await;
    for (release, active, last) in [
        (&good, &good, "is active"),
        (&bad, &good, "was rolled back"),
    ] {
        // As clients wait: the log is open before the promote.
        let mut log = rack
            .socket("/apps/myapp/logs", &[("Prefix", "true"), ("Since", "1ns")])
            .await;
        let answer = rack
            .post(
                &format!("/apps/myapp/releases/{release}/promote?"),
                "force=false",
            )
            .await;
        answer.ok();
        let app = rack.settled("myapp").await;
        assert_eq!(app["release"], json!(active));
        let told = log.until(last).await;
        let told: Vec<_> = told
            .lines()
            .filter(|line| {
                let fields: Vec<_> = line.splitn(3, ' ').collect();
                fields.len() == 3 && fields[1].starts_with("system/")
            })
            .collect();
        assert!(!told.is_empty());
        let promoting = format!("promoting release {release}");
        for once in [promoting.as_str(), last] {
            let times = told.iter().filter(|line| line.contains(once)).count();
            assert_eq!(times, 1, "{once}: {told:#?}");
        }
    }
}

async fn line_11_a_deleted_app_is_not_found(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    rack.delete("/apps/myapp?").await.ok();
    for _ in 0..2 {
        rack.get("/apps/myapp?")
            .await
            .fails(404, "app not found: myapp");
    }
}

async fn line_12_large_chunked_unnamed_and_slashed(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let large: Vec<u8> = (0..3 << 20).map(|n: u32| (n >> 9) as u8).collect();
    let stored = rack
        .upload("/apps/myapp/objects/tmp/large.tgz?", &large)
        .await;
    assert_eq!(stored.json()["Url"], "object://myapp/tmp/large.tgz");
    let fetched = rack.get("/apps/myapp/objects//tmp/large.tgz").await;
    assert!(fetched.body == large, "byte for byte");

    let unnamed = rack.upload("/apps/myapp/objects/?", &source(PLAIN)).await;
    let url = text(&unnamed.json(), "Url");
    let key = url.strip_prefix("object://myapp/tmp/").expect("a key");
    assert_eq!(key.len(), 30, "{url}");
    let url: String = form_urlencoded::byte_serialize(url.as_bytes()).collect();
    let build = rack
        .post(
            "/apps/myapp/builds?",
            &format!("development=true&url={url}"),
        )
        .await;
    let id = text(&build.json(), "id");
    rack.stream(&format!("/apps/myapp/builds/{id}/logs"), &[])
        .await;
    let archive = rack
        .get(&format!("/apps/myapp/builds/{id}.tgz?"))
        .await
        .body;
    let chunks: Vec<_> = archive.chunks(archive.len() / 5 + 1).collect();
    let imported = rack
        .send_chunked("POST", "/apps/myapp/builds/import?", &chunks)
        .await
        .json();
    assert_eq!(imported["status"], "complete");
    assert_ne!(imported["release"], "");

    // Slashes of a server's name, doubled and at its end, belong to it.
    let server = "https://registry.example.com/v1/";
    let removed = rack.delete(&format!("/registries/{server}?")).await;
    removed.fails(404, &format!("no such registry: {server}"));
}

async fn line_13_maps_and_lists(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    rack.put("/apps/myapp", "parameters=Bar%3Da%2526b%26Foo%3D1")
        .await
        .ok();
    let app = rack.get("/apps/myapp").await.json();
    assert_eq!(app["parameters"], json!({ "Bar": "a&b", "Foo": "1" }));

    let dockerfile = format!(
        "FROM busybox:1.36\nARG ONE\nARG TWO\nWORKDIR /app\nRUN echo \"[$ONE] [$TWO]\" && echo {} >index.html\n\
         CMD [\"httpd\", \"-f\", \"-p\", \"3000\"]\n",
        rack_api::id::hex(8)
    );
    let files = [PLAIN[0], ("Dockerfile", dockerfile.as_str())];
    rack.upload("/apps/myapp/objects/a.tgz", &source(&files))
        .await
        .json();
    let form = "build-args=ONE%3D1%2CTWO%3Dtwo&url=object%3A%2F%2Fmyapp%2Fa.tgz";
    let build = rack.post("/apps/myapp/builds", form).await.json();
    let log = format!("/apps/myapp/builds/{}/logs", text(&build, "id"));
    let log = rack.stream(&log, &[]).await.text();
    assert!(log.contains("[1] [two]"), "{log}");

    let build = rack
        .get(&format!("/apps/myapp/builds/{}", text(&build, "id")))
        .await
        .json();
    rack.promote("myapp", &text(&build, "release")).await;
    let headers = [
        (
            "Command",
            "echo \"$ONE and $TWO\"; echo kept >/mnt/file; cat /mnt/file",
        ),
        ("Environment", "ONE=a%26b&TWO=c%3Dd"),
        ("Volumes", "scratch=%2Fmnt"),
    ];
    rack.send("POST", "/apps/myapp/services/web/processes", &headers, b"")
        .await
        .json();
    until("the output", async || {
        rack.log("myapp").await.contains("a&b and c=d")
    })
    .await;
    if engine.is_docker() {
        until("the file", async || {
            rack.log("myapp").await.contains(" kept\n")
        })
        .await;
    }
}

/// A plain tar of one entry, as `cp` sends it.
fn tar(name: &str, bytes: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    // Clients send absolute names, which the builder would not write.
    header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, bytes).expect("memory");
    builder.into_inner().expect("memory")
}

/// Names and contents of the files of a tar.
fn untar(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    use std::io::Read as _;

    let mut archive = tar::Archive::new(bytes);
    let mut found = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).expect("its bytes");
        if entry.header().entry_type().is_file() {
            found.push((name, bytes));
        }
    }
    found.sort();
    found
}

async fn line_14_files_are_copied_both_ways(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let id = process(&rack, "myapp", "web").await;
    let files = format!("/apps/myapp/processes/{id}/files");
    let file = ("tmp/in/one.txt".to_owned(), b"one\xff\0".to_vec());
    rack.upload(&format!("{files}?"), &tar("/tmp/in/one.txt", &file.1))
        .await
        .ok();
    let two = tar("/tmp/in/deep/two.txt", b"two");
    rack.send_chunked("POST", &files, &[&two[..700], &two[700..]])
        .await
        .ok();
    // Names are whole paths without their first slash, for a file and for a directory.
    let one = rack
        .get(&format!("{files}?file=%2Ftmp%2Fin%2Fone.txt"))
        .await;
    assert_eq!(one.status, 200, "{}", String::from_utf8_lossy(&one.body));
    assert_eq!(untar(&one.body), std::slice::from_ref(&file));
    let all = rack.get(&format!("{files}?file=%2Ftmp%2Fin")).await;
    assert_eq!(
        untar(&all.body),
        [
            ("tmp/in/deep/two.txt".to_owned(), b"two".to_vec()),
            file.clone()
        ]
    );
    let missing = rack.get(&format!("{files}?file=%2Fnowhere")).await;
    assert_eq!(missing.status, 404, "{}", missing.text());
}

async fn line_15_what_v3_lists_needs_no_word_on_stderr(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    for target in [
        "/system?",
        "/apps/myapp/services?",
        "/apps/myapp/processes?",
    ] {
        rack.get(target).await.json();
    }
    let budget = rack.get("/apps/myapp/budget?").await.json();
    assert_eq!(budget, json!({ "config": null, "state": null }));
}

async fn line_16_errors_hold_no_percent_sign(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    for (method, target) in [
        ("GET", "/apps/100%25s"),
        ("POST", "/apps?name=100%25s"),
        ("GET", "/apps/myapp/builds/100%25s"),
        ("GET", "/apps/myapp/builds/100%25s.tgz"),
        ("GET", "/apps/myapp/releases/100%25s"),
        ("GET", "/apps/myapp/objects/100%25s"),
        ("GET", "/apps/myapp/processes/100%25s"),
        ("GET", "/apps/myapp/resources/100%25s"),
        ("POST", "/apps/myapp/builds?url=100%25s"),
        ("GET", "/apps/myapp/builds?limit=100%25s"),
        ("GET", "/apps/myapp?settled=100%25s"),
    ] {
        let answer = rack.send(method, target, &[], b"").await;
        let text = answer.text();
        assert!((400..500).contains(&answer.status), "{target}: {text}");
        assert!(!text.contains('%') && text.len() > 1, "{target}: {text}");
    }
    let stream = rack.stream("/apps/100%25s/logs", &[]).await;
    assert_eq!(stream.text(), "ERROR: app not found: 100 percents\n");
}

async fn line_17_downloads_are_not_encoded(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    let release = rack.deploy("myapp").await;
    let id = process(&rack, "myapp", "web").await;
    rack.upload("/apps/myapp/objects/kept.tgz", &source(PLAIN))
        .await
        .json();
    let targets = [
        "/apps/myapp/objects/kept.tgz".to_owned(),
        format!("/apps/myapp/builds/{release}.tgz"),
        format!("/apps/myapp/processes/{id}/files?file=%2Fapp%2Fconvox.yml"),
    ];
    for target in targets {
        let asks = [("Accept-Encoding", "gzip")];
        let answer = rack.send("GET", &target, &asks, b"").await;
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (200, None),
            "{target}"
        );
        assert!(!answer.body.is_empty(), "{target}");
    }
}

/// Every number below a value that is no whole number, by its name.
fn fractions(value: &Value, name: &str, found: &mut Vec<String>) {
    match value {
        Value::Number(number) if number.is_f64() => found.push(name.to_owned()),
        Value::Array(items) => items.iter().for_each(|item| fractions(item, name, found)),
        Value::Object(fields) => {
            for (name, value) in fields {
                fractions(value, name, found);
            }
        }
        _ => {}
    }
}

async fn line_18_zero_times_and_whole_numbers(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.deploy("myapp").await;
    let started = rack.start_build("myapp", PLAIN).await;
    assert_eq!(started["ended"], "0001-01-01T00:00:00Z");
    let log = format!("/apps/myapp/builds/{}/logs", text(&started, "id"));
    rack.stream(&log, &[]).await;
    for target in [
        "/system",
        "/apps",
        "/apps/myapp/services",
        "/apps/myapp/builds",
        "/apps/myapp/releases",
        "/system/capacity",
    ] {
        let mut found = Vec::new();
        fractions(&rack.get(target).await.json(), "", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{target}");
    }
    // The floats of the contract are floats of the contract only.
    let mut found = Vec::new();
    let processes = rack.get("/apps/myapp/processes").await.json();
    fractions(&processes, "", &mut found);
    assert!(
        found
            .iter()
            .all(|name| ["cpu", "memory"].contains(&name.as_str())),
        "{processes}"
    );
}
