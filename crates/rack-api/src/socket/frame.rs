//! Frames as bytes: encoding and incremental decoding, without input or output.
//!
//! The decoder is strict about what would desynchronise or exhaust it (reserved
//! bits, unknown opcodes, masking, control frames, sizes) and lenient about the
//! rest: text is never checked for UTF-8.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};

use super::Role;

/// Largest payload accepted or sent in one frame.
pub const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// Largest payload of a control frame (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

/// In place of a length: the length follows in 16 bits.
const LENGTH_16: u8 = 0x7E;
/// In place of a length: the length follows in 64 bits.
const LENGTH_64: u8 = 0x7F;

/// Close status of a stream that is complete.
pub const CLOSE_NORMAL: u16 = 1000;
/// Close status of a peer that goes away, a shutting-down server for one.
pub const CLOSE_GOING_AWAY: u16 = 1001;
/// Close status for frames that break the protocol.
pub const CLOSE_PROTOCOL_ERROR: u16 = 1002;
/// Stands for a close frame without a status; never sent.
pub const CLOSE_NO_STATUS: u16 = 1005;
/// Close status for frames above [`MAX_PAYLOAD`].
pub const CLOSE_TOO_BIG: u16 = 1009;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// Next part of a fragmented message.
    Continuation,
    /// Stream bytes.
    Text,
    /// End of the sender's direction.
    Binary,
    /// End of the connection.
    Close,
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// What one frame means to its receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Stream bytes; never empty.
    Data(Bytes),
    /// The peer sends no more data.
    End,
    /// To be answered with a pong of the same payload.
    Ping(Bytes),
    /// Answer to a ping.
    Pong(Bytes),
    /// The peer closes the connection, with this status.
    Close(u16),
}

/// A frame that cannot be accepted; nothing after it can be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// An extension nobody agreed on.
    #[error("websocket frame with reserved bits set")]
    ReservedBits,
    /// An opcode without a meaning.
    #[error("websocket frame with unknown opcode {0:#x}")]
    UnknownOpcode(u8),
    /// A payload above [`MAX_PAYLOAD`].
    #[error("websocket frame of {0} bytes is too large")]
    TooLarge(u64),
    /// A control frame above [`MAX_CONTROL_PAYLOAD`] or in fragments.
    #[error("websocket control frame is fragmented or too long")]
    Control,
    /// A client frame without a mask.
    #[error("websocket frame from a client is not masked")]
    Unmasked,
    /// A server frame with a mask.
    #[error("websocket frame from a server is masked")]
    Masked,
    /// A continuation of nothing, or a new message inside another.
    #[error("websocket fragments out of order")]
    Fragments,
    /// A close frame with half a status.
    #[error("websocket close frame is malformed")]
    Close,
}

impl FrameError {
    /// The close status that tells the peer.
    pub fn close_status(&self) -> u16 {
        match self {
            Self::TooLarge(_) => CLOSE_TOO_BIG,
            _ => CLOSE_PROTOCOL_ERROR,
        }
    }
}

/// Appends one frame to `to`; `mask` is the key of a client's frame.
///
/// # Panics
///
/// Panics when a control payload is longer than [`MAX_CONTROL_PAYLOAD`].
pub fn encode(opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>, to: &mut BytesMut) {
    assert!(
        !opcode.is_control() || payload.len() <= MAX_CONTROL_PAYLOAD,
        "control payloads fit one byte of length"
    );
    to.reserve(14 + payload.len());
    to.put_u8(0x80 | opcode.bits());
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        short @ 0..=125 => to.put_u8(masked | short as u8),
        medium @ 126..=0xFFFF => {
            to.put_u8(masked | LENGTH_16);
            to.put_u16(medium as u16);
        }
        long => {
            to.put_u8(masked | LENGTH_64);
            to.put_u64(long as u64);
        }
    }
    if let Some(key) = mask {
        to.put_slice(&key);
    }
    let start = to.len();
    to.put_slice(payload);
    if let Some(key) = mask {
        apply_mask(&mut to[start..], key);
    }
}

/// Appends a close frame with a status.
pub fn encode_close(status: u16, mask: Option<[u8; 4]>, to: &mut BytesMut) {
    encode(Opcode::Close, &status.to_be_bytes(), mask, to);
}

/// Masks or unmasks; the two are the same operation.
fn apply_mask(payload: &mut [u8], key: [u8; 4]) {
    // Whole words first: the compiler turns this loop into wide instructions.
    let mut words = payload.chunks_exact_mut(4);
    for word in &mut words {
        for (byte, key) in word.iter_mut().zip(key) {
            *byte ^= key;
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip(key) {
        *byte ^= key;
    }
}

/// The part of a frame before its payload.
#[derive(Debug, Clone, Copy)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: Option<[u8; 4]>,
    payload: usize,
}

/// Decodes what a peer sends, however it is cut into reads.
#[derive(Debug)]
pub struct Decoder {
    /// The role of the receiving end.
    role: Role,
    /// Header of the frame whose payload is still to come.
    header: Option<Header>,
    /// First opcode of the message whose fragments are still coming.
    message: Option<Opcode>,
}

impl Decoder {
    /// Makes a decoder for the end that has this role.
    pub fn new(role: Role) -> Self {
        Self {
            role,
            header: None,
            message: None,
        }
    }

    /// Takes the next frame off `from`; `None` when it is not complete yet.
    ///
    /// Frames without a meaning (empty text, later fragments of a binary
    /// message) are skipped.
    pub fn decode(&mut self, from: &mut BytesMut) -> Result<Option<Incoming>, FrameError> {
        loop {
            let header = match self.header {
                Some(header) => header,
                None => match self.decode_header(from)? {
                    Some(header) => *self.header.insert(header),
                    None => return Ok(None),
                },
            };
            if from.len() < header.payload {
                return Ok(None);
            }
            self.header = None;
            let mut payload = from.split_to(header.payload);
            if let Some(key) = header.mask {
                apply_mask(&mut payload, key);
            }
            if let Some(incoming) = self.accept(header, payload.freeze())? {
                return Ok(Some(incoming));
            }
        }
    }

    fn decode_header(&self, from: &mut BytesMut) -> Result<Option<Header>, FrameError> {
        let [first, second, ..] = from[..] else {
            return Ok(None);
        };
        if first & 0x70 != 0 {
            return Err(FrameError::ReservedBits);
        }
        let fin = first & 0x80 != 0;
        let opcode =
            Opcode::from_bits(first & 0x0F).ok_or(FrameError::UnknownOpcode(first & 0x0F))?;
        let masked = second & 0x80 != 0;
        match self.role {
            Role::Server if !masked => return Err(FrameError::Unmasked),
            Role::Client if masked => return Err(FrameError::Masked),
            _ => {}
        }
        let short = second & 0x7F;
        if opcode.is_control() && (!fin || usize::from(short) > MAX_CONTROL_PAYLOAD) {
            return Err(FrameError::Control);
        }
        let extended = match short {
            LENGTH_16 => 2,
            LENGTH_64 => 8,
            _ => 0,
        };
        if from.len() < 2 + extended {
            return Ok(None);
        }
        let length = match extended {
            0 => u64::from(short),
            _ => from[2..2 + extended]
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        // Refused before the payload arrives, so it never takes memory.
        let payload = usize::try_from(length)
            .ok()
            .filter(|length| *length <= MAX_PAYLOAD)
            .ok_or(FrameError::TooLarge(length))?;
        let size = 2 + extended + if masked { 4 } else { 0 };
        if from.len() < size {
            return Ok(None);
        }
        let mask = masked.then(|| {
            [
                from[size - 4],
                from[size - 3],
                from[size - 2],
                from[size - 1],
            ]
        });
        from.advance(size);
        Ok(Some(Header {
            fin,
            opcode,
            mask,
            payload,
        }))
    }

    fn accept(&mut self, header: Header, payload: Bytes) -> Result<Option<Incoming>, FrameError> {
        Ok(match header.opcode {
            Opcode::Ping => Some(Incoming::Ping(payload)),
            Opcode::Pong => Some(Incoming::Pong(payload)),
            Opcode::Close => Some(Incoming::Close(match payload[..] {
                [] => CLOSE_NO_STATUS,
                [high, low, ..] => u16::from_be_bytes([high, low]),
                [_] => return Err(FrameError::Close),
            })),
            Opcode::Text | Opcode::Binary => {
                if self.message.is_some() {
                    return Err(FrameError::Fragments);
                }
                if !header.fin {
                    self.message = Some(header.opcode);
                }
                match header.opcode {
                    // Whatever a binary frame carries, it ends the direction.
                    Opcode::Binary => Some(Incoming::End),
                    _ => Self::data(payload),
                }
            }
            Opcode::Continuation => {
                let message = self.message.ok_or(FrameError::Fragments)?;
                if header.fin {
                    self.message = None;
                }
                match message {
                    Opcode::Binary => None,
                    _ => Self::data(payload),
                }
            }
        })
    }

    fn data(payload: Bytes) -> Option<Incoming> {
        (!payload.is_empty()).then_some(Incoming::Data(payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEY: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

    fn decode_all(role: Role, bytes: &[u8]) -> Result<Vec<Incoming>, FrameError> {
        let mut decoder = Decoder::new(role);
        let mut buffer = BytesMut::from(bytes);
        let mut all = Vec::new();
        while let Some(incoming) = decoder.decode(&mut buffer)? {
            all.push(incoming);
        }
        Ok(all)
    }

    fn data(bytes: &[u8]) -> Incoming {
        Incoming::Data(Bytes::copy_from_slice(bytes))
    }

    #[test]
    fn masked_bytes_are_those_of_the_rfc() {
        let mut to = BytesMut::new();
        encode(Opcode::Text, b"Hello", Some(KEY), &mut to);
        assert_eq!(
            to[..],
            [
                0x81, 0x85, 0x37, 0xFA, 0x21, 0x3D, 0x7F, 0x9F, 0x4D, 0x51, 0x58
            ]
        );
        assert_eq!(decode_all(Role::Server, &to), Ok(vec![data(b"Hello")]));
    }

    #[test]
    fn lengths_take_the_fewest_bytes() {
        for (length, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 0xFF, 0xFF]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let payload = vec![0xFF; length];
            let mut to = BytesMut::new();
            encode(Opcode::Text, &payload, None, &mut to);
            assert_eq!(to[..header.len()], header[..], "{length}");
            assert_eq!(to.len(), header.len() + length);
        }
    }

    #[test]
    fn text_need_not_be_utf8() {
        let bytes = [0x81, 4, 0xFF, 0xFE, 0x00, 0x80];
        assert_eq!(
            decode_all(Role::Client, &bytes),
            Ok(vec![data(&[0xFF, 0xFE, 0x00, 0x80])])
        );
    }

    #[test]
    fn characters_may_be_cut_by_frames() {
        // "é" is C3 A9.
        let bytes = [0x81, 1, 0xC3, 0x81, 1, 0xA9];
        assert_eq!(
            decode_all(Role::Client, &bytes),
            Ok(vec![data(&[0xC3]), data(&[0xA9])])
        );
    }

    #[test]
    fn any_binary_frame_is_the_end_once() {
        assert_eq!(
            decode_all(Role::Client, &[0x82, 0]),
            Ok(vec![Incoming::End])
        );
        assert_eq!(
            decode_all(Role::Client, &[0x82, 2, 1, 2]),
            Ok(vec![Incoming::End])
        );
        let fragments = [0x02, 1, 1, 0x00, 1, 2, 0x80, 1, 3, 0x81, 1, b'x'];
        assert_eq!(
            decode_all(Role::Client, &fragments),
            Ok(vec![Incoming::End, data(b"x")])
        );
    }

    #[test]
    fn control_frames_come_between_fragments() {
        let bytes = [
            0x01, 1, b'a', 0x89, 1, b'p', 0x00, 1, b'b', 0x8A, 0, 0x80, 1, b'c', 0x81, 1, b'd',
        ];
        assert_eq!(
            decode_all(Role::Client, &bytes),
            Ok(vec![
                data(b"a"),
                Incoming::Ping(Bytes::from_static(b"p")),
                data(b"b"),
                Incoming::Pong(Bytes::new()),
                data(b"c"),
                data(b"d"),
            ])
        );
    }

    #[test]
    fn close_statuses() {
        assert_eq!(
            decode_all(Role::Client, &[0x88, 0]),
            Ok(vec![Incoming::Close(CLOSE_NO_STATUS)])
        );
        let with_reason = [0x88, 5, 0x03, 0xE8, b'b', b'y', b'e'];
        assert_eq!(
            decode_all(Role::Client, &with_reason),
            Ok(vec![Incoming::Close(CLOSE_NORMAL)])
        );
        assert_eq!(
            decode_all(Role::Client, &[0x88, 1, 3]),
            Err(FrameError::Close)
        );
    }

    #[test]
    fn broken_frames_are_refused() {
        let cases: [(Role, &[u8], FrameError); 10] = [
            (Role::Client, &[0xC1, 0], FrameError::ReservedBits),
            (Role::Client, &[0x91, 0], FrameError::ReservedBits),
            (Role::Client, &[0x83, 0], FrameError::UnknownOpcode(3)),
            (Role::Client, &[0x8B, 0], FrameError::UnknownOpcode(11)),
            (Role::Client, &[0x09, 0], FrameError::Control),
            (Role::Client, &[0x89, 126, 0, 126], FrameError::Control),
            (Role::Client, &[0x80, 0], FrameError::Fragments),
            (
                Role::Client,
                &[0x01, 1, b'a', 0x81, 1, b'b'],
                FrameError::Fragments,
            ),
            (Role::Client, &[0x81, 0x80, 0, 0, 0, 0], FrameError::Masked),
            (Role::Server, &[0x81, 1, b'a'], FrameError::Unmasked),
        ];
        for (role, bytes, error) in cases {
            assert_eq!(decode_all(role, bytes), Err(error), "{bytes:x?}");
        }
    }

    #[test]
    fn large_frames_are_refused_by_their_header() {
        let limit = MAX_PAYLOAD as u64;
        for length in [limit + 1, 1 << 40, u64::MAX] {
            let mut bytes = vec![0x81, 127];
            bytes.extend(length.to_be_bytes());
            assert_eq!(
                decode_all(Role::Client, &bytes),
                Err(FrameError::TooLarge(length))
            );
        }
        let mut bytes = vec![0x81, 127];
        bytes.extend(limit.to_be_bytes());
        assert_eq!(
            decode_all(Role::Client, &bytes),
            Ok(vec![]),
            "the largest frame is waited for"
        );
    }

    proptest! {
        #[test]
        fn frames_survive_any_cut(
            payloads in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..70_000), 0..4),
            key in any::<Option<[u8; 4]>>(),
            cuts in proptest::collection::vec(1usize..5_000, 1..20),
        ) {
            let mut wire = BytesMut::new();
            for payload in &payloads {
                encode(Opcode::Text, payload, key, &mut wire);
                encode(Opcode::Ping, b"still there?", key, &mut wire);
            }
            encode(Opcode::Binary, b"", key, &mut wire);
            encode_close(CLOSE_NORMAL, key, &mut wire);

            let role = if key.is_some() { Role::Server } else { Role::Client };
            let mut decoder = Decoder::new(role);
            let mut buffer = BytesMut::new();
            let mut got = Vec::new();
            let mut rest = &wire[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(*cuts.next().expect("cycles")));
                buffer.extend_from_slice(now);
                rest = later;
                while let Some(incoming) = decoder.decode(&mut buffer).expect("own frames") {
                    got.push(incoming);
                }
            }

            let mut want = Vec::new();
            for payload in &payloads {
                if !payload.is_empty() {
                    want.push(data(payload));
                }
                want.push(Incoming::Ping(Bytes::from_static(b"still there?")));
            }
            want.extend([Incoming::End, Incoming::Close(CLOSE_NORMAL)]);
            prop_assert_eq!(got, want);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            server in any::<bool>(),
        ) {
            let role = if server { Role::Server } else { Role::Client };
            if let Ok(all) = decode_all(role, &bytes) {
                let size: usize = all
                    .iter()
                    .map(|incoming| match incoming {
                        Incoming::Data(data) => data.len(),
                        _ => 0,
                    })
                    .sum();
                prop_assert!(size <= bytes.len());
            }
        }
    }
}
