//! An image of this machine's own busybox (Debian's busybox-static): a shell, a web server and its client in 2 MB.
//!
//! *Invariant:* all applets are hard links to one file, as in the image that everybody knows.

use std::process::Command;

use serde_json::json;

use crate::image::{Flavour, Image};
use crate::layer::{Layer, Packing, Tree};

/// Where Debian's package puts it.
const BUSYBOX: &str = "/bin/busybox";

/// A layer with busybox, its applets and what a small system needs.
///
/// # Panics
/// If there is no busybox here, or it does not run: `make deps` installs it.
#[must_use]
pub fn layer(packing: Packing) -> Layer {
    let program = std::fs::read(BUSYBOX).expect("busybox-static is installed");
    let listed = Command::new(BUSYBOX).arg("--list").output().expect("busybox runs");
    let listed = String::from_utf8(listed.stdout).expect("names of applets");
    let mut tree = Tree::new();
    for directory in ["bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "var", "www"] {
        tree = tree.directory(directory, 0o755);
    }
    tree = tree.directory("tmp", 0o1777).symlink("usr/bin", "../bin").file("bin/busybox", 0o755, program);
    for applet in listed.lines().filter(|applet| *applet != "busybox") {
        tree = tree.link(&format!("bin/{applet}"), "bin/busybox");
    }
    tree.file(
        "etc/passwd",
        0o644,
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    )
    .file("etc/group", 0o644, "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n")
    .file("www/index.html", 0o644, "orlop serves this page from a container\n")
    .pack(packing)
}

/// The image: runs a shell.
#[must_use]
pub fn image(flavour: Flavour, packing: Packing) -> Image {
    Image::new(flavour, vec![layer(packing)])
        .with("Cmd", json!(["sh"]))
        .with("Env", json!(["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]))
}
