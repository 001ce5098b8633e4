//! Puts the busybox image into a registry on this machine: `seed-registry 127.0.0.1:5000 [repository:tag [command...]]`.
//! With a command the image runs that instead of a shell.
//!
//! *Invariant:* loopback only; what it puts there is made of what is installed here.

use std::process::ExitCode;

use orlop_tests::busybox;
use orlop_tests::image::Flavour;
use orlop_tests::layer::Packing;
use orlop_tests::registry::Remote;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(address) =
        arguments.next().filter(|address| address.starts_with("127.") || address.starts_with("[::1]"))
    else {
        eprintln!("usage: seed-registry 127.0.0.1:PORT [REPOSITORY:TAG [COMMAND...]]");
        return ExitCode::FAILURE;
    };
    let name = arguments.next().unwrap_or_else(|| "busybox:latest".into());
    let (repository, tag) = name.split_once(':').unwrap_or((&name, "latest"));
    let command: Vec<String> = arguments.collect();
    let mut image = busybox::image(Flavour::Oci, Packing::Gzip);
    if !command.is_empty() {
        image = image.with("Cmd", serde_json::json!(command));
    }
    let digest = Remote::open(address.as_str()).push(repository, tag, &image);
    println!("{address}/{repository}:{tag}@{digest}");
    ExitCode::SUCCESS
}
