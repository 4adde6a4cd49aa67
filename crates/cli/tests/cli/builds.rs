//! `build`, and archives coming and going.

use std::io::{Read as _, Write as _};
use std::process::Stdio;

use crate::support::{Env, FakeRack, Reply, Request};

const LOG: &str = "Building: web\n\u{1b}[32mdone\u{1b}[0m\n";

/// A rack whose builds end with a status.
fn builder(status: &'static str, log: fn() -> Reply) -> FakeRack {
    FakeRack::start(move |request| {
        let line = request.line.as_str();
        if line.starts_with("POST /apps/myapp/objects/tmp/") {
            return Reply::Json(r#"{"Url":"object://myapp/tmp/x.tgz"}"#);
        }
        match line {
            "POST /apps/myapp/builds" => Reply::Json(r#"{"id":"BABCDEFGHIJ","status":"running"}"#),
            "GET /apps/myapp/builds/BABCDEFGHIJ" => Reply::Json(status),
            "GET /apps/myapp/builds/BABCDEFGHIJ/logs" => log(),
            "GET /racks" => Reply::Json("[]"),
            _ => Reply::Status(404, "not part of this test\n"),
        }
    })
}

fn whole() -> Reply {
    Reply::Frames(vec![LOG[..9].to_owned(), LOG[9..].to_owned()])
}

const COMPLETE: &str = r#"{"id":"BABCDEFGHIJ","status":"complete","release":"RABCDEFGHIJ"}"#;

fn source(env: &Env) {
    env.put("work/myapp/convox.yml", "services: {}\n");
    env.put("work/myapp/tmp/junk", "junk");
    env.put("work/myapp/.dockerignore", "tmp\n");
}

#[test]
fn a_build_shows_its_log_and_names_its_release() {
    let rack = builder(COMPLETE, whole);
    let env = Env::with(&rack);
    source(&env);
    env.convox("build -d text --build-args A=1 --build-args B=2")
        .prints(&format!(
            "Packaging source... OK\nUploading source... OK\nStarting build... OK\n{LOG}\
         Build:   BABCDEFGHIJ\nRelease: RABCDEFGHIJ\n"
        ));
    let form = rack.request("POST /apps/myapp/builds").body;
    assert_eq!(
        String::from_utf8(form).expect("text"),
        "build-args=A%3D1%2CB%3D2&description=text&url=object%3A%2F%2Fmyapp%2Ftmp%2Fx.tgz"
    );
    let upload = rack
        .requests()
        .into_iter()
        .find(|request| request.line.contains("/objects/tmp/"));
    let upload = upload.expect("uploaded");
    let length = upload
        .headers
        .get("content-length")
        .expect("with its length");
    assert_eq!(*length, upload.body.len().to_string());
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&upload.body[..]));
    let names = tar.entries().expect("a tar").map(|entry| {
        entry
            .expect("an entry")
            .path()
            .expect("a name")
            .display()
            .to_string()
    });
    assert_eq!(names.collect::<Vec<_>>(), [".dockerignore", "convox.yml"]);
}

#[test]
fn with_id_only_the_release_is_on_standard_output() {
    let rack = builder(COMPLETE, whole);
    let env = Env::with(&rack);
    source(&env);
    let run = env.convox("build --id");
    assert_eq!((run.stdout.as_str(), run.status), ("RABCDEFGHIJ", 0));
    assert!(run.stderr.contains(LOG), "{}", run.stderr);
}

#[test]
fn a_failed_build_fails_and_leaves_standard_output_empty() {
    let rack = builder(
        r#"{"id":"BABCDEFGHIJ","status":"failed","reason":"exit status 2 in RUN make"}"#,
        whole,
    );
    let env = Env::with(&rack);
    source(&env);
    let run = env.convox("build --id");
    assert_eq!((run.stdout.as_str(), run.status), ("", 1));
    assert!(
        run.stderr
            .ends_with("ERROR: build failed: exit status 2 in RUN make\n"),
        "{}",
        run.stderr
    );
}

#[test]
fn what_a_broken_log_left_out_is_shown_at_the_end() {
    use std::sync::atomic::{AtomicBool, Ordering};
    static SECOND: AtomicBool = AtomicBool::new(false);
    let rack = builder(COMPLETE, || {
        if SECOND.swap(true, Ordering::SeqCst) {
            whole()
        } else {
            Reply::Broken(vec![LOG[..4].to_owned()])
        }
    });
    let env = Env::with(&rack);
    source(&env);
    let run = env.convox("build");
    assert_eq!((run.stderr.as_str(), run.status), ("", 0));
    assert!(
        run.stdout
            .contains(&format!("Starting build... OK\n{LOG}Build:   ")),
        "{}",
        run.stdout
    );
}

#[test]
fn a_missing_directory_is_named_before_anything_is_sent() {
    let rack = builder(COMPLETE, whole);
    let env = Env::with(&rack);
    let run = env.convox("build nowhere");
    let path = env.path("work/myapp/nowhere");
    assert_eq!(
        run.stderr,
        format!("ERROR: no such directory: {}\n", path.display())
    );
    assert_eq!(run.status, 1);
    assert_eq!(rack.lines(), Vec::<String>::new());
}

const ARCHIVE: &[u8] = b"\x1f\x8b not really \x00\xff an archive";

/// A rack with one archive, which takes any.
fn exchange(request: &Request) -> Reply {
    match request.line.as_str() {
        "GET /apps/myapp/releases/RABCDEFGHIJ" => {
            Reply::Json(r#"{"id":"RABCDEFGHIJ","build":"BABCDEFGHIJ"}"#)
        }
        "GET /apps/myapp/releases/REMPTYAAAAA" => Reply::Json(r#"{"id":"REMPTYAAAAA"}"#),
        "GET /apps/myapp/builds/BABCDEFGHIJ.tgz" => Reply::Bytes(ARCHIVE.to_vec()),
        "GET /apps/myapp/builds/BBROKENAAAA.tgz" => Reply::Truncated(ARCHIVE.to_vec()),
        "POST /apps/myapp/builds/import" if request.body == ARCHIVE => Reply::Json(
            r#"{"id":"BNEWAAAAAAA","release":"RNEWAAAAAAA","missing-environment":["SECRET","TOKEN"]}"#,
        ),
        "POST /apps/myapp/builds/import" => Reply::Status(400, "not a build archive\n"),
        _ => Reply::Status(404, "build not found\n"),
    }
}

#[test]
fn an_export_is_the_archive_and_nothing_else() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    for id in ["BABCDEFGHIJ", "RABCDEFGHIJ"] {
        let output = env
            .command(&format!("builds export {id}"))
            .output()
            .expect("started");
        assert!(output.status.success());
        assert_eq!(output.stdout, ARCHIVE);
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "Exporting build... OK\n"
        );
    }
    env.convox("builds export REMPTYAAAAA")
        .fails("ERROR: no build for release: REMPTYAAAAA\n");
}

#[test]
fn an_export_to_a_file_is_whole_or_not_there() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    env.convox("builds export BABCDEFGHIJ -f b.tgz")
        .prints("Exporting build... OK\n");
    assert_eq!(
        std::fs::read(env.path("work/myapp/b.tgz")).expect("written"),
        ARCHIVE
    );

    env.put("work/myapp/old.tgz", "kept");
    for file in ["new.tgz", "old.tgz"] {
        let run = env.convox(&format!("builds export BBROKENAAAA --file {file}"));
        assert_eq!(run.status, 1);
        assert!(
            run.stderr.contains("ERROR: lost connection"),
            "{}",
            run.stderr
        );
    }
    assert_eq!(env.get("work/myapp/old.tgz").as_deref(), Some("kept"));
    let names = std::fs::read_dir(env.path("work/myapp"))
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        });
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["b.tgz", "old.tgz"]);
}

#[test]
fn a_rack_that_knows_no_formats_is_not_believed_to_have_written_one() {
    let rack = FakeRack::foreign(|request| match request.line.as_str() {
        "GET /apps/myapp/builds/BABCDEFGHIJ.tgz?format=v3" => Reply::Bytes(ARCHIVE.to_vec()),
        _ => Reply::Status(404, "build not found\n"),
    });
    let env = Env::with(&rack);
    let run = env.convox("builds export BABCDEFGHIJ --format v3 -f b.tgz");
    assert_eq!(
        (run.stderr.as_str(), run.status),
        (
            "ERROR: this rack cannot be asked for the format v3\n\
             hint: export without --format, then `convox artifact convert <file> --to v3 -o <other>`\n",
            1
        )
    );
    assert_eq!(env.get("work/myapp/b.tgz"), None);
    let run = env.convox("builds export BABCDEFGHIJ --format v4 -f b.tgz");
    assert_eq!((run.stdout.as_str(), run.status), ("", 1));
    assert_eq!(
        run.stderr,
        "ERROR: invalid argument \"v4\" for \"--format\" flag: unknown archive format \"v4\": \
         use default, v2 or v3\n"
    );
}

#[test]
fn a_broken_export_to_standard_output_fails() {
    let rack = FakeRack::start(exchange);
    let output = Env::with(&rack)
        .command("builds export BBROKENAAAA")
        .output()
        .expect("started");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("ERROR: lost connection"));
}

#[test]
fn an_export_that_breaks_off_goes_on_where_the_rack_allows_it() {
    const HEAD: &str = "Accept-Ranges: bytes\r\nETag: \"one\"\r\nConnection: close\r\n";
    let answers = [
        format!("HTTP/1.1 200 OK\r\n{HEAD}Content-Length: 10\r\n\r\n01234"),
        format!(
            "HTTP/1.1 206 Partial Content\r\n{HEAD}Content-Range: bytes 5-9/10\r\nContent-Length: 5\r\n\r\n56789"
        ),
    ];
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = listener.local_addr().expect("an address");
    let serving = std::thread::spawn(move || {
        for answer in answers {
            let (mut connection, _) = listener.accept().expect("a connection");
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && connection.read(&mut byte).expect("a head") > 0 {
                head.push(byte[0]);
            }
            connection.write_all(answer.as_bytes()).expect("answered");
        }
    });
    let mut env = Env::new();
    env.set("RACK_URL", &format!("http://convox:secret@{host}"));
    let run = env.convox("builds export BABCDEFGHIJ -f b.tgz");
    serving.join().expect("both were asked for");
    assert_eq!(
        (run.stdout.as_str(), run.stderr.as_str(), run.status),
        (
            "Exporting build... OK\n",
            "note: the connection broke behind 5 B, asking for the rest (try 1)\n",
            0
        )
    );
    assert_eq!(env.get("work/myapp/b.tgz").as_deref(), Some("0123456789"));
}

#[test]
fn a_device_is_written_to_and_not_replaced() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    std::os::unix::fs::symlink("/dev/null", env.path("work/myapp/null")).expect("a link");
    env.convox("builds export BABCDEFGHIJ -f null")
        .prints("Exporting build... OK\n");
    let kind = std::fs::metadata("/dev/null").expect("there").file_type();
    assert!(!kind.is_file());
}

#[test]
fn an_import_takes_a_file_in_every_form() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    env.put("work/myapp/b.tgz", ARCHIVE);
    let warning = "warning: myapp has no value for SECRET, TOKEN: `convox env set SECRET=<value> TOKEN=<value> -a myapp`, and promote the release that it makes\n";
    for line in ["builds import b.tgz", "builds import -f b.tgz"] {
        let run = env.convox(line);
        assert_eq!(
            (run.stdout.as_str(), run.status),
            ("Importing build... OK, RNEWAAAAAAA\n", 0)
        );
        assert_eq!(run.stderr, warning);
    }
    for line in ["builds import --id", "builds import - --id"] {
        let run = env.convox_reading(line, ARCHIVE);
        assert_eq!((run.stdout.as_str(), run.status), ("RNEWAAAAAAA", 0));
        assert_eq!(
            run.stderr,
            format!("Importing build... OK, RNEWAAAAAAA\n{warning}")
        );
    }
    let imports = rack
        .requests()
        .into_iter()
        .map(|request| request.headers.contains_key("content-length"));
    assert_eq!(imports.collect::<Vec<_>>(), [true, true, false, false]);
}

#[test]
fn an_import_says_what_was_there_before() {
    let rack = FakeRack::start(|_| {
        Reply::Json(
            r#"{"id":"BNEWAAAAAAA","release":"RNEWAAAAAAA","provenance":{"rack":"personal/staging","app":"myapp",
                "build":"BABCDEFGHIJ","archive":"sha256:aa","images-present":true,"imported-before":"BOLDAAAAAAA"}}"#,
        )
    });
    let env = Env::with(&rack);
    let run = env.convox_reading("builds import --id", ARCHIVE);
    assert_eq!((run.stdout.as_str(), run.status), ("RNEWAAAAAAA", 0));
    assert_eq!(
        run.stderr,
        "Importing build... OK, RNEWAAAAAAA\n\
         note: the same archive was imported before, as build BOLDAAAAAAA\n\
         note: the rack had all images already, none was loaded\n"
    );
}

#[test]
fn a_refused_import_names_the_reason_and_no_release() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    env.put("work/myapp/bad.tgz", "bad");
    let run = env.convox("builds import bad.tgz --id");
    assert_eq!((run.stdout.as_str(), run.status), ("", 1));
    assert_eq!(
        run.stderr,
        "Importing build... ERROR: not a build archive\n"
    );
    env.convox("builds import nowhere.tgz")
        .fails("ERROR: can not read nowhere.tgz: No such file or directory (os error 2)\n");
    assert_eq!(rack.lines().len(), 1);
}

#[test]
fn an_archive_goes_from_pipe_to_pipe() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    let mut from = env.command("builds export BABCDEFGHIJ");
    let mut child = from
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let mut archive = Vec::new();
    child
        .stdout
        .take()
        .expect("piped")
        .read_to_end(&mut archive)
        .expect("read");
    assert!(child.wait().expect("ended").success());
    assert_eq!(
        env.convox_reading("builds import --id", &archive).stdout,
        "RNEWAAAAAAA"
    );
}

#[test]
fn an_export_is_piped_into_an_import() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    let mut export = env
        .command("builds export BABCDEFGHIJ")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("started");
    let pipe = export.stdout.take().expect("piped");
    let import = env
        .command("builds import --id")
        .stdin(pipe)
        .output()
        .expect("started");
    assert!(export.wait().expect("ended").success());
    assert!(import.status.success());
    assert_eq!(import.stdout, b"RNEWAAAAAAA");
    assert_eq!(rack.request("POST /apps/myapp/builds/import").body, ARCHIVE);
}

#[test]
fn an_export_whose_reader_goes_away_ends_quietly() {
    let rack = FakeRack::start(exchange);
    let env = Env::with(&rack);
    let mut export = env
        .command("builds export BABCDEFGHIJ")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("started");
    drop(export.stdout.take());
    let output = export.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "Exporting build... "
    );
}
