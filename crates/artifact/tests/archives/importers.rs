//! The importers of real racks and engines as checkers, written from the reference
//! (`builds-releases-runtime.md` §2.3, §2.4) and not from our reader. Each panics where
//! the real one fails or silently loses something, and returns what it would run.

use std::collections::{BTreeMap, BTreeSet};

use artifact::Digest;
use serde_json::Value;

use crate::support::*;

/// The image id of each service.
pub(crate) type Imported = BTreeMap<String, Digest>;

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).expect("json")
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {value}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    let list = value[name].as_array();
    list.unwrap_or_else(|| panic!("{name} in {value}"))
}

/// The envelope: `build.json` first, as racks decode it, then the entries they know.
fn envelope(archive: &[u8]) -> Vec<(String, Vec<u8>)> {
    assert_eq!(&archive[..4], [0x1f, 0x8b, 8, 0], "gzip without extras");
    let entries = files(&gunzip(archive));
    let (name, build) = &entries[0];
    assert_eq!(name, "build.json");
    let build = parse(build);
    for field in ["id", "app", "description", "manifest", "release", "status"] {
        assert!(build[field].is_string(), "{field} in {build}");
    }
    for field in ["started", "ended"] {
        // Their decoder takes RFC 3339 only, and nothing less than a whole time.
        let time = text(&build, field);
        assert!(time.len() >= 20 && time.ends_with('Z'), "{field}: {time}");
        assert_eq!(time.as_bytes()[10], b'T', "{field}: {time}");
    }
    entries
        .into_iter()
        .skip(1)
        .filter(|(name, _)| name.strip_suffix(".tar").is_some())
        .collect()
}

/// What an engine does with a tar: find the parts that `manifest.json` names, prove them,
/// and tag.
pub(crate) fn engine_load(tar: &[u8]) -> Imported {
    let parts = files(tar);
    let (last, manifest) = parts.last().expect("not empty");
    assert_eq!(last, "manifest.json", "importers cut the stream after it");
    let by_name: BTreeMap<_, _> = parts.iter().cloned().collect();
    assert_eq!(by_name.len(), parts.len(), "every file once");
    let mut tags = BTreeMap::new();
    let mut used = BTreeSet::from(["manifest.json".to_owned()]);
    for image in parse(manifest).as_array().expect("a list") {
        let name = text(image, "Config");
        used.insert(name.to_owned());
        let config = &by_name[name];
        let id = Digest::of(config);
        // What is handed on while it is verified is numbered: digests are known afterwards.
        assert!(
            name.contains(id.hex()) || name.starts_with("file-"),
            "{name} is called by its digest"
        );
        let parsed = parse(config);
        let diff_ids = list(&parsed["rootfs"], "diff_ids");
        let layers = list(image, "Layers");
        assert_eq!(layers.len(), diff_ids.len());
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let layer = layer.as_str().expect("text");
            used.insert(layer.to_owned());
            assert_eq!(Digest::of(&plain(&by_name[layer])).as_str(), diff_id);
        }
        for tag in list(image, "RepoTags") {
            let tag = tag.as_str().expect("text").to_owned();
            assert!(tags.insert(tag, id.clone()).is_none());
        }
    }
    // What is handed on while it is verified may prove to be of no use afterwards.
    let numbered = by_name.keys().any(|name| name.starts_with("file-"));
    let unused = by_name.keys().find(|name| !used.contains(*name));
    assert!(numbered || unused.is_none(), "{unused:?} travels in vain");
    tags
}

fn plain(layer: &[u8]) -> Vec<u8> {
    if layer.starts_with(&[0x1f, 0x8b]) {
        gunzip(layer)
    } else {
        layer.to_vec()
    }
}

/// The importer of v2 racks (layout B): of the last tar, cut behind its manifest, the text
/// between the first and the second colon of each tag, up to the first dot.
pub(crate) fn import_by_v2(archive: &[u8]) -> Imported {
    let tars = envelope(archive);
    let (_, last) = tars.last().expect("a tar");
    let mut imported = BTreeMap::new();
    for (tag, id) in engine_load(last) {
        assert_eq!(tag.matches(':').count(), 1, "{tag} has one colon");
        let version = tag.split(':').nth(1).expect("a colon");
        let service = version.split('.').next().expect("a part").to_owned();
        assert!(
            imported.insert(service, id).is_none(),
            "{tag} names another"
        );
    }
    imported
}

/// The importer of v3 racks (layout C): of every tar, an OCI layout of one image; the
/// service is the entry's name up to the first dot.
pub(crate) fn import_by_v3(archive: &[u8]) -> Imported {
    let mut imported = BTreeMap::new();
    for (name, tar) in envelope(archive) {
        assert!(!name.contains(['/', '\\']), "{name} is a plain name");
        let service = name.split('.').next().expect("a part").to_owned();
        let parts: BTreeMap<_, _> = files(&tar).into_iter().collect();
        let id = oci_image(&parts);
        assert!(
            imported.insert(service, id).is_none(),
            "{name} is one of two"
        );
    }
    imported
}

/// What `skopeo copy oci-archive:` without a reference makes of a layout.
fn oci_image(parts: &BTreeMap<String, Vec<u8>>) -> Digest {
    assert_eq!(
        text(&parse(&parts["oci-layout"]), "imageLayoutVersion"),
        "1.0.0"
    );
    assert!(
        !parts.contains_key("manifest.json"),
        "not taken for a docker archive"
    );
    let mut used = BTreeSet::from(["oci-layout".to_owned(), "index.json".to_owned()]);
    let mut blob = |descriptor: &Value| {
        let digest = text(descriptor, "digest");
        let path = digest.replace("sha256:", "blobs/sha256/");
        let bytes = parts[&path].clone();
        assert_eq!(Digest::of(&bytes).as_str(), digest);
        assert_eq!(descriptor["size"], bytes.len(), "{descriptor}");
        used.insert(path);
        bytes
    };
    let index = parse(&parts["index.json"]);
    assert_eq!(index["schemaVersion"], 2);
    let [descriptor] = list(&index, "manifests") else {
        panic!("more than one image needs a name: {index}");
    };
    assert_eq!(
        text(descriptor, "mediaType"),
        "application/vnd.oci.image.manifest.v1+json"
    );
    let manifest = parse(&blob(descriptor));
    assert_eq!(manifest["schemaVersion"], 2);
    assert_eq!(
        text(&manifest["config"], "mediaType"),
        "application/vnd.oci.image.config.v1+json"
    );
    let config = blob(&manifest["config"]);
    let parsed = parse(&config);
    let diff_ids = list(&parsed["rootfs"], "diff_ids");
    let layers = list(&manifest, "layers");
    assert_eq!(layers.len(), diff_ids.len());
    for (layer, diff_id) in layers.iter().zip(diff_ids) {
        let bytes = blob(layer);
        let kind = if bytes.starts_with(&[0x1f, 0x8b]) {
            "application/vnd.oci.image.layer.v1.tar+gzip"
        } else {
            "application/vnd.oci.image.layer.v1.tar"
        };
        assert_eq!(text(layer, "mediaType"), kind);
        assert_eq!(Digest::of(&plain(&bytes)).as_str(), diff_id);
    }
    let unused = parts.keys().find(|name| !used.contains(*name));
    assert_eq!(unused, None, "nothing travels in vain");
    Digest::of(&config)
}
