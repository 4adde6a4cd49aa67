//! What `convox` takes from its start to its end where little is to be done, beside an empty
//! program; and how large the programs are.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use end_to_end::World;

use super::{Row, limit, median};

/// Starts per row.
const TIMES: usize = 101;
/// What the version may take.
const VERSION: Duration = Duration::from_millis(5);
/// What a list of a local rack may take.
const LIST: Duration = Duration::from_millis(15);

/// Measures starts and sizes.
pub(super) fn rows(world: &World) -> Vec<Row> {
    let app = world.example("tiny", "myapp");
    world.install(&["staging", "production"]);
    for words in [&["apps", "create"][..], &["deploy"]] {
        world.convox_in(&app, words).ok();
    }
    let empty = beside("empty");
    let floor = median(TIMES, || {
        let output = Command::new(&empty).stdin(Stdio::null()).output();
        assert!(output.is_ok_and(|output| output.status.success()));
    });
    let mut rows = Vec::new();
    for (words, most) in [
        (&["--version"][..], VERSION),
        (&["help"], LIST),
        (&["racks"], LIST),
        (&["apps"], LIST),
        (&["builds"], LIST),
        (&["releases"], LIST),
        (&["ps"], LIST),
        (&["services"], LIST),
        (&["scale"], LIST),
        (&["env"], LIST),
        (&["resources"], LIST),
        (&["instances"], LIST),
        (&["registries"], LIST),
        (&["certs"], LIST),
        (&["rack", "params"], LIST),
    ] {
        let ours = median(TIMES, || drop(world.convox_in(&app, words).ok()));
        let what = format!("convox {}, against an empty program", words.join(" "));
        rows.push(limit(&what, ours, floor, most));
    }
    rows.extend(["convox", "rack-server"].map(size));
    rows
}

/// A program that was built with this one.
fn beside(name: &str) -> PathBuf {
    std::env::current_exe()
        .expect("a running program has a path")
        .with_file_name(name)
}

fn size(program: &str) -> Row {
    let mib = |name: &str| {
        let bytes = fs::metadata(beside(name)).expect("a built program").len();
        format!("{:.1} MiB", bytes as f64 / (1024.0 * 1024.0))
    };
    Row {
        what: format!("size of {program}, beside an empty program"),
        measured: mib(program),
        floor: mib("empty"),
        ratio: "-".into(),
        target: "-".into(),
        within: true,
    }
}
