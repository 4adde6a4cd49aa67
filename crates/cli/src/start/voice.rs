//! Output of several voices: each line with the name of who says it.

use std::sync::Arc;

use crate::error::Error;
use crate::ui::{Colour, Ui, VOICES};

/// What the build says.
pub(super) const BUILD: &str = "build";
/// What the client itself says.
pub(super) const CONVOX: &str = "convox";

/// Where voices speak.
#[derive(Clone)]
pub(super) struct Voices {
    ui: Ui,
    width: usize,
    names: Arc<[String]>,
}

impl Voices {
    /// Voices of these services, of builds and of the client.
    pub(super) fn new(ui: &Ui, services: &[String]) -> Self {
        let longest = services.iter().map(String::len).max().unwrap_or(0);
        Self {
            ui: ui.clone(),
            width: longest.max(CONVOX.len()),
            names: services.into(),
        }
    }

    /// Whether a service is one that is listened to.
    pub(super) fn hears(&self, service: &str) -> bool {
        self.names.iter().any(|name| name == service)
    }

    /// Prints a line.
    pub(super) fn say(&self, name: &str, line: &str) -> Result<(), Error> {
        let colour = match name {
            BUILD | CONVOX => Colour::System,
            // As in the original, by the length of the name.
            name => Colour::Voice(voice(name.len())),
        };
        let padded = format!("{name:width$} | ", width = self.width);
        self.ui
            .text(format!("{}{line}\n", self.ui.paint(colour, &padded)))
    }
}

/// The sum of the positions in a name of this length, as a colour.
fn voice(length: usize) -> u8 {
    let voices = usize::from(VOICES);
    let sum = (0..length).fold(0, |sum, at| (sum + at) % voices);
    sum as u8
}

/// Bytes cut anywhere, put together to lines.
#[derive(Default)]
pub(super) struct Lines(Vec<u8>);

impl Lines {
    /// Adds bytes and gives the lines that are whole now.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        self.0.extend_from_slice(bytes);
        let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else {
            return Vec::new();
        };
        let whole: Vec<u8> = self.0.drain(..=end).collect();
        whole[..end]
            .split(|byte| *byte == b'\n')
            .map(|line| {
                String::from_utf8_lossy(line)
                    .trim_end_matches('\r')
                    .to_owned()
            })
            .collect()
    }

    /// What is left without an end.
    pub(super) fn rest(self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_put_together() {
        let mut lines = Lines::default();
        assert_eq!(lines.push(b"a"), Vec::<String>::new());
        assert_eq!(lines.push(b"b\r\n\nc"), ["ab", ""]);
        assert_eq!(lines.push(b"\n"), ["c"]);
        assert_eq!(lines.push(b"d"), Vec::<String>::new());
        assert_eq!(lines.rest(), Some("d".to_owned()));
    }

    #[test]
    fn colours_follow_the_length_of_a_name() {
        assert_eq!([0, 1, 2, 3, 4, 7].map(voice), [0, 0, 1, 3, 6, 3]);
    }
}
