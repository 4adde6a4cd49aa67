//! Every layout that racks and engines wrote is read, and what we write passes
//! the rules of the importers it is meant for.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Seek, SeekFrom, Write};
use std::process::{Command, Stdio};

use crate::support::*;
use artifact::{
    ArtifactError, Digest, Format, Glimpse, Layout, Limits, glimpse, prepare, verify, write,
};

fn expect_services(contents: &artifact::Contents) {
    let images = images();
    assert_eq!(
        contents.services.keys().collect::<Vec<_>>(),
        images.keys().collect::<Vec<_>>()
    );
    for (service, image) in &images {
        let found = &contents.services[service];
        assert_eq!(found.config_digest, image.id(), "{service}");
        let diff_ids: Vec<_> = image.layers.iter().map(|layer| Digest::of(layer)).collect();
        assert_eq!(found.diff_ids, diff_ids, "{service}");
    }
    assert_eq!(contents.services["web"].entrypoint, ["/bin/web"]);
}

/// What an engine does with the tar it is given, written from the reference: find
/// the parts that `manifest.json` names, check them, and tag.
fn engine_load(tar: &[u8]) -> BTreeMap<String, Digest> {
    let files = files(tar);
    let (last, manifest) = files.last().expect("not empty");
    assert_eq!(last, "manifest.json", "importers cut the stream after it");
    let by_name: BTreeMap<_, _> = files.iter().cloned().collect();
    assert_eq!(by_name.len(), files.len(), "every file once");
    let manifest: serde_json::Value = serde_json::from_slice(manifest).expect("json");
    let mut tags = BTreeMap::new();
    for image in manifest.as_array().expect("a list") {
        let config = &by_name[image["Config"].as_str().expect("text")];
        let parsed: serde_json::Value = serde_json::from_slice(config).expect("json");
        let diff_ids = parsed["rootfs"]["diff_ids"].as_array().expect("a list");
        let layers = image["Layers"].as_array().expect("a list");
        assert_eq!(layers.len(), diff_ids.len());
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let bytes = &by_name[layer.as_str().expect("text")];
            let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
                gunzip(bytes)
            } else {
                bytes.clone()
            };
            assert_eq!(Digest::of(&bytes).as_str(), diff_id);
        }
        for tag in image["RepoTags"].as_array().expect("a list") {
            let tag = tag.as_str().expect("text").to_owned();
            assert!(tags.insert(tag, Digest::of(config)).is_none());
        }
    }
    tags
}

fn expect_loadable(archive: &[u8]) {
    let contents = check(archive).expect("verified");
    let expected: BTreeMap<_, _> = images()
        .iter()
        .map(|(service, image)| (format!("new/{service}:x"), image.id()))
        .collect();
    for tar in [load(archive, &contents), relayed(archive)] {
        assert_eq!(engine_load(&tar), expected);
    }
}

#[test]
fn the_default_format_makes_the_whole_way_from_every_engine() {
    for (engine, save) in [
        ("classic", classic_save(&images())),
        ("modern", modern_save(&images(), false)),
        ("containerd", modern_save(&images(), true)),
        ("podman", podman_save(&images())),
    ] {
        let (archive, summary) = export(Format::Default, &save);
        assert_eq!(summary.size, archive.len() as u64, "{engine}");
        assert_eq!(summary.digest, Digest::of(&archive), "{engine}");
        let contents = check(&archive).unwrap_or_else(|error| panic!("{engine}: {error}"));
        assert_eq!(contents.layout, Layout::Combined, "{engine}");
        assert_eq!(contents.build, Some(build()), "{engine}");
        assert_eq!(contents.services, summary.services, "{engine}");
        assert_eq!(contents.digest, summary.digest, "{engine}");
        expect_services(&contents);
        let index = contents.index.expect("an index");
        assert_eq!(Some(&index), summary.index.as_ref(), "{engine}");
        assert_eq!(index.source, source());
        assert_eq!(index.required_environment, ["SECRET_KEY"]);
        assert_eq!(index.entrypoint, "/entry");
        expect_loadable(&archive);
    }
}

#[test]
fn equal_input_makes_equal_archives_with_the_bytes_other_racks_write() {
    let save = classic_save(&images());
    let (archive, _) = export(Format::Default, &save);
    assert_eq!(archive, export(Format::Default, &save).0);
    assert_eq!(&archive[..10], b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    let tar = gunzip(&archive);
    let names: Vec<_> = files(&tar).into_iter().map(|(name, _)| name).collect();
    assert_eq!(
        names,
        ["build.json", "myapp.BABCDEFGHIJ.tar", "twinrack.json"]
    );
    let header = tar::Header::from_byte_slice(&tar[..512]);
    assert_eq!(header.mode().expect("number"), 0o600);
    assert_eq!(header.mtime().expect("number"), 0);
    assert!(header.as_ustar().is_some());
}

/// The importer of v2 racks: of the last tar, the text between the first and the
/// second colon, up to the first dot; the stream cut after the manifest.
fn import_by_v2(archive: &[u8]) -> BTreeMap<String, Digest> {
    let tars: Vec<_> = files(&gunzip(archive))
        .into_iter()
        .filter(|(name, _)| name.strip_suffix(".tar").is_some())
        .collect();
    let (_, last) = tars.last().expect("a tar");
    engine_load(last)
        .into_iter()
        .map(|(tag, id)| {
            let part = tag.split(':').nth(1).expect("a colon").to_owned();
            assert_eq!(tag.matches(':').count(), 1, "{tag}");
            (part.split('.').next().expect("a part").to_owned(), id)
        })
        .collect()
}

#[test]
fn v2_racks_can_import_the_default_and_the_v2_format() {
    let expected: BTreeMap<_, _> = images()
        .iter()
        .map(|(service, image)| (service.clone(), image.id()))
        .collect();
    for save in [classic_save(&images()), modern_save(&images(), true)] {
        for format in [Format::Default, Format::V2] {
            let (archive, _) = export(format, &save);
            assert_eq!(import_by_v2(&archive), expected);
            expect_loadable(&archive);
        }
    }
    let (archive, summary) = export(Format::V2, &classic_save(&images()));
    assert_eq!(summary.index, None);
    let contents = check(&archive).expect("verified");
    assert_eq!((contents.layout, contents.index), (Layout::Combined, None));
}

#[test]
fn each_layer_is_written_once() {
    let (archive, _) = export(Format::Default, &modern_save(&images(), false));
    let contents = check(&archive).expect("verified");
    let tar = &contents.entries[1];
    let digests: BTreeSet<_> = tar.files.iter().map(|file| &file.digest).collect();
    assert_eq!(digests.len(), tar.files.len());
    assert_eq!(
        tar.files.len(),
        3 + 2 + 1,
        "layers, configurations, manifest"
    );
}

#[test]
fn v3_racks_can_import_the_v3_format() {
    for save in [classic_save(&images()), modern_save(&images(), true)] {
        let (archive, _) = export(Format::V3, &save);
        let contents = check(&archive).expect("verified");
        assert_eq!(contents.layout, Layout::Oci);
        expect_services(&contents);
        expect_loadable(&archive);
        for (name, tar) in files(&gunzip(&archive)).into_iter().skip(1) {
            let (service, build) = name.split_once('.').expect("a dot");
            assert_eq!(build, "BABCDEFGHIJ.tar");
            let parts: BTreeMap<_, _> = files(&tar).into_iter().collect();
            assert!(parts.contains_key("oci-layout") && !parts.contains_key("manifest.json"));
            let index: serde_json::Value =
                serde_json::from_slice(&parts["index.json"]).expect("json");
            assert_eq!(index["manifests"].as_array().expect("a list").len(), 1);
            assert!(images().contains_key(service));
            for (path, bytes) in &parts {
                if let Some(hex) = path.strip_prefix("blobs/sha256/") {
                    assert_eq!(Digest::of(bytes).hex(), hex);
                }
            }
        }
    }
}

#[test]
fn layout_a_is_read() {
    let entries: Vec<_> = images()
        .into_iter()
        .map(|(service, image)| {
            let save = classic_save(&BTreeMap::from([(service.clone(), image)]));
            (format!("{service}.BABCDEFGHIJ.tar"), save)
        })
        .collect();
    let entries: Vec<_> = entries
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    let bytes = archive(&entries);
    let contents = check(&bytes).expect("verified");
    assert_eq!(contents.layout, Layout::Classic);
    expect_services(&contents);
    expect_loadable(&bytes);

    let contents = check(&archive(&entries[1..2])).expect("verified");
    assert_eq!(contents.layout, Layout::Classic, "a single service too");
}

#[test]
fn layout_b_is_read_from_every_engine() {
    for save in [
        classic_save(&images()),
        modern_save(&images(), false),
        modern_save(&images(), true),
        podman_save(&images()),
    ] {
        let bytes = archive(&[("myapp.BABCDEFGHIJ.tar", &save)]);
        let contents = check(&bytes).expect("verified");
        assert_eq!(contents.layout, Layout::Combined);
        expect_services(&contents);
        expect_loadable(&bytes);
    }
}

fn layout_c(root: &str) -> Vec<u8> {
    let json = serde_json::to_vec(&build()).expect("json");
    let mut tar = Tar::default().file("build.json", &json).directory(root);
    for (service, image) in images() {
        tar = tar.file(&format!("{service}.BABCDEFGHIJ.tar"), &oci_layout(&image));
    }
    gzip(&tar.finish())
}

#[test]
fn layout_c_is_read() {
    for root in ["", "/", "./", "."] {
        let bytes = layout_c(root);
        let contents = check(&bytes).expect("verified");
        assert_eq!(contents.layout, Layout::Oci);
        assert_eq!(contents.build, Some(build()));
        expect_services(&contents);
        expect_loadable(&bytes);
    }
}

#[test]
fn members_padding_and_unknown_entries_are_tolerated_and_a_missing_build_too() {
    let save = classic_save(&images());
    let tar = Tar::default()
        .file("myapp.B.tar", &save)
        .file("notes.txt", b"of another generation")
        .finish();
    let (front, back) = tar.split_at(tar.len() / 2);
    let mut bytes = [gzip(front), gzip(back)].concat();
    bytes.resize(bytes.len() + 10_240, 0);
    let contents = check(&bytes).expect("verified");
    assert_eq!(contents.build, None);
    assert_eq!(contents.entries[1].name, "notes.txt");
    expect_services(&contents);
    expect_loadable(&bytes);
}

#[test]
fn an_image_that_was_not_saved_or_is_damaged_fails_before_the_first_byte() {
    let save = classic_save(&images());
    let mut tags = tags(&images());
    tags.insert("extra".into(), tag("extra"));
    let mut out = Vec::new();
    let error = write(
        &build(),
        &[],
        &source(),
        &tags,
        &mut Cursor::new(&save),
        &mut out,
        1,
    )
    .expect_err("not saved");
    assert!(matches!(&error, ArtifactError::ImageNotSaved { service, .. } if service == "extra"));
    assert!(out.is_empty());

    tags.remove("extra");
    let mut damaged = images();
    damaged.get_mut("web").expect("there").layers[1] = layer("other");
    let save = podman_save(&damaged);
    let error = write(
        &build(),
        &[],
        &source(),
        &tags,
        &mut Cursor::new(&save),
        &mut out,
        1,
    )
    .expect_err("damaged");
    assert!(
        matches!(error, ArtifactError::DigestMismatch { .. }),
        "{error}"
    );
    assert!(out.is_empty());

    let nameless = artifact::BuildRecord::default();
    let error = write(
        &nameless,
        &[],
        &source(),
        &tags,
        &mut Cursor::new(&save),
        &mut out,
        1,
    )
    .expect_err("no name");
    assert!(matches!(error, ArtifactError::UnsafeName { .. }), "{error}");
    assert!(out.is_empty());
}

#[test]
fn a_spool_that_changes_between_the_passes_is_noticed() {
    let mut save = Cursor::new(podman_save(&images()));
    let tags = tags(&images());
    let prepared =
        prepare(Format::V2, &build(), &[], &source(), &tags, &mut save).expect("exportable");
    let text = b"worker";
    let at = save
        .get_ref()
        .windows(text.len())
        .position(|window| window == text)
        .expect("in a layer");
    save.get_mut()[at] ^= 1;
    let error = prepared
        .write(&mut save, Vec::new(), 1)
        .expect_err("changed");
    assert!(matches!(error, ArtifactError::Changed { .. }), "{error}");
}

#[test]
fn an_archive_that_changes_between_the_passes_is_noticed() {
    let (bytes, _) = export(Format::Default, &classic_save(&images()));
    let contents = check(&bytes).expect("verified");
    let mut other = images();
    other.insert("web".into(), TestImage::new(&["base", "evil"], &[]));
    let mut out = Vec::new();
    for replaced in [
        archive(&[("myapp.BABCDEFGHIJ.tar", &podman_save(&other))]),
        gzip(&gunzip(&bytes)[..]),
        gzip(&Tar::default().finish()),
    ] {
        let name = |service: &str| service.to_owned();
        let limits = Limits::default();
        let error = artifact::write_docker_load(&replaced[..], &contents, &name, &mut out, &limits)
            .expect_err("changed");
        assert!(matches!(error, ArtifactError::Changed { .. }), "{error}");
    }
}

#[test]
fn a_glimpse_tells_the_build_and_the_images_that_come_first() {
    let limits = Limits::default();
    let (archive, _) = export(Format::Default, &classic_save(&images()));
    let ids: BTreeSet<_> = images().values().map(TestImage::id).collect();
    let whole = glimpse(&archive, &limits);
    assert!(whole.complete);
    assert_eq!(whole.build, Some(build()));
    assert_eq!(whole.images.into_iter().collect::<BTreeSet<_>>(), ids);
    for length in 0..archive.len() {
        let part = glimpse(&archive[..length], &limits);
        assert!(part.build.is_none_or(|seen| seen == build()), "{length}");
        assert!(part.images.iter().all(|id| ids.contains(id)), "{length}");
    }
    assert!(
        !glimpse(&archive[..20], &limits).complete,
        "there may be more"
    );

    let (archive, _) = export(Format::V3, &classic_save(&images()));
    assert_eq!(glimpse(&archive, &limits).build, Some(build()));
    let nothing = Glimpse {
        complete: true,
        ..Glimpse::default()
    };
    for bytes in [&b"hello"[..], &gzip(b"hello, this is no tar"), &[0; 600]] {
        let seen = glimpse(bytes, &limits);
        assert_eq!((seen.build, seen.images), (nothing.build.clone(), vec![]));
    }
    let foreign = Tar::default().file("notes.txt", b"first").finish();
    assert_eq!(glimpse(&gzip(&foreign), &limits), nothing);
}

#[test]
fn failures_of_source_and_destination_are_told_apart() {
    struct Broken;
    impl std::io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk on fire"))
        }
    }
    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::Error::other("disk full"))
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let error = verify(Broken, &Limits::default()).expect_err("broken");
    assert_eq!(error.to_string(), "cannot read: disk on fire");
    let mut save = Cursor::new(classic_save(&images()));
    let error = write(
        &build(),
        &[],
        &source(),
        &tags(&images()),
        &mut save,
        Broken,
        1,
    )
    .expect_err("broken");
    assert_eq!(error.to_string(), "cannot write: disk full");
}

/// Runs Python's standard library, another independent implementation.
fn python(script: &str, input: &[u8]) -> Vec<u8> {
    let mut spool = tempfile::tempfile().expect("a temporary file");
    spool.write_all(input).expect("a temporary file");
    spool.seek(SeekFrom::Start(0)).expect("a temporary file");
    let output = Command::new("python3")
        .args(["-c", script])
        .stdin(spool)
        .stderr(Stdio::inherit())
        .output()
        .expect("python3 is installed");
    assert!(output.status.success(), "{script}");
    output.stdout
}

#[test]
fn archives_repacked_by_python_are_read_in_all_its_formats() {
    let (original, _) = export(Format::V2, &classic_save(&images()));
    for format in ["USTAR", "GNU", "PAX"] {
        let script = format!(
            "import sys, tarfile, io\n\
             source = tarfile.open(fileobj=io.BytesIO(sys.stdin.buffer.read()), mode='r:gz')\n\
             out = tarfile.open(fileobj=sys.stdout.buffer, mode='w|gz', format=tarfile.{format}_FORMAT)\n\
             for member in source:\n\
             \x20   member.mtime = 1700000000.25\n\
             \x20   out.addfile(member, source.extractfile(member))\n\
             long = tarfile.TarInfo('long/' + 'ä' * 20 + 'x' * 90 + '/notes.txt')\n\
             long.size = 4\n\
             out.addfile(long, io.BytesIO(b'note'))\n\
             out.close()\n"
        );
        let bytes = python(&script, &original);
        let contents = check(&bytes).unwrap_or_else(|error| panic!("{format}: {error}"));
        expect_services(&contents);
        let long = &contents.entries.last().expect("entries").name;
        assert!(
            long.starts_with("long/ä") && long.ends_with("x/notes.txt"),
            "{long}"
        );
        expect_loadable(&bytes);
    }
}

#[test]
fn archives_repacked_by_gnu_tar_are_read() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for (name, bytes) in files(&gunzip(&export(Format::V2, &classic_save(&images())).0)) {
        std::fs::write(directory.path().join(name), bytes).expect("a temporary file");
    }
    let packed = directory.path().join("packed.tgz");
    for format in ["v7", "ustar", "gnu", "pax"] {
        let status = Command::new("tar")
            .arg("-C")
            .arg(directory.path())
            .args([
                &format!("--format={format}"),
                "--exclude=packed.tgz",
                "-czf",
            ])
            .arg(&packed)
            .args(["./build.json", "./myapp.BABCDEFGHIJ.tar"])
            .status()
            .expect("tar is installed");
        assert!(status.success());
        let bytes = std::fs::read(&packed).expect("packed");
        let contents = check(&bytes).unwrap_or_else(|error| panic!("{format}: {error}"));
        expect_services(&contents);
        assert_eq!(contents.build, Some(build()));
    }
}
