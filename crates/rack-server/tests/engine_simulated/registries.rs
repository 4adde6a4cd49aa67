//! Registries that want a login.

use rack_server::engine::Credentials;

use super::*;

fn login(password: &str) -> Credentials {
    Credentials {
        username: "deploy".into(),
        password: password.into(),
    }
}

#[tokio::test]
async fn a_private_registry_takes_its_login_only_and_gives_for_it_only() {
    let engine = Simulated::in_memory();
    engine.set_private_registry("https://box.example:5000/v1/", login("right"));
    let (host, image) = ("box.example:5000", "box.example:5000/team/base:1");
    assert!(engine.login(host, &login("right")).await.expect("asked"));
    assert!(!engine.login(host, &login("wrong")).await.expect("asked"));
    for refused in [None, Some(&login("wrong"))] {
        let error = engine.pull(image, refused).await.expect_err("private");
        assert_eq!(
            error.to_string(),
            format!(
                "cannot pull {image}: pull access denied, repository does not exist or may require authorization"
            )
        );
    }
    let dockerfile = format!("FROM {image}\nRUN make\n");
    let files = [("Dockerfile", dockerfile.as_str())];
    let (error, log) = build_error(&engine, &files).await;
    assert!(error.contains("pull access denied"), "{error}");
    assert!(!log.contains("right"), "{log}");
    let mut spec = spec_of(&files);
    spec.registries.insert(host.into(), login("right"));
    let (built, log) = build_spec(&engine, spec).await;
    built.unwrap_or_else(|error| panic!("{error}\n{log}"));
    engine
        .pull(image, Some(&login("right")))
        .await
        .expect("pulled");
    // What is here needs nobody's leave any more.
    engine.pull(image, None).await.expect("present");
}

#[tokio::test]
async fn a_registry_nobody_declared_takes_every_login() {
    let engine = Simulated::in_memory();
    assert!(
        engine
            .login("docker.io", &login("any"))
            .await
            .expect("asked")
    );
    engine.pull("redis:7", None).await.expect("pulled");
}

#[tokio::test]
async fn a_registry_that_there_is_not_takes_and_gives_nothing() {
    let engine = Simulated::in_memory();
    let host = "registry.invalid:5000";
    let error = engine.login(host, &login("any")).await;
    assert_eq!(
        error.expect_err("not there").to_string(),
        "the login could not be checked with registry.invalid:5000: lookup registry.invalid: no such host"
    );
    let error = engine
        .pull("registry.invalid/team/base:1", Some(&login("any")))
        .await;
    assert_eq!(
        error.expect_err("not there").to_string(),
        "cannot pull registry.invalid/team/base:1: lookup registry.invalid: no such host"
    );
}

#[tokio::test]
async fn declared_registries_are_read_whenever_they_are_needed() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Simulated::open(directory.path()).expect("opened");
    let file = directory.path().join("registries.json");
    let declare = |text: &str| std::fs::write(&file, text).expect("written");
    assert!(
        engine
            .login("box.example", &login("any"))
            .await
            .expect("asked")
    );
    declare(r#"{"https://box.example": {"username": "deploy", "password": "right"}}"#);
    assert!(
        !engine
            .login("box.example", &login("any"))
            .await
            .expect("asked")
    );
    assert!(
        engine
            .login("box.example", &login("right"))
            .await
            .expect("asked")
    );
    assert!(
        engine
            .login("other.example", &login("any"))
            .await
            .expect("asked")
    );
    declare("{\"box.example\":\n \"right\"}");
    let error = engine.login("box.example", &login("right")).await;
    let error = error.expect_err("damaged").to_string();
    assert!(
        error.ends_with("registries.json is no object of logins by host: see line 2"),
        "{error}"
    );
    assert!(!error.contains("right"), "{error}");
}
