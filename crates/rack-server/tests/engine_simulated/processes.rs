//! Processes: lives, logs, commands, ports.

use ProcessEventKind::{Die, Remove, Start};

use super::*;

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
        all.is_sorted_by(|a, b| a.place.time < b.place.time),
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
    let later = texts(&engine, &id, Some(first.place), true).await;
    assert!(
        later
            .iter()
            .all(|chunk| chunk.place.time > first.place.time)
    );
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
    // One whose terminal is closed.
    let waits = ExecSpec {
        command: vec!["sleep".to_owned(), "1000".to_owned()],
        ..ExecSpec::default()
    };
    let exec = engine.exec(&id, waits).await.expect("an exec");
    exec.end.await.expect("ended");
    assert_eq!(
        within("the status", exec.status).await.expect("a status"),
        129
    );
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
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
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
    for fault in ["never-healthy", "run-exits-9", "slow-start-60000"] {
        engine.set_fault(fault).expect("known");
    }
    engine
        .dial(&id, 5432)
        .await
        .expect("faults that name no one spare resources");
    assert_eq!(run(&engine, &id, &["pg_isready"], "").await.0, 0);
    engine.set_fault("never-healthy@database").expect("known");
    assert!(engine.dial(&id, 5432).await.is_err());
}

#[tokio::test]
async fn what_a_process_uses_follows_from_what_it_does() {
    let engine = Simulated::in_memory();
    let id = running(&engine, "web").await;
    let usage = async || engine.usage(&id).await.expect("asked");
    let first = usage().await.expect("it runs");
    assert!(first.memory > 0 && first.cpu > Duration::ZERO);
    let later = within("more use of the processor", async {
        loop {
            let now = usage().await.expect("it runs");
            if now.cpu > first.cpu {
                return now;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(later.memory, first.memory);
    engine.stop(&id, Duration::ZERO).await.expect("stopped");
    assert_eq!(usage().await, None);
    assert_eq!(engine.usage("0123456789ab").await.expect("asked"), None);
}
