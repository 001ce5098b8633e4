//! The crates as cargo sees them.
//!
//! *Invariant:* offline: what is asked for is what is locked.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

/// What cargo says.
///
/// # Panics
/// If it says no.
#[must_use]
pub fn ask(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(cargo).args(arguments).arg("--offline").current_dir(super::root()).output();
    let output = output.expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// A package that is ours.
#[derive(Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its directory, relative to the checkout.
    pub directory: String,
    /// Names of all packages that it uses, ours and others', except in its own tests.
    pub uses: BTreeSet<String>,
    /// Those that its own tests use.
    pub tests_use: BTreeSet<String>,
}

/// The packages of the workspace.
///
/// # Panics
/// If cargo does not tell.
#[must_use]
pub fn packages() -> Vec<Package> {
    let metadata = ask(&["metadata", "--format-version=1", "--no-deps"]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let root = super::root();
    let packages = metadata["packages"].as_array().expect("packages").iter();
    packages
        .map(|package| {
            let manifest = package["manifest_path"].as_str().expect("a path");
            let directory =
                manifest.trim_end_matches("/Cargo.toml").trim_start_matches(&*root.to_string_lossy());
            let of_kind = |tests: bool| {
                let all = package["dependencies"].as_array().expect("dependencies").iter();
                let some = all.filter(move |dependency| (dependency["kind"] == "dev") == tests);
                some.map(|dependency| dependency["name"].as_str().expect("a name").to_owned()).collect()
            };
            Package {
                name: package["name"].as_str().expect("a name").to_owned(),
                directory: directory.trim_start_matches('/').to_owned(),
                uses: of_kind(false),
                tests_use: of_kind(true),
            }
        })
        .collect()
}

/// Names of all packages that a program is made of, itself included; not those that only build it.
///
/// # Panics
/// If cargo does not tell.
#[must_use]
pub fn made_of(program: &str) -> BTreeSet<String> {
    let tree =
        ask(&["tree", "--package", program, "--edges=normal,no-proc-macro", "--prefix=none", "--format={p}"]);
    tree.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

/// Name and licence expression of every package of others that a program is made of.
///
/// # Panics
/// If cargo does not tell.
#[must_use]
pub fn licences(program: &str) -> BTreeSet<(String, String)> {
    let tree = ask(&["tree", "--package", program, "--edges=normal", "--prefix=none", "--format={p}\t{l}"]);
    let lines = tree.lines().filter(|line| !line.contains(" (/"));
    let pairs = lines.filter_map(|line| line.trim_end_matches(" (*)").split_once('\t'));
    pairs.map(|(package, licence)| (package.to_owned(), licence.to_owned())).collect()
}
