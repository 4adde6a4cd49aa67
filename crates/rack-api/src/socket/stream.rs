//! The codec on a connection: a reader and clonable writers.
//!
//! Every future here may be dropped half way (in a `select!`, say) without
//! harming the stream: received bytes stay in the reader's buffer, and a frame
//! that was begun stays in the writer's buffer and is finished by the next write.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf,
};
use tokio::sync::Mutex;

use super::Role;
use super::frame::{self, Decoder, Incoming, MAX_PAYLOAD, Opcode};

/// Room made for each read.
const READ_SIZE: usize = 16 * 1024;

/// Bytes a control frame may carry (RFC 6455 §5.5).
const MOST_OF_CONTROL: usize = 125;

/// Bytes of encoded frames collected before they are written.
const WRITE_SIZE: usize = 64 * 1024;

/// What the peer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Stream bytes; never empty, cut anywhere.
    Data(Bytes),
    /// The peer sends no more data; it may still receive some.
    End,
    /// The peer has closed the connection in good order.
    Close,
}

/// A connection after its upgrade to the websocket protocol.
#[derive(Debug)]
pub struct Socket<T> {
    io: T,
    role: Role,
}

impl<T: AsyncRead + AsyncWrite> Socket<T> {
    /// Takes over an upgraded connection, as the end that has this role.
    pub fn new(io: T, role: Role) -> Self {
        Self { io, role }
    }

    /// Splits into the two directions.
    pub fn split(self) -> (SocketReader<T>, SocketWriter<T>) {
        let (read, write) = tokio::io::split(self.io);
        let writer = SocketWriter {
            shared: Arc::new(Shared {
                half: Mutex::new(Half {
                    io: write,
                    role: self.role,
                    buffer: BytesMut::new(),
                    ended: false,
                    closed: false,
                }),
                pong: StdMutex::new(None),
            }),
        };
        let reader = SocketReader {
            io: read,
            decoder: Decoder::new(self.role),
            buffer: BytesMut::new(),
            writer: writer.clone(),
            hearer: None,
            closed: false,
        };
        (reader, writer)
    }
}

/// Hears of pings.
type Hearer = Box<dyn FnMut(&[u8]) + Send + Sync>;

/// The receiving direction. Reading also answers pings and close frames, so a
/// socket that is only written to should be read nevertheless.
pub struct SocketReader<T> {
    io: ReadHalf<T>,
    decoder: Decoder,
    buffer: BytesMut,
    writer: SocketWriter<T>,
    hearer: Option<Hearer>,
    closed: bool,
}

impl<T: fmt::Debug> fmt::Debug for SocketReader<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketReader")
            .field("writer", &self.writer)
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}

impl<T: AsyncRead + AsyncWrite> SocketReader<T> {
    /// Has the payload of every ping told to `hearer`; pings are answered all the same.
    pub fn on_ping(&mut self, hearer: impl FnMut(&[u8]) + Send + Sync + 'static) {
        self.hearer = Some(Box::new(hearer));
    }

    /// Waits for what the peer says next.
    ///
    /// A connection that ends without a close frame is an error of kind
    /// `UnexpectedEof`, a close frame that reports a failure one of kind
    /// `ConnectionAborted`, a broken frame one of kind `InvalidData`. After
    /// [`Event::Close`] every further call says `Close` again.
    pub async fn next(&mut self) -> io::Result<Event> {
        if self.closed {
            return Ok(Event::Close);
        }
        loop {
            match self.decoder.decode(&mut self.buffer) {
                Ok(Some(Incoming::Data(data))) => return Ok(Event::Data(data)),
                Ok(Some(Incoming::End)) => return Ok(Event::End),
                Ok(Some(Incoming::Ping(payload))) => {
                    if let Some(hearer) = &mut self.hearer {
                        hearer(&payload);
                    }
                    self.writer.pong(payload).await;
                }
                Ok(Some(Incoming::Pong(_))) => {}
                Ok(Some(Incoming::Close(status))) => return self.accept_close(status).await,
                Ok(None) => {
                    self.buffer.reserve(READ_SIZE);
                    if self.io.read_buf(&mut self.buffer).await? == 0 {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "connection ended without a close frame",
                        ));
                    }
                }
                Err(error) => {
                    self.writer.offer_close(error.close_status()).await;
                    return Err(io::Error::new(io::ErrorKind::InvalidData, error));
                }
            }
        }
    }

    /// Reads and drops what the peer still sends, until it closes or the time is
    /// over. Closing a connection with unread data can destroy data on its way
    /// to the peer.
    pub async fn drain(&mut self, limit: Duration) {
        let rest = async { while matches!(self.next().await, Ok(Event::Data(_) | Event::End)) {} };
        // Running out of time is as good as the peer's close: nobody wants the data.
        drop(tokio::time::timeout(limit, rest).await);
    }

    async fn accept_close(&mut self, status: u16) -> io::Result<Event> {
        match status {
            frame::CLOSE_NORMAL | frame::CLOSE_GOING_AWAY | frame::CLOSE_NO_STATUS => {
                self.closed = true;
                self.writer.offer_close(frame::CLOSE_NORMAL).await;
                Ok(Event::Close)
            }
            status => {
                self.writer.offer_close(frame::CLOSE_NORMAL).await;
                Err(io::Error::new(
                    io::ErrorKind::ConnectionAborted,
                    format!("connection closed by the peer with status {status}"),
                ))
            }
        }
    }
}

/// The sending direction; clones write to the same stream, frame by frame.
#[derive(Debug)]
pub struct SocketWriter<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for SocketWriter<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

#[derive(Debug)]
struct Shared<T> {
    half: Mutex<Half<T>>,
    /// Answer owed while another task holds the write half. Only the latest ping
    /// needs an answer (RFC 6455 §5.5.3), so a flood of pings takes no memory.
    pong: StdMutex<Option<Bytes>>,
}

#[derive(Debug)]
struct Half<T> {
    io: WriteHalf<T>,
    role: Role,
    /// Encoded frames not yet written.
    buffer: BytesMut,
    ended: bool,
    closed: bool,
}

impl<T: AsyncWrite> SocketWriter<T> {
    /// Sends bytes as one text frame; nothing when there are none.
    pub async fn data(&self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > MAX_PAYLOAD {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "frame is too large",
            ));
        }
        self.data_in_frames(bytes, MAX_PAYLOAD).await
    }

    /// Sends bytes as text frames of at most `size` bytes each.
    ///
    /// # Panics
    ///
    /// Panics when `size` is zero.
    pub async fn data_in_frames(&self, bytes: &[u8], size: usize) -> io::Result<()> {
        let mut half = self.shared.half.lock().await;
        for piece in bytes.chunks(size) {
            half.open_for_data()?;
            half.push(Opcode::Text, piece);
            if half.buffer.len() >= WRITE_SIZE {
                half.flush().await?;
            }
        }
        self.finish(half).await
    }

    /// Says that no more data comes: an empty binary frame. Later calls do nothing.
    pub async fn end(&self) -> io::Result<()> {
        let mut half = self.shared.half.lock().await;
        half.push_end();
        self.finish(half).await
    }

    /// Sends an empty ping, which keeps idle connections alive.
    pub async fn ping(&self) -> io::Result<()> {
        self.ping_with(b"").await
    }

    /// Sends a ping with a payload of at most 125 bytes, which the peer sends back.
    pub async fn ping_with(&self, payload: &[u8]) -> io::Result<()> {
        if payload.len() > MOST_OF_CONTROL {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "ping is too large",
            ));
        }
        let mut half = self.shared.half.lock().await;
        if half.closed {
            return Err(closed());
        }
        half.push(Opcode::Ping, payload);
        self.finish(half).await
    }

    /// Finishes the stream: end of data (unless said before), close frame, end of
    /// the connection's write direction.
    pub async fn close(&self) -> io::Result<()> {
        let mut half = self.shared.half.lock().await;
        half.push_end();
        half.push_close(frame::CLOSE_NORMAL);
        half.flush().await?;
        half.io.shutdown().await
    }

    async fn finish(&self, mut half: tokio::sync::MutexGuard<'_, Half<T>>) -> io::Result<()> {
        half.flush().await?;
        let owed = self.owed_pong().take();
        if let Some(payload) = owed
            && !half.closed
        {
            half.push(Opcode::Pong, &payload);
            half.flush().await?;
        }
        Ok(())
    }

    fn owed_pong(&self) -> StdMutexGuard<'_, Option<Bytes>> {
        self.shared
            .pong
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a ping without ever waiting: a peer that does not read must not
    /// keep us from reading, or both ends could wait for each other.
    async fn pong(&self, payload: Bytes) {
        match self.shared.half.try_lock() {
            Ok(mut half) if !half.closed && half.buffer.is_empty() => {
                half.push(Opcode::Pong, &payload);
                half.flush_what_fits().await;
            }
            _ => *self.owed_pong() = Some(payload),
        }
    }

    /// Sends a close frame if that is possible without waiting.
    async fn offer_close(&self, status: u16) {
        if let Ok(mut half) = self.shared.half.try_lock() {
            half.push_close(status);
            half.flush_what_fits().await;
        }
    }
}

impl<T: AsyncWrite> Half<T> {
    fn push(&mut self, opcode: Opcode, payload: &[u8]) {
        let mask = self.mask();
        frame::encode(opcode, payload, mask, &mut self.buffer);
    }

    fn push_end(&mut self) {
        if !self.ended && !self.closed {
            self.push(Opcode::Binary, b"");
            self.ended = true;
        }
    }

    fn push_close(&mut self, status: u16) {
        if !self.closed {
            let mask = self.mask();
            frame::encode_close(status, mask, &mut self.buffer);
            self.closed = true;
        }
    }

    /// Makes a client's masking key, which must not be predictable (RFC 6455 §5.3).
    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then(rand::random)
    }

    fn open_for_data(&self) -> io::Result<()> {
        if self.closed || self.ended {
            Err(closed())
        } else {
            Ok(())
        }
    }

    async fn flush(&mut self) -> io::Result<()> {
        while !self.buffer.is_empty() {
            if self.io.write_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
        }
        self.io.flush().await
    }

    /// Writes as much as the connection takes at once. An error is left for the
    /// next write to report: the reader, who calls this, learns of it by reading.
    async fn flush_what_fits(&mut self) {
        poll_fn(|cx| {
            while !self.buffer.is_empty() {
                match Pin::new(&mut self.io).poll_write(cx, &self.buffer) {
                    Poll::Ready(Ok(written)) if written > 0 => self.buffer.advance(written),
                    _ => break,
                }
            }
            // Some connections hold small writes back until they are flushed.
            let _ = Pin::new(&mut self.io).poll_flush(cx);
            Poll::Ready(())
        })
        .await;
    }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::BrokenPipe, "stream is already closed")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::DuplexStream;

    type Reader = SocketReader<DuplexStream>;
    type Writer = SocketWriter<DuplexStream>;

    fn pair(size: usize) -> ((Reader, Writer), (Reader, Writer)) {
        let (client, server) = tokio::io::duplex(size);
        (
            Socket::new(client, Role::Client).split(),
            Socket::new(server, Role::Server).split(),
        )
    }

    /// A client whose peer is driven byte by byte.
    fn bare(size: usize) -> ((Reader, Writer), DuplexStream) {
        let (client, peer) = tokio::io::duplex(size);
        (Socket::new(client, Role::Client).split(), peer)
    }

    async fn all(reader: &mut Reader) -> (Vec<u8>, Vec<Event>) {
        let (mut data, mut rest) = (Vec::new(), Vec::new());
        loop {
            match reader.next().await.expect("an orderly stream") {
                Event::Data(bytes) => data.extend(bytes),
                Event::Close => return (data, [rest, vec![Event::Close]].concat()),
                Event::End => rest.push(Event::End),
            }
        }
    }

    #[tokio::test]
    async fn bytes_go_both_ways_untouched() {
        let ((mut client_in, client_out), (mut server_in, server_out)) = pair(1000);
        let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 % 251) as u8).collect();
        let sent = bytes.clone();
        let client = tokio::spawn(async move {
            client_out.data_in_frames(&sent, 1024).await.expect("send");
            client_out.end().await.expect("end");
            all(&mut client_in).await
        });
        let mut echoed = Vec::new();
        loop {
            match server_in.next().await.expect("event") {
                Event::Data(data) => {
                    assert!(data.len() <= 1024);
                    echoed.extend_from_slice(&data);
                }
                Event::End => break,
                Event::Close => panic!("closed early"),
            }
        }
        server_out.data(&echoed).await.expect("send");
        server_out.close().await.expect("close");
        let (data, rest) = client.await.expect("client");
        assert_eq!(data, bytes);
        assert_eq!(rest, [Event::End, Event::Close]);
    }

    #[tokio::test]
    async fn closing_writes_end_close_and_nothing_more() {
        let (server, mut peer) = tokio::io::duplex(1000);
        let (_reader, writer) = Socket::new(server, Role::Server).split();
        writer.data(b"\xFF").await.expect("data");
        writer.close().await.expect("close");
        assert_eq!(
            writer.data(b"x").await.expect_err("closed").kind(),
            io::ErrorKind::BrokenPipe
        );
        writer.end().await.expect("nothing to do");
        let mut bytes = Vec::new();
        peer.read_to_end(&mut bytes)
            .await
            .expect("the write direction has ended");
        assert_eq!(bytes, [0x81, 1, 0xFF, 0x82, 0, 0x88, 2, 0x03, 0xE8]);
    }

    #[tokio::test]
    async fn a_vanished_peer_is_no_close() {
        let ((mut reader, _writer), mut peer) = bare(100);
        peer.write_all(&[0x81, 1, b'a', 0x81, 5, b'b'])
            .await
            .expect("write");
        drop(peer);
        assert_eq!(
            reader.next().await.expect("data"),
            Event::Data(Bytes::from_static(b"a"))
        );
        let error = reader.next().await.expect_err("lost");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_failing_close_is_an_error() {
        let ((mut reader, _writer), mut peer) = bare(100);
        peer.write_all(&[0x88, 2, 0x03, 0xF3]).await.expect("write");
        let error = reader.next().await.expect_err("1011");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
        assert_eq!(
            error.to_string(),
            "connection closed by the peer with status 1011"
        );
    }

    #[tokio::test]
    async fn pings_are_answered_by_reading() {
        let ((mut client_in, client_out), (mut server_in, server_out)) = pair(1000);
        client_out.ping().await.expect("ping");
        client_out.data(b"x").await.expect("data");
        // Answers the ping on the way to the data.
        assert_eq!(
            server_in.next().await.expect("data"),
            Event::Data(Bytes::from_static(b"x"))
        );
        server_out.data(b"y").await.expect("data");
        assert_eq!(
            client_in.next().await.expect("data"),
            Event::Data(Bytes::from_static(b"y"))
        );
    }

    #[tokio::test]
    async fn pings_are_heard_as_they_come() {
        let ((_client_in, client_out), (mut server_in, _server_out)) = pair(1000);
        let (tell, heard) = std::sync::mpsc::channel();
        let tell = StdMutex::new(tell);
        server_in.on_ping(move |payload| {
            let tell = tell.lock().unwrap_or_else(PoisonError::into_inner);
            tell.send(payload.to_vec()).expect("somebody hears");
        });
        client_out.ping_with(b"resize 1x2").await.expect("ping");
        client_out.ping().await.expect("ping");
        client_out.end().await.expect("end");
        assert_eq!(server_in.next().await.expect("end"), Event::End);
        assert_eq!(
            heard.try_iter().collect::<Vec<_>>(),
            [b"resize 1x2".to_vec(), Vec::new()]
        );
        let error = client_out
            .ping_with(&[0; 126])
            .await
            .expect_err("too large");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[tokio::test]
    async fn pongs_carry_the_payload_of_the_ping() {
        let (server, mut peer) = tokio::io::duplex(1000);
        let (mut reader, _writer) = Socket::new(server, Role::Server).split();
        let mut wire = BytesMut::new();
        frame::encode(Opcode::Ping, b"who?", Some([1, 2, 3, 4]), &mut wire);
        frame::encode_close(frame::CLOSE_NORMAL, Some([1, 2, 3, 4]), &mut wire);
        peer.write_all(&wire).await.expect("write");
        assert_eq!(reader.next().await.expect("close"), Event::Close);
        assert_eq!(reader.next().await.expect("close stays"), Event::Close);
        let mut answer = [0; 10];
        peer.read_exact(&mut answer).await.expect("read");
        assert_eq!(answer, *b"\x8A\x04who?\x88\x02\x03\xE8");
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_cannot_stop_the_reader() {
        // 16 bytes of room: the writer is stuck in its frame when the pings come.
        let ((mut reader, writer), mut peer) = bare(16);
        let stuck = tokio::spawn(async move { writer.data(&[b'x'; 1000]).await });
        // One turn of the only thread takes it to the end of the room.
        tokio::task::yield_now().await;
        for _ in 0..100 {
            peer.write_all(&[0x89, 0]).await.expect("ping");
            peer.write_all(&[0x81, 1, b'a']).await.expect("data");
            assert_eq!(
                reader.next().await.expect("data"),
                Event::Data(Bytes::from_static(b"a"))
            );
        }
        let mut decoder = Decoder::new(Role::Server);
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        while got.len() < 2 {
            peer.read_buf(&mut buffer).await.expect("read");
            while let Some(incoming) = decoder.decode(&mut buffer).expect("frames") {
                got.push(incoming);
            }
        }
        stuck.await.expect("task").expect("written");
        assert_eq!(
            got,
            [
                Incoming::Data(Bytes::from(vec![b'x'; 1000])),
                Incoming::Pong(Bytes::new())
            ],
            "one answer for all pings"
        );
    }

    #[tokio::test]
    async fn a_dropped_write_is_finished_by_the_next() {
        let ((_reader, writer), mut peer) = bare(16);
        {
            let data = vec![b'x'; 1000];
            let write = writer.data(&data);
            tokio::pin!(write);
            assert!(
                futures::poll!(write.as_mut()).is_pending(),
                "no room for all of it"
            );
        }
        let next = tokio::spawn(async move { writer.data(b"y").await });
        let mut decoder = Decoder::new(Role::Server);
        let mut buffer = BytesMut::new();
        let mut got = Vec::new();
        while got.len() < 2 {
            peer.read_buf(&mut buffer).await.expect("read");
            while let Some(incoming) = decoder.decode(&mut buffer).expect("frames") {
                got.push(incoming);
            }
        }
        next.await.expect("task").expect("written");
        assert_eq!(
            got,
            [
                Incoming::Data(Bytes::from(vec![b'x'; 1000])),
                Incoming::Data(Bytes::from_static(b"y"))
            ]
        );
    }

    #[tokio::test]
    async fn broken_frames_close_the_connection() {
        let (server, mut peer) = tokio::io::duplex(100);
        let (mut reader, _writer) = Socket::new(server, Role::Server).split();
        peer.write_all(&[0x81, 1, b'a']).await.expect("write");
        let error = reader.next().await.expect_err("not masked");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).await.expect("read");
        assert_eq!(answer, [0x88, 2, 0x03, 0xEA]);
    }

    #[tokio::test]
    async fn draining_ends_with_the_peer_or_the_time() {
        let ((mut reader, _writer), (_server_in, server_out)) = pair(100);
        server_out.data(b"late").await.expect("data");
        reader.drain(Duration::from_millis(1)).await;
        server_out.close().await.expect("close");
        reader.drain(Duration::from_secs(60)).await;
        assert_eq!(reader.next().await.expect("closed"), Event::Close);
    }
}
