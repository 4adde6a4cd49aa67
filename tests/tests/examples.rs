//! The examples that use what racks have beyond one page: they are built, deployed and used
//! as their readers would.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::Duration;

use end_to_end::{World, wait_until};
use rack_api::socket::{Event, Role, Socket, SocketReader, SocketWriter};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest wait for what somebody says.
const PATIENCE: Duration = Duration::from_secs(60);

fn orders(world: &World, host: &str) -> Value {
    let (status, body) = world.page(host, "/orders");
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

fn order(world: &World, host: &str, what: &str) -> Value {
    let (status, body) = world.request(host, "/orders", &["--data-binary", what]);
    assert_eq!(status, 201, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

#[test]
#[ignore = "needs Docker"]
fn a_shop_in_three_languages_takes_orders_on_two_racks() {
    let world = World::docker();
    let shop = world.example("polyglot", "shop");
    world.install(&["staging", "production"]);
    for rack in ["staging", "production"] {
        world
            .convox_in(&shop, &["apps", "create", "shop", "-r", rack])
            .ok();
    }
    let deploy = ["deploy", "-a", "shop", "-r", "staging"];
    world.convox_in(&shop, &deploy).ok();
    let host = "web.shop.staging.localhost";
    let (status, page) = world.page(host, "/");
    assert_eq!(status, 200);
    assert!(page.contains("<h1>Twinrack</h1>"), "{page}");
    // Nobody but the other services reaches the API.
    assert_eq!(world.page("api.shop.staging.localhost", "/orders").0, 404);

    // From the page over the API, the queue and the worker back to the page, as it happens.
    let mut listening = Command::new("curl")
        .args(["-sN", "--max-time", "120", "--noproxy", "*", "--resolve"])
        .arg(format!("{host}:{}:127.0.0.1", world.port()))
        .arg(format!("http://{host}:{}/events", world.port()))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    let first = order(&world, host, "a chair");
    assert_eq!(first["state"], "ordered");
    let told = BufReader::new(listening.stdout.take().expect("piped"));
    let done = told
        .lines()
        .map_while(Result::ok)
        .any(|line| line.contains("\"what\":\"a chair\",\"state\":\"done\""));
    assert!(done, "the page is told of the end of the order");
    listening.kill().expect("ended");
    listening.wait().expect("its end");
    let log = world
        .convox(&["logs", "-a", "shop", "-r", "staging", "--no-follow"])
        .ok();
    assert!(log.contains("order 1 is done: a chair"), "{log}");

    // What the timer runs.
    for number in 0..11 {
        order(&world, host, &format!("shelf {number}"));
    }
    wait_until("all orders to be done", || {
        let all = orders(&world, host);
        let all = all.as_array().expect("a list");
        all.len() == 12 && all.iter().all(|order| order["state"] == "done")
    });
    let words = ["timers", "run", "tidy", "-a", "shop", "-r", "staging"];
    assert_eq!(world.convox(&words).ok(), "2 orders are tidied up\n");
    assert_eq!(orders(&world, host).as_array().map(Vec::len), Some(10));

    // A release keeps them; the other rack has orders of its own.
    let (_, build) = world.active_of("shop", "staging");
    let words = ["env", "set", "SHOP=Ours", "--promote", "-a", "shop"];
    world
        .convox(&[&words[..], &["-r", "staging"]].concat())
        .ok();
    assert!(world.page(host, "/").1.contains("<h1>Ours</h1>"));
    assert_eq!(orders(&world, host).as_array().map(Vec::len), Some(10));
    let words = ["builds", "copy", &build, "-a", "shop", "--from", "staging"];
    world
        .convox(&[&words[..], &["--to", "production"]].concat())
        .ok();
    world
        .convox(&["releases", "promote", "-a", "shop", "-r", "production"])
        .ok();
    let production = "web.shop.production.localhost";
    assert_eq!(orders(&world, production), serde_json::json!([]));
    order(&world, production, "a table");
    wait_until("the order to be done", || {
        orders(&world, production)[0]["state"] == "done"
    });
    assert_eq!(orders(&world, host).as_array().map(Vec::len), Some(10));
}

/// Somebody in the chat.
struct Guest {
    ears: SocketReader<TcpStream>,
    mouth: SocketWriter<TcpStream>,
}

impl Guest {
    /// Enters, and is told by which process.
    async fn enter(port: u16) -> (Self, String) {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let head = "GET /chat HTTP/1.1\r\nHost: web.chat.staging.localhost\r\nConnection: Upgrade\r\n\
                    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
        stream.write_all(head.as_bytes()).await.expect("asked");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer"));
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        let (ears, mouth) = Socket::new(stream, Role::Client).split();
        let mut guest = Self { ears, mouth };
        let welcome = guest.hear_words().await;
        assert!(welcome.starts_with("* this is "), "{welcome}");
        (guest, welcome)
    }

    async fn say(&self, words: &str) {
        self.mouth.data(words.as_bytes()).await.expect("said");
    }

    async fn hear(&mut self) -> Event {
        let heard = tokio::time::timeout(PATIENCE, self.ears.next()).await;
        heard.expect("something is heard in time").expect("heard")
    }

    async fn hear_words(&mut self) -> String {
        match self.hear().await {
            Event::Data(words) => String::from_utf8_lossy(&words).into_owned(),
            other => panic!("words are expected: {other:?}"),
        }
    }
}

#[test]
#[ignore = "needs Docker"]
fn guests_of_two_processes_hear_each_other() {
    let world = World::docker();
    let chat = world.example("chat", "chat");
    let at = |words: &[&str]| {
        let words = [words, &["-a", "chat", "-r", "staging"]].concat();
        world.convox_in(&chat, &words).ok()
    };
    world.install(&["staging"]);
    world
        .convox_in(&chat, &["apps", "create", "chat", "-r", "staging"])
        .ok();
    at(&["deploy"]);
    let (status, page) = world.page("web.chat.staging.localhost", "/");
    assert!(status == 200 && page.contains("new WebSocket"), "{page}");

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let (mut ann, mut bob, before) = runtime.block_on(async {
        // The router goes to the process that is less busy.
        let (mut ann, hers) = Guest::enter(world.port()).await;
        let (mut bob, his) = Guest::enter(world.port()).await;
        assert_ne!(hers, his);
        ann.say("hello, ünïverse").await;
        assert_eq!(bob.hear_words().await, "hello, ünïverse");
        assert_eq!(ann.hear_words().await, "hello, ünïverse");
        bob.say("hello, Ann").await;
        assert_eq!(ann.hear_words().await, "hello, Ann");
        assert_eq!(bob.hear_words().await, "hello, Ann");
        (ann, bob, [hers, his])
    });
    // Those who are on the way out say goodbye; the next ones go on.
    at(&["releases", "promote"]);
    runtime.block_on(async {
        for guest in [&mut ann, &mut bob] {
            assert!(matches!(guest.hear().await, Event::Close), "goodbye");
        }
        let (_ann, again) = Guest::enter(world.port()).await;
        assert!(!before.contains(&again), "another process: {again}");
    });
}
