//! What resources hold: dumped on one rack, restored on another, whole or not at all;
//! and their consoles (`rack-api.md` §3.10).

use std::fmt::Write as _;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::engines::{Engine, on_both_engines};
use super::flow::PLAIN;
use super::world::{Answer, Client, until};

on_both_engines!(
    postgres_travels_from_rack_to_rack,
    redis_travels_from_rack_to_rack,
    a_restore_is_whole_or_not_at_all,
    what_is_not_there_has_no_data,
    a_console_is_a_session_without_a_marker,
);

const MANIFEST: &str = "services:
  web:
    build: .
    command: sleep 100000
    resources: [database, cache]
    termination:
      grace: 1
resources:
  database:
    type: postgres
  cache:
    type: redis
";
const DATABASE: &str = "/apps/myapp/resources/database";
const CACHE: &str = "/apps/myapp/resources/cache";
const BYTES: &[(&str, &str)] = &[("Content-Type", "application/octet-stream")];

/// Deploys an app with both resources.
async fn deploy(rack: &Client) {
    rack.create("myapp").await;
    let release = rack
        .release("myapp", &[("convox.yml", MANIFEST), PLAIN[1]])
        .await;
    assert_eq!(
        rack.promote("myapp", &release).await["release"],
        json!(release)
    );
}

/// A dump as it comes.
pub(crate) async fn dump(rack: &Client, resource: &str) -> Vec<u8> {
    let answer = rack.get(&format!("{resource}/data?")).await;
    assert_eq!(
        answer.status,
        200,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    assert_eq!(answer.header("content-encoding"), None);
    answer.body
}

pub(crate) async fn restore(rack: &Client, resource: &str, dump: &[u8]) -> Answer {
    rack.send_chunked("PUT", &format!("{resource}/data?"), &[dump])
        .await
}

/// What a session answers to lines, without a terminal.
pub(crate) async fn console(rack: &Client, resource: &str, lines: &str) -> String {
    let socket = rack.socket(&format!("{resource}/console"), &[]).await;
    socket.writer.data(lines.as_bytes()).await.expect("sent");
    socket.writer.end().await.expect("sent");
    let stream = socket.rest().await;
    assert!(stream.ended, "{stream:?}");
    stream.text()
}

/// SQL that makes a table of some rows, with bytes that are easily hurt.
fn table(name: &str, rows: usize) -> String {
    let mut sql = format!(
        "CREATE TABLE {name} (id integer PRIMARY KEY, body text);\nCOPY {name} (id, body) FROM stdin;\n"
    );
    for id in 0..rows {
        writeln!(
            sql,
            "{id}\tünï 'quoted' \\\\ percent % {}",
            "x".repeat(id % 100)
        )
        .expect("memory");
    }
    sql.push_str("\\.\n");
    sql
}

async fn postgres_travels_from_rack_to_rack(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    deploy(&staging).await;
    deploy(&production).await;
    let count = if engine.is_docker() { 20_000 } else { 200_000 };
    restore(&staging, DATABASE, table("items", count).as_bytes())
        .await
        .ok();
    let dumped = dump(&staging, DATABASE).await;
    assert!(dumped.len() > count * 20, "{} bytes", dumped.len());
    restore(&production, DATABASE, &dumped).await.ok();
    // Again, over what is there now.
    restore(&production, DATABASE, &dumped).await.ok();
    if engine.is_docker() {
        let question = "\\pset format unaligned\n\\pset tuples_only on\n\
                        SELECT count(*), md5(string_agg(body, ',' ORDER BY id)) FROM items;\n";
        let there = console(&staging, DATABASE, question).await;
        assert!(there.contains(&format!("{count}|")), "{there}");
        assert_eq!(console(&production, DATABASE, question).await, there);
    } else {
        assert_eq!(dump(&production, DATABASE).await, dumped);
    }
}

async fn redis_travels_from_rack_to_rack(engine: Engine) {
    let (world, staging) = engine.with_rack().await;
    let production = world.rack("production").await;
    deploy(&staging).await;
    deploy(&production).await;
    let empty = dump(&staging, CACHE).await;
    assert!(empty.starts_with(b"REDIS"), "{empty:?}");
    if engine.is_docker() {
        let said = console(&staging, CACHE, "set greeting hello\nrpush list a b c\n").await;
        assert!(said.contains("OK") && said.contains('3'), "{said}");
        console(&production, CACHE, "set old thing\n").await;
    }
    let dumped = dump(&staging, CACHE).await;
    restore(&production, CACHE, &dumped).await.ok();
    if engine.is_docker() {
        let there = console(
            &production,
            CACHE,
            "get greeting\nlrange list 0 -1\nexists old\n",
        )
        .await;
        assert_eq!(
            there, "hello\na\nb\nc\n0\n",
            "all of the dump and nothing else"
        );
        // It is a server of its own again.
        let written = console(&production, CACHE, "set after restore\ninfo replication\n").await;
        assert!(
            written.starts_with("OK\n") && written.contains("role:master"),
            "{written}"
        );
    } else {
        assert_eq!(dump(&production, CACHE).await, dumped);
    }
    let mut damaged = dumped.clone();
    damaged[dumped.len() / 2] ^= 0x20;
    for bad in [
        &dumped[..dumped.len() - 1],
        &damaged,
        b"no dump at all",
        b"",
    ] {
        let answer = restore(&production, CACHE, bad).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let text = answer.text();
        assert!(
            text.starts_with("import of resource cache failed: ")
                && text.ends_with("; nothing was changed\n"),
            "{text}"
        );
    }
    if engine.is_docker() {
        let there = console(&production, CACHE, "get greeting\nget after\n").await;
        assert_eq!(there, "hello\nrestore\n");
    } else {
        assert_eq!(dump(&production, CACHE).await, dumped);
    }
}

async fn a_restore_is_whole_or_not_at_all(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    deploy(&rack).await;
    restore(&rack, DATABASE, table("kept", 10).as_bytes())
        .await
        .ok();
    let before = dump(&rack, DATABASE).await;
    let unchanged = async || {
        if engine.is_docker() {
            let said = console(&rack, DATABASE, "\\dt\n").await;
            assert!(said.contains("kept") && !said.contains("other"), "{said}");
        } else {
            assert_eq!(dump(&rack, DATABASE).await, before);
        }
    };
    // A statement that fails after others that worked; neither engine takes the zero.
    let failing = format!(
        "{}INSERT INTO other VALUES (1, '\0');\n",
        table("other", 10)
    );
    let whole = table("other", 10);
    let mut bad = vec![
        failing.into_bytes(),
        // A dump that was cut: inside a copy, inside a text, and inside a statement.
        whole.as_bytes()[..whole.len() - 30].to_vec(),
        b"CREATE TABLE other (a text);\nINSERT INTO other VALUES ('abc".to_vec(),
        b"CREATE TABLE other (a text);\nINSERT INTO other VALUES ('abc'".to_vec(),
        // What is none at all.
        format!("{whole}no dump at all\n").into_bytes(),
        b"\x1f\x8b\x08 compressed".to_vec(),
    ];
    if engine.is_docker() {
        // It would take a database to know what there is.
        bad.push(format!("{whole}SELECT nonsense;\n").into_bytes());
    }
    for bad in bad {
        let answer = restore(&rack, DATABASE, &bad).await;
        assert_eq!(answer.status, 400, "{answer:?}");
        let text = answer.text();
        assert!(
            text.starts_with("import of resource database failed: ")
                && text.ends_with("; nothing was changed\n"),
            "{text}"
        );
        unchanged().await;
    }
    // A client that breaks off in the middle.
    let mut head = format!("PUT {DATABASE}/data HTTP/1.1\r\nHost: x.localhost\r\n");
    for (name, value) in &rack.headers {
        write!(head, "{name}: {value}\r\n").expect("memory");
    }
    head.push_str("Transfer-Encoding: chunked\r\n\r\n");
    let body = table("other", 10);
    write!(head, "{:x}\r\n{body}\r\n", body.len()).expect("memory");
    let mut stream = TcpStream::connect(rack.address).await.expect("connected");
    stream.write_all(head.as_bytes()).await.expect("sent");
    drop(stream);
    // The next one waits for its end.
    restore(&rack, DATABASE, b"SELECT 1;\n").await.ok();
    if engine.is_docker() {
        unchanged().await;
    }
    rack.send(
        "PUT",
        &format!("{DATABASE}/data"),
        BYTES,
        table("more", 3).as_bytes(),
    )
    .await
    .ok();
}

async fn what_is_not_there_has_no_data(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    rack.create("myapp").await;
    let data = format!("{DATABASE}/data");
    rack.get(&data)
        .await
        .fails(404, "no such resource: database");
    deploy_external(&rack).await;
    let external =
        "resource database is given by a url in the environment: ask the server it names";
    rack.get(&data).await.fails(400, external);
    rack.send("PUT", &data, BYTES, b"SELECT 1;")
        .await
        .fails(400, external);
    let stream = rack.stream(&format!("{DATABASE}/console"), &[]).await;
    assert_eq!(
        stream.text(),
        format!("ERROR: {external}\n"),
        "no exit marker"
    );
    assert!(stream.ended);
    rack.get("/apps/myapp/resources/nope/data")
        .await
        .fails(404, "no such resource: nope");
    rack.get("/apps/nope/resources/database/data")
        .await
        .fails(404, "app not found: nope");
    let stream = rack
        .stream("/apps/nope/resources/database/console", &[])
        .await;
    assert_eq!(stream.text(), "ERROR: app not found: nope\n");
}

async fn a_console_is_a_session_without_a_marker(engine: Engine) {
    let (_world, rack) = engine.with_rack().await;
    deploy(&rack).await;
    let path = format!("{DATABASE}/console");
    let size = [("Height", "31"), ("Width", "97")];
    let mut left = rack.socket(&path, &size).await;
    left.writer
        .data(b"SELECT 'answer ' || 40 + 2;\r\nSELECT pg_sleep(1000);\r\n")
        .await
        .expect("sent");
    left.until("SELECT").await;
    // Whoever goes away takes the session along, a query under way included.
    drop(left);
    let socket = rack.socket(&path, &size).await;
    socket.writer.data(b"\\q\r\n").await.expect("sent");
    let rest = socket.rest().await;
    assert!(rest.ended, "{rest:?}");
    assert!(!rest.text().contains("F1E49A85"), "{rest:?}");
    if engine.is_docker() {
        until("the session that was left to end", async || {
            let question = "SELECT count(*) || ' asleep' FROM pg_stat_activity WHERE query LIKE '%pg_sleep(1000)%' \
                            AND pid <> pg_backend_pid();\n";
            console(&rack, DATABASE, question).await.contains("0 asleep")
        })
        .await;
    } else {
        let said = console(&rack, DATABASE, "one\nquit\ntwo\n").await;
        assert_eq!(said, "simulated database\nsimulated: one\n");
    }
}

/// Deploys an app whose database is elsewhere.
async fn deploy_external(rack: &Client) {
    rack.set_env("myapp", "DATABASE_URL=postgres://u:p@db.example:5432/x")
        .await;
    let release = rack
        .release("myapp", &[("convox.yml", MANIFEST), PLAIN[1]])
        .await;
    assert_eq!(
        rack.promote("myapp", &release).await["release"],
        json!(release)
    );
}
