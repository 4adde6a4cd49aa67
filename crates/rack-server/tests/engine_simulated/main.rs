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
    BuildSpec, Engine, EngineError, Exec, ExecSpec, Image, Labels, LogChunk, LogPlace, Phase,
    ProcessEvent, ProcessEventKind, ProcessSpec, Reader, Result, label,
};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

mod archives;
mod durability;
mod faults;
mod files;
mod images;
mod processes;
mod registries;

/// Longest wait for anything that must happen.
const DEADLINE: Duration = Duration::from_secs(30);

const WEB: &str = "FROM busybox:1.36\nWORKDIR /app\nCOPY . .\nRUN echo compiling\nEXPOSE 8080\nCMD [\"httpd\", \"-f\"]\n";

async fn within<F: Future>(what: &str, work: F) -> F::Output {
    tokio::time::timeout(DEADLINE, work)
        .await
        .unwrap_or_else(|elapsed| panic!("{what} did not happen: {elapsed}"))
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
            Sha256::digest(command)
                .iter()
                .map(|byte| u32::from(*byte))
                .sum::<u32>()
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
        ..
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
    after: Option<LogPlace>,
    follow: bool,
) -> Vec<LogChunk> {
    let stream = engine.logs(id, after, follow).await.expect("a log");
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
