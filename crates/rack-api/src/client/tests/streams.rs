//! Logs and commands.

use std::time::Duration;

use super::server::{Reader, Server, Writer};
use crate::client::{ClientError, ExecEvent};
use crate::process::ExecOptions;
use crate::socket::Event;
use crate::{apart, exit_status, log};

fn command(text: &str) -> ExecOptions {
    ExecOptions {
        command: text.into(),
        entrypoint: false,
        tty: false,
        stdin: true,
        height: None,
        width: None,
    }
}

async fn finish(mut reader: Reader, writer: Writer) {
    writer.close().await.expect("close");
    reader.drain(Duration::from_secs(10)).await;
}

/// Runs a command to its end: output and how it ended.
async fn exec(server: &Server) -> (Vec<u8>, Result<i64, ClientError>) {
    let socket = server
        .client()
        .process_exec("foo", "abc", &command("x"))
        .await
        .expect("a socket");
    let (mut output, _input) = socket.split();
    let mut bytes = Vec::new();
    loop {
        match output.next().await {
            Ok(ExecEvent::Output(piece)) => bytes.extend_from_slice(&piece),
            Ok(ExecEvent::Exit(status)) => {
                output.next().await.expect_err("nothing follows");
                return (bytes, Ok(status));
            }
            Err(error) => return (bytes, Err(error)),
        }
    }
}

#[tokio::test]
async fn logs_are_bytes_until_their_end() {
    let server = Server::socket(|reader, writer| async move {
        writer.data(b"a \xFF\xC3").await.expect("data");
        writer.data(b"\xA9\n").await.expect("data");
        finish(reader, writer).await;
    })
    .await;
    let client = server.client();
    let options = log::Options {
        follow: false,
        prefix: true,
        since: Some(Duration::from_secs(3600)),
        filter: Some("a b".into()),
        tail: Some(7),
        ..log::Options::default()
    };
    let mut log = client.app_logs("foo", &options).await.expect("a log");
    let mut bytes = Vec::new();
    while let Some(piece) = log.next().await.expect("a piece") {
        bytes.extend_from_slice(&piece);
    }
    assert_eq!(bytes, b"a \xFF\xC3\xA9\n");
    assert!(log.next().await.expect("still over").is_none());
    let request = server.last();
    assert_eq!(request.line, "GET /apps/foo/logs");
    for (name, value) in [
        ("follow", "false"),
        ("prefix", "true"),
        ("since", "1h0m0s"),
        ("filter", "a b"),
        ("tail", "7"),
        ("rack", "personal/staging"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("origin", &format!("http://{}", server.address)),
    ] {
        assert_eq!(request.header(name), Some(value), "{name}");
    }
    client
        .system_logs(&log::Options::default())
        .await
        .expect("a log");
    assert_eq!(server.last().line, "GET /system/logs");
    for name in ["follow", "prefix", "since", "filter", "tail"] {
        assert_eq!(server.last().header(name), None, "{name}");
    }
    client.build_logs("foo", "BABC").await.expect("a log");
    assert_eq!(server.last().line, "GET /apps/foo/builds/BABC/logs");
    client
        .process_logs("foo", "abc", &options)
        .await
        .expect("a log");
    assert_eq!(server.last().line, "GET /apps/foo/processes/abc/logs");
}

#[tokio::test]
async fn lost_logs_are_no_end() {
    let server = Server::socket(|_reader, writer| async move {
        writer.data(b"half a li").await.expect("data");
    })
    .await;
    let mut log = server
        .client()
        .build_logs("foo", "BABC")
        .await
        .expect("a log");
    assert_eq!(
        log.next().await.expect("data").as_deref(),
        Some(&b"half a li"[..])
    );
    let error = log.next().await.expect_err("lost");
    assert!(matches!(error, ClientError::Lost { .. }), "{error:?}");
}

#[tokio::test]
async fn statuses_are_found_however_they_are_cut() {
    for status in [0, 3, 255, -1] {
        for cut in [1, 7, 20, 36, 100] {
            let server = Server::socket(move |reader, writer| async move {
                writer.data(b"out\xFFput").await.expect("data");
                let marker = exit_status::encode(status);
                writer
                    .data_in_frames(marker.as_bytes(), cut)
                    .await
                    .expect("marker");
                finish(reader, writer).await;
            })
            .await;
            let (output, ended) = exec(&server).await;
            assert_eq!(output, b"out\xFFput");
            assert_eq!(ended.expect("a status"), status);
        }
    }
}

#[tokio::test]
async fn streams_without_a_status_are_no_success() {
    let quiet = Server::socket(|reader, writer| async move {
        writer
            .data(b"ERROR: no such process\n")
            .await
            .expect("data");
        finish(reader, writer).await;
    })
    .await;
    let (output, ended) = exec(&quiet).await;
    assert_eq!(output, b"ERROR: no such process\n");
    assert!(matches!(ended, Err(ClientError::NoExitStatus)), "{ended:?}");

    let lost = Server::socket(|_reader, writer| async move {
        writer.data(b"output").await.expect("data");
        writer
            .data(&exit_status::MARKER.as_bytes()[..20])
            .await
            .expect("data");
    })
    .await;
    let (output, ended) = exec(&lost).await;
    assert_eq!(
        output,
        [b"output", &exit_status::MARKER.as_bytes()[..20]].concat()
    );
    assert!(matches!(ended, Err(ClientError::Lost { .. })), "{ended:?}");
}

#[tokio::test]
async fn what_the_rack_says_is_told_from_what_a_command_says() {
    // A command that says what a rack would say.
    let command = Server::socket(|reader, writer| async move {
        writer.data(b"ERROR: mine\n").await.expect("data");
        let marker = exit_status::encode(3);
        writer.data(marker.as_bytes()).await.expect("marker");
        finish(reader, writer).await;
    })
    .await;
    let (output, ended) = exec(&command).await;
    assert_eq!(output, b"ERROR: mine\n");
    assert_eq!(ended.expect("a status"), 3);
    assert_eq!(command.last().header(apart::HEADER), Some(apart::WANTED));

    // A rack of ours, before a command has said anything and after.
    for before in ["", "half"] {
        let ours = Server::socket(move |reader, writer| async move {
            writer.data(before.as_bytes()).await.expect("data");
            writer.ping_with(apart::PING).await.expect("ping");
            writer.data(b"ERROR: it ").await.expect("data");
            writer.data(b"broke\n").await.expect("data");
            let marker = exit_status::encode(1);
            writer.data(marker.as_bytes()).await.expect("marker");
            finish(reader, writer).await;
        })
        .await;
        let (output, ended) = exec(&ours).await;
        assert_eq!(output, before.as_bytes());
        match ended.expect_err("the rack speaks") {
            ClientError::Refused { message, status } => {
                assert_eq!((message.as_str(), status), ("it broke", 1));
            }
            other => panic!("{other:?}"),
        }
    }

    // A rack of version 3, which says it behind the status.
    for (claimed, status) in [(0, 1), (9, 9)] {
        let third = Server::socket(move |reader, writer| async move {
            let marker = exit_status::encode(claimed);
            writer.data(marker.as_bytes()).await.expect("marker");
            writer.data(b"ERROR: no such pod\n").await.expect("data");
            finish(reader, writer).await;
        })
        .await;
        let (output, ended) = exec(&third).await;
        assert_eq!(output, b"");
        match ended.expect_err("the rack speaks") {
            ClientError::Refused {
                message,
                status: told,
            } => assert_eq!((message.as_str(), told), ("no such pod", status)),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_lost_after_the_status_has_lost_nothing() {
    let server = Server::socket(|_reader, writer| async move {
        writer
            .data(exit_status::encode(4).as_bytes())
            .await
            .expect("marker");
    })
    .await;
    let (output, ended) = exec(&server).await;
    assert_eq!(output, b"");
    assert_eq!(ended.expect("a status"), 4);
}

#[tokio::test]
async fn input_reaches_the_command_and_its_end_too() {
    // An echo that answers only when its input has ended.
    let server = Server::socket(|mut reader, writer| async move {
        let mut input = Vec::new();
        loop {
            match reader.next().await.expect("an event") {
                Event::Data(bytes) => {
                    assert!(bytes.len() <= 1024);
                    input.extend_from_slice(&bytes);
                }
                Event::End => break,
                Event::Close => panic!("closed"),
            }
        }
        writer.data(&input).await.expect("data");
        writer
            .data(exit_status::encode(0).as_bytes())
            .await
            .expect("marker");
        finish(reader, writer).await;
    })
    .await;
    let client = server.client();
    let options = ExecOptions {
        entrypoint: true,
        tty: true,
        stdin: true,
        height: Some(40),
        width: Some(100),
        ..command("cat\n-v")
    };
    let (mut output, input) = client
        .process_exec("foo", "abc", &options)
        .await
        .expect("a socket")
        .split();
    let sent: Vec<u8> = (0..300_000_u32).map(|n| (n * 31 % 253) as u8).collect();
    let given = sent.clone();
    tokio::spawn(async move {
        input.write(&given).await.expect("write");
        input.end().await.expect("end");
    });
    let mut got = Vec::new();
    loop {
        match output.next().await.expect("an event") {
            ExecEvent::Output(bytes) => got.extend_from_slice(&bytes),
            ExecEvent::Exit(status) => break assert_eq!(status, 0),
        }
    }
    assert!(got == sent);
    let request = server.last();
    assert_eq!(request.line, "GET /apps/foo/processes/abc/exec");
    for (name, value) in [
        ("command", Some("cat -v")),
        ("entrypoint", Some("true")),
        ("tty", None),
        ("height", Some("40")),
        ("width", Some("100")),
    ] {
        assert_eq!(request.header(name), value, "{name}");
    }
    client
        .process_exec("foo", "abc", &command("x"))
        .await
        .expect("a socket");
    assert_eq!(server.last().header("tty"), Some("false"));
    assert_eq!(server.last().header("entrypoint"), None);
}
