//! Images and their names come, are found, go; what is held stays; what a death left is put right.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod making;

use making::{Tar, names, put, store, unpack};
use orlop_image::{Image, ImageUser, LayerHold, NewImage, Removed, Store, Usage, digest_of};
use orlop_model::reference::{Digest, Reference};
use orlop_model::report::Kind;

fn layer(store: &Store, what: &str) -> LayerHold {
    unpack(store, &Tar::new().file(what, what.as_bytes()).end()).unwrap()
}

fn listed(store: &Store) -> Vec<Digest> {
    store.images().iter().map(|image| image.id).collect()
}

fn find(store: &Store, name: &str) -> Option<Digest> {
    store.resolve(name).unwrap().map(|image| image.id)
}

#[test]
fn an_image_is_found_by_all_its_names() {
    let (_directory, store) = store();
    let layers = [layer(&store, "a")];
    let id = put(&store, "busybox:1", &layers, "x").unwrap();
    let image = store.resolve("busybox:1").unwrap().unwrap();
    assert_eq!(image.tags, ["docker.io/library/busybox:1"]);
    assert_eq!(image.digests, [format!("docker.io/library/busybox@{}", image.manifest)]);
    assert_eq!((image.user.clone(), image.pinned), (ImageUser::Unset, false));
    assert!(image.created.0 > 0 && image.size > 4096);
    for name in
        ["docker.io/library/busybox:1", &id.to_string(), &id.hex(), &id.hex()[..12], &image.digests[0]]
    {
        assert_eq!(find(&store, name), Some(id), "{name}");
    }
    let prefixed = format!("sha256:{}", &id.hex()[..7]);
    assert_eq!(find(&store, &prefixed), Some(id));
    for name in
        ["busybox", "busybox:2", "other:1", "", "sha256:", "a b", &id.hex()[..3], "ABCDEF", "x@sha256:00"]
    {
        assert_eq!(find(&store, name), None, "{name}");
    }
    assert_eq!(store.config(id).unwrap().diff_ids(), [layers[0].diff_id()]);
}

#[test]
fn a_pull_by_digest_brings_no_tag() {
    let (_directory, store) = store();
    let layers = [layer(&store, "a")];
    let tagged = put(&store, "host:5000/x:1", &layers, "x").unwrap();
    let digest = store.resolve("host:5000/x:1").unwrap().unwrap().manifest;
    store.remove("host:5000/x:1").unwrap();
    let layers = [layer(&store, "a")];
    let again = put(&store, &format!("host:5000/x@{digest}"), &layers, "x").unwrap();
    let image = store.resolve(&again.to_string()).unwrap().unwrap();
    assert_eq!((tagged, image.tags.len()), (again, 0));
    assert_eq!(image.digests, [format!("host:5000/x@{digest}")]);
    // A tag beside a digest says nothing.
    put(&store, &format!("host:5000/x:2@{digest}"), &layers, "x").unwrap();
    let image = store.resolve(&again.to_string()).unwrap().unwrap();
    assert_eq!((image.tags.len(), image.digests.len()), (0, 1));
}

#[test]
fn a_tag_moves_and_the_image_that_had_it_stays() {
    let (_directory, store) = store();
    let layers = [layer(&store, "a")];
    let old = put(&store, "x:1", &layers, "old").unwrap();
    let new = put(&store, "x:1", &layers, "new").unwrap();
    assert_ne!(old, new);
    assert_eq!(find(&store, "x:1"), Some(new));
    let old = store.resolve(&old.to_string()).unwrap().unwrap();
    assert_eq!((old.tags.len(), old.digests.len()), (0, 1));
    assert_eq!(listed(&store).len(), 2);
}

#[test]
fn one_name_removes_all_of_an_image_and_nothing_of_another() {
    let (_directory, store) = store();
    let shared = layer(&store, "shared");
    let own = layer(&store, "own");
    let id = put(&store, "one.example/x:1", std::slice::from_ref(&shared), "x").unwrap();
    assert_eq!(put(&store, "two.example/y:2", std::slice::from_ref(&shared), "x").unwrap(), id);
    let other = put(&store, "z:1", &[shared, own], "z").unwrap();
    assert_eq!(store.resolve(&id.to_string()).unwrap().unwrap().tags.len(), 2);
    assert_eq!(store.remove("two.example/y:2").unwrap(), Removed::Gone(id));
    assert_eq!((find(&store, "one.example/x:1"), find(&store, &id.to_string())), (None, None));
    assert_eq!((listed(&store), names(&store, "layers").len()), (vec![other], 2));
    assert_eq!(store.remove("z:1").unwrap(), Removed::Gone(other));
    for name in ["z:1", "never:1", "", &other.to_string(), "not a name"] {
        assert_eq!(store.remove(name).unwrap(), Removed::Nothing, "{name}");
    }
    for directory in ["layers", "blobs/sha256", "fix-ups", "ingest"] {
        assert!(names(&store, directory).is_empty(), "{directory}: {:?}", names(&store, directory));
    }
    assert_eq!(store.usage(), Usage::default());
    assert_eq!(store.config(id).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn five_who_remove_the_same_are_all_told_that_it_is_gone() {
    let (_directory, store) = store();
    for round in 0..5 {
        let layers = [layer(&store, "a")];
        let id = put(&store, "x:1", &layers, "x").unwrap();
        drop(layers);
        let text = id.to_string();
        std::thread::scope(|scope| {
            for _ in 0..5 {
                scope.spawn(|| {
                    store.remove(&text).unwrap();
                    assert_eq!(find(&store, &text), None, "round {round}");
                });
            }
        });
        assert!(names(&store, "layers").is_empty());
    }
}

#[test]
fn what_is_held_stays_until_it_is_released() {
    let (_directory, store) = store();
    let id = put(&store, "x:1", &[layer(&store, "a")], "x").unwrap();
    let diff_id = store.resolve("x:1").unwrap().unwrap().layers[0];
    let (one, two) = (store.hold(id).unwrap(), store.hold(id).unwrap());
    assert_eq!(store.remove("x:1").unwrap(), Removed::WhenReleased(id));
    assert_eq!((find(&store, "x:1"), listed(&store).len()), (None, 0));
    drop(one);
    store.sweep().unwrap();
    assert!(store.layer(diff_id).unwrap().path.join("a").exists());
    assert_eq!(
        store.config(id).unwrap().diff_ids(),
        [diff_id],
        "its containers can still be made and started"
    );
    drop(two);
    store.sweep().unwrap();
    assert_eq!(
        (store.layer(diff_id), names(&store, "layers").len(), store.usage()),
        (None, 0, Usage::default())
    );
    assert_eq!(store.hold(id).unwrap_err().kind(), Kind::NotFound);
}

#[test]
fn what_was_removed_while_held_can_be_pulled_again() {
    let (_directory, store) = store();
    let id = put(&store, "x:1", &[layer(&store, "a")], "x").unwrap();
    let lease = store.hold(id).unwrap();
    store.remove("x:1").unwrap();
    put(&store, "y:1", &[layer(&store, "a")], "x").unwrap();
    drop(lease);
    store.sweep().unwrap();
    let image = store.resolve("y:1").unwrap().unwrap();
    assert_eq!((image.tags.as_slice(), image.digests.len()), (&["docker.io/library/y:1".to_owned()][..], 1));
    assert_eq!(names(&store, "layers").len(), 1);
}

#[test]
fn all_is_there_again_when_the_store_is_opened_again() {
    let (directory, first) = store();
    let keep = put(&first, "keep:1", &[layer(&first, "keep"), layer(&first, "too")], "x").unwrap();
    let used = put(&first, "used:1", &[layer(&first, "used")], "y").unwrap();
    first.pin(keep, true).unwrap();
    let lease = first.hold(used).unwrap();
    first.remove("used:1").unwrap();
    let (images, usage): (Vec<Image>, _) =
        (first.images().iter().map(|image| (**image).clone()).collect(), first.usage());
    let path = first.root().to_owned();
    assert_eq!(Store::open(&path).err().map(|error| error.kind()), Some(Kind::Failed), "one at a time");
    // As after a kill: nobody has let go of anything.
    std::mem::forget(lease);
    let died = first;
    std::fs::create_dir(path.join("ingest/new-1-2-3")).unwrap();
    std::fs::create_dir(path.join("layers").join("0".repeat(64))).unwrap();
    std::fs::write(path.join("layers/junk"), "").unwrap();
    std::fs::write(path.join("blobs/sha256").join("1".repeat(64)), "").unwrap();
    drop(died);
    // The forgotten lease keeps the first store's file open: what follows is a copy, as it is on disk.
    let copy = directory.path().join("copy");
    assert!(std::process::Command::new("cp").arg("-a").arg(&path).arg(&copy).status().unwrap().success());
    let store = Store::open(&copy).unwrap();
    assert_eq!(store.images().iter().map(|image| (**image).clone()).collect::<Vec<_>>(), images);
    assert!(images[0].pinned);
    assert_eq!((store.usage(), store.lost().len()), (usage, 0));
    // A server that comes back holds again what its containers use, before anything is swept.
    put(&store, "third:1", &[layer(&store, "third")], "z").unwrap();
    assert!(matches!(store.remove("third:1").unwrap(), Removed::WhenReleased(_)));
    let lease = store.hold(used).unwrap();
    store.sweep().unwrap();
    assert_eq!(names(&store, "layers").len(), 3);
    assert!(names(&store, "ingest").is_empty());
    assert_eq!(names(&store, "blobs/sha256").len(), 4);
    drop(lease);
    store.sweep().unwrap();
    assert_eq!((names(&store, "layers").len(), listed(&store)), (2, vec![keep]));
}

#[test]
fn what_the_disk_has_lost_is_no_longer_listed() {
    let (directory, store) = store();
    let gone = put(&store, "gone:1", &[layer(&store, "gone")], "x").unwrap();
    let good = put(&store, "good:1", &[layer(&store, "good")], "y").unwrap();
    let path = store.layer(store.resolve("gone:1").unwrap().unwrap().layers[0]).unwrap().path;
    drop(store);
    std::fs::remove_dir_all(path).unwrap();
    let store = Store::open(&directory.path().join("store")).unwrap();
    assert_eq!((listed(&store), find(&store, "gone:1")), (vec![good], None));
    assert!(store.lost().iter().any(|line| line.contains(&gone.to_string())), "{:?}", store.lost());
    put(&store, "gone:1", &[layer(&store, "gone")], "x").unwrap();
    assert_eq!(find(&store, "gone:1"), Some(gone));
}

#[test]
fn a_damaged_config_is_told_by_its_digest() {
    let (directory, store) = store();
    let id = put(&store, "x:1", &[layer(&store, "a")], "x").unwrap();
    let path = store.root().join("blobs/sha256").join(id.hex());
    std::fs::write(&path, "{}").unwrap();
    store.config(id).unwrap();
    drop(store);
    let store = Store::open(&directory.path().join("store")).unwrap();
    let error = store.config(id).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.to_string().contains(&id.to_string()), "{error}");
}

#[test]
fn an_image_without_all_its_layers_or_with_false_documents_does_not_appear() {
    let (_directory, store) = store();
    let layers = [layer(&store, "a")];
    let reference: Reference = "x:1".parse().unwrap();
    let config = making::config(&[layers[0].diff_id(), digest_of(b"none")], "{}");
    let put = |config: (Digest, &[u8]), documents: &[(Digest, Vec<u8>)]| {
        let digest = digest_of(b"m");
        let new = NewImage {
            reference: &reference,
            digest,
            documents,
            manifest: digest,
            config,
            layers: &layers,
            pinned: false,
        };
        store.put_image(&new).unwrap_err().kind()
    };
    assert_eq!(put((digest_of(&config), &config), &[]), Kind::NotFound);
    let config = making::config(&[layers[0].diff_id()], "{}");
    assert_eq!(put((digest_of(b"x"), &config), &[]), Kind::Corrupt);
    assert_eq!(put((digest_of(&config), &config), &[(digest_of(b"x"), b"y".to_vec())]), Kind::Corrupt);
    // A layer that asks for what no lower layer has.
    let trap = [unpack(&store, &Tar::new().link("a", "nowhere").end()).unwrap()];
    assert_eq!(making::put(&store, "x:1", &trap, "x").unwrap_err().kind(), Kind::Corrupt);
    assert!(store.images().is_empty());
    assert!(names(&store, "blobs/sha256").is_empty() && names(&store, "ingest").is_empty());
    drop((layers, trap));
    store.sweep().unwrap();
    assert!(names(&store, "layers").is_empty());
}

#[test]
fn settled_chains_go_with_their_images() {
    let (_directory, store) = store();
    let lower = Tar::new().dir("d", 0o700).end();
    let upper = Tar::new().file("d/f", b"").end();
    put(&store, "x:1", &[unpack(&store, &lower).unwrap(), unpack(&store, &upper).unwrap()], "x").unwrap();
    assert_eq!(names(&store, "fix-ups").len(), 1);
    let image = store.resolve("x:1").unwrap().unwrap();
    assert_eq!(store.chain(&image.layers).unwrap().len(), 3);
    store.remove("x:1").unwrap();
    assert!(names(&store, "fix-ups").is_empty());
    assert_eq!(store.usage(), Usage::default());
}

#[test]
fn pulls_removals_and_sweeps_at_once_leave_a_true_index() {
    let (directory, store) = store();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for round in 0..6 {
                    let name = format!("w{}:1", (worker + round) % 3);
                    let layers = [layer(store, "base"), layer(store, &format!("l{}", round % 2))];
                    let id = put(store, &name, &layers, &format!("{round}")).unwrap();
                    drop(layers);
                    let lease = store.hold(id).ok();
                    if round % 2 == worker % 2 {
                        store.remove(&name).unwrap();
                    }
                    if let Some(lease) = &lease {
                        store.chain(&lease.image().layers).unwrap();
                        assert!(store.chain(&lease.image().layers).unwrap().iter().all(|path| path.exists()));
                    }
                    drop(lease);
                    store.sweep().unwrap();
                }
            });
        }
    });
    let images = listed(&store);
    for image in store.images() {
        assert!(store.chain(&image.layers).unwrap().iter().all(|path| path.exists()));
    }
    let usage = store.usage();
    drop(store);
    let store = Store::open(&directory.path().join("store")).unwrap();
    assert_eq!((listed(&store), store.usage(), store.lost().len()), (images, usage, 0));
    for image in store.images() {
        assert_eq!(store.remove(&image.id.to_string()).unwrap(), Removed::WhenReleased(image.id));
    }
    store.sweep().unwrap();
    assert!(names(&store, "layers").is_empty() && names(&store, "ingest").is_empty());
}
