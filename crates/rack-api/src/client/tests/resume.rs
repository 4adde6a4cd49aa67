//! Downloads whose connection breaks.

use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::client::{Client, ClientError, Endpoint};

/// What is downloaded.
const BODY: &str = "0123456789";
/// A head that allows to ask for parts.
const WHOLE: &str =
    "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nETag: \"one\"\r\nContent-Length: 10\r\n\r\n";

/// A server that gives each connection the next answer and then drops it, and the heads of
/// the requests it was sent.
async fn scripted(answers: Vec<String>) -> (Client, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let heads = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        for answer in answers {
            let (mut connection, _) = listener.accept().await.expect("a connection");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                if connection.read_buf(&mut head).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let head = String::from_utf8(head).expect("text").to_lowercase();
            seen.lock().expect("no test panics with it").push(head);
            connection
                .write_all(answer.as_bytes())
                .await
                .expect("answered");
        }
    });
    let client = Client::new(Endpoint::parse(&format!("http://{address}")).expect("a url"));
    (client, heads)
}

/// The rest behind some bytes, of which only some come.
fn part(from: usize, to: usize) -> String {
    format!(
        "HTTP/1.1 206 Partial Content\r\nETag: \"one\"\r\nContent-Range: bytes {from}-9/10\r\n\
         Content-Length: {}\r\n\r\n{}",
        10 - from,
        &BODY[from..to]
    )
}

fn whole(to: usize) -> String {
    format!("{WHOLE}{}", &BODY[..to])
}

/// Downloads; what has come, how it ended, and what was told of breaks.
async fn download(client: &Client) -> (String, Result<(), ClientError>, Vec<(u64, u32)>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let mut download = client
        .object_fetch("foo", "x")
        .await
        .expect("a head")
        .on_resume(move |had, attempt| {
            let mut told = tell.lock().expect("no test panics with it");
            told.push((had, attempt));
        });
    let mut body = String::new();
    let end = loop {
        match download.chunk().await {
            Ok(Some(bytes)) => body.push_str(std::str::from_utf8(&bytes).expect("text")),
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    assert!(
        matches!(download.chunk().await, Ok(None)),
        "after its end there is nothing"
    );
    let told = told.lock().expect("no test panics with it").clone();
    (body, end, told)
}

#[tokio::test]
async fn a_download_that_breaks_goes_on_where_it_was() {
    let unavailable = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n".to_owned();
    let answers = vec![whole(4), part(4, 7), unavailable, part(7, 10)];
    let (client, heads) = scripted(answers).await;
    let (body, end, told) = download(&client).await;
    end.expect("whole");
    assert_eq!(body, BODY);
    assert_eq!(told, [(4, 1), (7, 1), (7, 2)]);
    let heads = heads.lock().expect("no test panics with it").clone();
    assert!(!heads[0].contains("range"), "{}", heads[0]);
    for (head, from) in heads[1..].iter().zip([4, 7, 7]) {
        assert!(
            head.contains(&format!("\r\nrange: bytes={from}-\r\n")),
            "{head}"
        );
        assert!(head.contains("\r\nif-range: \"one\"\r\n"), "{head}");
    }
}

#[tokio::test]
async fn where_parts_are_not_promised_nothing_is_asked_again() {
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nETag: \"one\"\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nAccept-Ranges: none\r\nETag: \"one\"\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nETag: W/\"one\"\r\nContent-Length: 10\r\n\r\n",
        "HTTP/1.1 200 OK\r\nAccept-Ranges: bytes\r\nContent-Length: 10\r\n\r\n",
    ] {
        let (client, heads) = scripted(vec![format!("{head}0123"), part(4, 10)]).await;
        let (body, end, told) = download(&client).await;
        assert_eq!((body.as_str(), told.len()), ("0123", 0), "{head}");
        assert!(matches!(end, Err(ClientError::Lost { .. })), "{end:?}");
        assert_eq!(heads.lock().expect("no test panics with it").len(), 1);
    }
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_never_put_together() {
    let other_tag = part(4, 10).replace("\"one\"", "\"two\"");
    let other_size = part(4, 10).replace("/10", "/11");
    let other_place = part(4, 10).replace("bytes 4-", "bytes 3-");
    for answer in [whole(10), other_tag, other_size, other_place] {
        let (client, _heads) = scripted(vec![whole(4), answer.clone()]).await;
        let (body, end, _) = download(&client).await;
        assert_eq!(body, "0123", "{answer}");
        let error = end.expect_err("another body");
        assert!(matches!(error, ClientError::Protocol { .. }), "{error:?}");
        assert!(error.to_string().contains("behind 4 bytes"), "{error}");
    }
}

#[tokio::test]
async fn a_refusal_ends_it() {
    let gone = "HTTP/1.1 404 Not Found\r\nContent-Length: 20\r\n\r\nobject not found: x\n";
    let (client, _heads) = scripted(vec![whole(4), gone.to_owned()]).await;
    let (_, end, _) = download(&client).await;
    assert_eq!(end.expect_err("gone").to_string(), "object not found: x");
}

#[tokio::test]
async fn it_is_tried_a_few_times_only() {
    // Nobody listens any more once the first answer was given.
    let (client, _heads) = scripted(vec![whole(4)]).await;
    let (body, end, told) = download(&client).await;
    assert_eq!(body, "0123");
    assert_eq!(told, [(4, 1), (4, 2), (4, 3), (4, 4), (4, 5)]);
    let error = end.expect_err("nobody answers");
    let lost = matches!(
        error,
        ClientError::Unreachable { .. } | ClientError::Lost { .. }
    );
    assert!(lost, "{error:?}");
}
