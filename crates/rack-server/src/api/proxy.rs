//! Connections to what the rack runs.

use std::time::Duration;

use axum::extract::{Path, Request, State as Shared};
use axum::response::Response;
use rack_api::socket::Event;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::State;
use super::error::message;
use super::scope::of_socket;
use super::socket::{FRAME, Reader, Writer, finish, keep_alive, serve};
use crate::engine::Connection;

/// How long a client may be silent after the process has said all it will.
const SILENCE: Duration = Duration::from_secs(30);

/// `SOCKET /proxy/{host}/{port}`
pub(super) async fn proxy(
    Shared(console): Shared<State>,
    Path((host, port)): Path<(String, String)>,
    request: Request,
) -> Response {
    let rack = of_socket(&console, &request);
    serve(request, async move |reader, writer| {
        let connection = match rack {
            Ok(rack) => rack.proxy(&host, &port).await,
            Err(failure) => Err(failure),
        };
        match connection {
            Ok(connection) => relay(connection, reader, writer).await,
            Err(failure) => {
                // There is no other channel: it ends up in the client's stream.
                let _ = writer
                    .data(format!("ERROR: {}\n", message(&failure)).as_bytes())
                    .await;
                finish(reader, writer).await;
            }
        }
    })
}

/// Carries bytes both ways. Each direction ends by itself; all is over when both have
/// ended or the client has gone.
async fn relay(connection: Connection, mut reader: Reader, writer: Writer) {
    let (mut from, mut to) = tokio::io::split(connection);
    // The process has said all it will: from then on the client may not be silent for ever.
    let (said, mut all_said) = tokio::sync::watch::channel(false);
    let receive = async {
        let (mut open, mut accepts) = (true, true);
        loop {
            if !open && *all_said.borrow_and_update() {
                return;
            }
            let patience = if *all_said.borrow() {
                SILENCE
            } else {
                Duration::MAX
            };
            let event = tokio::select! {
                event = tokio::time::timeout(patience, reader.next()) => event,
                _ = all_said.changed() => continue,
            };
            match event {
                Ok(Ok(Event::Data(bytes))) if accepts => {
                    // A process that reads no more may still have much to say.
                    accepts = to.write_all(&bytes).await.is_ok() && to.flush().await.is_ok();
                }
                Ok(Ok(Event::Data(_))) => {}
                Ok(Ok(Event::End)) => {
                    accepts = false;
                    open = false;
                    let _ = to.shutdown().await;
                }
                Ok(Ok(Event::Close) | Err(_)) | Err(_) => return,
            }
        }
    };
    let send = async {
        let mut buffer = vec![0; FRAME];
        loop {
            match from.read(&mut buffer).await {
                Ok(read) if read > 0 => {
                    if writer.data(&buffer[..read]).await.is_err() {
                        return;
                    }
                }
                // A connection that breaks has ended: the protocol has no other word for it.
                Ok(_) | Err(_) => break,
            }
        }
        if writer.end().await.is_ok() {
            said.send_replace(true);
            // The other direction decides when all is over.
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = receive => {}
        () = send => {}
        () = keep_alive(&writer) => {}
    }
    finish(reader, writer).await;
}
