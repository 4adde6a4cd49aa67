//! `docs/archive-format.md` in code: archives put together byte by byte from its words,
//! without a tar library and without our writer, equal what we write.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Cursor;

use artifact::{Digest, Format, Layout, prepare};

use crate::support::{TestImage, build, check, gunzip, gzip, modern_save, source, tags};

const END: [u8; 1024] = [0; 1024];

/// A header and content as the table "A header" says.
fn entry(name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = Vec::new();
    header.extend(name.as_bytes());
    header.resize(100, 0);
    header.extend(b"0000600\0"); // mode
    header.extend(b"0000000\0"); // user
    header.extend(b"0000000\0"); // group
    header.extend(format!("{:011o}\0", content.len()).bytes()); // size
    header.extend(b"00000000000\0"); // time
    header.extend([b' '; 8]); // checksum, while it is computed
    header.push(b'0'); // a regular file
    header.extend([0; 100]); // no link
    header.extend(b"ustar\0");
    header.extend(b"00");
    header.resize(512, 0); // no names of owners, no device, no prefix
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
    header.extend(content);
    header.resize(header.len().next_multiple_of(512), 0);
    header
}

fn tar(entries: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::new();
    for (name, content) in entries {
        out.extend(entry(name, content));
    }
    out.extend(END);
    out
}

/// Two services of one image and one of another; the images share a layer.
fn saved() -> BTreeMap<String, TestImage> {
    let web = TestImage::new(&["base", "web"], &["/bin/web"]);
    let worker = TestImage::new(&["base", "worker"], &[]);
    BTreeMap::from([
        ("cron".to_owned(), worker.clone()),
        ("web".to_owned(), web),
        ("worker".to_owned(), worker),
    ])
}

fn written(format: Format, images: &BTreeMap<String, TestImage>) -> Vec<u8> {
    let mut save = Cursor::new(modern_save(images, false));
    let required = ["SECRET_KEY".to_owned()];
    let prepared = prepare(
        format,
        &build(),
        &required,
        &source(),
        &tags(images),
        &mut save,
    );
    let mut out = Vec::new();
    prepared
        .expect("exportable")
        .write(&mut save, &mut out, 1)
        .expect("memory");
    out
}

/// `build.json`: two spaces of indent, the fields in order, no newline at the end.
const BUILD_JSON: &str = r#"{
  "id": "BABCDEFGHIJ",
  "app": "myapp",
  "description": "a <b> & \"c\" ü",
  "entrypoint": "/entry",
  "git-sha": "0123456789abcdef",
  "logs": "",
  "manifest": "services:\n  web:\n    build: .\n",
  "process": "",
  "release": "RABCDEFGHIJ",
  "reason": "",
  "status": "complete",
  "started": "2026-01-02T03:04:05.000000006Z",
  "ended": "2026-01-02T03:05:05.000000006Z"
}"#;

fn name_of(content: &[u8], suffix: &str) -> String {
    format!("{}{suffix}", Digest::of(content).hex())
}

/// The image tar of the formats `default` and `v2`.
fn combined(images: &BTreeMap<String, TestImage>) -> Vec<(String, Vec<u8>)> {
    let (cron, web) = (&images["cron"], &images["web"]);
    // In the order of the services: configurations, layers, each once.
    let mut files = Vec::new();
    for image in [cron, web] {
        files.push((name_of(&image.config, ".json"), image.config.clone()));
    }
    for layer in [&cron.layers[0], &cron.layers[1], &web.layers[1]] {
        files.push((name_of(layer, ".tar"), layer.clone()));
    }
    let mut manifest = String::from("[");
    for (image, services) in [(cron, &["cron", "worker"][..]), (web, &["web"])] {
        let tags: Vec<_> = services
            .iter()
            .map(|service| format!("\"localhost/twin/myapp:{service}.BABCDEFGHIJ\""))
            .collect();
        let layers: Vec<_> = image
            .layers
            .iter()
            .map(|layer| format!("\"{}\"", name_of(layer, ".tar")))
            .collect();
        let comma = if manifest.len() > 1 { "," } else { "" };
        let config = name_of(&image.config, ".json");
        write!(
            manifest,
            "{comma}{{\"Config\":\"{config}\",\"RepoTags\":[{}],\"Layers\":[{}]}}",
            tags.join(","),
            layers.join(",")
        )
        .expect("memory");
    }
    manifest.push(']');
    files.push(("manifest.json".to_owned(), manifest.into_bytes()));
    files
}

fn file_entry(indent: &str, name: &str, content: &[u8], files: &str) -> String {
    format!(
        "{indent}{{\n{indent}  \"name\": \"{name}\",\n{indent}  \"size\": {},\n\
         {indent}  \"digest\": \"{}\"{files}\n{indent}}}",
        content.len(),
        Digest::of(content)
    )
}

/// `twinrack.json`, the index.
fn index(images: &BTreeMap<String, TestImage>, files: &[(String, Vec<u8>)]) -> String {
    let listed: Vec<_> = files
        .iter()
        .map(|(name, content)| file_entry("        ", name, content, ""))
        .collect();
    let listed = format!(",\n      \"files\": [\n{}\n      ]", listed.join(",\n"));
    let services: Vec<_> = images
        .iter()
        .map(|(service, image)| {
            let diff_ids: Vec<_> = image
                .layers
                .iter()
                .map(|layer| format!("        \"{}\"", Digest::of(layer)))
                .collect();
            let entrypoint = match service.as_str() {
                "web" => "[\n        \"/bin/web\"\n      ]",
                _ => "[]",
            };
            format!(
                "    \"{service}\": {{\n      \"config-digest\": \"{}\",\n      \"diff-ids\": [\n{}\n      ],\n      \"entrypoint\": {entrypoint}\n    }}",
                Digest::of(&image.config),
                diff_ids.join(",\n")
            )
        })
        .collect();
    format!(
        "{{\n  \"format\": {{\n    \"major\": 1,\n    \"minor\": 1\n  }},\n  \"build\": \"BABCDEFGHIJ\",\n  \
         \"app\": \"myapp\",\n  \"git-sha\": \"0123456789abcdef\",\n  \"entrypoint\": \"/entry\",\n  \
         \"source\": {{\n    \"rack\": \"staging\",\n    \"engine\": \"docker 20.10.24\"\n  }},\n  \
         \"required-environment\": [\n    \"SECRET_KEY\"\n  ],\n  \"services\": {{\n{}\n  }},\n  \
         \"entries\": [\n{},\n{}\n  ]\n}}",
        services.join(",\n"),
        file_entry("    ", "build.json", BUILD_JSON.as_bytes(), ""),
        file_entry("    ", "myapp.BABCDEFGHIJ.tar", &tar(files), &listed),
    )
}

/// The OCI layout of one service in the format `v3`.
fn layout(image: &TestImage) -> Vec<u8> {
    let blob = |content: &[u8]| {
        let name = format!("blobs/sha256/{}", Digest::of(content).hex());
        (name, content.to_vec())
    };
    let describe = |kind: &str, content: &[u8]| {
        format!(
            "{{\"mediaType\":\"application/vnd.oci.image.{kind}\",\"digest\":\"{}\",\"size\":{}}}",
            Digest::of(content),
            content.len()
        )
    };
    let layers: Vec<_> = image
        .layers
        .iter()
        .map(|layer| describe("layer.v1.tar", layer))
        .collect();
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
         \"config\":{},\"layers\":[{}]}}",
        describe("config.v1+json", &image.config),
        layers.join(",")
    );
    let index = format!(
        "{{\"schemaVersion\":2,\"manifests\":[{}]}}",
        describe("manifest.v1+json", manifest.as_bytes())
    );
    let mut files = vec![blob(&image.config)];
    files.extend(image.layers.iter().map(|layer| blob(layer)));
    files.push(blob(manifest.as_bytes()));
    files.push(("index.json".to_owned(), index.into_bytes()));
    files.push((
        "oci-layout".to_owned(),
        b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec(),
    ));
    tar(&files)
}

/// The tar in the envelope, written from the document.
fn documented(format: Format) -> Vec<u8> {
    let images = saved();
    let mut entries = vec![("build.json".to_owned(), BUILD_JSON.as_bytes().to_vec())];
    if format == Format::V3 {
        for (service, image) in &images {
            entries.push((format!("{service}.BABCDEFGHIJ.tar"), layout(image)));
        }
    } else {
        let files = combined(&images);
        entries.push(("myapp.BABCDEFGHIJ.tar".to_owned(), tar(&files)));
        if format == Format::Default {
            let index = index(&images, &files).into_bytes();
            entries.push(("twinrack.json".to_owned(), index));
        }
    }
    tar(&entries)
}

#[test]
fn what_we_write_is_what_is_documented_to_the_byte() {
    for format in [Format::Default, Format::V2, Format::V3] {
        let archive = written(format, &saved());
        // Extra flags depend on the level.
        assert_eq!(archive[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0], "{format}");
        assert_eq!(archive[9], 0xff, "{format}");
        let (found, expected) = (gunzip(&archive), documented(format));
        let differs = found
            .iter()
            .zip(&expected)
            .position(|(one, other)| one != other);
        assert_eq!(
            (differs, found.len()),
            (None, expected.len()),
            "{format} at {:?}",
            differs.map(|at| String::from_utf8_lossy(&found[at.saturating_sub(80)..at + 20]))
        );
    }
}

#[test]
fn what_is_documented_is_read() {
    for (format, layout) in [
        (Format::Default, Layout::Combined),
        (Format::V2, Layout::Combined),
        (Format::V3, Layout::Oci),
    ] {
        let contents = check(&gzip(&documented(format))).expect("verified");
        assert_eq!(contents.layout, layout, "{format}");
        assert_eq!(contents.build, Some(build()), "{format}");
        assert_eq!(contents.index.is_some(), format == Format::Default);
        for (service, image) in saved() {
            assert_eq!(contents.services[&service].config_digest, image.id());
        }
    }
}

/// A reader of today takes what a later minor version may add, and nothing else.
#[test]
fn a_later_minor_version_may_add_fields() {
    let images = saved();
    let files = combined(&images);
    let archive = |index: &str| {
        gzip(&tar(&[
            ("build.json".to_owned(), BUILD_JSON.as_bytes().to_vec()),
            ("myapp.BABCDEFGHIJ.tar".to_owned(), tar(&files)),
            ("twinrack.json".to_owned(), index.as_bytes().to_vec()),
        ]))
    };
    let index = index(&images, &files);
    check(&archive(&index)).expect("of today");
    let later = index
        .replace("\"minor\": 1", "\"minor\": 12,\n    \"patch\": 1")
        .replace(
            "\"build\": \"BA",
            "\"signature\": [1, {}],\n  \"build\": \"BA",
        )
        .replace(
            "\"rack\": \"staging\"",
            "\"rack\": \"staging\", \"host\": null",
        )
        .replace(
            "\"config-digest\"",
            "\"platform\": \"linux\", \"config-digest\"",
        )
        .replace("\"size\"", "\"mode\": 384, \"size\"");
    let contents = check(&archive(&later)).expect("of a later minor version");
    assert_eq!(contents.index.expect("an index").format.minor, 12);
    let newer = index.replace("\"major\": 1", "\"major\": 2");
    assert_eq!(
        check(&archive(&newer))
            .expect_err("of a later major version")
            .to_string(),
        "the archive has format version 2.1, this program reads up to 1.x; upgrade it"
    );
}
