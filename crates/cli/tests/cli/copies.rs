//! `builds copy`, between racks of ours and of others.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::{Env, FakeRack, Reply, Request};

const ARCHIVE: &[u8] = b"\x1f\x8b not really \x00\xff an archive";
const NEW: &str = r#"{"id":"BNEWAAAAAAA","release":"RNEWAAAAAAA"}"#;

/// A rack that has builds.
fn source(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps/myapp/releases/RABCDEFGHIJ" => {
            Reply::Json(r#"{"id":"RABCDEFGHIJ","build":"BABCDEFGHIJ"}"#)
        }
        "GET /apps/myapp/builds/BABCDEFGHIJ" => {
            Reply::Json(r#"{"id":"BABCDEFGHIJ","status":"complete"}"#)
        }
        "GET /apps/myapp/builds/BBROKENAAAA" => {
            Reply::Json(r#"{"id":"BBROKENAAAA","status":"complete"}"#)
        }
        "GET /apps/myapp/builds/BFAILEDAAAA" => {
            Reply::Json(r#"{"id":"BFAILEDAAAA","status":"failed"}"#)
        }
        "GET /apps/myapp/builds/BABCDEFGHIJ/ticket" => Reply::Json(r#"{"ticket":"a.b"}"#),
        "GET /apps/myapp/builds/BABCDEFGHIJ.tgz"
        | "GET /apps/myapp/builds/BABCDEFGHIJ.tgz?format=v2"
        | "GET /apps/myapp/builds/BABCDEFGHIJ.tgz?format=v3" => Reply::Bytes(ARCHIVE.to_vec()),
        "GET /system" => Reply::Json(r#"{"name":"near","version":"20260418101514"}"#),
        "GET /apps/myapp/builds/BBROKENAAAA.tgz" => Reply::Truncated(ARCHIVE.to_vec()),
        _ => Reply::Status(404, "build not found\n"),
    }
}

/// A rack that takes them.
fn target(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps/myapp" => Reply::Json(r#"{"name":"myapp","status":"running"}"#),
        "GET /apps/other" => Reply::Json(r#"{"name":"other","status":"running"}"#),
        "POST /apps/myapp/builds/copy" | "POST /apps/other/builds/copy" => Reply::Json(NEW),
        "POST /apps/myapp/builds/import" | "POST /apps/other/builds/import?force=true"
            if request.body == ARCHIVE =>
        {
            Reply::Json(NEW)
        }
        "POST /apps/myapp/builds/import" => Reply::Status(400, "not a build archive\n"),
        "GET /system" => Reply::Json(r#"{"name":"far","version":"20260418101514"}"#),
        _ => Reply::Status(404, "app not found: nobody\n"),
    }
}

/// An environment that knows both.
fn between(from: &FakeRack, to: &FakeRack) -> Env {
    let mut env = Env::new();
    env.set("CONVOX_CONFIG", &env.path("config").display().to_string());
    env.know("near", from);
    env.know("far", to);
    env
}

#[test]
fn real_racks_get_the_archive_through_a_pipe() {
    let (from, to) = (FakeRack::foreign(source), FakeRack::foreign(target));
    let env = between(&from, &to);
    for build in ["BABCDEFGHIJ", "RABCDEFGHIJ"] {
        let line = format!("builds copy {build} --from near --to far");
        env.convox(&line)
            .prints("Copying build... OK, RNEWAAAAAAA\n");
    }
    let run = env.convox("builds copy BABCDEFGHIJ --from near --to far --id");
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str(), run.status),
        ("RNEWAAAAAAA", "Copying build... OK, RNEWAAAAAAA\n", 0)
    );
    assert_eq!(
        to.lines()[..3],
        [
            "GET /apps/myapp",
            "GET /system",
            "POST /apps/myapp/builds/import"
        ]
    );
    let files = std::fs::read_dir(env.path("work/myapp")).expect("a directory");
    assert_eq!(files.count(), 0, "no file is written");
}

#[test]
fn racks_of_ours_copy_by_reference_where_they_can() {
    let (from, to) = (FakeRack::start(source), FakeRack::start(target));
    let env = between(&from, &to);
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
    assert_eq!(
        to.request("POST /apps/myapp/builds/copy").body,
        b"ticket=a.b"
    );
    assert!(!from.lines().iter().any(|line| line.contains(".tgz")));
    env.convox("builds copy BABCDEFGHIJ --from near --to far --to-app other")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
    assert_eq!(
        to.request("POST /apps/other/builds/copy").body,
        b"force=true&ticket=a.b"
    );
    // Of one of ours and another's, neither is asked for what only ours know.
    let real = FakeRack::foreign(target);
    let env = between(&from, &real);
    env.convox("builds copy BABCDEFGHIJ --from near --to far --to-app other")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
    assert_eq!(
        real.lines(),
        [
            "GET /apps/other",
            "GET /system",
            "POST /apps/other/builds/import?force=true"
        ]
    );
    assert!(
        from.lines()
            .contains(&"GET /apps/myapp/builds/BABCDEFGHIJ.tgz?format=v2".to_owned()),
        "a rack of version 2 gets what it reads"
    );
}

/// A real rack of version 3.
fn third(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /system" => Reply::Json(r#"{"name":"far","version":"3.24.6"}"#),
        _ => target(request),
    }
}

#[test]
fn a_real_rack_gets_the_format_of_its_generation() {
    let (ours, old, new) = (
        FakeRack::start(source),
        FakeRack::foreign(source),
        FakeRack::foreign(third),
    );
    let env = between(&ours, &new);
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
    assert!(
        ours.lines()
            .contains(&"GET /apps/myapp/builds/BABCDEFGHIJ.tgz?format=v3".to_owned()),
        "{:?}",
        ours.lines()
    );
    let env = between(&old, &new);
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .fails(
            "ERROR: a rack of version 2 does not take archives of version 3, nor the reverse\n\
             hint: `convox builds export`, `convox artifact convert <file> --to v3 -o <other>`, \
             then `convox builds import`\n",
        );
    assert!(!old.lines().iter().any(|line| line.contains(".tgz")));
}

#[test]
fn the_end_that_is_not_named_is_the_current_rack() {
    let (from, to) = (FakeRack::start(source), FakeRack::start(target));
    let mut env = between(&from, &to);
    let done = "Copying build... OK, RNEWAAAAAAA\n";
    env.convox("builds copy BABCDEFGHIJ --to far -r near")
        .prints(done);
    env.convox("builds copy BABCDEFGHIJ --from near -r far")
        .prints(done);
    env.set("CONVOX_RACK", "far");
    env.convox("builds copy BABCDEFGHIJ --from near")
        .prints(done);
    env.convox("builds copy BABCDEFGHIJ").fails(
        "ERROR: a copy is between two racks, and none is named\n\
         hint: name the rack that is to have the build: --to <rack>, or the one that has it: --from <rack>\n",
    );
}

/// One of ours on another engine, with images of the layers `base` and `old`.
fn elsewhere(request: &Request) -> Reply {
    match request.line.as_str() {
        line if line.ends_with("/copy") => {
            Reply::Status(421, "cannot copy: the ticket is not of this server\n")
        }
        "GET /apps/myapp/layers" => Reply::Json(r#"[["base","old"]]"#),
        "POST /apps/myapp/builds/import?thin=true" if request.body == b"thin" => Reply::Json(NEW),
        _ => target(request),
    }
}

/// One of ours whose build has the layers `base` and `new`.
fn layered(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps/myapp/builds/BABCDEFGHIJ/ticket" => {
            Reply::Json(r#"{"ticket":"a.b","layers":{"web":["base","new"]}}"#)
        }
        "GET /apps/myapp/builds/BABCDEFGHIJ.tgz?without=base" => Reply::Bytes(b"thin".to_vec()),
        _ => source(request),
    }
}

#[test]
fn layers_that_the_other_rack_has_are_not_sent() {
    let (from, to) = (FakeRack::start(layered), FakeRack::start(elsewhere));
    let env = between(&from, &to);
    let run = env.convox("builds copy BABCDEFGHIJ --from near --to far");
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str(), run.status),
        (
            "Copying build... OK, RNEWAAAAAAA\n",
            "note: 1 layer was not sent, as far had it\n",
            0
        )
    );
    // They have gone by the time the archive is there: everything is sent.
    let late = FakeRack::start(|request| {
        if request.line.ends_with("thin=true") {
            Reply::Status(409, "cannot import: send the whole archive\n")
        } else {
            elsewhere(request)
        }
    });
    let env = between(&from, &late);
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
    assert_eq!(late.request("POST /apps/myapp/builds/import").body, ARCHIVE);
}

#[test]
fn where_they_cannot_they_pipe() {
    let (from, to) = (
        FakeRack::start(source),
        FakeRack::start(|request| {
            if request.line.ends_with("/copy") {
                Reply::Status(421, "cannot copy: the ticket is not of this server\n")
            } else {
                target(request)
            }
        }),
    );
    let env = between(&from, &to);
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
    assert_eq!(to.request("POST /apps/myapp/builds/import").body, ARCHIVE);
    // An older server knows neither copies nor layers, or no tickets either.
    for status in [404, 405] {
        let older = FakeRack::start(move |request| {
            if request.line.ends_with("/copy") || request.line.ends_with("/layers") {
                Reply::Status(status, "")
            } else {
                target(request)
            }
        });
        let env = between(&from, &older);
        env.convox("builds copy BABCDEFGHIJ --from near --to far")
            .prints("Copying build... OK, RNEWAAAAAAA\n");
        assert_eq!(
            older.request("POST /apps/myapp/builds/import").body,
            ARCHIVE
        );
    }
    let old = FakeRack::start(|request| {
        if request.line.ends_with("/ticket") {
            Reply::Status(404, "")
        } else {
            source(request)
        }
    });
    let env = between(&old, &to);
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .prints("Copying build... OK, RNEWAAAAAAA\n");
}

#[test]
fn refusals_are_said_before_anything_is_sent() {
    let (from, to) = (FakeRack::foreign(source), FakeRack::foreign(target));
    let mut env = between(&from, &to);
    env.convox("builds copy BFAILEDAAAA --from near --to far")
        .fails("ERROR: build BFAILEDAAAA is failed: only complete builds can be copied\n");
    env.convox("builds copy BABCDEFGHIJ --from near --to far --to-app nobody")
        .fails("ERROR: app not found: nobody\nhint: `convox apps` lists what there is\n");
    env.convox("builds copy BMISSINGAAA --from near --to far --id")
        .fails("ERROR: build not found\nhint: `convox builds` lists what there is\n");
    let nowhere = env.convox("builds copy BABCDEFGHIJ --from near --to nowhere");
    assert_eq!(nowhere.status, 1);
    assert!(nowhere.stderr.contains("nowhere"), "{}", nowhere.stderr);
    env.set("RACK_URL", &format!("http://convox:secret@{}", from.host));
    let one = env.convox("builds copy BABCDEFGHIJ --from near --to far");
    assert_eq!(one.status, 1);
    let sent = |rack: &FakeRack| rack.lines().iter().any(|line| line.starts_with("POST"));
    assert!(
        !sent(&from) && !sent(&to),
        "{:?} {:?}",
        from.lines(),
        to.lines()
    );
}

#[test]
fn one_rack_is_not_taken_for_two() {
    let both = FakeRack::foreign(|request| {
        if request.line == "GET /apps/myapp" {
            target(request)
        } else {
            source(request)
        }
    });
    let mut env = Env::with(&both);
    env.set("HOME", &env.path("home").display().to_string());
    env.convox("builds copy BABCDEFGHIJ --from near --to far")
        .fails(
            "ERROR: RACK_URL names one rack, a copy is between two\n\
             hint: unset RACK_URL, and name both as `convox racks` lists them\n",
        );
}

#[test]
fn a_source_that_breaks_off_is_blamed_and_makes_no_build() {
    let (from, to) = (FakeRack::foreign(source), FakeRack::foreign(target));
    let env = between(&from, &to);
    let run = env.convox("builds copy BBROKENAAAA --from near --to far --id");
    assert_eq!((run.stdout.as_str(), run.status), ("", 1));
    let blamed = format!("ERROR: lost connection to {}: ", from.host);
    assert!(run.stderr.contains(&blamed), "{}", run.stderr);
}

#[test]
fn a_target_that_refuses_is_heard() {
    static ASKED: AtomicBool = AtomicBool::new(false);
    let from = FakeRack::foreign(source);
    let to = FakeRack::foreign(|request| {
        if request.line.starts_with("POST") {
            ASKED.store(true, Ordering::SeqCst);
            Reply::Status(400, "cannot import: it is damaged\n")
        } else {
            target(request)
        }
    });
    let env = between(&from, &to);
    let run = env.convox("builds copy BABCDEFGHIJ --from near --to far --id");
    assert_eq!((run.stdout.as_str(), run.status), ("", 1));
    assert_eq!(
        run.stderr,
        "Copying build... ERROR: cannot import: it is damaged\n"
    );
    assert!(ASKED.load(Ordering::SeqCst));
}

#[test]
fn an_answer_without_a_build_is_no_success() {
    let from = FakeRack::foreign(source);
    let to = FakeRack::foreign(|request| {
        if request.line.starts_with("POST") {
            Reply::Json("{}")
        } else {
            target(request)
        }
    });
    let env = between(&from, &to);
    let run = env.convox("builds copy BABCDEFGHIJ --from near --to far");
    assert_eq!(run.status, 1);
    assert!(
        run.stderr
            .contains("far took the build and does not say which build it made of it"),
        "{}",
        run.stderr
    );
}

#[test]
fn no_id_is_lost_in_a_closed_output() {
    let (from, to) = (FakeRack::start(source), FakeRack::start(target));
    let env = between(&from, &to);
    let convox = env.command("builds copy BABCDEFGHIJ --from near --to far --id");
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", r#"exec "$0" "$@" >&-"#]);
    shell.arg(convox.get_program()).args(convox.get_args());
    for (name, value) in convox.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    let directory = convox.get_current_dir().expect("its own");
    let output = shell.current_dir(directory).output().expect("started");
    assert_eq!(
        (
            String::from_utf8_lossy(&output.stderr).as_ref(),
            output.status.code()
        ),
        (
            "ERROR: standard output is closed: there is nowhere to write the id\n",
            Some(1)
        )
    );
    assert_eq!(to.lines(), Vec::<String>::new(), "nothing was copied");
}
