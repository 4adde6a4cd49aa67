//! Output of several voices: each line with the name of who says it.

use std::sync::{PoisonError, RwLock};

use crate::error::Error;
use crate::ui::{Colour, Ui, VOICES};

/// What the build says.
pub(super) const BUILD: &str = "build";
/// What the client itself says.
pub(super) const CONVOX: &str = "convox";

/// Where voices speak.
pub(super) struct Voices {
    ui: Ui,
    /// Services that are listened to; a manifest that changes may bring others.
    names: RwLock<Vec<String>>,
}

impl Voices {
    /// Voices of these services, of builds and of the client.
    pub(super) fn new(ui: &Ui, services: Vec<String>) -> Self {
        Self {
            ui: ui.clone(),
            names: RwLock::new(services),
        }
    }

    /// From now on these services.
    pub(super) fn listen_to(&self, services: Vec<String>) {
        *self.names.write().unwrap_or_else(PoisonError::into_inner) = services;
    }

    fn names(&self) -> Vec<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.clone()
    }

    /// Whether a service is one that is listened to.
    pub(super) fn hears(&self, service: &str) -> bool {
        self.names().iter().any(|name| name == service)
    }

    /// The service that an object is of: it has its name, alone or before a dash.
    pub(super) fn service_of(&self, object: &str) -> Option<String> {
        let mut names = self.names();
        names.retain(|name| {
            let rest = object.strip_prefix(name.as_str());
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        names.into_iter().max_by_key(String::len)
    }

    /// Prints a line.
    pub(super) fn say(&self, name: &str, line: &str) -> Result<(), Error> {
        let colour = match name {
            BUILD | CONVOX => Colour::System,
            // As in the original, by the length of the name.
            name => Colour::Voice(voice(name.len())),
        };
        let longest = self.names().iter().map(String::len).max().unwrap_or(0);
        let padded = format!("{name:width$} | ", width = longest.max(CONVOX.len()));
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

/// A line without what moves the cursor or clears the screen, since it is not alone there;
/// colours stay.
pub(super) fn without_cursor(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        kept.push_str(before);
        let end = after.find(|c: char| ('@'..='~').contains(&c));
        let Some(end) = end else {
            return kept;
        };
        if after[end..].starts_with('m') {
            kept.push_str("\x1b[");
            kept.push_str(&after[..=end]);
        }
        rest = &after[end + 1..];
    }
    kept.push_str(rest);
    kept
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
    fn objects_are_of_the_service_with_the_longest_name() {
        let names = ["web", "web-admin", "api"].map(str::to_owned).to_vec();
        let voices = Voices::new(&Ui::from_terminal(), names);
        let of = |object: &str| voices.service_of(object);
        assert_eq!(of("web").as_deref(), Some("web"));
        assert_eq!(of("web-0123456789ab").as_deref(), Some("web"));
        assert_eq!(of("web-admin-0123456789ab").as_deref(), Some("web-admin"));
        assert_eq!(of("website"), None);
        assert_eq!(of("promote"), None);
        voices.listen_to(vec!["promote".to_owned()]);
        assert_eq!(of("promote").as_deref(), Some("promote"));
        assert!(!voices.hears("web"));
    }

    #[test]
    fn colours_stay_and_the_cursor_too() {
        for (line, kept) in [
            ("plain", "plain"),
            ("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m"),
            ("\x1b[2K\x1b[1Gdone\x1b[?25h", "done"),
            ("\x1b[1;32m50%\x1b[3A", "\x1b[1;32m50%"),
            ("cut \x1b[12", "cut "),
            ("ü\x1b[2Jü", "üü"),
        ] {
            assert_eq!(without_cursor(line), kept, "{line:?}");
        }
    }

    #[test]
    fn colours_follow_the_length_of_a_name() {
        assert_eq!([0, 1, 2, 3, 4, 7].map(voice), [0, 0, 1, 3, 6, 3]);
    }
}
