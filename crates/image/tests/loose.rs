//! Archives beside the store: what a container changed is packed and unpacked as it was; what is not allowed is refused. Needs root.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod making;

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use making::{Head, Tar, store};
use orlop_image::Allowed;
use orlop_image::pack::{Changes, Pack};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, mknodat, setxattr};

fn whiteout(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

/// Packs `upper` over `lower`; the archive, and what it hides.
fn packed(upper: &Path, lower: &[std::path::PathBuf]) -> (Vec<u8>, Vec<String>) {
    let mut pack = Pack::new(Vec::new(), Path::new("test"));
    let hidden = Changes::new(upper, lower).unwrap().pack(&mut pack).unwrap();
    (pack.end().unwrap(), hidden.into_iter().map(|path| String::from_utf8(path).unwrap()).collect())
}

#[test]
fn what_was_changed_is_unpacked_as_it_was() {
    let (directory, store) = store();
    let (upper, lower) = (directory.path().join("upper"), directory.path().join("lower"));
    let long = format!("d/{}", "n".repeat(200));
    std::fs::create_dir_all(upper.join("d/empty")).unwrap();
    std::fs::create_dir_all(upper.join("anew/both")).unwrap();
    std::fs::create_dir_all(lower.join("anew/both")).unwrap();
    std::fs::create_dir_all(lower.join("anew/only")).unwrap();
    std::fs::write(lower.join("anew/both/old"), "old").unwrap();
    std::fs::write(upper.join("anew/both/new"), "new").unwrap();
    setxattr(upper.join("anew"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    std::fs::write(upper.join("d/file"), vec![7; 100_000]).unwrap();
    std::fs::write(upper.join(&long), "long").unwrap();
    std::fs::write(upper.join("ümlaut"), "x").unwrap();
    std::fs::set_permissions(upper.join("d/file"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    std::os::unix::fs::chown(upper.join("d/file"), Some(3_000_000), Some(1001)).unwrap();
    std::fs::set_permissions(upper.join("d/file"), std::fs::Permissions::from_mode(0o4711)).unwrap();
    setxattr(upper.join("d/file"), "user.note", b"said\nso", XattrFlags::empty()).unwrap();
    std::fs::hard_link(upper.join("d/file"), upper.join("d/other")).unwrap();
    symlink("/etc/shadow", upper.join("d/link")).unwrap();
    mknodat(CWD, upper.join("d/pipe"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(upper.join("d/socket")).unwrap();
    whiteout(&upper.join("d/gone"));
    std::fs::hard_link(upper.join("d/gone"), upper.join("d/gone2")).unwrap();

    let (archive, hidden) = packed(&upper, &[lower.clone(), directory.path().join("lower")]);
    assert_eq!(hidden, ["anew/only", "anew/both/old", "d/gone", "d/gone2"]);
    let to = directory.path().join("again");
    let hidden: Vec<Vec<u8>> = hidden.into_iter().map(String::into_bytes).collect();
    store.unpack_loose("test", archive.as_slice(), &to, Allowed::Layer, &hidden).unwrap();
    for (name, content) in [("anew/both/new", "new"), (long.as_str(), "long"), ("ümlaut", "x")] {
        assert_eq!(std::fs::read_to_string(to.join(name)).unwrap(), content, "{name}");
    }
    let file = std::fs::metadata(to.join("d/file")).unwrap();
    assert_eq!(
        (file.len(), file.mode() & 0o7777, file.uid(), file.gid()),
        (100_000, 0o4711, 3_000_000, 1001)
    );
    assert_eq!(std::fs::metadata(to.join("d/other")).unwrap().ino(), file.ino());
    let was = std::fs::metadata(upper.join("d/file")).unwrap();
    assert_eq!((file.mtime(), file.mtime_nsec()), (was.mtime(), was.mtime_nsec()));
    let mut note = [0; 16];
    let length = rustix::fs::getxattr(to.join("d/file"), "user.note", &mut note).unwrap();
    assert_eq!(&note[..length], b"said\nso");
    assert_eq!(std::fs::read_link(to.join("d/link")).unwrap(), Path::new("/etc/shadow"));
    assert!(std::fs::symlink_metadata(to.join("d/pipe")).unwrap().file_type().is_fifo());
    assert!(to.join("d/empty").is_dir() && !to.join("d/socket").exists());
    for name in ["anew/only", "anew/both/old", "d/gone", "d/gone2"] {
        let hides = std::fs::symlink_metadata(to.join(name)).unwrap();
        assert!(hides.file_type().is_char_device() && hides.rdev() == 0, "{name}");
    }
    // What came out, packed again, is the same.
    let (again, _) = packed(&to, &[lower]);
    assert_eq!(again.len(), archive.len());
}

#[test]
fn a_layer_that_overlayfs_alone_can_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let upper = directory.path().join("upper");
    std::fs::create_dir_all(upper.join("renamed")).unwrap();
    setxattr(upper.join("renamed"), "trusted.overlay.redirect", b"/old", XattrFlags::empty()).unwrap();
    let mut pack = Pack::new(Vec::new(), Path::new("test"));
    let error = Changes::new(&upper, &[]).unwrap().pack(&mut pack).unwrap_err();
    assert!(error.to_string().contains("/renamed"), "{error}");
}

#[test]
fn what_is_packed_is_no_link() {
    let directory = tempfile::tempdir().unwrap();
    symlink("/etc/hostname", directory.path().join("link")).unwrap();
    let mut pack = Pack::new(Vec::new(), Path::new("test"));
    assert!(pack.copy("x", &directory.path().join("link")).is_err());
    assert!(pack.copy("x", directory.path()).is_err());
    assert!(pack.copy("x", &directory.path().join("none")).is_err());
}

#[test]
fn of_files_alone_nothing_else_is_taken_and_nothing_is_left() {
    let (directory, store) = store();
    let to = directory.path().join("to");
    for kind in *b"12346" {
        let archive =
            Tar::new().put(&Head { kind, path: b"x", link: b"/etc/hostname", ..Head::default() }, b"").end();
        let refused = store.unpack_loose("test", archive.as_slice(), &to, Allowed::Files, &[]).unwrap_err();
        assert!(refused.to_string().contains("neither"), "{refused}");
        assert!(!to.exists());
    }
    // One that swells, one that is cut, one that links to what is not in it.
    let head = making::block(&Head { path: b"zeros", size: 1 << 30, ..Head::default() });
    let zeros = std::io::repeat(0).take(1 << 30);
    let bomb = zstd::encode_all(head.as_slice().chain(zeros), 1).unwrap();
    let swells = store.unpack_loose("test", bomb.as_slice(), &to, Allowed::Files, &[]).unwrap_err();
    assert!(!to.exists(), "{swells}");
    let link =
        Tar::new().put(&Head { kind: b'1', path: b"x", link: b"absent", ..Head::default() }, b"").end();
    for bytes in [link, Tar::new().file("x", &[1; 600]).0[..700].to_vec()] {
        assert!(store.unpack_loose("test", bytes.as_slice(), &to, Allowed::Layer, &[]).is_err());
        assert!(!to.exists());
    }
    let ingest = store.root().join("ingest");
    assert_eq!(std::fs::read_dir(ingest).unwrap().count(), 0);
}
