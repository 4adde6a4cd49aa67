//! Listings and descriptions: tables and info blocks for people and for scripts that
//! cut them, JSON for programs, once or again and again.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::context::Context;
use crate::error::{Error, Outcome};
use crate::exit::Exit;
use crate::ui::{Info, Table, Ui};

/// Clears a terminal and begins at its top left.
const CLEAR: &str = "\x1b[H\x1b[2J";

/// How a listing or a description is wanted.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ViewArgs {
    /// print JSON, with the names of the rack's API
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    repeat: Repeat,
}

/// How the answer of a command is wanted that does something too, or says it once.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FormArgs {
    /// print JSON
    #[arg(long)]
    json: bool,
}

impl FormArgs {
    /// Whether JSON is wanted.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Prints an answer: as JSON, or the line that people and scripts know.
    pub(crate) fn print(
        &self,
        ui: &Ui,
        value: &impl Serialize,
        line: impl AsRef<str>,
    ) -> Result<(), Error> {
        if self.json {
            ui.json(value)
        } else {
            ui.line(line)
        }
    }
}

/// How often something is shown.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Repeat {
    /// show it again every so many seconds, until interrupted
    #[arg(long, value_name = "seconds", value_parser = clap::value_parser!(u32).range(1..))]
    watch: Option<u32>,
}

/// What people are shown.
pub(crate) enum Shown {
    /// Rows.
    Table(Table),
    /// Labelled values.
    Info(Info),
    /// Text that ends without a newline.
    Line(String),
    /// Any number of lines.
    Lines(Vec<String>),
}

impl From<Table> for Shown {
    fn from(table: Table) -> Self {
        Self::Table(table)
    }
}

impl From<Info> for Shown {
    fn from(info: Info) -> Self {
        Self::Info(info)
    }
}

impl Shown {
    /// Prints it.
    pub(crate) fn print(&self, ui: &Ui) -> Result<(), Error> {
        match self {
            Self::Table(table) => ui.table(table),
            Self::Info(info) => ui.info(info),
            Self::Line(text) => ui.line(text),
            Self::Lines(lines) => lines.iter().try_for_each(|line| ui.line(line)),
        }
    }
}

impl ViewArgs {
    /// Reads something and shows it.
    pub(crate) async fn show<T: Serialize, S: Into<Shown>>(
        &self,
        context: &Context,
        read: impl AsyncFnMut() -> Result<T, Error>,
        show: impl Fn(T) -> S,
    ) -> Outcome {
        let ui = &context.ui;
        let print = |seen| {
            if self.json {
                ui.json(&seen)
            } else {
                show(seen).into().print(ui)
            }
        };
        self.repeat.show(ui, !self.json, read, print).await
    }
}

impl Repeat {
    /// Reads something and prints it, once or again and again, each time below a title
    /// if that is wanted.
    pub(crate) async fn show<T>(
        &self,
        ui: &Ui,
        titled: bool,
        mut read: impl AsyncFnMut() -> Result<T, Error>,
        print: impl Fn(T) -> Result<(), Error>,
    ) -> Outcome {
        let Some(seconds) = self.watch else {
            print(read().await?)?;
            return Ok(Exit::SUCCESS);
        };
        let again = async {
            loop {
                let seen = read().await?;
                if ui.stdout_is_terminal() {
                    ui.text(CLEAR)?;
                }
                if titled {
                    ui.text(format!("Every {seconds}s:\n\n"))?;
                }
                print(seen)?;
                tokio::time::sleep(Duration::from_secs(seconds.into())).await;
            }
        };
        tokio::select! {
            failed = again => failed,
            // To interrupt it is how it ends.
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.map_err(Error::io("can not listen for signals"))?;
                Ok(Exit::SUCCESS)
            }
        }
    }
}
