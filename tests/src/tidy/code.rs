//! A file of Rust without its comments and without what stands in its literals.
//!
//! *Invariant:* lines stay lines, so a number found in the one is a number in the other. It reads tokens, not grammar: enough to know
//! whether a word is code.

/// Where the reader is.
enum Place {
    Code,
    Line,
    Block { depth: usize },
    Text { hashes: Option<usize> },
}

/// `text` with comments and the content of literals made spaces.
#[must_use]
pub fn only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let (mut at, mut place) = (0, Place::Code);
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (length, keep, next) = match place {
            Place::Code => begins(rest, out.last().copied()),
            Place::Line if rest[0] == b'\n' => (1, true, Place::Code),
            Place::Line => (1, false, Place::Line),
            Place::Block { depth } if rest.starts_with(b"/*") => {
                (2, false, Place::Block { depth: depth + 1 })
            }
            Place::Block { depth: 1 } if rest.starts_with(b"*/") => (2, false, Place::Code),
            Place::Block { depth } if rest.starts_with(b"*/") => {
                (2, false, Place::Block { depth: depth - 1 })
            }
            Place::Block { depth } => (1, false, Place::Block { depth }),
            Place::Text { hashes: None } if rest[0] == b'\\' => (2, false, Place::Text { hashes: None }),
            Place::Text { hashes: None } if rest[0] == b'"' => (1, false, Place::Code),
            Place::Text { hashes: Some(count) } if closes(rest, count) => (1 + count, false, Place::Code),
            Place::Text { hashes } => (1, false, Place::Text { hashes }),
        };
        let end = (at + length).min(bytes.len());
        out.extend(bytes[at..end].iter().map(|byte| if keep || *byte == b'\n' { *byte } else { b' ' }));
        (at, place) = (end, next);
    }
    // Whole characters were kept or blanked byte by byte; what is not ASCII outside of literals does not matter here.
    String::from_utf8_lossy(&out).into_owned()
}

/// How many bytes belong together at the front of code, whether they are kept, and where the reader is after them.
fn begins(rest: &[u8], before: Option<u8>) -> (usize, bool, Place) {
    if rest.starts_with(b"//") {
        return (2, false, Place::Line);
    }
    if rest.starts_with(b"/*") {
        return (2, false, Place::Block { depth: 1 });
    }
    if rest[0] == b'"' {
        return (1, false, Place::Text { hashes: None });
    }
    let in_word = before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !in_word && let Some((length, hashes)) = raw(rest) {
        return (length, false, Place::Text { hashes: Some(hashes) });
    }
    if rest[0] == b'\''
        && let Some(length) = character(rest)
    {
        return (length, false, Place::Code);
    }
    (1, true, Place::Code)
}

/// Length and hashes of the beginning of a raw literal: `r"`, `br#"`, `cr##"`.
fn raw(rest: &[u8]) -> Option<(usize, usize)> {
    let mark = rest.iter().take(2).position(|byte| *byte == b'r')?;
    if mark == 1 && !matches!(rest[0], b'b' | b'c') {
        return None;
    }
    let hashes = rest[mark + 1..].iter().take_while(|byte| **byte == b'#').count();
    (rest.get(mark + 1 + hashes) == Some(&b'"')).then_some((mark + 2 + hashes, hashes))
}

fn closes(rest: &[u8], hashes: usize) -> bool {
    rest[0] == b'"' && rest.len() > hashes && rest[1..=hashes].iter().all(|byte| *byte == b'#')
}

/// Length of a character literal; `None` for a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map(|end| end + 4);
    }
    // One character of one to four bytes.
    let text = &rest[1..rest.len().min(6)];
    let width = match text.first()? {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (text.get(width) == Some(&b'\'')).then_some(width + 2)
}

/// The words of a line of code.
pub fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|letter: char| !letter.is_alphanumeric() && letter != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        let code = only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        words(&code).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_and_literals_are_no_code() {
        assert_eq!(kept("a // unsafe\nb /* unsafe /* x */ unsafe */ c"), "a b c");
        assert_eq!(kept(r#"a("unsafe \" unsafe") b"#), "a b");
        assert_eq!(kept(r##"a(r#"unsafe " unsafe"#, br"unsafe", c"unsafe", b"unsafe") b"##), "a c b b");
        assert_eq!(kept("\"a\nunsafe\" b"), "b");
    }

    #[test]
    fn characters_are_not_mistaken_for_lifetimes_nor_for_texts() {
        assert_eq!(kept(r#"f('"', '\'', '\\', '\u{1f600}', 'é') g"#), "f g");
        assert_eq!(kept("fn f<'a>(x: &'a str) -> &'a str { x }"), "fn f a x a str a str x");
        assert_eq!(kept("for r in b'a'..=b'z' {}"), "for r in b b");
    }

    #[test]
    fn words_that_hold_another_are_others() {
        assert_eq!(kept("unsafe_code, r#unsafe"), "unsafe_code r unsafe");
    }
}
