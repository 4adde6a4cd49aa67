//! Measures what people wait for, beside a floor measured in the same run, and
//! prints a table. `make bench` runs it on release builds; it fails only when
//! something does not work, never because something is slow. Words choose what is
//! measured: `artifacts`, `copies`, `flow`, `followers`, `lists`, `promotes`, `router`, `start-up`, `streams`.

#![expect(clippy::print_stdout, reason = "the table is what it is for")]

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use end_to_end::{World, workflow_script};

mod artifacts;
mod copies;
mod followers;
mod lists;
mod promotes;
mod router;
mod startup;
mod streams;

/// One measured thing.
struct Row {
    what: String,
    measured: String,
    floor: String,
    ratio: String,
    target: String,
    within: bool,
}

fn main() {
    // Without words, everything.
    let words: Vec<String> = std::env::args().skip(1).collect();
    // The process behind the router, in its container.
    if words == ["answer"] {
        router::answer();
        return;
    }
    let wants = |name: &str| words.is_empty() || words.iter().any(|word| word == name);
    let mut rows = Vec::new();
    if wants("flow") {
        rows.extend(flow());
    }
    if wants("copies") {
        rows.extend(copies::rows(&World::docker()));
    }
    if wants("followers") {
        let world = World::docker();
        world.install(&["staging"]);
        rows.extend(followers::rows(&world));
    }
    if wants("lists") {
        rows.extend(lists::rows(&World::simulated()));
    }
    if wants("promotes") {
        rows.extend(promotes::rows(&World::docker()));
    }
    if wants("router") && (router::possible() || !words.is_empty()) {
        rows.extend(router::rows(&World::docker()));
    }
    if wants("start-up") {
        rows.extend(startup::rows(&World::simulated()));
    }
    if wants("streams") {
        rows.extend(streams::rows(&World::docker()));
    }
    if wants("artifacts") {
        rows.extend(artifacts::rows(&World::docker()));
    }
    println!(
        "{:<60}{:>12}{:>12}{:>8}  target",
        "", "measured", "floor", "ratio"
    );
    for row in rows {
        println!(
            "{:<60}{:>12}{:>12}{:>8}  {} {}",
            row.what,
            row.measured,
            row.floor,
            row.ratio,
            row.target,
            if row.within { "ok" } else { "OVER" }
        );
    }
}

/// What the way from staging to production takes.
fn flow() -> Vec<Row> {
    let world = World::docker();
    let app = world.example("tiny", "myapp");
    world.install(&["staging", "production"]);
    for rack in ["staging", "production"] {
        world
            .convox_in(&app, &["apps", "create", "myapp", "-r", rack])
            .ok();
    }
    // Once for warm caches; everything after this is measured.
    fs::write(app.join("workflow.sh"), workflow_script()).expect("a script");
    let archive = world.path().join("b.tgz").to_string_lossy().into_owned();
    let script = format!("ARTIFACT={archive} bash workflow.sh");
    world.script(&app, &script).ok();
    let image = build_floor_image(&world);
    let image = image.as_str();

    let mut rows = vec![
        server_start(&world),
        rack_creation(&world),
        resident(&world),
        list(&world),
    ];
    let words = ["run", "web", "true", "-a", "myapp", "-r", "staging"];
    let ours = median(15, || drop(world.convox(&words).ok()));
    let floor = median(15, || docker(&["run", "--rm", image, "true"]));
    rows.push(ratio(
        "run web true, against docker run --rm",
        ours,
        floor,
        1.5,
    ));
    rows.push(promote(&world, image));
    rows.push(workflow(&world, &app, &script, image));
    docker(&["rmi", "-f", image]);
    rows
}

/// The middle of several timings.
fn median(times: usize, mut work: impl FnMut()) -> Duration {
    let mut taken: Vec<_> = (0..times)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    taken.sort();
    taken[times / 2]
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn quiet(program: &str, words: &[&str]) {
    let status = Command::new(program)
        .args(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "{program} {}",
        words.join(" ")
    );
}

fn docker(words: &[&str]) {
    quiet("docker", words);
}

/// Against a limit in time.
fn limit(what: &str, ours: Duration, floor: Duration, limit: Duration) -> Row {
    Row {
        what: what.to_owned(),
        measured: milliseconds(ours),
        floor: milliseconds(floor),
        ratio: format!("{:.1}", ours.as_secs_f64() / floor.as_secs_f64()),
        target: format!("≤ {}", milliseconds(limit)),
        within: ours <= limit,
    }
}

/// Against a multiple of the floor.
fn ratio(what: &str, ours: Duration, floor: Duration, most: f64) -> Row {
    let times = ours.as_secs_f64() / floor.as_secs_f64();
    Row {
        what: what.to_owned(),
        measured: milliseconds(ours),
        floor: milliseconds(floor),
        ratio: format!("{times:.2}"),
        target: format!("≤ {most:.2}x"),
        within: times <= most,
    }
}

/// The tiny app's image, built with plain Docker, for the floors.
fn build_floor_image(world: &World) -> String {
    let name = format!("twinrack-bench:{}", std::process::id());
    let context = world.example("tiny", "floor");
    docker(&["build", "-t", &name, &context.to_string_lossy()]);
    name
}

/// From the start of the program to its first answer, with two racks that run an app.
fn server_start(world: &World) -> Row {
    let floor = median(20, || quiet("true", &[]));
    let mut times: Vec<_> = (0..9)
        .map(|_| {
            world.kill_server();
            let start = Instant::now();
            let mut server = world.start_server();
            while !world.answers() {
                std::thread::sleep(Duration::from_micros(200));
            }
            let taken = start.elapsed();
            // The next command finds it running; it is ended by the next round.
            std::thread::spawn(move || server.wait());
            taken
        })
        .collect();
    times.sort();
    limit(
        "server start to first answer",
        times[4],
        floor,
        Duration::from_millis(150),
    )
}

fn rack_creation(world: &World) -> Row {
    let names: Vec<_> = (0..11).map(|number| format!("bench-{number}")).collect();
    let mut next = names.iter();
    let ours = median(11, || world.create_rack(next.next().expect("a name")));
    for name in &names {
        world.delete_rack(name);
    }
    // What no database can do without: a few files, written and synced.
    let floor = median(11, || {
        for number in 0..3 {
            let file =
                fs::File::create(world.path().join(format!("floor-{number}"))).expect("a file");
            std::io::Write::write_all(&mut &file, &[0; 4096]).expect("written");
            file.sync_all().expect("synced");
        }
    });
    limit("rack creation", ours, floor, Duration::from_millis(50))
}

/// Resident memory of a server at rest with two racks.
fn resident(world: &World) -> Row {
    // A server that has just recovered and answered, as people have it.
    world.kill_server();
    world.convox(&["racks"]).ok();
    world.wait_for_page("web.myapp.staging.localhost");
    let kib = world.resident_kib();
    Row {
        what: "resident memory at rest, two racks".into(),
        measured: format!("{:.1} MiB", kib as f64 / 1024.0),
        floor: "-".into(),
        ratio: "-".into(),
        target: "≤ 20 MiB".into(),
        within: kib <= 20 * 1024,
    }
}

fn list(world: &World) -> Row {
    let ours = median(31, || drop(world.convox(&["apps", "-r", "staging"]).ok()));
    let floor = median(31, || quiet("true", &[]));
    limit(
        "convox apps, against an empty program",
        ours,
        floor,
        Duration::from_millis(15),
    )
}

/// A new release of the tiny app, from the call to its end; the floor is a plain
/// container that answers over HTTP.
fn promote(world: &World, image: &str) -> Row {
    let words = ["releases", "promote", "-a", "myapp", "-r", "staging"];
    let ours = median(7, || drop(world.convox(&words).ok()));
    let floor = median(7, || {
        let name = format!("twinrack-bench-{}", std::process::id());
        docker(&["run", "-d", "--name", &name, "-p", "127.0.0.1::3000", image]);
        let port = Command::new("docker")
            .args(["port", &name, "3000"])
            .output()
            .expect("docker port");
        let address = String::from_utf8_lossy(&port.stdout)
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        let url = format!("http://{address}/health");
        while !Command::new("curl")
            .args(["-sf", "-o", "/dev/null", &url])
            .status()
            .is_ok_and(|status| status.success())
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        docker(&["rm", "-f", &name]);
    });
    limit(
        "promote of a tiny healthy release",
        ours,
        floor,
        Duration::from_millis(1500),
    )
}

/// The whole script; the floor is the same work with plain Docker on one engine.
fn workflow(world: &World, app: &std::path::Path, script: &str, image: &str) -> Row {
    let ours = median(3, || drop(world.script(app, script).ok()));
    let context = world.path().join("work/floor");
    let archive = world.path().join("floor.tgz");
    let floor = median(3, || {
        let name = format!("twinrack-bench-{}", std::process::id());
        let text = format!(
            "set -e\ndocker build -q -t {image} {context}\ndocker run -d --name {name}-1 {image}\n\
             docker run --rm {image} true\ndocker run --rm {image} true\n\
             docker save {image} | gzip -1 > {archive}\ngunzip -c {archive} | docker load\n\
             docker run -d --name {name}-2 {image}\ndocker rm -f {name}-1 {name}-2\n",
            context = context.display(),
            archive = archive.display(),
        );
        quiet("bash", &["-c", &text]);
    });
    limit(
        "the whole workflow script",
        ours,
        floor,
        Duration::from_secs(10),
    )
}
