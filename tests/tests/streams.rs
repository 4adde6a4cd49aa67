//! Commands whose stream breaks: the status is what the rack has recorded, never a
//! success that nobody observed. Streams that are large, empty or closed.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use end_to_end::{Cutter, World, streams, wait_until, write};
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

/// A server in as few words as can be: counts what is sent to `/count`, tells events one by
/// one at `/events`, echoes behind an upgrade at `/socket`.
const STREAMS: &str = r#"use strict;
use IO::Socket::INET;
$SIG{CHLD} = 'IGNORE';
$SIG{TERM} = sub { exit 0 };
my $listener = IO::Socket::INET->new(LocalPort => 3000, Listen => 50, ReuseAddr => 1) or die;
while (1) {
  my $client = $listener->accept or next;
  next if fork;
  binmode $client;
  $client->autoflush(1);
  my ($head, $rest) = ('', 0);
  while (my $line = <$client>) { last if $line eq "\r\n"; $head .= $line }
  my ($path) = $head =~ m{^\S+ (\S+)};
  if ($path eq '/count') {
    my ($length) = $head =~ /^content-length: (\d+)/im;
    while ($rest < $length) { my $got = read($client, my $part, 1 << 20) or last; $rest += $got }
    print $client "HTTP/1.1 200 OK\r\nContent-Length: " . length($rest) . "\r\n\r\n$rest";
  } elsif ($path eq '/events') {
    print $client "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
    for my $number (1 .. 3) { print $client "data: $number\n\n"; select undef, undef, undef, 0.3 }
  } elsif ($path eq '/socket') {
    print $client "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    while (my $line = <$client>) { print $client "echo $line" }
  } else {
    print $client "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  }
  exit 0;
}
"#;

/// Sends the head of a request to the app, reads the head of the answer.
fn asked(world: &World, head: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", world.port())).expect("open");
    let head = format!("{head}Host: web.streams.staging.localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("written");
    let answer = if head.starts_with("POST") {
        String::new()
    } else {
        head_of(&mut stream)
    };
    (stream, answer)
}

fn head_of(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        head.push(byte[0]);
    }
    String::from_utf8(head).expect("text")
}

#[test]
#[ignore = "needs Docker"]
fn uploads_events_and_sockets_pass_through_the_router_in_constant_memory() {
    const GIBIBYTE: u64 = 1 << 30;
    let world = World::docker();
    world.install(&["staging"]);
    let app = world.path().join("streams");
    std::fs::create_dir_all(&app).expect("made");
    write(
        &app,
        "convox.yml",
        "services:\n  web:\n    build: .\n    port: 3000\n    health: {interval: 1}\n    termination: {grace: 1}\n    drain: 1\n",
    );
    write(
        &app,
        "Dockerfile",
        "FROM debian:bookworm-slim\nCOPY . .\nCMD [\"perl\", \"server.pl\"]\n",
    );
    write(&app, "server.pl", STREAMS);
    for words in [
        &["apps", "create", "streams"][..],
        &["deploy", "-a", "streams"],
    ] {
        world.convox_in(&app, words).ok();
    }
    // Upgraded, both ways, line by line.
    let (mut socket, head) = asked(
        &world,
        "GET /socket HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    );
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    for word in ["one", "two"] {
        socket
            .write_all(format!("{word}\n").as_bytes())
            .expect("written");
        let expected = format!("echo {word}\n");
        let mut heard = vec![0; expected.len()];
        socket.read_exact(&mut heard).expect("an echo");
        assert_eq!(String::from_utf8_lossy(&heard), expected);
    }
    // Events, each as it is told.
    let (mut events, head) = asked(&world, "GET /events HTTP/1.1\r\n");
    assert!(head.contains("text/event-stream"), "{head}");
    let mut told = String::new();
    let mut piece = [0; 1024];
    let mut pieces = 0;
    while !told.contains("data: 3\n\n") {
        let length = events.read(&mut piece).expect("more");
        assert_ne!(length, 0, "{told}");
        told += &String::from_utf8_lossy(&piece[..length]);
        pieces += 1;
    }
    assert!(pieces > 1, "all came at once: {told}");
    // A gibibyte upwards.
    let before = world.resident_kib();
    world.forget_peak();
    let (mut upload, _) = asked(
        &world,
        &format!("POST /count HTTP/1.1\r\nContent-Length: {GIBIBYTE}\r\n"),
    );
    let bytes = vec![7; 1 << 20];
    for _ in 0..1024 {
        upload.write_all(&bytes).expect("written");
    }
    let head = head_of(&mut upload);
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let mut count = vec![0; GIBIBYTE.to_string().len()];
    upload.read_exact(&mut count).expect("a count");
    assert_eq!(String::from_utf8_lossy(&count), GIBIBYTE.to_string());
    let taken = world.peak_kib().saturating_sub(before) / 1024;
    assert!(taken <= MEMORY, "{taken} MiB for an upload of 1024 MiB");
}
