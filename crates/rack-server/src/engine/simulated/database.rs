//! What simulated resources hold: the bytes last restored into them, kept in their
//! volume, so that they outlive process and server. The programs of databases are
//! answered for by name; nothing is understood of the bytes but where they end.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_util::io::SyncIoBridge;

use super::super::{ErrorTail, Result, label};
use super::process::Process;
use super::tree::{Kind, Node};
use super::{Shared, blocking, outflow};

/// Where the bytes are in the volume.
const FILE: &str = "simulated-data";
/// What `pg_dump` says of a database without anything.
const EMPTY_SQL: &[u8] = b"-- simulated PostgreSQL database dump\n";
/// An RDB file without keys: header, end, no checksum.
const EMPTY_RDB: &[u8] = b"REDIS0011\xff\0\0\0\0\0\0\0\0";
/// Bytes that are looked at, at the end of a restore.
const TAIL: usize = 512;

/// Where a command reads.
pub(super) type Input = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

/// A program of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// Writes all as SQL.
    DumpSql,
    /// Takes SQL that begins with `BEGIN` and ends with `COMMIT` and an `\echo`.
    RestoreSql,
    /// Writes all as an RDB file.
    DumpRdb,
    /// Takes an RDB file.
    RestoreRdb,
    /// Repeats what is typed.
    Console,
}

/// The data of one resource.
pub(super) struct Database {
    shared: Arc<Shared>,
    volume: String,
}

impl Program {
    /// The program words stand for, if it is one of a database.
    pub(super) fn of(words: &[String]) -> Option<Self> {
        let has = |wanted: &str| words.iter().any(|word| word == wanted);
        match words.first()?.as_str() {
            "pg_dump" => Some(Self::DumpSql),
            "psql" if has("ON_ERROR_STOP=1") => Some(Self::RestoreSql),
            "sh" if has("dump-redis") => Some(Self::DumpRdb),
            "sh" if has("restore-redis") => Some(Self::RestoreRdb),
            "psql" => Some(Self::Console),
            // With a command it is asked something.
            "redis-cli" if !has("ping") => Some(Self::Console),
            _ => None,
        }
    }
}

impl Database {
    /// The data of a process, when it is a resource with a volume.
    pub(super) fn of(shared: &Arc<Shared>, process: &Process) -> Option<Self> {
        let kind = process.spec.labels.get(label::KIND)?;
        let (volume, _) = process.spec.volumes.first()?;
        (kind == "resource").then(|| Self {
            shared: Arc::clone(shared),
            volume: volume.clone(),
        })
    }

    /// Runs a program.
    pub(super) async fn run(
        self,
        program: Program,
        input: Input,
        output: &mut (impl AsyncWrite + Unpin),
        errors: Option<&ErrorTail>,
    ) -> io::Result<i64> {
        let done = match program {
            Program::DumpSql => self.dump(EMPTY_SQL, output).await.map(|()| String::new()),
            Program::DumpRdb => self.dump(EMPTY_RDB, output).await.map(|()| String::new()),
            Program::RestoreSql => self.restore(input, sql).await,
            Program::RestoreRdb => self.restore(input, rdb).await,
            Program::Console => console(input, output).await.map(|()| String::new()),
        };
        let status = match done {
            Ok(said) => {
                output.write_all(said.as_bytes()).await?;
                0
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                let line = format!("{error}\n");
                match errors {
                    Some(errors) => errors.push(line.as_bytes()),
                    None => output.write_all(line.as_bytes()).await?,
                }
                3
            }
            Err(error) => return Err(error),
        };
        output.flush().await?;
        Ok(status)
    }

    async fn dump(
        self,
        empty: &'static [u8],
        output: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let node = {
            let catalog = self.shared.catalog();
            let volume = catalog.state().volumes.get(&self.volume);
            volume.and_then(|volume| volume.files.get(FILE).cloned())
        };
        let Some(Kind::File { blob, offset, size }) = node.map(|node| node.kind) else {
            return output.write_all(empty).await;
        };
        let mut bytes = outflow::reader(move |out| {
            let mut blob = self.shared.blobs.open(&blob)?;
            blob.seek(SeekFrom::Start(offset))?;
            io::copy(&mut blob.take(size), out).map(drop)
        });
        tokio::io::copy(&mut bytes, output).await.map(drop)
    }

    /// Takes all of the input, then keeps the part `check` says, or nothing.
    async fn restore(self, input: Input, check: Check) -> io::Result<String> {
        let bridge = SyncIoBridge::new(input);
        let kept: Result<io::Result<String>> = blocking(move || Ok(self.keep(bridge, check))).await;
        kept.map_err(io::Error::other)?
    }

    fn keep(self, mut input: SyncIoBridge<Input>, check: Check) -> io::Result<String> {
        let mut blob = self.shared.blobs.create()?;
        let (mut head, mut tail, mut size) = (Vec::new(), Vec::new(), 0_u64);
        let mut zero = false;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = input.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let bytes = &buffer[..count];
            blob.write_all(bytes)?;
            size += count as u64;
            zero |= bytes.contains(&0);
            head.extend(bytes.iter().take(16_usize.saturating_sub(head.len())));
            tail.extend_from_slice(bytes);
            tail.drain(..tail.len().saturating_sub(TAIL));
        }
        let seen = Seen {
            head,
            tail,
            size,
            zero,
        };
        let part =
            check(&seen).map_err(|reason| io::Error::new(io::ErrorKind::InvalidData, reason))?;
        let blob = blob.finish()?;
        let mut catalog = self.shared.catalog();
        self.shared.blobs.keep(&blob)?;
        let node = Node {
            mode: 0o600,
            kind: Kind::File {
                blob: blob.digest().to_owned(),
                offset: part.offset,
                size: part.size,
            },
        };
        let changed = catalog.change(|state| {
            let volume = state.volumes.entry(self.volume.clone()).or_default();
            volume.files.insert(FILE.to_owned(), node);
            Ok(())
        });
        changed.map_err(io::Error::other)?;
        self.shared.tidy(&catalog);
        Ok(part.said)
    }
}

/// What is known of bytes that have passed.
struct Seen {
    head: Vec<u8>,
    tail: Vec<u8>,
    size: u64,
    zero: bool,
}

/// The part of the bytes that is kept, and what is said to it.
struct Part {
    offset: u64,
    size: u64,
    said: String,
}

/// Finds the part to keep, or why there is none.
type Check = fn(&Seen) -> std::result::Result<Part, &'static str>;

/// A transaction: it counts only if its end came.
fn sql(seen: &Seen) -> std::result::Result<Part, &'static str> {
    const BEGIN: &[u8] = b"BEGIN;\n";
    const COMMIT: &[u8] = b"\nCOMMIT;\n\\echo ";
    if seen.zero {
        return Err("ERROR:  invalid byte sequence for encoding \"UTF8\": 0x00");
    }
    let commit = seen
        .tail
        .windows(COMMIT.len())
        .rposition(|window| window == COMMIT);
    match commit {
        Some(at) if seen.head.starts_with(BEGIN) => {
            let after = (seen.tail.len() - at) as u64;
            let said = String::from_utf8_lossy(&seen.tail[at + COMMIT.len()..]).into_owned();
            Ok(Part {
                offset: BEGIN.len() as u64,
                size: seen.size - after - BEGIN.len() as u64,
                said,
            })
        }
        _ => Err("WARNING:  the transaction was not ended and is rolled back"),
    }
}

/// An RDB file has a head and an end.
fn rdb(seen: &Seen) -> std::result::Result<Part, &'static str> {
    let end = seen.tail.len().checked_sub(9).map(|at| seen.tail[at]);
    if !seen.head.starts_with(b"REDIS") {
        return Err("Wrong signature trying to load DB from file");
    }
    if end != Some(0xff) {
        return Err("Unexpected EOF reading RDB file");
    }
    Ok(Part {
        offset: 0,
        size: seen.size,
        said: String::new(),
    })
}

/// Repeats lines until it is told to quit or there are no more.
async fn console(input: Input, output: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    output.write_all(b"simulated database\n").await?;
    output.flush().await?;
    let mut lines = BufReader::new(input).split(b'\n');
    while let Some(line) = lines.next_segment().await? {
        let line = String::from_utf8_lossy(&line).trim().to_owned();
        if matches!(line.as_str(), "\\q" | "quit" | "exit" | "\u{4}") {
            break;
        }
        output
            .write_all(format!("simulated: {line}\n").as_bytes())
            .await?;
        output.flush().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(bytes: &[u8]) -> Seen {
        Seen {
            head: bytes[..bytes.len().min(16)].to_vec(),
            tail: bytes[bytes.len().saturating_sub(TAIL)..].to_vec(),
            size: bytes.len() as u64,
            zero: bytes.contains(&0),
        }
    }

    #[test]
    fn only_a_whole_transaction_counts() {
        let part = sql(&seen(b"BEGIN;\ninsert;\nCOMMIT;\n\\echo done\n")).expect("whole");
        assert_eq!((part.offset, part.size), (7, 7));
        assert_eq!(part.said, "done\n");
        for bad in [
            &b"BEGIN;\ninsert;\n"[..],
            b"insert;\nCOMMIT;\n\\echo done\n",
            b"BEGIN;\nin\0sert;\nCOMMIT;\n\\echo done\n",
        ] {
            assert!(sql(&seen(bad)).is_err());
        }
    }

    #[test]
    fn an_rdb_file_has_head_and_end() {
        assert!(rdb(&seen(EMPTY_RDB)).is_ok());
        assert!(rdb(&seen(&EMPTY_RDB[..EMPTY_RDB.len() - 1])).is_err());
        assert!(rdb(&seen(b"RUBBISH\xff12345678")).is_err());
        assert!(rdb(&seen(b"")).is_err());
    }

    #[test]
    fn programs_are_known_by_their_words() {
        let of = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
            Program::of(&words)
        };
        assert_eq!(of(&["pg_dump", "app"]), Some(Program::DumpSql));
        assert_eq!(
            of(&["psql", "-v", "ON_ERROR_STOP=1"]),
            Some(Program::RestoreSql)
        );
        assert_eq!(of(&["psql", "app"]), Some(Program::Console));
        assert_eq!(of(&["redis-cli", "-h", "127.0.0.1", "ping"]), None);
        assert_eq!(of(&["pg_isready"]), None);
        assert_eq!(of(&["sh", "-c", "echo"]), None);
    }
}
