//! Streams of any size through the real client and server, compared by their digests.

use std::time::{Duration, Instant};

use crate::World;

/// What is sent: a line whose length is no power of two, so that nothing that gets lost,
/// comes twice or changes places goes unnoticed.
const LINE: &str = "what goes in comes out, byte for byte";

fn data(mebibytes: u64) -> String {
    format!("yes '{LINE}' | head -c {}", mebibytes << 20)
}

fn timed(world: &World, script: &str) -> Duration {
    let start = Instant::now();
    let script = format!("set -euo pipefail\n{script}");
    world.script(world.path(), &script).ok();
    start.elapsed()
}

/// Sends so much into a command of service `web`: all of it arrives.
pub fn into_a_command(world: &World, app: &str, mebibytes: u64) -> Duration {
    let data = data(mebibytes);
    timed(
        world,
        &format!(
            "data() {{ ({data}) || true; }}\n\
             want=$(data | md5sum | cut -c-32)\n\
             got=$(data | convox exec web md5sum -a {app} | cut -c-32)\n\
             [ \"$want\" = \"$got\" ] || {{ echo \"$want has become $got\" >&2; exit 1; }}"
        ),
    )
}

/// Has a command of a new process say so much, beside another one whose reader stands
/// still until the first one is done: all of it arrives at both. The time is that of
/// the first one.
pub fn out_of_commands(world: &World, app: &str, mebibytes: u64) -> Duration {
    let data = data(mebibytes);
    let quoted = data.replace('\'', "\"");
    let fast = world.path().join("fast");
    // It may be there from before.
    drop(std::fs::remove_file(&fast));
    timed(
        world,
        &format!(
            "want=$( (({data}) || true) | md5sum | cut -c-32)\n\
             slow() {{ head -c 100000; while [ ! -e fast ]; do sleep 0.1; done; cat; }}\n\
             convox exec web '{quoted}' -a {app} | slow | md5sum | cut -c-32 > slow.md5 &\n\
             start=$(date +%s%N)\n\
             got=$(convox run web '{quoted}' -a {app} | md5sum | cut -c-32)\n\
             echo $((($(date +%s%N) - start) / 1000000)) > took\n\
             touch fast\n\
             wait $!\n\
             for got in $got $(cat slow.md5); do\n\
               [ \"$want\" = \"$got\" ] || {{ echo \"$want has become $got\" >&2; exit 1; }}\n\
             done"
        ),
    );
    let took = std::fs::read_to_string(world.path().join("took")).expect("a time");
    Duration::from_millis(took.trim().parse().expect("a number"))
}
