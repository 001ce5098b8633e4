//! Good layers become the trees that they describe, alone and on top of each other, as a real overlay mount shows them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod making;

use making::{Head, Tar, announced, gzip, listing, mounted, names, store, unpack, zstd};
use orlop_image::{Compression, LayerHold, Store};

fn ids(holds: &[LayerHold]) -> Vec<orlop_model::reference::Digest> {
    holds.iter().map(LayerHold::diff_id).collect()
}

fn layer_path(store: &Store, hold: &LayerHold) -> std::path::PathBuf {
    store.layer(hold.diff_id()).unwrap().path
}

#[test]
fn one_layer_has_all_that_its_archive_says() {
    let (_directory, store) = store();
    let long = "d/".repeat(60) + "file";
    let archive = Tar::new()
        .put(&Head { path: b"./", kind: b'5', mode: 0o750, uid: 3, gid: 4, mtime: 5, ..Head::default() }, b"")
        .dir("bin/", 0o755)
        .pax(&[
            ("SCHILY.xattr.user.note", b"a\nb=c"),
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            ("SCHILY.xattr.security.selinux", b"dropped"),
            ("mtime", b"1234567890.5"),
            ("uid", b"70000"),
        ])
        .put(&Head { path: b"bin/tool", mode: 0o4755, size: 5, gid: 7, ..Head::default() }, b"hello")
        .link("bin/same", "bin/tool")
        .symlink("bin/sh", "/bin/tool")
        .put(&Head { path: b"dev-null", kind: b'3', mode: 0o666, device: (1, 3), ..Head::default() }, b"")
        .put(&Head { path: b"disk", kind: b'4', mode: 0o600, device: (8, 1), ..Head::default() }, b"")
        .put(&Head { path: b"pipe", kind: b'6', mode: 0o622, uid: 1, ..Head::default() }, b"")
        .put(&Head { path: b"\xff\n:,\\", size: 1, ..Head::default() }, b"x")
        .pax(&[("path", long.as_bytes())])
        .put(&Head { path: b"short", size: 1, ..Head::default() }, b"y")
        .dir("set", 0o2775)
        .file("set/inside", b"")
        .end();
    let hold = unpack(&store, &archive).unwrap();
    let lines = listing(&layer_path(&store, &hold));
    let has =
        |line: &str| assert!(lines.iter().any(|have| have == line), "{line} is not in\n{}", lines.join("\n"));
    has(" d750 3:4 5");
    has("bin d755 0:0 1000000000");
    let tool = "4755 70000:7 1234567890 5x2 \
        security.capability=\\x01\\x00\\x00\\x02\\x00 \\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00 \
        user.note=a\\nb=c";
    has(&format!("bin/tool -{tool}"));
    has(&format!("bin/same -{tool}"));
    has("bin/sh l777 0:0 1000000000 -> /bin/tool");
    has(&format!("dev-null c666 0:0 1000000000 {}", 1 << 8 | 3));
    has(&format!("disk b600 0:0 1000000000 {}", 8 << 8 | 1));
    has("pipe p622 1:0 1000000000");
    has("\\xff\\n:,\\\\ -644 0:0 1000000000 1x1");
    has(&format!("{long} -644 0:0 1000000000 1x1"));
    has("set d2775 0:0 1000000000");
    has("set/inside -644 0:0 1000000000 0x1");
    // 60 implied directories, 2 announced ones, the root, and 8 files: hard links count once.
    assert_eq!(store.layer(hold.diff_id()).unwrap().usage.inodes, 60 + 2 + 1 + 8);
    assert_eq!(store.usage(), store.layer(hold.diff_id()).unwrap().usage);
}

#[test]
fn every_packing_gives_the_same_layer_and_it_is_kept_once() {
    let (_directory, store) = store();
    let archive = Tar::new().file("a", &vec![b'a'; 3 << 20]).file("b", b"b").end();
    let (one, two) = archive.split_at(archive.len() / 2);
    let members: Vec<u8> = [gzip(one), gzip(b""), gzip(two)].concat();
    let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &zstd(one), &zstd(two)].concat();
    let mut holds = Vec::new();
    for (blob, compression) in [
        (gzip(&archive), Compression::Gzip),
        (members, Compression::Gzip),
        (zstd(&archive), Compression::Zstd),
        (skippable, Compression::Zstd),
        (archive.clone(), Compression::Plain),
    ] {
        let layer = announced(&blob, compression, &archive);
        assert!(
            store.hold_verified(layer.descriptor.digest, layer.diff_id).unwrap().is_none(),
            "not seen yet"
        );
        let unpacked = std::sync::atomic::AtomicU64::new(0);
        let count = |bytes| {
            unpacked.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        };
        holds.push(store.unpack(&layer, blob.as_slice(), &count).unwrap());
        assert_eq!(unpacked.into_inner(), archive.len() as u64);
        assert!(store.hold_verified(layer.descriptor.digest, layer.diff_id).unwrap().is_some());
    }
    assert_eq!(names(&store, "layers").len(), 1);
    assert!(names(&store, "ingest").is_empty());
}

#[test]
fn a_million_members_are_one_stream() {
    let (_directory, store) = store();
    let archive = Tar::new().file("a", b"a").end();
    let empty = gzip(b"");
    let blob = [empty.repeat(200_000), gzip(&archive)].concat();
    let hold =
        store.unpack(&announced(&blob, Compression::Gzip, &archive), blob.as_slice(), &|_| ()).unwrap();
    assert_eq!(hold.diff_id(), orlop_image::digest_of(&archive));
}

#[test]
fn sparse_files_keep_their_holes() {
    use std::os::unix::fs::MetadataExt;
    let (_directory, store) = store();
    let size = 1_u64 << 30;
    let body = [&b"1\n4096\n3\n"[..], &[0; 503], b"abc"].concat();
    let mut old = making::block(&Head { path: b"old", kind: b'S', size: 3, ..Head::default() });
    old[257..265].copy_from_slice(b"ustar  \0");
    old[386..398].copy_from_slice(b"00000010000\0");
    old[398..410].copy_from_slice(b"00000000003\0");
    old[483..495].copy_from_slice(format!("{size:011o}\0").as_bytes());
    let sizes = size.to_string();
    let archive = Tar::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"one"),
            ("GNU.sparse.realsize", sizes.as_bytes()),
        ])
        .put(&Head { path: b"GNUSparseFile.0/one", size: body.len() as u64, ..Head::default() }, &body)
        .pax(&[
            ("GNU.sparse.size", sizes.as_bytes()),
            ("GNU.sparse.map", b"4096,3"),
            ("GNU.sparse.name", b"zero"),
        ])
        .put(&Head { path: b"x", size: 3, ..Head::default() }, b"abc")
        .raw(&making::sealed(old))
        .raw(&[&b"abc"[..], &[0; 509]].concat())
        .file("zeros", &vec![0; 8 << 20])
        .end();
    let hold = unpack(&store, &archive).unwrap();
    let root = layer_path(&store, &hold);
    for name in ["one", "zero", "old"] {
        let about = std::fs::metadata(root.join(name)).unwrap();
        assert_eq!(about.len(), size, "{name}");
        assert!(about.blocks() * 512 <= 64 << 10, "{name} has {} blocks", about.blocks());
        let file = std::fs::File::open(root.join(name)).unwrap();
        let mut bytes = [9; 5];
        std::os::unix::fs::FileExt::read_exact_at(&file, &mut bytes, 4095).unwrap();
        assert_eq!(&bytes, b"\0abc\0", "{name}");
    }
    let zeros = std::fs::metadata(root.join("zeros")).unwrap();
    assert_eq!((zeros.len(), zeros.blocks()), (8 << 20, 0));
}

#[test]
fn later_entries_win_and_what_they_replace_is_not_counted() {
    let (_directory, store) = store();
    let archive = Tar::new()
        .dir("tree", 0o755)
        .file("tree/a", &[1; 9000])
        .file("tree/b", b"b")
        .file("tree", b"now a file")
        .file("file", b"1")
        .link("other", "file")
        .file("file", b"2, and the other name keeps 1")
        .symlink("turn", "/etc")
        .dir("turn", 0o700)
        .file("turn/passwd", b"inside")
        .file("in-way", b"")
        .dir("in-way", 0o711)
        .end();
    let hold = unpack(&store, &archive).unwrap();
    let root = layer_path(&store, &hold);
    assert_eq!(std::fs::read(root.join("tree")).unwrap(), b"now a file");
    assert_eq!(std::fs::read(root.join("other")).unwrap(), b"1");
    assert!(std::fs::read(root.join("file")).unwrap().starts_with(b"2"));
    assert!(std::fs::symlink_metadata(root.join("turn")).unwrap().is_dir());
    assert_eq!(store.layer(hold.diff_id()).unwrap().usage.inodes, listing(&root).len() as u64);
}

#[test]
fn links_of_a_layer_are_followed_inside_it() {
    let (_directory, store) = store();
    let archive = Tar::new()
        .dir("usr", 0o755)
        .symlink("lib", "usr/lib")
        .symlink("up", "../../../../usr")
        .symlink("abs", "/usr/abs")
        .file("lib/one", b"1")
        .file("up/two", b"2")
        .file("abs/three", b"3")
        .file("lib/../four", b"4")
        .file("/five", b"5")
        .file("../../six", b"6")
        .end();
    let hold = unpack(&store, &archive).unwrap();
    let root = layer_path(&store, &hold);
    for (path, body) in [
        ("usr/lib/one", "1"),
        ("usr/two", "2"),
        ("usr/abs/three", "3"),
        ("four", "4"),
        ("five", "5"),
        ("six", "6"),
    ] {
        assert_eq!(std::fs::read_to_string(root.join(path)).unwrap(), body, "{path}");
    }
}

/// Three layers with everything that one does to another.
fn three() -> [Vec<u8>; 3] {
    let at = |path: &'static str, kind, mode, uid, mtime| Head {
        path: path.as_bytes(),
        kind,
        mode,
        uid,
        mtime,
        ..Head::default()
    };
    let lowest = Tar::new()
        .put(&at("./", b'5', 0o711, 9, 1), b"")
        .put(&at("srv", b'5', 0o1777, 5, 100), b"")
        .pax(&[("SCHILY.xattr.user.who", b"lowest")])
        .put(&at("srv/deep", b'5', 0o770, 6, 200), b"")
        .file("srv/deep/keep", b"keep")
        .file("srv/deep/gone", b"gone")
        .file("old/a", b"a")
        .file("old/b", b"b")
        .file("tree/x", b"x")
        .put(&Head { path: b"base", size: 4, uid: 77, mode: 0o4711, ..Head::default() }, b"base")
        .symlink("l", "srv/deep")
        .end();
    let middle = Tar::new()
        .file("srv/deep/.wh.gone", b"")
        .file("srv/deep/new", b"new")
        .file("old/c", b"c")
        .file("old/.wh..wh..opq", b"")
        .file(".wh.tree", b"")
        .link("linked", "base")
        .link("srv/deep/linked-too", "linked")
        .link("hidden-later", "base")
        .end();
    let upper = Tar::new()
        .file("tree/y", b"y")
        .file("hidden-later", b"another")
        .link("through", "l/keep")
        .file("implied/by/none", b"")
        .end();
    [lowest, middle, upper]
}

#[test]
fn three_layers_are_one_root() {
    let (_directory, store) = store();
    let holds: Vec<_> = three().iter().map(|archive| unpack(&store, archive).unwrap()).collect();
    let chain = store.chain(&ids(&holds)).unwrap();
    assert_eq!(chain.len(), 4, "three layers and what settles them");
    let lines = mounted(&chain, listing);
    let expected = [
        " d711 9:0 1",
        "base -4711 77:0 1000000000 4x3",
        "hidden-later -644 0:0 1000000000 7x1",
        "implied d755 0:0 1000000000",
        "implied/by d755 0:0 1000000000",
        "implied/by/none -644 0:0 1000000000 0x1",
        "l l777 0:0 1000000000 -> srv/deep",
        "linked -4711 77:0 1000000000 4x3",
        "old d755 0:0 1000000000",
        "old/c -644 0:0 1000000000 1x1",
        "srv d1777 5:0 100",
        "srv/deep d770 6:0 200 user.who=lowest",
        "srv/deep/keep -644 0:0 1000000000 4x2",
        "srv/deep/linked-too -4711 77:0 1000000000 4x3",
        "srv/deep/new -644 0:0 1000000000 3x1",
        "through -644 0:0 1000000000 4x2",
        "tree d755 0:0 1000000000",
        "tree/y -644 0:0 1000000000 1x1",
    ];
    assert_eq!(lines, expected);
}

#[test]
fn the_runtimes_own_look_sees_what_a_mount_shows() {
    let (_directory, store) = store();
    let holds: Vec<_> = three().iter().map(|archive| unpack(&store, archive).unwrap()).collect();
    let chain = store.chain(&ids(&holds)).unwrap();
    let lines = mounted(&chain, listing);
    for line in lines.iter().filter(|line| line.contains(" -") && !line.contains(" -> ")) {
        let path = line.split(' ').next().unwrap();
        let mine = store.read_in_root(&ids(&holds), path, 1 << 20).unwrap();
        let theirs = mounted(&chain, |root| std::fs::read(root.join(path)).unwrap());
        assert_eq!(mine, Some(theirs), "{path}");
    }
    for absent in ["srv/deep/gone", "old/a", "tree/x", "no/such", "base/x"] {
        assert_eq!(store.read_in_root(&ids(&holds), absent, 1 << 20).unwrap(), None, "{absent}");
    }
    assert_eq!(store.chain(&ids(&holds)).unwrap(), chain, "it is settled once");
    assert_eq!(store.chain(&ids(&holds[..1])).unwrap().len(), 1, "one layer needs no settling");
}

#[test]
fn a_whiteout_and_the_same_name_in_one_layer_hide_the_lower_whatever_comes_first() {
    let (_directory, store) = store();
    let lower = Tar::new()
        .dir("a", 0o755)
        .file("a/old", b"")
        .dir("b", 0o755)
        .file("b/old", b"")
        .dir("c", 0o755)
        .file("c/old", b"");
    let upper = Tar::new()
        .file(".wh.a", b"")
        .dir("a", 0o755)
        .file("a/new", b"")
        .dir("b", 0o755)
        .file("b/new", b"")
        .file(".wh.b", b"")
        .file(".wh.c", b"")
        .file("c/new", b"");
    let holds = [unpack(&store, &lower.end()).unwrap(), unpack(&store, &upper.end()).unwrap()];
    let lines = mounted(&store.chain(&ids(&holds)).unwrap(), listing);
    let paths: Vec<_> = lines.iter().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(paths, ["", "a", "a/new", "b", "b/new", "c", "c/new"]);
}

#[test]
fn opaque_markers_act_alike_wherever_they_stand() {
    let (_directory, store) = store();
    let lower = unpack(&store, &Tar::new().dir("d", 0o755).file("d/old", b"").end()).unwrap();
    for upper in [
        Tar::new().file("d/.wh..wh..opq", b"").file("d/new", b""),
        Tar::new().file("d/new", b"").file("d/.wh..wh..opq", b""),
        Tar::new().file("d/new", b"").file("d/.wh..wh..opq", b"").dir("d", 0o755),
    ] {
        let upper = unpack(&store, &upper.end()).unwrap();
        let chain = store.chain(&[lower.diff_id(), upper.diff_id()]).unwrap();
        let names = mounted(&chain, |root| listing(&root.join("d")).len());
        assert_eq!(names, 2, "d and d/new");
    }
}

#[test]
fn two_hundred_layers_are_a_chain() {
    let (_directory, store) = store();
    let holds: Vec<_> = (0..200)
        .map(|number| {
            let body = format!("{number}");
            unpack(
                &store,
                &Tar::new().file("last", body.as_bytes()).file(&format!("dir/{number}"), b"").end(),
            )
            .unwrap()
        })
        .collect();
    assert_eq!(store.read_in_root(&ids(&holds), "last", 10).unwrap().unwrap(), b"199");
    assert_eq!(store.read_in_root(&ids(&holds), "dir/0", 10).unwrap().unwrap(), b"");
}
