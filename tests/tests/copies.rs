//! Builds that go from one rack to another without a file.

use std::fs;
use std::path::Path;

use end_to_end::{World, write};

const MANIFEST: &str = "environment:
  - GREETING=hello
  - TOKEN
services:
  web:
    build: .
    port: 3000
    health:
      path: /health
      interval: 1
      timeout: 1
";

/// Files that operations of a rack have left.
fn left(world: &World, rack: &str) -> usize {
    let scratch = world.path().join("data/racks").join(rack).join("tmp");
    fs::read_dir(scratch).into_iter().flatten().count()
}

/// Builds on staging, copies to production, and goes on there.
fn by_reference(world: &World) {
    let app = world.tiny();
    write(&app, "convox.yml", MANIFEST);
    world
        .convox_in(&app, &["env", "set", "TOKEN=1", "-r", "staging"])
        .ok();
    let staged = world
        .convox_in(&app, &["build", "--id", "-r", "staging"])
        .ok();
    world
        .convox_in(&app, &["releases", "promote", &staged, "-r", "staging"])
        .ok();
    let copy = [
        "builds",
        "copy",
        &staged,
        "--from",
        "staging",
        "--to",
        "production",
        "--id",
    ];
    let copied = world.convox_in(&app, &copy);
    let said = copied.stderr.clone();
    let release = copied.ok();
    assert_eq!(
        said,
        format!(
            "Copying build... OK, {release}\nwarning: myapp has no value for TOKEN: \
             `convox env set TOKEN=<value> -a myapp -r production`, and promote the release that it makes\n"
        )
    );
    let set = [
        "env",
        "set",
        "TOKEN=2",
        "-a",
        "myapp",
        "-r",
        "production",
        "--promote",
    ];
    world.convox_in(&app, &set).ok();
    world.assert_same_bits();
    assert_eq!((left(world, "staging"), left(world, "production")), (0, 0));
    let (_, source) = world.active("staging");
    for words in [
        ["releases", "info", release.as_str()],
        ["builds", "info", release.as_str()],
    ] {
        let info = world
            .convox_in(&app, &[&words[..], &["-r", "production"]].concat())
            .ok();
        let line = format!("personal/staging myapp {source}\n");
        assert!(info.contains(&line), "{words:?}: {info}");
        assert!(info.contains("Imported"), "{words:?}: {info}");
        assert!(info.contains("sha256:"), "{words:?}: {info}");
    }

    // What cannot be.
    let before = world.snapshot("production", "myapp");
    let mut again = copy;
    again[6] = "staging";
    let refused = world.convox_in(&app, &again);
    assert_eq!(refused.stdout, "", "no id without a build");
    assert!(
        refused.error().contains("of this rack already"),
        "a copy onto itself"
    );
    let mut nowhere = copy.to_vec();
    nowhere.extend(["--to-app", "nobody"]);
    assert_eq!(
        world.convox_in(&app, &nowhere).error(),
        "app not found: nobody"
    );
    let mut unknown = copy;
    unknown[2] = "BAAAAAAAAAA";
    assert_eq!(
        world.convox_in(&app, &unknown).error(),
        "build not found: BAAAAAAAAAA"
    );
    assert_eq!(world.snapshot("production", "myapp"), before);
    // Another app, by name.
    world
        .convox_in(&app, &["apps", "create", "other", "-r", "production"])
        .ok();
    let mut other = copy.to_vec();
    other.extend(["--to-app", "other"]);
    world.convox_in(&app, &other).ok();
    let count = |app: &str| {
        let builds = world.api("production", &format!("/apps/{app}/builds"));
        builds.as_array().map(Vec::len)
    };
    assert_eq!((count("other"), count("myapp")), (Some(1), Some(1)));
}

#[test]
fn a_build_is_copied_by_reference_simulated() {
    by_reference(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn a_build_is_copied_by_reference() {
    by_reference(&World::docker());
}

/// Lets the client of one world know the only rack of another.
fn introduce(world: &World, other: &World, name: &str) {
    let racks = world.path().join("config/racks");
    fs::create_dir_all(&racks).expect("a directory");
    fs::write(racks.join(name), other.url_through(other.port())).expect("a file");
}

/// Two servers on two engines: the archive is piped.
fn through_a_pipe(near: &World, far: &World) {
    far.install(&["production"]);
    let app = near.tiny();
    introduce(near, far, "far");
    far.convox(&["apps", "create", "myapp", "-r", "production"])
        .ok();
    write(&app, "bin/own", &near.path().display().to_string());
    let staged = near
        .convox_in(&app, &["build", "--id", "-r", "staging"])
        .ok();
    let copy = |words: &[&str]| {
        let copy = [
            "builds", "copy", &staged, "--from", "staging", "--to", "far",
        ];
        near.convox_in(&app, &[&copy[..], words].concat())
    };
    let release = copy(&["--id"]).ok();
    let build = near.api("staging", "/apps/myapp/builds")[0]["id"].clone();
    let build = build.as_str().expect("an id");
    let copied = far.api("production", "/apps/myapp/builds")[0].clone();
    assert_eq!(copied["release"], release);
    assert_eq!(copied["provenance"]["build"], build);
    assert_eq!(copied["provenance"]["rack"], "personal/staging");
    let id = copied["id"].as_str().expect("an id");
    assert_eq!(
        near.digests("staging", "myapp", build),
        far.digests("production", "myapp", id)
    );
    let files: Vec<_> = fs::read_dir(near.path())
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|kind| kind == "tgz")
        })
        .collect();
    assert_eq!(files, Vec::<std::ffi::OsString>::new());
    assert_eq!((left(near, "staging"), left(far, "production")), (0, 0));

    // The next one without the layers that are there by now.
    write(&app, "bin/own", &format!("{} again", near.path().display()));
    let next = near
        .convox_in(&app, &["build", "--id", "-r", "staging"])
        .ok();
    let copied = near.convox_in(
        &app,
        &["builds", "copy", &next, "--from", "staging", "--to", "far"],
    );
    assert!(
        copied.stderr.contains(" not sent, as far had "),
        "{copied:?}"
    );
    copied.ok();
    let newest = |world: &World, rack: &str| {
        let build = world.api(rack, "/apps/myapp/builds")[0]["id"].clone();
        let id = build.as_str().expect("an id").to_owned();
        world.digests(rack, "myapp", &id)
    };
    assert_eq!(newest(near, "staging"), newest(far, "production"));
    assert_eq!((left(near, "staging"), left(far, "production")), (0, 0));

    // And back, to where the images are, which says where they were first.
    near.convox_in(&app, &["apps", "create", "back", "-r", "production"])
        .ok();
    let back = [
        "builds",
        "copy",
        &release,
        "--from",
        "far",
        "--to",
        "production",
        "--to-app",
        "back",
    ];
    let said = near.convox_in(&app, &back);
    assert!(said.stderr.contains("the rack had all images"), "{said:?}");
    said.ok();
    let back = near.api("production", "/apps/back/builds")[0]["provenance"].clone();
    assert_eq!(back["rack"], "personal/production", "of the other server");
    assert_eq!(back["origin"]["rack"], "personal/staging");
    assert_eq!(back["origin"]["build"], build);
}

#[test]
fn a_build_is_piped_between_servers_simulated() {
    through_a_pipe(&World::simulated(), &World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn a_build_is_piped_between_servers() {
    through_a_pipe(&World::docker(), &World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn a_build_is_piped_between_servers_of_one_engine() {
    through_a_pipe(&World::docker(), &World::docker());
}
