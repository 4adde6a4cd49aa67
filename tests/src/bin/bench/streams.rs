//! A gibibyte into and out of commands, and what it costs the server in memory.

use std::time::{Duration, Instant};

use end_to_end::{World, streams};

use super::{Row, docker, seconds};

/// How much is sent.
const MEBIBYTES: u64 = 1024;
/// What the server may take for it, in MiB.
const MEMORY: u64 = 32;

/// Rows for both directions and the memory.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    world.install(&["staging"]);
    let app = world.example("tiny", "streams");
    for words in [
        &["apps", "create", "streams"][..],
        &["deploy", "-a", "streams"],
    ] {
        world.convox_in(&app, words).ok();
    }
    let before = world.resident_kib();
    world.forget_peak();
    let into = streams::into_a_command(world, "streams", MEBIBYTES);
    let out = streams::out_of_commands(world, "streams", MEBIBYTES);
    let taken = world.peak_kib().saturating_sub(before) / 1024;
    let floor = floor();
    let row = |what: &str, time: Duration| Row {
        what: what.to_owned(),
        measured: seconds(time),
        floor: seconds(floor),
        ratio: format!("{:.1}", time.as_secs_f64() / floor.as_secs_f64()),
        target: "-".into(),
        within: true,
    };
    vec![
        row("1 GiB into a command, against docker run", into),
        row("1 GiB out of a command beside a stalled one", out),
        Row {
            what: "peak of the server's memory meanwhile, more than before".into(),
            measured: format!("{taken} MiB"),
            floor: "-".into(),
            ratio: "-".into(),
            target: format!("≤ {MEMORY} MiB"),
            within: taken <= MEMORY,
        },
    ]
}

/// The same amount out of a container, to nobody.
fn floor() -> Duration {
    let start = Instant::now();
    let bytes = (MEBIBYTES << 20).to_string();
    let words = [
        "run",
        "--rm",
        "busybox:1.36",
        "head",
        "-c",
        &bytes,
        "/dev/zero",
    ];
    docker(&words);
    start.elapsed()
}
