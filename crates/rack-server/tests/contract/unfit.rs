//! Archives that are whole and sound, and whose builds are nothing for this rack: each is
//! refused in words of its own, and nothing is left of it.

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use super::engines::{Engine, on_both_engines};
use super::flow::{MANIFEST, text};
use super::world::files_below;

on_both_engines!(
    what_no_engine_runs_is_refused,
    an_image_for_other_processors_comes_with_a_warning,
);

const IMPORT: &str = "/apps/myapp/builds/import";

/// A build with one image that has one layer.
struct Parts {
    status: &'static str,
    layer: Vec<u8>,
    platform: Value,
}

fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, name, *bytes)
            .expect("memory");
    }
    builder.into_inner().expect("memory")
}

impl Parts {
    /// Nothing is wrong with it, and no other test has it.
    fn sound() -> Self {
        Self {
            status: "complete",
            layer: tar(&[("own", rack_api::id::hex(16).as_bytes())]),
            platform: json!({ "os": "linux", "architecture": architecture() }),
        }
    }

    /// The archive, and the id of the image.
    fn archive(&self) -> (String, Vec<u8>) {
        let layer = artifact::Digest::of(&self.layer);
        let mut config = self.platform.clone();
        config["config"] = json!({ "Cmd": ["sh"] });
        config["rootfs"] = json!({ "type": "layers", "diff_ids": [layer] });
        let config = config.to_string();
        let id = artifact::Digest::of(config.as_bytes());
        let path = format!("{}.json", id.hex());
        let index = json!([{ "Config": path, "RepoTags": ["myapp:web.B1"], "Layers": ["l.tar"] }]);
        let images = tar(&[
            (&path, config.as_bytes()),
            ("l.tar", &self.layer),
            ("manifest.json", index.to_string().as_bytes()),
        ]);
        let build = json!({
            "id": "BABCDEFGHIJ", "app": "myapp", "manifest": MANIFEST, "status": self.status,
        });
        let archive = tar(&[
            ("build.json", build.to_string().as_bytes()),
            ("myapp.BABCDEFGHIJ.tar", &images),
        ]);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut gzip, &archive).expect("memory");
        (id.to_string(), gzip.finish().expect("memory"))
    }
}

/// What image configurations call the processors of this machine.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

async fn what_no_engine_runs_is_refused(engine: Engine) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let os = |os: &str| json!({ "os": os, "architecture": architecture() });
    let refusal = |os: &str| {
        format!(
            "cannot import: the image of service web is made for {os:?}, and racks run images for linux"
        )
    };
    let sound = tar(&[("own", rack_api::id::hex(16).as_bytes())]);
    let mut torn = sound.clone();
    torn.splice(1024..1024, [b'x'; 512]);
    let no_tar = "cannot import: a layer is no tar archive: ";
    let build = "cannot import: the build in the archive is";
    for (parts, said) in [
        (
            Parts {
                platform: os("windows"),
                ..Parts::sound()
            },
            refusal("windows"),
        ),
        (
            Parts {
                platform: os("plan9"),
                ..Parts::sound()
            },
            refusal("plan9"),
        ),
        (
            Parts {
                status: "failed",
                ..Parts::sound()
            },
            format!("{build} \"failed\": only complete builds can be imported"),
        ),
        (
            Parts {
                status: "running",
                ..Parts::sound()
            },
            format!("{build} \"running\": only complete builds can be imported"),
        ),
        (
            Parts {
                layer: b"this is no tar, however long it is; ".repeat(100),
                ..Parts::sound()
            },
            no_tar.to_owned(),
        ),
        (
            Parts {
                layer: torn,
                ..Parts::sound()
            },
            no_tar.to_owned(),
        ),
        (
            Parts {
                layer: b"neither is this".to_vec(),
                ..Parts::sound()
            },
            no_tar.to_owned(),
        ),
    ] {
        let (image, archive) = parts.archive();
        let answer = rack.upload(IMPORT, &archive).await;
        let text = answer.text();
        assert_eq!(answer.status, 400, "{said}: {text}");
        assert!(text.contains(&said), "{said}: {text}");
        assert!(!world.has_image(&image).await, "{said}");
    }
    let many = r#""","#.repeat(1_300_000);
    let manifest = format!(r#"[{{"Config":"c","Layers":[{many}""]}}]"#);
    let images = tar(&[("manifest.json", manifest.as_bytes())]);
    let archive = tar(&[("myapp.B1.tar", &images)]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    std::io::Write::write_all(&mut gzip, &archive).expect("memory");
    rack.upload(IMPORT, &gzip.finish().expect("memory"))
        .await
        .fails(
            400,
            "cannot import: the archive exceeds the limit of 100000 for the number of values in a JSON document",
        );
    assert_eq!(rack.get("/apps/myapp/builds").await.json(), json!([]));
    assert_eq!(rack.get("/apps/myapp/releases").await.json(), json!([]));
    assert_eq!(world.tags("staging", "myapp").await, Vec::<String>::new());
    let scratch = world.rack_directory("staging").join("tmp");
    assert_eq!(files_below(&scratch), Vec::<String>::new());

    // So it was not for the way the archives are made.
    let (image, archive) = Parts::sound().archive();
    let imported = rack.upload(IMPORT, &archive).await.json();
    assert_eq!(imported["images"]["web"], json!(image));
    assert_eq!(imported["provenance"].get("emulated"), None);
}

async fn an_image_for_other_processors_comes_with_a_warning(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let (image, archive) = Parts {
        platform: json!({ "os": "linux", "architecture": "s390x" }),
        ..Parts::sound()
    }
    .archive();
    // The second time it is known by the archive's digest alone.
    for _ in 0..2 {
        let imported = rack.upload(IMPORT, &archive).await.json();
        assert_eq!(imported["images"]["web"], json!(image));
        assert_eq!(
            imported["provenance"]["emulated"],
            json!({ "web": "s390x" })
        );
        let log = format!("/apps/myapp/builds/{}/logs", text(&imported, "id"));
        let log = rack.stream(&log, &[]).await.text();
        let line = "Image of web is made for s390x, not for the engine's processors: \
                    it runs only where they are emulated\n";
        assert!(log.contains(line), "{log}");
    }
}
