//! The registry that all tests of one program share, with busybox in it.
//!
//! *Invariant:* it starts when it is first asked for, and ends with the program, however that ends.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::busybox;
use crate::image::Flavour;
use crate::layer::Packing;
use crate::registry::Registry;

/// Waits until the program has closed its end of the pipe, then ends what it left.
const GUARD: &str = "cat >/dev/null; kill \"$0\"; rm -rf \"$1\"";

struct Shared {
    registry: Registry,
    certs: PathBuf,
    busybox: OnceLock<String>,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let registry = Registry::start();
        let certs = registry.certs_directory();
        // A static is never dropped, and the process that is to end it may be killed: a pipe's end tells both.
        let directory = certs.parent().expect("a directory in the registry's own");
        let mut guard = Command::new("sh");
        guard.args(["-c", GUARD, &registry.pid().to_string()]).arg(directory);
        guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        std::mem::forget(guard.spawn().expect("a shell"));
        Shared { registry, certs, busybox: OnceLock::new() }
    })
}

/// The registry.
#[must_use]
pub fn registry() -> &'static Registry {
    &shared().registry
}

/// What `[registry] certs_dir` has to name.
#[must_use]
pub fn certs_directory() -> PathBuf {
    shared().certs.clone()
}

/// The name of the image of busybox; it is in the registry.
#[must_use]
pub fn busybox() -> String {
    let shared = shared();
    let pushed = shared.busybox.get_or_init(|| {
        shared.registry.push("busybox", "1", &busybox::image(Flavour::Oci, Packing::Gzip));
        format!("{}/busybox:1", shared.registry.address)
    });
    pushed.clone()
}
