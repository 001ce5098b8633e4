//! Lists: columns with a heading each.
//!
//! *Invariant:* what goes into a cell is escaped here, so no verb can forget it; a row is one line.

use std::io::{self, Write};

use super::paint::{Ink, Paint};
use super::text::escape;

/// Blanks between columns.
const GAP: usize = 3;

/// A list in the making.
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// One cell.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    text: String,
    ink: Ink,
}

impl<T: AsRef<str>> From<T> for Cell {
    fn from(text: T) -> Self {
        Cell { text: escape(text.as_ref()), ink: Ink::Plain }
    }
}

impl Cell {
    /// A text that stands out.
    pub(crate) fn inked(text: &str, ink: Ink) -> Self {
        Cell { text: escape(text), ink }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

impl Table {
    /// One without rows.
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Table { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// One row more, a cell for each heading.
    pub(crate) fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        debug_assert_eq!(N, self.headings.len());
        self.rows.push(cells.into());
    }

    /// Writes headings and rows.
    ///
    /// # Errors
    /// As `out` says.
    pub(crate) fn write(&self, out: &mut impl Write, paint: Paint) -> io::Result<()> {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| row[column].width());
                cells.chain([self.headings[column].chars().count()]).max().unwrap_or_default()
            })
            .collect();
        let headings: Vec<Cell> =
            self.headings.iter().map(|heading| Cell::inked(heading, Ink::Bold)).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (column, cell) in row.iter().enumerate() {
                line.push_str(&paint.apply(cell.ink, &cell.text));
                if column + 1 < row.len() {
                    line.extend(std::iter::repeat_n(' ', widths[column] - cell.width() + GAP));
                }
            }
            writeln!(out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(table: &Table, paint: Paint) -> String {
        let mut out = Vec::new();
        table.write(&mut out, paint).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&["NAME", "STATE", "AGE"]);
        table.row(["größer".into(), "x".into(), "1".into()]);
        table.row(["b".into(), "running".into(), "".into()]);
        let expected = "NAME     STATE     AGE\ngrößer   x         1\nb        running\n";
        assert_eq!(shown(&table, Paint::OFF), expected);
    }

    #[test]
    fn a_cell_cannot_leave_its_row() {
        let mut table = Table::new(&["NAME"]);
        table.row(["a\nb\u{1b}[31m".into()]);
        assert_eq!(shown(&table, Paint::OFF), "NAME\na\\nb\\u{1b}[31m\n");
    }

    #[test]
    fn colour_does_not_count_as_width() {
        let mut table = Table::new(&["A", "B"]);
        table.row([Cell::inked("x", Ink::Green), "y".into()]);
        let shown = shown(&table, Paint::ON);
        assert_eq!(shown, "\u{1b}[1mA\u{1b}[0m   \u{1b}[1mB\u{1b}[0m\n\u{1b}[32mx\u{1b}[0m   y\n");
    }

    #[test]
    fn an_empty_table_is_its_headings() {
        assert_eq!(shown(&Table::new(&["A", "B"]), Paint::OFF), "A   B\n");
    }
}
