//! Sockets seen frame by frame, where it matters how a stream is cut and ended.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::world::{Client, within};

/// A frame of text.
pub(crate) const TEXT: u8 = 1;
/// A frame of bytes: the end of the stream, and never anything else.
pub(crate) const BINARY: u8 = 2;
/// The socket's own end.
pub(crate) const CLOSE: u8 = 8;

/// A frame as it was on the wire.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) opcode: u8,
    pub(crate) payload: Vec<u8>,
}

impl Client {
    /// Every frame a socket sends, after the client's end of stream if it says so.
    pub(crate) async fn frames(
        &self,
        target: &str,
        headers: &[(&str, &str)],
        ends: bool,
    ) -> Vec<Frame> {
        let (mut stream, mut call) = self.upgrade(target, headers).await;
        let mut received = Vec::new();
        within("the end of a socket", async {
            if ends {
                // An empty binary frame, masked with zeros.
                let end = [0x80 | BINARY, 0x80, 0, 0, 0, 0];
                stream.write_all(&end).await.expect("sent");
            }
            stream.read_to_end(&mut received).await.expect("received");
        })
        .await;
        let frames = frames(&received);
        call.said(frames.first().map_or(b"", |frame| &frame.payload));
        frames
    }
}

/// Cuts what was received into frames.
fn frames(mut rest: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let [first, second, after @ ..] = rest {
        assert_eq!(first & 0xf0, 0x80, "whole frames without extensions");
        assert_eq!(second & 0x80, 0, "a server masks nothing");
        let (length, after) = match second & 0x7f {
            126 => {
                let (length, after) = after.split_first_chunk::<2>().expect("a length");
                (usize::from(u16::from_be_bytes(*length)), after)
            }
            127 => {
                let (length, after) = after.split_first_chunk::<8>().expect("a length");
                (u64::from_be_bytes(*length) as usize, after)
            }
            length => (usize::from(length), after),
        };
        let (payload, after) = after.split_at(length);
        frames.push(Frame {
            opcode: first & 0x0f,
            payload: payload.to_vec(),
        });
        rest = after;
    }
    assert!(rest.is_empty(), "half a frame at the end");
    frames
}
