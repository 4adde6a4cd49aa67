//! Durable logs: what is written is read, once, by everyone, after every accident.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use futures::{Stream, StreamExt as _, pin_mut};
use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use rack_api::log::Options;
use rack_server::logs::{Limits, Log, Logs, Streams};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

const DEADLINE: Duration = Duration::from_secs(30);
const WEB: &str = "service/web/0123456789ab";

fn now() -> Timestamp {
    "2026-01-02T03:04:05.678Z".parse().expect("a time")
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn open(directory: &TempDir, limits: Limits) -> Logs {
    Logs::open_with(directory.path(), limits).expect("opens")
}

/// What exists, as one text.
async fn existing(log: &Log, options: Options, streams: Streams) -> Vec<u8> {
    collect(log.read(
        &Options {
            follow: false,
            ..options
        },
        now(),
        streams,
    ))
    .await
}

async fn text(log: &Log, options: Options) -> String {
    String::from_utf8(existing(log, options, Streams::All).await).expect("text")
}

async fn collect(chunks: impl Stream<Item = std::io::Result<bytes::Bytes>>) -> Vec<u8> {
    pin_mut!(chunks);
    let mut all = Vec::new();
    while let Some(chunk) = tokio::time::timeout(DEADLINE, chunks.next())
        .await
        .expect("in time")
    {
        let chunk = chunk.expect("readable");
        assert_eq!(chunk.last(), Some(&b'\n'), "chunks hold whole lines");
        all.extend_from_slice(&chunk);
    }
    all
}

/// Segment files of an app, oldest first.
fn segments(directory: &Path, app: &str) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(directory.join("apps").join(app))
        .expect("a log directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

#[tokio::test]
async fn lines_are_shown_with_and_without_prefix() {
    let directory = directory();
    let log = open(&directory, Limits::default()).app("myapp");
    log.append(now(), WEB, b"first\nsecond\n");
    log.append(now(), "system/docker/web", b"\x1b[32mgreen\x1b[0m");
    let plain = text(&log, Options::default()).await;
    assert_eq!(plain, "first\nsecond\ngreen\n");
    let prefixed = text(
        &log,
        Options {
            prefix: true,
            ..Options::default()
        },
    )
    .await;
    assert_eq!(
        prefixed,
        "2026-01-02T03:04:05Z service/web/0123456789ab first\n\
         2026-01-02T03:04:05Z service/web/0123456789ab second\n\
         2026-01-02T03:04:05Z system/docker/web green\n"
    );
    let stored = fs::read(&segments(directory.path(), "myapp")[0]).expect("readable");
    assert!(
        stored.windows(5).any(|bytes| bytes == b"\x1b[32m"),
        "colour is kept on disk"
    );
}

#[tokio::test]
async fn options_choose_lines() {
    let directory = directory();
    let log = open(
        &directory,
        Limits {
            segment: 300,
            total: 1 << 20,
        },
    )
    .app("myapp");
    for age in (0..10).rev() {
        let time = now() - SignedDuration::from_secs(age * 30);
        log.append(time, WEB, format!("web {age}").as_bytes());
        log.append(
            time,
            "service/worker/ba9876543210",
            format!("worker {age}").as_bytes(),
        );
    }
    assert!(
        segments(directory.path(), "myapp").len() > 3,
        "several segments are read"
    );
    let options = Options::default;
    let minute = Some(Duration::from_secs(60));
    let cases = [
        (
            Options {
                since: minute,
                ..options()
            },
            "web 2\nworker 2\nweb 1\nworker 1\nweb 0\nworker 0\n",
        ),
        (
            Options {
                filter: Some("web -3".to_owned()),
                ..options()
            },
            "web 4\nweb 2\nweb 1\nweb 0\n",
        ),
        (
            Options {
                tail: Some(3),
                ..options()
            },
            "worker 1\nweb 0\nworker 0\n",
        ),
        (
            Options {
                tail: Some(0),
                ..options()
            },
            "",
        ),
        (
            Options {
                tail: Some(1),
                filter: Some("9".to_owned()),
                ..options()
            },
            "worker 9\n",
        ),
        (
            Options {
                tail: Some(1),
                filter: Some("9".to_owned()),
                since: minute,
                ..options()
            },
            "",
        ),
    ];
    for (options, expected) in cases {
        assert_eq!(text(&log, options.clone()).await, expected, "{options:?}");
    }
    assert_eq!(
        text(&log, options()).await.lines().count(),
        10,
        "two minutes by default"
    );
    let worker = existing(
        &log,
        options(),
        Streams::Prefix("service/worker/".to_owned()),
    )
    .await;
    assert_eq!(
        worker,
        b"worker 4\nworker 3\nworker 2\nworker 1\nworker 0\n"
    );
    let web = existing(&log, options(), Streams::Process("0123456789ab".to_owned())).await;
    assert_eq!(web, b"web 4\nweb 3\nweb 2\nweb 1\nweb 0\n");
    let nobody = existing(&log, options(), Streams::Process("23456789ab".to_owned())).await;
    assert_eq!(nobody, b"");
}

#[tokio::test]
async fn a_log_survives_reopening_and_a_torn_last_line() {
    let directory = directory();
    let limits = Limits {
        segment: 500,
        total: 1 << 20,
    };
    let log = open(&directory, limits).app("myapp");
    for number in 0..50 {
        log.append(
            now() + SignedDuration::from_nanos(number),
            WEB,
            format!("line {number}").as_bytes(),
        );
    }
    drop(log);
    let last = segments(directory.path(), "myapp")
        .pop()
        .expect("a segment");
    let mut file = OpenOptions::new()
        .append(true)
        .open(&last)
        .expect("writable");
    file.write_all(b"2026-01-02T03:04:05.000000000Z service/web/x torn")
        .expect("written");
    drop(file);

    let log = open(&directory, limits).app("myapp");
    log.append(now(), "service/web/next", b"after");
    let lines = text(&log, Options::default()).await;
    let expected: Vec<_> = (0..50)
        .map(|number| format!("line {number}"))
        .chain(["after".to_owned()])
        .collect();
    assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
    let last = log.last_place(WEB).await.expect("readable");
    assert_eq!(
        last,
        Some((now() + SignedDuration::from_nanos(49), 1)),
        "found in an older segment, to the nanosecond"
    );
    let unknown = log.last_place("service/web/unknown").await;
    assert_eq!(unknown.expect("readable"), None);
    let last = log.last_lines(WEB, 12).await.expect("readable");
    let expected: Vec<_> = (38..50)
        .map(|number| format!("line {number}").into_bytes())
        .collect();
    assert_eq!(last, expected, "across segments");
    assert_eq!(log.last_lines(WEB, 1000).await.expect("readable").len(), 50);
}

#[tokio::test]
async fn lines_of_one_time_are_counted_over_segments_and_restarts() {
    let directory = directory();
    let limits = Limits {
        segment: 300,
        total: 1 << 20,
    };
    let log = open(&directory, limits).app("myapp");
    let later = now() + SignedDuration::from_nanos(1);
    log.append(later, WEB, b"the clock was set back after this");
    for number in 1..=40 {
        log.append(now(), WEB, format!("piece {number}").as_bytes());
        log.append(later, "service/web/other", b"another process");
        for log in [&log, &open(&directory, limits).app("myapp")] {
            let last = log.last_place(WEB).await.expect("readable");
            assert_eq!(last, Some((now(), number)));
        }
    }
    log.append(later, WEB, b"end");
    let last = log.last_place(WEB).await.expect("readable");
    assert_eq!(last, Some((later, 1)));
    assert!(segments(directory.path(), "myapp").len() > 10);
}

#[tokio::test]
async fn damaged_bytes_are_skipped_and_said() {
    let directory = directory();
    let log = open(&directory, Limits::default()).app("myapp");
    log.append(now(), WEB, b"before");
    drop(log);
    let path = segments(directory.path(), "myapp")
        .pop()
        .expect("a segment");
    OpenOptions::new()
        .append(true)
        .open(&path)
        .expect("writable")
        .write_all(b"no line at all\n")
        .expect("written");
    let log = open(&directory, Limits::default()).app("myapp");
    log.append(now(), WEB, b"after");
    let lines = text(&log, Options::default()).await;
    assert_eq!(
        lines,
        "before\n15 bytes of log could not be read and are missing here\nafter\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_see_every_line_once_while_it_is_written() {
    const LINES: usize = 20_000;
    let directory = directory();
    let log = open(
        &directory,
        Limits {
            segment: 64 * 1024,
            total: 1 << 30,
        },
    )
    .app("myapp");
    let end = CancellationToken::new();
    let followers: Vec<_> = (0..4)
        .map(|follower| {
            let (log, end) = (log.clone(), end.clone());
            tokio::spawn(async move {
                // Each one joins at another moment, so backlog and growth meet everywhere.
                while log
                    .last_lines(WEB, follower * 1000)
                    .await
                    .expect("readable")
                    .len()
                    < follower * 1000
                {
                    tokio::task::yield_now().await;
                }
                collect(log.read_until(&Options::default(), now(), Streams::All, end)).await
            })
        })
        .collect();
    let writers: Vec<_> = (0..2)
        .map(|writer| {
            let log = log.clone();
            std::thread::spawn(move || {
                for number in 0..LINES / 2 {
                    log.append(now(), WEB, format!("{writer} {number}").as_bytes());
                }
            })
        })
        .collect();
    for writer in writers {
        tokio::task::spawn_blocking(move || writer.join().expect("writes"))
            .await
            .expect("joined");
    }
    end.cancel();
    let mut texts = Vec::new();
    for follower in followers {
        texts.push(follower.await.expect("follows"));
    }
    let text = String::from_utf8(texts[0].clone()).expect("text");
    for writer in 0..2 {
        let prefix = format!("{writer} ");
        let numbers: Vec<usize> = text
            .lines()
            .filter_map(|line| line.strip_prefix(&prefix)?.parse().ok())
            .collect();
        assert!(
            numbers.iter().copied().eq(0..LINES / 2),
            "writer {writer}: every line, once, in order"
        );
    }
    assert!(
        texts.iter().all(|other| *other == texts[0]),
        "all followers see the same"
    );
}

#[tokio::test]
async fn a_slow_follower_holds_nobody_up_and_learns_what_it_missed() {
    let directory = directory();
    let log = open(
        &directory,
        Limits {
            segment: 10_000,
            total: 40_000,
        },
    )
    .app("myapp");
    let line = |number: usize| format!("{number:060}");
    log.append(now(), WEB, line(0).as_bytes());
    let end = CancellationToken::new();
    let slow = log.read_until(&Options::default(), now(), Streams::All, end.clone());
    pin_mut!(slow);
    let first = slow.next().await.expect("a chunk").expect("readable");
    assert_eq!(first, line(0) + "\n");
    for number in 1..5000 {
        log.append(now(), WEB, line(number).as_bytes());
    }
    let kept: u64 = segments(directory.path(), "myapp")
        .iter()
        .map(|path| fs::metadata(path).expect("there").len())
        .sum();
    assert!(
        (20_000..=40_000).contains(&kept),
        "old segments are dropped: {kept}"
    );
    end.cancel();
    let rest = String::from_utf8(collect(slow).await).expect("text");
    let (notice, lines) = rest.split_once('\n').expect("lines");
    let skipped: usize = notice
        .strip_suffix(" bytes of log could not be read and are missing here")
        .expect("the notice comes first")
        .parse()
        .expect("a number");
    let stored = "2026-01-02T03:04:05.678000000Z ".len() + WEB.len() + 1 + 60 + 1;
    assert_eq!(skipped % stored, 0, "whole lines are missing");
    let numbers: Vec<usize> = lines
        .lines()
        .map(|line| line.parse().expect("a number"))
        .collect();
    assert!(
        numbers.iter().copied().eq(1 + skipped / stored..5000),
        "and nothing else"
    );
}

#[tokio::test]
async fn removing_an_app_ends_its_followers_and_its_files() {
    let directory = directory();
    let logs = open(&directory, Limits::default());
    let log = logs.app("myapp");
    log.append(now(), WEB, b"old");
    logs.app("other").append(now(), WEB, b"other");
    logs.rack().append(now(), "system/rack/x", b"rack");
    let follower = log.read(&Options::default(), now(), Streams::All);
    pin_mut!(follower);
    assert_eq!(
        follower.next().await.expect("a chunk").expect("readable"),
        "old\n"
    );
    logs.remove("myapp").expect("removed");
    logs.remove("myapp").expect("nothing to remove is fine");
    let end = tokio::time::timeout(DEADLINE, follower.next())
        .await
        .expect("in time");
    assert!(end.is_none(), "the follower ends");
    log.append(now(), WEB, b"late");
    assert!(!directory.path().join("apps/myapp").exists());
    let again = logs.app("myapp");
    again.append(now(), WEB, b"new");
    assert_eq!(text(&again, Options::default()).await, "new\n");
    assert_eq!(
        text(&logs.app("other"), Options::default()).await,
        "other\n"
    );
    assert_eq!(text(&logs.rack(), Options::default()).await, "rack\n");
}

#[tokio::test]
async fn names_cannot_leave_the_directory() {
    let directory = directory();
    let logs = open(&directory, Limits::default());
    logs.app("../../evil").append(now(), WEB, b"x");
    let names: Vec<_> = fs::read_dir(directory.path().join("apps"))
        .expect("a directory")
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert_eq!(names, ["%2E%2E%2F%2E%2E%2Fevil"]);
}

#[tokio::test]
async fn lines_that_cannot_be_written_are_counted() {
    let directory = directory();
    let logs = open(&directory, Limits::default());
    let obstacle = directory.path().join("apps/myapp");
    fs::write(&obstacle, "a file where the log's directory should be").expect("written");
    let log = logs.app("myapp");
    log.append(now(), WEB, b"lost 1\nlost 2");
    log.append(now(), WEB, b"lost 3");
    let chunks = log.read(&Options::default(), now(), Streams::All);
    pin_mut!(chunks);
    assert!(
        chunks.next().await.expect("an answer").is_err(),
        "readers are told"
    );
    fs::remove_file(&obstacle).expect("removed");
    log.append(now(), WEB, b"kept");
    assert_eq!(
        text(&log, Options::default()).await,
        "3 lines could not be written and are missing here\nkept\n"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_come_back(messages in proptest::collection::vec(
        proptest::collection::vec(any::<u8>().prop_filter("no colour", |byte| *byte != 0x1b), 0..300), 0..40),
        segment in 100_u64..2000, reopen in any::<bool>()) {
        let directory = directory();
        let limits = Limits { segment, total: 1 << 30 };
        let mut log = open(&directory, limits).app("myapp");
        let mut expected = Vec::new();
        for message in &messages {
            if reopen {
                log = open(&directory, limits).app("myapp");
            }
            log.append(now(), WEB, message);
            expected.extend_from_slice(message.strip_suffix(b"\n").unwrap_or(message));
            expected.push(b'\n');
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let read = runtime.block_on(existing(&log, Options::default(), Streams::All));
        prop_assert_eq!(read, expected);
    }

    #[test]
    fn whatever_a_crash_cuts_off_the_rest_stays(lines in proptest::collection::vec("[a-z]{0,60}", 1..30),
        cut in any::<prop::sample::Index>()) {
        let directory = directory();
        let log = open(&directory, Limits::default()).app("myapp");
        for line in &lines {
            log.append(now(), WEB, line.as_bytes());
        }
        drop(log);
        let path = segments(directory.path(), "myapp").pop().expect("a segment");
        let stored = fs::read(&path).expect("readable");
        let length = cut.index(stored.len() + 1);
        let whole = stored[..length].split(|byte| *byte == b'\n').count() - 1;
        OpenOptions::new().write(true).open(&path).expect("writable").set_len(length as u64).expect("cut");
        let log = open(&directory, Limits::default()).app("myapp");
        log.append(now(), WEB, b"AFTER");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let read = runtime.block_on(text(&log, Options::default()));
        let expected: Vec<_> = lines[..whole].iter().map(String::as_str).chain(["AFTER"]).collect();
        prop_assert_eq!(read.lines().collect::<Vec<_>>(), expected);
    }
}
