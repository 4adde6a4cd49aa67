//! Files, volumes and labels.

use super::*;

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
