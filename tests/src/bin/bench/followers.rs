//! Many followers of one log: how late lines reach them, and what they cost.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use end_to_end::World;
use rack_api::socket::{Event, Role, Socket, SocketReader};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use super::{Row, milliseconds};

/// Followers that read as fast as they can.
const FAST: usize = 1000;
/// Followers that read nothing.
const STALLED: usize = 100;
/// How long each round is measured.
const ROUND: Duration = Duration::from_secs(10);
/// How late a line may be.
const LAG: Duration = Duration::from_millis(250);
/// What the server may take.
const MEMORY: u64 = 150;

const DOCKERFILE: &str = "FROM debian:bookworm-slim\nCOPY talker /\nCMD [\"bash\", \"/talker\"]\n";
/// Says a lot, then a hundred lines each second that hold their number and time.
const TALKER: &str = r#"
printf -v many '%0200d' 0
for ((n = 0; n < 25000; n++)); do echo "backlog $many"; done
exec 3<> <(:)
at=${EPOCHREALTIME/./}
for ((n = 1; ; n++)); do
  echo "line $n $EPOCHREALTIME"
  at=$((at + 10000)) left=$((at - ${EPOCHREALTIME/./}))
  if [ "$left" -gt 0 ]; then
    # Nobody writes there: a pause that starts no program.
    printf -v pause '0.%06d' "$left"
    read -r -t "$pause" -u 3
  fi
done
"#;
const MANIFEST: &str = "services:\n  talker:\n    build: .\n    termination:\n      grace: 1\n";

/// Lags of the lines that followers got, in seconds.
type Lags = Vec<f32>;

/// Rows for the lag of followers and the server's memory.
pub(crate) fn rows(world: &World) -> Vec<Row> {
    let source = world.path().join("work/talker");
    fs::create_dir_all(&source).expect("a directory");
    fs::write(source.join("Dockerfile"), DOCKERFILE).expect("a Dockerfile");
    fs::write(source.join("talker"), TALKER).expect("a script");
    fs::write(source.join("convox.yml"), MANIFEST).expect("a manifest");
    world
        .convox(&["apps", "create", "talker", "-r", "staging"])
        .ok();
    world
        .convox_in(&source, &["deploy", "-a", "talker", "-r", "staging"])
        .ok();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let rows = runtime.block_on(measure(world));
    world
        .convox(&["apps", "delete", "talker", "-r", "staging"])
        .ok();
    rows
}

async fn measure(world: &World) -> Vec<Row> {
    // What was said before the first round is to be stored first.
    for _ in 0..30 {
        if round(world, 1, 0, ROUND / 10).await.0 <= LAG {
            break;
        }
    }
    let (one, _) = round(world, 1, 0, ROUND).await;
    let (many, memory) = round(world, FAST, 0, ROUND).await;
    let (beside, _) = round(world, FAST, STALLED, ROUND).await;
    let row = |what: String, lag: Duration| Row {
        what,
        measured: milliseconds(lag),
        floor: milliseconds(one),
        ratio: format!("{:.1}", lag.as_secs_f64() / one.as_secs_f64()),
        target: format!("≤ {}", milliseconds(LAG)),
        within: lag <= LAG,
    };
    vec![
        row(format!("{FAST} log followers, p99 of lag"), many),
        row(format!("the same beside {STALLED} stalled ones"), beside),
        Row {
            what: format!("resident memory with {FAST} followers"),
            measured: format!("{memory} MiB"),
            floor: "-".into(),
            ratio: "-".into(),
            target: format!("≤ {MEMORY} MiB"),
            within: memory <= MEMORY,
        },
    ]
}

/// Follows for a while; gives the 99th percentile of the lag, and the server's memory
/// in MiB towards the end.
async fn round(world: &World, fast: usize, stalled: usize, time: Duration) -> (Duration, u64) {
    let address = SocketAddr::from(([127, 0, 0, 1], world.port()));
    let head = |since: &str| {
        format!(
            "GET /apps/talker/services/talker/logs HTTP/1.1\r\nHost: localhost\r\nAuthorization: {}\r\nRack: staging\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSince: {since}\r\n\r\n",
            world.authorization()
        )
    };
    let mut idle = Vec::new();
    for _ in 0..stalled {
        // From the beginning, into a small buffer that nobody empties.
        idle.push(connect(address, &head("24h"), Some(4096)).await);
    }
    let over = Arc::new(AtomicBool::new(false));
    let measuring = Arc::new(AtomicBool::new(false));
    let mut followers = Vec::new();
    for _ in 0..fast {
        let stream = connect(address, &head("1ns"), None).await;
        let (reader, _) = Socket::new(stream, Role::Client).split();
        followers.push(tokio::spawn(follow(
            reader,
            Arc::clone(&measuring),
            Arc::clone(&over),
        )));
    }
    // Everyone is there and has caught up.
    tokio::time::sleep(Duration::from_secs(2)).await;
    measuring.store(true, Ordering::SeqCst);
    tokio::time::sleep(time).await;
    let memory = world.resident_kib() / 1024;
    over.store(true, Ordering::SeqCst);
    let mut lags = Lags::new();
    for follower in followers {
        let of_one = follower.await.expect("no line is missing");
        assert!(!of_one.is_empty(), "every follower gets lines");
        lags.extend(of_one);
    }
    drop(idle);
    lags.sort_by(f32::total_cmp);
    let at = (lags.len() - 1) as f64 * 0.99;
    (Duration::from_secs_f32(lags[at as usize].max(0.0)), memory)
}

/// Asks for a socket and gets it.
async fn connect(address: SocketAddr, head: &str, buffer: Option<u32>) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    if let Some(size) = buffer {
        socket.set_recv_buffer_size(size).expect("an option");
    }
    let mut stream = socket.connect(address).await.expect("the server listens");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a head"));
    }
    assert!(answer.starts_with(b"HTTP/1.1 101"), "a socket");
    stream
}

/// Reads lines until it is over: none may be missing or come twice.
async fn follow(
    mut reader: SocketReader<TcpStream>,
    measuring: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
) -> Lags {
    let mut lags = Lags::new();
    let mut rest = Vec::new();
    let mut last = 0_u64;
    while !over.load(Ordering::Relaxed) {
        let event = reader.next().await.expect("the server is there");
        let Event::Data(bytes) = event else {
            panic!("the stream ended");
        };
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_secs_f64();
        rest.extend_from_slice(&bytes);
        let whole = rest
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |at| at + 1);
        let text = String::from_utf8_lossy(&rest[..whole]).into_owned();
        rest.drain(..whole);
        for line in text.lines() {
            let mut words = line.split(' ');
            if words.next() != Some("line") {
                continue;
            }
            let number: u64 = words.next().expect("a number").parse().expect("a number");
            let time: f64 = words.next().expect("a time").parse().expect("a time");
            assert!(last == 0 || number == last + 1, "{number} after {last}");
            last = number;
            if measuring.load(Ordering::Relaxed) {
                lags.push((now - time) as f32);
            }
        }
    }
    lags
}
