//! Makes small images, engine outputs and archives from scratch, with another
//! tar writer than the one under test.

use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};

use artifact::{
    ArtifactError, BuildRecord, Contents, Digest, Format, Limits, Source, Summary, fingerprint,
    prepare, relay, verify, write_docker_load,
};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use tar::{EntryType, Header};

/// A tar under construction; every header is exactly what the test says.
#[derive(Default)]
pub(crate) struct Tar(Vec<u8>);

impl Tar {
    pub(crate) fn file(mut self, name: &str, bytes: &[u8]) -> Self {
        let header = header(name.as_bytes(), EntryType::Regular, bytes.len() as u64);
        self.raw(&header, bytes);
        self
    }

    pub(crate) fn directory(mut self, name: &str) -> Self {
        self.raw(&header(name.as_bytes(), EntryType::Directory, 0), b"");
        self
    }

    pub(crate) fn link(mut self, kind: EntryType, name: &str, target: &str) -> Self {
        let mut header = header(name.as_bytes(), kind, 0);
        header.set_link_name_literal(target).expect("short");
        header.set_cksum();
        self.raw(&header, b"");
        self
    }

    /// Adds a header and content as they are.
    pub(crate) fn entry(mut self, header: &Header, bytes: &[u8]) -> Self {
        self.raw(header, bytes);
        self
    }

    /// Adds a PAX header in front of the next entry.
    pub(crate) fn pax(self, records: &[(&str, &str)]) -> Self {
        let mut data = Vec::new();
        for (key, value) in records {
            let body = format!(" {key}={value}\n");
            let mut length = body.len() + 1;
            while length != body.len() + length.to_string().len() {
                length += 1;
            }
            data.extend(format!("{length}{body}").bytes());
        }
        let header = header(b"PaxHeaders/x", EntryType::XHeader, data.len() as u64);
        self.entry(&header, &data)
    }

    fn raw(&mut self, header: &Header, bytes: &[u8]) {
        self.0.extend(header.as_bytes());
        self.0.extend(bytes);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// The bytes so far, without an end.
    pub(crate) fn unfinished(self) -> Vec<u8> {
        self.0
    }
}

pub(crate) fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_ustar();
    header.as_ustar_mut().expect("ustar").name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(size);
    header.set_mtime(1_700_000_000);
    header.set_cksum();
    header
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub(crate) fn gunzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    GzDecoder::new(bytes).read_to_end(&mut out).expect("gzip");
    out
}

/// All files of a tar, in order, as another reader sees them.
pub(crate) fn files(tar: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(tar);
    archive
        .entries()
        .expect("a tar")
        .map(|entry| {
            let mut entry = entry.expect("an entry");
            let name = String::from_utf8(entry.path_bytes().into_owned()).expect("UTF-8");
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).expect("content");
            (name, bytes)
        })
        .collect()
}

/// An image made of layer tars.
#[derive(Clone)]
pub(crate) struct TestImage {
    pub(crate) config: Vec<u8>,
    pub(crate) layers: Vec<Vec<u8>>,
}

pub(crate) fn layer(text: &str) -> Vec<u8> {
    Tar::default().file("etc/text", text.as_bytes()).finish()
}

impl TestImage {
    pub(crate) fn new(layers: &[&str], entrypoint: &[&str]) -> Self {
        let layers: Vec<_> = layers.iter().map(|text| layer(text)).collect();
        let diff_ids: Vec<_> = layers.iter().map(|layer| Digest::of(layer)).collect();
        let config = serde_json::json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Entrypoint": entrypoint, "Cmd": ["sh"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        Self {
            config: serde_json::to_vec(&config).expect("json"),
            layers,
        }
    }

    pub(crate) fn id(&self) -> Digest {
        Digest::of(&self.config)
    }
}

/// Two services whose images share their lowest layer, and a third that shares all.
pub(crate) fn images() -> BTreeMap<String, TestImage> {
    let web = TestImage::new(&["base", "web"], &["/bin/web"]);
    let worker = TestImage::new(&["base", "worker"], &[]);
    BTreeMap::from([
        ("cron".to_owned(), worker.clone()),
        ("web".to_owned(), web),
        ("worker".to_owned(), worker),
    ])
}

pub(crate) const REPOSITORY: &str = "localhost:5000/twin/myapp";

pub(crate) fn tag(service: &str) -> String {
    format!("{REPOSITORY}:{service}.BABCDEFGHIJ")
}

pub(crate) fn tags(images: &BTreeMap<String, TestImage>) -> BTreeMap<String, String> {
    images
        .keys()
        .map(|service| (service.clone(), tag(service)))
        .collect()
}

fn docker_manifest(
    images: &BTreeMap<String, TestImage>,
    config: &dyn Fn(&TestImage) -> String,
    layer: &dyn Fn(&TestImage, usize) -> String,
) -> Vec<u8> {
    let mut list: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for (service, image) in images {
        let name = config(image);
        if let Some(known) = list.iter_mut().find(|known| known.0 == name) {
            known.1.push(tag(service));
            continue;
        }
        let layers = (0..image.layers.len()).map(|at| layer(image, at)).collect();
        list.push((name, vec![tag(service)], layers));
    }
    let list: Vec<_> = list
        .into_iter()
        .map(|(config, tags, layers)| {
            serde_json::json!({ "Config": config, "RepoTags": tags, "Layers": layers })
        })
        .collect();
    serde_json::to_vec(&list).expect("json")
}

/// What engines up to 24 save: a directory per layer of each image, repeated
/// layers as links.
pub(crate) fn classic_save(images: &BTreeMap<String, TestImage>) -> Vec<u8> {
    let mut tar = Tar::default();
    let mut first: BTreeMap<Digest, String> = BTreeMap::new();
    let directory = |image: &TestImage, at: usize| {
        let chain = [image.config.as_slice(), &[at as u8]].concat();
        Digest::of(&chain).hex().to_owned()
    };
    let mut done = std::collections::BTreeSet::new();
    for image in images.values() {
        if !done.insert(image.id()) {
            continue;
        }
        for (at, layer) in image.layers.iter().enumerate() {
            let name = directory(image, at);
            tar = tar
                .directory(&format!("{name}/"))
                .file(&format!("{name}/VERSION"), b"1.0")
                .file(&format!("{name}/json"), b"{\"id\":\"x\"}");
            let path = format!("{name}/layer.tar");
            tar = if let Some(target) = first.get(&Digest::of(layer)) {
                tar.link(EntryType::Symlink, &path, &format!("../{target}/layer.tar"))
            } else {
                first.insert(Digest::of(layer), name);
                tar.file(&path, layer)
            };
        }
        tar = tar.file(&format!("{}.json", image.id().hex()), &image.config);
    }
    let manifest = docker_manifest(
        images,
        &|image| format!("{}.json", image.id().hex()),
        &|image, at| format!("{}/layer.tar", directory(image, at)),
    );
    tar.file("manifest.json", &manifest)
        .file("repositories", b"{}")
        .finish()
}

/// What engines from 25 on save: blobs named by digest; `compressed` as the
/// containerd store has them.
pub(crate) fn modern_save(images: &BTreeMap<String, TestImage>, compressed: bool) -> Vec<u8> {
    let stored = |layer: &[u8]| {
        if compressed {
            gzip(layer)
        } else {
            layer.to_vec()
        }
    };
    let mut blobs = BTreeMap::new();
    for image in images.values() {
        blobs.insert(blob(&image.config), image.config.clone());
        for layer in &image.layers {
            let bytes = stored(layer);
            blobs.insert(blob(&bytes), bytes);
        }
    }
    let manifest = docker_manifest(images, &|image| blob(&image.config), &|image, at| {
        blob(&stored(&image.layers[at]))
    });
    let mut tar = Tar::default()
        .directory("blobs/")
        .directory("blobs/sha256/");
    for (name, bytes) in blobs {
        tar = tar.file(&name, &bytes);
    }
    tar.file("index.json", b"{\"schemaVersion\":2,\"manifests\":[]}")
        .file("manifest.json", &manifest)
        .file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")
        .file("repositories", b"{}")
        .finish()
}

/// What podman saves: layers named by digest, the per-layer directories as links
/// to them that come before or after.
pub(crate) fn podman_save(images: &BTreeMap<String, TestImage>) -> Vec<u8> {
    let mut tar = Tar::default();
    let mut done = std::collections::BTreeSet::new();
    for image in images.values() {
        for layer in &image.layers {
            let name = format!("{}.tar", Digest::of(layer).hex());
            if done.insert(name.clone()) {
                let legacy = Digest::of(name.as_bytes());
                tar = tar
                    .link(
                        EntryType::Symlink,
                        &format!("{}/layer.tar", legacy.hex()),
                        &format!("../{name}"),
                    )
                    .file(&name, layer);
            }
        }
        let name = format!("{}.json", image.id().hex());
        if done.insert(name.clone()) {
            tar = tar.file(&name, &image.config);
        }
    }
    let manifest = docker_manifest(
        images,
        &|image| format!("{}.json", image.id().hex()),
        &|image, at| format!("{}.tar", Digest::of(&image.layers[at]).hex()),
    );
    tar.file("manifest.json", &manifest).finish()
}

fn blob(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

/// One image as an OCI layout with compressed layers, as v3 racks export it.
pub(crate) fn oci_layout(image: &TestImage) -> Vec<u8> {
    let layers: Vec<_> = image.layers.iter().map(|layer| gzip(layer)).collect();
    let describe = |kind: &str, bytes: &[u8]| {
        serde_json::json!({
            "mediaType": format!("application/vnd.oci.image.{kind}"),
            "digest": Digest::of(bytes),
            "size": bytes.len(),
        })
    };
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "config": describe("config.v1+json", &image.config),
        "layers": layers.iter().map(|it| describe("layer.v1.tar+gzip", it)).collect::<Vec<_>>(),
    });
    let manifest = serde_json::to_vec(&manifest).expect("json");
    let index = serde_json::json!({
        "schemaVersion": 2,
        "manifests": [describe("manifest.v1+json", &manifest)],
    });
    let mut tar = Tar::default()
        .directory("blobs/")
        .directory("blobs/sha256/")
        .file(&blob(&manifest), &manifest)
        .file(&blob(&image.config), &image.config);
    for layer in &layers {
        tar = tar.file(&blob(layer), layer);
    }
    tar.file("index.json", &serde_json::to_vec(&index).expect("json"))
        .file("oci-layout", b"{\"imageLayoutVersion\":\"1.0.0\"}")
        .finish()
}

pub(crate) fn build() -> BuildRecord {
    BuildRecord {
        id: "BABCDEFGHIJ".into(),
        app: "myapp".into(),
        description: "a <b> & \"c\" ü".into(),
        git_sha: "0123456789abcdef".into(),
        entrypoint: "/entry".into(),
        manifest: "services:\n  web:\n    build: .\n".into(),
        release: "RABCDEFGHIJ".into(),
        status: "complete".into(),
        started: "2026-01-02T03:04:05.000000006Z".into(),
        ended: "2026-01-02T03:05:05.000000006Z".into(),
        ..BuildRecord::default()
    }
}

pub(crate) fn source() -> Source {
    Source {
        rack: "staging".into(),
        engine: "docker 20.10.24".into(),
        ..Source::default()
    }
}

/// Exports [`images`] as saved by `save`.
pub(crate) fn export(format: Format, save: &[u8]) -> (Vec<u8>, Summary) {
    export_images(format, &images(), save)
}

pub(crate) fn export_images(
    format: Format,
    images: &BTreeMap<String, TestImage>,
    save: &[u8],
) -> (Vec<u8>, Summary) {
    let mut save = Cursor::new(save);
    let mut archive = Vec::new();
    let summary = prepare(
        format,
        &build(),
        &["SECRET_KEY".to_owned()],
        &source(),
        &tags(images),
        &mut save,
    )
    .expect("exportable")
    .write(&mut save, &mut archive, 6)
    .expect("memory");
    (archive, summary)
}

/// An archive of these entries after `build.json`, without index.
pub(crate) fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let json = serde_json::to_vec(&build()).expect("json");
    let mut tar = Tar::default().file("build.json", &json);
    for (name, bytes) in entries {
        tar = tar.file(name, bytes);
    }
    gzip(&tar.finish())
}

/// Verifies an archive: for tests that do so tens of thousands of times.
pub(crate) fn judge(bytes: &[u8]) -> Result<Contents, ArtifactError> {
    verify(bytes, &Limits::default())
}

/// Verifies an archive, and that handing it on in the same reading judges it alike.
pub(crate) fn check(bytes: &[u8]) -> Result<Contents, ArtifactError> {
    let verified = verify(bytes, &Limits::default());
    let mut out = Vec::new();
    let relayed = relay(bytes, &mut out, &Limits::default());
    match (&verified, relayed) {
        (Ok(contents), Ok((again, _held))) => {
            let digest = fingerprint(bytes, &Limits::default()).expect("readable");
            assert_eq!(contents.digest, digest);
            assert_eq!(contents.services, again.services);
            assert_eq!(contents.digest, again.digest);
        }
        (Err(error), Err(again)) => assert_eq!(error.to_string(), again.to_string()),
        (verified, relayed) => panic!("{verified:?} and {relayed:?}"),
    }
    assert_no_image(&out);
    verified
}

/// What an engine was given of an archive that was not, or not yet, proved: files
/// without anything that would make images of them, and without an end.
fn assert_no_image(tar: &[u8]) {
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().expect("a tar") {
        // Cut off anywhere, in a header too.
        let Ok(entry) = entry else { return };
        let name = String::from_utf8(entry.path_bytes().into_owned()).expect("ours");
        let number = name.strip_prefix("file-").map(str::parse::<u32>);
        assert!(matches!(number, Some(Ok(_))), "{name}");
    }
}

/// The tar for `docker load` made while the archive is verified.
pub(crate) fn relayed(bytes: &[u8]) -> Vec<u8> {
    let (contents, held) = relay(bytes, Vec::new(), &Limits::default()).expect("verified");
    held.release(&contents, &|service| format!("new/{service}:x"))
        .expect("memory")
}

/// The tar for `docker load` made from an archive that holds.
pub(crate) fn load(bytes: &[u8], contents: &Contents) -> Vec<u8> {
    let mut out = Vec::new();
    let name = |service: &str| format!("new/{service}:x");
    write_docker_load(bytes, contents, &name, &mut out, &Limits::default()).expect("loadable");
    out
}
