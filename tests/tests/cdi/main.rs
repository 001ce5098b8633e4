//! Devices by their CDI names, seen from outside of the containers that get them.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `given` | what a container gets |
//! | `refused` | what is refused, and files that are broken |
//!
//! *Invariant:* files lie in directories of the test's own; each test ends with the proof that nothing is left.

mod given;
mod refused;

use std::path::Path;

use orlop_proto::runtime::v1::{CdiDevice, ContainerConfig, StatusRequest};
use orlop_tests::cri::Client;
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::place::Place;
use serde_json::Value;

/// A stage whose daemon looks for CDI files in `first` and `second` of `place`.
async fn stage(place: &Place) -> Stage {
    let [first, second] = ["first", "second"].map(|name| place.join(name).display().to_string());
    let directories = format!("[{first:?}, {second:?}]");
    for name in ["first", "second"] {
        std::fs::create_dir_all(place.join(name)).expect("a directory");
    }
    let daemon = Daemon::build("cdi").config(&format!("[cdi]\ndirectories = {directories}")).start().await;
    Stage::on(daemon, |_| {}).await
}

/// Asks for devices by name.
fn ask(config: &mut ContainerConfig, names: &[&str]) {
    config.cdi_devices = names.iter().map(|&name| CdiDevice { name: name.into() }).collect();
}

/// A file with one device that sets a variable.
fn simple(kind: &str, device: &str, value: &str) -> String {
    format!(
        "cdiVersion: \"0.5.0\"\nkind: {kind}\ndevices:\n- name: {device}\n  containerEdits:\n    env: [\"CDI={value}\"]\n"
    )
}

fn put(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

/// What the daemon says of its CDI files.
async fn facts(client: &mut Client) -> Value {
    let status = client.runtime.status(StatusRequest { verbose: true }).await.expect("a status").into_inner();
    serde_json::from_str(&status.info["cdi"]).expect("JSON")
}
