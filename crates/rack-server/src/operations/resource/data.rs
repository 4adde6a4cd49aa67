//! What a resource holds, as a stream: dumped by its own programs, restored whole or
//! not at all; and its console. Everything runs inside the resource's own process,
//! where programs and data fit each other.
//!
//! PostgreSQL dumps are SQL and restored in one transaction that ends only when all
//! of the dump has come. Those of MySQL and MariaDB are SQL for a copy of the database, whose
//! tables take the place of the old ones. Redis dumps are RDB files; one is checked, loaded by a
//! second server beside the first, and copied from there, so that the first one keeps what it
//! has until the new data are known to be good. `kind.rs` has the programs.

use std::io::{self, Cursor};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use futures::Stream;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::super::context::Context;
use super::super::error::{Failure, Result};
use super::kind::Restore;
use super::{ResourcePlan, find};
use crate::engine::{ErrorTail, Exec, ExecSpec, Phase};

/// Bytes moved at once.
const CHUNK: usize = 64 << 10;

/// A dump under way: what has been read to see that it works, and the rest.
pub struct Dump {
    first: Bytes,
    exec: Exec,
    errors: ErrorTail,
    name: String,
}

impl ResourcePlan {
    fn other(&self, what: &str) -> Failure {
        Failure::Invalid(format!(
            "{what} not available for resources of type: {}",
            self.kind
        ))
    }

    /// Id of the process that holds the data.
    async fn running(&self, context: &Context, app: &str) -> Result<String> {
        if self.external {
            return Err(Failure::Invalid(format!(
                "resource {} is given by a url in the environment: ask the server it names",
                self.name
            )));
        }
        match find(context, app, &self.name).await? {
            Some(process) if process.phase == Phase::Running => Ok(process.id),
            _ => Err(Failure::Conflict(format!(
                "resource {} is not running: promote a release, or see its log",
                self.name
            ))),
        }
    }

    fn failed(&self, what: &str, status: i64, errors: &ErrorTail) -> String {
        let reason = reason(&errors.text(), status);
        format!("{what} of resource {} failed: {reason}", self.name)
    }

    /// Begins a dump. Fails when the program ends with an error before its first byte.
    pub async fn dump(&self, context: &Context, app: &str) -> Result<Dump> {
        let id = self.running(context, app).await?;
        let mut spec = match self.kind_of.dump {
            Some(dump) => dump(&self.account()),
            None => return Err(self.other("export")),
        };
        let errors = ErrorTail::default();
        spec.errors = Some(errors.clone());
        let mut exec = context.engine.exec(&id, spec).await?;
        let first = chunk(&mut exec.output)
            .await
            .map_err(Failure::io("the dump"))?;
        if first.is_empty() {
            let status = exec.status.await?;
            if status != 0 {
                return Err(Failure::Failed(self.failed("export", status, &errors)));
            }
            exec.status = Box::pin(std::future::ready(Ok(0)));
        }
        Ok(Dump {
            first,
            exec,
            errors,
            name: self.name.clone(),
        })
    }

    /// Restores a dump, whole or not at all.
    pub async fn restore(
        &self,
        context: &Arc<Context>,
        app: &str,
        mut dump: impl AsyncRead + Send + Unpin,
    ) -> Result<()> {
        let id = self.running(context, app).await?;
        let first = chunk(&mut dump).await.map_err(Failure::io("the dump"))?;
        if first.is_empty() {
            return Err(Failure::Invalid(format!(
                "import of resource {} failed: the dump is empty; nothing was changed",
                self.name
            )));
        }
        let dump = Cursor::new(first).chain(dump);
        // Two at once would undo each other's work.
        let _alone = context
            .lock_app(&format!("{app}/resource-data/{}", self.name))
            .await;
        match self.kind_of.restore {
            Some(Restore::Transaction(spec)) => {
                self.restore_transaction(context, &id, spec(&self.account()), dump)
                    .await
            }
            Some(Restore::File(spec)) => {
                let port = 20_000 + rand::random::<u16>() % 20_000;
                self.restore_by_script(context, &id, spec(port), dump, "")
                    .await
            }
            Some(Restore::Statements(spec, end)) => {
                let word = word();
                let spec = spec(&self.account(), &word);
                self.restore_by_script(context, &id, spec, dump, &end(&word))
                    .await
            }
            None => Err(self.other("import")),
        }
    }

    async fn restore_transaction(
        &self,
        context: &Context,
        id: &str,
        spec: ExecSpec,
        mut dump: impl AsyncRead + Send + Unpin,
    ) -> Result<()> {
        let errors = ErrorTail::default();
        let spec = ExecSpec {
            stdin: true,
            errors: Some(errors.clone()),
            ..spec
        };
        // Said back only after the commit: the input's end alone would say nothing.
        let word = word();
        let exec = context.engine.exec(id, spec).await?;
        // No empty statement in between: after a copy psql ends at one, and says nothing.
        let end = format!("\nCOMMIT;\n\\echo {word}\n");
        let (status, said) = self
            .feed(exec, b"BEGIN;\n", &mut dump, end.as_bytes())
            .await?;
        let committed = said
            .split(|byte| *byte == b'\n')
            .any(|line| line == word.as_bytes());
        if status == 0 && committed {
            return Ok(());
        }
        if status == 0 {
            return Err(Failure::Invalid(format!(
                "import of resource {} failed: the dump ends in the middle of a statement; nothing was changed",
                self.name
            )));
        }
        let failed = self.failed("import", status, &errors);
        Err(Failure::Invalid(format!("{failed}; nothing was changed")))
    }

    /// Has a script do it, which leaves everything as it is unless it succeeds.
    async fn restore_by_script(
        &self,
        context: &Context,
        id: &str,
        spec: ExecSpec,
        mut dump: impl AsyncRead + Send + Unpin,
        end: &str,
    ) -> Result<()> {
        let errors = ErrorTail::default();
        let spec = ExecSpec {
            stdin: true,
            errors: Some(errors.clone()),
            ..spec
        };
        let exec = context.engine.exec(id, spec).await?;
        let (status, _) = self.feed(exec, b"", &mut dump, end.as_bytes()).await?;
        if status == 0 {
            return Ok(());
        }
        let failed = self.failed("import", status, &errors);
        Err(Failure::Invalid(format!("{failed}; nothing was changed")))
    }

    /// Gives a program its input and waits for its end; returns status and the end of
    /// its output. When the dump breaks off, `end` is never sent.
    async fn feed(
        &self,
        exec: Exec,
        begin: &[u8],
        dump: &mut (impl AsyncRead + Send + Unpin),
        end: &[u8],
    ) -> Result<(i64, Vec<u8>)> {
        let Exec {
            mut output,
            mut input,
            status,
            ..
        } = exec;
        let write = async {
            let sent = send(&mut input, begin, dump, end).await;
            if !matches!(sent, Err(Sent::Broken(_))) {
                // The program may have ended, and then there is nothing to close.
                let _ = input.shutdown().await;
            }
            sent
        };
        let read = async {
            let mut said = Vec::new();
            loop {
                let bytes = chunk(&mut output).await?;
                if bytes.is_empty() {
                    return io::Result::Ok(said);
                }
                said.extend_from_slice(&bytes);
                said.drain(..said.len().saturating_sub(CHUNK));
            }
        };
        tokio::pin!(write, read);
        let said = tokio::select! {
            // A program that ends early takes no more input.
            said = &mut read => said,
            sent = &mut write => match sent {
                Err(Sent::Broken(error)) => {
                    tracing::info!(%error, resource = self.name, "a dump broke off");
                    return Err(Failure::Invalid(format!(
                        "import of resource {} failed: the dump ended early; nothing was changed",
                        self.name
                    )));
                }
                Ok(()) | Err(Sent::Closed) => read.await,
            },
        };
        let said = said.map_err(Failure::io("the answer of the database"))?;
        Ok((status.await?, said))
    }

    /// Begins an interactive session. Without a terminal size there is no terminal,
    /// and the session reads commands to the end of its input.
    pub async fn console(
        &self,
        context: &Context,
        app: &str,
        size: Option<(u16, u16)>,
    ) -> Result<Exec> {
        let id = self.running(context, app).await?;
        let spec = match self.kind_of.console {
            Some(console) => console(&self.account()),
            None => return Err(self.other("console")),
        };
        let spec = ExecSpec {
            tty: size.is_some(),
            // Their images have an `sh`; the size is right from the first line on.
            shell: size.is_some(),
            size,
            stdin: true,
            ..spec
        };
        Ok(context.engine.exec(&id, spec).await?)
    }
}

/// A word that no dump can have.
fn word() -> String {
    format!("restored-{}", rack_api::id::hex(16))
}

/// Why input was not sent to its end.
enum Sent {
    /// It broke off.
    Broken(io::Error),
    /// The program takes no more.
    Closed,
}

async fn send(
    input: &mut Pin<Box<dyn AsyncWrite + Send>>,
    begin: &[u8],
    dump: &mut (impl AsyncRead + Unpin),
    end: &[u8],
) -> std::result::Result<(), Sent> {
    let closed = |_| Sent::Closed;
    input.write_all(begin).await.map_err(closed)?;
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = dump.read(&mut buffer).await.map_err(Sent::Broken)?;
        if count == 0 {
            break;
        }
        input.write_all(&buffer[..count]).await.map_err(closed)?;
    }
    input.write_all(end).await.map_err(closed)?;
    input.flush().await.map_err(closed)
}

/// The next bytes; none at the end.
async fn chunk(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Bytes> {
    let mut buffer = BytesMut::with_capacity(CHUNK);
    reader.read_buf(&mut buffer).await?;
    Ok(buffer.freeze())
}

/// One line of what a program said of its errors. The line that says what failed, not
/// those after it, which may quote data.
fn reason(errors: &str, status: i64) -> String {
    let lines = || {
        errors
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
    };
    let said = lines()
        .find(|line| {
            ["ERROR", "FATAL", "error:"]
                .iter()
                .any(|word| line.contains(word))
        })
        .or_else(|| lines().next_back());
    match said {
        Some(line) => line.to_owned(),
        None => format!("its program ended with status {status}"),
    }
}

impl Dump {
    /// The bytes; the stream breaks when the program fails on the way.
    pub fn stream(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures::stream::try_unfold(Some(self), async |dump| {
            let Some(mut dump) = dump else {
                return Ok(None);
            };
            let bytes = match std::mem::take(&mut dump.first) {
                first if first.is_empty() => chunk(&mut dump.exec.output).await?,
                first => first,
            };
            if !bytes.is_empty() {
                return Ok(Some((bytes, Some(dump))));
            }
            let status = dump.exec.status.await.map_err(io::Error::other)?;
            if status == 0 {
                return Ok(None);
            }
            let reason = reason(&dump.errors.text(), status);
            tracing::warn!(resource = dump.name, reason, "a dump failed on its way");
            Err(io::Error::other(reason))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn reasons_quote_no_data() {
        let errors = "NOTICE:  x\npsql:<stdin>:7: ERROR:  duplicate key value\nDETAIL:  Key (name)=(secret) exists.\n";
        assert_eq!(
            reason(errors, 3),
            "psql:<stdin>:7: ERROR:  duplicate key value"
        );
        assert_eq!(reason("one\ntwo\n\n", 2), "two");
        assert_eq!(reason("", 2), "its program ended with status 2");
    }
}
