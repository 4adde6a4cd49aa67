//! Steps: `<text>... ` at the start, `OK` at the end.

use super::{Colour, Ui};
use crate::error::Error;

/// A step that has begun. Dropped without an outcome the line stays open, as
/// the original leaves it, and the error follows on standard error.
#[derive(Debug)]
#[must_use = "a step needs an outcome"]
pub(crate) struct Progress {
    ui: Ui,
    broken: bool,
}

impl Progress {
    pub(super) fn start(ui: Ui, text: &str) -> Result<Self, Error> {
        let text = ui.paint(Colour::Start, &format!("{text}... "));
        ui.text(text)?;
        Ok(Self { ui, broken: false })
    }

    /// Passes bytes of a log through; the first go to a line of their own.
    pub(crate) fn log(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.break_line()?;
        self.ui.bytes(bytes)
    }

    /// Ends the line, so that what follows starts on a new one.
    pub(crate) fn break_line(&mut self) -> Result<(), Error> {
        if !self.broken {
            self.broken = true;
            self.ui.text("\n")?;
        }
        Ok(())
    }

    /// Ends the step well.
    pub(crate) fn ok(self) -> Result<(), Error> {
        let ok = self.ui.paint(Colour::Ok, "OK");
        self.ui.line(ok)
    }

    /// Ends the step well and names what it made.
    pub(crate) fn ok_with(self, id: &str) -> Result<(), Error> {
        let ok = self.ui.paint(Colour::Ok, "OK");
        self.ui.line(format!("{ok}, {id}"))
    }
}
