//! The life of processes, and what is seen of it.

use std::time::{Duration, Instant};

use futures::StreamExt;
use rack_server::engine::{
    Engine, EngineError, ExecSpec, Labels, LogChunk, Phase, ProcessEventKind, ProcessSpec,
};

use crate::world::{DEADLINE, World, eventually, lines, texts, words};

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
                let later = lines(docker.logs(&id, Some(chunk.place), true).await.expect("logs")).await;
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
async fn what_a_process_uses_is_told_while_it_runs() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let id = world
            .run(&world.script("busy", "while :; do :; done").await)
            .await;
        eventually("it has used some processor", || async {
            docker
                .usage(&id)
                .await
                .expect("asked")
                .is_some_and(|usage| usage.cpu > Duration::ZERO)
        })
        .await;
        let first = docker.usage(&id).await.expect("asked").expect("it runs");
        assert!(first.memory > 0, "{first:?}");
        eventually("it has used more", || async {
            let now = docker.usage(&id).await.expect("asked").expect("it runs");
            now.cpu > first.cpu
        })
        .await;
        docker.stop(&id, Duration::ZERO).await.expect("killed");
        assert_eq!(docker.usage(&id).await.expect("asked"), None);
        docker.remove(&id).await.expect("removed");
        assert_eq!(docker.usage(&id).await.expect("asked"), None);
    })
    .await;
}

/// Numbered lines of 600 bytes, four files of a log in all.
const OUTGROWING: &str = "awk 'BEGIN { while (length(p) < 594) p = p \"x\"; for (n = 1; n <= 55000; n++) printf \"%05d %s\\n\", n, p }'; touch /said; while [ ! -e /go ]; do sleep 0.02; done; echo 55001";

#[tokio::test]
#[ignore = "needs Docker"]
async fn a_log_that_outgrows_its_files_comes_whole_and_once() {
    World::enter(|world| async move {
        let docker = &world.docker;
        let id = world.run(&world.script("rotates", OUTGROWING).await).await;
        let inside = |words: &'static [&'static str]| ExecSpec {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..ExecSpec::default()
        };
        let number = |chunk: &LogChunk| -> u32 {
            let text = std::str::from_utf8(&chunk.line[..5]).expect("digits");
            text.parse().expect("a number")
        };
        // One reader stands still until all is said, so the engine falls behind with it;
        // another one leaves now and then and comes back.
        let mut slow = docker.logs(&id, None, true).await.expect("followed");
        let mut seen = 0;
        while seen < 10 {
            let chunk = slow.next().await.expect("more").expect("a line");
            seen += 1;
            assert_eq!(number(&chunk), seen);
        }
        let leaving = async {
            let (mut place, mut read) = (None, 0);
            while read < 55_001 {
                let log = docker.logs(&id, place, true).await.expect("followed");
                let mut some = log.take(9000);
                while let Some(chunk) = some.next().await {
                    let chunk = chunk.expect("a line");
                    read += 1;
                    assert_eq!(number(&chunk), read, "the one that leaves");
                    assert!(!chunk.gap);
                    place = Some(chunk.place);
                }
            }
        };
        let standing = async {
            eventually("all is said", async || {
                let said = world.exec(&id, inside(&["test", "-e", "/said"]), b"");
                said.await.1 == 0
            })
            .await;
            while let Some(chunk) = slow.next().await {
                let chunk = chunk.expect("a line");
                seen += 1;
                assert_eq!(number(&chunk), seen, "the one that stood still");
                assert!(!chunk.gap);
                if seen == 55_000 {
                    world.exec(&id, inside(&["touch", "/go"]), b"").await;
                }
            }
            assert_eq!(seen, 55_001);
        };
        futures::join!(leaving, standing);
    })
    .await;
}
