//! Promotes, seen to their end, and environment changes.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Env, FakeRack, Reply, Request};

/// A line of the log, as old as asked.
fn line(age: i64, stream: &str) -> String {
    let time =
        jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - age).expect("in range");
    format!("{time} {stream} message\n")
}

/// A rack that ends a promote with `after` active.
fn promoter(after: &'static str) -> FakeRack {
    let promoted = AtomicUsize::new(0);
    let read = AtomicBool::new(false);
    FakeRack::start(move |request: &Request| match request.line.as_str() {
        "GET /apps/myapp" => {
            Reply::Json(r#"{"name":"myapp","status":"running","release":"ROLDAAAAAAA"}"#)
        }
        "GET /apps/myapp/builds/BNEWAAAAAAA" => {
            Reply::Json(r#"{"id":"BNEWAAAAAAA","release":"RNEWAAAAAAA"}"#)
        }
        "GET /apps/myapp/builds/BFAILEDAAAA" => {
            Reply::Json(r#"{"id":"BFAILEDAAAA","status":"failed"}"#)
        }
        "GET /apps/myapp/releases?limit=1" => Reply::Json(r#"[{"id":"RNEWAAAAAAA"}]"#),
        "GET /apps/myapp/releases/RNEWAAAAAAA" => Reply::Json(
            r#"{"id":"RNEWAAAAAAA","build":"B","env":"A=1","reason":"web is not healthy"}"#,
        ),
        "POST /apps/myapp/releases" => Reply::Json(r#"{"id":"RNEWAAAAAAA"}"#),
        "POST /apps/myapp/releases/RNEWAAAAAAA/promote" => Reply::Status(200, "ok\n"),
        "POST /apps/myapp/releases/RBADAAAAAAA/promote" => {
            Reply::Status(400, "required environment is missing: SECRET\n")
        }
        // The first answers come while the promote is under way.
        "GET /apps/myapp?settled=30s" => match promoted.fetch_add(1, Ordering::SeqCst) {
            0 => Reply::Json(r#"{"name":"myapp","status":"updating","release":"ROLDAAAAAAA"}"#),
            _ => Reply::Json(after),
        },
        "GET /apps/myapp/logs" => {
            let mut lines = vec![
                line(60, "system/docker/old"),
                line(-9, "system/docker/before"),
                line(0, "service/web/0123456789ab"),
            ];
            // The first reading is from before the promote.
            if read.swap(true, Ordering::SeqCst) {
                lines.push(line(-1, "system/docker/web"));
            }
            Reply::Frames(lines)
        }
        "GET /racks" => Reply::Json("[]"),
        _ => Reply::Status(404, "not part of this test\n"),
    })
}

const DONE: &str = r#"{"name":"myapp","status":"running","release":"RNEWAAAAAAA"}"#;
const UNDONE: &str = r#"{"name":"myapp","status":"running","release":"ROLDAAAAAAA"}"#;

/// Whether output is a promote of `RNEWAAAAAAA` with one line of the log.
#[track_caller]
fn assert_promoted(stdout: &str) {
    let lines: Vec<_> = stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{stdout}");
    assert_eq!(lines[0], "Promoting RNEWAAAAAAA... ");
    assert!(lines[1].ends_with(" system/docker/web message"), "{stdout}");
    assert_eq!(lines[2], "OK");
}

#[test]
fn a_promote_is_seen_to_its_end() {
    for arguments in ["RNEWAAAAAAA --wait", "BNEWAAAAAAA", ""] {
        let rack = promoter(DONE);
        let run = Env::with(&rack).convox(&format!("releases promote {arguments}"));
        assert_eq!((run.stderr.as_str(), run.status), ("", 0), "{arguments}");
        assert_promoted(&run.stdout);
        assert_eq!(
            rack.request("POST /apps/myapp/releases/RNEWAAAAAAA/promote")
                .body,
            b""
        );
    }
}

#[test]
fn a_promote_that_is_undone_fails_with_the_reason() {
    let rack = promoter(UNDONE);
    let run = Env::with(&rack).convox("releases promote RNEWAAAAAAA");
    assert_eq!(
        (run.stderr.as_str(), run.status),
        ("ERROR: rollback: web is not healthy\n", 1)
    );
    assert!(!run.stdout.contains("OK"), "{}", run.stdout);
}

#[test]
fn a_promote_that_is_refused_says_why() {
    let rack = promoter(DONE);
    let env = Env::with(&rack);
    let run = env.convox("releases promote RBADAAAAAAA");
    assert_eq!(
        (run.stderr.as_str(), run.status),
        ("ERROR: required environment is missing: SECRET\n", 1)
    );
    env.convox("releases promote BFAILEDAAAA")
        .fails("ERROR: build has no release: BFAILEDAAAA is failed\n");
}

#[test]
fn a_rollback_copies_the_old_release_forward() {
    let rack = promoter(DONE);
    let run = Env::with(&rack).convox("releases rollback RNEWAAAAAAA --id");
    assert_eq!((run.stdout.as_str(), run.status), ("RNEWAAAAAAA", 0));
    let (first, rest) = run.stderr.split_once('\n').expect("two lines");
    assert_eq!(first, "Rolling back to RNEWAAAAAAA... OK, RNEWAAAAAAA");
    assert_promoted(rest);
    assert_eq!(
        rack.request("POST /apps/myapp/releases").body,
        b"build=B&env=A%3D1"
    );
}

#[test]
fn environment_comes_from_arguments_and_standard_input() {
    let rack = promoter(DONE);
    let env = Env::with(&rack);
    let set = env.convox_reading("env set B=2=3 nothing", b"C=x y\n# no\n");
    assert_eq!(
        (set.stdout.as_str(), set.stderr.as_str(), set.status),
        (
            "Setting B, C... OK\nRelease: RNEWAAAAAAA\n",
            "ignored: nothing is not KEY=VALUE\n",
            0
        )
    );
    let body = rack.request("POST /apps/myapp/releases").body;
    assert_eq!(
        String::from_utf8(body).expect("text"),
        "env=A%3D1%0AB%3D2%3D3%0AC%3Dx+y&latest=RNEWAAAAAAA",
        "only while nobody else has made a release"
    );
}

#[test]
fn values_of_several_lines_are_refused() {
    let rack = promoter(DONE);
    let refused = Env::with(&rack).convox_words(&["env", "set", "KEY=one\nOTHER=two"]);
    refused.fails("ERROR: the value of KEY has more than one line, which environments cannot hold: encode it, in base64 for example\n");
}

#[test]
fn environment_can_be_replaced_unset_and_promoted() {
    let rack = promoter(DONE);
    Env::with(&rack)
        .convox("env set B=2 --replace")
        .prints("Setting B... OK\nRelease: RNEWAAAAAAA\n");
    assert_eq!(rack.request("POST /apps/myapp/releases").body, b"env=B%3D2");

    let rack = promoter(DONE);
    let run = Env::with(&rack).convox("env unset A --promote --id");
    assert_eq!((run.stdout.as_str(), run.status), ("RNEWAAAAAAA", 0));
    assert!(
        run.stderr
            .starts_with("Unsetting A... OK\nRelease: RNEWAAAAAAA\nPromoting "),
        "{}",
        run.stderr
    );
    assert_eq!(
        rack.request("POST /apps/myapp/releases").body,
        b"env=&latest=RNEWAAAAAAA"
    );
}

#[test]
fn a_silent_pipe_beside_arguments_is_not_waited_for() {
    let rack = promoter(DONE);
    let env = Env::with(&rack);
    let mut command = env.command("env set B=2");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("started");
    // Held open, and nothing written, until the program has ended.
    let silent = child.stdin.take().expect("piped");
    assert!(child.wait().expect("ended").success());
    drop(silent);
}
