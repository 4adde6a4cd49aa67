//! Builds, references and what becomes of images.

use super::*;

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
    assert_eq!(
        first.diff_ids[0], instruction.diff_ids[0],
        "both stand on the same base"
    );
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
