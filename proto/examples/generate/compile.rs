//! From .proto files to Rust, without protoc.
//!
//! *Invariant:* what comes out depends on the .proto files and on nothing else, and is written only where the caller says.

use std::error::Error;
use std::path::Path;

/// What is compiled; the rest is imported by it.
const ROOTS: [&str; 4] =
    ["runtime/v1/api.proto", "orlop/v1/orlop.proto", "orlop/v1/record.proto", "nri/v1alpha1/api.proto"];

/// Messages that hold a secret: src/redact.rs says what their Debug shows.
pub(crate) const SECRET: [&str; 10] = [
    ".runtime.v1.AttachResponse",
    ".runtime.v1.AuthConfig",
    ".runtime.v1.ExecResponse",
    ".runtime.v1.KeyValue",
    ".runtime.v1.PortForwardResponse",
    ".orlop.v1.ContainerRecord",
    ".orlop.v1.PullRequest",
    ".nri.pkg.api.v1alpha1.ConfigureRequest",
    ".nri.pkg.api.v1alpha1.Container",
    ".nri.pkg.api.v1alpha1.KeyValue",
];

/// The .proto files below `directory`, parsed and checked.
///
/// # Errors
/// Where and why they cannot be.
pub(crate) fn descriptors(directory: &Path) -> Result<protox::Compiler, protox::Error> {
    let mut compiler = protox::Compiler::new([directory])?;
    compiler.include_imports(true).include_source_info(true).open_files(ROOTS)?;
    Ok(compiler)
}

/// Compiles the .proto files below `directory` into one Rust file a package in `out`.
///
/// # Errors
/// Where and why they do not compile, or what could not be written.
pub(crate) fn compile(directory: &Path, out: &Path) -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure()
        // Ordered, so that equal messages are equal bytes.
        .btree_map(".")
        .skip_debug(SECRET)
        // An RPC that the server forgets does not compile.
        .generate_default_stubs(false)
        // Who connects, and how, is the programs' business.
        .build_transport(false)
        .emit_rerun_if_changed(false)
        .out_dir(out)
        .compile_fds(descriptors(directory)?.file_descriptor_set())?;
    Ok(())
}
