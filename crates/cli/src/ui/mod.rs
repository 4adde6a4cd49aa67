//! All output of the client.
//!
//! Standard output carries what was asked for, standard error everything else;
//! a [`Ui`] redirected for `--id` or an archive sends its talk to standard error
//! too. Every fragment is flushed at once, bytes of logs and processes pass
//! untouched, colours are for terminals and for the client's own words only.

mod bar;
mod colour;
mod foreign;
mod info;
mod progress;
mod table;
mod when;

use std::io::{self, IsTerminal as _, Write};

pub(crate) use bar::Bar;
pub(crate) use colour::{Colour, VOICES};
pub(crate) use foreign::shown;
pub(crate) use info::Info;
pub(crate) use progress::Progress;
pub(crate) use table::Table;
pub(crate) use when::{ago, elapsed};

use crate::error::Error;

/// Where output goes and how it may look.
#[derive(Debug, Clone)]
pub(crate) struct Ui {
    talk: Stream,
    stdout: Looks,
    stderr: Looks,
}

/// One of the two output streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

/// What a stream may show.
#[derive(Debug, Clone, Copy, Default)]
struct Looks {
    terminal: bool,
    colour: bool,
}

impl Ui {
    /// Looks at the two streams, at `NO_COLOR`, and at what the terminal can do.
    pub(crate) fn from_terminal() -> Self {
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        let looks = |terminal: bool| Looks {
            terminal,
            colour: terminal && !plain,
        };
        Self {
            talk: Stream::Stdout,
            stdout: looks(io::stdout().is_terminal()),
            stderr: looks(io::stderr().is_terminal()),
        }
    }

    /// The same, with all talk on standard error: standard output is kept for
    /// an id or an archive.
    pub(crate) fn talking_to_stderr(&self) -> Self {
        Self {
            talk: Stream::Stderr,
            ..self.clone()
        }
    }

    /// [`Self::talking_to_stderr`] if `id` is set, else itself.
    pub(crate) fn for_id(&self, id: bool) -> Self {
        if id {
            self.talking_to_stderr()
        } else {
            self.clone()
        }
    }

    /// Whether standard output is a terminal.
    pub(crate) fn stdout_is_terminal(&self) -> bool {
        self.stdout.terminal
    }

    /// Writes bytes of a log or a process, untouched, where talk goes.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> Result<(), Error> {
        match self.talk {
            Stream::Stdout => write(&mut io::stdout().lock(), bytes),
            Stream::Stderr => write(&mut io::stderr().lock(), bytes),
        }
    }

    /// Writes text without a newline where talk goes.
    pub(crate) fn text(&self, text: impl AsRef<str>) -> Result<(), Error> {
        self.bytes(text.as_ref().as_bytes())
    }

    /// Writes one line where talk goes.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<(), Error> {
        self.text(format!("{}\n", text.as_ref()))
    }

    /// Writes bytes to standard output, whatever [`Self::talking_to_stderr`] says:
    /// an archive, or an id.
    #[expect(clippy::unused_self, reason = "all output goes through a `Ui`")]
    pub(crate) fn data(&self, bytes: &[u8]) -> Result<(), Error> {
        write(&mut io::stdout().lock(), bytes)
    }

    /// Standard output for an archive that is written elsewhere than on this thread.
    #[expect(clippy::unused_self, reason = "all output goes through a `Ui`")]
    pub(crate) fn data_writer(&self) -> impl Write + Send + 'static {
        io::stdout()
    }

    /// Writes one line to standard error: a note that is no error.
    #[expect(clippy::unused_self, reason = "all output goes through a `Ui`")]
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        // Nobody is left to be told when standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
    }

    /// Prints a value as JSON for people and programs.
    pub(crate) fn json(&self, value: &impl serde::Serialize) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|error| Error::failed(format!("can not write JSON: {error}")))?;
        self.line(text)
    }

    /// Prints a table.
    pub(crate) fn table(&self, table: &Table) -> Result<(), Error> {
        self.text(table.render(self.looks()))
    }

    /// Prints an info block.
    pub(crate) fn info(&self, info: &Info) -> Result<(), Error> {
        self.text(info.render(self.looks()))
    }

    /// Prints `<text>... ` and waits for the outcome.
    pub(crate) fn start(&self, text: impl AsRef<str>) -> Result<Progress, Error> {
        Progress::start(self.clone(), text.as_ref())
    }

    /// A byte progress bar on standard error; invisible when that is no terminal.
    pub(crate) fn bar(&self, doing: &str, total: Option<u64>) -> Bar {
        Bar::new(self.stderr.terminal, doing, total)
    }

    /// Colours a word of the client where talk goes.
    pub(crate) fn paint(&self, colour: Colour, text: &str) -> String {
        colour.paint(text, self.looks().colour)
    }

    /// Prints an error, and its hint, on standard error.
    pub(crate) fn error(&self, error: &Error) {
        if matches!(error, Error::OutputClosed) {
            return;
        }
        let label = Colour::ErrorLabel.paint("ERROR: ", self.stderr.colour);
        let text = Colour::Error.paint(&error.to_string(), self.stderr.colour);
        self.note(format!("{label}{text}"));
        if let Some(hint) = error.hint() {
            self.note(format!("hint: {hint}"));
        }
    }

    fn looks(&self) -> Looks {
        match self.talk {
            Stream::Stdout => self.stdout,
            Stream::Stderr => self.stderr,
        }
    }
}

/// A number of bytes in words.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::BinaryBytes(bytes).to_string()
}

fn write(to: &mut impl Write, bytes: &[u8]) -> Result<(), Error> {
    to.write_all(bytes)
        .and_then(|()| to.flush())
        .map_err(|error| match error.kind() {
            io::ErrorKind::BrokenPipe => Error::OutputClosed,
            _ => Error::io("can not write output")(error),
        })
}
