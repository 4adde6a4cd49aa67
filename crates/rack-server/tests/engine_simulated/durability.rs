//! Restarts, damage and many callers.

use super::*;

#[tokio::test]
async fn what_is_kept_survives_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Simulated::open(directory.path()).expect("opened");
    let image = build(&engine, &[("Dockerfile", WEB), ("a", "1")]).await;
    let gone = build(&engine, &[("Dockerfile", WEB), ("a", "2")]).await;
    engine.tag(&image.id, "app:web").await.expect("tagged");
    engine.tag(&gone.id, "app:gone").await.expect("tagged");
    engine.untag("app:gone").await.expect("untagged");
    engine
        .ensure_network("net", &labels("web"))
        .await
        .expect("ensured");
    engine
        .ensure_volume("data", &labels("web"))
        .await
        .expect("ensured");
    let mut spec = process_spec(&image, "web", "");
    spec.volumes = vec![("data".to_owned(), "/data".to_owned())];
    spec.network = "net".to_owned();
    let id = engine.create(&spec).await.expect("created");
    engine.start(&id).await.expect("started");
    engine
        .write_files(&id, "/data", reader(tar_of(&[("kept", "1")])))
        .await
        .expect("written");
    engine
        .write_files(&id, "/tmp", reader(tar_of(&[("lost", "1")])))
        .await
        .expect("written");
    drop(engine);

    let engine = Simulated::open(directory.path()).expect("opened again");
    assert_eq!(engine.image("app:web").await.expect("asked"), Some(image));
    assert_eq!(engine.image(&gone.id).await.expect("asked"), None);
    assert_eq!(engine.processes(&Labels::new()).await.expect("listed"), []);
    let id = engine
        .create(&spec)
        .await
        .expect("image, network and volume are there");
    engine.read_files(&id, "/data/kept").await.expect("kept");
    assert!(engine.read_files(&id, "/tmp/lost").await.is_err());
    read_all(engine.save(&["app:web".to_owned()]).await.expect("saved"))
        .await
        .expect("every blob is there");

    let blobs = || {
        std::fs::read_dir(directory.path().join("blobs"))
            .expect("listed")
            .count()
    };
    // One image of three layers and a configuration, one file in a volume.
    assert_eq!(blobs(), 5);
    engine.remove(&id).await.expect("removed");
    engine.remove_volume("data").await.expect("removed");
    engine.untag("app:web").await.expect("untagged");
    assert_eq!(blobs(), 0, "nothing is left behind");
}

#[tokio::test]
async fn damaged_state_is_refused_with_advice() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Simulated::open(directory.path()).expect("opened");
    engine.pull("redis:7", None).await.expect("pulled");
    drop(engine);
    let file = directory.path().join("state.json");
    let text = std::fs::read_to_string(&file).expect("read");
    for (damaged, reason) in [
        (
            text.replace("\"version\": 1", "\"version\": 9"),
            "has format 9, this server knows 1",
        ),
        (
            text[..text.len() / 2].to_owned(),
            "remove that directory to start afresh",
        ),
        (
            text.replace("\"images\": {", "\"images\": {\"sha256:00\": 1, "),
            "remove that directory to start afresh",
        ),
    ] {
        std::fs::write(&file, damaged).expect("written");
        let error = Simulated::open(directory.path())
            .expect_err(reason)
            .to_string();
        assert!(error.contains(reason) && !error.contains('\n'), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_at_once_do_not_disturb_each_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let engine = Arc::new(Simulated::open(directory.path()).expect("opened"));
    let mut callers = tokio::task::JoinSet::new();
    for number in 0..12 {
        let engine = Arc::clone(&engine);
        callers.spawn(async move {
            let text = (number % 3).to_string();
            let image = build(&engine, &[("Dockerfile", WEB), ("number", &text)]).await;
            let (tag, scratch) = (format!("app:{number}"), format!("scratch:{number}"));
            engine.tag(&image.id, &tag).await.expect("tagged");
            engine.tag(&image.id, &scratch).await.expect("tagged");
            let archive = read_all(engine.save(&[tag]).await.expect("saved"))
                .await
                .expect("read");
            engine.load(reader(archive)).await.expect("loaded");
            engine.untag(&scratch).await.expect("untagged");
            let spec = ProcessSpec {
                name: format!("p{number}"),
                ..process_spec(&image, "web", "exit 6")
            };
            let id = engine.create(&spec).await.expect("created");
            engine.start(&id).await.expect("started");
            assert_eq!(engine.wait(&id).await.expect("waited"), 6);
            (number % 3, image.id)
        });
    }
    let mut ids = BTreeMap::new();
    while let Some(joined) = within("a caller", callers.join_next()).await {
        let (text, id) = joined.expect("no panic");
        assert_eq!(*ids.entry(text).or_insert_with(|| id.clone()), id);
    }
    assert_eq!(
        engine
            .processes(&Labels::new())
            .await
            .expect("listed")
            .len(),
        12
    );
    for number in 0..12 {
        assert!(
            engine
                .image(&format!("app:{number}"))
                .await
                .expect("asked")
                .is_some()
        );
    }
}
