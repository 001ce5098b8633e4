//! Files of an image that the runtime reads itself, whatever the image has put there instead.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod making;

use making::{Head, Tar, mounted, store, unpack};
use orlop_image::Part;
use orlop_model::report::Kind;

#[test]
fn only_small_regular_files_are_read() {
    let (_directory, store) = store();
    let at = |kind, path: &'static [u8]| Head { kind, path, device: (1, 5), ..Head::default() };
    let archive = Tar::new()
        .file("etc/passwd", b"root:x:0:0::/:/bin/sh\n")
        .symlink("etc/link", "passwd")
        .symlink("etc/absolute", "/etc/../../../etc/link")
        .symlink("etc/out", "../../../../../../../../../../etc/hostname")
        .symlink("etc/loop", "loop")
        .symlink("etc/proc", "/proc/self/environ")
        .symlink("dir", "etc")
        .put(&at(b'6', b"etc/fifo"), b"")
        .put(&at(b'3', b"etc/zero"), b"")
        .put(&at(b'4', b"etc/disk"), b"")
        .file("etc/large", &[b'x'; 2000])
        .file("etc/just", &[b'x'; 1000])
        .pax(&[
            ("GNU.sparse.map", b"0,1"),
            ("GNU.sparse.size", b"10000000000"),
            ("GNU.sparse.name", b"etc/sparse"),
        ])
        .put(&Head { path: b"s", size: 1, ..Head::default() }, b"x")
        .end();
    let hold = unpack(&store, &archive).unwrap();
    let read = |path: &str| store.read_in_root(&[hold.diff_id()], path, 1000);
    for path in [
        "etc/passwd",
        "/etc/passwd",
        "etc/link",
        "etc/absolute",
        "dir/passwd",
        "dir/../etc/./passwd",
        "../etc/passwd",
    ] {
        assert!(read(path).unwrap().unwrap().starts_with(b"root:"), "{path}");
    }
    for path in ["etc/out", "etc/proc", "etc/none", "none/passwd", "etc/passwd/x"] {
        assert_eq!(read(path).unwrap(), None, "{path}");
    }
    for (path, words) in [
        ("etc/fifo", "pipe"),
        ("etc/zero", "device"),
        ("etc/disk", "device"),
        ("etc", "directory"),
        ("dir", "directory"),
        ("/", "directory"),
        ("etc/loop", "links"),
        ("etc/large", "larger"),
        ("etc/sparse", "larger"),
    ] {
        let error = read(path).unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt, "{path}: {error}");
        assert!(error.to_string().contains(words), "{path}: {error}");
    }
    assert_eq!(read("etc/just").unwrap().unwrap().len(), 1000);
}

#[test]
fn a_higher_layer_decides() {
    let (_directory, store) = store();
    let lower = Tar::new()
        .file("etc/passwd", b"lower")
        .file("etc/group", b"lower")
        .symlink("lib", "usr/lib")
        .file("usr/lib/x", b"x");
    let middle = Tar::new().file("etc/passwd", b"middle").file("etc/.wh.group", b"");
    let upper = Tar::new().file("etc/group", b"upper").file("lib/y", b"y");
    let holds: Vec<_> =
        [lower, middle, upper].into_iter().map(|tar| unpack(&store, &tar.end()).unwrap()).collect();
    let ids: Vec<_> = holds.iter().map(orlop_image::LayerHold::diff_id).collect();
    let read = |count: usize, path: &str| store.read_in_root(&ids[..count], path, 100).unwrap();
    assert_eq!(read(1, "etc/passwd").unwrap(), b"lower");
    assert_eq!(read(2, "etc/passwd").unwrap(), b"middle");
    assert_eq!((read(2, "etc/group"), read(3, "etc/group").unwrap()), (None, b"upper".to_vec()));
    assert_eq!(read(2, "lib/x").unwrap(), b"x");
    // As everywhere: a directory of a layer hides what lower layers have there, also a link.
    assert_eq!((read(3, "lib/x"), read(3, "lib/y").unwrap()), (None, b"y".to_vec()));
    assert_eq!(
        store.read_in_root(&[], "etc/passwd", 100).unwrap(),
        None,
        "an image without layers has no files"
    );
    let absent = [orlop_image::digest_of(b"none")];
    assert_eq!(store.read_in_root(&absent, "x", 1).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn a_part_of_an_image_is_what_the_image_shows_there() {
    let (directory, store) = store();
    let lower = Tar::new()
        .file("srv/data/old", b"lower")
        .file("srv/data/both", b"lower")
        .file("srv/data/gone", b"lower")
        .symlink("link", "/srv/../srv/data")
        .symlink("out", "../../../../../../../../../tmp")
        .symlink("host", "/proc/self/root/tmp")
        .symlink("loop", "loop");
    let upper = Tar::new()
        .file("srv/data/both", b"upper")
        .file("srv/data/.wh.gone", b"")
        .file("srv/data/new", b"upper")
        .file("file", b"");
    let holds: Vec<_> = [lower, upper].into_iter().map(|tar| unpack(&store, &tar.end()).unwrap()).collect();
    let ids: Vec<_> = holds.iter().map(orlop_image::LayerHold::diff_id).collect();
    let part = |path: &str| store.part(&ids, path).unwrap();
    for path in ["srv/data", "/srv//data/.", "link", "link/../data", "../srv/data"] {
        let Part::Directory(layers) = part(path) else { panic!("{path}: {:?}", part(path)) };
        assert!(
            layers.len() == 2 && layers.iter().all(|layer| layer.starts_with(directory.path())),
            "{path}"
        );
        assert!(layers.iter().all(|layer| layer.ends_with("srv/data")), "links are resolved: {layers:?}");
        let seen = mounted(&layers, |root| {
            let read = |name: &str| std::fs::read_to_string(root.join(name)).ok();
            (read("old"), read("both"), read("new"), read("gone"), root.read_dir().unwrap().count())
        });
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(seen, (some("lower"), some("upper"), some("upper"), None, 3), "{path}");
    }
    // What leads out leads to the image's own root, where there is no such thing.
    for path in ["out", "host", "none", "srv/none", "file/x"] {
        assert_eq!(part(path), Part::Nothing, "{path}");
    }
    assert_eq!(part("file"), Part::Other);
    assert!(matches!(part(""), Part::Directory(roots) if roots.len() == 2));
    assert_eq!(store.part(&ids, "loop").unwrap_err().kind(), Kind::Corrupt);
}
