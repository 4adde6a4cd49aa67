//! `convox exec`, and the attaching of the local terminal that `convox run`
//! does as well.

use std::io::{IsTerminal as _, Write as _};

use clap::Args;
use rack_api::client::{Client, ClientError, ExecEvent, ExecInput, ExecSocket};
use rack_api::process::ExecOptions;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::task::AbortOnDropHandle;

use crate::arguments::AppArgs;
use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::Ui;

/// Bytes of standard input read at once.
const INPUT: usize = 16 * 1024;

/// A command in a running process.
#[derive(Debug, Args)]
pub(crate) struct Exec {
    /// process id
    pid: String,
    /// command and its arguments
    #[arg(required = true, num_args = 1..)]
    command: Vec<String>,
    #[command(flatten)]
    app: AppArgs,
}

impl Exec {
    /// Runs the command and exits with its status.
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let name = context.app(&self.app)?;
        let rack = context.rack(&self.app.rack).await?;
        let mut signals = Signals::listen()?;
        let command = self.command.join(" ");
        let attached = attach(&context.ui, &rack.client, &name, &self.pid, command, false);
        tokio::select! {
            attached = attached => match attached? {
                Attached::Ended(status) => Ok(Exit::remote(status)),
                Attached::Lost(error) => Err(error),
            },
            signal = signals.next() => Ok(Exit::signal(signal)),
        }
    }
}

/// How the stream of a command has ended.
pub(super) enum Attached {
    /// With the command's status.
    Ended(i64),
    /// Before a status came.
    Lost(Error),
}

/// Runs a command in a process with the local terminal attached. Dropped half way, it leaves the terminal as it was.
pub(super) async fn attach(
    ui: &Ui,
    client: &Client,
    app: &str,
    pid: &str,
    command: String,
    entrypoint: bool,
) -> Result<Attached, Error> {
    let tty = std::io::stdin().is_terminal();
    let (height, width) = terminal_size(ui).unzip();
    let options = ExecOptions {
        command,
        entrypoint,
        tty,
        stdin: true,
        height,
        width,
    };
    let socket = client.process_exec(app, pid, &options).await?;
    relay(ui, socket).await
}

/// How racks begin the line that stands in a stream for a refusal (`cli.md` §1.6).
const REFUSAL: &[u8] = b"ERROR: ";

/// The beginning of a stream, which may be the command's output or a refusal of the rack:
/// a single line, after which the stream ends without a status.
#[derive(Default)]
pub(super) struct Beginning {
    held: Vec<u8>,
    over: bool,
}

impl Beginning {
    /// Takes output and gives what certainly is the command's.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let known = self.held.len().min(REFUSAL.len());
        let line_over = self.held.iter().position(|byte| *byte == b'\n');
        let one_line = line_over.is_none_or(|end| end + 1 == self.held.len());
        self.over |= self.held[..known] != REFUSAL[..known] || !one_line;
        if self.over { self.rest() } else { Vec::new() }
    }

    /// What the rack has said instead of running the command.
    pub(super) fn refusal(&self) -> Option<String> {
        let line = self.held.strip_prefix(REFUSAL)?;
        Some(String::from_utf8_lossy(line).trim().to_owned())
    }

    /// What was held back.
    pub(super) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }
}

/// Carries what a command reads and writes, with the local terminal passing every key.
pub(super) async fn relay(ui: &Ui, socket: ExecSocket) -> Result<Attached, Error> {
    let (mut output, input) = socket.split();
    let _raw = if std::io::stdin().is_terminal() {
        Some(RawTerminal::enter()?)
    } else {
        None
    };
    let changes = signal(SignalKind::window_change())
        .map_err(Error::io("can not listen for changes of the terminal"))?;
    let _sizes = terminal_size(ui)
        .map(|_| AbortOnDropHandle::new(tokio::spawn(send_sizes(changes, input.clone()))));
    let _input = AbortOnDropHandle::new(tokio::spawn(send_input(input)));
    let mut beginning = Beginning::default();
    loop {
        match output.next().await {
            Ok(ExecEvent::Output(bytes)) => ui.bytes(&beginning.push(&bytes))?,
            Ok(ExecEvent::Exit(status)) => {
                ui.bytes(&beginning.rest())?;
                return Ok(Attached::Ended(status));
            }
            Err(error) => {
                if let (ClientError::NoExitStatus, Some(refusal)) = (&error, beginning.refusal()) {
                    return Err(Error::failed(refusal));
                }
                ui.bytes(&beginning.rest())?;
                return Ok(Attached::Lost(error.into()));
            }
        }
    }
}

/// Tells the command's terminal whenever the local one has got another size.
async fn send_sizes(mut changes: Signal, input: ExecInput) {
    while changes.recv().await.is_some() {
        // A broken connection is reported by the side that reads it.
        if let Some((rows, columns)) = window()
            && input.resize(rows, columns).await.is_err()
        {
            return;
        }
    }
}

/// Sends standard input until its end, which ends the command's input only.
async fn send_input(input: ExecInput) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; INPUT];
    loop {
        // Input that cannot be read (closed, say) has ended.
        let read = stdin.read(&mut buffer).await.unwrap_or(0);
        // A broken connection is reported by the side that reads it.
        let sent = match &buffer[..read] {
            [] => input.end().await,
            bytes => input.write(bytes).await,
        };
        if read == 0 || sent.is_err() {
            return;
        }
    }
}

/// Rows and columns of standard output, when it is a terminal that knows them.
pub(super) fn terminal_size(ui: &Ui) -> Option<(u16, u16)> {
    ui.stdout_is_terminal().then(window)?
}

fn window() -> Option<(u16, u16)> {
    let size = tcgetwinsize(std::io::stdout()).ok()?;
    (size.ws_row > 0 && size.ws_col > 0).then_some((size.ws_row, size.ws_col))
}

/// The local terminal passing every key on; put back when dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn enter() -> Result<Self, Error> {
        let doing = "can not change the terminal";
        let stdin = std::io::stdin();
        let before = tcgetattr(&stdin).map_err(|error| Error::io(doing)(error.into()))?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)
            .map_err(|error| Error::io(doing)(error.into()))?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing put back.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
        let mut stdout = std::io::stdout();
        if stdout.is_terminal() {
            let _ = stdout.write_all(b"\r").and_then(|()| stdout.flush());
        }
    }
}

/// The signals that ask the client to leave; listening keeps them from killing it.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    pub(crate) fn listen() -> Result<Self, Error> {
        let listen = |kind| signal(kind).map_err(Error::io("can not listen for signals"));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal; gives its number.
    pub(crate) async fn next(&mut self) -> i32 {
        tokio::select! {
            _ = self.interrupt.recv() => SignalKind::interrupt().as_raw_value(),
            _ = self.terminate.recv() => SignalKind::terminate().as_raw_value(),
            _ = self.hangup.recv() => SignalKind::hangup().as_raw_value(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_one_line_and_nothing_else() {
        for (pieces, refusal) in [
            (
                &["ERROR: process not found: x\n"][..],
                Some("process not found: x"),
            ),
            (&["ERR", "OR: no\r", "\n"], Some("no")),
            (&["ERROR: no\n", "more"], None),
            (&["ERROR: no\nmore"], None),
            (&["ERRONEOUS\n"], None),
            (&["hello\n", "ERROR: no\n"], None),
            (&[], None),
        ] {
            let mut beginning = Beginning::default();
            let mut shown = Vec::new();
            for piece in pieces {
                shown.extend(beginning.push(piece.as_bytes()));
            }
            assert_eq!(beginning.refusal().as_deref(), refusal, "{pieces:?}");
            shown.extend(beginning.rest());
            assert_eq!(shown, pieces.concat().as_bytes(), "nothing is lost");
        }
    }
}
