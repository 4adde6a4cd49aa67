//! Tables that scripts cut into columns.
//!
//! A column is as wide as its longest cell in bytes, columns are two blanks
//! apart, the last one is not padded, and nothing is trimmed: existing scripts
//! rely on every one of these.

use super::{Colour, Looks, shown};

/// A header and rows of as many cells.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new<'a>(header: impl IntoIterator<Item = &'a str>) -> Self {
        Self {
            header: header.into_iter().map(str::to_owned).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row; it has as many cells as the header.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(
            cells.len(),
            self.header.len(),
            "a row has as many cells as the header"
        );
        self.rows.push(cells);
    }

    /// The text of the table.
    pub(super) fn render(&self, looks: Looks) -> String {
        let colour = looks.colour;
        let columns = self.header.len();
        let mut widths = vec![0; columns];
        // A newline in a cell would break the row in two.
        let clean = |row: &Vec<String>| -> Vec<String> {
            row.iter().map(|cell| shown(cell, looks.terminal)).collect()
        };
        let rows: Vec<_> = self.rows.iter().map(clean).collect();
        for row in std::iter::once(&self.header).chain(&rows) {
            for (width, cell) in widths.iter_mut().zip(row).take(columns - 1) {
                *width = cell.len().max(*width);
            }
        }
        let mut text = String::new();
        let lines = std::iter::once((&self.header, Colour::Header))
            .chain(rows.iter().map(|row| (row, Colour::Value)));
        for (row, kind) in lines {
            let cells: Vec<_> = row
                .iter()
                .zip(&widths)
                .map(|(cell, width)| {
                    let blanks = " ".repeat(width.saturating_sub(cell.len()));
                    format!("{}{blanks}", kind.paint(cell, colour))
                })
                .collect();
            text.push_str(&cells.join("  "));
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_padded_and_never_trimmed() {
        let mut table = Table::new(["ID", "STATUS", "BUILD", "CREATED", "DESCRIPTION"]);
        let mut row = |cells: [&str; 5]| table.row(cells.map(str::to_owned).to_vec());
        row(["release1", "active", "build1", "2 days ago", "description1"]);
        row(["release2", "", "build1", "2 days ago", ""]);
        assert_eq!(
            table.render(Looks::default()),
            "ID        STATUS  BUILD   CREATED     DESCRIPTION\n\
             release1  active  build1  2 days ago  description1\n\
             release2          build1  2 days ago  \n"
        );
    }

    #[test]
    fn the_header_stands_without_rows() {
        assert_eq!(
            Table::new(["APP", "STATUS", "RELEASE"]).render(Looks::default()),
            "APP  STATUS  RELEASE\n"
        );
    }

    #[test]
    fn colour_does_not_move_columns() {
        let mut table = Table::new(["A", "B"]);
        table.row(vec!["long".to_owned(), "x\ny".to_owned()]);
        assert_eq!(
            table.render(Looks {
                terminal: true,
                colour: true,
            }),
            "\u{1b}[38;5;244mA\u{1b}[0m     \u{1b}[38;5;244mB\u{1b}[0m\n\
             \u{1b}[38;5;251mlong\u{1b}[0m  \u{1b}[38;5;251mx y\u{1b}[0m\n"
        );
    }
}
