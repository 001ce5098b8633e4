//! Archives that are not what they say: refused, nothing outside is touched, nothing is left.

use std::path::Path;

use orlop_proto::runtime::v1::ImageSpec;
use orlop_tests::daemon::stage::Stage;
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};
use tonic::Code;

use super::scene::{played, stage_with};

/// An archive, entry by entry.
struct Archive(Builder<Vec<u8>>);

impl Archive {
    fn new() -> Self {
        Archive(Builder::new(Vec::new()))
    }

    fn put(mut self, kind: EntryType, name: &str, link: &str, body: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(body.len() as u64);
        // As it is: the library would refuse what a hostile archive has.
        let bytes = header.as_gnu_mut().expect("it is GNU's");
        bytes.name[..name.len()].copy_from_slice(name.as_bytes());
        bytes.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        self.0.append(&header, body).expect("in memory");
        self
    }

    fn file(self, name: &str, body: &[u8]) -> Self {
        self.put(EntryType::Regular, name, "", body)
    }

    fn json(self, name: &str, value: &Value) -> Self {
        self.file(name, value.to_string().as_bytes())
    }

    /// All that an archive has to have, as far as it is looked at before its plan.
    fn whole() -> Self {
        Archive::new()
            .put(EntryType::Directory, "checkpoint/", "", b"")
            .file("checkpoint/inventory.img", b"x")
            .json("config.dump", &json!({"rootfsImageRef": "", "rootfsImageName": "nobody/nothing:1"}))
            .json("orlop.json", &note())
    }

    fn bytes(self) -> Vec<u8> {
        self.0.into_inner().expect("in memory")
    }
}

fn note() -> Value {
    json!({
        "version": 1, "machine": std::env::consts::ARCH, "terminal": false,
        "mounts": [], "nulls": [], "streams": [null, null, null],
    })
}

async fn refused(stage: &mut Stage, name: &str, archive: &Path) -> tonic::Status {
    let mut config = stage.script("c", "true");
    config.image = Some(ImageSpec { image: archive.display().to_string(), ..ImageSpec::default() });
    let status = stage.create(&config).await.expect_err(name);
    assert_eq!(stage.client.containers().await.expect("containers"), [], "{name}");
    let layers = std::fs::read_dir(stage.daemon.root().join("containers")).expect("a directory").count();
    assert_eq!(layers, 0, "{name}: a layer is left");
    status
}

/// What it is, its bytes, and the answer's code and words.
type Row = (&'static str, Vec<u8>, Code, &'static str);

/// Archives whose entries cannot be.
fn files(outside: &Path) -> Vec<Row> {
    let up = format!("{}{}", "../".repeat(20), outside.display());
    let huge = {
        let mut bytes = Archive::whole().bytes();
        let at = 124;
        bytes.splice(at..at + 11, *b"77777777777");
        bytes
    };
    let wrong = Code::DataLoss;
    vec![
        ("no archive", b"this is no archive at all".to_vec(), wrong, "archive"),
        ("an empty one", Vec::new(), wrong, "checkpoint"),
        (
            "cut off",
            Archive::whole().file("x", &[7; 4096]).bytes()[..4096].to_vec(),
            wrong,
            "middle of an entry",
        ),
        ("a lie about a size", huge, wrong, ""),
        ("gzip and then nothing", vec![0x1f, 0x8b, 8, 0, 0, 0], wrong, "archive"),
        (
            "a link",
            Archive::whole().put(EntryType::Symlink, "spec.dump", "/etc/shadow", b"").bytes(),
            wrong,
            "neither",
        ),
        (
            "a hard link",
            Archive::whole().put(EntryType::Link, "spec.dump", "/etc/shadow", b"").bytes(),
            wrong,
            "neither",
        ),
        (
            "a device",
            Archive::whole().put(EntryType::Block, "checkpoint/x", "", b"").bytes(),
            wrong,
            "neither",
        ),
        ("a pipe", Archive::whole().put(EntryType::Fifo, "checkpoint/x", "", b"").bytes(), wrong, "neither"),
        (
            "images behind a link",
            Archive::new().put(EntryType::Symlink, "checkpoint", "/etc", b"").bytes(),
            wrong,
            "neither",
        ),
        ("a climb", Archive::whole().file(&up, b"x").bytes(), wrong, ""),
        ("a root", Archive::whole().file(outside.to_str().expect("a path"), b"x").bytes(), wrong, ""),
    ]
}

/// Archives that lack something, or lie.
fn notes() -> Vec<Row> {
    let wrong = Code::DataLoss;
    let dir = EntryType::Directory;
    vec![
        (
            "a directory among images",
            Archive::whole().put(dir, "checkpoint/sub/", "", b"").bytes(),
            wrong,
            "regular",
        ),
        ("no images", Archive::new().json("orlop.json", &note()).bytes(), wrong, "checkpoint"),
        (
            "another runtime's",
            Archive::new().put(dir, "checkpoint/", "", b"").json("config.dump", &json!({})).bytes(),
            Code::Unimplemented,
            "another runtime",
        ),
        (
            "a note that lies",
            Archive::new()
                .put(dir, "checkpoint/", "", b"")
                .json("orlop.json", &json!({"version": 1}))
                .bytes(),
            wrong,
            "orlop.json",
        ),
        ("no plan", Archive::whole().bytes(), wrong, "orlop.plan"),
        ("a plan that is none", Archive::whole().file("orlop.plan", &[255; 64]).bytes(), wrong, "orlop.plan"),
    ]
}

#[tokio::test]
async fn hostile_archives_are_refused() {
    let fine = played("fine-hostile", "exit 0");
    let mut stage = stage_with("hostile", fine.path()).await;
    let outside = stage.daemon.place().join("outside");
    let table = [files(&outside), notes()].concat();
    for (name, bytes, code, words) in table {
        let path = stage.daemon.place().join("hostile.tar");
        std::fs::write(&path, bytes).expect("written");
        let status = refused(&mut stage, name, &path).await;
        assert_eq!(status.code(), code, "{name}: {status}");
        assert!(status.message().contains(words), "{name}: {}", status.message());
        assert!(!outside.exists(), "{name}");
    }
    let nowhere = stage.daemon.place().join("nowhere.tar");
    let status = refused(&mut stage, "nowhere", &nowhere).await;
    assert_eq!(status.code(), Code::NotFound, "{status}");
    stage.end().await;
}
