//! Verdicts on layers, and whether they were carried out: nothing outside touched, nothing left.

use super::{Tar, announced, gzip, listing, names};
use orlop_image::{Compression, LayerBlob, Store};
use orlop_model::report::Kind;

/// What is to become of a layer.
pub enum Verdict {
    /// Refused: the kind, and words of the reason.
    Refused(Kind, &'static str),
    /// Unpacked, and then refused where it would be the lowest layer of an image.
    Alone(&'static str),
    /// Unpacked: these paths are in its tree.
    Accepted(&'static [&'static str]),
}

pub use Verdict::{Accepted, Alone, Refused};

pub const CORRUPT: Kind = Kind::Corrupt;

/// A store with something beside it that nobody may touch. One serves all rows of a table.
pub struct Place {
    store: Store,
    outside: std::path::PathBuf,
    untouched: Vec<String>,
    _directory: Option<tempfile::TempDir>,
}

impl Place {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::at(directory.path());
        Place { _directory: Some(directory), ..place }
    }

    pub fn at(directory: &std::path::Path) -> Self {
        let outside = directory.join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("canary"), "canary").unwrap();
        let store = Store::open(&directory.join("store")).unwrap();
        Place { store, untouched: listing(&outside), outside, _directory: None }
    }

    pub fn judge_archive(&self, name: &str, archive: &[u8], verdict: &Verdict) {
        let blob = gzip(archive);
        self.judge(name, &announced(&blob, Compression::Gzip, archive), &blob, verdict);
    }

    /// Unpacks the layer and compares with the verdict; then looks for anything that should not be.
    pub fn judge(&self, name: &str, layer: &LayerBlob, blob: &[u8], verdict: &Verdict) {
        let store = &self.store;
        let (layers, usage) = (names(store, "layers"), store.usage());
        let unpacked = store.unpack(layer, blob, &|_| ());
        match (verdict, &unpacked) {
            (Refused(kind, words), Err(error)) => {
                let text = orlop_model::report::Report::from(error).to_string();
                assert_eq!(error.kind(), *kind, "{name}: {text}");
                assert!(text.contains(words), "{name}: {text}");
                assert!(text.len() < 600 && !text.contains(char::is_control), "{name}: {text:?}");
                assert_eq!(
                    (names(store, "layers"), store.usage()),
                    (layers, usage),
                    "{name}: something is there"
                );
            }
            (Alone(words), Ok(hold)) => {
                let error = store.chain(&[hold.diff_id()]).unwrap_err();
                assert_eq!(error.kind(), CORRUPT, "{name}");
                assert!(error.to_string().contains(words), "{name}: {error}");
                assert!(names(store, "fix-ups").is_empty(), "{name}");
            }
            (Accepted(paths), Ok(hold)) => {
                let root = store.layer(hold.diff_id()).unwrap().path;
                for path in *paths {
                    let there = std::fs::symlink_metadata(root.join(path)).is_ok();
                    assert!(there, "{name}: {path} is not in {:?}", listing(&root));
                }
                check_tree(name, &root);
                store.chain(&[hold.diff_id()]).unwrap();
            }
            (Refused(..), Ok(_)) => panic!("{name} was accepted"),
            (Alone(_) | Accepted(_), Err(error)) => panic!("{name}: {error}"),
        }
        assert!(names(store, "ingest").is_empty(), "{name} left {:?}", names(store, "ingest"));
        assert_eq!(listing(&self.outside), self.untouched, "{name} reached outside");
    }

    pub fn judge_all(rows: Vec<(&str, Tar, Verdict)>) {
        let place = Place::new();
        for (name, tar, verdict) in rows {
            place.judge_archive(name, &tar.end(), &verdict);
        }
    }
}

/// Nothing in a tree may steer its own mount.
pub fn check_tree(name: &str, root: &std::path::Path) {
    for line in listing(root) {
        let steers = line.contains("user.overlay.")
            || line.contains("trusted.overlay.")
            || line.contains("security.x");
        assert!(!steers || line.ends_with("trusted.overlay.opaque=y"), "{name}: {line}");
    }
}
