//! Connections to what the rack runs (`rack-api.md` §2.7).

use rack_api::socket::Event;

use super::engines::{Engine, on_both_engines};
use super::flow::{PLAIN, text};
use super::world::{Client, Connected, World, until, within};

on_both_engines!(
    services_are_reached_by_every_name_they_have,
    resources_are_reached_by_their_urls,
    a_process_may_end_first,
    nothing_else_is_reached,
);

const DATABASE: &str = "services:
  web:
    build: .
    port: 3000
    drain: 1
    resources: [cache]
    termination:
      grace: 1
resources:
  cache:
    type: redis
";

const ASK: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

async fn deployed(engine: &Engine) -> (World, Client) {
    let (world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let files = [("convox.yml", DATABASE), PLAIN[1]];
    let release = rack.release("myapp", &files).await;
    rack.promote("myapp", &release).await;
    (world, rack)
}

async fn attach(rack: &Client, process: &str, command: &str) -> Connected {
    let headers = [("Command", command), ("Tty", "false")];
    rack.socket(&format!("/apps/myapp/processes/{process}/exec"), &headers)
        .await
}

/// Asks over HTTP, ends the direction, reads to the end.
async fn ask(rack: &Client, host: &str) -> String {
    let socket = rack.socket(&format!("/proxy/{host}/3000"), &[]).await;
    socket.writer.data(ASK).await.expect("sent");
    // The other direction goes on.
    socket.writer.end().await.expect("sent");
    let answer = socket.rest().await;
    assert!(answer.ended, "{answer:?}");
    answer.text()
}

async fn services_are_reached_by_every_name_they_have(engine: Engine) {
    let (_world, rack) = deployed(&engine).await;
    let id = text(&rack.get("/apps/myapp/processes").await.json()[0], "id");
    for host in [
        "web.myapp.staging",
        "web.myapp.staging.convox",
        "web.myapp.staging.local",
        "web.myapp.staging.localhost",
        "WEB.myapp.staging.",
        "web.myapp",
        &id,
    ] {
        let answer = ask(&rack, host).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(
            head.starts_with("HTTP/1.") && head.contains(" 200 OK"),
            "{host}: {answer}"
        );
        if engine.is_docker() {
            assert_eq!(body, "served\n", "{host}");
        } else {
            assert!(body.contains(&format!("process: {id}\n")), "{host}: {body}");
        }
    }
    if engine.is_docker() {
        // By its own address; and at a port that nothing declares.
        let (_, address) = rack.exec("myapp", &id, "hostname -i", b"").await;
        let address = String::from_utf8(address).expect("text");
        assert!(ask(&rack, address.trim()).await.contains(" 200 OK\r\n"));
        let listens = attach(&rack, &id, "nc -l -p 3456 -e cat").await;
        until("something to listen", async || {
            let stream = rack.socket("/proxy/web.myapp/3456", &[]).await;
            stream.writer.data(b"echo").await.expect("sent");
            stream.writer.end().await.expect("sent");
            stream.rest().await.text() == "echo"
        })
        .await;
        drop(listens);
    }
}

async fn resources_are_reached_by_their_urls(engine: Engine) {
    let (_world, rack) = deployed(&engine).await;
    let resource = rack.get("/apps/myapp/resources/cache?").await.json();
    let url = text(&resource, "url");
    let (_, rest) = url.split_once("://").expect("a url");
    let (host, port) = rest
        .split_once('/')
        .and_then(|(place, _)| {
            place
                .rsplit_once('@')
                .map_or(Some(place), |(_, place)| Some(place))
        })
        .and_then(|place| place.split_once(':'))
        .expect("host and port");
    let mut socket = rack.socket(&format!("/proxy/{host}/{port}"), &[]).await;
    for _ in 0..2 {
        socket.writer.data(b"PING\r\n").await.expect("sent");
        assert_eq!(socket.until("\n").await, "+PONG\r\n");
        socket.writer.ping().await.expect("sent");
    }
    socket.writer.end().await.expect("sent");
    let rest = socket.rest().await;
    assert_eq!((rest.text().as_str(), rest.ended), ("", true));
}

async fn a_process_may_end_first(engine: Engine) {
    let (_world, rack) = deployed(&engine).await;
    let mut socket = rack.socket("/proxy/web.myapp/3000", &[]).await;
    socket.writer.data(ASK).await.expect("sent");
    let mut answer = Vec::new();
    loop {
        match within("the end", socket.next()).await.expect("an end") {
            Event::Data(bytes) => answer.extend_from_slice(&bytes),
            Event::End => break,
            Event::Close => panic!("closed before the end"),
        }
    }
    assert!(String::from_utf8_lossy(&answer).contains(" 200 OK\r\n"));
    // Late bytes are no trouble, and the client's own end is the end of all.
    socket.writer.data(b"late").await.expect("sent");
    socket.writer.end().await.expect("sent");
    let event = within("the close", socket.next()).await;
    assert_eq!(event.expect("a close"), Event::Close);
}

async fn nothing_else_is_reached(engine: Engine) {
    let (world, rack) = deployed(&engine).await;
    let other = world.rack("production").await;
    other.deploy("other").await;
    let foreign = text(&other.get("/apps/other/processes").await.json()[0], "id");
    let refused = async |host: &str, port: &str| {
        let stream = rack.stream(&format!("/proxy/{host}/{port}"), &[]).await;
        assert!(stream.ended, "{host}:{port}");
        stream.text()
    };
    for host in [
        "localhost",
        "127.0.0.1",
        "0.0.0.0",
        "[::1]",
        "169.254.169.254",
        "metadata.google.internal",
        "example.com",
        "web",
        "web.other.production",
        "web.other",
        "cache.resource.myapp.production",
        "*",
        &foreign,
    ] {
        assert_eq!(
            refused(host, "3000").await,
            "ERROR: invalid proxy host\n",
            "{host}"
        );
    }
    for port in ["0", "65536", "-1", "http", "3000.5"] {
        assert_eq!(
            refused("web.myapp", port).await,
            "ERROR: invalid proxy port\n",
            "{port}"
        );
    }
    // Nothing listens there.
    let closed = refused("web.myapp", "3999").await;
    assert!(
        closed.starts_with("ERROR: ") && closed.lines().count() == 1,
        "{closed}"
    );
    let stranger = world.stranger().stream("/proxy/web.myapp/3000", &[]).await;
    assert_eq!(stranger.text(), "ERROR: invalid authentication\n");
    assert_eq!(
        rack.get("/proxy/web.myapp/3000").await.status,
        404,
        "only a socket"
    );
}
