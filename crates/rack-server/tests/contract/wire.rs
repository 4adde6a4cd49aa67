//! Requests as the official clients of three generations write them: line by line,
//! header by header (`rack-api.md` §1.4, §2.1), and answers as they read them.

use std::io::Write as _;
use std::net::SocketAddr;

use rack_api::socket::accept_key;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::coverage::Call;
use super::world::{Answer, Client, Connected, FORM, Stream, parse, within};

/// Type of a body that is a stream, and of none at all.
pub(crate) const STREAM: &str = "application/octet-stream";
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

/// Generations of the official client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Late 2017.
    Y2017,
    /// Version 2.
    V2,
    /// Version 3.
    V3,
}

/// What a request carries.
pub(crate) enum Payload<'a> {
    /// Nothing.
    Nothing,
    /// Form fields; written sorted by name.
    Form(&'a [(&'a str, &'a str)]),
    /// Bytes of a known length, of a type.
    Bytes(&'a str, &'a [u8]),
    /// Bytes of an unknown length, of a type.
    Chunks(&'a str, &'a [u8]),
}

/// A client of one generation that has chosen a rack.
#[derive(Debug, Clone)]
pub(crate) struct Official {
    pub(crate) generation: Generation,
    address: SocketAddr,
    authorization: String,
    rack: String,
}

/// Fields as Go writes them: sorted, blanks as plus signs.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    let mut fields = fields.to_vec();
    fields.sort_unstable();
    form_urlencoded::Serializer::new(String::new())
        .extend_pairs(fields)
        .finish()
}

impl Official {
    /// A client of a generation, with the credentials of another client and the name of
    /// the rack it has switched to.
    pub(crate) fn new(generation: Generation, client: &Client, rack: &str) -> Self {
        let authorization = client
            .headers
            .iter()
            .find(|(name, _)| name == "Authorization");
        Self {
            generation,
            address: client.address,
            authorization: authorization.expect("a password").1.clone(),
            rack: rack.to_owned(),
        }
    }

    fn is_2017(&self) -> bool {
        self.generation == Generation::Y2017
    }

    /// Headers of every request but for its own, in the order of Go: by name.
    fn headers<'a>(&'a self, own: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
        let mut headers = vec![("Authorization", self.authorization.as_str())];
        match self.generation {
            Generation::Y2017 => {
                headers.push(("Rack", &self.rack));
                headers.push(("Version", "20171018112436"));
            }
            Generation::V2 => {
                headers.push(("Rack", &self.rack));
                headers.push(("Session", ""));
                headers.push(("Version", "dev"));
            }
            // A rack that needs no console is not named.
            Generation::V3 => headers.push(("Version", "dev")),
        }
        headers.extend(own);
        headers.sort_by_key(|(name, _)| *name);
        headers
    }

    /// The target as the generation writes it: later ones always have a query.
    fn target(&self, path: &str, query: &str) -> String {
        match (self.is_2017(), query) {
            (true, "") => path.to_owned(),
            (_, query) => format!("{path}?{query}"),
        }
    }

    /// Sends a request and reads the answer as far as it says it goes: the connection
    /// stays open, as that of a client that may ask again.
    pub(crate) async fn request(
        &self,
        method: &str,
        target: (&str, &str),
        own: &[(&str, &str)],
        payload: Payload<'_>,
    ) -> Answer {
        let fields;
        let (kind, body, chunked) = match payload {
            Payload::Nothing if self.is_2017() => ("application/json", &b""[..], false),
            Payload::Nothing => (STREAM, &b""[..], false),
            Payload::Form(pairs) => {
                fields = form(pairs);
                (FORM, fields.as_bytes(), false)
            }
            Payload::Bytes(kind, bytes) => (kind, bytes, false),
            Payload::Chunks(kind, bytes) => (kind, bytes, true),
        };
        let agent = if self.is_2017() {
            "Go-http-client/1.1"
        } else {
            "convox.go/dev"
        };
        let accept = if self.is_2017() {
            "application/json"
        } else {
            "*/*"
        };
        let mut bytes = format!(
            "{method} {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {agent}\r\n",
            self.target(target.0, target.1),
            self.address
        )
        .into_bytes();
        let sends = !body.is_empty() || !matches!(method, "GET" | "DELETE");
        if chunked {
            bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n");
        } else if sends {
            write!(bytes, "Content-Length: {}\r\n", body.len()).expect("memory");
        }
        let mut own = own.to_vec();
        own.extend([("Accept", accept), ("Content-Type", kind)]);
        for (name, value) in self.headers(&own) {
            write!(bytes, "{name}: {value}\r\n").expect("memory");
        }
        bytes.extend_from_slice(b"Accept-Encoding: gzip\r\n\r\n");
        if chunked {
            // In pieces, as they come out of a pipe.
            for piece in body.chunks(4096) {
                write!(bytes, "{:x}\r\n", piece.len()).expect("memory");
                bytes.extend_from_slice(piece);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
        } else {
            bytes.extend_from_slice(body);
        }
        within(&format!("{method} {}", target.0), self.exchange(&bytes)).await
    }

    async fn exchange(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("a connection");
        let (mut reading, mut writing) = stream.split();
        // A server that refuses early may not read to the end.
        let write = async {
            let _ = writing.write_all(request).await;
            std::future::pending::<()>().await;
        };
        let read = async {
            let mut received = Vec::new();
            while !is_whole(&received) {
                let more = reading.read_buf(&mut received).await.expect("an answer");
                assert!(more > 0, "half an answer: {received:?}");
            }
            received
        };
        let received = tokio::select! {
            received = read => received,
            () = write => unreachable!("it waits for ever"),
        };
        parse(&received)
    }

    /// Asks for something.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.find(path, "").await
    }

    /// Asks for something with a query.
    pub(crate) async fn find(&self, path: &str, query: &str) -> Answer {
        self.request("GET", (path, query), &[], Payload::Nothing)
            .await
    }

    /// Asks for something that is there, in JSON.
    pub(crate) async fn json(&self, path: &str) -> Value {
        self.get(path).await.json()
    }

    /// Sends a form.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let nothing = fields.is_empty() && !self.is_2017();
        let payload = if nothing {
            Payload::Nothing
        } else {
            Payload::Form(fields)
        };
        self.request("POST", (path, ""), &[], payload).await
    }

    /// Changes something by a form.
    pub(crate) async fn put(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.request("PUT", (path, ""), &[], Payload::Form(fields))
            .await
    }

    /// Removes something.
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.request("DELETE", (path, ""), &[], Payload::Nothing)
            .await
    }

    /// An answer that says that all is well, as the generation reads it: the first
    /// reads JSON everywhere.
    #[track_caller]
    pub(crate) fn fine(&self, answer: &Answer) {
        if self.is_2017() {
            let value = answer.json();
            assert!(value.is_object(), "{value}");
        } else {
            answer.ok();
        }
    }

    /// What later generations ask before each socket, only to ignore the answer.
    async fn preflight(&self, path: &str) {
        let asked = match self.generation {
            Generation::Y2017 => return,
            Generation::V3 if path.starts_with("/app") => "/machines",
            Generation::V2 | Generation::V3 => "/racks",
        };
        let answer = self.get(asked).await;
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
    }

    /// Opens a socket.
    pub(crate) async fn socket(&self, path: &str, own: &[(&str, &str)]) -> Connected {
        self.preflight(path).await;
        let mut bytes = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n", self.address).into_bytes();
        let origin = if self.is_2017() {
            format!("https://{}", self.address)
        } else {
            format!("http://{}", self.address)
        };
        let mut own = own.to_vec();
        if self.is_2017() {
            write!(
                bytes,
                "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\n\
                 Origin: {origin}\r\nSec-WebSocket-Version: 13\r\n"
            )
            .expect("memory");
        } else {
            bytes.extend_from_slice(b"User-Agent: convox.go/dev\r\n");
            own.extend([
                ("Connection", "Upgrade"),
                ("Origin", &origin),
                ("Sec-WebSocket-Key", KEY),
                ("Sec-WebSocket-Version", "13"),
                ("Upgrade", "websocket"),
            ]);
        }
        for (name, value) in self.headers(&own) {
            write!(bytes, "{name}: {value}\r\n").expect("memory");
        }
        bytes.extend_from_slice(b"\r\n");
        within("a handshake", async {
            let mut stream = TcpStream::connect(self.address)
                .await
                .expect("a connection");
            stream.write_all(&bytes).await.expect("written");
            let mut received = Vec::new();
            while !received.ends_with(b"\r\n\r\n") {
                received.push(stream.read_u8().await.expect("a head"));
            }
            let answer = parse(&received);
            assert_eq!(answer.status, 101, "{answer:?}");
            let header = |name| answer.header(name).map(str::to_ascii_lowercase);
            assert_eq!(header("upgrade").as_deref(), Some("websocket"));
            assert_eq!(header("connection").as_deref(), Some("upgrade"));
            assert_eq!(
                answer.header("sec-websocket-accept"),
                Some(accept_key(KEY).as_str())
            );
            for absent in ["sec-websocket-protocol", "sec-websocket-extensions"] {
                assert_eq!(answer.header(absent), None);
            }
            Connected::new(stream, Call::of(&answer))
        })
        .await
    }

    /// Everything a socket sends.
    pub(crate) async fn stream(&self, path: &str, own: &[(&str, &str)]) -> Stream {
        self.socket(path, own).await.rest().await
    }
}

/// Whether an answer has come to the end it announces.
fn is_whole(received: &[u8]) -> bool {
    let Some(head) = received.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let (head, mut body) = (
        String::from_utf8_lossy(&received[..head]).to_ascii_lowercase(),
        &received[head + 4..],
    );
    if !head.contains("\r\ntransfer-encoding: chunked") {
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.unwrap_or("0").parse().expect("a length");
        return body.len() >= length;
    }
    loop {
        let Some(end) = body.windows(2).position(|two| two == b"\r\n") else {
            return false;
        };
        let size = std::str::from_utf8(&body[..end]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let Some(rest) = body.get(end + 2 + size + 2..) else {
            return false;
        };
        if size == 0 {
            return true;
        }
        body = rest;
    }
}
