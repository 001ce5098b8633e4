//! Colour, where there is a terminal that wants it.
//!
//! *Invariant:* no escape sequence leaves this program into a file, a pipe, a terminal called dumb, or against NO_COLOR
//! (<https://no-color.org>: set and not empty).

use std::env;
use std::io::IsTerminal;

/// How a text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Ink {
    /// Not at all.
    #[default]
    Plain,
    /// A heading.
    Bold,
    /// Well.
    Green,
    /// On its way.
    Yellow,
    /// Not well.
    Red,
}

/// Whether to paint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Paints nothing.
    #[cfg(test)]
    pub(crate) const OFF: Paint = Paint(false);
    /// Paints.
    #[cfg(test)]
    pub(crate) const ON: Paint = Paint(true);

    /// As `stream` and the environment want it.
    pub(crate) fn on(stream: &impl IsTerminal) -> Self {
        let unwanted = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint(!unwanted && is_able(stream))
    }

    /// `text`, painted.
    pub(crate) fn apply(self, ink: Ink, text: &str) -> String {
        let code = match ink {
            Ink::Plain => return text.to_owned(),
            Ink::Bold => 1,
            Ink::Green => 32,
            Ink::Yellow => 33,
            Ink::Red => 31,
        };
        if self.0 { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

/// Whether `stream` is a terminal on which things can be drawn.
pub(crate) fn is_able(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// The ink of a state, in the words that tables and explanations use.
pub(crate) fn of_state(state: &str) -> Ink {
    match state.to_ascii_lowercase().as_str() {
        "running" | "ready" => Ink::Green,
        "created" | "creating" | "starting" | "stopping" | "making" => Ink::Yellow,
        "unknown" | "failed" => Ink::Red,
        _ => Ink::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_put_around_and_nothing_when_off() {
        assert_eq!(Paint::ON.apply(Ink::Red, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint::OFF.apply(Ink::Red, "x"), "x");
        assert_eq!(Paint::ON.apply(Ink::Plain, "x"), "x");
    }

    #[test]
    fn a_file_is_never_painted() {
        assert_eq!(Paint::on(&std::fs::File::open("/dev/null").unwrap()), Paint::OFF);
    }
}
