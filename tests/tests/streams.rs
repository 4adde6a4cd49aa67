//! Commands whose stream breaks: the status is what the rack has recorded, never a
//! success that nobody observed. Streams that are large, empty or closed.

use end_to_end::{Cutter, World, streams, wait_until};
use rack_api::exit_status::MARKER;

fn deployed(world: &World) {
    world.install(&["staging"]);
    let app = world.example("tiny", "myapp");
    for words in [&["apps", "create", "myapp"][..], &["deploy", "-a", "myapp"]] {
        world.convox_in(&app, words).ok();
    }
}

fn statuses_survive(mut world: World) {
    deployed(&world);
    // The news of the end is what gets lost.
    let cutter = Cutter::new(world.port(), MARKER);
    let url = world.url_through(cutter.port());
    world.set("RACK_URL", &url);
    for (command, status) in [("exit 3", 3), ("true", 0), ("exit 255", 255)] {
        let run = world.convox(&["run", "web", command, "-a", "myapp"]);
        assert_eq!(
            run.status, status,
            "{command}: {}{}",
            run.stdout, run.stderr
        );
        assert!(
            run.stderr.contains("the rack has recorded its end"),
            "{}",
            run.stderr
        );
    }
    // A command of a process that goes on is not remembered: that is a failure.
    let exec = world.convox(&["exec", "web", "true", "-a", "myapp"]);
    assert_ne!(exec.status, 0, "{}{}", exec.stdout, exec.stderr);

    // The stream breaks while the command runs: it ends with its client.
    let cutter = Cutter::new(world.port(), "begun");
    let url = world.url_through(cutter.port());
    world.set("RACK_URL", &url);
    let run = world.convox(&["run", "web", "echo be'gun'; sleep 1000", "-a", "myapp"]);
    assert_eq!(run.status, 137, "{}{}", run.stdout, run.stderr);
    world.unset("RACK_URL");
}

#[test]
fn a_log_goes_on_where_it_broke_simulated() {
    let mut world = World::simulated();
    deployed(&world);
    let say = |world: &World, word: &str| {
        let command = format!("echo {word}");
        world
            .convox(&["run", "web", &command, "-a", "myapp", "-d"])
            .ok();
        wait_until(word, || {
            let log = world
                .convox(&["logs", "--no-follow", "--since", "1h", "-a", "myapp"])
                .ok();
            log.contains(&format!(" {word}\n"))
        });
    };
    for word in ["one", "two", "three"] {
        say(&world, word);
    }
    // Breaks whenever the second word comes by, the first two times.
    let cutter = Cutter::times(world.port(), " two", 2);
    let url = world.url_through(cutter.port());
    world.set("RACK_URL", &url);
    let mut follower = world.follow(&["logs", "--since", "1h", "-a", "myapp"]);
    world.unset("RACK_URL");
    let heard = follower.until(" three\n");
    for word in ["one", "two", "three"] {
        assert_eq!(heard.matches(&format!(" {word}\n")).count(), 1, "{heard}");
    }
    assert_eq!(cutter.cuts(), 2);
    say(&world, "four");
    assert!(!follower.until(" four\n").contains(" three\n"));
}

#[test]
fn statuses_survive_broken_streams_simulated() {
    statuses_survive(World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn statuses_survive_broken_streams() {
    statuses_survive(World::docker());
}

/// How much goes through a stream. `make bench` sends a gibibyte through the release
/// build; here it is what the debug build does in reasonable time, and several times
/// what the server may take for it.
const MEBIBYTES: u64 = 48;
/// What the server may take for streams, in MiB, whatever goes through them.
const MEMORY: u64 = 32;

#[test]
#[ignore = "needs Docker"]
fn large_streams_arrive_whole_and_take_little_memory() {
    let world = World::docker();
    deployed(&world);
    let size = std::env::var("TWINRACK_TEST_STREAM_MIB");
    let size = size.map_or(MEBIBYTES, |size| size.parse().expect("a number"));
    let before = world.resident_kib();
    world.forget_peak();
    streams::into_a_command(&world, "myapp", size);
    streams::out_of_commands(&world, "myapp", size);
    let taken = world.peak_kib().saturating_sub(before) / 1024;
    assert!(taken <= MEMORY, "{taken} MiB for streams of {size} MiB");
}

fn input_may_be_missing(world: &World) {
    deployed(world);
    for redirect in ["<&-", "</dev/null"] {
        for words in ["exec web", "run web"] {
            let script = format!("convox {words} 'cat; echo end; exit 3' -a myapp {redirect}");
            let answer = world.script(world.path(), &script);
            assert_eq!(
                (answer.status, answer.stdout.as_str()),
                (3, "end\n"),
                "{script}: {}",
                answer.stderr
            );
        }
    }
}

#[test]
fn input_that_is_closed_or_empty_ends_at_once_simulated() {
    input_may_be_missing(&World::simulated());
}

#[test]
#[ignore = "needs Docker"]
fn input_that_is_closed_or_empty_ends_at_once() {
    input_may_be_missing(&World::docker());
}

/// Bytes of the logs that the server has stored.
fn stored(world: &World) -> u64 {
    let data = world.path().join("data");
    let sizes = format!(
        "find '{}' -path '*/logs/apps/*' -name '*.log' -exec cat {{}} + | wc -c",
        data.display()
    );
    let sum = world.script(world.path(), &sizes).ok();
    sum.trim().parse().unwrap_or(0)
}

/// More lines than the engine keeps in one file, and a server that is killed meanwhile:
/// each line is in the log once and in its place.
#[test]
#[ignore = "needs Docker"]
fn a_log_that_outgrows_the_engines_files_survives_its_server() {
    const LINES: u32 = 40_000;
    let world = World::docker();
    deployed(&world);
    let command = format!(
        "awk 'BEGIN {{ while (length(p) < 594) p = p \"x\"; \
         for (n = 1; n <= {LINES}; n++) printf \"%05d %s\\n\", n, p }}'; echo all-is-said"
    );
    let detached = ["run", "web", &command, "-a", "myapp", "-d"];
    world.convox(&detached).ok();
    for megabytes in [2, 9] {
        wait_until("some of it is stored", || stored(&world) > megabytes << 20);
        assert!(world.kill_server());
        // Whoever comes next starts it again.
        world.convox(&["apps"]).ok();
    }
    let read = |filter: &str| {
        let words = ["logs", "--no-follow", "--since", "1h", "-a", "myapp"];
        world
            .convox(&[&words[..], &["--filter", filter]].concat())
            .ok()
    };
    wait_until("the last line", || {
        read("all-is-said").contains(" all-is-said\n")
    });
    let all = read("xxxx");
    let numbers = all.lines().map(|line| {
        let (_, number) = line
            .trim_end_matches('x')
            .trim_end()
            .rsplit_once(' ')
            .expect("words");
        number.parse::<u32>().expect("a number")
    });
    let mut expected = 0;
    for number in numbers {
        expected += 1;
        assert_eq!(number, expected);
    }
    assert_eq!(expected, LINES);
}
