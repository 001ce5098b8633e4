//! A layer of an image, entry by entry.
//!
//! *Invariant:* the same entries make the same bytes: times are 0, names of owners empty.

use std::io::Write as _;

use tar::{Builder, EntryType, Header};

use crate::hash::digest;

/// How a layer is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// A layer being made.
pub struct Tree {
    archive: Builder<Vec<u8>>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { archive: Builder::new(Vec::new()) }
    }
}

impl Tree {
    /// An empty layer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A directory.
    #[must_use]
    pub fn directory(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, mode, None, b"")
    }

    /// A file of root's.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: impl AsRef<[u8]>) -> Self {
        self.entry(EntryType::Regular, path, mode, None, content.as_ref())
    }

    /// Another name of a file.
    #[must_use]
    pub fn link(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Link, path, 0o755, Some(to), b"")
    }

    /// A symbolic link.
    #[must_use]
    pub fn symlink(self, path: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, path, 0o777, Some(to), b"")
    }

    /// A FIFO.
    #[must_use]
    pub fn fifo(self, path: &str) -> Self {
        self.entry(EntryType::Fifo, path, 0o644, None, b"")
    }

    /// The mark that removes what a lower layer has at `path`.
    #[must_use]
    pub fn without(self, path: &str) -> Self {
        let (parent, name) = path.rsplit_once('/').map_or(("", path), |(parent, name)| (parent, name));
        let slash = if parent.is_empty() { "" } else { "/" };
        self.entry(EntryType::Regular, &format!("{parent}{slash}.wh.{name}"), 0o644, None, b"")
    }

    /// The mark that hides all that lower layers have in the directory `path`.
    #[must_use]
    pub fn opaque(self, path: &str) -> Self {
        self.entry(EntryType::Regular, &format!("{path}/.wh..wh..opq"), 0o644, None, b"")
    }

    /// An entry with a header of the caller's choice: owners, times, sizes that lie.
    ///
    /// # Panics
    /// If the archive cannot be written to memory.
    #[must_use]
    pub fn raw(mut self, header: &Header, content: &[u8]) -> Self {
        self.archive.append(header, content).expect("memory takes it");
        self
    }

    fn entry(self, kind: EntryType, path: &str, mode: u32, to: Option<&str>, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        // Written as bytes: `Header::set_path` refuses what a hostile image may hold.
        if let Some(old) = header.as_gnu_mut() {
            put(&mut old.name, path);
            put(&mut old.linkname, to.unwrap_or_default());
        }
        header.set_cksum();
        self.raw(&header, content)
    }

    /// The layer, packed.
    ///
    /// # Panics
    /// If a packer fails on memory.
    #[must_use]
    pub fn pack(self, packing: Packing) -> Layer {
        let archive = self.archive.into_inner().expect("memory takes it");
        let diff_id = digest(&archive);
        let bytes = match packing {
            Packing::Plain => archive,
            Packing::Gzip => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(&archive).expect("memory takes it");
                packer.finish().expect("memory takes it")
            }
            Packing::Zstd => zstd::encode_all(&archive[..], 1).expect("memory takes it"),
        };
        Layer { packing, diff_id, bytes }
    }
}

/// Puts `text` into a field of a header. Longer names need an entry of their own, which tests make by [`Tree::raw`].
fn put(field: &mut [u8; 100], text: &str) {
    assert!(text.len() <= field.len(), "a name of {} bytes does not fit a plain header", text.len());
    field[..text.len()].copy_from_slice(text.as_bytes());
}

/// A layer as a registry holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// How it is packed.
    pub packing: Packing,
    /// Digest of what is packed.
    pub diff_id: String,
    /// The blob.
    pub bytes: Vec<u8>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    fn tree() -> Tree {
        Tree::new()
            .directory("etc", 0o755)
            .file("etc/motd", 0o644, "hello")
            .link("etc/same", "etc/motd")
            .without("a/b")
            .opaque("c")
    }

    #[test]
    fn every_packing_holds_the_same_archive() {
        let plain = tree().pack(Packing::Plain);
        let mut gzip = Vec::new();
        let layer = tree().pack(Packing::Gzip);
        flate2::read::GzDecoder::new(&layer.bytes[..]).read_to_end(&mut gzip).unwrap();
        let zstd = tree().pack(Packing::Zstd);
        assert_eq!((&gzip, &layer.diff_id), (&plain.bytes, &digest(&plain.bytes)));
        assert_eq!((zstd::decode_all(&zstd.bytes[..]).unwrap(), zstd.diff_id), (plain.bytes, plain.diff_id));
    }

    #[test]
    fn entries_are_there_in_order() {
        let layer = tree().pack(Packing::Plain);
        let mut archive = tar::Archive::new(&layer.bytes[..]);
        let names: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        let expected = ["etc", "etc/motd", "etc/same", "a/.wh.b", "c/.wh..wh..opq"];
        assert_eq!(names.iter().map(|name| name.to_str().unwrap()).collect::<Vec<_>>(), expected);
    }
}
