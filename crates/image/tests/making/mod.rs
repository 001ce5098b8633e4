//! Archives, layers and images made for tests: byte by byte, so that they can be wrong in any way.
//!
//! *Invariant:* nothing here uses the code under test but for its types and its digest.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    clippy::missing_panics_doc,
    clippy::missing_errors_doc,
    reason = "it belongs to the tests, each of which uses a part of it"
)]

pub mod judge;

use std::io::Write;
use std::path::Path;

use orlop_image::{Compression, Descriptor, LayerBlob, LayerHold, NewImage, Store, digest_of};
use orlop_model::reference::Digest;

/// An archive being written.
#[derive(Default, Clone)]
pub struct Tar(pub Vec<u8>);

/// The fields of a header.
#[derive(Clone)]
pub struct Head<'a> {
    pub path: &'a [u8],
    pub kind: u8,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    pub mtime: u64,
    pub link: &'a [u8],
    pub device: (u32, u32),
}

impl Default for Head<'_> {
    fn default() -> Self {
        Head {
            path: b"",
            kind: b'0',
            mode: 0o644,
            uid: 0,
            gid: 0,
            size: 0,
            mtime: 1_000_000_000,
            link: b"",
            device: (0, 0),
        }
    }
}

/// A header block with a good checksum.
pub fn block(head: &Head<'_>) -> [u8; 512] {
    let mut block = [0; 512];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &head.path[..head.path.len().min(100)]);
    put(100, format!("{:07o}", head.mode).as_bytes());
    put(108, format!("{:07o}", head.uid).as_bytes());
    put(116, format!("{:07o}", head.gid).as_bytes());
    put(124, format!("{:011o}", head.size).as_bytes());
    put(136, format!("{:011o}", head.mtime).as_bytes());
    put(156, &[head.kind]);
    put(157, &head.link[..head.link.len().min(100)]);
    put(257, b"ustar\x0000");
    put(329, format!("{:07o}", head.device.0).as_bytes());
    put(337, format!("{:07o}", head.device.1).as_bytes());
    sealed(block)
}

/// The block with its checksum put right.
pub fn sealed(mut block: [u8; 512]) -> [u8; 512] {
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// One record of an extended header.
pub fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    // The length counts its own digits.
    let length =
        (1..9).map(|digits| rest + digits).find(|length| length.to_string().len() + rest == *length).unwrap();
    [format!("{length} {key}=").as_bytes(), value, b"\n"].concat()
}

impl Tar {
    pub fn new() -> Self {
        Tar::default()
    }

    /// A header and its body, which need not be what the header says.
    pub fn put(mut self, head: &Head<'_>, body: &[u8]) -> Self {
        self.0.extend_from_slice(&block(head));
        self.0.extend_from_slice(body);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    pub fn file(self, path: &str, body: &[u8]) -> Self {
        let head = Head { path: path.as_bytes(), size: body.len() as u64, ..Head::default() };
        self.put(&head, body)
    }

    pub fn dir(self, path: &str, mode: u32) -> Self {
        self.put(&Head { path: path.as_bytes(), kind: b'5', mode, ..Head::default() }, b"")
    }

    pub fn link(self, path: &str, target: &str) -> Self {
        self.put(&Head { path: path.as_bytes(), kind: b'1', link: target.as_bytes(), ..Head::default() }, b"")
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.put(
            &Head {
                path: path.as_bytes(),
                kind: b'2',
                link: target.as_bytes(),
                mode: 0o777,
                ..Head::default()
            },
            b"",
        )
    }

    /// An extended header for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let body: Vec<u8> = records.iter().flat_map(|(key, value)| record(key, value)).collect();
        let head = Head { path: b"pax", kind: b'x', size: body.len() as u64, ..Head::default() };
        self.put(&head, &body)
    }

    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// Ends it as archives end.
    pub fn end(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 1024]);
        self.0
    }
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

/// What announces `blob` as a layer that unpacks to `archive`.
pub fn announced(blob: &[u8], compression: Compression, archive: &[u8]) -> LayerBlob {
    let suffix = match compression {
        Compression::Plain => "",
        Compression::Gzip => "+gzip",
        Compression::Zstd => "+zstd",
    };
    let media_type = format!("application/vnd.oci.image.layer.v1.tar{suffix}");
    let descriptor = Descriptor { media_type, digest: digest_of(blob), size: blob.len() as u64 };
    LayerBlob { descriptor, compression, diff_id: digest_of(archive) }
}

/// Unpacks an archive, gzipped.
pub fn unpack(store: &Store, archive: &[u8]) -> Result<LayerHold, orlop_image::Error> {
    let blob = gzip(archive);
    store.unpack(&announced(&blob, Compression::Gzip, archive), blob.as_slice(), &|_| ())
}

/// A store in a fresh directory, which lives as long as the first part.
pub fn store() -> (tempfile::TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    store.sweep().unwrap();
    (directory, store)
}

/// A config for those layers.
pub fn config(layers: &[Digest], config: &str) -> Vec<u8> {
    let layers: Vec<_> = layers.iter().map(|layer| format!("\"{layer}\"")).collect();
    let arch = orlop_image::manifest::Platform::native().architecture;
    let layers = layers.join(",");
    format!(r#"{{"architecture":"{arch}","os":"linux","config":{config},"rootfs":{{"type":"layers","diff_ids":[{layers}]}}}}"#)
        .into_bytes()
}

/// Puts an image of held layers, under a name; its config holds `note`, which makes its id differ.
pub fn put(
    store: &Store,
    name: &str,
    layers: &[LayerHold],
    note: &str,
) -> Result<Digest, orlop_image::Error> {
    let ids: Vec<_> = layers.iter().map(LayerHold::diff_id).collect();
    let config = config(&ids, &format!(r#"{{"Labels":{{"note":"{note}"}}}}"#));
    let manifest = format!("manifest of {}", digest_of(&config)).into_bytes();
    let digest = digest_of(&manifest);
    let reference: orlop_model::reference::Reference = name.parse().unwrap();
    let new = NewImage {
        reference: &reference,
        digest,
        documents: &[(digest, manifest)],
        manifest: digest,
        config: (digest_of(&config), &config),
        layers,
        pinned: false,
    };
    store.put_image(&new).map(|image| image.id)
}

/// What is in a directory of the store.
pub fn names(store: &Store, directory: &str) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(store.root().join(directory))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// All of a tree, a line for each file: kind and mode, owner, time, size or device, names of the same file, target, attributes.
pub fn listing(root: &Path) -> Vec<String> {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::MetadataExt;
    let mut lines = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(path) = waiting.pop() {
        let about = std::fs::symlink_metadata(&path).unwrap();
        let name = path.strip_prefix(root).unwrap().as_os_str().as_bytes().escape_ascii().to_string();
        let kind = match about.mode() & 0o170_000 {
            0o040_000 => 'd',
            0o120_000 => 'l',
            0o100_000 => '-',
            0o020_000 => 'c',
            0o060_000 => 'b',
            0o010_000 => 'p',
            _ => '?',
        };
        let mut words = vec![format!(
            "{name} {kind}{:o} {}:{} {}",
            about.mode() & 0o7777,
            about.uid(),
            about.gid(),
            about.mtime()
        )];
        match kind {
            '-' => words.push(format!("{}x{}", about.size(), about.nlink())),
            'l' => words.push(format!("-> {}", std::fs::read_link(&path).unwrap().display())),
            'c' | 'b' => words.push(about.rdev().to_string()),
            _ => {}
        }
        words.extend(xattrs(&path).into_iter().map(|(name, value)| format!("{name}={value}")));
        lines.push(words.join(" "));
        if kind == 'd' {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    lines.sort();
    lines
}

/// Names and values of a file's extended attributes, escaped; what the machine's own security modules add is left out.
pub fn xattrs(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0; 65536];
    let length = rustix::fs::llistxattr(path, &mut names).unwrap_or(0);
    let names = names[..length]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && *name != b"security.selinux");
    let mut found: Vec<_> = names
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(path, name, &mut value).unwrap();
            (name.escape_ascii().to_string(), value[..length].escape_ascii().to_string())
        })
        .collect();
    found.sort();
    found
}

/// Calls `look` in a thread with mounts of its own.
fn apart<T: Send>(look: impl FnOnce() -> T + Send) -> T {
    use nix::mount::{MsFlags, mount};
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let none: Option<&str> = None;
            mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
            look()
        });
        seen.join().unwrap()
    })
}

/// Calls `look` in a thread where an overlay of `layers`, topmost first, is mounted; what it sees is the root.
pub fn mounted<T: Send>(layers: &[std::path::PathBuf], look: impl FnOnce(&Path) -> T + Send) -> T {
    let at = tempfile::tempdir().unwrap();
    let lower: Vec<_> = layers.iter().map(|layer| layer.to_str().unwrap()).collect();
    // An overlay needs two layers, or an upper one.
    let empty = at.path().join("empty");
    let root = at.path().join("root");
    for path in [&empty, &root] {
        std::fs::create_dir(path).unwrap();
    }
    let lower = format!("lowerdir={}:{}", lower.join(":"), empty.display());
    apart(|| {
        let flags = nix::mount::MsFlags::MS_RDONLY;
        nix::mount::mount(Some("overlay"), &root, Some("overlay"), flags, Some(lower.as_str())).unwrap();
        look(&root)
    })
}

/// Calls `look` in a thread where a directory, which it gets, is a file system in memory with these options.
pub fn in_memory<T: Send>(options: &str, look: impl FnOnce(&Path) -> T + Send) -> T {
    let at = tempfile::tempdir().unwrap();
    apart(|| {
        let flags = nix::mount::MsFlags::empty();
        nix::mount::mount(Some("tmpfs"), at.path(), Some("tmpfs"), flags, Some(options)).unwrap();
        look(at.path())
    })
}
