//! Images as tar streams.

use std::fmt::Write as _;

use super::*;

#[tokio::test]
async fn archives_carry_images_to_another_engine() {
    let (from, to) = (Simulated::in_memory(), Simulated::in_memory());
    let web = build(&from, &[("Dockerfile", WEB), ("a", "1")]).await;
    let worker = build(
        &from,
        &[("Dockerfile", &WEB.replace("httpd", "worker")), ("a", "1")],
    )
    .await;
    for (image, reference) in [
        (&web, "app:web"),
        (&web, "app:copy"),
        (&worker, "app:worker"),
    ] {
        from.tag(&image.id, reference).await.expect("tagged");
    }
    let references = ["app:web", "app:worker", "app:copy"].map(str::to_owned);
    let bytes = read_all(from.save(&references).await.expect("saved"))
        .await
        .expect("read");
    let again = read_all(from.save(&references).await.expect("saved"))
        .await
        .expect("read");
    assert_eq!(bytes, again, "archives are deterministic");

    let mut names = Vec::new();
    let mut archive = tar::Archive::new(bytes.as_slice());
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry
            .path()
            .expect("a path")
            .to_str()
            .expect("text")
            .to_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("memory does not fail");
        let digest = Sha256::digest(&content)
            .iter()
            .fold(String::new(), |mut text, byte| {
                write!(text, "{byte:02x}").expect("a string takes everything");
                text
            });
        if name != "manifest.json" {
            assert!(
                name == format!("{digest}.json") || name == format!("{digest}/layer.tar"),
                "{name} is {digest}"
            );
        }
        names.push(name);
    }
    assert_eq!(names.last().map(String::as_str), Some("manifest.json"));
    // Two configurations, the base layer once, two layers of each image, the index.
    assert_eq!(names.len(), 2 + 1 + 4 + 1, "{names:?}");

    to.load(reader(bytes)).await.expect("loaded");
    for (image, reference) in [
        (&web, "app:web"),
        (&web, "app:copy"),
        (&worker, "app:worker"),
    ] {
        assert_eq!(
            to.image(reference).await.expect("asked").as_ref(),
            Some(image)
        );
    }
    let error = from
        .save(&["app:none".to_owned()])
        .await
        .err()
        .expect("unknown");
    assert_eq!(error.to_string(), "no such image: app:none");
}

#[tokio::test]
async fn damaged_archives_load_nothing() {
    let (from, to) = (Simulated::in_memory(), Simulated::in_memory());
    let image = build(
        &from,
        &[("Dockerfile", WEB), ("a", "contents that will be changed")],
    )
    .await;
    from.tag(&image.id, "app:web").await.expect("tagged");
    let good = read_all(from.save(&["app:web".to_owned()]).await.expect("saved"))
        .await
        .expect("read");

    let at = good
        .windows(8)
        .position(|window| window == b"contents")
        .expect("the layer is in the archive");
    let mut flipped = good.clone();
    flipped[at] ^= 1;
    let mut renamed = good.clone();
    let name = renamed
        .windows(13)
        .position(|window| window == b"manifest.json")
        .expect("an index");
    renamed[name] = b'M';
    let mut header = tar::Header::new_gnu();
    header
        .as_mut_bytes()
        .copy_from_slice(&renamed[name..name + 512]);
    header.set_cksum();
    renamed[name..name + 512].copy_from_slice(header.as_bytes());
    for (damaged, text) in [
        (flipped, "/layer.tar has digest sha256:"),
        (good[..at].to_vec(), "cannot load images: "),
        (renamed, "cannot load images: manifest.json is missing"),
        (Vec::new(), "cannot load images: manifest.json is missing"),
        (vec![b'x'; 2048], "cannot load images: "),
    ] {
        let error = to.load(reader(damaged)).await.expect_err(text).to_string();
        assert!(error.contains(text) && !error.contains('\n'), "{error}");
        assert_eq!(to.image(&image.id).await.expect("asked"), None);
    }
    to.load(reader(good))
        .await
        .expect("the whole archive is good");
}

/// The entries of a tar, in order.
fn entries_of(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    let mut entries = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let name = entry.path().expect("a path").to_string_lossy().into_owned();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).expect("memory does not fail");
        entries.push((name, content));
    }
    entries
}

fn append(builder: &mut tar::Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder
        .append_data(&mut header, name, content)
        .expect("memory does not fail");
}

#[tokio::test]
async fn linked_and_compressed_layers_load_too() {
    let (from, to) = (Simulated::in_memory(), Simulated::in_memory());
    let image = build(&from, &[("Dockerfile", WEB), ("a", "1")]).await;
    from.tag(&image.id, "app:web").await.expect("tagged");
    let saved = from.save(&["app:web".to_owned()]).await.expect("saved");
    let saved = read_all(saved).await.expect("read");
    let mut builder = tar::Builder::new(Vec::new());
    let mut layers = 0;
    for (name, content) in entries_of(&saved) {
        if !name.ends_with("layer.tar") {
            append(&mut builder, &name, &content);
            continue;
        }
        layers += 1;
        if layers == 1 {
            // As registries and newer engines keep layers.
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            std::io::Write::write_all(&mut gzip, &content).expect("memory does not fail");
            append(
                &mut builder,
                &name,
                &gzip.finish().expect("memory does not fail"),
            );
        } else if layers == 2 {
            // As older engines write a layer again.
            append(&mut builder, "first/layer.tar", &content);
            let mut header = tar::Header::new_gnu();
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            builder
                .append_link(&mut header, &name, "../first/layer.tar")
                .expect("memory does not fail");
        } else {
            append(&mut builder, &name, &content);
        }
    }
    let tar = builder.into_inner().expect("memory does not fail");
    to.load(reader(tar)).await.expect("loaded");
    assert_eq!(to.image("app:web").await.expect("asked"), Some(image));
}

#[tokio::test]
async fn build_artifacts_carry_the_same_image() {
    let (staging, production) = (Simulated::in_memory(), Simulated::in_memory());
    let image = build(&staging, &[("Dockerfile", WEB), ("a", "1")]).await;
    staging
        .tag(&image.id, "staging/myapp:web.BABCDEFGHIJ")
        .await
        .expect("tagged");
    let saved = staging
        .save(&["staging/myapp:web.BABCDEFGHIJ".to_owned()])
        .await
        .expect("saved");
    let mut saved = std::io::Cursor::new(read_all(saved).await.expect("read"));
    let record = artifact::BuildRecord {
        id: "BABCDEFGHIJ".to_owned(),
        app: "myapp".to_owned(),
        manifest: "services:\n  web:\n    build: .\n".to_owned(),
        status: "complete".to_owned(),
        ..artifact::BuildRecord::default()
    };
    let images = BTreeMap::from([("web".to_owned(), "staging/myapp:web.BABCDEFGHIJ".to_owned())]);
    let mut archive = Vec::new();
    artifact::write(
        &record,
        &[],
        &artifact::Source::default(),
        &images,
        &mut saved,
        &mut archive,
        1,
    )
    .expect("an archive");
    let limits = artifact::Limits::default();
    let contents = artifact::verify(archive.as_slice(), &limits).expect("a good archive");
    assert_eq!(
        contents.services["web"].config_digest.as_str(),
        image.config_digest
    );
    let mut tar = Vec::new();
    let tag = |service: &str| format!("production/myapp:{service}.BZZZZZZZZZZ");
    artifact::write_docker_load(archive.as_slice(), &contents, &tag, &mut tar, &limits)
        .expect("a tar");
    production.load(reader(tar)).await.expect("loaded");
    let there = production
        .image("production/myapp:web.BZZZZZZZZZZ")
        .await
        .expect("asked");
    assert_eq!(there, Some(image));
}
