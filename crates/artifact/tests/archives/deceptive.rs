//! Images and indexes that lie: every statement is checked against the bytes.

use std::collections::BTreeMap;

use artifact::{ArtifactError, Digest, Format};
use tar::EntryType;

use crate::hostile::inner;
use crate::support::*;

fn docker(manifest: &str, files: &[(&str, &[u8])]) -> ArtifactError {
    let mut tar = Tar::default();
    for (name, bytes) in files {
        tar = tar.file(name, bytes);
    }
    let tar = tar.file("manifest.json", manifest.as_bytes()).finish();
    check(&archive(&[("myapp.B1.tar", &tar)])).expect_err("must be refused")
}

#[test]
fn manifests_that_lie_are_refused() {
    let image = TestImage::new(&["one"], &[]);
    let config = image.config.as_slice();
    let layer = image.layers[0].as_slice();
    let tag = r#""RepoTags":["a:web.B1"]"#;
    let list = |config: &str, layers: &str| {
        format!(r#"[{{"Config":"{config}",{tag},"Layers":{layers}}}]"#)
    };

    let files: &[(&str, &[u8])] = &[("c.json", config), ("l.tar", layer)];
    for path in ["../c.json", "/etc/passwd", "nothing", "."] {
        let error = docker(&list(path, r#"["l.tar"]"#), files);
        assert!(
            matches!(error, ArtifactError::MissingFile { .. }),
            "{path}: {error}"
        );
    }
    let error = docker(&list("c.json", "[]"), files);
    assert!(matches!(error, ArtifactError::LayerCount { .. }), "{error}");
    let error = docker(&list("c.json", r#"["c.json"]"#), files);
    assert!(
        matches!(error, ArtifactError::DigestMismatch { .. }),
        "{error}"
    );
    let error = docker(&list("l.tar", r#"["l.tar"]"#), files);
    assert!(matches!(error, ArtifactError::Document { .. }), "{error}");
    for manifest in ["", "{}", "[{}]", "[", "null", "[\"a\"]", "\u{feff}[]"] {
        let error = docker(manifest, files);
        assert!(
            matches!(error, ArtifactError::Document { .. }),
            "{manifest}: {error}"
        );
    }
    let error = docker("[]", files);
    assert!(matches!(error, ArtifactError::NoImages), "{error}");
    let untagged = r#"[{"Config":"c.json","RepoTags":null,"Layers":["l.tar"]}]"#;
    let error = docker(untagged, files);
    assert!(matches!(error, ArtifactError::Untagged { .. }), "{error}");
    let nested = "[".repeat(100_000);
    let error = docker(&nested, files);
    assert!(matches!(error, ArtifactError::Document { .. }), "{error}");

    let name = format!("{}.json", "0".repeat(64));
    let error = docker(
        &list(&name, r#"["l.tar"]"#),
        &[(&name, config), ("l.tar", layer)],
    );
    assert!(
        matches!(error, ArtifactError::DigestMismatch { .. }),
        "{error}"
    );

    let evil = br#"{"rootfs":{"type":"layers","diff_ids":["sha256:../../../etc/passwd"]}}"#;
    let error = docker(
        &list("c.json", r#"["l.tar"]"#),
        &[("c.json", evil), ("l.tar", layer)],
    );
    assert!(error.to_string().contains("is not a digest"), "{error}");
}

#[test]
fn layers_must_be_whole_and_in_a_known_compression() {
    let image = TestImage::new(&["one"], &[]);
    let manifest = r#"[{"Config":"c.json","RepoTags":["a:web.B1"],"Layers":["l.tar"]}]"#;
    let packed = gzip(&image.layers[0]);
    let broken = [
        packed[..packed.len() - 1].to_vec(),
        [&packed[..], b"x"].concat(),
        [&packed[..20], &[0x55; 40]].concat(),
    ];
    for layer in &broken {
        let error = docker(manifest, &[("c.json", &image.config), ("l.tar", layer)]);
        assert!(
            matches!(&error, ArtifactError::Damaged { place, .. } if place == "myapp.B1.tar/l.tar"),
            "{error}"
        );
    }
    let zstd = b"\x28\xb5\x2f\xfd rest";
    let error = docker(manifest, &[("c.json", &image.config), ("l.tar", zstd)]);
    assert!(
        matches!(
            error,
            ArtifactError::UnsupportedCompression { method: "zstd", .. }
        ),
        "{error}"
    );
}

#[test]
fn blobs_must_be_what_they_are_called() {
    let name = format!("blobs/sha256/{}", Digest::of(b"one").hex());
    let error = inner(Tar::default().file(&name, b"two"));
    assert!(
        matches!(error, ArtifactError::DigestMismatch { .. }),
        "{error}"
    );
    for name in ["blobs/sha256/abc", "blobs/sha512/abc", "blobs/sha256/x/y"] {
        let error = inner(Tar::default().file(name, b"x"));
        assert!(
            matches!(error, ArtifactError::MalformedDigest { .. }),
            "{name}: {error}"
        );
    }
}

#[test]
fn oci_layouts_that_lie_are_refused() {
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let refuse = |index: &str, blobs: &[&[u8]]| {
        let mut tar = Tar::default();
        for bytes in blobs {
            tar = tar.file(&blob(bytes), bytes);
        }
        let tar = tar.file("index.json", index.as_bytes()).finish();
        check(&archive(&[("web.B1.tar", &tar)])).expect_err("must be refused")
    };
    let digest = Digest::of(b"{}");
    let entry = format!(r#"{{"digest":"{digest}","size":2}}"#);
    let list = |entries: &str| format!(r#"{{"schemaVersion":2,"manifests":[{entries}]}}"#);

    let error = refuse(&list(""), &[]);
    assert!(
        matches!(error, ArtifactError::ImageCount { count: 0, .. }),
        "{error}"
    );
    let error = refuse(&list(&format!("{entry},{entry}")), &[b"{}"]);
    assert!(
        matches!(error, ArtifactError::ImageCount { count: 2, .. }),
        "{error}"
    );
    let error = refuse(&list(&entry), &[]);
    assert!(
        matches!(error, ArtifactError::MissingFile { .. }),
        "{error}"
    );
    let error = refuse(&list(&entry.replace(":2}", ":3}")), &[b"{}"]);
    assert!(
        matches!(error, ArtifactError::SizeMismatch { .. }),
        "{error}"
    );
    let error = refuse(&list(&entry), &[b"{}"]);
    assert!(matches!(error, ArtifactError::Document { .. }), "{error}");
    let error = refuse(&list(r#"{"digest":"sha256:../../x","size":2}"#), &[]);
    assert!(error.to_string().contains("is not a digest"), "{error}");
    let error = refuse(&list(&entry.replace(":2}", ":-2}")), &[b"{}"]);
    assert!(matches!(error, ArtifactError::Document { .. }), "{error}");

    // An index that contains itself in name only: digests cannot form a loop,
    // but a long chain must end too.
    let mut bytes = b"{}".to_vec();
    let mut chain = Vec::new();
    for _ in 0..10 {
        let entry = format!(
            r#"{{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"{}","size":{}}}"#,
            Digest::of(&bytes),
            bytes.len()
        );
        chain.push(bytes);
        bytes = list(&entry).into_bytes();
    }
    let blobs: Vec<_> = chain.iter().map(Vec::as_slice).collect();
    let error = refuse(std::str::from_utf8(&bytes).expect("text"), &blobs);
    assert!(matches!(error, ArtifactError::Document { .. }), "{error}");
}

#[test]
fn neither_manifest_nor_index_is_refused() {
    let error = check(&archive(&[("web.B1.tar", &Tar::default().finish())])).expect_err("empty");
    assert!(
        matches!(error, ArtifactError::MissingFile { .. }),
        "{error}"
    );
    let error = check(&archive(&[("notes.txt", b"x")])).expect_err("no images");
    assert!(matches!(error, ArtifactError::NoImages), "{error}");
}

#[test]
fn two_images_for_one_service_are_refused() {
    let one = BTreeMap::from([("web".to_owned(), TestImage::new(&["one"], &[]))]);
    let two = BTreeMap::from([("web".to_owned(), TestImage::new(&["two"], &[]))]);
    let bytes = archive(&[
        ("web.B1.tar", &podman_save(&one)),
        ("web.B2.tar", &podman_save(&two)),
    ]);
    let error = check(&bytes).expect_err("two images");
    assert!(
        matches!(&error, ArtifactError::AmbiguousService { service } if service == "web"),
        "{error}"
    );
    let bytes = archive(&[
        ("web.B1.tar", &podman_save(&one)),
        ("web.B2.tar", &podman_save(&one)),
    ]);
    check(&bytes).expect("the same image twice is no contradiction");
}

/// An archive of the default format with some of its entries edited.
fn edited(edit: impl FnOnce(&mut Vec<(String, Vec<u8>)>)) -> Result<(), String> {
    let (original, _) = export(Format::Default, &podman_save(&images()));
    let mut entries = files(&gunzip(&original));
    edit(&mut entries);
    let mut tar = Tar::default();
    for (name, bytes) in &entries {
        tar = tar.file(name, bytes);
    }
    check(&gzip(&tar.finish()))
        .map(|_| ())
        .map_err(|error| error.to_string())
}

fn replace(bytes: &mut Vec<u8>, old: &str, new: &str) {
    let text = String::from_utf8(bytes.clone()).expect("text");
    assert!(text.contains(old), "{old} in {text}");
    *bytes = text.replacen(old, new, 1).into_bytes();
}

#[test]
fn the_index_binds_everything() {
    type Change = Box<dyn FnOnce(&mut Vec<(String, Vec<u8>)>)>;
    edited(|_| ()).expect("unchanged, it holds");
    let cases: Vec<(&str, Change)> = vec![
        (
            "the digest of build.json differs",
            Box::new(|it| replace(&mut it[0].1, "complete", "Complete")),
        ),
        (
            "bytes, listed are",
            Box::new(|it| replace(&mut it[0].1, "complete", "")),
        ),
        (
            "notes.txt is not listed",
            Box::new(|it| it.insert(1, ("notes.txt".into(), b"x".to_vec()))),
        ),
        (
            "\"build.json\" is listed but missing",
            Box::new(|it| drop(it.remove(0))),
        ),
        (
            "\"myapp.BABCDEFGHIJ.tar\" is listed but missing",
            Box::new(|it| drop(it.remove(1))),
        ),
        (
            "\"later.txt\" follows it",
            Box::new(|it| it.push(("later.txt".into(), b"x".to_vec()))),
        ),
        (
            "not listed",
            Box::new(|it| it[1].1 = classic_save(&images())),
        ),
        (
            "the image of service web differs",
            Box::new(|it| replace(&mut it[2].1, "/bin/web", "/bin/sh")),
        ),
        (
            "the image of service porter differs",
            Box::new(|it| replace(&mut it[2].1, "\"worker\": {", "\"porter\": {")),
        ),
        (
            "listed is \"other\"",
            Box::new(|it| replace(&mut it[2].1, "\"app\": \"myapp\"", "\"app\": \"other\"")),
        ),
        (
            "version 7.",
            Box::new(|it| replace(&mut it[2].1, "\"major\": 1", "\"major\": 7")),
        ),
        (
            "twinrack.json cannot be read",
            Box::new(|it| it[2].1.truncate(50)),
        ),
    ];
    for (expected, edit) in cases {
        let error = edited(edit).expect_err(expected);
        assert!(error.contains(expected), "{expected}: {error}");
    }
    edited(|it| replace(&mut it[2].1, "\"minor\": 1", "\"minor\": 3"))
        .expect("newer minor version");
}

#[test]
fn an_empty_directory_is_not_part_of_an_indexed_archive() {
    let (original, _) = export(Format::Default, &podman_save(&images()));
    let mut tar = Tar::default().directory("extra/");
    for (name, bytes) in files(&gunzip(&original)) {
        tar = tar.file(&name, &bytes);
    }
    let error = check(&gzip(&tar.finish())).expect_err("unlisted");
    assert!(
        matches!(error, ArtifactError::IndexMismatch { .. }),
        "{error}"
    );
}

#[test]
fn links_are_refused_in_oci_layouts() {
    let layout = oci_layout(&images()["web"]);
    let mut tar = Tar::default();
    for (name, bytes) in files(&layout) {
        if !name.ends_with('/') {
            tar = tar.file(&name, &bytes);
        }
    }
    let tar = tar.link(EntryType::Symlink, "other", "index.json").finish();
    let error = check(&archive(&[("web.B1.tar", &tar)])).expect_err("a link");
    assert!(
        matches!(error, ArtifactError::Forbidden { kind: "link", .. }),
        "{error}"
    );
}

/// A layout whose index leads through a second one, with an attestation beside
/// the image, as builders of several platforms make it.
#[test]
fn the_only_image_is_found_behind_indexes_and_attestations() {
    let image = images()["web"].clone();
    let mut tar = Tar::default();
    let mut index = Vec::new();
    for (name, bytes) in files(&oci_layout(&image)) {
        match name.as_str() {
            "index.json" => index = bytes,
            name if name.ends_with('/') => {}
            name => tar = tar.file(name, &bytes),
        }
    }
    let mut nested: serde_json::Value = serde_json::from_slice(&index).expect("json");
    let attestation = serde_json::json!({
        "digest": Digest::of(b"not even there"),
        "size": 1,
        "platform": { "os": "unknown", "architecture": "unknown" },
    });
    let list = nested["manifests"].as_array_mut().expect("a list");
    list[0]["platform"] = serde_json::json!({ "os": "linux", "architecture": "amd64" });
    list.push(attestation);
    let nested = serde_json::to_vec(&nested).expect("json");
    let outer = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": Digest::of(&nested),
            "size": nested.len(),
        }],
    });
    let name = format!("blobs/sha256/{}", Digest::of(&nested).hex());
    let tar = tar
        .file(&name, &nested)
        .file("index.json", &serde_json::to_vec(&outer).expect("json"))
        .finish();
    let contents = check(&archive(&[("web.B1.tar", &tar)])).expect("one image");
    assert_eq!(contents.services["web"].config_digest, image.id());
}

#[test]
fn an_image_may_repeat_a_layer_or_have_none() {
    for layers in [&["one", "two", "one"][..], &[]] {
        let image = TestImage::new(layers, &[]);
        let images = BTreeMap::from([("web".to_owned(), image.clone())]);
        let bytes = archive(&[("myapp.B1.tar", &podman_save(&images))]);
        let contents = check(&bytes).expect("verified");
        assert_eq!(contents.services["web"].diff_ids.len(), layers.len());
        let loaded = load(&bytes, &contents);
        let manifest = &files(&loaded).pop().expect("a manifest").1;
        let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("json");
        assert_eq!(
            manifest[0]["Layers"].as_array().expect("a list").len(),
            layers.len()
        );
    }
}

#[test]
fn an_old_entrypoint_may_be_a_text_but_nothing_else() {
    let layer = layer("one");
    let manifest = r#"[{"Config":"c.json","RepoTags":["a:web.B1"],"Layers":["l.tar"]}]"#;
    let config = |entrypoint: &str| {
        format!(
            r#"{{"config":{{"Entrypoint":{entrypoint}}},"rootfs":{{"diff_ids":["{}"]}}}}"#,
            Digest::of(&layer)
        )
    };
    let text = config(r#""/bin/sh""#);
    let tar = Tar::default()
        .file("manifest.json", manifest.as_bytes())
        .file("c.json", text.as_bytes())
        .file("l.tar", &layer)
        .finish();
    let contents = check(&archive(&[("myapp.B1.tar", &tar)])).expect("a text");
    assert_eq!(contents.services["web"].entrypoint, ["/bin/sh"]);
    for entrypoint in ["1", "{}", "[1]"] {
        let text = config(entrypoint);
        let error = docker(manifest, &[("c.json", text.as_bytes()), ("l.tar", &layer)]);
        assert!(matches!(error, ArtifactError::Document { .. }), "{error}");
    }
}
