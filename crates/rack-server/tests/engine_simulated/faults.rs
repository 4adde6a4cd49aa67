//! Faults by name.

use super::*;

#[tokio::test]
async fn faults_of_the_engine_hit_every_caller() {
    let engine = Simulated::in_memory();
    let id = running(&engine, "web").await;
    let mut events = engine.events(&Labels::new()).await.expect("events");
    engine.set_fault("engine-down").expect("known");
    assert_eq!(
        engine.faults().expect("it has some").list(),
        ["engine-down"]
    );
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
