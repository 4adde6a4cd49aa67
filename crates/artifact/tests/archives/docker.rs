//! What we write, given to a real engine as a user without our programs would: the
//! envelope unpacked by `tar`, an image tar piped into `docker load`.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use artifact::{Format, prepare};

use crate::golden::convert;
use crate::support::*;

/// Images that no other test has, under names that go away with this value.
struct Images {
    app: String,
    images: BTreeMap<String, TestImage>,
}

impl Images {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let name = directory
            .path()
            .file_name()
            .expect("a name")
            .to_string_lossy();
        let app = format!(
            "twinrack-test-{}",
            name.trim_start_matches('.').to_lowercase()
        );
        let image = |services: &[&str], entrypoint: &[&str]| {
            let texts: Vec<_> = services.iter().map(|it| format!("{app} {it}")).collect();
            let texts: Vec<_> = texts.iter().map(String::as_str).collect();
            let mut image = TestImage::new(&texts, entrypoint);
            let mut config: serde_json::Value =
                serde_json::from_slice(&image.config).expect("json");
            config["config"]["Labels"] = serde_json::json!({ "twinrack.test": app });
            image.config = serde_json::to_vec(&config).expect("json");
            image
        };
        let images = BTreeMap::from([
            ("web".to_owned(), image(&["base", "web"], &["/bin/web"])),
            ("worker".to_owned(), image(&["base", "worker"], &[])),
        ]);
        Self { app, images }
    }

    fn tag(&self, service: &str) -> String {
        format!("{}:{service}.BABCDEFGHIJ", self.app)
    }

    fn build(&self) -> artifact::BuildRecord {
        artifact::BuildRecord {
            app: self.app.clone(),
            ..build()
        }
    }

    /// Whether the engine has each service's image under its name, bit for bit.
    fn expect_loaded(&self, what: &str) {
        for (service, image) in &self.images {
            let output = docker(&[
                "image",
                "inspect",
                "-f",
                "{{.Id}} {{.RootFS.Layers}}",
                &self.tag(service),
            ]);
            let layers: Vec<_> = image
                .layers
                .iter()
                .map(|it| artifact::Digest::of(it).to_string())
                .collect();
            assert_eq!(
                output.trim(),
                format!("{} [{}]", image.id(), layers.join(" ")),
                "{what} {service}"
            );
        }
    }

    fn remove(&self) {
        for service in self.images.keys() {
            // Not there is as good.
            let _ = Command::new("docker")
                .args(["rmi", "-f", &self.tag(service)])
                .output();
        }
    }
}

impl Drop for Images {
    fn drop(&mut self) {
        self.remove();
    }
}

fn docker(words: &[&str]) -> String {
    let output = Command::new("docker").args(words).output().expect("docker");
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {words:?}: {complaint}");
    String::from_utf8(output.stdout).expect("text")
}

/// Unpacks an envelope with the system's tar; returns the image tars in it.
fn unpack(archive: &[u8], into: &Path) -> Vec<std::path::PathBuf> {
    let file = into.join("archive.tgz");
    std::fs::write(&file, archive).expect("writable");
    let status = Command::new("tar")
        .arg("-C")
        .arg(into)
        .arg("-xzf")
        .arg(&file)
        .status();
    assert!(status.expect("tar is installed").success());
    std::fs::remove_file(&file).expect("there");
    let mut tars: Vec<_> = std::fs::read_dir(into)
        .expect("a directory")
        .map(|it| it.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|it| it == "tar"))
        .collect();
    tars.sort();
    tars
}

#[test]
#[ignore = "needs Docker"]
fn what_we_write_loads_with_plain_docker_load() {
    let own = Images::new();
    let tags: BTreeMap<_, _> = own
        .images
        .keys()
        .map(|service| (service.clone(), own.tag(service)))
        .collect();
    for compressed in [false, true] {
        let save = save_of(&own, compressed);
        let mut archives = Vec::new();
        for format in [Format::Default, Format::V2, Format::V3] {
            let mut save = std::io::Cursor::new(&save);
            let mut out = Vec::new();
            prepare(format, &own.build(), &[], &source(), &tags, &mut save)
                .expect("exportable")
                .write(&mut save, &mut out, 1)
                .expect("memory");
            let contents = check(&out).expect("verified");
            if format != Format::V3 {
                archives.push((format!("{format}"), out.clone()));
            }
            let converted = convert(&out, &contents, Format::Default).expect("convertible");
            archives.push((format!("{format}, converted"), converted));
        }
        for (what, archive) in archives {
            own.remove();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let tars = unpack(&archive, directory.path());
            let [tar] = &tars[..] else {
                panic!("one image tar: {tars:?}");
            };
            let mut load = Command::new("docker")
                .args(["load", "-q"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()
                .expect("docker");
            let bytes = std::fs::read(tar).expect("readable");
            load.stdin
                .take()
                .expect("piped")
                .write_all(&bytes)
                .expect("taken");
            assert!(load.wait().expect("ended").success(), "{what}");
            own.expect_loaded(&what);
        }
    }
}

/// What an engine would save of these images, under their own names.
fn save_of(own: &Images, compressed: bool) -> Vec<u8> {
    let mut tar = Tar::default();
    for (name, mut bytes) in files(&modern_save(&own.images, compressed)) {
        if name == "manifest.json" {
            let text = String::from_utf8(bytes).expect("text");
            bytes = text.replace(REPOSITORY, &own.app).into_bytes();
        }
        if !name.ends_with('/') {
            tar = tar.file(&name, &bytes);
        }
    }
    tar.finish()
}

/// The tool that v3 racks import with takes the layouts we write, where it is installed.
#[test]
#[ignore = "needs skopeo"]
fn skopeo_takes_the_layouts_we_write() {
    let (archive, _) = export(Format::V3, &classic_save(&images()));
    let directory = tempfile::tempdir().expect("a temporary directory");
    let tars = unpack(&archive, directory.path());
    assert_eq!(tars.len(), 3);
    for tar in tars {
        let name = tar
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let service = name.split('.').next().expect("a part");
        let to = directory.path().join(service);
        let copied = Command::new("skopeo")
            .args(["copy", "--insecure-policy"])
            .arg(format!("oci-archive:{}", tar.display()))
            .arg(format!("dir:{}", to.display()))
            .output();
        let copied = match copied {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            copied => copied.expect("skopeo"),
        };
        let complaint = String::from_utf8_lossy(&copied.stderr);
        assert!(copied.status.success(), "{service}: {complaint}");
        let manifest = std::fs::read(to.join("manifest.json")).expect("copied");
        let manifest: serde_json::Value = serde_json::from_slice(&manifest).expect("json");
        let id = images()[service].id();
        assert_eq!(manifest["config"]["digest"], id.as_str(), "{service}");
    }
}
