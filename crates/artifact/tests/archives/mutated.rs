//! Damage of every kind: each byte, each truncation, and random edits.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use artifact::{ArtifactError, Contents, Format, Limits, write_docker_load};
use proptest::prelude::*;

use crate::support::*;

fn small() -> &'static (Vec<u8>, Contents) {
    static ARCHIVE: OnceLock<(Vec<u8>, Contents)> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let images = BTreeMap::from([("web".to_owned(), TestImage::new(&["base"], &["/web"]))]);
        let (bytes, _) = export_images(Format::Default, &images, &modern_save(&images, true));
        let contents = check(&bytes).expect("verified");
        (bytes, contents)
    })
}

fn image_tars() -> &'static [Vec<u8>; 3] {
    static TARS: OnceLock<[Vec<u8>; 3]> = OnceLock::new();
    TARS.get_or_init(|| {
        let images = images();
        [
            classic_save(&images),
            podman_save(&images),
            oci_layout(&images["web"]),
        ]
    })
}

/// Equal in everything that can have an effect.
fn same(one: &Contents, other: &Contents) -> bool {
    one.build == other.build
        && one.services == other.services
        && one.index == other.index
        && one.entries == other.entries
        && one.layout == other.layout
}

#[test]
fn every_flipped_byte_is_detected_or_without_effect() {
    let (original, contents) = small();
    let tar = gunzip(original);
    for at in 0..original.len() {
        for flip in [1 << (at % 8), 0x80, 0xff] {
            let mut bytes = original.clone();
            bytes[at] ^= flip;
            let Ok(found) = judge(&bytes) else { continue };
            assert!(
                same(&found, contents),
                "byte {at}, bits {flip:#x} changed the meaning"
            );
            // The gzip header's time, level and system say nothing about content,
            // and a stream may copy the same bytes from elsewhere.
            assert!(
                gunzip(&bytes) == tar,
                "byte {at}, bits {flip:#x} was not seen"
            );
        }
    }
}

#[test]
fn every_flipped_bit_beneath_the_compression_is_detected() {
    let (original, contents) = small();
    let tar = gunzip(original);
    // What no digest covers: the zeros that fill an entry's last block, and what
    // the index says about anything but content.
    let mut padding = Vec::new();
    // A number may have a space for its leading zero.
    let mut sums = Vec::new();
    let mut end = 0;
    for entry in &contents.entries {
        sums.push(end + 148..end + 156);
        let content = end + 512 + entry.size as usize;
        end = content.next_multiple_of(512);
        padding.extend(content..end);
    }
    sums.push(end + 148..end + 156);
    let index = end + 512..tar.len() - 1024;
    for at in 0..tar.len() {
        let mut bytes = tar.clone();
        bytes[at] ^= 1 << (at % 8);
        let Ok(found) = judge(&stored(&bytes)) else {
            continue;
        };
        if index.contains(&at) {
            let bound = found.build == contents.build
                && found.services == contents.services
                && found.entries == contents.entries;
            assert!(bound, "byte {at} changed the content");
        } else {
            let respelled = sums.iter().any(|sum| sum.contains(&at));
            assert!(respelled || padding.contains(&at), "byte {at} was not seen");
            assert!(same(&found, contents), "byte {at} changed the meaning");
        }
    }
}

/// Compresses quickly: without compression.
fn stored(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::none());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn every_truncation_is_detected() {
    let (original, _) = small();
    for length in 0..original.len() {
        let error = check(&original[..length]).expect_err("cut short");
        let expected = match length {
            0 => matches!(error, ArtifactError::NotAnArchive { .. }),
            _ => matches!(error, ArtifactError::Truncated { .. }),
        };
        assert!(expected, "{length}: {error}");
    }
}

#[test]
fn every_truncation_beneath_the_compression_is_detected() {
    let tar = gunzip(&small().0);
    let end = tar.len() - 1024;
    // One zero block is an end; anything less is not.
    for length in (0..end + 512).step_by(7).chain([end, end + 511]) {
        let error = check(&stored(&tar[..length])).expect_err("cut short");
        assert!(
            matches!(
                error,
                ArtifactError::Truncated { .. } | ArtifactError::IndexMismatch { .. }
            ),
            "{length}: {error}"
        );
    }
}

/// An edit of some bytes.
#[derive(Clone, Debug)]
enum Edit {
    Set(prop::sample::Index, u8),
    Remove(prop::sample::Index, usize),
    Repeat(prop::sample::Index, usize),
    /// Replaces a number field or name within a header by junk.
    Field(prop::sample::Index, usize, Vec<u8>),
    Swap(prop::sample::Index, prop::sample::Index),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, value)| Edit::Set(at, value)),
        (at(), 1..2000usize).prop_map(|(at, length)| Edit::Remove(at, length)),
        (at(), 1..2000usize).prop_map(|(at, length)| Edit::Repeat(at, length)),
        (at(), 0..500usize, prop::collection::vec(any::<u8>(), 1..12))
            .prop_map(|(at, offset, bytes)| Edit::Field(at, offset, bytes)),
        (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
    ]
}

impl Edit {
    fn apply(&self, bytes: &mut Vec<u8>) {
        if bytes.len() < 1024 {
            return;
        }
        match self {
            Self::Set(at, value) => {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            Self::Remove(at, length) => {
                let at = at.index(bytes.len());
                let end = (at + length).min(bytes.len());
                bytes.drain(at..end);
            }
            Self::Repeat(at, length) => {
                let at = at.index(bytes.len());
                let end = (at + length).min(bytes.len());
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            Self::Field(at, offset, new) => {
                let block = at.index(bytes.len() / 512) * 512;
                if block + 512 > bytes.len() {
                    return;
                }
                let end = (offset + new.len()).min(512);
                bytes[block + offset..block + end].copy_from_slice(&new[..end - offset]);
                // A correct checksum lets the edit reach what lies behind it.
                let block = &mut bytes[block..block + 512];
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
            Self::Swap(one, other) => {
                let count = bytes.len() / 512;
                let (one, other) = (one.index(count) * 512, other.index(count) * 512);
                for at in 0..512 {
                    bytes.swap(one + at, other + at);
                }
            }
        }
    }
}

fn apply(edits: &[Edit], bytes: &mut Vec<u8>) {
    for edit in edits {
        edit.apply(bytes);
    }
}

fn expect_order(bytes: &[u8]) -> Result<(), TestCaseError> {
    match check(bytes) {
        Ok(contents) => {
            // What is verified must also be loadable.
            let name = |service: &str| service.to_owned();
            write_docker_load(bytes, &contents, &name, std::io::sink(), &Limits::default())
                .map_err(|error| TestCaseError::fail(error.to_string()))
        }
        Err(error) => {
            let text = error.to_string();
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert!(text.len() < 1000, "{text}");
            Ok(())
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn mutated_archives_never_panic(edits in prop::collection::vec(edit(), 1..4)) {
        let mut bytes = small().0.clone();
        apply(&edits, &mut bytes);
        expect_order(&bytes)?;
    }

    #[test]
    fn mutated_tars_never_panic(edits in prop::collection::vec(edit(), 1..4)) {
        let mut tar = gunzip(&small().0);
        apply(&edits, &mut tar);
        expect_order(&stored(&tar))?;
    }

    #[test]
    fn mutated_images_never_panic(edits in prop::collection::vec(edit(), 1..4), kind in 0..3usize) {
        let mut tar = image_tars()[kind].clone();
        apply(&edits, &mut tar);
        let tar = Tar::default().file("web.B1.tar", &tar).finish();
        expect_order(&stored(&tar))?;
    }
}
