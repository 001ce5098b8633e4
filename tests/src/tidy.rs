//! The source as text, and the table in ARCHITECTURE.md: what the tests of its order look at.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`code`] | a file without its comments and texts |
//! | [`table`] | the crates, as ARCHITECTURE.md promises them |
//! | [`cargo`] | the crates, as cargo sees them |
//!
//! *Invariant:* reads, never writes; needs no network.

pub mod cargo;
pub mod code;
pub mod table;

use std::path::{Path, PathBuf};

/// The root of the checkout.
///
/// # Panics
/// If this crate is not where it was built.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ lies in the checkout").to_owned()
}

/// A file of Rust.
pub struct Source {
    /// Relative to the root of the checkout, with slashes.
    pub path: String,
    /// As it is.
    pub text: String,
    /// With comments and the content of literals blanked, line for line.
    pub code: String,
}

impl Source {
    /// Whether the file is one of these: a path, or a directory with a slash at its end.
    #[must_use]
    pub fn is_in(&self, places: &[&str]) -> bool {
        places.iter().any(|place| {
            if place.ends_with('/') { self.path.starts_with(place) } else { self.path == *place }
        })
    }

    /// The numbers, from 1, of lines in which a word of code stands.
    #[must_use]
    pub fn lines_with(&self, word: &str) -> Vec<usize> {
        let found =
            self.code.lines().enumerate().filter(|(_, line)| code::words(line).any(|has| has == word));
        found.map(|(index, _)| index + 1).collect()
    }
}

/// Every file of Rust that people write.
///
/// # Panics
/// If the checkout cannot be read.
#[must_use]
pub fn sources() -> Vec<Source> {
    let root = root();
    let written = paths().into_iter().filter(|path| is_kind(path, "rs") && !path.contains("/generated/"));
    let read = |path: String| {
        let text = std::fs::read_to_string(root.join(&path)).expect("a file in UTF-8");
        Source { code: code::only(&text), path, text }
    };
    written.map(read).collect()
}

/// Whether a path's name ends in this kind.
#[must_use]
pub fn is_kind(path: &str, kind: &str) -> bool {
    Path::new(path).extension().is_some_and(|has| has == kind)
}

/// Every path in the checkout that is the project's own: not what is built, stored or git's.
///
/// # Panics
/// If the checkout cannot be read.
#[must_use]
pub fn paths() -> Vec<String> {
    let root = root();
    let mut found = Vec::new();
    let mut left = vec![root.clone()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory").flatten() {
            let path = entry.path();
            let name = path.strip_prefix(&root).expect("below the root").to_string_lossy().into_owned();
            if ["target", ".git", "bin", "var"].contains(&&*name) {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                left.push(path);
            }
            found.push(name);
        }
    }
    found.sort();
    found
}
