//! Entrances to the parsers one by one, for `make fuzz`; no part of the crate's interface.
//!
//! Each takes any bytes, must neither panic nor take long, and asserts what must hold for
//! all that is accepted. Where there is another reader to ask, it must agree.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::convert::prepare_conversion;
use crate::digest::Digest;
use crate::error::ArtifactError;
use crate::gunzip::Gunzip;
use crate::layers::ImageTar;
use crate::limits::{Limits, Meter, Unpacked};
use crate::load::write_docker_load;
use crate::packer::Packer;
use crate::record::{BuildRecord, Index};
use crate::tarball::{Kind, TarReader};
use crate::verify::verify;
use crate::write::Format;

fn limits() -> Limits {
    Limits {
        uncompressed: 4 << 20,
        entry: 4 << 20,
        json: 1 << 20,
        ..Limits::default()
    }
}

/// The gzip reader. What it accepts, another one reads as the same bytes.
pub fn gunzip(bytes: &[u8]) {
    let meter = Meter::new(&limits());
    let mut out = Vec::new();
    let mut source = Unpacked::archive(Gunzip::new(bytes, "it"), &meter);
    if source.read_to_end(&mut out).is_err() {
        return;
    }
    let end = bytes
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |at| at + 1);
    for padded in [bytes.len(), end] {
        let mut other = Vec::new();
        // Padding is an error to most readers, and a checksum may end in zeros.
        if MultiGzDecoder::new(&bytes[..padded])
            .read_to_end(&mut other)
            .is_ok()
        {
            assert_eq!(out, other, "two readers see different content");
        }
    }
}

/// The tar reader. Names are safe and unique, content is there, and another reader sees
/// the same files.
pub fn tar(bytes: &[u8]) {
    let meter = Meter::new(&limits());
    let mut reader = TarReader::new(bytes, "it", &meter);
    let mut files = Vec::new();
    let mut names = BTreeSet::new();
    loop {
        match reader.next_entry() {
            Ok(Some(entry)) => {
                let safe = entry
                    .name
                    .split('/')
                    .all(|part| !matches!(part, "." | ".."))
                    && !entry.name.starts_with('/')
                    && !entry.name.chars().any(char::is_control);
                assert!(safe, "unsafe name {:?}", entry.name);
                assert!(names.insert(entry.name.clone()), "{:?} twice", entry.name);
                let mut content = Vec::new();
                if reader.read_to_end(&mut content).is_err() {
                    return;
                }
                assert_eq!(content.len() as u64, entry.size, "content is there");
                if entry.kind == Kind::File {
                    let start = entry.offset as usize;
                    assert_eq!(content, bytes[start..start + content.len()]);
                    files.push((entry.name, content));
                }
            }
            Ok(None) => break,
            Err(_) => return,
        }
    }
    assert_eq!(
        files,
        seen_by_another(bytes),
        "two readers see different files"
    );
}

fn seen_by_another(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let mut files = Vec::new();
    for entry in archive.entries().expect("a tar") {
        let mut entry = entry.expect("accepted by us");
        let kind = entry.header().entry_type();
        if !kind.is_file() {
            continue;
        }
        let name = String::from_utf8(entry.path_bytes().into_owned()).expect("checked by us");
        let mut name = name.as_str();
        while let Some(rest) = name.strip_prefix("./") {
            name = rest;
        }
        let name = name.to_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).expect("accepted by us");
        files.push((name, content));
    }
    files
}

/// Splits the input at zero bytes into documents. In each, `@2` stands for the digest of
/// the second one and `#2` for its size, so that documents can refer to what follows.
fn documents(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = bytes
        .split(|&byte| byte == 0)
        .take(8)
        .map(<[u8]>::to_vec)
        .collect();
    for at in (0..parts.len()).rev() {
        let mut resolved = Vec::new();
        let mut rest = parts[at].as_slice();
        while let Some((&byte, after)) = rest.split_first() {
            let other = after
                .first()
                .filter(|_| matches!(byte, b'@' | b'#'))
                .and_then(|digit| usize::from(*digit).checked_sub(usize::from(b'0')))
                .filter(|&other| other > at && other < parts.len());
            if let Some(other) = other {
                let text = match byte {
                    b'@' => Digest::of(&parts[other]).to_string(),
                    _ => parts[other].len().to_string(),
                };
                resolved.extend(text.bytes());
                rest = &after[1..];
            } else {
                resolved.push(byte);
                rest = after;
            }
        }
        parts[at] = resolved;
    }
    parts
}

fn image_tar(files: &[(String, &[u8])]) -> Option<ImageTar> {
    let mut packer = Packer::new(Vec::new());
    for (name, bytes) in files {
        packer.begin(name, bytes.len() as u64).expect("memory");
        packer.write_all(bytes).expect("memory");
    }
    let tar = packer.finish().expect("memory");
    let meter = Meter::new(&limits());
    scan(&tar, &meter).ok()
}

fn scan(tar: &[u8], meter: &Meter) -> Result<ImageTar, ArtifactError> {
    ImageTar::scan(tar, "it", meter, None)
}

/// `manifest.json` of a docker archive and configurations beside it.
pub fn docker_manifest(bytes: &[u8]) {
    let parts = documents(bytes);
    let mut files: Vec<_> = (1..)
        .zip(&parts[1..])
        .map(|(at, it)| (at.to_string(), it.as_slice()))
        .collect();
    files.push(("manifest.json".to_owned(), parts[0].as_slice()));
    let Some(tar) = image_tar(&files) else { return };
    let Ok(images) = tar.docker_images() else {
        return;
    };
    for image in images {
        expect_proved(&tar, &image);
    }
}

/// `index.json` of an OCI layout, and blobs.
pub fn oci_index(bytes: &[u8]) {
    let parts = documents(bytes);
    let mut files: Vec<_> = parts[1..]
        .iter()
        .map(|part| {
            (
                format!("blobs/sha256/{}", Digest::of(part).hex()),
                part.as_slice(),
            )
        })
        .collect();
    files.sort();
    files.dedup();
    files.push(("index.json".to_owned(), parts[0].as_slice()));
    let Some(tar) = image_tar(&files) else { return };
    let Ok(image) = tar.oci_image() else { return };
    expect_proved(&tar, &image);
}

fn expect_proved(tar: &ImageTar, image: &crate::images::Image) {
    let (_, config) = tar.file_at(&image.config).expect("there");
    assert_eq!(config.digest, image.service.config_digest);
    let layers = tar.layers_of(image).expect("there");
    assert_eq!(layers.len(), image.service.diff_ids.len());
}

/// `build.json`. What is read is written and read again as the same.
pub fn build_record(bytes: &[u8]) {
    if let Ok(build) = BuildRecord::from_json(bytes) {
        let again = BuildRecord::from_json(&build.to_json()).expect("written by us");
        assert_eq!(again, build);
    }
}

/// `twinrack.json`. What is read is written and read again as the same.
pub fn index(bytes: &[u8]) {
    if let Ok(index) = Index::from_json(bytes) {
        let again = Index::from_json(&index.to_json()).expect("written by us");
        assert_eq!(again, index);
    }
}

/// A right sum stays as it is written: the block may be part of a layer, which has a digest.
fn wrong_sum(block: &[u8]) -> bool {
    let others = block[..148].iter().chain(&block[156..]);
    let sum = others.map(|&byte| u32::from(byte)).sum::<u32>() + 8 * u32::from(b' ');
    let digits = block[148..156]
        .split(|byte| !byte.is_ascii_digit())
        .find(|it| !it.is_empty());
    let digits = std::str::from_utf8(digits.unwrap_or_default()).expect("digits");
    u32::from_str_radix(digits, 8) != Ok(sum)
}

/// A whole archive, from the tar inside its compression; wrong header checksums are put
/// right first. What is verified can be loaded and converted.
pub fn archive(bytes: &[u8]) {
    let mut tar = bytes.to_vec();
    for block in tar.chunks_exact_mut(512) {
        if &block[257..262] == b"ustar" && wrong_sum(block) {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
    encoder.write_all(&tar).expect("memory");
    let archive = encoder.finish().expect("memory");
    let Ok(contents) = verify(&archive[..], &limits()) else {
        return;
    };
    let tag = |service: &str| format!("a:{service}");
    write_docker_load(&archive[..], &contents, &tag, std::io::sink(), &limits())
        .expect("verified, so loadable");
    for format in [Format::Default, Format::V3] {
        let mut spool = Cursor::new(Vec::new());
        let mut out = Vec::new();
        // Names of builds and apps may be none that an archive of ours can have.
        let Ok(prepared) =
            prepare_conversion(&contents, &archive[..], format, &[], &mut spool, &limits())
        else {
            continue;
        };
        prepared
            .write(&mut spool, &mut out, 0)
            .expect("prepared, so writable");
        let again = verify(&out[..], &Limits::default()).expect("written by us");
        assert_eq!(again.services, contents.services);
    }
}

/// What takes the input of one target.
pub type Target = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Target); 7] = [
    ("archive", archive),
    ("build_record", build_record),
    ("docker_manifest", docker_manifest),
    ("gunzip", gunzip),
    ("index", index),
    ("oci_index", oci_index),
    ("tar", tar),
];
