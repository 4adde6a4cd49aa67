//! Building, naming and moving images.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rack_server::engine::docker::Docker;
use rack_server::engine::{BuildSpec, Engine, EngineError, Reader};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::world::{World, eventually, words};

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
            let reader = broken_reader(b"not all of it");
            spec.context = reader;
        };
        let (image, _) = world.build_with("", broken, &CancellationToken::new()).await;
        let error = image.expect_err("the context broke").to_string();
        assert_eq!(error, "engine stream broke: the disk is on fire");
    })
    .await;
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

        // The classic builder keeps the image of each step; naming the first of ours makes it go with its name.
        let (log, _output) = mpsc::channel::<Bytes>(1024);
        let first = classic
            .build(world.spec("").await, log, CancellationToken::new())
            .await
            .expect("built");
        world
            .docker
            .tag(&first.id, &world.tag("extra"))
            .await
            .expect("tagged");
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
        // A tar that ends too early is refused, as a layer that does is.
        assert!(matches!(cut, EngineError::Refused(_)), "{cut:?}");
        let broken = docker
            .load(broken_reader(b"x"))
            .await
            .expect_err("a broken source");
        assert_eq!(
            broken.to_string(),
            "engine stream broke: the disk is on fire"
        );
    })
    .await;
}

/// A reader that fails after some bytes.
fn broken_reader(bytes: &'static [u8]) -> Reader {
    let pieces = [
        Ok(Bytes::from_static(bytes)),
        Err(io::Error::other("the disk is on fire")),
    ];
    Box::pin(tokio_util::io::StreamReader::new(futures::stream::iter(
        pieces,
    )))
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
