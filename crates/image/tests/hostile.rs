//! Layers that lie, climb, swell or are cut: each is refused with a reason, or made harmless; nothing outside is touched, nothing is
//! left. The rows follow the classes of hostile layers in docs/decisions/0010-layers.md.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod making;

use making::judge::{Accepted, Alone, CORRUPT, Place, Refused, Verdict};
use making::{Head, Tar, announced, block, gzip, names, record, sealed, store, zstd};
use orlop_image::{Compression, LayerBlob, Store, digest_of};
use orlop_model::report::Kind;

/// For many files: some disks take long to make them, and that is not what is tested.
fn judge_in_memory(name: &str, archive: &[u8], verdict: &Verdict) {
    let blob = gzip(archive);
    let layer = announced(&blob, Compression::Gzip, archive);
    making::in_memory("size=2g", |directory| Place::at(directory).judge(name, &layer, &blob, verdict));
}

fn file(path: &[u8]) -> Head<'_> {
    Head { path, size: 1, ..Head::default() }
}

/// A header with one of its fields overwritten.
fn with(head: &Head<'_>, at: usize, bytes: &[u8]) -> [u8; 512] {
    let mut block = block(head);
    block[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(block)
}

#[test]
fn paths_stay_inside() {
    let up = "../../../../outside/canary";
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        ("climbing", Tar::new().file(up, b"x"), Accepted(&["outside/canary"])),
        (
            "climbing behind a part",
            Tar::new().file(&format!("a/../{up}"), b"x"),
            Accepted(&["outside/canary"]),
        ),
        ("absolute", Tar::new().file("/outside/canary", b"x"), Accepted(&["outside/canary"])),
        (
            "through a climbing link",
            Tar::new().symlink("esc", "../../../../outside").file("esc/canary", b"x"),
            Accepted(&["outside/canary", "esc"]),
        ),
        (
            "through a link to a link",
            Tar::new().symlink("a", "../../../..").symlink("b", "a/outside").file("b/canary", b"x"),
            Accepted(&["outside/canary"]),
        ),
        (
            "through a link of procfs",
            Tar::new().symlink("p", "/proc/self/root").file("p/tmp/x", b"x"),
            Accepted(&["proc/self/root/tmp/x"]),
        ),
        (
            "a directory over a link",
            Tar::new().symlink("d", "../../../../outside").dir("d", 0o777),
            Accepted(&["d"]),
        ),
        (
            "a file over a link",
            Tar::new().symlink("f", &format!("../{up}")).file("f", b"x"),
            Accepted(&["f"]),
        ),
    ];
    Place::judge_all(rows);
}

#[test]
fn paths_end_where_the_kernel_says() {
    let deep = "d/".repeat(2000);
    let long = "n".repeat(255);
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        (
            "links in a circle",
            Tar::new().symlink("a", "b").symlink("b", "a").file("a/x", b"x"),
            Refused(CORRUPT, "40 links"),
        ),
        (
            "links that grow",
            Tar::new().symlink("a", "a/a/a/a").file("a/x", b"x"),
            Refused(CORRUPT, "40 links"),
        ),
        ("below a file", Tar::new().file("f", b"x").file("f/x", b"x"), Refused(CORRUPT, "no directory")),
        ("the root as a file", Tar::new().file("./", b""), Accepted(&[])),
        ("the root as a link", Tar::new().symlink("./.", "/"), Refused(CORRUPT, "root")),
        ("a long name", Tar::new().pax(&[("path", long.as_bytes())]).put(&file(b"x"), b"x"), Accepted(&[])),
        (
            "a name that is too long",
            Tar::new().pax(&[("path", "n".repeat(256).as_bytes())]).put(&file(b"x"), b"x"),
            Refused(CORRUPT, "nnn"),
        ),
        (
            "2000 deep",
            Tar::new().pax(&[("path", (deep.clone() + "f").as_bytes())]).put(&file(b"x"), b"x"),
            Accepted(&["d/d/d"]),
        ),
        (
            "deeper than a path",
            Tar::new().pax(&[("path", ("d/".repeat(3000) + "f").as_bytes())]).put(&file(b"x"), b"x"),
            Refused(CORRUPT, "too long"),
        ),
        (
            "deeper through a link, again and again",
            (0..20).fold(
                Tar::new().pax(&[("path", (deep.clone() + "f").as_bytes())]).put(&file(b"x"), b"x"),
                |tar, number| {
                    tar.symlink(
                        &format!("l{number}"),
                        &if number == 0 { deep.clone() } else { format!("l{}", number - 1) },
                    )
                    .file(&format!("l{number}/{number}/x"), b"x")
                },
            ),
            Accepted(&["d/d/d"]),
        ),
    ];
    Place::judge_all(rows);
}

#[test]
fn hard_links_name_files_of_the_image() {
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        (
            "outside",
            Tar::new().link("h", "../../../../outside/canary"),
            Refused(CORRUPT, "outside its layer"),
        ),
        ("absolute", Tar::new().file("f", b"x").link("h", "/f"), Accepted(&["h"])),
        ("missing", Tar::new().link("h", "etc/shadow"), Alone("neither in its layer nor in a lower one")),
        ("itself", Tar::new().link("h", "./h"), Refused(CORRUPT, "itself")),
        ("itself, over a file", Tar::new().file("h", b"x").link("h", "h"), Refused(CORRUPT, "itself")),
        ("a directory", Tar::new().dir("d", 0o755).link("h", "d"), Refused(CORRUPT, "directory")),
        ("the root", Tar::new().link("h", "/"), Refused(CORRUPT, "outside its layer")),
        (
            "through a link that leads out",
            Tar::new().symlink("esc", "../../../../outside").link("h", "esc/canary"),
            Alone("neither"),
        ),
        ("in a circle", Tar::new().link("a", "b").link("b", "a"), Alone("neither")),
        ("a symbolic link", Tar::new().symlink("s", "/etc/shadow").link("h", "s"), Accepted(&["h"])),
        ("a parent of itself", Tar::new().file("a/b", b"x").link("a", "a/b"), Refused(CORRUPT, "a: ")),
        ("with a whiteout as target", Tar::new().file(".wh.f", b"").link("h", "f"), Alone("neither")),
    ];
    Place::judge_all(rows);
}

#[test]
fn whiteouts_hide_and_do_nothing_else() {
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        ("of nothing", Tar::new().file(".wh.", b""), Refused(CORRUPT, "whiteout of nothing")),
        ("of here", Tar::new().file("d/.wh..", b""), Refused(CORRUPT, "whiteout of nothing")),
        ("of above", Tar::new().file("d/.wh...", b""), Refused(CORRUPT, "whiteout of nothing")),
        ("AUFS's own", Tar::new().dir(".wh..wh.plnk", 0o700).file(".wh..wh.aufs", b""), Accepted(&[])),
        (
            "through a link that leads out",
            Tar::new().symlink("esc", "../../../../outside").file("esc/.wh.canary", b""),
            Accepted(&["outside/canary"]),
        ),
        (
            "opaque through a link that leads out",
            Tar::new().symlink("esc", "../../../../outside").file("esc/.wh..wh..opq", b""),
            Accepted(&["outside"]),
        ),
        ("as a directory with files", Tar::new().file(".wh.d/f", b"x"), Refused(CORRUPT, "reserved")),
        ("with a body", Tar::new().file(".wh.f", b"a body"), Accepted(&["f"])),
        ("twice", Tar::new().file(".wh.f", b"").file(".wh.f", b""), Accepted(&["f"])),
    ];
    Place::judge_all(rows);
}

#[test]
fn nodes_and_attributes() {
    let node = |kind, device| Head { path: b"n", kind, device, ..Head::default() };
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        ("memory", Tar::new().put(&node(b'3', (1, 1)), b""), Accepted(&["n"])),
        ("a disk", Tar::new().put(&node(b'4', (8, 0)), b""), Accepted(&["n"])),
        ("overlay's whiteout", Tar::new().put(&node(b'3', (0, 0)), b""), Accepted(&["n"])),
        ("no such device", Tar::new().put(&node(b'3', (5000, 0)), b""), Refused(CORRUPT, "device number")),
        ("set-id", Tar::new().put(&Head { mode: 0o6755, ..file(b"s") }, b"x"), Accepted(&["s"])),
        (
            "attributes that steer",
            Tar::new()
                .pax(&[
                    ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
                    ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
                    ("SCHILY.xattr.user.overlay.metacopy", b""),
                    ("SCHILY.xattr.security.x", b"1"),
                    ("SCHILY.xattr.", b"1"),
                ])
                .put(&file(b"f"), b"x"),
            Accepted(&["f"]),
        ),
        (
            "capabilities that are none",
            Tar::new().pax(&[("SCHILY.xattr.security.capability", b"nonsense")]).put(&file(b"f"), b"x"),
            Refused(CORRUPT, "f: "),
        ),
    ];
    Place::judge_all(rows);
}

#[test]
fn sizes_are_refused_before_anything_is_written() {
    let huge = (1_u64 << 40).to_string();
    let map = |map: &[u8], size: &[u8]| {
        let records = [("GNU.sparse.map", map), ("GNU.sparse.size", size), ("GNU.sparse.name", b"s")];
        Tar::new().pax(&records.map(|(key, value)| (key, value)))
    };
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        (
            "a sparse TiB",
            map(b"0,1", huge.as_bytes()).put(&file(b"s"), b"x"),
            Refused(Kind::Exhausted, "allowed"),
        ),
        (
            "a TiB",
            Tar::new().pax(&[("size", huge.as_bytes())]).put(&file(b"f"), b"x"),
            Refused(Kind::Exhausted, "allowed"),
        ),
        ("negative", Tar::new().raw(&with(&file(b"f"), 124, &[0xff; 12])), Refused(CORRUPT, "negative")),
        (
            "2^63",
            Tar::new().raw(&with(&file(b"f"), 124, b"\x80\0\0\0\x80\0\0\0\0\0\0\0")),
            Refused(CORRUPT, "no number that fits"),
        ),
        (
            "no number",
            Tar::new().raw(&with(&file(b"f"), 124, b"12x45678901\0")),
            Refused(CORRUPT, "no number"),
        ),
        (
            "two sizes",
            Tar::new().pax(&[("size", b"600")]).put(&file(b"f"), &[1; 600]),
            Refused(CORRUPT, "extended header"),
        ),
        (
            "pax of nothing",
            Tar::new().pax(&[("size", b"-1")]).put(&file(b"f"), b"x"),
            Refused(CORRUPT, "no number"),
        ),
        (
            "more than there is",
            Tar::new().put(&Head { size: 1 << 30, ..file(b"f") }, b"x"),
            Refused(CORRUPT, "in the middle"),
        ),
        (
            "overlapping pieces",
            map(b"0,1,0,1", b"9").put(&Head { size: 2, ..file(b"s") }, b"xy"),
            Refused(CORRUPT, "overlaps"),
        ),
        ("pieces outside", map(b"9,1", b"9").put(&file(b"s"), b"x"), Refused(CORRUPT, "overlaps or leaves")),
        ("pieces unaccounted", map(b"0,2", b"9").put(&file(b"s"), b"x"), Refused(CORRUPT, "account")),
        (
            "pieces beyond 2^64",
            map(b"18446744073709551615,2", b"9").put(&file(b"s"), b"x"),
            Refused(CORRUPT, "leaves"),
        ),
        ("half a piece", map(b"0", b"9").put(&file(b"s"), b"x"), Refused(CORRUPT, "not known")),
        ("a sparse directory", map(b"", b"0").dir("d", 0o755), Refused(CORRUPT, "no number")),
    ];
    Place::judge_all(rows);
}

#[test]
fn headers_are_limited_and_checked() {
    let meta = |kind, size| Head { path: b"m", kind, size, ..Head::default() };
    let id = |field: &str, value: &[u8]| Tar::new().pax(&[(field, value)]).put(&file(b"f"), b"x");
    let chain = record("comment", &vec![b'c'; 60_000]);
    let many = (0..20).fold(Tar::new(), |tar, _| tar.put(&meta(b'x', chain.len() as u64), &chain));
    let empty = (0..40).fold(Tar::new(), |tar, _| tar.put(&meta(b'g', 0), b""));
    let mut broken = block(&file(b"f"));
    broken[0] = b'g';
    let rows: Vec<(&str, Tar, Verdict)> = vec![
        (
            "64 MiB of extended header",
            Tar::new().put(&meta(b'x', 64 << 20), b""),
            Refused(Kind::Exhausted, "KiB of extended"),
        ),
        (
            "64 MiB of name",
            Tar::new().put(&meta(b'L', 64 << 20), b""),
            Refused(Kind::Exhausted, "KiB of extended"),
        ),
        (
            "64 MiB of link",
            Tar::new().put(&meta(b'K', 64 << 20), b""),
            Refused(Kind::Exhausted, "KiB of extended"),
        ),
        ("a chain of them", many.put(&file(b"f"), b"x"), Refused(Kind::Exhausted, "KiB of extended")),
        ("empty ones", empty.put(&file(b"f"), b"x"), Accepted(&["f"])),
        ("one at the end", Tar::new().pax(&[("path", b"f")]), Refused(CORRUPT, "after an extended header")),
        ("a lying length", Tar::new().put(&meta(b'x', 9), b"99 path=f"), Refused(CORRUPT, "malformed")),
        ("a bad checksum", Tar::new().raw(&broken), Refused(CORRUPT, "checksum")),
        ("no header", Tar::new().raw(&[b'x'; 512]), Refused(CORRUPT, "checksum")),
        (
            "an unknown kind",
            Tar::new().put(&Head { kind: b'Z', ..file(b"f") }, b"x"),
            Refused(CORRUPT, "unknown kind 'Z'"),
        ),
        ("a NUL in a name", id("path", b"a\0b"), Refused(CORRUPT, "NUL")),
        ("a time of nan", id("mtime", b"nan"), Accepted(&["f"])),
        ("a time of 2^63", id("mtime", b"9223372036854775808"), Accepted(&["f"])),
        ("a time before all", id("mtime", b"-9223372036854775808.5"), Accepted(&["f"])),
        ("the uid of no change", id("uid", b"4294967295"), Refused(CORRUPT, "uid 4294967295")),
        ("a uid of 2^32", id("uid", b"4294967296"), Refused(CORRUPT, "uid 4294967296")),
        ("a gid of 2^64", id("gid", b"18446744073709551616"), Refused(CORRUPT, "gid")),
        ("a negative uid", Tar::new().raw(&with(&file(b"f"), 108, &[0xff; 8])), Refused(CORRUPT, "negative")),
        ("a link to nothing", Tar::new().symlink("s", ""), Refused(CORRUPT, "link to nothing")),
        (
            "a name of GNU's",
            Tar::new().put(&meta(b'L', 5), b"gnu/f").put(&file(b"f"), b"x"),
            Accepted(&["gnu/f"]),
        ),
        (
            "a global header",
            Tar::new().put(&meta(b'g', 10), &record("path", b"x")).put(&file(b"f"), b"x"),
            Accepted(&["f"]),
        ),
    ];
    Place::judge_all(rows);
    let place = Place::new();
    place.judge_archive("nothing at all", &[], &Accepted(&[]));
    place.judge_archive("without an end", &Tar::new().file("f", b"x").0, &Accepted(&["f"]));
    place.judge_archive(
        "junk after the end",
        &[Tar::new().file("f", b"x").end(), vec![7; 9999]].concat(),
        &Accepted(&["f"]),
    );
    place.judge_archive("half a header", &[1; 100], &Refused(CORRUPT, "in the middle"));
}

#[test]
fn streams_that_are_cut_or_damaged() {
    let archive =
        Tar::new().file("f", &(0..200_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>()).end();
    let (gz, zs) = (gzip(&archive), zstd(&archive));
    let changed = |blob: &[u8], at: usize| {
        let mut blob = blob.to_vec();
        blob[at] ^= 1;
        blob
    };
    // A frame that wants a window of 2^31 bytes: magic, no single segment, exponent 21, then an empty last block.
    let window = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 21 << 3, 0x01, 0x00, 0x00].to_vec();
    let rows: Vec<(&str, Vec<u8>, Compression, &str)> = vec![
        ("gzip, cut", gz[..gz.len() - 9].to_vec(), Compression::Gzip, "gzip stream"),
        ("gzip, cut in its header", gz[..5].to_vec(), Compression::Gzip, "gzip stream"),
        ("gzip, bad checksum", changed(&gz, gz.len() - 6), Compression::Gzip, "gzip stream"),
        ("gzip, bad length", changed(&gz, gz.len() - 1), Compression::Gzip, "gzip stream"),
        (
            "gzip, junk behind",
            [&gz[..], b"junk, more than a header"].concat(),
            Compression::Gzip,
            "gzip stream",
        ),
        ("zstd, cut", zs[..zs.len() - 9].to_vec(), Compression::Zstd, "zstd stream"),
        ("zstd, junk behind", [&zs[..], b"junk"].concat(), Compression::Zstd, "zstd stream"),
        ("zstd, a window of 2 GiB", window, Compression::Zstd, "zstd stream"),
        ("gzip said, zstd sent", zs.clone(), Compression::Gzip, "gzip stream"),
        ("zstd said, gzip sent", gz.clone(), Compression::Zstd, "zstd stream"),
        ("gzip said, plain sent", archive.clone(), Compression::Gzip, "gzip stream"),
        ("plain said, gzip sent", gz.clone(), Compression::Plain, "tar archive"),
        ("nothing", Vec::new(), Compression::Zstd, "zstd stream"),
    ];
    let place = Place::new();
    for (name, blob, compression, words) in rows {
        place.judge(name, &announced(&blob, compression, &archive), &blob, &Refused(CORRUPT, words));
    }
}

#[test]
fn claims_are_not_believed() {
    let archive = Tar::new().file("f", b"x").end();
    let blob = gzip(&archive);
    let good = announced(&blob, Compression::Gzip, &archive);
    let with = |change: fn(&mut LayerBlob)| {
        let mut layer = good.clone();
        change(&mut layer);
        layer
    };
    let rows = [
        ("digest", with(|layer| layer.descriptor.digest = digest_of(b"other")), "has the digest"),
        ("size, too small", with(|layer| layer.descriptor.size -= 1), "goes on after"),
        ("size, too large", with(|layer| layer.descriptor.size += 1), "ends after"),
        ("size, nothing", with(|layer| layer.descriptor.size = 0), "goes on after"),
        ("size, without end", with(|layer| layer.descriptor.size = u64::MAX), "ends after"),
        ("diffID", with(|layer| layer.diff_id = digest_of(b"other")), "unpacks to"),
    ];
    let place = Place::new();
    for (name, layer, words) in rows {
        place.judge(name, &layer, &blob, &Refused(CORRUPT, words));
    }
}

#[test]
fn a_layer_that_is_here_is_not_had_by_claiming_it() {
    let (_directory, store) = store();
    let secret = Tar::new().file("secret", b"1").end();
    let held = making::unpack(&store, &secret).unwrap();
    let other = gzip(&Tar::new().file("mine", b"2").end());
    let claim = LayerBlob { diff_id: held.diff_id(), ..announced(&other, Compression::Gzip, b"") };
    assert!(store.hold_verified(claim.descriptor.digest, claim.diff_id).unwrap().is_none());
    let error = store.unpack(&claim, other.as_slice(), &|_| ()).unwrap_err();
    assert!(error.to_string().contains("unpacks to"), "{error}");
    // And a blob that was seen to be one thing is no other, without a fetch.
    let seen = gzip(&secret);
    let error = store.hold_verified(digest_of(&seen), digest_of(b"other")).unwrap_err();
    assert_eq!(error.kind(), CORRUPT);
}

#[test]
fn a_source_that_fails_is_no_fault_of_the_layer() {
    struct Fails(usize);
    impl std::io::Read for Fails {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            self.0 -= 1;
            if self.0 == 0 {
                Err(std::io::Error::other("the wire"))
            } else {
                into.fill(0);
                Ok(into.len())
            }
        }
    }
    let (_directory, store) = store();
    let layer = LayerBlob {
        descriptor: orlop_image::Descriptor {
            size: 1 << 40,
            ..announced(b"", Compression::Plain, b"").descriptor
        },
        ..announced(b"", Compression::Plain, b"")
    };
    let error = store.unpack(&layer, Fails(50), &|_| ()).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error}");
    assert!(names(&store, "ingest").is_empty());
}

#[test]
fn a_hundred_thousand_entries() {
    let tar = (0..100_000).fold(Tar::new(), |tar, number| match number % 3 {
        0 => tar.file(&format!("d{}/f{number}", number / 1000), b""),
        1 => tar.symlink(&format!("d{}/l{number}", number / 1000), "x"),
        _ => tar.dir(&format!("d{}/d{number}", number / 1000), 0o755),
    });
    judge_in_memory("100,000 entries", &tar.end(), &Accepted(&["d0/f0", "d99/f99999"]));
}

#[test]
fn a_deep_tree_up_and_down() {
    let paths: Vec<String> = (1..1500).map(|depth| "d/".repeat(depth)).collect();
    let down = paths.iter().fold(Tar::new(), |tar, path| {
        tar.pax(&[("path", path.as_bytes())])
            .put(&Head { path: b"x", kind: b'5', mode: 0o755, ..Head::default() }, b"")
    });
    let up = paths
        .iter()
        .rev()
        .fold(down, |tar, path| tar.pax(&[("path", format!("{path}f").as_bytes())]).put(&file(b"x"), b"x"));
    judge_in_memory("up and down", &up.end(), &Accepted(&["d/f", "d/d/d/f"]));
}

#[test]
fn a_file_system_is_not_filled_to_its_end() {
    let body: Vec<u8> =
        (0..12_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let archive = Tar::new().file("big", &body).end();
    let many = (0..3000).fold(Tar::new(), |tar, number| tar.file(&format!("f{number}"), b"")).end();
    making::in_memory("size=32m,nr_inodes=2500", |directory| {
        let store = Store::open(&directory.join("store")).unwrap();
        for (archive, unit) in [(&archive, "KiB"), (&many, "inodes")] {
            let layer = announced(archive, Compression::Plain, archive);
            let error = store.unpack(&layer, archive.as_slice(), &|_| ()).unwrap_err();
            assert_eq!(error.kind(), Kind::Exhausted, "{error}");
            assert!(error.to_string().contains(unit), "{error}");
            assert!(names(&store, "ingest").is_empty());
        }
        let small = Tar::new().file("small", b"fits").end();
        assert_eq!(making::unpack(&store, &small).unwrap().diff_id(), digest_of(&small));
    });
}
