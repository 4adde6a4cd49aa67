//! Requests that could be read in two ways: behind the router there is either none of them
//! or exactly one that can be read in one way only.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::world::{HOST, Process, World, key, soon};

/// What has reached the process: requests, or what is wrong with the bytes.
type Record = Arc<Mutex<Vec<Result<String, String>>>>;

/// The first request in these bytes, read as strictly as can be: its length, none while it is
/// not whole.
fn strict(bytes: &[u8]) -> Result<Option<usize>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| "a head that is no text")?;
    if head.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return Err(format!("a stray end of a line in {head:?}"));
    }
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap_or_default();
    let parts: Vec<_> = first.split(' ').collect();
    if parts.len() != 3 || parts[2] != "HTTP/1.1" || !parts[1].starts_with(['/', '*']) {
        return Err(format!("the first line {first:?}"));
    }
    let (mut lengths, mut codings, mut hosts) = (Vec::new(), Vec::new(), 0);
    for line in lines {
        let (name, value) = line.split_once(':').ok_or(format!("the line {line:?}"))?;
        let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
        if name.is_empty() || !name.chars().all(token) {
            return Err(format!("the name {name:?}"));
        }
        match name.to_ascii_lowercase().as_str() {
            "content-length" => lengths.push(value.trim().to_owned()),
            "transfer-encoding" => codings.push(value.trim().to_ascii_lowercase()),
            "host" => hosts += 1,
            _ => {}
        }
    }
    if hosts != 1 {
        return Err(format!("{hosts} hosts in {head:?}"));
    }
    let rest = &bytes[end + 4..];
    match (lengths.as_slice(), codings.as_slice()) {
        ([], []) => Ok(Some(end + 4)),
        ([length], []) => {
            let length: usize = length.parse().map_err(|_| format!("length {length:?}"))?;
            Ok((rest.len() >= length).then_some(end + 4 + length))
        }
        ([], [coding]) if coding == "chunked" => {
            let mut at = 0;
            loop {
                let Some(line) = rest[at..].windows(2).position(|two| two == b"\r\n") else {
                    return Ok(None);
                };
                let size = std::str::from_utf8(&rest[at..at + line]).map_err(|_| "a chunk")?;
                let size =
                    usize::from_str_radix(size, 16).map_err(|_| format!("chunk {size:?}"))?;
                at += line + 2;
                if size > 0 {
                    at += size + 2;
                    if rest.len() < at {
                        return Ok(None);
                    }
                    continue;
                }
                // Trailers, if any, and an empty line.
                while let Some(line) = rest[at..].windows(2).position(|two| two == b"\r\n") {
                    let trailer =
                        String::from_utf8_lossy(&rest[at..at + line]).to_ascii_lowercase();
                    at += line + 2;
                    if trailer.is_empty() {
                        return Ok(Some(end + 4 + at));
                    }
                    if ["content-length", "transfer-encoding", "host"]
                        .iter()
                        .any(|name| trailer.starts_with(name))
                    {
                        return Err(format!("the trailer {trailer:?}"));
                    }
                }
                return Ok(None);
            }
        }
        both => Err(format!("two lengths: {both:?}")),
    }
}

/// A process that writes down what it is asked and says ok.
fn recording(world: &World) -> (Process, Record) {
    let record = Record::default();
    let into = Arc::clone(&record);
    let process = world.fleet.start_raw("web", |listener| async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(talk(stream, Arc::clone(&into)));
        }
    });
    (process, record)
}

async fn talk(mut stream: TcpStream, record: Record) {
    let mut bytes = Vec::new();
    loop {
        match strict(&bytes) {
            Ok(Some(length)) => {
                let request = String::from_utf8_lossy(&bytes[..length]).into_owned();
                record.lock().expect("unpoisoned").push(Ok(request));
                bytes.drain(..length);
                let ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
                if stream.write_all(ok).await.is_err() {
                    return;
                }
            }
            Ok(None) => match stream.read_buf(&mut bytes).await {
                Ok(0) | Err(_) => {
                    if !bytes.is_empty() {
                        let half = format!("half of {:?}", String::from_utf8_lossy(&bytes));
                        record.lock().expect("unpoisoned").push(Err(half));
                    }
                    return;
                }
                Ok(_) => {}
            },
            Err(wrong) => {
                record.lock().expect("unpoisoned").push(Err(wrong));
                return;
            }
        }
    }
}

/// Sends bytes, reads the first answer, says that this is all, reads the rest.
async fn answers(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.connect().await;
    // The server may hang up before it has read everything.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    soon(async {
        while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
            match stream.read_buf(&mut answer).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let _ = stream.shutdown().await;
        let _ = stream.read_to_end(&mut answer).await;
    })
    .await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Fate {
    /// 400 or 431, nothing behind.
    Refused,
    /// Exactly one, well-formed.
    One,
    /// Either of them.
    Safe,
}
use Fate::{One, Refused, Safe};

#[tokio::test]
async fn what_can_be_read_in_two_ways_does_not_pass() {
    let world = World::new().await;
    let (process, record) = recording(&world);
    world
        .router
        .publish(key(), vec!["other.example".into()], vec![process.target()])
        .expect("published");
    let long = "x".repeat(200 * 1024);
    let many = "a: b\r\n".repeat(200);
    let rows: Vec<(&str, Fate, String)> = vec![
        ("plain", One, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\n\r\nabc".into()),
        ("chunked", One, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into()),
        ("length, then coding", Safe, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX".into()),
        ("coding, then length", Safe, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n14\r\nGPOST / HTTP/1.1\r\n\r\n\r\n0\r\n\r\n".into()),
        ("two lengths", Refused, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde".into()),
        ("the same length twice", Safe, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc".into()),
        ("lengths in one line", Refused, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 3, 5\r\n\r\nabcde".into()),
        ("a length with a sign", Refused, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: +3\r\n\r\nabc".into()),
        ("a negative length", Refused, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: -1\r\n\r\nabc".into()),
        ("a length in hexadecimal", Refused, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 0x3\r\n\r\nabc".into()),
        ("an enormous length", Refused, "POST / HTTP/1.1\r\nHost: H\r\nContent-Length: 99999999999999999999\r\n\r\nabc".into()),
        ("chunked twice", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("chunked, identity", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n".into()),
        ("identity, chunked", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n".into()),
        ("gzip, chunked", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".into()),
        ("xchunked", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n".into()),
        ("a coding behind a tab", Safe, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n".into()),
        ("a coding behind a vertical tab", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n".into()),
        ("a coding of 1.0", Refused, "POST / HTTP/1.0\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("a blank before the colon", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n".into()),
        ("a folded line", Refused, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n".into()),
        ("a line that begins with a blank", Refused, "GET / HTTP/1.1\r\n Host: H\r\n\r\n".into()),
        ("a line without a colon", Refused, "GET / HTTP/1.1\r\nHost: H\r\nnothing\r\n\r\n".into()),
        ("two hosts", Refused, "GET / HTTP/1.1\r\nHost: H\r\nHost: other.example\r\n\r\n".into()),
        ("no host", Refused, "GET / HTTP/1.1\r\nX: H\r\n\r\n".into()),
        ("another host in the first line", One, "GET http://H/ HTTP/1.1\r\nHost: other.example\r\n\r\n".into()),
        ("a return in a value", Refused, "GET / HTTP/1.1\r\nHost: H\r\nX: a\rb: c\r\n\r\n".into()),
        ("a zero in a value", Refused, "GET / HTTP/1.1\r\nHost: H\r\nX: a\0b\r\n\r\n".into()),
        ("a return in the target", Refused, "GET /a\rb HTTP/1.1\r\nHost: H\r\n\r\n".into()),
        ("a blank in the target", Refused, "GET /a b HTTP/1.1\r\nHost: H\r\n\r\n".into()),
        ("ends of lines without a return", Safe, "GET / HTTP/1.1\nHost: H\nX: y\n\n".into()),
        ("the length is named as a hop", One, "POST / HTTP/1.1\r\nHost: H\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\nabc".into()),
        ("the coding is named as a hop", One, "POST / HTTP/1.1\r\nHost: H\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".into()),
        ("the host is named as a hop", One, "GET / HTTP/1.1\r\nHost: H\r\nConnection: host, close\r\n\r\n".into()),
        ("a chunk with an extension", One, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n".into()),
        ("trailers that look like a length", One, "POST / HTTP/1.1\r\nHost: H\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n".into()),
        ("another version", Refused, "GET / HTTP/1.2\r\nHost: H\r\n\r\n".into()),
        ("a version of two", Refused, "GET / HTTP/2.0\r\nHost: H\r\n\r\n".into()),
        ("a long line", Refused, format!("GET / HTTP/1.1\r\nHost: H\r\nX: {long}\r\n\r\n")),
        ("many lines", Refused, format!("GET / HTTP/1.1\r\nHost: H\r\n{many}\r\n")),
        ("an upgrade to HTTP/2", One, "GET / HTTP/1.1\r\nHost: H\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n".into()),
    ];
    for (name, fate, bytes) in rows {
        record.lock().expect("unpoisoned").clear();
        let bytes = bytes.replace(": H\r\n", &format!(": {HOST}\r\n"));
        let bytes = bytes.replace(": H\n", &format!(": {HOST}\n"));
        let bytes = bytes.replace("//H/", &format!("//{HOST}/"));
        let said = answers(&world, bytes.as_bytes()).await;
        let behind = record.lock().expect("unpoisoned").clone();
        let refused = (said.starts_with("HTTP/1.1 400") || said.starts_with("HTTP/1.1 431"))
            && behind.is_empty();
        let one = said.starts_with("HTTP/1.1 200") && matches!(behind.as_slice(), [Ok(_)]);
        let fits = match fate {
            Refused => refused,
            One => one,
            Safe => refused || one,
        };
        assert!(fits, "{name}: {said:?}, behind: {behind:?}");
    }
}

/// One frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend_from_slice(&[kind, flags]);
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A header that is neither compressed nor remembered.
fn literal(name: &str, value: &str) -> Vec<u8> {
    let mut bytes = vec![0, u8::try_from(name.len()).expect("short")];
    bytes.extend_from_slice(name.as_bytes());
    bytes.push(u8::try_from(value.len()).expect("short"));
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

#[tokio::test]
async fn what_http2_can_say_and_http1_cannot_does_not_pass() {
    const USUAL: [(&str, &str); 4] = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/"),
        (":authority", HOST),
    ];
    let world = World::new().await;
    let (process, record) = recording(&world);
    world
        .router
        .publish(key(), vec![], vec![process.target()])
        .expect("published");
    let with = |name: &'static str, value: &'static str| {
        let mut usual: Vec<_> = USUAL.to_vec();
        match usual.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = value,
            None => usual.push((name, value)),
        }
        usual
    };
    let rows = [
        ("plain", One, USUAL.to_vec(), "abc"),
        (
            "a coding",
            Refused,
            with("transfer-encoding", "chunked"),
            "0\r\n\r\n",
        ),
        ("a connection", Refused, with("connection", "close"), "abc"),
        (
            "a length that is right",
            One,
            with("content-length", "3"),
            "abc",
        ),
        (
            "a length that is wrong",
            Safe,
            with("content-length", "9"),
            "abc",
        ),
        (
            "a line in a value",
            Refused,
            with("x", "a\r\nHost: b"),
            "abc",
        ),
        ("a line in a name", Refused, with("x: y\r\nz", "a"), "abc"),
        ("a blank in a name", Refused, with("x y", "a"), "abc"),
        (
            "a line in the target",
            Refused,
            with(":path", "/ HTTP/1.1\r\nHost: b\r\n\r\n"),
            "abc",
        ),
        (
            "a blank in the target",
            Refused,
            with(":path", "/a b"),
            "abc",
        ),
        (
            "a line in the method",
            Refused,
            with(":method", "GET / HTTP/1.1\r\nx:"),
            "abc",
        ),
        ("capitals in a name", Refused, with("X-Y", "a"), "abc"),
        ("a second host", Safe, with("host", "b"), "abc"),
        (
            "a name that begins with a colon",
            Refused,
            with(":path2", "b"),
            "abc",
        ),
    ];
    for (name, fate, headers, body) in rows {
        record.lock().expect("unpoisoned").clear();
        let block: Vec<u8> = headers
            .iter()
            .flat_map(|(name, value)| literal(name, value))
            .collect();
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(frame(4, 0, 0, &[]));
        bytes.extend(frame(1, 4, 1, &block));
        bytes.extend(frame(0, 1, 1, body.as_bytes()));
        let mut stream = world.connect().await;
        stream.write_all(&bytes).await.expect("written");
        // Until the stream has an answer, or an end.
        let outcome = soon(async {
            loop {
                let mut head = [0; 9];
                if stream.read_exact(&mut head).await.is_err() {
                    return "closed".to_owned();
                }
                let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
                let mut payload = vec![0; length];
                stream.read_exact(&mut payload).await.expect("a frame");
                match (head[3], head[8]) {
                    // The status is in the first byte: 8 is 200, 12 is 400.
                    (1, 1) => return format!("answered {}", payload[0] & 0x7f),
                    (3, 1) => return "reset".to_owned(),
                    (7, _) => return "gone away".to_owned(),
                    _ => {}
                }
            }
        })
        .await;
        drop(stream);
        let behind = record.lock().expect("unpoisoned").clone();
        let one = outcome == "answered 8" && matches!(behind.as_slice(), [Ok(_)]);
        let none = outcome != "answered 8"
            && behind.iter().all(Result::is_err)
            && !behind
                .iter()
                .any(|request| matches!(request, Err(wrong) if !wrong.starts_with("half of")));
        let fits = match fate {
            One => one,
            Refused => none && behind.is_empty(),
            Safe => one || none,
        };
        assert!(fits, "{name}: {outcome}, behind: {behind:?}");
    }
}
