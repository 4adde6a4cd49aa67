//! As much of AMQP 0-9-1 as it takes to leave a message with a broker and to get it back, over a
//! connection through the rack.

use rack_api::socket::Event;

use super::world::{Client, Connected, within};

/// Class and method.
type Method = (u16, u16);

const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const QUEUE_DECLARE: Method = (50, 10);
const QUEUE_DECLARE_OK: Method = (50, 11);
const PUBLISH: Method = (60, 40);
const GET: Method = (60, 70);
const GET_OK: Method = (60, 71);
const ACK: Method = (60, 80);
const CONFIRM: Method = (85, 10);
const CONFIRM_OK: Method = (85, 11);

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xCE;
/// Mark of a frame, its channel and its length.
const HEAD: usize = 7;

/// A connection to a broker.
pub(crate) struct Broker {
    socket: Connected,
    received: Vec<u8>,
}

fn short(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[length], text.as_bytes()].concat()
}

fn long(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).expect("a text");
    [&length.to_be_bytes(), text.as_bytes()].concat()
}

impl Broker {
    /// Connects to whom an address names, and says nothing but the protocol's name.
    pub(crate) async fn reach(rack: &Client, url: &str) -> Self {
        let (_, place) = url.rsplit_once('@').expect("an address");
        let (place, _) = place.split_once('/').expect("a virtual host");
        let (host, port) = place.split_once(':').expect("a port");
        let socket = rack.socket(&format!("/proxy/{host}/{port}"), &[]).await;
        let mut broker = Self {
            socket,
            received: Vec::new(),
        };
        broker.write(b"AMQP\0\0\x09\x01").await;
        broker.answer(START).await;
        broker
    }

    /// Connects as an address says, and opens a channel.
    pub(crate) async fn connect(rack: &Client, url: &str) -> Self {
        let mut broker = Self::reach(rack, url).await;
        let account = url.strip_prefix("amqp://").expect("an address of a broker");
        let (account, place) = account.split_once('@').expect("an account");
        let (user, password) = account.split_once(':').expect("a password");
        let (_, host) = place.split_once('/').expect("a virtual host");
        broker.introduce(user, password).await;
        broker.answer(TUNE).await;
        // As many channels and bytes as it proposes, no heartbeat.
        let tune = [
            &2047_u16.to_be_bytes()[..],
            &131_072_u32.to_be_bytes(),
            &[0; 2],
        ]
        .concat();
        broker.method(0, TUNE_OK, &tune).await;
        broker
            .method(0, OPEN, &[&short(host)[..], &[0, 0]].concat())
            .await;
        broker.answer(OPEN_OK).await;
        broker.method(1, CHANNEL_OPEN, &[0]).await;
        broker.answer(CHANNEL_OPEN_OK).await;
        broker
    }

    /// Says who it is.
    pub(crate) async fn introduce(&mut self, user: &str, password: &str) {
        let account = long(&format!("\0{user}\0{password}"));
        let words = [&[0; 4][..], &short("PLAIN"), &account, &short("en_US")].concat();
        self.method(0, START_OK, &words).await;
    }

    /// All that is said until the connection ends, without what is no text in it.
    pub(crate) async fn rest(self) -> String {
        let bytes = self.socket.rest().await.bytes();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Makes a queue that outlives the broker, or finds it; says how many messages are in it.
    pub(crate) async fn queue(&mut self, name: &str) -> u32 {
        const DURABLE: u8 = 2;
        let words = [&[0; 2][..], &short(name), &[DURABLE], &[0; 4]].concat();
        self.method(1, QUEUE_DECLARE, &words).await;
        let answer = self.answer(QUEUE_DECLARE_OK).await;
        let count = &answer[1 + name.len()..][..4];
        u32::from_be_bytes(count.try_into().expect("four bytes"))
    }

    /// Puts a message that outlives the broker into a queue; returns when the broker has it.
    pub(crate) async fn publish(&mut self, queue: &str, message: &str) {
        const HAS_DELIVERY_MODE: u16 = 1 << 12;
        const PERSISTENT: u8 = 2;
        self.method(1, CONFIRM, &[0]).await;
        self.answer(CONFIRM_OK).await;
        let words = [&[0; 3][..], &short(queue), &[0]].concat();
        self.method(1, PUBLISH, &words).await;
        let header = [
            &[0, 60, 0, 0][..],
            &(message.len() as u64).to_be_bytes(),
            &HAS_DELIVERY_MODE.to_be_bytes(),
            &[PERSISTENT],
        ];
        self.frame(HEADER, 1, &header.concat()).await;
        self.frame(BODY, 1, message.as_bytes()).await;
        self.answer(ACK).await;
    }

    /// Takes a message out of a queue.
    pub(crate) async fn take(&mut self, queue: &str) -> String {
        const NEEDS_NO_ANSWER: u8 = 1;
        let words = [&[0; 2][..], &short(queue), &[NEEDS_NO_ANSWER]].concat();
        self.method(1, GET, &words).await;
        self.answer(GET_OK).await;
        assert_eq!(self.next().await.0, HEADER);
        let (kind, body) = self.next().await;
        assert_eq!(kind, BODY);
        String::from_utf8(body).expect("text")
    }

    async fn write(&self, bytes: &[u8]) {
        self.socket.writer.data(bytes).await.expect("sent");
    }

    async fn frame(&self, kind: u8, channel: u16, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("a frame");
        let head = [&[kind][..], &channel.to_be_bytes(), &length.to_be_bytes()].concat();
        self.write(&[&head[..], payload, &[END]].concat()).await;
    }

    async fn method(&self, channel: u16, (class, method): Method, arguments: &[u8]) {
        let name = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(METHOD, channel, &[&name[..], arguments].concat())
            .await;
    }

    /// Arguments of a method that the broker is expected to answer with.
    async fn answer(&mut self, (class, method): Method) -> Vec<u8> {
        let (kind, payload) = self.next().await;
        let name = [class.to_be_bytes(), method.to_be_bytes()].concat();
        let said = String::from_utf8_lossy(&payload);
        assert!(
            kind == METHOD && payload.starts_with(&name),
            "{class}.{method}, not {said}"
        );
        payload[name.len()..].to_vec()
    }

    async fn next(&mut self) -> (u8, Vec<u8>) {
        loop {
            if self.received.len() >= HEAD {
                let length = self.received[3..HEAD].try_into().expect("four bytes");
                let end = HEAD + u32::from_be_bytes(length) as usize;
                if self.received.len() > end {
                    let frame: Vec<u8> = self.received.drain(..=end).collect();
                    assert_eq!(frame[end], END);
                    return (frame[0], frame[HEAD..end].to_vec());
                }
            }
            match within("the broker's word", self.socket.next()).await {
                Ok(Event::Data(bytes)) => self.received.extend_from_slice(&bytes),
                other => panic!("{other:?} instead of the broker's word"),
            }
        }
    }
}
