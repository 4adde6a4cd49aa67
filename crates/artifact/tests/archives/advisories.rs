//! Attacks that have names: what other readers fell for is refused here, each in a test
//! of its own, in the envelope and in image tars.

use artifact::{ArtifactError, Digest, Limits, verify};
use tar::EntryType;

use crate::support::*;

/// The error for an archive whose envelope and whose image tar goes on like this.
fn refused(attack: &dyn Fn() -> Tar) -> [ArtifactError; 2] {
    let save = podman_save(&images());
    let outer = gzip(&attack().file("myapp.B1.tar", &save).finish());
    let mut inner = attack();
    for (name, bytes) in files(&modern_save(&images(), false)) {
        if !name.ends_with('/') {
            inner = inner.file(&name, &bytes);
        }
    }
    let inner = archive(&[("myapp.B1.tar", &inner.finish())]);
    [
        check(&outer).expect_err("refused in the envelope"),
        check(&inner).expect_err("refused in an image tar"),
    ]
}

/// A link, then a directory of its name, whose mode went to where the link leads.
#[test]
fn rustsec_2026_0067_a_directory_in_the_place_of_a_link() {
    for directory in ["escape", "escape/", "./escape/"] {
        for error in refused(&|| {
            Tar::default()
                .link(EntryType::Symlink, "escape", "etc")
                .directory(directory)
        }) {
            assert!(
                matches!(
                    error,
                    ArtifactError::Forbidden { .. }
                        | ArtifactError::Duplicate { .. }
                        | ArtifactError::DanglingLink { .. }
                ),
                "{directory}: {error}"
            );
        }
    }
    for error in refused(&|| Tar::default().link(EntryType::Symlink, "escape", "/etc")) {
        assert!(
            matches!(
                error,
                ArtifactError::Forbidden { .. } | ArtifactError::UnsafeName { .. }
            ),
            "{error}"
        );
    }
}

/// A size in the header that is not zero hid the one in the extended header.
#[test]
fn rustsec_2026_0068_an_extended_size_against_a_header_with_another() {
    for (extended, header_size) in [("512", 1024), ("1024", 512), ("0", 512), ("513", 512)] {
        for error in refused(&|| {
            Tar::default()
                .pax(&[("size", extended)])
                .entry(&header(b"x", EntryType::Regular, header_size), &[0; 1024])
        }) {
            assert!(
                matches!(error, ArtifactError::AmbiguousSize { .. }),
                "{extended} {header_size}: {error}"
            );
        }
    }
}

/// A header without size before a nested tar: the entries of that were taken for entries
/// of the one around it.
#[test]
fn cve_2025_62518_a_nested_tar_smuggles_entries_out() {
    let nested = Tar::default().file("twinrack.json", b"{}").unfinished();
    let size = nested.len().to_string();
    for error in refused(&|| {
        Tar::default()
            .pax(&[("size", &size)])
            .entry(&header(b"nested.bin", EntryType::Regular, 0), &nested)
    }) {
        assert!(
            matches!(error, ArtifactError::AmbiguousSize { .. }),
            "{error}"
        );
    }
    // Stated once, the nested tar is content and nothing else.
    let save = podman_save(&images());
    let honest = Tar::default()
        .pax(&[("size", &size)])
        .entry(
            &header(b"nested.bin", EntryType::Regular, nested.len() as u64),
            &nested,
        )
        .file("myapp.B1.tar", &save);
    let contents = check(&gzip(&honest.finish())).expect("content");
    let names: Vec<_> = contents.entries.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["nested.bin", "myapp.B1.tar"]);
}

/// Digests were taken as names of files without a look at them.
#[test]
fn cve_2024_3727_digests_that_are_paths() {
    let hex = Digest::of(b"x").hex().to_owned();
    for digest in [
        "sha256:../../../../etc/passwd".to_owned(),
        "../../etc/passwd".to_owned(),
        "sha256:".to_owned(),
        String::new(),
        format!("sha256:{hex}/../{hex}"),
        format!("sha256:{}\u{0}", &hex[1..]),
        format!("sha512:{hex}"),
        format!("sha256:{}", hex.to_uppercase()),
    ] {
        let descriptor = serde_json::json!({ "digest": digest, "size": 1 });
        let manifest = serde_json::json!({
            "schemaVersion": 2, "config": descriptor, "layers": [descriptor],
        });
        let manifest = serde_json::to_vec(&manifest).expect("json");
        let proper = serde_json::json!({ "digest": Digest::of(&manifest), "size": manifest.len() });
        for (what, first) in [("index", &descriptor), ("manifest", &proper)] {
            let index = serde_json::json!({ "schemaVersion": 2, "manifests": [first] });
            let tar = Tar::default()
                .file(
                    &format!("blobs/sha256/{}", Digest::of(&manifest).hex()),
                    &manifest,
                )
                .file("index.json", &serde_json::to_vec(&index).expect("json"))
                .finish();
            let error = check(&archive(&[("web.B1.tar", &tar)])).expect_err(what);
            assert!(
                error.to_string().contains("is not a digest"),
                "{what} {digest:?}: {error}"
            );
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
        let config = serde_json::json!({ "rootfs": { "diff_ids": [digest] } });
        let listed = serde_json::json!([
            { "Config": "c.json", "RepoTags": ["a:web.B1"], "Layers": ["l.tar"] },
        ]);
        let tar = Tar::default()
            .file("c.json", &serde_json::to_vec(&config).expect("json"))
            .file("l.tar", b"x")
            .file("manifest.json", &serde_json::to_vec(&listed).expect("json"))
            .finish();
        let error = check(&archive(&[("myapp.B1.tar", &tar)])).expect_err("a diff id");
        assert!(error.to_string().contains("is not a digest"), "{error}");
    }
}

/// A file below a link or below another file, which some would write through it.
#[test]
fn files_below_links_and_files_are_never_followed() {
    let below_link = Tar::default()
        .link(EntryType::Symlink, "dir", "target")
        .file("target", b"")
        .file("dir/passwd", b"root");
    let below_file = Tar::default().file("dir", b"").file("dir/passwd", b"root");
    for attack in [below_link, below_file] {
        let bytes = archive(&[("myapp.B1.tar", &attack.finish())]);
        let error = check(&bytes).expect_err("no image");
        assert!(
            matches!(
                error,
                ArtifactError::MissingFile { .. } | ArtifactError::Forbidden { .. }
            ),
            "{error}"
        );
    }
    // A manifest cannot read through a link to a directory either.
    let layer = images()["web"].layers[0].clone();
    let config = images()["web"].config.clone();
    let listed = br#"[{"Config":"dir/c.json","RepoTags":["a:web.B1"],"Layers":["l.tar"]}]"#;
    let tar = Tar::default()
        .file("real/c.json", &config)
        .link(EntryType::Symlink, "dir", "real/c.json")
        .file("l.tar", &layer)
        .file("manifest.json", listed)
        .finish();
    let error = check(&archive(&[("myapp.B1.tar", &tar)])).expect_err("through a link");
    assert!(
        matches!(error, ArtifactError::MissingFile { .. }),
        "{error}"
    );
}

/// A chain of links that doubles at each step would take for ever to follow.
#[test]
fn chains_of_links_end() {
    let mut tar = Tar::default().file("l0", b"x");
    for number in 1..2000 {
        let (name, target) = (format!("l{number}"), format!("l{}", number - 1));
        tar = tar.link(EntryType::Symlink, &name, &target);
    }
    let bytes = archive(&[("myapp.B1.tar", &tar.finish())]);
    let error = check(&bytes).expect_err("too long a chain");
    assert!(
        matches!(error, ArtifactError::DanglingLink { .. }),
        "{error}"
    );
}

/// Endless members of nothing: no output that a limit on that would see.
#[test]
fn empty_gzip_members_without_end_are_bounded_by_the_archive_size() {
    let empty = gzip(b"");
    let bytes = empty.repeat(100_000);
    let limits: Limits = "archive=1MiB".parse().expect("limits");
    let error = verify(&bytes[..], &limits).expect_err("endless");
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
    let error = check(&bytes).expect_err("empty");
    assert!(matches!(error, ArtifactError::Truncated { .. }), "{error}");
}

/// Compression in compression in compression.
#[test]
fn a_bomb_in_a_bomb_counts_every_level() {
    let zeros = vec![0; 8 << 20];
    let once = gzip(&zeros);
    let tar = Tar::default().file("l.tar", &once).finish();
    let bytes = archive(&[("myapp.B1.tar", &tar)]);
    assert!(bytes.len() < 64 << 10);
    let limits: Limits = "uncompressed=4MiB".parse().expect("limits");
    let error = verify(&bytes[..], &limits).expect_err("a bomb");
    assert!(matches!(error, ArtifactError::Limit { .. }), "{error}");
}

/// Documents as deep or as wide as they can be.
#[test]
fn deep_and_wide_documents_are_refused_or_read_within_bounds() {
    for text in [
        "[".repeat(1 << 20),
        "[".repeat(1 << 16),
        "{\"a\":".repeat(1 << 18),
        "{\"a\":".repeat(1 << 16),
        format!("[{}]", "{},".repeat(1 << 18)),
        format!("[{}]", "{},".repeat(1 << 15)),
        format!(
            "{{\"format\":{}1{}}}",
            "[".repeat(1 << 16),
            "]".repeat(1 << 16)
        ),
    ] {
        for name in ["build.json", "twinrack.json"] {
            let tar = Tar::default().file(name, text.as_bytes()).finish();
            let error = check(&gzip(&tar)).expect_err("no document");
            // A field that is not known may hold anything.
            let skipped = matches!(error, ArtifactError::NoImages) && name == "build.json";
            // Too wide or too deep to be read at all.
            let beyond = text.len() > 100_000 && matches!(error, ArtifactError::Limit { .. });
            assert!(
                skipped || beyond || matches!(error, ArtifactError::Document { .. }),
                "{name}: {error}"
            );
            assert!(error.to_string().len() < 400, "{error}");
        }
    }
}
