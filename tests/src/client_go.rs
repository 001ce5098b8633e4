//! Kubernetes' own client library, as a program that takes a URL: `tests/clients/go`.
//!
//! *Invariant:* it is built once a test program, of what Go has of its modules; it knows nothing but a URL.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let place = tests.join("../var/clients");
    std::fs::create_dir_all(&place).expect("a directory");
    let program = place.join("streams-of-client-go");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(".").current_dir(tests.join("clients/go"));
    let built = build.env("CGO_ENABLED", "0").output().expect("go is on PATH: the feature says so");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    program
});

/// What the program says.
///
/// # Panics
/// If it cannot be built, or says nothing.
pub async fn say(arguments: &[&str]) -> Value {
    let mut command = Command::new(&*PROGRAM);
    command.args(arguments);
    // The daemon needs no thread of this runtime, but servers that a test plays do.
    let ran =
        tokio::task::spawn_blocking(move || command.output()).await.expect("a thread").expect("it runs");
    let said = serde_json::from_slice(&ran.stdout);
    said.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&ran.stderr)))
}
