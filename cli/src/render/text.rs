//! Texts of strangers, made harmless: names of images, containers and files may hold anything.
//!
//! *Invariant:* what comes out holds no character that moves a cursor, hides text or turns its direction.

use std::fmt::Write as _;

/// Whether a terminal would do something else with `c` than show it.
pub(crate) fn is_harmful(c: char) -> bool {
    // Beside the control characters (C0, DEL, C1): what turns directions, splits lines, or cannot be seen.
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// `text` with harmful characters as `\n`, `\t`, `\u{1b}`.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_harmful(c) => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out
}

/// Digits of an id as people are shown them, without the algorithm of a digest.
pub(crate) fn short(id: &str) -> &str {
    let digits = id.strip_prefix("sha256:").unwrap_or(id);
    digits.get(..12).unwrap_or(digits)
}

/// `short`, unless whole ids are wanted.
pub(crate) fn id(id: &str, whole: bool) -> &str {
    if whole { id } else { short(id) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_harmful_is_left() {
        let hostile = "a\u{1b}[2Jb\rc\nd\te\u{7f}f\u{9b}31mg\u{202e}h\u{200b}i\u{feff}j\0";
        let shown = escape(hostile);
        assert!(!shown.chars().any(is_harmful), "{shown}");
        assert_eq!(shown, r"a\u{1b}[2Jb\rc\nd\te\u{7f}f\u{9b}31mg\u{202e}h\u{200b}i\u{feff}j\u{0}");
    }

    #[test]
    fn what_is_harmless_stays() {
        for text in ["", "docker.io/library/busybox:1.36", "größer 日本 \\n \"x\""] {
            assert_eq!(escape(text), text);
        }
    }

    #[test]
    fn ids_are_cut_to_twelve_digits() {
        assert_eq!(short("0123456789abcdef"), "0123456789ab");
        assert_eq!(short("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short("abc"), "abc");
        assert_eq!(short("aaaaaaaaaaaä"), "aaaaaaaaaaaä", "not cut within a character");
        assert_eq!(id("sha256:0123456789abcdef", true), "sha256:0123456789abcdef");
    }
}
