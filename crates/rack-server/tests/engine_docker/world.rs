//! One test's corner of a real engine, and ways to look at it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use rack_server::engine::docker::Docker;
use rack_server::engine::{
    BuildSpec, Engine, ExecSpec, Image, Labels, LogChunk, ProcessSpec, Result,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Everything waited for happens within this, even on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// The base image `scripts/ensure-images` provides; made from the host's busybox without it.
pub(crate) const BUSYBOX: &str = "busybox:1.36";

/// One test's corner of the engine.
pub(crate) struct World {
    pub(crate) docker: Docker,
    pub(crate) labels: Labels,
    pub(crate) name: String,
}

impl World {
    /// Runs a test and cleans up after it.
    pub(crate) async fn enter<F: Future<Output = ()> + Send + 'static>(
        test: impl FnOnce(Arc<World>) -> F,
    ) {
        let name = format!("twinrack-test-{:08x}", rand::random::<u32>());
        let world = Arc::new(World {
            docker: Docker::connect(None).expect("a host we understand"),
            labels: Labels::from([("twinrack.test".to_owned(), name.clone())]),
            name,
        });
        let outcome =
            tokio::time::timeout(DEADLINE * 3, tokio::spawn(test(Arc::clone(&world)))).await;
        let removed = world.docker.remove_labelled(&world.labels).await;
        for tag in ["base", "extra", "again"] {
            world
                .docker
                .untag(&world.tag(tag))
                .await
                .expect("the tag goes");
        }
        outcome
            .expect("the test ends in time")
            .expect("the test passes");
        removed.expect("everything of the test goes");
    }

    pub(crate) fn tag(&self, tag: &str) -> String {
        format!("{}:{tag}", self.name)
    }

    /// Builds `instructions` on busybox with an id of this test's own.
    pub(crate) async fn build(&self, instructions: &str) -> (Result<Image>, String) {
        self.build_with(instructions, |_| {}, &CancellationToken::new())
            .await
    }

    pub(crate) async fn build_with(
        &self,
        instructions: &str,
        change: impl FnOnce(&mut BuildSpec),
        cancel: &CancellationToken,
    ) -> (Result<Image>, String) {
        let (log, mut lines) = mpsc::channel::<Bytes>(16);
        let mut spec = self.spec(instructions).await;
        change(&mut spec);
        let reading = async {
            let mut text = Vec::new();
            while let Some(chunk) = lines.recv().await {
                text.extend_from_slice(&chunk);
            }
            String::from_utf8_lossy(&text).into_owned()
        };
        futures::join!(self.docker.build(spec, log, cancel.clone()), reading)
    }

    pub(crate) async fn spec(&self, instructions: &str) -> BuildSpec {
        let mut files = vec![];
        let base = if self
            .docker
            .image(BUSYBOX)
            .await
            .expect("the engine answers")
            .is_some()
        {
            format!("FROM {BUSYBOX} AS base\n")
        } else {
            let busybox = std::fs::read("/bin/busybox")
                .expect("run scripts/ensure-images, or install busybox-static");
            files.push(("busybox", busybox));
            "FROM scratch AS base\nENV PATH=/bin\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"/bin\"]\n"
                .to_owned()
        };
        // The label gives each test an image id of its own: no test removes another's image.
        let dockerfile = format!(
            "{base}LABEL twinrack.test-image={}\n{instructions}\n",
            self.name
        );
        files.push(("Dockerfile", dockerfile.into_bytes()));
        BuildSpec {
            dockerfile: "Dockerfile".into(),
            args: BTreeMap::new(),
            target: None,
            no_cache: false,
            registries: BTreeMap::new(),
            context: Box::pin(io::Cursor::new(tar(&files))),
        }
    }

    /// An image to run things on.
    pub(crate) async fn image(&self) -> Image {
        let (image, log) = self.build("").await;
        let image = image.unwrap_or_else(|error| panic!("{error}\n{log}"));
        self.docker
            .tag(&image.id, &self.tag("base"))
            .await
            .expect("tagged");
        image
    }

    /// A process that runs `script`, not yet created.
    pub(crate) async fn script(&self, suffix: &str, script: &str) -> ProcessSpec {
        ProcessSpec {
            name: format!("{}-{suffix}", self.name),
            image: self.image().await.id,
            command: Some(["sh", "-c", script].map(str::to_owned).into()),
            labels: self.labels.clone(),
            init: true,
            ..ProcessSpec::default()
        }
    }

    pub(crate) async fn run(&self, spec: &ProcessSpec) -> String {
        let id = self.docker.create(spec).await.expect("created");
        self.docker.start(&id).await.expect("started");
        id
    }

    pub(crate) async fn exec(&self, id: &str, spec: ExecSpec, input: &[u8]) -> (Vec<u8>, i64) {
        let mut exec = self.docker.exec(id, spec).await.expect("exec");
        let mut output = Vec::new();
        let writing = async {
            exec.input.write_all(input).await.expect("input is taken");
            exec.input.shutdown().await.expect("input ends");
        };
        let (read, ()) = futures::join!(exec.output.read_to_end(&mut output), writing);
        read.expect("output");
        (output, exec.status.await.expect("a status"))
    }
}

pub(crate) fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        builder
            .append_data(&mut header, name, content.as_slice())
            .expect("appended");
    }
    builder.into_inner().expect("a tar")
}

pub(crate) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Asks until the answer is yes.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn lines(log: BoxStream<'static, Result<LogChunk>>) -> Vec<LogChunk> {
    log.map(|chunk| chunk.expect("a line")).collect().await
}

pub(crate) fn texts(chunks: &[LogChunk]) -> Vec<String> {
    chunks
        .iter()
        .map(|chunk| String::from_utf8_lossy(&chunk.line).into_owned())
        .collect()
}
