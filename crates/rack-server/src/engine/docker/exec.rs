//! Running a command inside a process.
//!
//! The stream is taken over from HTTP and read here, byte by byte as it came: with
//! a terminal there is no framing at all, so nothing may be guessed from the bytes;
//! without one, output and errors arrive as frames and leave as one stream in the
//! order they came. Nothing is buffered beyond one read or write.
//!
//! The engine has no call that ends a command. Where there is a shell, commands carry a mark
//! in their environment, which what they start inherits, and another command looks for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bollard::exec::StartExecOptions;
use bollard::models::ExecConfig;
use bollard::query_parameters::ResizeExecOptionsBuilder;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::{Docker, error};
use crate::engine::{ErrorTail, Exec, ExecSpec, Reader, Result};

/// Docker swallows this sequence in terminals (by default control-p, control-q,
/// which editors and shells need). It cannot be switched off, only made unlikely.
const DETACH_KEYS: &str = "ctrl-@,ctrl-^,ctrl-@,ctrl-_,ctrl-@";

/// Waits for one line before it becomes the command: older engines set the size of a
/// terminal only after the start, and the command must not look before.
const WAIT: [&str; 4] = ["sh", "-c", "read -r _; exec \"$@\"", "sh"];

/// Variable that tells what belongs to a command.
const MARK: &str = "TWINRACK_EXEC";

/// Sends a signal to all that has a mark, `sh -c SIGNAL sh MARK=… NAME`. All of it stands still
/// first: a shell must not go on with its next command because the one before was ended. It
/// takes nothing but what a shell has by itself: images may have little else.
const SIGNAL: &str = r#"
marked() {
  for process in /proc/[0-9]*; do
    if (
      while IFS= read -r line || [ -n "$line" ]; do
        case $line in *"$1"*) exit 0 ;; esac
      done <"$process/environ"
      exit 1
    ) 2>/dev/null; then
      printf '%s ' "${process#/proc/}"
    fi
  done
}
known=
while all=$(marked "$1") && [ "$all" != "$known" ]; do
  kill -s STOP $all
  known=$all
done 2>/dev/null
if [ -n "$known" ]; then
  kill -s "$2" $known
  kill -s CONT $known
fi 2>/dev/null
"#;

/// How long a command may take to end by itself once its terminal is closed.
const GRACE: Duration = Duration::from_secs(5);

/// What a terminal answers to the line that ends the wait.
const ECHO: &[u8] = b"\r\n";

/// End of transmission: what a terminal turns into end of input.
const EOT: u8 = 4;

impl Docker {
    pub(super) async fn process_exec(&self, id: &str, spec: ExecSpec) -> Result<Exec> {
        let session = self.session().await?;
        let size = spec.size.filter(|_| spec.tty);
        // Newer engines start the command with its size; older ones are told right after.
        let sized = size.filter(|_| session.speaks(42));
        let console = sized.map(|(rows, columns)| vec![usize::from(rows), usize::from(columns)]);
        let waits = spec.shell && size.is_some() && sized.is_none();
        let mut command = spec.command;
        if waits {
            command.splice(..0, WAIT.map(str::to_owned));
        }
        let mark = spec
            .shell
            .then(|| format!("{MARK}={}", rack_api::id::hex(16)));
        let environment = spec
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"));
        let config = ExecConfig {
            attach_stdin: Some(spec.stdin || waits),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            console_size: console.clone(),
            detach_keys: spec.tty.then(|| DETACH_KEYS.to_owned()),
            tty: Some(spec.tty),
            env: Some(environment.chain(mark.clone()).collect()),
            cmd: Some(command),
            ..Default::default()
        };
        let exec = session
            .client
            .create_exec(id, config)
            .await
            .map_err(|error| self.failure("process", id, error))?
            .id;

        let start = serde_json::json!({ "Detach": false, "Tty": spec.tty, "ConsoleSize": console });
        let path = format!("/exec/{exec}/start");
        let body = start.to_string().into_bytes();
        let response = self
            .send(("process", id), http::Method::POST, &path, true, body)
            .await?;
        let upgraded = hyper::upgrade::on(response)
            .await
            .map_err(|error| error::unreachable(&error::broken(&error)))?;
        let (output, mut input) = tokio::io::split(TokioIo::new(upgraded));

        if sized.is_none()
            && let Some((rows, columns)) = size
        {
            // The engine waits here until the command runs. A command that has already
            // ended needs no size; one that failed to start says so in its status.
            resize(&session.client, &exec, rows, columns).await;
            if waits && let Err(error) = input.write_all(b"\n").await {
                // It did not start; what it says and its status tell why.
                tracing::debug!(%error, "a command does not read");
            }
        }
        let later_sizes = spec.tty.then(|| {
            let (sender, mut sizes) = watch::channel(size.unwrap_or_default());
            let (client, exec) = (session.client.clone(), exec.clone());
            tokio::spawn(async move {
                while sizes.changed().await.is_ok() {
                    let (rows, columns) = *sizes.borrow_and_update();
                    resize(&client, &exec, rows, columns).await;
                }
            });
            sender
        });

        let output: Reader = if waits {
            Box::pin(Unechoed::new(output))
        } else if spec.tty {
            Box::pin(output)
        } else {
            Box::pin(Unframed::new(output, spec.errors))
        };
        let input: Pin<Box<dyn AsyncWrite + Send>> = match (spec.stdin, spec.tty) {
            (false, _) => Box::pin(Held { kept: input }),
            (true, false) => Box::pin(input),
            (true, true) => Box::pin(Terminal {
                inner: input,
                ended: false,
            }),
        };
        let (docker, known) = (self.clone(), exec.clone());
        let (ender, process) = (self.clone(), id.to_owned());
        Ok(Exec {
            output,
            input,
            status: Box::pin(async move { docker.exec_status(&known).await }),
            size: later_sizes,
            end: Box::pin(async move {
                match mark {
                    Some(mark) => ender.exec_end(&process, &exec, &mark).await,
                    None => Ok(()),
                }
            }),
        })
    }

    /// Ends a command: first as a terminal that is closed, then for certain.
    async fn exec_end(&self, process: &str, exec: &str, mark: &str) -> Result<()> {
        for signal in ["HUP", "KILL"] {
            self.exec_signal(process, mark, signal).await?;
            if let Ok(ended) = tokio::time::timeout(GRACE, self.exec_status(exec)).await {
                return ended.map(drop);
            }
        }
        Ok(())
    }

    async fn exec_signal(&self, process: &str, mark: &str, signal: &str) -> Result<()> {
        let client = self.session().await?.client;
        let words = ["sh", "-c", SIGNAL, "sh", mark, signal];
        let config = ExecConfig {
            cmd: Some(words.map(str::to_owned).to_vec()),
            ..Default::default()
        };
        let failure = |error| self.failure("process", process, error);
        let exec = client.create_exec(process, config).await.map_err(failure)?;
        let options = StartExecOptions {
            detach: true,
            ..Default::default()
        };
        client
            .start_exec(&exec.id, Some(options))
            .await
            .map_err(failure)?;
        Ok(())
    }

    /// Asks until the command has ended. The output can end first, because the
    /// engine notes the status after it, or because the command closed its output.
    async fn exec_status(&self, exec: &str) -> Result<i64> {
        let mut pause = Duration::from_millis(2);
        loop {
            let client = self.session().await?.client;
            let seen = client
                .inspect_exec(exec)
                .await
                .map_err(|error| self.failure("exec", exec, error))?;
            if let (Some(false), Some(code)) = (seen.running, seen.exit_code) {
                return Ok(code);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(250));
        }
    }
}

async fn resize(client: &bollard::Docker, exec: &str, rows: u16, columns: u16) {
    let options = ResizeExecOptionsBuilder::default()
        .h(rows.into())
        .w(columns.into())
        .build();
    if let Err(error) = client.resize_exec(exec, options).await {
        tracing::debug!(%error, "docker did not take the terminal size");
    }
}

/// Input of a command that reads none: kept so that the connection stays open.
struct Held<W> {
    kept: WriteHalf<W>,
}

impl<W: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Held<W> {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.kept).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Input of a terminal. Closing it would make Docker cut the output off, so its
/// end is typed instead.
struct Terminal<W> {
    inner: WriteHalf<W>,
    ended: bool,
}

impl<W: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Terminal<W> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ended {
            match ready!(Pin::new(&mut self.inner).poll_write(cx, &[EOT])) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Ok(_) => self.ended = true,
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(&mut self.inner).poll_flush(cx)
    }
}

/// Kind of the frames that carry standard error.
const STDERR: u8 = 2;

/// Output without the echo of the line that ended the wait, which comes first if the
/// command could be started at all.
struct Unechoed<R> {
    inner: ReadHalf<R>,
    /// What is still expected of the echo.
    echo: &'static [u8],
    /// What has come and may be the echo's beginning, or was not.
    kept: Vec<u8>,
}

impl<R> Unechoed<R> {
    fn new(inner: ReadHalf<R>) -> Self {
        Unechoed {
            inner,
            echo: ECHO,
            kept: Vec::new(),
        }
    }
}

impl<R: AsyncRead + AsyncWrite + Unpin> AsyncRead for Unechoed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        while let Some((expected, rest)) = me.echo.split_first() {
            let mut byte = [0];
            let mut one = ReadBuf::new(&mut byte);
            ready!(Pin::new(&mut me.inner).poll_read(cx, &mut one))?;
            me.kept.extend_from_slice(one.filled());
            me.echo = rest;
            if one.filled() != [*expected] {
                me.echo = b"";
            } else if rest.is_empty() {
                me.kept.clear();
            }
        }
        if me.kept.is_empty() {
            return Pin::new(&mut me.inner).poll_read(cx, buf);
        }
        let most = me.kept.len().min(buf.remaining());
        buf.put_slice(&me.kept[..most]);
        me.kept.drain(..most);
        Poll::Ready(Ok(()))
    }
}

/// Frames of output and errors as one byte stream, or errors apart.
struct Unframed<R> {
    inner: ReadHalf<R>,
    errors: Option<ErrorTail>,
    head: [u8; 8],
    have: usize,
    left: usize,
}

impl<R> Unframed<R> {
    fn new(inner: ReadHalf<R>, errors: Option<ErrorTail>) -> Self {
        Unframed {
            inner,
            errors,
            head: [0; 8],
            have: 0,
            left: 0,
        }
    }
}

impl<R: AsyncRead + AsyncWrite + Unpin> AsyncRead for Unframed<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            // Errors that are wanted apart are taken out here, whatever their length.
            while me.left > 0 && me.head[0] == STDERR && me.errors.is_some() {
                let mut apart = [0; 512];
                let most = me.left.min(apart.len());
                let mut part = ReadBuf::new(&mut apart[..most]);
                ready!(Pin::new(&mut me.inner).poll_read(cx, &mut part))?;
                let got = part.filled();
                if got.is_empty() {
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                me.left -= got.len();
                if let Some(errors) = &me.errors {
                    errors.push(got);
                }
            }
            if me.left > 0 {
                break;
            }
            let mut head = ReadBuf::new(&mut me.head[me.have..]);
            ready!(Pin::new(&mut me.inner).poll_read(cx, &mut head))?;
            let got = head.filled().len();
            if got == 0 && me.have == 0 {
                return Poll::Ready(Ok(()));
            }
            if got == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            me.have += got;
            if me.have == me.head.len() {
                if me.head[0] > 3 {
                    let text = format!("docker sent a frame of unknown kind {}", me.head[0]);
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, text)));
                }
                let [_, _, _, _, a, b, c, d] = me.head;
                me.left = u32::from_be_bytes([a, b, c, d]) as usize;
                me.have = 0;
            }
        }
        let most = me.left.min(buf.remaining());
        let mut part = ReadBuf::new(buf.initialize_unfilled_to(most));
        ready!(Pin::new(&mut me.inner).poll_read(cx, &mut part))?;
        let got = part.filled().len();
        if got == 0 {
            return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
        }
        me.left -= got;
        buf.advance(got);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn unframe(pieces: &[&[u8]]) -> io::Result<Vec<u8>> {
        unframe_apart(pieces, None).await
    }

    async fn unframe_apart(pieces: &[&[u8]], errors: Option<ErrorTail>) -> io::Result<Vec<u8>> {
        let (near, mut far) = tokio::io::duplex(3);
        let pieces: Vec<Vec<u8>> = pieces.iter().map(|piece| piece.to_vec()).collect();
        let writing = tokio::spawn(async move {
            for piece in pieces {
                // The reader may give up on a bad frame before all is written.
                if far.write_all(&piece).await.is_err() {
                    return;
                }
            }
        });
        let mut all = Vec::new();
        let result = Unframed::new(tokio::io::split(near).0, errors)
            .read_to_end(&mut all)
            .await;
        writing.await.expect("the writer does not panic");
        result.map(|_| all)
    }

    #[tokio::test]
    async fn frames_become_one_stream_whatever_the_bytes() {
        let all = unframe(&[
            &[1, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2],
            &[2, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 0, 0, 0, 5, 255, 0, b'\n', 1, 1],
        ])
        .await;
        assert_eq!(all.expect("whole"), [0, 1, 2, 255, 0, b'\n', 1, 1]);
    }

    #[tokio::test]
    async fn errors_can_be_taken_apart() {
        let errors = ErrorTail::default();
        let frames: &[&[u8]] = &[
            &[2, 0, 0, 0, 0, 0, 0, 2, b'a', b'b'],
            &[1, 0, 0, 0, 0, 0, 0, 3, 0, 1, 2],
            &[2, 0, 0, 0, 0, 0, 0, 1, b'c'],
            &[1, 0, 0, 0, 0, 0, 0, 1, 3],
            &[2, 0, 0, 0, 0, 0, 0, 1, b'd'],
        ];
        let all = unframe_apart(frames, Some(errors.clone())).await;
        assert_eq!(all.expect("whole"), [0, 1, 2, 3]);
        assert_eq!(errors.text(), "abcd");
        let cut = unframe_apart(&[&[2, 0, 0, 0, 0, 0, 0, 3, 9]], Some(errors)).await;
        assert_eq!(cut.expect_err("cut").kind(), io::ErrorKind::UnexpectedEof);
    }

    #[tokio::test]
    async fn a_cut_or_strange_frame_is_an_error() {
        let cut = unframe(&[&[1, 0, 0, 0, 0, 0, 0, 3, 9]])
            .await
            .expect_err("cut");
        assert_eq!(cut.kind(), io::ErrorKind::UnexpectedEof);
        let strange = unframe(&[&[9, 0, 0, 0, 0, 0, 0, 1, 9]])
            .await
            .expect_err("strange");
        assert_eq!(strange.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn only_the_echo_is_taken_from_the_output() {
        for (said, seen) in [
            (b"\r\nhi\r\n".as_slice(), b"hi\r\n".as_slice()),
            (b"\r\n", b""),
            (b"\rhi", b"\rhi"),
            (b"OCI runtime exec failed", b"OCI runtime exec failed"),
            (b"\r", b"\r"),
            (b"", b""),
        ] {
            let (near, mut far) = tokio::io::duplex(64);
            far.write_all(said).await.expect("written");
            drop(far);
            let mut all = Vec::new();
            let mut output = Unechoed::new(tokio::io::split(near).0);
            output.read_to_end(&mut all).await.expect("read");
            assert_eq!(all, seen);
        }
    }

    #[tokio::test]
    async fn the_end_of_terminal_input_is_typed() {
        let (near, mut far) = tokio::io::duplex(64);
        let (output, input) = tokio::io::split(near);
        let mut input = Terminal {
            inner: input,
            ended: false,
        };
        input.write_all(b"ls\n").await.expect("written");
        input.shutdown().await.expect("ended");
        input.shutdown().await.expect("ended once");
        drop((input, output));
        let mut seen = Vec::new();
        far.read_to_end(&mut seen).await.expect("read");
        assert_eq!(seen, b"ls\n\x04");
    }
}
