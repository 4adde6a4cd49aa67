//! The simulated engine, seen through the trait every engine has.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use rack_server::engine::simulated::{CONTEXT_FILE, Clock, Simulated, VARIABLE};
use rack_server::engine::{
    BuildSpec, Engine, EngineError, Exec, ExecSpec, Image, Labels, LogChunk, Phase, ProcessEvent,
    ProcessEventKind, ProcessSpec, Reader, Result, label,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

const WEB: &str = "FROM busybox:1.36\nWORKDIR /app\nCOPY . .\nRUN echo compiling\nEXPOSE 8080\nCMD [\"httpd\", \"-f\"]\n";

async fn within<F: Future>(what: &str, work: F) -> F::Output {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not happen in {DEADLINE:?}"),
    }
}

fn tar_of(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, path, text.as_bytes())
            .expect("memory does not fail");
    }
    builder.into_inner().expect("memory does not fail")
}

fn reader(bytes: Vec<u8>) -> Reader {
    Box::pin(std::io::Cursor::new(bytes))
}

fn spec_of(files: &[(&str, &str)]) -> BuildSpec {
    BuildSpec {
        dockerfile: "Dockerfile".to_owned(),
        args: BTreeMap::new(),
        target: None,
        no_cache: false,
        registries: BTreeMap::new(),
        context: reader(tar_of(files)),
    }
}

async fn build_spec(engine: &Simulated, spec: BuildSpec) -> (Result<Image>, String) {
    let (log, mut lines) = mpsc::channel::<Bytes>(8);
    let collect = async {
        let mut text = Vec::new();
        while let Some(chunk) = lines.recv().await {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).expect("build logs are text")
    };
    let build = engine.build(spec, log, CancellationToken::new());
    within("the build", async { tokio::join!(build, collect) }).await
}

async fn build(engine: &Simulated, files: &[(&str, &str)]) -> Image {
    let (image, log) = build_spec(engine, spec_of(files)).await;
    image.unwrap_or_else(|error| panic!("{error}\n{log}"))
}

async fn build_error(engine: &Simulated, files: &[(&str, &str)]) -> (String, String) {
    let (image, log) = build_spec(engine, spec_of(files)).await;
    (image.expect_err("the build fails").to_string(), log)
}

async fn read_all(mut reader: Reader) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await?;
    Ok(bytes)
}

fn labels(name: &str) -> Labels {
    Labels::from([
        (label::NAME.to_owned(), name.to_owned()),
        (label::KIND.to_owned(), "service".to_owned()),
        (label::RELEASE.to_owned(), "RABCDEFGHIJ".to_owned()),
    ])
}

fn process_spec(image: &Image, name: &str, command: &str) -> ProcessSpec {
    ProcessSpec {
        name: format!(
            "staging-myapp-{name}-{}",
            Sha256::digest(command).iter().map(|byte| u32::from(*byte)).sum::<u32>()
        ),
        image: image.id.clone(),
        command: (!command.is_empty())
            .then(|| vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()]),
        labels: labels(name),
        ..ProcessSpec::default()
    }
}

async fn running(engine: &Simulated, name: &str) -> String {
    let image = build(engine, &[("Dockerfile", WEB), ("index.html", "hello")]).await;
    let id = engine
        .create(&process_spec(&image, name, ""))
        .await
        .expect("created");
    engine.start(&id).await.expect("started");
    id
}

async fn ask(engine: &Simulated, id: &str, path: &str) -> Result<(u16, String)> {
    let connection = engine.dial(id, 8080).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(connection))
        .await
        .expect("a handshake");
    let connection = tokio::spawn(connection);
    let mut texts = Vec::new();
    // Twice, for connections are kept alive.
    for _ in 0..2 {
        let request = http::Request::get(path)
            .header("host", "web")
            .body(Empty::<Bytes>::new())
            .expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        texts.push((status, String::from_utf8(body.to_vec()).expect("text")));
    }
    drop(sender);
    connection.await.expect("no panic").expect("a clean end");
    assert_eq!(texts[0], texts[1]);
    Ok(texts.remove(0))
}

async fn run(engine: &Simulated, id: &str, words: &[&str], input: &str) -> (i64, String) {
    let spec = ExecSpec {
        command: words.iter().map(|word| (*word).to_owned()).collect(),
        stdin: true,
        ..ExecSpec::default()
    };
    let Exec {
        mut output,
        input: mut stdin,
        status,
    } = engine.exec(id, spec).await.expect("an exec");
    stdin
        .write_all(input.as_bytes())
        .await
        .expect("input is taken");
    stdin.shutdown().await.expect("input ends");
    let mut text = String::new();
    within("the end of the output", output.read_to_string(&mut text))
        .await
        .expect("text");
    (within("the status", status).await.expect("a status"), text)
}

async fn texts(
    engine: &Simulated,
    id: &str,
    since: Option<Timestamp>,
    follow: bool,
) -> Vec<LogChunk> {
    let stream = engine.logs(id, since, follow).await.expect("a log");
    within(
        "the end of the log",
        stream.map(|chunk| chunk.expect("a line")).collect(),
    )
    .await
}

fn lines(chunks: &[LogChunk]) -> Vec<String> {
    chunks
        .iter()
        .map(|chunk| String::from_utf8_lossy(&chunk.line).into_owned())
        .collect()
}

// Images

#[tokio::test]
async fn equal_sources_give_equal_images_and_others_differ() {
    let (one, two) = (Simulated::in_memory(), Simulated::in_memory());
    let first = build(&one, &[("Dockerfile", WEB), ("a", "1"), ("b", "2")]).await;
    let same = build(&two, &[("b", "2"), ("a", "1"), ("Dockerfile", WEB)]).await;
    let content = build(&one, &[("Dockerfile", WEB), ("a", "1"), ("b", "3")]).await;
    let instruction = build(
        &one,
        &[
            ("Dockerfile", &WEB.replace("compiling", "linking")),
            ("a", "1"),
            ("b", "2"),
        ],
    )
    .await;
    assert_eq!(first, same);
    assert_eq!(first.id, first.config_digest);
    assert_eq!(first.diff_ids.len(), 3);
    assert_eq!(
        (first.command.clone(), first.exposed_ports.clone()),
        (vec!["httpd".into(), "-f".into()], vec![8080])
    );
    assert_ne!(first.id, content.id);
    assert_ne!(first.id, instruction.id);
    assert_eq!(first.diff_ids[0], instruction.diff_ids[0], "both stand on the same base");
}

#[tokio::test]
async fn build_logs_read_as_buildkit_writes_them() {
    let engine = Simulated::in_memory();
    let (image, log) = build_spec(&engine, spec_of(&[("Dockerfile", WEB)])).await;
    let id = image.expect("built").id;
    let expected = format!(
        "#1 [1/4] FROM busybox:1.36\n#1 DONE 0.0s\n#2 [2/4] WORKDIR /app\n#2 DONE 0.0s\n#3 [3/4] COPY . .\n\
         #3 DONE 0.0s\n#4 [4/4] RUN echo compiling\n#4 0.000 compiling\n#4 DONE 0.0s\n#5 exporting to image\n\
         #5 writing image {id} done\n#5 DONE 0.0s\n"
    );
    assert_eq!(log, expected);
    let (_, again) = build_spec(&engine, spec_of(&[("Dockerfile", WEB)])).await;
    assert!(
        again.contains("#4 CACHED\n") && !again.contains("compiling\n#4 DONE"),
        "{again}"
    );
    let fresh = BuildSpec {
        no_cache: true,
        ..spec_of(&[("Dockerfile", WEB)])
    };
    assert_eq!(build_spec(&engine, fresh).await.1, expected);
}

#[tokio::test]
async fn failing_builds_say_why_and_leave_nothing() {
    let engine = Simulated::in_memory();
    let process = "process \"/bin/sh -c false\" did not complete successfully: exit code: 1";
    let (error, log) = build_error(&engine, &[("Dockerfile", "FROM a\nRUN false\n")]).await;
    assert_eq!(error, format!("failed to solve: {process}"));
    assert!(
        log.ends_with(&format!("#2 [2/2] RUN false\n#2 ERROR: {process}\n")),
        "{log}"
    );
    for (dockerfile, text) in [
        ("FROM a\nRUN [\"sh\", \"-c\", \"exit 7\"]\n", "exit code: 7"),
        ("FROM a\nCOPY nothing /\n", "\"/nothing\": not found"),
        (
            "FROM a\nFLY\n",
            "dockerfile parse error on line 2: unknown instruction: FLY",
        ),
        (
            "FROM a\nEXPOSE web\n",
            "dockerfile line 2: EXPOSE: invalid containerPort: web",
        ),
        ("FROM UPPER\n", "invalid reference format"),
        ("", "the Dockerfile cannot be empty"),
    ] {
        let (error, _) = build_error(&engine, &[("Dockerfile", dockerfile)]).await;
        assert!(
            error.starts_with("failed to solve: ") && error.contains(text),
            "{dockerfile:?}: {error}"
        );
        assert!(!error.contains('\n'), "{error:?}");
    }
    let (error, _) = build_error(&engine, &[("README", "")]).await;
    assert_eq!(
        error,
        "failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory"
    );
}

#[tokio::test]
async fn damaged_contexts_are_refused() {
    let engine = Simulated::in_memory();
    let mut context = tar_of(&[("Dockerfile", WEB), ("big", &"x".repeat(5000))]);
    context.truncate(3000);
    let spec = BuildSpec {
        context: reader(context),
        ..spec_of(&[])
    };
    let (image, _) = build_spec(&engine, spec).await;
    let error = image.expect_err("a truncated context").to_string();
    assert!(
        error.starts_with("cannot read the build context: "),
        "{error}"
    );
}

#[tokio::test]
async fn arguments_and_targets_count() {
    let engine = Simulated::in_memory();
    let dockerfile = "ARG BASE=one\nFROM $BASE AS build\nARG MODE=dev\nRUN echo mode $MODE\n\
                      FROM build AS test\nRUN false\nFROM scratch\nCOPY --from=build /out/app /app\nENTRYPOINT [\"/app\"]\n";
    let with = |args: &[(&str, &str)], target: Option<&str>| BuildSpec {
        args: args
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        target: target.map(str::to_owned),
        ..spec_of(&[("Dockerfile", dockerfile)])
    };
    let (image, log) = build_spec(&engine, with(&[("MODE", "live"), ("OTHER", "x")], None)).await;
    let image = image.expect("the failing stage is not needed");
    assert_eq!(image.entrypoint, ["/app"]);
    assert!(
        log.contains("#1 [build 1/2] FROM one\n") && log.contains("0.000 mode live\n"),
        "{log}"
    );
    assert!(
        log.contains("[Warning] One or more build-args [OTHER] were not consumed\n"),
        "{log}"
    );
    assert!(!log.contains("false"), "{log}");
    let one = build_spec(&engine, with(&[("MODE", "live")], Some("build")))
        .await
        .0
        .expect("built");
    let two = build_spec(&engine, with(&[], Some("build")))
        .await
        .0
        .expect("built");
    assert_ne!(one.id, two.id);
    let failing = build_spec(&engine, with(&[], Some("test")))
        .await
        .0
        .expect_err("the test stage fails");
    assert!(failing.to_string().contains("exit code: 1"), "{failing}");
    let missing = build_spec(&engine, with(&[], Some("none")))
        .await
        .0
        .expect_err("no such stage");
    assert_eq!(
        missing.to_string(),
        "failed to solve: target stage none could not be found"
    );
}

#[tokio::test]
async fn cancelled_builds_end_at_once() {
    let engine = Arc::new(Simulated::in_memory());
    // A context that never ends, and a step that never ends.
    let (silent, _held) = tokio::io::duplex(16);
    let endless = BuildSpec {
        context: Box::pin(silent),
        ..spec_of(&[])
    };
    for spec in [
        endless,
        spec_of(&[("Dockerfile", "FROM a\nRUN sleep infinity\n")]),
    ] {
        let cancel = CancellationToken::new();
        let (log, mut lines) = mpsc::channel(64);
        let (own, token) = (Arc::clone(&engine), cancel.clone());
        let build = tokio::spawn(async move { own.build(spec, log, token).await });
        tokio::task::yield_now().await;
        cancel.cancel();
        let error = within("the end of the build", build)
            .await
            .expect("no panic")
            .expect_err("cancelled");
        assert!(matches!(error, EngineError::Cancelled), "{error}");
        while lines.recv().await.is_some() {}
    }
}

#[tokio::test]
async fn tags_come_and_go_and_images_with_the_last() {
    let engine = Simulated::in_memory();
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    for reference in ["rack/staging/myapp:web.B1", "rack/staging/myapp:web.B2"] {
        engine.tag(&image.id, reference).await.expect("tagged");
        assert_eq!(
            engine.image(reference).await.expect("asked"),
            Some(image.clone())
        );
    }
    assert_eq!(
        engine.image(&image.id[7..19]).await.expect("asked"),
        Some(image.clone())
    );
    engine
        .untag("rack/staging/myapp:web.B1")
        .await
        .expect("untagged");
    engine
        .untag("rack/staging/myapp:web.B1")
        .await
        .expect("untagging is idempotent");
    assert_eq!(
        engine
            .image("rack/staging/myapp:web.B1")
            .await
            .expect("asked"),
        None
    );
    let id = engine
        .create(&process_spec(&image, "web", ""))
        .await
        .expect("created");
    engine
        .untag("rack/staging/myapp:web.B2")
        .await
        .expect("untagged");
    assert!(
        engine.image(&image.id).await.expect("asked").is_some(),
        "a process uses it"
    );
    engine.remove(&id).await.expect("removed");
    engine.tag(&image.id, "last").await.expect("tagged");
    engine
        .untag("docker.io/library/last:latest")
        .await
        .expect("untagged");
    assert_eq!(engine.image(&image.id).await.expect("asked"), None);
    let error = engine
        .tag(&image.id, "again")
        .await
        .expect_err("it is gone");
    assert!(
        matches!(error, EngineError::NotFound { kind: "image", .. }),
        "{error}"
    );
    engine.pull("redis:7", None).await.expect("pulled");
    engine
        .tag("redis:7", "Not A Name")
        .await
        .expect_err("no name");
}

// Archives

#[tokio::test]
async fn archives_carry_images_to_another_engine() {
    let (from, to) = (Simulated::in_memory(), Simulated::in_memory());
    let web = build(&from, &[("Dockerfile", WEB), ("a", "1")]).await;
    let worker = build(
        &from,
        &[("Dockerfile", &WEB.replace("httpd", "worker")), ("a", "1")],
    )
    .await;
    for (image, reference) in [
        (&web, "app:web"),
        (&web, "app:copy"),
        (&worker, "app:worker"),
    ] {
        from.tag(&image.id, reference).await.expect("tagged");
    }
    let references = ["app:web", "app:worker", "app:copy"].map(str::to_owned);
    let bytes = read_all(from.save(&references).await.expect("saved"))
        .await
        .expect("read");
    let again = read_all(from.save(&references).await.expect("saved"))
        .await
        .expect("read");
    assert_eq!(bytes, again, "archives are deterministic");

    let mut names = Vec::new();
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry
            .path()
            .expect("a path")
            .to_str()
            .expect("text")
            .to_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("memory does not fail");
        let digest: String = Sha256::digest(&content)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        if name != "manifest.json" {
            assert!(
                name == format!("{digest}.json") || name == format!("{digest}/layer.tar"),
                "{name} is {digest}"
            );
        }
        names.push(name);
    }
    assert_eq!(names.last().map(String::as_str), Some("manifest.json"));
    // Two configurations, the base layer once, two layers of each image, the index.
    assert_eq!(names.len(), 2 + 1 + 4 + 1, "{names:?}");

    to.load(reader(bytes)).await.expect("loaded");
    for (image, reference) in [
        (&web, "app:web"),
        (&web, "app:copy"),
        (&worker, "app:worker"),
    ] {
        assert_eq!(
            to.image(reference).await.expect("asked").as_ref(),
            Some(image)
        );
    }
    let error = from
        .save(&["app:none".to_owned()])
        .await
        .err()
        .expect("unknown");
    assert_eq!(error.to_string(), "no such image: app:none");
}

#[tokio::test]
async fn damaged_archives_load_nothing() {
    let (from, to) = (Simulated::in_memory(), Simulated::in_memory());
    let image = build(
        &from,
        &[("Dockerfile", WEB), ("a", "contents that will be changed")],
    )
    .await;
    from.tag(&image.id, "app:web").await.expect("tagged");
    let good = read_all(from.save(&["app:web".to_owned()]).await.expect("saved"))
        .await
        .expect("read");

    let at = good
        .windows(8)
        .position(|window| window == b"contents")
        .expect("the layer is in the archive");
    let mut flipped = good.clone();
    flipped[at] ^= 1;
    let mut renamed = good.clone();
    let name = renamed
        .windows(13)
        .position(|window| window == b"manifest.json")
        .expect("an index");
    renamed[name] = b'M';
    let mut header = tar::Header::new_gnu();
    header
        .as_mut_bytes()
        .copy_from_slice(&renamed[name..name + 512]);
    header.set_cksum();
    renamed[name..name + 512].copy_from_slice(header.as_bytes());
    for (damaged, text) in [
        (flipped, "/layer.tar has digest sha256:"),
        (good[..at].to_vec(), "cannot load images: "),
        (renamed, "cannot load images: manifest.json is missing"),
        (Vec::new(), "cannot load images: manifest.json is missing"),
        (vec![b'x'; 2048], "cannot load images: "),
    ] {
        let error = to.load(reader(damaged)).await.expect_err(text).to_string();
        assert!(error.contains(text) && !error.contains('\n'), "{error}");
        assert_eq!(to.image(&image.id).await.expect("asked"), None);
    }
    to.load(reader(good))
        .await
        .expect("the whole archive is good");
}

// Processes

#[tokio::test]
async fn a_process_lives_from_created_to_removed() {
    let engine = Simulated::in_memory();
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    let mut events = engine.events(&labels("web")).await.expect("events");
    let spec = process_spec(&image, "web", "");
    let id = engine.create(&spec).await.expect("created");
    assert_eq!(
        (id.len(), id.bytes().all(|byte| byte.is_ascii_hexdigit())),
        (64, true)
    );
    let state = engine
        .process(&id[..12])
        .await
        .expect("asked")
        .expect("it is there");
    assert_eq!(
        (state.phase, state.command),
        (Phase::Created, vec!["httpd".to_owned(), "-f".to_owned()])
    );
    assert!(
        engine
            .create(&spec)
            .await
            .expect_err("the name is taken")
            .to_string()
            .contains("already in use")
    );

    engine.start(&id).await.expect("started");
    engine.start(&id).await.expect("starting is idempotent");
    let waiting = engine.wait(&id);
    let stopping = engine.stop(&id, Duration::from_secs(10));
    let (status, stopped) = within("the end", async { tokio::join!(waiting, stopping) }).await;
    stopped.expect("stopped");
    assert_eq!(status.expect("waited"), 143);
    engine
        .stop(&id, Duration::ZERO)
        .await
        .expect("stopping is idempotent");
    let state = engine
        .process(&id)
        .await
        .expect("asked")
        .expect("it is there");
    assert_eq!(state.phase, Phase::Exited(143));
    assert!(state.finished >= state.started && state.started.is_some());

    engine.start(&id).await.expect("started again");
    engine.stop(&id, Duration::ZERO).await.expect("killed");
    assert_eq!(engine.wait(&id).await.expect("waited"), 137);
    engine.start(&id).await.expect("started a third time");
    engine.remove(&id).await.expect("removed while it ran");
    engine.remove(&id).await.expect("removing is idempotent");
    engine
        .stop(&id, Duration::ZERO)
        .await
        .expect("what is gone has stopped");
    assert_eq!(engine.process(&id).await.expect("asked"), None);
    let error = engine.start(&id).await.expect_err("it is gone");
    assert!(
        matches!(
            error,
            EngineError::NotFound {
                kind: "process",
                ..
            }
        ),
        "{error}"
    );

    use ProcessEventKind::{Die, Remove, Start};
    for kind in [Start, Die, Start, Die, Start, Die, Remove] {
        let event = within("an event", events.next())
            .await
            .expect("no end")
            .expect("no error");
        assert_eq!(
            event,
            ProcessEvent {
                id: id.clone(),
                kind,
                labels: labels("web")
            }
        );
    }
}

#[tokio::test]
async fn programs_end_with_their_status_and_services_go_on() {
    let engine = Simulated::in_memory();
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    for (command, status) in [("exit 3", 3), ("echo a && false", 1), ("sleep 0; true", 0)] {
        let id = engine
            .create(&process_spec(&image, "web", command))
            .await
            .expect("created");
        engine.start(&id).await.expect("started");
        assert_eq!(
            within("the end", engine.wait(&id)).await.expect("waited"),
            status,
            "{command}"
        );
    }
    let mut task = process_spec(&image, "web", "rake db:migrate");
    task.labels.insert(label::KIND.to_owned(), "run".to_owned());
    let id = engine.create(&task).await.expect("created");
    engine.start(&id).await.expect("started");
    assert_eq!(
        within("the end", engine.wait(&id)).await.expect("waited"),
        0
    );
    assert_eq!(
        lines(&texts(&engine, &id, None, true).await),
        ["simulated: rake db:migrate"]
    );
    let all = engine.processes(&labels("web")).await.expect("listed");
    assert_eq!(all.len(), 3, "a task has another kind");
    assert_eq!(
        engine
            .processes(&Labels::new())
            .await
            .expect("listed")
            .len(),
        4
    );
}

#[tokio::test]
async fn sleeping_processes_wake_up_by_the_clock_or_when_stopped() {
    let engine = Simulated::in_memory();
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    let id = engine
        .create(&process_spec(&image, "web", "sleep 0.05; exit 4"))
        .await
        .expect("created");
    let before = tokio::time::Instant::now();
    engine.start(&id).await.expect("started");
    assert_eq!(
        within("the end", engine.wait(&id)).await.expect("waited"),
        4
    );
    assert!(before.elapsed() >= Duration::from_millis(50));
    let id = engine
        .create(&process_spec(&image, "web", "sleep 3600"))
        .await
        .expect("created");
    engine.start(&id).await.expect("started");
    engine
        .stop(&id, Duration::from_secs(5))
        .await
        .expect("stopped");
    assert_eq!(
        within("the end", engine.wait(&id)).await.expect("waited"),
        143
    );
}

#[tokio::test]
async fn what_a_process_needs_must_be_there() {
    let engine = Simulated::in_memory();
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    let base = process_spec(&image, "web", "");
    let no_image = ProcessSpec {
        image: "sha256:0000".to_owned(),
        ..base.clone()
    };
    assert_eq!(
        engine
            .create(&no_image)
            .await
            .expect_err("no image")
            .to_string(),
        "no such image: sha256:0000"
    );
    let no_network = ProcessSpec {
        network: "rack-x".to_owned(),
        ..base.clone()
    };
    assert_eq!(
        engine
            .create(&no_network)
            .await
            .expect_err("no network")
            .to_string(),
        "no such network: rack-x"
    );
    engine
        .ensure_network("rack-x", &labels("x"))
        .await
        .expect("ensured");
    engine
        .ensure_network("rack-x", &labels("x"))
        .await
        .expect("ensuring is idempotent");
    engine
        .ensure_network("rack-x", &labels("y"))
        .await
        .expect_err("it is somebody else's");
    engine.create(&no_network).await.expect("created");
    let bare = build(
        &engine,
        &[("Dockerfile", "FROM scratch\nCOPY Dockerfile /\n")],
    )
    .await;
    let error = engine
        .create(&process_spec(&bare, "bare", ""))
        .await
        .expect_err("no command")
        .to_string();
    assert_eq!(error, "no command specified, and the image has none");
}

#[tokio::test]
async fn logs_follow_to_the_end_and_start_after_a_time() {
    let start = Timestamp::from_second(1_700_000_000).expect("a time");
    let engine = Arc::new(Simulated::in_memory_with(Clock::new(move || start)));
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    let spec = process_spec(
        &image,
        "web",
        "echo one; echo two; echo -n three; exec httpd",
    );
    let id = engine.create(&spec).await.expect("created");
    let (own, follow) = (Arc::clone(&engine), id.clone());
    let followed = tokio::spawn(async move { texts(&own, &follow, None, true).await });
    engine.start(&id).await.expect("started");
    let mut live = engine.logs(&id, None, true).await.expect("a log");
    for text in ["one", "two"] {
        let chunk = within("a line", live.next())
            .await
            .expect("no end")
            .expect("no error");
        assert_eq!(chunk.line, text);
    }
    let state = engine.process(&id).await.expect("asked").expect("there");
    assert_eq!((state.phase, state.started), (Phase::Running, Some(start)));
    let third = within("a line", live.next())
        .await
        .expect("no end")
        .expect("no error");
    assert_eq!(third.line, "threesimulated: httpd");
    // Removed at once: followers still read everything.
    engine.remove(&id).await.expect("removed");
    let all = within("the follower", followed).await.expect("no panic");
    assert_eq!(lines(&all), ["one", "two", "threesimulated: httpd"]);
    assert!(
        all.is_sorted_by(|a, b| a.time < b.time),
        "times differ even when the clock stands still"
    );

    let id = engine.create(&spec).await.expect("created");
    assert_eq!(texts(&engine, &id, None, false).await, []);
    engine.start(&id).await.expect("started");
    let mut live = engine.logs(&id, None, true).await.expect("a log");
    let first = within("a line", live.next())
        .await
        .expect("no end")
        .expect("no error");
    engine.stop(&id, Duration::ZERO).await.expect("stopped");
    let later = texts(&engine, &id, Some(first.time), true).await;
    assert!(later.iter().all(|chunk| chunk.time > first.time));
}

#[tokio::test]
async fn commands_run_inside_processes() {
    let engine = Simulated::in_memory();
    let id = running(&engine, "web").await;
    assert_eq!(
        run(&engine, &id, &["sh", "-c", "rake test"], "").await,
        (0, "simulated: rake test\n".to_owned())
    );
    assert_eq!(
        run(&engine, &id, &["sh", "-c", "pwd; exit 5"], "").await,
        (5, "/app\n".to_owned())
    );
    assert_eq!(
        run(&engine, &id, &["cat"], "bytes in\nand out").await,
        (0, "bytes in\nand out".to_owned())
    );
    assert_eq!(run(&engine, &id, &["false"], "").await, (1, String::new()));
    let spec = ExecSpec {
        command: vec!["printenv".to_owned(), "EXTRA".to_owned()],
        environment: BTreeMap::from([("EXTRA".to_owned(), "given".to_owned())]),
        ..ExecSpec::default()
    };
    let Exec { output, status, .. } = engine.exec(&id, spec).await.expect("an exec");
    assert_eq!(read_all(output).await.expect("read"), b"given\n");
    assert_eq!(status.await.expect("a status"), 0);

    // The end of the process ends what runs inside.
    let spec = ExecSpec {
        command: vec!["sleep".to_owned(), "infinity".to_owned()],
        ..ExecSpec::default()
    };
    let Exec { output, status, .. } = engine.exec(&id, spec.clone()).await.expect("an exec");
    engine
        .stop(&id, Duration::from_secs(1))
        .await
        .expect("stopped");
    within("the end of the output", read_all(output))
        .await
        .expect("read");
    assert_eq!(status.await.expect("a status"), 137);
    let error = engine
        .exec(&id, spec)
        .await
        .err()
        .expect("it does not run")
        .to_string();
    assert_eq!(error, format!("container {} is not running", &id[..12]));
}

#[tokio::test]
async fn ports_answer_while_the_process_runs() {
    let engine = Simulated::in_memory();
    let id = running(&engine, "web").await;
    let (status, text) = within("an answer", ask(&engine, &id, "/some/path?delay=1"))
        .await
        .expect("connected");
    assert_eq!(status, 200);
    for line in [
        "service: web",
        "release: RABCDEFGHIJ",
        "request: GET /some/path",
    ] {
        assert!(text.lines().any(|have| have == line), "{text}");
    }
    let refused = |error: EngineError| match error {
        EngineError::Stream(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused)
        }
        other => panic!("{other}"),
    };
    refused(engine.dial(&id, 9090).await.err().expect("not declared"));
    let mut open = engine.dial(&id, 8080).await.expect("connected");
    engine.stop(&id, Duration::ZERO).await.expect("stopped");
    assert_eq!(
        within("the end of the connection", open.read(&mut [0; 8]))
            .await
            .expect("a clean end"),
        0
    );
    refused(engine.dial(&id, 8080).await.err().expect("it does not run"));
}

#[tokio::test]
async fn resources_accept_connections() {
    let engine = Simulated::in_memory();
    let image = engine.pull("postgres:16", None).await.expect("pulled");
    assert_eq!(
        engine
            .pull("docker.io/library/postgres:16", None)
            .await
            .expect("pulled"),
        image
    );
    let mut spec = process_spec(&image, "database", "");
    spec.labels
        .insert(label::KIND.to_owned(), "resource".to_owned());
    let id = engine.create(&spec).await.expect("created");
    engine.start(&id).await.expect("started");
    let mut connection = engine.dial(&id, 5432).await.expect("connected");
    connection
        .write_all(&[0, 0, 0, 8, 4, 210, 22, 47])
        .await
        .expect("sent");
    let mut answer = [0];
    within("an answer", connection.read_exact(&mut answer))
        .await
        .expect("answered");
    assert_eq!(answer, *b"N");
    engine.set_fault("never-healthy@database").expect("known");
    assert!(engine.dial(&id, 5432).await.is_err());
}

// Files and volumes

#[tokio::test]
async fn files_go_in_and_come_out() {
    let engine = Simulated::in_memory();
    let image = build(
        &engine,
        &[("Dockerfile", WEB), ("public/index.html", "hello")],
    )
    .await;
    engine
        .ensure_volume("data", &labels("web"))
        .await
        .expect("ensured");
    engine
        .ensure_volume("data", &labels("web"))
        .await
        .expect("ensuring is idempotent");
    let mut spec = process_spec(&image, "web", "");
    spec.volumes = vec![("data".to_owned(), "/var/data".to_owned())];
    let id = engine.create(&spec).await.expect("created");
    let read = async |id: &str, path: &str| {
        let bytes = read_all(engine.read_files(id, path).await?).await?;
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries()? {
            let mut entry = entry?;
            let mut text = String::new();
            std::io::Read::read_to_string(&mut entry, &mut text)?;
            found.push((entry.path()?.to_string_lossy().into_owned(), text));
        }
        Ok::<_, EngineError>(found)
    };
    let pair = |path: &str, text: &str| (path.to_owned(), text.to_owned());
    assert_eq!(
        read(&id, "/app/public").await.expect("read"),
        [pair("public/", ""), pair("public/index.html", "hello")]
    );
    let error = read(&id, "/none")
        .await
        .expect_err("nothing there")
        .to_string();
    assert_eq!(error, "no such path: /none");

    engine
        .write_files(&id, "/app", reader(tar_of(&[("public/new", "1")])))
        .await
        .expect("written");
    engine
        .write_files(&id, "/var/data", reader(tar_of(&[("kept", "2")])))
        .await
        .expect("written");
    assert_eq!(
        read(&id, "/app/public/new").await.expect("read"),
        [pair("new", "1")]
    );
    assert!(
        engine
            .write_files(&id, "/app/public/new", reader(tar_of(&[("a", "")])))
            .await
            .is_err(),
        "a file"
    );
    assert!(
        engine
            .remove_volume("data")
            .await
            .expect_err("in use")
            .to_string()
            .contains("in use")
    );
    engine.remove(&id).await.expect("removed");

    let id = engine.create(&spec).await.expect("created again");
    assert_eq!(
        read(&id, "/var/data/kept").await.expect("read"),
        [pair("kept", "2")]
    );
    assert!(
        read(&id, "/app/public/new").await.is_err(),
        "what was outside the volume went with the process"
    );
    engine.remove(&id).await.expect("removed");
    engine.remove_volume("data").await.expect("removed");
    engine
        .remove_volume("data")
        .await
        .expect("removing is idempotent");
    let id = engine
        .create(&spec)
        .await
        .expect("created with a new volume");
    assert!(read(&id, "/var/data/kept").await.is_err());
}

#[tokio::test]
async fn labels_remove_what_carries_them_and_nothing_else() {
    let engine = Simulated::in_memory();
    let image = build(&engine, &[("Dockerfile", WEB)]).await;
    let rack = |name: &str| Labels::from([(label::RACK.to_owned(), name.to_owned())]);
    for name in ["staging", "production"] {
        engine
            .ensure_network(name, &rack(name))
            .await
            .expect("ensured");
        engine
            .ensure_volume(name, &rack(name))
            .await
            .expect("ensured");
        let spec = ProcessSpec {
            name: name.to_owned(),
            network: name.to_owned(),
            volumes: vec![(name.to_owned(), "/data".to_owned())],
            labels: rack(name),
            ..process_spec(&image, name, "")
        };
        let id = engine.create(&spec).await.expect("created");
        engine.start(&id).await.expect("started");
    }
    engine
        .remove_labelled(&Labels::new())
        .await
        .expect_err("no label would mean everything");
    engine
        .remove_labelled(&rack("staging"))
        .await
        .expect("removed");
    let left = engine.processes(&Labels::new()).await.expect("listed");
    assert_eq!(
        left.iter()
            .map(|state| state.name.as_str())
            .collect::<Vec<_>>(),
        ["production"]
    );
    let spec = ProcessSpec {
        network: "staging".to_owned(),
        ..process_spec(&image, "x", "")
    };
    assert_eq!(
        engine.create(&spec).await.expect_err("gone").to_string(),
        "no such network: staging"
    );
    assert!(
        engine.remove_volume("production").await.is_err(),
        "the other rack's volume is there and in use"
    );
}

// Faults

#[tokio::test]
async fn faults_of_the_engine_hit_every_caller() {
    let engine = Simulated::in_memory();
    let id = running(&engine, "web").await;
    let mut events = engine.events(&Labels::new()).await.expect("events");
    engine.set_fault("engine-down").expect("known");
    assert_eq!(engine.faults().list(), ["engine-down"]);
    let down = "cannot reach the simulated engine: simulated fault engine-down";
    assert_eq!(engine.info().await.expect_err("down").to_string(), down);
    assert_eq!(
        engine
            .processes(&Labels::new())
            .await
            .expect_err("down")
            .to_string(),
        down
    );
    assert_eq!(engine.wait(&id).await.expect_err("down").to_string(), down);
    assert!(
        within("the end of the events", events.next())
            .await
            .is_none()
    );
    engine.clear_fault("engine-down").expect("known");
    assert_eq!(engine.info().await.expect("up").kind, "simulated");

    engine.set_fault("pull-fails").expect("known");
    assert!(
        engine
            .pull("redis:7", None)
            .await
            .expect_err("refused")
            .to_string()
            .contains("pull access denied")
    );
    let (error, _) = build_error(&engine, &[("Dockerfile", "FROM nobody/has-this\n")]).await;
    assert!(error.contains("pull access denied"), "{error}");
    engine.clear_fault("pull-fails").expect("known");
    engine.pull("redis:7", None).await.expect("pulled");

    let archive = read_all(engine.save(&["redis:7".to_owned()]).await.expect("saved"))
        .await
        .expect("read");
    engine.set_fault("import-corrupt").expect("known");
    let other = Simulated::in_memory();
    other.set_fault("import-corrupt").expect("known");
    let error = other
        .load(reader(archive.clone()))
        .await
        .expect_err("corrupt")
        .to_string();
    assert!(error.contains("import-corrupt"), "{error}");
    assert_eq!(other.image("redis:7").await.expect("asked"), None);
    other.clear_fault("import-corrupt").expect("known");
    other.load(reader(archive)).await.expect("loaded");

    engine.set_fault("build-fails").expect("known");
    let (error, log) = build_error(&engine, &[("Dockerfile", WEB)]).await;
    assert_eq!(error, "failed to solve: simulated fault build-fails");
    assert!(
        log.ends_with("ERROR: simulated fault build-fails\n"),
        "{log}"
    );
    let error = engine
        .set_fault("earthquake")
        .expect_err("unknown")
        .to_string();
    assert!(
        error.starts_with("unknown fault \"earthquake\": use build-fails, "),
        "{error}"
    );
}

#[tokio::test]
async fn faults_of_processes_hit_the_named_service() {
    let engine = Simulated::in_memory();
    let id = running(&engine, "web").await;
    engine.set_fault("never-healthy@worker").expect("known");
    assert_eq!(ask(&engine, &id, "/").await.expect("connected").0, 200);
    engine.set_fault("never-healthy@web").expect("known");
    assert_eq!(ask(&engine, &id, "/").await.expect("connected").0, 503);
    engine.clear_fault("never-healthy@web").expect("known");
    assert_eq!(ask(&engine, &id, "/").await.expect("connected").0, 200);

    engine.set_fault("run-exits-9@web").expect("known");
    assert_eq!(
        run(&engine, &id, &["echo", "said"], "").await,
        (9, "said\n".to_owned())
    );
    engine.set_fault("crash-loop").expect("known");
    engine.stop(&id, Duration::ZERO).await.expect("stopped");
    engine.start(&id).await.expect("started");
    assert_eq!(
        within("the crash", engine.wait(&id)).await.expect("waited"),
        1
    );
    let last = texts(&engine, &id, None, true).await;
    assert_eq!(
        lines(&last).last().map(String::as_str),
        Some("simulated fault crash-loop")
    );
}

#[tokio::test]
async fn slow_processes_refuse_until_their_time() {
    let engine = Simulated::in_memory();
    engine.set_fault("slow-start-200@web").expect("known");
    let before = tokio::time::Instant::now();
    let id = running(&engine, "web").await;
    let first = within("an answer", async {
        loop {
            match engine.dial(&id, 8080).await {
                Ok(_) => return tokio::time::Instant::now(),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    });
    assert!(first.await - before >= Duration::from_millis(200));
    assert_eq!(ask(&engine, &id, "/").await.expect("connected").0, 200);
}

#[tokio::test]
async fn sources_and_variables_carry_faults() {
    let engine = Simulated::in_memory();
    let image = build(
        &engine,
        &[
            ("Dockerfile", WEB),
            (CONTEXT_FILE, "never-healthy # rehearse a rollback\n"),
        ],
    )
    .await;
    engine.tag(&image.id, "app:bad").await.expect("tagged");
    let archive = read_all(engine.save(&["app:bad".to_owned()]).await.expect("saved"))
        .await
        .expect("read");
    let production = Simulated::in_memory();
    production.load(reader(archive)).await.expect("loaded");
    let id = production
        .create(&process_spec(&image, "web", ""))
        .await
        .expect("created");
    production.start(&id).await.expect("started");
    assert_eq!(ask(&production, &id, "/").await.expect("connected").0, 503);

    let mut spec = process_spec(&image, "web", "echo a; httpd");
    spec.environment
        .insert(VARIABLE.to_owned(), "crash-loop".to_owned());
    let id = production.create(&spec).await.expect("created");
    production.start(&id).await.expect("started");
    assert_eq!(
        within("the crash", production.wait(&id))
            .await
            .expect("waited"),
        1
    );
    spec.environment
        .insert(VARIABLE.to_owned(), "sunshine".to_owned());
    spec.name = "other".to_owned();
    let error = production
        .create(&spec)
        .await
        .expect_err("unknown")
        .to_string();
    assert!(
        error.starts_with("TWINRACK_FAULTS: unknown fault \"sunshine\""),
        "{error}"
    );

    let (error, _) = build_error(
        &engine,
        &[("Dockerfile", WEB), (CONTEXT_FILE, "build-fails")],
    )
    .await;
    assert_eq!(error, "failed to solve: simulated fault build-fails");
    let args = BTreeMap::from([(VARIABLE.to_owned(), "build-fails".to_owned())]);
    let spec = BuildSpec {
        args,
        ..spec_of(&[("Dockerfile", WEB)])
    };
    build_spec(&engine, spec)
        .await
        .0
        .expect_err("the arguments name a fault");
}

// Durability and concurrency

#[tokio::test]
async fn what_is_kept_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Simulated::open(directory.path()).expect("opened");
    let image = build(&engine, &[("Dockerfile", WEB), ("a", "1")]).await;
    let gone = build(&engine, &[("Dockerfile", WEB), ("a", "2")]).await;
    engine.tag(&image.id, "app:web").await.expect("tagged");
    engine.tag(&gone.id, "app:gone").await.expect("tagged");
    engine.untag("app:gone").await.expect("untagged");
    engine
        .ensure_network("net", &labels("web"))
        .await
        .expect("ensured");
    engine
        .ensure_volume("data", &labels("web"))
        .await
        .expect("ensured");
    let mut spec = process_spec(&image, "web", "");
    spec.volumes = vec![("data".to_owned(), "/data".to_owned())];
    spec.network = "net".to_owned();
    let id = engine.create(&spec).await.expect("created");
    engine.start(&id).await.expect("started");
    engine
        .write_files(&id, "/data", reader(tar_of(&[("kept", "1")])))
        .await
        .expect("written");
    engine
        .write_files(&id, "/tmp", reader(tar_of(&[("lost", "1")])))
        .await
        .expect("written");
    drop(engine);

    let engine = Simulated::open(directory.path()).expect("opened again");
    assert_eq!(engine.image("app:web").await.expect("asked"), Some(image));
    assert_eq!(engine.image(&gone.id).await.expect("asked"), None);
    assert_eq!(engine.processes(&Labels::new()).await.expect("listed"), []);
    let id = engine
        .create(&spec)
        .await
        .expect("image, network and volume are there");
    engine.read_files(&id, "/data/kept").await.expect("kept");
    assert!(engine.read_files(&id, "/tmp/lost").await.is_err());
    read_all(engine.save(&["app:web".to_owned()]).await.expect("saved"))
        .await
        .expect("every blob is there");

    let blobs = || {
        std::fs::read_dir(directory.path().join("blobs"))
            .expect("listed")
            .count()
    };
    // One image of three layers and a configuration, one file in a volume.
    assert_eq!(blobs(), 5);
    engine.remove(&id).await.expect("removed");
    engine.remove_volume("data").await.expect("removed");
    engine.untag("app:web").await.expect("untagged");
    assert_eq!(blobs(), 0, "nothing is left behind");
}

#[tokio::test]
async fn damaged_state_is_refused_with_advice() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Simulated::open(directory.path()).expect("opened");
    engine.pull("redis:7", None).await.expect("pulled");
    drop(engine);
    let file = directory.path().join("state.json");
    let text = std::fs::read_to_string(&file).expect("read");
    for (damaged, reason) in [
        (
            text.replace("\"version\": 1", "\"version\": 9"),
            "has format 9, this server knows 1",
        ),
        (
            text[..text.len() / 2].to_owned(),
            "remove that directory to start afresh",
        ),
        (
            text.replace("\"images\": {", "\"images\": {\"sha256:00\": 1, "),
            "remove that directory to start afresh",
        ),
    ] {
        std::fs::write(&file, damaged).expect("written");
        let error = Simulated::open(directory.path())
            .expect_err(reason)
            .to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Arc::new(Simulated::open(directory.path()).expect("opened"));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let engine = Arc::clone(&engine);
        callers.spawn(async move {
            let text = (number % 3).to_string();
            let image = build(&engine, &[("Dockerfile", WEB), ("number", &text)]).await;
            let (tag, scratch) = (format!("app:{number}"), format!("scratch:{number}"));
            engine.tag(&image.id, &tag).await.expect("tagged");
            engine.tag(&image.id, &scratch).await.expect("tagged");
            let archive = read_all(engine.save(&[tag]).await.expect("saved"))
                .await
                .expect("read");
            engine.load(reader(archive)).await.expect("loaded");
            engine.untag(&scratch).await.expect("untagged");
            let spec = ProcessSpec {
                name: format!("p{number}"),
                ..process_spec(&image, "web", "exit 6")
            };
            let id = engine.create(&spec).await.expect("created");
            engine.start(&id).await.expect("started");
            assert_eq!(engine.wait(&id).await.expect("waited"), 6);
            (number % 3, image.id)
        });
    }
    let mut ids = BTreeMap::new();
    while let Some(joined) = within("a caller", callers.join_next()).await {
        let (text, id) = joined.expect("no panic");
        assert_eq!(*ids.entry(text).or_insert_with(|| id.clone()), id);
    }
    assert_eq!(
        engine
            .processes(&Labels::new())
            .await
            .expect("listed")
            .len(),
        12
    );
    for number in 0..12 {
        assert!(
            engine
                .image(&format!("app:{number}"))
                .await
                .expect("asked")
                .is_some()
        );
    }
}
