//! Info blocks: one labelled value per line.

use super::{Colour, Looks, shown};

/// Labelled values in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Info(Vec<(String, String)>);

impl Info {
    /// Adds a value; its further lines are continued below the first.
    pub(crate) fn add(&mut self, label: impl Into<String>, value: impl Into<String>) -> &mut Self {
        self.0.push((label.into(), value.into()));
        self
    }

    /// Adds a value unless it is empty.
    pub(crate) fn add_some(
        &mut self,
        label: impl Into<String>,
        value: impl Into<String>,
    ) -> &mut Self {
        let value = value.into();
        if value.is_empty() {
            self
        } else {
            self.add(label, value)
        }
    }

    /// The text of the block.
    pub(super) fn render(&self, looks: Looks) -> String {
        let colour = looks.colour;
        let width = self
            .0
            .iter()
            .map(|(label, _)| label.len())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (label, value) in &self.0 {
            let mut lead = format!(
                "{}{}",
                Colour::Header.paint(label, colour),
                " ".repeat(width - label.len())
            );
            for line in value.split('\n') {
                let line = &shown(line, looks.terminal);
                text.push_str(&lead);
                text.push_str("  ");
                text.push_str(&Colour::Value.paint(line, colour));
                text.push('\n');
                lead = " ".repeat(width);
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_continue_below_their_value() {
        let mut info = Info::default();
        info.add("Id", "release1")
            .add("Description", "")
            .add("Env", "FOO=bar\nBAZ=quux")
            .add_some("Router", "");
        assert_eq!(
            info.render(Looks::default()),
            "Id           release1\n\
             Description  \n\
             Env          FOO=bar\n             BAZ=quux\n"
        );
    }
}
