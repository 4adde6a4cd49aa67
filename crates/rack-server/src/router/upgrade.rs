//! Upgraded connections (websockets): bytes both ways until either side ends.

use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, copy, split};

use super::flight::InFlight;

/// How long the other direction may go on after one has ended, to deliver what is under way.
const LINGER: Duration = Duration::from_secs(5);

/// Carries bytes in the background once both sides have switched; in flight until the end.
pub(super) fn carry(client: OnUpgrade, process: OnUpgrade, in_flight: InFlight) {
    tokio::spawn(async move {
        match futures::future::try_join(client, process).await {
            Ok((client, process)) => both_ways(TokioIo::new(client), TokioIo::new(process)).await,
            Err(error) => tracing::debug!(%error, "a connection was not upgraded after all"),
        }
        drop(in_flight);
    });
}

async fn both_ways(client: impl AsyncRead + AsyncWrite, process: impl AsyncRead + AsyncWrite) {
    let (from_client, to_client) = split(client);
    let (from_process, to_process) = split(process);
    let up = one_way(from_client, to_process);
    let down = one_way(from_process, to_client);
    tokio::pin!(up, down);
    // Whichever ends first, the other one delivers what is still under way; if that
    // takes too long, both connections are dropped.
    let timely = tokio::select! {
        () = &mut up => tokio::time::timeout(LINGER, down).await.is_ok(),
        () = &mut down => tokio::time::timeout(LINGER, up).await.is_ok(),
    };
    if !timely {
        tracing::debug!("an upgraded connection was closed while one side was still open");
    }
}

/// Copies until the end and passes the end on. A broken connection is an end like any other.
async fn one_way(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
    if let Err(error) = copy(&mut from, &mut to).await {
        tracing::debug!(%error, "an upgraded connection broke");
    }
    if let Err(error) = to.shutdown().await {
        tracing::debug!(%error, "an upgraded connection was already closed");
    }
}
