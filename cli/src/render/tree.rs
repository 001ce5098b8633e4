//! What a thing is made of, as branches.
//!
//! *Invariant:* what goes into a branch is escaped here; a branch is one line.

use std::io::{self, Write};

use super::paint::{Ink, Paint};
use super::text::escape;

/// A line and what hangs on it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Tree {
    text: String,
    ink: Ink,
    branches: Vec<Tree>,
}

impl Tree {
    /// A line.
    pub(crate) fn new(text: impl AsRef<str>) -> Self {
        Tree { text: escape(text.as_ref()), ink: Ink::Plain, branches: Vec::new() }
    }

    /// A line that stands out.
    pub(crate) fn inked(text: impl AsRef<str>, ink: Ink) -> Self {
        Tree { ink, ..Tree::new(text) }
    }

    /// Hangs `branch` on it.
    pub(crate) fn push(&mut self, branch: Tree) {
        self.branches.push(branch);
    }

    /// Hangs a heading with `lines` below it on it; nothing, if there are none.
    pub(crate) fn group(&mut self, heading: &str, lines: impl IntoIterator<Item = impl AsRef<str>>) {
        let branches: Vec<Tree> = lines.into_iter().map(Tree::new).collect();
        if !branches.is_empty() {
            self.branches.push(Tree { branches, ..Tree::inked(heading, Ink::Bold) });
        }
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// As `out` says.
    pub(crate) fn write(&self, out: &mut impl Write, paint: Paint) -> io::Result<()> {
        writeln!(out, "{}", paint.apply(self.ink, &self.text))?;
        self.write_branches(out, paint, "")
    }

    fn write_branches(&self, out: &mut impl Write, paint: Paint, before: &str) -> io::Result<()> {
        for (number, branch) in self.branches.iter().enumerate() {
            let (joint, below) =
                if number + 1 == self.branches.len() { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            writeln!(out, "{before}{joint}{}", paint.apply(branch.ink, branch.text.trim_end()))?;
            branch.write_branches(out, paint, &format!("{before}{below}"))?;
        }
        Ok(())
    }
}

/// Lines with their fields below each other; no gap after the last field.
pub(crate) fn aligned<const N: usize>(rows: Vec<[String; N]>) -> Vec<String> {
    // Escaped before it is measured: a tree's escaping finds nothing more to do.
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|field| escape(&field))).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let fields: Vec<String> =
            row.iter().zip(&widths).map(|(field, width)| format!("{field:width$}", width = *width)).collect();
        fields.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn branches_hang_where_they_belong() {
        let mut tree = Tree::new("root");
        tree.group("one", ["a", "b\u{1b}[1m"]);
        tree.group("none", Vec::<String>::new());
        tree.push(Tree::inked("two", Ink::Bold));
        let mut out = Vec::new();
        tree.write(&mut out, Paint::OFF).unwrap();
        let expected = "root\n├─ one\n│  ├─ a\n│  └─ b\\u{1b}[1m\n└─ two\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn fields_stand_below_each_other() {
        let rows =
            vec![["net".into(), "1".into(), String::new()], ["cgroup".into(), "22".into(), "x".into()]];
        assert_eq!(aligned(rows), ["net     1", "cgroup  22  x"]);
        let rows = vec![["a\n".into(), "x".into()], ["bb".into(), "y".into()]];
        assert_eq!(aligned(rows), ["a\\n  x", "bb   y"]);
        assert_eq!(aligned::<2>(Vec::new()), Vec::<String>::new());
    }
}
