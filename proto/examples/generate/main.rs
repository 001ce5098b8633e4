//! `cargo run -p orlop-proto --example generate`: writes src/generated anew, after a change to a .proto file.
//!
//! *Invariant:* never part of a build: its output is committed, and tests/interface.rs compares.

mod compile;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    match compile::compile(here, &here.join("src/generated")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("generate: {error}");
            ExitCode::FAILURE
        }
    }
}
