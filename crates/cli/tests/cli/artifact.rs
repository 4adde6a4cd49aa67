//! `convox artifact`: archives in files, without any rack.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::Env;

fn golden_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../artifact/tests/golden")
}

/// An archive that others made.
fn golden(name: &str) -> Vec<u8> {
    std::fs::read(golden_directory().join(format!("{name}.tgz"))).expect("a golden archive")
}

/// An environment with golden archives in its working directory, and without any rack.
fn with(names: &[&str]) -> Env {
    let env = Env::new();
    for name in names {
        env.put(&format!("work/myapp/{name}.tgz"), golden(name));
    }
    env
}

fn entries(env: &Env) -> Vec<String> {
    let read = std::fs::read_dir(env.path("work/myapp")).expect("a directory");
    let mut names: Vec<_> = read
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// What is expected of each golden archive stands beside it. `TWINRACK_GOLDEN=write`
/// writes it, to be read before it is committed.
#[test]
fn every_golden_archive_is_inspected_as_expected() {
    let mut count = 0;
    for entry in std::fs::read_dir(golden_directory()).expect("golden archives") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|it| it != "tgz") {
            continue;
        }
        count += 1;
        let env = Env::new();
        let run = env.convox_words(&["artifact", "inspect", "--json", &path.display().to_string()]);
        assert_eq!(
            (run.stderr.as_str(), run.status),
            ("", 0),
            "{}",
            path.display()
        );
        let expected = path.with_extension("json");
        if std::env::var_os("TWINRACK_GOLDEN").is_some_and(|it| it == "write") {
            std::fs::write(&expected, &run.stdout).expect("writable");
        }
        let expected_text = std::fs::read_to_string(&expected).expect("an expectation");
        assert_eq!(run.stdout, expected_text, "{}", expected.display());
    }
    assert!(count >= 11, "{count} archives");
}

#[test]
fn an_inspection_shows_build_services_and_layers() {
    let env = with(&["b-docker20"]);
    let run = env.convox("artifact inspect b-docker20.tgz");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0));
    for line in [
        "Build           BABCDEFGHIJ\n",
        "App             myapp\n",
        "Git sha         0123456789abcdef0123456789abcdef01234567\n",
        "Layout          B: one docker archive for all services\n",
        "Index           none\n",
        "Required env    SECRET_KEY\n",
        "Entrypoint web  [\"/bin/web\"]\n",
        "SERVICE  LAYER  STORED    SIZE      DIGEST\n",
        "web      1      2.00 KiB  2.00 KiB  sha256:",
    ] {
        assert!(run.stdout.contains(line), "{line}in {}", run.stdout);
    }
    let read = env.convox_reading("artifact inspect -", &golden("b-docker20"));
    assert_eq!(read, run, "standard input is as good");
}

#[test]
fn text_of_an_archive_cannot_steer_the_terminal() {
    let env = with(&["b-docker20"]);
    let bytes = repacked(&golden("b-docker20"), |build| {
        build["description"] = "\u{1b}]0;owned\u{7}\u{1b}[2J".into();
        build["git-sha"] = "a\rb".into();
    });
    env.put("work/myapp/evil.tgz", bytes);
    for line in [
        "artifact inspect evil.tgz",
        "artifact diff b-docker20.tgz evil.tgz",
        "artifact inspect evil.tgz --json",
    ] {
        let run = env.convox(line);
        assert!(
            !run.stdout.chars().any(|c| c.is_control() && c != '\n'),
            "{:?}",
            run.stdout
        );
        assert!(run.stdout.contains("owned"), "{}", run.stdout);
    }
}

/// The archive with another `build.json`.
fn repacked(archive: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut from = tar::Archive::new(flate2::read::GzDecoder::new(archive));
    let mut to = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    let mut change = Some(change);
    for entry in from.entries().expect("a tar") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        std::io::copy(&mut entry, &mut bytes).expect("content");
        let mut header = entry.header().clone();
        if entry.path_bytes().as_ref() == b"build.json" {
            let mut build: Value = serde_json::from_slice(&bytes).expect("json");
            change.take().expect("one build.json")(&mut build);
            bytes = serde_json::to_vec(&build).expect("json");
            header.set_size(bytes.len() as u64);
            header.set_cksum();
        }
        to.append(&header, &bytes[..]).expect("memory");
    }
    to.into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .expect("memory")
}

#[test]
fn a_verification_says_what_was_proved_and_what_was_not() {
    let env = with(&["c-skopeo"]);
    let run = env.convox("artifact verify c-skopeo.tgz");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0));
    for line in [
        "images       verified: 2 images for 2 services, one each, each with the digest it is named by\n",
        "layers       verified: 3 layers decompress to the digests in their images\n",
        "index        not verified: the archive has none: ",
    ] {
        assert!(run.stdout.contains(line), "{line}in {}", run.stdout);
    }
    env.convox("artifact convert c-skopeo.tgz --to default -o own.tgz")
        .prints("Converting to default... OK\n");
    let run = env.convox("artifact verify own.tgz --json");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0));
    let answer = json(&run.stdout);
    assert_eq!(answer["verified"], true);
    let index = answer["checks"]
        .as_array()
        .expect("a list")
        .iter()
        .find(|check| check["what"] == "index")
        .expect("about the index")
        .clone();
    assert_eq!(index["verified"], true, "{index}");
}

#[test]
fn damage_is_named_and_fails() {
    let env = with(&["b-podman"]);
    let mut bytes = golden("b-podman");
    bytes.truncate(bytes.len() - 9);
    env.put("work/myapp/cut.tgz", &bytes);
    let reason = "cut.tgz: the archive is cut short; get the archive again";
    for verb in ["inspect", "verify", "convert"] {
        let run = env.convox(&format!("artifact {verb} cut.tgz"));
        assert_eq!(
            (run.stderr.as_str(), run.status),
            (format!("ERROR: {reason}\n").as_str(), 1),
            "{verb}"
        );
        assert_eq!(run.stdout, "", "{verb}");
    }
    let run = env.convox("artifact verify cut.tgz --json");
    assert_eq!(
        (run.status, json(&run.stdout)),
        (1, serde_json::json!({ "verified": false, "error": reason }))
    );
    let run = env.convox("artifact diff b-podman.tgz cut.tgz");
    assert_eq!((run.stdout.as_str(), run.status), ("", 2));

    let incomplete = repacked(&golden("b-podman"), |build| {
        let manifest = build["manifest"].as_str().expect("text").to_owned();
        build["manifest"] = (manifest + "  clock:\n    build: .\n").into();
    });
    env.put("work/myapp/incomplete.tgz", incomplete);
    env.convox("artifact verify incomplete.tgz").fails(
        "ERROR: incomplete.tgz: the archive has no image for service clock of its manifest, \
         so it cannot be imported\n",
    );
    for (manifest, reason) in [
        ("services: [", "the manifest in the archive is none: "),
        (
            "environment: []\n",
            "the manifest in the archive declares no services, so",
        ),
    ] {
        let none = repacked(&golden("b-podman"), |build| {
            build["manifest"] = manifest.into();
        });
        env.put("work/myapp/none.tgz", none);
        let run = env.convox("artifact verify none.tgz");
        assert_eq!((run.stdout.as_str(), run.status), ("", 1), "{manifest}");
        let begin = format!("ERROR: none.tgz: {reason}");
        assert!(run.stderr.starts_with(&begin), "{}", run.stderr);
        assert!(
            run.stderr.ends_with(", so it cannot be imported\n"),
            "{}",
            run.stderr
        );
    }
}

#[test]
fn limits_are_given_by_flag_and_by_variable() {
    let mut env = with(&["b-podman"]);
    let refused =
        "ERROR: b-podman.tgz: the archive exceeds the limit of 3 for the number of entries\n";
    env.convox("artifact verify b-podman.tgz --limits entries=3")
        .fails(refused);
    env.set("CONVOX_ARCHIVE_LIMITS", "entries=3");
    env.convox("artifact verify b-podman.tgz").fails(refused);
    assert_eq!(
        env.convox("artifact verify b-podman.tgz --limits entries=1000")
            .status,
        0
    );
    env.convox("artifact verify b-podman.tgz --limits entries=many").fails(
        "ERROR: invalid argument \"entries=many\" for \"--limits\" flag: \"entries=many\" sets no limit: \
         expected a number, or one with KiB, MiB, GiB or TiB\n",
    );
}

#[test]
fn a_difference_has_the_statuses_of_diff() {
    let env = with(&["b-docker20", "b-containerd", "c-skopeo"]);
    // The same images, packed by another engine.
    env.convox("artifact diff b-docker20.tgz b-containerd.tgz")
        .prints("");

    let other = repacked(&golden("b-docker20"), |build| {
        build["git-sha"] = "fedcba".into();
        let manifest = build["manifest"].as_str().expect("text").to_owned();
        build["manifest"] = manifest.replace("port: 3000", "port: 4000").into();
    });
    env.put("work/myapp/other.tgz", other);
    let run = env.convox("artifact diff b-docker20.tgz other.tgz");
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str(), run.status),
        (
            "--- b-docker20.tgz\n+++ other.tgz\ngit-sha\n-0123456789abcdef0123456789abcdef01234567\n+fedcba\n\
             manifest\n@@ -4,6 +4,6 @@\n services:\n   web:\n     build: .\n-    port: 3000\n+    port: 4000\n   \
             worker:\n     build: .\n",
            "",
            1
        )
    );
    let run = env.convox("artifact diff b-docker20.tgz other.tgz --json");
    let answer = json(&run.stdout);
    assert_eq!((run.status, &answer["equal"]), (1, &Value::from(false)));
    assert_eq!(answer["fields"][0]["field"], "git-sha");
    assert_eq!(answer["services"], serde_json::json!([]));

    // OCI has other configurations, of the same layers.
    let run = env.convox("artifact diff b-docker20.tgz c-skopeo.tgz");
    assert_eq!(run.status, 1);
    assert!(
        run.stdout.contains("\nimage web\n-sha256:"),
        "{}",
        run.stdout
    );
    assert!(
        run.stdout.contains("\nlayers web, 2 in common\n"),
        "{}",
        run.stdout
    );
    assert_eq!(
        run.stderr,
        "note: packed differently: layout B without index; layout C without index\n"
    );

    for (line, error) in [
        ("artifact diff b-docker20.tgz", "ERROR: 2 args required\n"),
        (
            "artifact diff b-docker20.tgz x --no",
            "ERROR: unknown flag: --no\n",
        ),
        (
            "artifact diff - -",
            "ERROR: only one of the two archives can be standard input\n",
        ),
        (
            "artifact diff b-docker20.tgz nowhere.tgz",
            "ERROR: can not read nowhere.tgz: No such file or directory (os error 2)\n",
        ),
    ] {
        let run = env.convox(line);
        assert_eq!((run.stderr.as_str(), run.status), (error, 2), "{line}");
    }
    let run = env.convox_reading("artifact diff b-docker20.tgz -", &golden("b-docker20"));
    assert_eq!((run.stdout.as_str(), run.status), ("", 0));
}

#[test]
fn a_conversion_is_whole_or_not_there() {
    let env = with(&["a-docker20-gnu"]);
    for format in ["default", "v2", "v3"] {
        env.convox(&format!(
            "artifact convert a-docker20-gnu.tgz --to {format} -o {format}.tgz"
        ))
        .prints(&format!("Converting to {format}... OK\n"));
        let run = env.convox(&format!("artifact diff a-docker20-gnu.tgz {format}.tgz"));
        assert_eq!((run.stdout.as_str(), run.status), ("", 0), "{format}");
    }
    let layout = |file: &str| {
        let run = env.convox(&format!("artifact inspect {file} --json"));
        json(&run.stdout)["layout"].clone()
    };
    assert_eq!(layout("v3.tgz"), "C");
    assert_eq!(layout("v2.tgz"), "B");

    env.put("work/myapp/kept.tgz", "kept");
    env.put("work/myapp/junk.tgz", "junk");
    for target in ["kept.tgz", "new.tgz"] {
        let run = env.convox(&format!("artifact convert junk.tgz -o {target}"));
        assert_eq!(run.status, 1);
    }
    let run = env.convox("artifact convert v2.tgz --to v3 -o missing/new.tgz");
    assert_eq!(run.status, 1);
    assert!(
        run.stderr
            .contains("ERROR: can not write missing/new.tgz: "),
        "{}",
        run.stderr
    );
    assert_eq!(env.get("work/myapp/kept.tgz").as_deref(), Some("kept"));
    assert_eq!(
        entries(&env),
        [
            "a-docker20-gnu.tgz",
            "default.tgz",
            "junk.tgz",
            "kept.tgz",
            "v2.tgz",
            "v3.tgz"
        ]
    );
    // In its own place, too.
    env.convox("artifact convert v2.tgz --to v3 -o v2.tgz")
        .prints("Converting to v3... OK\n");
    assert_eq!(layout("v2.tgz"), "C");
}

#[test]
fn a_conversion_goes_from_pipe_to_pipe() {
    let env = with(&["c-skopeo"]);
    env.convox("artifact convert c-skopeo.tgz --to v2 -o file.tgz")
        .prints("Converting to v2... OK\n");
    let expected = std::fs::read(env.path("work/myapp/file.tgz")).expect("written");
    for line in [
        "artifact convert - --to v2 -o -",
        "artifact convert - --to v2",
    ] {
        let mut child = env
            .command(line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(&golden("c-skopeo")).expect("taken");
        drop(stdin);
        let output = child.wait_with_output().expect("ended");
        assert!(output.status.success());
        assert!(output.stdout == expected, "byte for byte");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "Converting to v2... OK\n"
        );
    }
    // Damage at the very end: nothing has been written before it was seen.
    let mut bytes = golden("c-skopeo");
    bytes.truncate(bytes.len() - 1);
    let run = env.convox_reading("artifact convert - --to v2", &bytes);
    assert_eq!((run.stdout.as_str(), run.status), ("", 1));
    assert_eq!(
        run.stderr,
        "ERROR: standard input: the archive is cut short; get the archive again\n"
    );
}

#[test]
fn a_reader_that_goes_away_ends_a_conversion_quietly() {
    let env = with(&["c-skopeo"]);
    let mut child = env
        .command("artifact convert c-skopeo.tgz --to v2")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    // Closed before the first byte can be written.
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "Converting to v2... "
    );
}

/// Whether a program has begun to write: its file has no name where the system can do
/// without, and one of its own elsewhere.
fn has_begun(env: &Env, program: u32) -> bool {
    let directory = env.path("work/myapp");
    let open = std::fs::read_dir(format!("/proc/{program}/fd"));
    let unnamed = open.into_iter().flatten().flatten().any(|file| {
        let target = std::fs::read_link(file.path());
        target.is_ok_and(|target| {
            target.starts_with(&directory) && target.to_string_lossy().ends_with(" (deleted)")
        })
    });
    unnamed || entries(env).len() > 1
}

#[test]
fn an_interrupted_conversion_leaves_nothing() {
    let env = with(&[]);
    env.put("work/myapp/new.tgz", "kept");
    let mut signals = vec![("INT", Some(130)), ("TERM", Some(143))];
    if cfg!(target_os = "linux") {
        // There is nothing to clean up, so nobody has to.
        signals.push(("KILL", None));
    }
    for (signal, status) in signals {
        let mut child = env
            .command("artifact convert - -o new.tgz")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let started = std::time::Instant::now();
        // It waits for the rest of its input.
        while !has_begun(&env, child.id()) {
            assert!(started.elapsed().as_secs() < 60, "{:?}", entries(&env));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(&golden("c-skopeo")[..600]).expect("taken");
        let id = child.id().to_string();
        let killed = std::process::Command::new("kill")
            .args([&format!("-{signal}"), &id])
            .status();
        assert!(killed.expect("kill").success());
        let output = child.wait_with_output().expect("ended");
        drop(stdin);
        assert_eq!(output.status.code(), status, "{output:?}");
        if status.is_some() {
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(said, "ERROR: interrupted\n");
        }
        assert_eq!(entries(&env), ["new.tgz"]);
        assert_eq!(env.get("work/myapp/new.tgz").as_deref(), Some("kept"));
    }
}

#[test]
fn a_mistyped_verb_has_a_suggestion() {
    let env = Env::new();
    env.convox("artifact inspct x").fails(
        "ERROR: unknown command: artifact inspct\nhint: did you mean `convox artifact inspect`?\n",
    );
    env.convox("artifact convert x --to v4").fails(
        "ERROR: invalid argument \"v4\" for \"--to\" flag: unknown archive format \"v4\": \
         use default, v2 or v3\n",
    );
    let help = env.convox("artifact diff -h").stdout;
    assert!(
        help.contains("exits with 1 if it differs, 2 on trouble"),
        "{help}"
    );
}
