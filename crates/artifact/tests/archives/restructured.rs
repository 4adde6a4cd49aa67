//! Archives that hold together and make no sense: documents are edited first, then every
//! digest, size and index around them is made to fit, so that the edit reaches what reads
//! the document. Nothing panics, nothing grows, and what is accepted can be used.

use std::collections::BTreeMap;

use artifact::{Digest, Format, Limits, verify, write_docker_load};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use crate::golden::convert;
use crate::support::*;

/// The documents of one archive before they are put together.
#[derive(Clone, Debug)]
struct Documents {
    build: Value,
    config: Value,
    /// `manifest.json` of layout B, the image manifest of layout C.
    manifest: Value,
    oci_index: Value,
    index: Value,
}

const LAYER: &str = "$layer";
const CONFIG: &str = "$config";

impl Documents {
    fn new(oci: bool) -> Self {
        let descriptor = |digest: &str| json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": 0 });
        Self {
            build: serde_json::to_value(build()).expect("json"),
            config: json!({
                "architecture": "amd64",
                "config": { "Entrypoint": ["/bin/web"], "Env": ["A=b"] },
                "rootfs": { "type": "layers", "diff_ids": [LAYER] },
            }),
            manifest: if oci {
                json!({ "schemaVersion": 2, "config": descriptor(CONFIG), "layers": [descriptor(LAYER)] })
            } else {
                json!([{ "Config": "config.json", "RepoTags": ["a/b:web.B1"], "Layers": ["layer.tar"] }])
            },
            oci_index: json!({ "schemaVersion": 2, "manifests": [descriptor("$manifest")] }),
            index: json!({
                "format": { "major": 1, "minor": 0 },
                "build": "BABCDEFGHIJ",
                "app": "myapp",
                "git-sha": "0123456789abcdef",
                "entrypoint": "/entry",
                "source": { "rack": "staging", "engine": "docker" },
                "required-environment": ["A"],
                "services": { "web": { "config-digest": CONFIG, "diff-ids": [LAYER], "entrypoint": ["/bin/web"] } },
                "entries": "$entries",
            }),
        }
    }

    fn document(&mut self, which: usize) -> &mut Value {
        match which % 5 {
            0 => &mut self.build,
            1 => &mut self.config,
            2 => &mut self.manifest,
            3 => &mut self.oci_index,
            _ => &mut self.index,
        }
    }

    /// The tar of the archive, with an index or without.
    fn pack(&self, oci: bool, indexed: bool) -> Vec<u8> {
        let layer = layer("one");
        let mut digests = BTreeMap::from([(LAYER, (Digest::of(&layer), layer.len()))]);
        let config = resolved(&self.config, &digests);
        digests.insert(CONFIG, (Digest::of(&config), config.len()));
        let manifest = resolved(&self.manifest, &digests);
        digests.insert("$manifest", (Digest::of(&manifest), manifest.len()));
        let name = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
        let inner = if oci {
            vec![
                (name(&config), config),
                (name(&layer), layer),
                (name(&manifest), manifest),
                ("index.json".to_owned(), resolved(&self.oci_index, &digests)),
            ]
        } else {
            vec![
                ("config.json".to_owned(), config),
                ("layer.tar".to_owned(), layer),
                ("manifest.json".to_owned(), manifest),
            ]
        };
        let mut image = Tar::default();
        let mut unique = BTreeMap::new();
        for (name, bytes) in inner {
            if unique.insert(name.clone(), bytes.clone()).is_none() {
                image = image.file(&name, &bytes);
            }
        }
        let image = image.finish();
        let build = serde_json::to_vec(&self.build).expect("json");
        let tar = Tar::default()
            .file("build.json", &build)
            .file("web.B1.tar", &image);
        if !indexed {
            return tar.finish();
        }
        let listed = |files: &[(&str, &[u8])]| -> Vec<Value> {
            let entry = |(name, bytes): &(&str, &[u8])| json!({ "name": name, "size": bytes.len(), "digest": Digest::of(bytes) });
            files.iter().map(entry).collect()
        };
        let inner: Vec<_> = unique
            .iter()
            .map(|(name, it)| (name.as_str(), it.as_slice()))
            .collect();
        let mut entries = listed(&[("build.json", &build), ("web.B1.tar", &image)]);
        entries[1]["files"] = listed(&inner).into();
        let mut index = self.index.clone();
        if index["entries"] == "$entries" {
            index["entries"] = entries.into();
        }
        tar.file("twinrack.json", &resolved(&index, &digests))
            .finish()
    }
}

/// The document with digests in the place of their names, and sizes beside them.
fn resolved(document: &Value, digests: &BTreeMap<&str, (Digest, usize)>) -> Vec<u8> {
    fn walk(value: &mut Value, digests: &BTreeMap<&str, (Digest, usize)>) {
        match value {
            Value::String(text) => {
                if let Some((digest, _)) = digests.get(text.as_str()) {
                    *text = digest.to_string();
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|it| walk(it, digests)),
            Value::Object(map) => {
                let size = map
                    .get("digest")
                    .and_then(Value::as_str)
                    .and_then(|text| digests.get(text))
                    .map(|(_, size)| *size);
                if let (Some(size), Some(stated)) = (size, map.get_mut("size"))
                    && *stated == 0
                {
                    *stated = size.into();
                }
                map.values_mut().for_each(|it| walk(it, digests));
            }
            _ => {}
        }
    }
    let mut document = document.clone();
    walk(&mut document, digests);
    serde_json::to_vec(&document).expect("json")
}

/// One edit of a document.
#[derive(Clone, Debug)]
enum Edit {
    Replace(Index, Value),
    Remove(Index),
    Repeat(Index),
    Add(Index, String, Value),
    Swap(Index, Index),
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,40}".prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[[[[[[]]]]]]]])),
        prop::sample::select(vec![
            "../../etc/passwd",
            "/etc/passwd",
            "sha256:../../x",
            "web",
            "a:b:c:d",
            "config.json",
            "layer.tar",
            "manifest.json",
            "index.json",
            LAYER,
            CONFIG,
            "$manifest",
            "application/vnd.oci.image.index.v1+json",
            "0001-01-01T00:00:00Z",
            "\u{1b}[2J",
            "\u{0}",
            "",
        ])
        .prop_map(Value::from),
        Just(Value::from("x".repeat(70_000))),
        Just(Value::from(u64::MAX)),
        Just(json!({ "digest": LAYER, "size": 0, "platform": { "os": "unknown" } })),
        Just(json!({ "digest": "$manifest", "size": 0 })),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        4 => (at(), value()).prop_map(|(at, value)| Edit::Replace(at, value)),
        2 => at().prop_map(Edit::Remove),
        2 => at().prop_map(Edit::Repeat),
        1 => (at(), ".{0,12}", value()).prop_map(|(at, name, value)| Edit::Add(at, name, value)),
        1 => (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
    ]
}

/// Paths to all values in a document.
fn paths(value: &Value, path: &str, found: &mut Vec<String>) {
    found.push(path.to_owned());
    match value {
        Value::Array(list) => {
            for (at, item) in list.iter().enumerate() {
                paths(item, &format!("{path}/{at}"), found);
            }
        }
        Value::Object(map) => {
            for (name, item) in map {
                let name = name.replace('~', "~0").replace('/', "~1");
                paths(item, &format!("{path}/{name}"), found);
            }
        }
        _ => {}
    }
}

impl Edit {
    fn apply(&self, document: &mut Value) {
        let mut all = Vec::new();
        paths(document, "", &mut all);
        let at = |index: &Index| all[index.index(all.len())].clone();
        match self {
            Self::Replace(index, value) => {
                *document.pointer_mut(&at(index)).expect("there") = value.clone();
            }
            Self::Remove(index) => {
                let path = at(index);
                let Some((parent, name)) = path.rsplit_once('/') else {
                    return;
                };
                let name = name.replace("~1", "/").replace("~0", "~");
                match document.pointer_mut(parent).expect("there") {
                    Value::Array(list) => drop(list.remove(name.parse().expect("a number"))),
                    Value::Object(map) => drop(map.remove(&name)),
                    _ => unreachable!("only lists and objects have parts"),
                }
            }
            Self::Repeat(index) => {
                if let Value::Array(list) = document.pointer_mut(&at(index)).expect("there") {
                    list.extend(list.clone());
                }
            }
            Self::Add(index, name, value) => {
                if let Value::Object(map) = document.pointer_mut(&at(index)).expect("there") {
                    map.insert(name.clone(), value.clone());
                }
            }
            Self::Swap(one, other) => {
                let (one, other) = (at(one), at(other));
                let value = document.pointer(&other).expect("there").clone();
                *document.pointer_mut(&one).expect("there") = value;
            }
        }
    }
}

/// What is accepted must be usable, and what is refused must say why in one line.
fn expect_order(bytes: &[u8]) -> Result<(), TestCaseError> {
    let contents = match check(bytes) {
        Ok(contents) => contents,
        Err(error) => {
            let text = error.to_string();
            prop_assert!(!text.chars().any(char::is_control), "{text:?}");
            prop_assert!(text.len() < 1000, "{text}");
            return Ok(());
        }
    };
    let name = |service: &str| service.to_owned();
    write_docker_load(bytes, &contents, &name, std::io::sink(), &Limits::default())
        .map_err(|error| TestCaseError::fail(error.to_string()))?;
    prop_assert!(!contents.checks().is_empty());
    for format in [Format::Default, Format::V3] {
        // A build may be called what no archive of ours can be; then that is said first.
        if let Ok(converted) = convert(bytes, &contents, format) {
            let after =
                check(&converted).map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert_eq!(&after.services, &contents.services);
        }
    }
    Ok(())
}

#[test]
fn unedited_they_are_accepted() {
    for oci in [false, true] {
        for indexed in [false, true] {
            let tar = Documents::new(oci).pack(oci, indexed);
            let contents = verify(&stored(&tar)[..], &Limits::default());
            let contents = contents.unwrap_or_else(|error| panic!("{oci} {indexed}: {error}"));
            assert_eq!(contents.index.is_some(), indexed);
            for format in [Format::Default, Format::V2, Format::V3] {
                convert(&stored(&tar), &contents, format).expect("convertible");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_documents_never_panic(
        edits in prop::collection::vec((0..5usize, edit()), 1..4),
        oci in any::<bool>(),
        indexed in any::<bool>(),
    ) {
        let mut documents = Documents::new(oci);
        for (which, edit) in &edits {
            edit.apply(documents.document(*which));
        }
        expect_order(&stored(&documents.pack(oci, indexed)))?;
    }
}

/// A number of KiB about this process's memory. Other tests may run in it too, so that a
/// difference of two is an upper bound.
#[cfg(target_os = "linux")]
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a process");
    let line = status.lines().find(|line| line.starts_with(name));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    number.and_then(|it| it.parse().ok()).expect("a number")
}

/// 128 MiB of zeros in half a megabyte, as a layer and as what the archive decompresses to:
/// however it is arranged, memory stays bounded.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_what_an_archive_says() {
    use std::io::Read as _;
    const MOST: u64 = 64 << 10;
    let mut bomb = Vec::new();
    let zeros = std::io::repeat(0).take(128 << 20);
    flate2::bufread::GzEncoder::new(std::io::BufReader::new(zeros), flate2::Compression::fast())
        .read_to_end(&mut bomb)
        .expect("memory");
    let many = (0..40_000).fold(Tar::default(), |tar, at| {
        tar.directory(&format!("{at:0>90}/"))
    });
    let wide = format!("[{}]", "\"x\",".repeat(900_000));
    let archives = [
        archive(&[("a.B.tar", &Tar::default().file("l.tar", &bomb).finish())]),
        gzip(&many.finish()),
        gzip(&Tar::default().file("build.json", wide.as_bytes()).finish()),
        archive(&[(
            "a.B.tar",
            &Tar::default()
                .file("manifest.json", wide.as_bytes())
                .finish(),
        )]),
        bomb,
    ];
    for (number, bytes) in archives.iter().enumerate() {
        // The peak is counted anew from here.
        std::fs::write("/proc/self/clear_refs", "5").expect("writable");
        let before = memory("VmRSS:");
        check(bytes).expect_err("no archive");
        let grown = memory("VmHWM:").saturating_sub(before);
        assert!(grown < MOST, "archive {number}: {grown} KiB");
    }
}
