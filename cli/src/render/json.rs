//! For programs: JSON.
//!
//! *Invariant:* what JSON leaves as it is, a terminal may not: harmful characters beyond ASCII are escaped, too, which changes
//! no value.

use std::io::{self, Write};

use serde_json::Value;

use super::text::is_harmful;

/// Writes `value` on one line.
///
/// # Errors
/// As `out` says.
pub(crate) fn line(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", harmless(&value.to_string()))
}

/// Writes `value` on many lines.
///
/// # Errors
/// As `out` says.
pub(crate) fn pretty(out: &mut impl Write, value: &Value) -> io::Result<()> {
    writeln!(out, "{}", harmless(&format!("{value:#}")))
}

/// JSON text with every harmful character as `\u` and four digits. They stand in strings only; line breaks are JSON's own.
fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c != '\n' && is_harmful(c) {
            let mut units = [0; 2];
            out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
        } else {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_and_harmful_characters_do_not() {
        let value = serde_json::json!({"a": "x\u{1b}\n\u{9b}\u{202e}\u{7f}ä", "b": [1]});
        for write in [line, pretty] {
            let mut out = Vec::new();
            write(&mut out, &value).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(!text.chars().any(|c| c != '\n' && is_harmful(c)), "{text}");
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
        }
    }
}
