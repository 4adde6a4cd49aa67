//! What simulated resources hold: the bytes last restored into them, kept in their
//! volume, so that they outlive process and server. The programs of databases are
//! answered for by name; [`super::dump`] tells what is a dump.

use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader};
use tokio_util::io::SyncIoBridge;

use super::super::{ErrorTail, Result};
use super::dump::{Dump, Rdb, Sql};
use super::process::{Process, is_resource};
use super::statements::Statements;
use super::tree::{Kind, Node};
use super::{Shared, blocking, outflow};

/// Where the bytes are in the volume.
const FILE: &str = "simulated-data";
/// What `mysqldump` says of a database without anything.
const EMPTY_STATEMENTS: &[u8] = b"-- simulated MySQL database dump\n";
/// What `pg_dump` says of a database without anything.
const EMPTY_SQL: &[u8] = b"-- simulated PostgreSQL database dump\n";
/// An RDB file without keys: header, end, checksum.
const EMPTY_RDB: &[u8] = b"REDIS0011\xff\xc0\x22\x8a\x8d\x74\x38\x97\x62";

/// Where a command reads.
pub(super) type Input = Box<dyn tokio::io::AsyncRead + Send + Unpin>;

/// A program of a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Program {
    /// Writes all as SQL.
    DumpSql,
    /// Takes SQL, in a transaction with an `\echo` behind it.
    RestoreSql,
    /// Writes all as statements of MySQL.
    DumpStatements,
    /// Takes statements of MySQL, with one behind them that selects a word.
    RestoreStatements,
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
            "sh" if has("dump-mysql") => Some(Self::DumpStatements),
            "sh" if has("restore-mysql") => Some(Self::RestoreStatements),
            "psql" => Some(Self::Console),
            "sh" if has("console-mysql") || has("console-rabbitmq") => Some(Self::Console),
            // With a command it is asked something.
            "sh" if has("redis-cli") && !has("ping") && !has("config") => Some(Self::Console),
            _ => None,
        }
    }
}

impl Database {
    /// The data of a process, when it is a resource with a volume.
    pub(super) fn of(shared: &Arc<Shared>, process: &Process) -> Option<Self> {
        let (volume, _) = process.spec.volumes.first()?;
        is_resource(&process.spec.labels).then(|| Self {
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
            Program::DumpStatements => {
                let dumped = self.dump(EMPTY_STATEMENTS, output).await;
                dumped.map(|()| String::new())
            }
            Program::RestoreStatements => {
                self.restore(input, Box::new(Statements::default())).await
            }
            Program::RestoreSql => self.restore(input, Box::new(Sql::default())).await,
            Program::RestoreRdb => self.restore(input, Box::new(Rdb::default())).await,
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

    /// Takes all of the input, then keeps what is kept of such a dump, or nothing.
    async fn restore(self, input: Input, dump: Box<dyn Dump>) -> io::Result<String> {
        let bridge = SyncIoBridge::new(input);
        let kept: Result<io::Result<String>> = blocking(move || Ok(self.keep(bridge, dump))).await;
        kept.map_err(io::Error::other)?
    }

    fn keep(self, mut input: SyncIoBridge<Input>, mut dump: Box<dyn Dump>) -> io::Result<String> {
        let mut blob = self.shared.blobs.create()?;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = input.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            let bytes = &buffer[..count];
            blob.write_all(bytes)?;
            dump.take(bytes);
        }
        let invalid = |reason| io::Error::new(io::ErrorKind::InvalidData, reason);
        let Some(part) = dump.end().map_err(invalid)? else {
            return Ok(String::new());
        };
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
        let redis = |words: &[&str]| of(&[&["sh", "-c", "script", "redis-cli"], words].concat());
        assert_eq!(redis(&[]), Some(Program::Console));
        assert_eq!(redis(&["ping"]), None);
        assert_eq!(redis(&["config", "set", "appendonly", "yes"]), None);
        for (name, program) in [
            ("dump-mysql", Some(Program::DumpStatements)),
            ("restore-mysql", Some(Program::RestoreStatements)),
            ("console-mysql", Some(Program::Console)),
            ("console-rabbitmq", Some(Program::Console)),
            ("ready-mysql", None),
        ] {
            assert_eq!(of(&["sh", "-c", "script", name]), program, "{name}");
        }
        assert_eq!(of(&["pg_isready"]), None);
        assert_eq!(of(&["sh", "-c", "echo"]), None);
    }
}
