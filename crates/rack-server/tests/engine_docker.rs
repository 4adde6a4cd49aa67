//! Every call of the engine trait against a real Docker engine.
//!
//! Ignored unless asked for, because they need an engine: `make test` runs them.
//! Each test works on objects with a random label and removes them, whether it
//! passes or fails.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use rack_server::engine::docker::Docker;
use rack_server::engine::{
    BuildSpec, Engine, EngineError, ExecSpec, Image, Labels, LogChunk, Phase, ProcessEventKind,
    ProcessSpec, Reader, Result,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Everything waited for happens within this, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// The base image `scripts/ensure-images` provides; made from the host's busybox without it.
const BUSYBOX: &str = "busybox:1.36";

/// One test's corner of the engine.
struct World {
    docker: Docker,
    labels: Labels,
    name: String,
}

impl World {
    /// Runs a test and cleans up after it.
    async fn enter<F: Future<Output = ()> + Send + 'static>(test: impl FnOnce(Arc<World>) -> F) {
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

    fn tag(&self, tag: &str) -> String {
        format!("{}:{tag}", self.name)
    }

    /// Builds `instructions` on busybox with an id of this test's own.
    async fn build(&self, instructions: &str) -> (Result<Image>, String) {
        self.build_with(instructions, |_| {}, &CancellationToken::new())
            .await
    }

    async fn build_with(
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

    async fn spec(&self, instructions: &str) -> BuildSpec {
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
    async fn image(&self) -> Image {
        let (image, log) = self.build("").await;
        let image = image.unwrap_or_else(|error| panic!("{error}\n{log}"));
        self.docker
            .tag(&image.id, &self.tag("base"))
            .await
            .expect("tagged");
        image
    }

    /// A process that runs `script`, not yet created.
    async fn script(&self, suffix: &str, script: &str) -> ProcessSpec {
        ProcessSpec {
            name: format!("{}-{suffix}", self.name),
            image: self.image().await.id,
            command: Some(["sh", "-c", script].map(str::to_owned).into()),
            labels: self.labels.clone(),
            init: true,
            ..ProcessSpec::default()
        }
    }

    async fn run(&self, spec: &ProcessSpec) -> String {
        let id = self.docker.create(spec).await.expect("created");
        self.docker.start(&id).await.expect("started");
        id
    }

    async fn exec(&self, id: &str, spec: ExecSpec, input: &[u8]) -> (Vec<u8>, i64) {
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

fn tar(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
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

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Asks until the answer is yes.
async fn eventually<F: Future<Output = bool>>(what: &str, mut ask: impl FnMut() -> F) {
    let start = Instant::now();
    while !ask().await {
        assert!(start.elapsed() < DEADLINE, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn lines(log: BoxStream<'static, Result<LogChunk>>) -> Vec<LogChunk> {
    log.map(|chunk| chunk.expect("a line")).collect().await
}

fn texts(chunks: &[LogChunk]) -> Vec<String> {
    chunks
        .iter()
        .map(|chunk| String::from_utf8_lossy(&chunk.line).into_owned())
        .collect()
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn the_engine_describes_itself() {
    World::enter(|world| async move {
        let info = world.docker.info().await.expect("info");
        assert_eq!((info.kind, world.docker.kind()), ("docker", "docker"));
        assert!(
            info.cpus > 0 && info.memory > 0 && !info.version.is_empty(),
            "{info:?}"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_build_gives_an_image_and_a_plain_log() {
    World::enter(|world| async move {
        let dockerfile = "ARG GREETING\nRUN echo \"say $GREETING\" && cat /etc/nothing || true\n\
                          EXPOSE 3000 80\nENTRYPOINT [\"/bin/sh\"]\nCMD [\"-c\", \"true\"]\nFROM base AS other\nENV X=1";
        let change = |spec: &mut BuildSpec| {
            spec.args.insert("GREETING".into(), world.name.clone());
            spec.target = Some("base".into());
            spec.no_cache = true;
        };
        let (image, log) = world.build_with(dockerfile, change, &CancellationToken::new()).await;
        let image = image.unwrap_or_else(|error| panic!("{error}\n{log}"));
        world.docker.tag(&image.id, &world.tag("base")).await.expect("tagged");
        assert_eq!(image.exposed_ports, [80, 3000]);
        assert_eq!((image.entrypoint.clone(), image.command.clone()), (words(&["/bin/sh"]), words(&["-c", "true"])));
        assert!(image.config_digest.starts_with("sha256:") && image.size > 0 && !image.diff_ids.is_empty());
        assert!(log.lines().any(|line| line.ends_with(&format!("say {}", world.name))), "{log}");
        assert!(log.lines().any(|line| line.contains("DONE")), "{log}");
        assert!(!log.contains('\x1b'), "{log}");
        assert_eq!(world.docker.image(&image.id).await.expect("looked up"), Some(image));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_failed_build_says_why_on_one_line_and_in_the_log() {
    World::enter(|world| async move {
        let (image, log) = world.build("RUN echo about to fail && exit 3").await;
        let error = image.expect_err("a failing step").to_string();
        assert_eq!(
            error,
            "process \"/bin/sh -c echo about to fail && exit 3\" did not complete successfully: exit code: 3"
        );
        assert!(log.contains(" about to fail\n") && log.contains("ERROR: process"), "{log}");

        let (image, _) = world.build("NONSENSE").await;
        let error = image.expect_err("not an instruction").to_string();
        assert!(error.contains("NONSENSE") && !error.contains('\n'), "{error}");

        let broken = |spec: &mut BuildSpec| {
            let reader = tokio_test_reader(b"not all of it");
            spec.context = reader;
        };
        let (image, _) = world.build_with("", broken, &CancellationToken::new()).await;
        let error = image.expect_err("the context broke").to_string();
        assert_eq!(error, "engine stream broke: the disk is on fire");
    })
    .await;
}

/// A reader that fails after some bytes.
fn tokio_test_reader(bytes: &'static [u8]) -> Reader {
    let pieces = [
        Ok(Bytes::from_static(bytes)),
        Err(io::Error::other("the disk is on fire")),
    ];
    Box::pin(tokio_util::io::StreamReader::new(futures::stream::iter(
        pieces,
    )))
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn the_classic_builder_does_the_same() {
    World::enter(|world| async move {
        let classic = Docker::connect(None)
            .expect("a host we understand")
            .with_classic_builder();
        let (log, mut output) = mpsc::channel::<Bytes>(1024);
        let spec = world.spec("ARG GREETING\nRUN echo say $GREETING").await;
        let spec = BuildSpec {
            args: BTreeMap::from([("GREETING".into(), world.name.clone())]),
            ..spec
        };
        let image = classic
            .build(spec, log, CancellationToken::new())
            .await
            .expect("built");
        world
            .docker
            .tag(&image.id, &world.tag("base"))
            .await
            .expect("tagged");
        let mut text = String::new();
        while let Some(chunk) = output.recv().await {
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        assert!(text.contains(&format!("say {}\n", world.name)), "{text}");

        let (log, _output) = mpsc::channel::<Bytes>(1024);
        let spec = world.spec("RUN exit 3").await;
        let error = classic
            .build(spec, log, CancellationToken::new())
            .await
            .expect_err("fails")
            .to_string();
        assert_eq!(
            error,
            "process \"/bin/sh -c exit 3\" did not complete successfully: exit code: 3"
        );

        let seconds = format!("7{:07}", rand::random::<u32>() % 10_000_000);
        let cancel = CancellationToken::new();
        let (log, _output) = mpsc::channel::<Bytes>(1024);
        let spec = world.spec(&format!("RUN sleep {seconds}")).await;
        let build = classic.build(spec, log, cancel.clone());
        // Where the engine's processes cannot be seen, the build is cancelled on its way.
        let cancelling = async {
            let begun = eventually("the step runs", || async { sleeps(&seconds) });
            let visible = tokio::time::timeout(Duration::from_secs(20), begun)
                .await
                .is_ok();
            cancel.cancel();
            visible
        };
        let (image, visible) = futures::join!(build, cancelling);
        assert!(matches!(image, Err(EngineError::Cancelled)), "{image:?}");
        if visible {
            eventually("the cancelled step ends", || async { !sleeps(&seconds) }).await;
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_cancelled_build_stops_at_once_and_for_good() {
    World::enter(|world| async move {
        let seconds = format!("7{:07}", rand::random::<u32>() % 10_000_000);
        let cancel = CancellationToken::new();
        let (log, mut output) = mpsc::channel::<Bytes>(16);
        let spec = world
            .spec(&format!("RUN echo begun && sleep {seconds}"))
            .await;
        let watching = async {
            let mut seen = String::new();
            while let Some(chunk) = output.recv().await {
                seen.push_str(&String::from_utf8_lossy(&chunk));
                if seen.lines().any(|line| line.ends_with(" begun")) {
                    break;
                }
            }
            let visible = sleeps(&seconds);
            cancel.cancel();
            (visible, Instant::now())
        };
        let (image, (visible, when)) =
            futures::join!(world.docker.build(spec, log, cancel.clone()), watching);
        assert!(matches!(image, Err(EngineError::Cancelled)), "{image:?}");
        assert!(
            when.elapsed() < Duration::from_secs(5),
            "took {:?}",
            when.elapsed()
        );
        if visible {
            // The engine runs on this very machine: watch its process go.
            eventually("the cancelled step ends", || async { !sleeps(&seconds) }).await;
        }
    })
    .await;
}

/// Whether this machine runs `sleep seconds` (as far as it can see).
fn sleeps(seconds: &str) -> bool {
    let Ok(processes) = std::fs::read_dir("/proc") else {
        return false;
    };
    let wanted = format!("sleep\0{seconds}\0");
    processes
        .flatten()
        .filter_map(|process| std::fs::read(process.path().join("cmdline")).ok())
        .any(|line| line == wanted.as_bytes())
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn builds_leave_no_connection_behind() {
    World::enter(|world| async move {
        world.image().await;
        let open = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        let before = open();
        for _ in 0..5 {
            let image = world.build("RUN exit 0").await.0.expect("built");
            world
                .docker
                .tag(&image.id, &world.tag("extra"))
                .await
                .expect("tagged");
            world.build("RUN exit 1").await.0.expect_err("failed");
        }
        eventually("connections are closed", || async { open() <= before + 1 }).await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn images_are_named_and_unnamed() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let image = world.image().await;
        docker
            .tag(&image.id, &world.tag("extra"))
            .await
            .expect("tagged");
        assert_eq!(
            docker
                .image(&world.tag("extra"))
                .await
                .expect("found")
                .expect("there")
                .id,
            image.id
        );
        assert_eq!(
            docker
                .pull(&world.tag("extra"), None)
                .await
                .expect("already there"),
            image
        );
        for _ in 0..2 {
            docker
                .untag(&world.tag("extra"))
                .await
                .expect("gone, or gone already");
        }
        assert_eq!(
            docker.image(&world.tag("extra")).await.expect("looked up"),
            None
        );
        let missing = docker
            .tag("sha256:0000", "a:b")
            .await
            .expect_err("no such image");
        assert!(
            matches!(missing, EngineError::NotFound { kind: "image", .. }),
            "{missing:?}"
        );

        // The last tag goes although a container runs on it, and the image stays with the container.
        let id = world.run(&world.script("user", "sleep 1000").await).await;
        docker
            .untag(&world.tag("base"))
            .await
            .expect("the last tag goes");
        assert_eq!(
            docker.image(&world.tag("base")).await.expect("looked up"),
            None
        );
        assert!(docker.image(&image.id).await.expect("looked up").is_some());
        docker.remove(&id).await.expect("removed");
        docker
            .tag(&image.id, &world.tag("base"))
            .await
            .expect("so that it is cleaned up");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn images_travel_as_archives() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let image = world.image().await;
        let mut archive = Vec::new();
        let mut saved = docker.save(&[world.tag("base")]).await.expect("saved");
        saved
            .read_to_end(&mut archive)
            .await
            .expect("read to its end");
        docker.untag(&world.tag("base")).await.expect("gone");
        assert_eq!(docker.image(&image.id).await.expect("looked up"), None);

        docker
            .load(Box::pin(io::Cursor::new(archive.clone())))
            .await
            .expect("loaded");
        let again = docker
            .image(&world.tag("base"))
            .await
            .expect("looked up")
            .expect("back");
        assert_eq!(
            (again.config_digest, again.diff_ids),
            (image.config_digest, image.diff_ids)
        );

        let lost = docker
            .save(&[format!("{}-nothing:x", world.name)])
            .await
            .err()
            .expect("no such image");
        assert!(
            !lost.to_string().is_empty() && !matches!(lost, EngineError::Unreachable { .. }),
            "{lost:?}"
        );
        assert!(docker.save(&[]).await.is_err());

        archive.truncate(archive.len() / 2);
        let cut = docker
            .load(Box::pin(io::Cursor::new(archive)))
            .await
            .expect_err("half an archive");
        assert!(matches!(cut, EngineError::Failed(_)), "{cut:?}");
        let broken = docker
            .load(tokio_test_reader(b"x"))
            .await
            .expect_err("a broken source");
        assert_eq!(
            broken.to_string(),
            "engine stream broke: the disk is on fire"
        );
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_process_lives_and_ends() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let mut spec = world
            .script(
                "life",
                "echo $GREETING; trap 'exit 7' TERM; while :; do sleep 0.05; done",
            )
            .await;
        spec.environment
            .insert("GREETING".into(), "hello = world".into());
        let id = docker.create(&spec).await.expect("created");
        let state = docker
            .process(&id[..12])
            .await
            .expect("looked up")
            .expect("there");
        assert_eq!(
            (state.phase, state.started, state.name.as_str()),
            (Phase::Created, None, spec.name.as_str())
        );
        assert_eq!(
            (state.id.as_str(), state.image.as_str()),
            (id.as_str(), spec.image.as_str())
        );
        assert!(state.labels.contains_key("twinrack.test"));

        docker.start(&id).await.expect("started");
        docker.start(&id).await.expect("running already");
        let state = docker
            .process(&id)
            .await
            .expect("looked up")
            .expect("there");
        assert_eq!(
            (state.phase, state.command),
            (Phase::Running, spec.command.clone().expect("given"))
        );
        assert!(state.started.is_some() && state.finished.is_none());
        eventually("the trap is set", || async {
            !lines(docker.logs(&id, None, false).await.expect("logs"))
                .await
                .is_empty()
        })
        .await;
        let waiting = tokio::spawn({
            let (docker, id) = (docker.clone(), id.clone());
            async move { docker.wait(&id).await }
        });
        docker
            .stop(&id, Duration::from_secs(20))
            .await
            .expect("stopped");
        assert_eq!(waiting.await.expect("no panic").expect("a status"), 7);
        let log = lines(docker.logs(&id, None, false).await.expect("logs")).await;
        assert_eq!(texts(&log), ["hello = world"]);

        docker
            .stop(&id, Duration::from_secs(1))
            .await
            .expect("ended already");
        let listed = docker.processes(&world.labels).await.expect("listed");
        assert_eq!(listed.len(), 1);
        assert_eq!(
            (listed[0].phase, listed[0].out_of_memory),
            (Phase::Exited(7), false)
        );
        assert!(listed[0].finished >= listed[0].started);

        docker.start(&id).await.expect("started again");
        let when = Instant::now();
        docker.stop(&id, Duration::ZERO).await.expect("killed");
        assert!(
            when.elapsed() < Duration::from_secs(10),
            "took {:?}",
            when.elapsed()
        );
        assert_eq!(docker.wait(&id).await.expect("a status"), 137);
        docker
            .stop(&id, Duration::ZERO)
            .await
            .expect("killed already");

        for _ in 0..2 {
            docker.remove(&id).await.expect("gone, or gone already");
        }
        assert_eq!(docker.process(&id).await.expect("looked up"), None);
        docker
            .stop(&id, Duration::ZERO)
            .await
            .expect("what is gone has stopped");
        let missing = docker.start(&id).await.expect_err("gone");
        assert!(
            matches!(
                missing,
                EngineError::NotFound {
                    kind: "process",
                    ..
                }
            ),
            "{missing:?}"
        );
        assert!(matches!(
            docker.wait(&id).await,
            Err(EngineError::NotFound { .. })
        ));
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn what_cannot_run_says_why() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let good = world.script("bad", "").await;
        let image = ProcessSpec {
            image: "twinrack-test-nothing".into(),
            ..good.clone()
        };
        let error = docker.create(&image).await.expect_err("no image");
        assert_eq!(error.to_string(), "no such image: twinrack-test-nothing");

        let words = ProcessSpec {
            command: Some(words(&["/no/such/thing"])),
            init: false,
            ..good.clone()
        };
        let id = docker.create(&words).await.expect("created");
        let error = docker
            .start(&id)
            .await
            .expect_err("nothing to run")
            .to_string();
        assert!(
            error.starts_with("cannot start the process: exec: \"/no/such/thing\""),
            "{error}"
        );
        let taken = docker
            .create(&words)
            .await
            .expect_err("the name is taken")
            .to_string();
        assert!(
            taken.contains("already in use") && !taken.contains('\n'),
            "{taken}"
        );

        let hungry = ProcessSpec {
            name: format!("{}-hungry", world.name),
            command: Some(
                ["sh", "-c", "exec tail /dev/zero"]
                    .map(str::to_owned)
                    .into(),
            ),
            memory_limit: Some(16),
            ..good
        };
        let id = world.run(&hungry).await;
        assert_eq!(docker.wait(&id).await.expect("a status"), 137);
        let state = docker
            .process(&id)
            .await
            .expect("looked up")
            .expect("there");
        assert!(state.out_of_memory, "{state:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn an_empty_entrypoint_clears_the_images() {
    World::enter(|world| async move {
        let (image, log) = world.build("ENTRYPOINT [\"/bin/false\"]").await;
        let image = image.unwrap_or_else(|error| panic!("{error}\n{log}"));
        world
            .docker
            .tag(&image.id, &world.tag("extra"))
            .await
            .expect("tagged");
        let mut spec = ProcessSpec {
            name: format!("{}-kept", world.name),
            image: image.id,
            command: Some(words(&["/bin/true"])),
            labels: world.labels.clone(),
            ..ProcessSpec::default()
        };
        let kept = world.run(&spec).await;
        assert_eq!(world.docker.wait(&kept).await.expect("a status"), 1);
        spec.name = format!("{}-cleared", world.name);
        spec.entrypoint = Some(vec![]);
        let cleared = world.run(&spec).await;
        assert_eq!(world.docker.wait(&cleared).await.expect("a status"), 0);
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn commands_run_inside_a_process() {
    World::enter(|world| async move {
        let id = world.run(&world.script("exec", "sleep 1000").await).await;
        let command = |script: &str| ExecSpec {
            command: words(&["sh", "-c", script]),
            ..ExecSpec::default()
        };

        let (output, status) = world
            .exec(&id, command("echo out; echo err >&2; exit 9"), b"")
            .await;
        assert_eq!(status, 9);
        let mut merged: Vec<_> = output.split_inclusive(|byte| *byte == b'\n').collect();
        merged.sort_unstable();
        assert_eq!(merged, [b"err\n", b"out\n"]);

        let environment = BTreeMap::from([("GREETING".to_owned(), "a=b c".to_owned())]);
        let (output, _) = world
            .exec(
                &id,
                ExecSpec {
                    environment,
                    ..command("echo \"$GREETING\"")
                },
                b"",
            )
            .await;
        assert_eq!(output, b"a=b c\n");

        // Every byte, twice, both ways; the command sees the end of its input.
        let bytes: Vec<u8> = (0..=255).chain(0..=255).collect();
        let (output, status) = world
            .exec(
                &id,
                ExecSpec {
                    stdin: true,
                    ..command("cat")
                },
                &bytes,
            )
            .await;
        assert_eq!((output, status), (bytes, 0));

        let big = vec![7; 48 << 20];
        let (output, _) = world
            .exec(
                &id,
                ExecSpec {
                    stdin: true,
                    ..command("wc -c")
                },
                &big,
            )
            .await;
        assert_eq!(
            String::from_utf8_lossy(&output).trim(),
            (48 << 20).to_string()
        );

        let (_, status) = world
            .exec(
                &id,
                ExecSpec {
                    command: words(&["/no/such/thing"]),
                    ..ExecSpec::default()
                },
                b"",
            )
            .await;
        assert!(matches!(status, 126 | 127), "status {status}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_terminal_has_a_size_an_end_and_any_byte() {
    World::enter(|world| async move {
        let id = world
            .run(&world.script("terminal", "sleep 1000").await)
            .await;
        let terminal = |script: &str| ExecSpec {
            command: words(&["sh", "-c", script]),
            tty: true,
            stdin: true,
            size: Some((43, 121)),
            ..ExecSpec::default()
        };
        let (output, status) = world
            .exec(&id, terminal("read line; stty size; exit 5"), b"go\n")
            .await;
        assert_eq!(status, 5);
        let text = String::from_utf8_lossy(&output).into_owned();
        assert!(text.contains("43 121"), "{text:?}");

        // Output that starts with bytes that look like a frame.
        let (output, _) = world
            .exec(&id, terminal("printf '\\001\\000\\000\\002x'"), b"")
            .await;
        assert!(output.ends_with(b"\x01\x00\x00\x02x"), "{output:?}");

        // The end of input ends a reading command, and its last words are not lost.
        let (output, status) = world.exec(&id, terminal("cat; echo after"), b"one\n").await;
        assert_eq!(status, 0);
        assert!(
            String::from_utf8_lossy(&output).ends_with("after\r\n"),
            "{output:?}"
        );

        // Control-p, control-q reach the command instead of detaching.
        let keys = terminal("stty raw -echo; echo ready; head -c 2 | od -An -tx1");
        let mut exec = world.docker.exec(&id, keys).await.expect("exec");
        let mut seen = Vec::new();
        while !seen.ends_with(b"ready\n") {
            seen.push(exec.output.read_u8().await.expect("more output"));
        }
        exec.input.write_all(&[0x10, 0x11]).await.expect("written");
        exec.output.read_to_end(&mut seen).await.expect("output");
        assert!(String::from_utf8_lossy(&seen).contains("10 11"), "{seen:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn logs_have_lines_times_and_an_end() {
    World::enter(|world| async move {
        let docker = &world.docker;
        // The pauses keep the two streams in order: the engine stamps each on its own.
        let script = "echo one; sleep 0.1; echo two >&2; sleep 0.1; echo; printf 'no end'; while [ ! -e /go ]; do sleep 0.02; done; echo; echo last";
        for tty in [false, true] {
            let mut spec = world.script(if tty { "tty" } else { "plain" }, script).await;
            spec.tty = tty;
            let id = world.run(&spec).await;
            let mut follow = docker.logs(&id, None, true).await.expect("followed");
            let mut seen = Vec::new();
            for _ in 0..3 {
                seen.push(follow.next().await.expect("more").expect("a line"));
            }
            let mut first = texts(&seen);
            first.sort_unstable();
            assert_eq!(first, ["", "one", "two"]);
            world.exec(&id, ExecSpec { command: words(&["touch", "/go"]), ..ExecSpec::default() }, b"").await;
            let rest = lines(follow).await;
            assert_eq!(texts(&rest), ["no end", "last"], "tty {tty}");
            seen.extend(rest);

            // From any line on, exactly the later ones come again.
            let all = lines(docker.logs(&id, None, false).await.expect("logs")).await;
            assert_eq!(all, seen);
            for (at, chunk) in all.iter().enumerate() {
                let later = lines(docker.logs(&id, Some(chunk.time), true).await.expect("logs")).await;
                assert_eq!(later, all[at + 1..], "tty {tty}, after line {at}");
            }
        }
        let long = "head -c 40000 /dev/zero | tr '\\000' x; echo; printf end";
        for tty in [false, true] {
            let mut spec = world.script(if tty { "long-tty" } else { "long-plain" }, long).await;
            spec.tty = tty;
            let id = world.run(&spec).await;
            let log = lines(docker.logs(&id, None, true).await.expect("logs")).await;
            let sizes: Vec<_> = log.iter().map(|chunk| chunk.line.len()).collect();
            assert_eq!(sizes.iter().sum::<usize>(), 40_003, "tty {tty}: {sizes:?}");
            assert!(sizes.len() > 2 && log.last().is_some_and(|chunk| chunk.line == "end"), "tty {tty}: {sizes:?}");
        }
        let missing = docker.logs("0123456789ab", None, false).await.err().expect("no such process");
        assert!(matches!(missing, EngineError::NotFound { kind: "process", .. }), "{missing:?}");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn ports_are_dialled() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let mut spec = world
            .script(
                "server",
                "mkdir /w; echo hello > /w/x; exec httpd -f -p 8080 -h /w",
            )
            .await;
        spec.ports = vec![8080];
        let id = world.run(&spec).await;
        let ask = || async {
            let mut connection = docker.dial(&id, 8080).await?;
            connection.write_all(b"GET /x HTTP/1.0\r\n\r\n").await?;
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await?;
            Ok::<_, EngineError>(answer.ends_with("hello\n"))
        };
        eventually("the server answers", || async {
            ask().await.unwrap_or_default()
        })
        .await;
        let undeclared = docker
            .dial(&id, 81)
            .await
            .err()
            .expect("not declared")
            .to_string();
        assert!(
            undeclared.contains("port 81 of process") && undeclared.ends_with("is not published"),
            "{undeclared}"
        );

        docker.stop(&id, Duration::ZERO).await.expect("stopped");
        let stopped = docker
            .dial(&id, 8080)
            .await
            .err()
            .expect("stopped")
            .to_string();
        assert!(stopped.ends_with("is not running"), "{stopped}");
        // Restarted, it has another port.
        docker.start(&id).await.expect("started");
        eventually("it answers again", || async {
            ask().await.unwrap_or_default()
        })
        .await;
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn networks_join_and_volumes_keep() {
    World::enter(|world| async move {
        let (docker, name) = (&world.docker, world.name.clone());
        for _ in 0..2 {
            docker.ensure_network(&name, &world.labels).await.expect("a network");
            docker.ensure_volume(&name, &world.labels).await.expect("a volume");
        }
        let foreign = Labels::from([("twinrack.test".to_owned(), "another".to_owned())]);
        let error = docker.ensure_network(&name, &foreign).await.expect_err("not ours").to_string();
        assert!(error.contains("belongs to something else"), "{error}");

        let mut server = world.script("server", "echo hi > /data/x; exec httpd -f -p 80 -h /data").await;
        server.network.clone_from(&name);
        server.aliases = vec!["front".into()];
        server.volumes = vec![(name.clone(), "/data".into())];
        let server_id = world.run(&server).await;
        let get = "i=0; until wget -q -O - http://front/x; do i=$((i+1)); [ $i -lt 200 ] || exit 1; sleep 0.05; done";
        let mut client = world.script("client", get).await;
        client.network.clone_from(&name);
        let client_id = world.run(&client).await;
        assert_eq!(docker.wait(&client_id).await.expect("a status"), 0);

        let busy = docker.remove_volume(&name).await.expect_err("in use");
        assert!(matches!(busy, EngineError::Failed(_)), "{busy:?}");
        docker.remove(&server_id).await.expect("removed");
        let mut reader = world.script("reader", "cat /data/x").await;
        reader.volumes = server.volumes;
        let reader_id = world.run(&reader).await;
        let log = lines(docker.logs(&reader_id, None, true).await.expect("logs")).await;
        assert_eq!(texts(&log), ["hi"]);

        assert!(docker.remove_labelled(&Labels::new()).await.is_err(), "no label would mean everything");
        for _ in 0..2 {
            docker.remove_labelled(&world.labels).await.expect("all gone");
        }
        assert!(docker.processes(&world.labels).await.expect("listed").is_empty());
        docker.remove_volume(&name).await.expect("gone already");
        docker.ensure_network(&name, &foreign).await.expect("the name is free");
        docker.remove_labelled(&foreign).await.expect("gone");
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn events_tell_of_our_processes_only() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let spec = world.script("seen", "exit 4").await;
        let mut events = docker.events(&world.labels).await.expect("events");
        let mut other = world.script("other", "true").await;
        other.labels = Labels::from([("twinrack.test-other".to_owned(), world.name.clone())]);
        // Not ours, and nothing of it may be seen.
        let unseen = world.run(&other).await;
        docker.wait(&unseen).await.expect("a status");
        docker.remove(&unseen).await.expect("removed");
        let id = world.run(&spec).await;
        docker.wait(&id).await.expect("a status");
        docker.remove(&id).await.expect("removed");
        for kind in [
            ProcessEventKind::Start,
            ProcessEventKind::Die,
            ProcessEventKind::Remove,
        ] {
            let next = tokio::time::timeout(DEADLINE, events.next())
                .await
                .expect("in time");
            let event = next.expect("goes on").expect("an event");
            assert_eq!((event.id.as_str(), event.kind), (id.as_str(), kind));
            assert!(
                world
                    .labels
                    .iter()
                    .all(|(name, value)| event.labels.get(name) == Some(value)),
                "{event:?}"
            );
        }
    })
    .await;
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn files_are_read_and_written() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let id = world
            .run(&world.script("files", "mkdir /w; sleep 1000").await)
            .await;
        eventually("the directory exists", || async {
            docker.read_files(&id, "/w").await.is_ok()
        })
        .await;
        let content: Vec<u8> = (0..200_000u32).map(|at| (at % 251) as u8).collect();
        let archive = tar(&[("a/b", content.clone())]);
        docker
            .write_files(&id, "/w", Box::pin(io::Cursor::new(archive)))
            .await
            .expect("written");
        let mut read = Vec::new();
        docker
            .read_files(&id, "/w/a/b")
            .await
            .expect("found")
            .read_to_end(&mut read)
            .await
            .expect("read");
        let (path, back) = only_entry(&read);
        assert_eq!(path, PathBuf::from("b"));
        assert_eq!(back, content);

        let missing = docker
            .read_files(&id, "/nothing")
            .await
            .err()
            .expect("no such path");
        assert!(
            matches!(missing, EngineError::NotFound { .. }),
            "{missing:?}"
        );
        let missing = docker
            .write_files(&id, "/nothing", Box::pin(io::Cursor::new(tar(&[]))))
            .await;
        assert!(
            matches!(missing, Err(EngineError::NotFound { .. })),
            "{missing:?}"
        );
    })
    .await;
}

/// Path and content of the first entry.
fn only_entry(archive: &[u8]) -> (PathBuf, Vec<u8>) {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive
        .entries()
        .expect("entries")
        .next()
        .expect("one")
        .expect("whole");
    let mut content = Vec::new();
    io::Read::read_to_end(&mut entry, &mut content).expect("read");
    (entry.path().expect("a path").into_owned(), content)
}

#[tokio::test]
#[ignore = "needs Docker"]
async fn an_engine_that_goes_and_comes_is_followed() {
    let real = std::env::var("DOCKER_HOST").unwrap_or_default();
    let real = PathBuf::from(
        real.strip_prefix("unix://")
            .unwrap_or("/var/run/docker.sock"),
    );
    let directory = tempfile::tempdir().expect("a directory");
    let socket = directory.path().join("docker.sock");
    let docker = Docker::connect(Some(&format!("unix://{}", socket.display()))).expect("lazy");
    for _ in 0..2 {
        let gone = docker.info().await.expect_err("not there");
        assert!(
            matches!(
                gone,
                EngineError::Unreachable {
                    engine: "docker",
                    ..
                }
            ),
            "{gone:?}"
        );
        assert!(matches!(
            docker.process("abc").await,
            Err(EngineError::Unreachable { .. })
        ));

        let listener = tokio::net::UnixListener::bind(&socket).expect("bound");
        let real = real.clone();
        let relay = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let mut far = tokio::net::UnixStream::connect(&real)
                    .await
                    .expect("the real engine");
                connections
                    .spawn(async move { tokio::io::copy_bidirectional(&mut near, &mut far).await });
            }
        });
        docker.info().await.expect("there");
        let labels = Labels::from([("twinrack.test".to_owned(), "nobody".to_owned())]);
        let mut events = docker.events(&labels).await.expect("events");
        let watching = tokio::spawn(async move { events.next().await });
        relay.abort();
        assert!(relay.await.is_err_and(|ended| ended.is_cancelled()));
        std::fs::remove_file(&socket).expect("removed");
        let last = tokio::time::timeout(DEADLINE, watching)
            .await
            .expect("in time")
            .expect("no panic");
        assert!(
            matches!(last, None | Some(Err(EngineError::Unreachable { .. }))),
            "{last:?}"
        );
    }
}
