//! Archives made to deceive, to escape or to exhaust: each is refused for its
//! own reason.

use std::io::Read;

use artifact::{ArtifactError, Limits, verify};
use tar::{EntryType, Header};

use crate::support::*;

/// The error for an archive whose outer tar goes on like this.
fn outer(tar: Tar) -> ArtifactError {
    let save = podman_save(&images());
    let bytes = gzip(&tar.file("myapp.B1.tar", &save).finish());
    check(&bytes).expect_err("must be refused")
}

/// The error for an archive whose image tar starts like this.
pub(crate) fn inner(tar: Tar) -> ArtifactError {
    let mut tar = tar;
    for (name, bytes) in files(&modern_save(&images(), false)) {
        if !name.ends_with('/') {
            tar = tar.file(&name, &bytes);
        }
    }
    check(&archive(&[("myapp.B1.tar", &tar.finish())])).expect_err("must be refused")
}

fn size_field(name: &str, size: &[u8]) -> Header {
    let mut header = header(name.as_bytes(), EntryType::Regular, 0);
    header.as_ustar_mut().expect("ustar").size[..size.len()].copy_from_slice(size);
    header.set_cksum();
    header
}

#[test]
fn names_that_escape_or_deceive_are_refused() {
    let long = "x".repeat(300);
    for name in [
        "/etc/passwd",
        "../up",
        "a/../../b",
        "a//b",
        "a/./b",
        "./../x",
        "a\\b",
        "a\nb",
        "",
        ".",
        "..",
        "\u{7f}",
        "a/",
    ] {
        for error in [
            outer(Tar::default().file(name, b"x")),
            inner(Tar::default().file(name, b"x")),
        ] {
            assert!(
                matches!(error, ArtifactError::UnsafeName { .. }),
                "{name:?}: {error}"
            );
            assert!(!error.to_string().contains('\n'));
        }
    }
    for name in ["//", "../", "/a/", "a/../b/"] {
        let error = outer(Tar::default().directory(name));
        assert!(
            matches!(error, ArtifactError::UnsafeName { .. }),
            "{name:?}: {error}"
        );
    }
    let error = outer(Tar::default().entry(&header(b"a\xff\xfe", EntryType::Regular, 0), b""));
    assert!(matches!(error, ArtifactError::UnsafeName { .. }), "{error}");
    let error = outer(Tar::default().pax(&[("path", &long)]).file("x", b""));
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
    let error = outer(Tar::default().pax(&[("path", "../../x")]).file("x", b""));
    assert!(matches!(error, ArtifactError::UnsafeName { .. }), "{error}");
    let error = outer(Tar::default().pax(&[("path", "a\0b")]).file("x", b""));
    assert!(matches!(error, ArtifactError::UnsafeName { .. }), "{error}");
}

#[test]
fn a_name_of_64_kib_is_refused_in_both_notations() {
    let long = "x".repeat(64 << 10);
    let gnu = header(b"././@LongLink", EntryType::GNULongName, long.len() as u64);
    for tar in [
        Tar::default().entry(&gnu, long.as_bytes()).file("x", b""),
        Tar::default().pax(&[("path", &long)]).file("x", b""),
    ] {
        let error = outer(tar);
        assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
    }
    let endless = header(b"././@LongLink", EntryType::GNULongName, 0o77_777_777);
    let error = outer(Tar::default().entry(&endless, b""));
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
}

#[test]
fn equal_names_are_refused_even_if_only_case_differs() {
    for (one, other) in [("a", "a"), ("a", "A"), ("ä", "Ä"), ("a", "./a")] {
        for error in [
            outer(Tar::default().file(one, b"1").file(other, b"2")),
            inner(Tar::default().file(one, b"1").file(other, b"2")),
        ] {
            assert!(
                matches!(error, ArtifactError::Duplicate { .. }),
                "{one} {other}: {error}"
            );
        }
    }
    let error = outer(
        Tar::default()
            .file("build.json", b"{}")
            .file("BUILD.JSON", b"{}"),
    );
    assert!(matches!(error, ArtifactError::Duplicate { .. }), "{error}");
    let error = inner(Tar::default().file("manifest.json", b"[]"));
    assert!(matches!(error, ArtifactError::Duplicate { .. }), "{error}");
}

#[test]
fn links_and_devices_are_refused() {
    for kind in [EntryType::Symlink, EntryType::Link] {
        let error = outer(Tar::default().link(kind, "web.B1.tar", "myapp.B1.tar"));
        assert!(
            matches!(error, ArtifactError::Forbidden { kind: "link", .. }),
            "{error}"
        );
        for target in ["/etc/passwd", "../../etc/passwd", "a/../../../b"] {
            let error = inner(Tar::default().link(kind, "x/layer.tar", target));
            assert!(
                matches!(error, ArtifactError::UnsafeName { .. }),
                "{target}: {error}"
            );
        }
        let error = inner(Tar::default().link(kind, "x", "y").link(kind, "y", "x"));
        assert!(
            matches!(error, ArtifactError::DanglingLink { .. }),
            "{error}"
        );
        let error = inner(Tar::default().link(kind, "x/layer.tar", "x/nowhere"));
        assert!(
            matches!(error, ArtifactError::DanglingLink { .. }),
            "{error}"
        );
    }
    for kind in [
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::new(b'Z'),
    ] {
        for error in [
            outer(Tar::default().entry(&header(b"dev", kind, 0), b"")),
            inner(Tar::default().entry(&header(b"dev", kind, 0), b"")),
        ] {
            assert!(
                matches!(error, ArtifactError::Forbidden { .. }),
                "{kind:?}: {error}"
            );
        }
    }
}

#[test]
fn sizes_are_never_guessed() {
    // The extended header says 1024 bytes, the header none: two readers would
    // see different entries in the same bytes.
    let hidden = Tar::default().file("hidden", b"x").unfinished();
    for (stated, size) in [("1024", 0), ("0", 1024)] {
        let tar = Tar::default()
            .pax(&[("size", stated)])
            .entry(&header(b"x", EntryType::Regular, size), &hidden);
        let error = outer(tar);
        assert!(
            matches!(error, ArtifactError::AmbiguousSize { .. }),
            "{error}"
        );
    }
    for size in [
        "-1",
        "",
        "1e3",
        "99999999999999999999",
        "9223372036854775808",
    ] {
        let error = outer(Tar::default().pax(&[("size", size)]).file("x", b""));
        assert!(
            matches!(error, ArtifactError::Malformed { .. }),
            "{size}: {error}"
        );
    }
    for field in [
        &[0xff; 12][..],
        b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x80\x01\0\0\0\0\0\0\0\0\0\0",
        b"-0000000001",
        b"0x000000010",
    ] {
        let error = outer(Tar::default().entry(&size_field("x", field), b""));
        assert!(
            matches!(error, ArtifactError::Malformed { .. }),
            "{field:?}: {error}"
        );
    }
    let huge = size_field("x", b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff");
    let error = outer(Tar::default().entry(&huge, b""));
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
    let error = outer(Tar::default().entry(&size_field("x", b"77777777777\0"), b""));
    assert!(matches!(error, ArtifactError::Truncated { .. }), "{error}");
}

#[test]
fn extended_headers_cannot_contradict_or_dangle() {
    let twice = Tar::default()
        .pax(&[("path", "a"), ("path", "b")])
        .file("x", b"");
    let both = Tar::default()
        .entry(&header(b"L", EntryType::GNULongName, 2), b"a\0")
        .pax(&[("path", "b")])
        .file("x", b"");
    let sparse = Tar::default()
        .pax(&[("GNU.sparse.size", "9")])
        .file("x", b"");
    let link_with_content =
        Tar::default().entry(&header(b"d", EntryType::Directory, 512), &[7; 512]);
    for tar in [twice, both, sparse, link_with_content] {
        let error = outer(tar);
        assert!(matches!(error, ArtifactError::Malformed { .. }), "{error}");
    }
    let dangling = gzip(&Tar::default().pax(&[("path", "a")]).finish());
    let error = check(&dangling).expect_err("dangling");
    assert!(matches!(error, ArtifactError::Malformed { .. }), "{error}");

    let data = b"10 path=a\n";
    let global = header(b"g", EntryType::XGlobalHeader, data.len() as u64);
    let error = outer(Tar::default().entry(&global, data));
    assert!(matches!(error, ArtifactError::Malformed { .. }), "{error}");
}

#[test]
fn a_global_header_may_comment() {
    let data = b"13 comment=x\n";
    let global = header(b"g", EntryType::XGlobalHeader, data.len() as u64);
    let tar = Tar::default()
        .entry(&global, data)
        .pax(&[("mtime", "1.5"), ("LIBARCHIVE.creationtime", "1")])
        .file("myapp.B1.tar", &podman_save(&images()));
    check(&gzip(&tar.finish())).expect("comments and times are harmless");
}

#[test]
fn nothing_hides_behind_an_end() {
    let save = podman_save(&images());
    let mut tar = Tar::default().file("myapp.B1.tar", &save).finish();
    tar.extend(Tar::default().file("more.tar", b"x").finish());
    let error = check(&gzip(&tar)).expect_err("hidden");
    assert!(
        matches!(error, ArtifactError::TrailingData { .. }),
        "{error}"
    );

    let mut inner = save.clone();
    inner.extend(Tar::default().file("more", b"x").finish());
    let error = check(&archive(&[("myapp.B1.tar", &inner)])).expect_err("hidden");
    assert!(
        matches!(error, ArtifactError::TrailingData { .. }),
        "{error}"
    );

    let mut bytes = archive(&[("myapp.B1.tar", &save)]);
    bytes.extend(b"trailer");
    let error = check(&bytes).expect_err("hidden");
    assert!(
        matches!(error, ArtifactError::TrailingData { .. }),
        "{error}"
    );

    let (front, _) = save.split_at(save.len() - 1024);
    let error = check(&archive(&[("myapp.B1.tar", front)])).expect_err("no end");
    assert!(
        matches!(&error, ArtifactError::Truncated { place } if place == "myapp.B1.tar"),
        "{error}"
    );
}

/// Reads endless zeros in a few kilobytes of compressed data.
fn bomb(size: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let zeros = std::io::repeat(0).take(size);
    flate2::bufread::GzEncoder::new(std::io::BufReader::new(zeros), flate2::Compression::best())
        .read_to_end(&mut out)
        .expect("memory");
    out
}

fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

#[test]
fn every_limit_holds() {
    let save = podman_save(&images());
    let bytes = archive(&[("myapp.B1.tar", &save)]);
    let tight: Vec<(&str, Limits)> = vec![
        (
            "the size of the archive",
            limits(|it| it.compressed = bytes.len() as u64 - 1),
        ),
        (
            "the uncompressed size",
            limits(|it| it.uncompressed = save.len() as u64),
        ),
        (
            "the size of an entry",
            limits(|it| it.entry = save.len() as u64 - 1),
        ),
        ("the number of entries", limits(|it| it.entries = 5)),
        ("the length of a name", limits(|it| it.name = 20)),
        ("the size of a JSON document", limits(|it| it.json = 50)),
        (
            "the size of all JSON documents",
            limits(|it| it.json_total = 600),
        ),
    ];
    for (expected, limits) in tight {
        let error = verify(&bytes[..], &limits).expect_err(expected);
        assert!(
            matches!(error, ArtifactError::Limit { what, .. } if what == expected),
            "{expected}: {error}"
        );
    }
    let exact = limits(|it| {
        it.compressed = bytes.len() as u64;
        it.entry = save.len() as u64;
    });
    verify(&bytes[..], &exact).expect("at the limit");
}

#[test]
fn bombs_are_defused_at_both_levels() {
    const MIB: u64 = 1 << 20;
    let small = limits(|it| it.uncompressed = 2 * MIB);
    let error = verify(&bomb(16 * MIB)[..], &small).expect_err("a bomb");
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");

    let inner = Tar::default().file("layer.tar", &bomb(16 * MIB)).finish();
    let bytes = archive(&[("myapp.B1.tar", &inner)]);
    for limits in [small, limits(|it| it.entry = 2 * MIB)] {
        let error = verify(&bytes[..], &limits).expect_err("a nested bomb");
        assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
    }
}

/// An archive whose only image tar has these files.
fn of_files(files: &[(&str, &str)]) -> Vec<u8> {
    let tar = files.iter().fold(Tar::default(), |tar, (name, text)| {
        tar.file(name, text.as_bytes())
    });
    archive(&[("myapp.B1.tar", &tar.finish())])
}

#[test]
fn documents_of_very_many_values_are_refused() {
    let many = r#""","#.repeat(1_300_000) + r#""""#;
    let nested = "[".repeat(200_000);
    let images = format!(r#"[{{"Config":"c.json","Layers":[{many}]}}]"#);
    let one = r#"[{"Config":"c.json","RepoTags":["a:web.B"],"Layers":[]}]"#;
    let diff_ids = format!(r#"{{"rootfs":{{"diff_ids":[{many}]}}}}"#);
    let entrypoint = format!(r#"{{"config":{{"Entrypoint":[{many}]}},"rootfs":{{}}}}"#);
    let deep = format!(r#"{{"config":{{"Entrypoint":{nested}"#);
    let layers = format!(r#"{{"schemaVersion":2,"manifests":[{many}]}}"#);
    let index = format!(
        r#"{{"format":{{"major":1,"minor":1}},"build":"B","app":"a","source":{{}},
        "services":{{}},"required-environment":[{many}],"entries":[]}}"#
    );
    for (what, bytes) in [
        ("layers", of_files(&[("manifest.json", &images)])),
        (
            "diff ids",
            of_files(&[("c.json", &diff_ids), ("manifest.json", one)]),
        ),
        (
            "entrypoint",
            of_files(&[("c.json", &entrypoint), ("manifest.json", one)]),
        ),
        (
            "depth",
            of_files(&[("c.json", &deep), ("manifest.json", one)]),
        ),
        ("manifests", of_files(&[("index.json", &layers)])),
        ("index", archive(&[("twinrack.json", index.as_bytes())])),
    ] {
        let error = check(&bytes).expect_err(what);
        assert_eq!(
            error.to_string(),
            "the archive exceeds the limit of 100000 for the number of values in a JSON document",
            "{what}"
        );
    }
}

#[test]
fn a_configuration_that_many_images_claim_is_read_once() {
    // Some sixty gigabytes to parse, were it read for each of them.
    let config = format!(r#"{{"rootfs":{{}},"history":"{}"}}"#, "x".repeat(3 << 20));
    let image = r#"{"Config":"c.json","Layers":[]},"#.repeat(20_000);
    let images = format!("[{}]", image.trim_end_matches(','));
    let bytes = of_files(&[("c.json", &config), ("manifest.json", &images)]);
    let error = check(&bytes).expect_err("no names");
    assert!(matches!(error, ArtifactError::Untagged { .. }), "{error}");
}
