//! Archives that others made, and what becomes of them: `golden/make.py` has made those
//! that are committed. Every one is read, and converted to every format passes the
//! importers that the format is for.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::PathBuf;

use artifact::{ArtifactError, Contents, Digest, Format, Layout, Limits, prepare_conversion};

use crate::importers::{Imported, engine_load, import_by_v2, import_by_v3};
use crate::support::*;

fn directory() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "golden"]
        .iter()
        .collect()
}

/// The committed archives by name.
fn golden() -> BTreeMap<String, Vec<u8>> {
    let found: BTreeMap<_, _> = std::fs::read_dir(directory())
        .expect("golden archives")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "tgz"))
        .map(|path| {
            let name = path.file_stem().expect("a name").to_string_lossy();
            (name.into_owned(), std::fs::read(&path).expect("an archive"))
        })
        .collect();
    assert!(found.len() >= 11, "{:?}", found.keys());
    found
}

pub(crate) fn convert(
    archive: &[u8],
    contents: &Contents,
    format: Format,
) -> Result<Vec<u8>, ArtifactError> {
    let mut spool = Cursor::new(Vec::new());
    let required = ["SECRET_KEY".to_owned()];
    let limits = Limits::default();
    let prepared = prepare_conversion(contents, archive, format, &required, &mut spool, &limits)?;
    let mut out = Vec::new();
    let summary = prepared.write(&mut spool, &mut out, 1)?;
    assert_eq!(summary.digest, Digest::of(&out));
    Ok(out)
}

fn ids(contents: &Contents) -> Imported {
    let services = contents.services.iter();
    services
        .map(|(service, image)| (service.clone(), image.config_digest.clone()))
        .collect()
}

/// Converts an archive to every format, and those again, and asks the importers.
fn expect_convertible(name: &str, archive: &[u8]) {
    let contents = check(archive).unwrap_or_else(|error| panic!("{name}: {error}"));
    let expected = ids(&contents);
    for format in [Format::Default, Format::V2, Format::V3] {
        let converted = convert(archive, &contents, format)
            .unwrap_or_else(|error| panic!("{name} to {format}: {error}"));
        let after = check(&converted).unwrap_or_else(|error| panic!("{name} {format}: {error}"));
        assert_eq!(after.services, contents.services, "{name} {format}");
        assert_eq!(after.layers, contents.layers, "layers keep their bytes");
        assert_eq!(after.build, contents.build, "{name} {format}");
        assert_eq!(after.index.is_some(), format == Format::Default);
        let (layout, imported) = match format {
            Format::V3 => (Layout::Oci, import_by_v3(&converted)),
            _ => (Layout::Combined, import_by_v2(&converted)),
        };
        assert_eq!(after.layout, layout, "{name} {format}");
        assert_eq!(imported, expected, "{name} {format}");
        for second in [Format::Default, Format::V2, Format::V3] {
            let direct = convert(archive, &contents, second).expect("convertible");
            let again = convert(&converted, &after, second).expect("convertible");
            let equal = again == direct;
            // The way through a format without index loses which rack it came from.
            let lost = contents.index.is_some() && second == Format::Default;
            assert!(
                equal || (lost && format != Format::Default),
                "{name} {format} {second}"
            );
        }
    }
}

#[test]
fn every_golden_archive_is_read_and_converted() {
    for (name, archive) in golden() {
        let contents = check(&archive).unwrap_or_else(|error| panic!("{name}: {error}"));
        let layout = match name.as_bytes()[0] {
            b'a' => Layout::Classic,
            b'b' => Layout::Combined,
            _ => Layout::Oci,
        };
        assert_eq!(contents.layout, layout, "{name}");
        let services: Vec<_> = contents.services.keys().collect();
        assert_eq!(services, ["web", "worker"], "{name}");
        assert_eq!(contents.services["web"].entrypoint, ["/bin/web"], "{name}");
        let tag = |service: &str| format!("new/app:{service}");
        let mut tar = Vec::new();
        artifact::write_docker_load(&archive[..], &contents, &tag, &mut tar, &Limits::default())
            .expect("loadable");
        let loaded: Vec<_> = engine_load(&tar).into_values().collect();
        assert_eq!(loaded, ids(&contents).into_values().collect::<Vec<_>>());
        if contents.build.is_some() {
            expect_convertible(&name, &archive);
        } else {
            let error = convert(&archive, &contents, Format::V2).expect_err("of no build");
            assert_eq!(
                error.to_string(),
                "the build cannot be exported: the archive has no build.json"
            );
        }
    }
}

/// The same two images, whatever saved them.
#[test]
fn golden_archives_of_one_image_agree_about_it() {
    let read = |name: &str| check(&golden()[name]).expect("verified");
    let expected = read("b-docker20").services;
    for name in [
        "a-docker20-gnu",
        "a-skopeo-v7",
        "b-containerd",
        "b-docker20-members",
        "b-docker20-nameless",
        "b-docker20-port",
        "b-docker25-pax",
        "b-podman",
    ] {
        assert_eq!(read(name).services, expected, "{name}");
    }
    // OCI has a configuration of its own, but the same layers.
    for name in ["c-podman-pax", "c-skopeo"] {
        for (service, image) in read(name).services {
            assert_eq!(image.diff_ids, expected[&service].diff_ids, "{name}");
        }
    }
}

#[test]
fn what_we_write_is_converted_from_every_format_and_engine() {
    for (engine, save) in [
        ("classic", classic_save(&images())),
        ("modern", modern_save(&images(), false)),
        ("containerd", modern_save(&images(), true)),
        ("podman", podman_save(&images())),
    ] {
        for format in [Format::Default, Format::V2, Format::V3] {
            let (archive, _) = export(format, &save);
            expect_convertible(&format!("{engine} {format}"), &archive);
        }
    }
}

/// Converted to what it is already, an archive keeps its bytes but for the compression and
/// the repository in the tags, which nobody reads.
#[test]
fn a_conversion_to_the_same_format_is_the_same() {
    for format in [Format::Default, Format::V2, Format::V3] {
        let (archive, _) = export(format, &classic_save(&images()));
        let contents = check(&archive).expect("verified");
        let once = convert(&archive, &contents, format).expect("convertible");
        if format == Format::V3 {
            assert!(gunzip(&once) == gunzip(&archive));
        }
        let contents = check(&once).expect("verified");
        let twice = convert(&once, &contents, format).expect("convertible");
        assert!(once == twice, "{format}");
    }
}

#[test]
fn an_archive_that_changes_before_its_conversion_is_noticed() {
    let (archive, _) = export(Format::Default, &classic_save(&images()));
    let contents = check(&archive).expect("verified");
    let (other, _) = export(Format::V2, &classic_save(&images()));
    let error = convert(&other, &contents, Format::V3).expect_err("changed");
    assert!(matches!(error, ArtifactError::Changed { .. }), "{error}");
}
