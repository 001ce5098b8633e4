//! Names as archives write them, made into paths inside a tree.
//!
//! *Invariant:* a path that comes out of here has no `.`, no `..`, no empty part and no leading slash. Names are bytes: they need not be
//! UTF-8.

/// What the name of a whiteout begins with (OCI image specification, "Whiteouts").
pub(crate) const WHITEOUT: &[u8] = b".wh.";

/// A cleaned path.
pub(crate) struct Clean {
    /// The path from the root; empty: the root itself.
    pub(crate) inside: Vec<u8>,
    /// Whether `..` would have led above the root, where the kernel's own root, too, ends such a climb.
    pub(crate) climbs: bool,
}

/// Cleans `path` by its letters alone.
pub(crate) fn clean(path: &[u8]) -> Clean {
    let mut parts: Vec<&[u8]> = Vec::new();
    let mut climbs = false;
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => climbs |= parts.pop().is_none(),
            part => parts.push(part),
        }
    }
    Clean { inside: parts.join(&b'/'), climbs }
}

/// Directory and last part of a cleaned path; none for the root.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => Some((&path[..slash], &path[slash + 1..])),
        None if path.is_empty() => None,
        None => Some((&[], path)),
    }
}

/// `name` in the directory `path`.
pub(crate) fn join(path: &[u8], name: &[u8]) -> Vec<u8> {
    if path.is_empty() { name.to_vec() } else { [path, name].join(&b'/') }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_by_their_letters() {
        for (path, inside, climbs) in [
            ("a", "a", false),
            ("./a//b/./c/", "a/b/c", false),
            ("/etc/passwd", "etc/passwd", false),
            ("a/../b", "b", false),
            ("../../etc", "etc", true),
            ("a/../../b", "b", true),
            ("/", "", false),
            ("", "", false),
            ("..", "", true),
            ("...", "...", false),
        ] {
            let clean = clean(path.as_bytes());
            assert_eq!((clean.inside.as_slice(), clean.climbs), (inside.as_bytes(), climbs), "{path}");
        }
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
        assert_eq!((split(b"a"), split(b"")), (Some((&b""[..], &b"a"[..])), None));
        assert_eq!((join(b"", b"a"), join(b"a", b"b")), (b"a".to_vec(), b"a/b".to_vec()));
    }
}
