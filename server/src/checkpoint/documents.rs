//! What others read of an archive: `checkpointctl`, podman, CRI-O, containerd. The names of files and keys are theirs.
//!
//! *Invariant:* no more of a container is told than its status and its own plan say; the archive is for root alone.

use std::ffi::CString;
use std::path::Path;

use orlop_model::report::{Kind, Report};
use orlop_model::time::Timestamp;
use orlop_wire::plan::{Operation, Plan};
use serde_json::{Map, Value, json};

use super::note::file;
use crate::pods::container::{Container, Facts};

/// A time as RFC 3339 has it.
fn time(time: Timestamp) -> String {
    String::from_utf8_lossy(&orlop_crilog::time::write(time.0)).into_owned()
}

fn text(string: &CString) -> String {
    string.to_string_lossy().into_owned()
}

/// The name that the image was asked for by: what the user wrote, or what kubelet made of it.
fn image_name(container: &Container) -> String {
    let image = container.asked.image.clone().unwrap_or_default();
    if image.user_specified_image.is_empty() { image.image } else { image.user_specified_image }
}

/// Writes all of them to `directory`.
///
/// # Errors
/// If the disk does not take them.
pub(super) fn write(
    container: &Container,
    facts: &Facts,
    plan: &Plan,
    directory: &Path,
) -> Result<(), Report> {
    for (name, value) in [
        (file::CONFIG, config(container, facts)),
        (file::SPEC, spec(container, facts, plan)),
        (file::STATUS, status(container, facts)),
        (file::TIMES, times(container)),
        (file::NETWORK, network(container)),
        (file::BINDS, binds(container)),
    ] {
        put(directory, name, &value)?;
    }
    Ok(())
}

/// Writes one.
///
/// # Errors
/// If the disk does not take it.
pub(super) fn put(directory: &Path, name: &str, value: &Value) -> Result<(), Report> {
    let path = directory.join(name);
    let text = format!("{value:#}\n");
    std::fs::write(&path, text)
        .map_err(|error| Report::new(Kind::Failed, "write", path.display().to_string(), error))
}

fn config(container: &Container, facts: &Facts) -> Value {
    json!({
        "id": container.id.to_string(),
        "name": container.name.name,
        "rootfsImage": container.asked.image.clone().unwrap_or_default().image,
        "rootfsImageRef": facts.image,
        "rootfsImageName": if facts.image_ref.contains('@') { facts.image_ref.clone() } else { image_name(container) },
        "runtime": "orlop",
        "createdTime": time(container.created_at),
        "checkpointedTime": time(crate::pods::now()),
        "restoredTime": time(Timestamp::NEVER),
        "restored": false,
    })
}

/// The spec, as far as others look into one.
fn spec(container: &Container, facts: &Facts, plan: &Plan) -> Value {
    let mut arguments = Vec::new();
    let mut environment = Vec::new();
    let mut cwd = "/".to_owned();
    for operation in &plan.operations {
        match operation {
            Operation::Execute { arguments: these, environment: variables, .. } => {
                arguments = these.iter().map(text).collect();
                environment = variables.iter().map(text).collect();
            }
            Operation::Chdir { path, .. } => cwd = text(path),
            _ => {}
        }
    }
    let mounts: Vec<Value> = container
        .asked
        .mounts
        .iter()
        .map(|mount| {
            let access = if mount.readonly { "ro" } else { "rw" };
            json!({
                "destination": mount.container_path,
                "type": "bind",
                "source": mount.host_path,
                "options": ["rbind", access],
            })
        })
        .collect();
    json!({
        "ociVersion": "1.2.0",
        "process": {
            "terminal": plan.stdio.terminal,
            "user": {"uid": facts.user.0, "gid": facts.user.1, "additionalGids": facts.user.2},
            "args": arguments,
            "env": environment,
            "cwd": cwd,
        },
        "root": {"path": "rootfs"},
        "hostname": container.pod.config.hostname,
        "mounts": mounts,
        "annotations": annotations(container),
        "linux": {"cgroupsPath": facts.cgroups.first().map(|path| path.display().to_string())},
    })
}

/// Those of the request, and those by which CRI's engines say whose container it is.
fn annotations(container: &Container) -> Map<String, Value> {
    let name = &container.pod.config.name;
    let mut all: Map<String, Value> =
        container.asked.annotations.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
    for (key, value) in [
        ("io.kubernetes.cri.container-type", "container".to_owned()),
        ("io.kubernetes.cri.container-name", container.name.name.clone()),
        ("io.kubernetes.cri.image-name", image_name(container)),
        ("io.kubernetes.cri.sandbox-id", container.pod.id.to_string()),
        ("io.kubernetes.cri.sandbox-name", name.name.clone()),
        ("io.kubernetes.cri.sandbox-namespace", name.namespace.clone()),
        ("io.kubernetes.cri.sandbox-uid", name.uid.clone()),
        ("org.criu.checkpoint.engine.name", "orlop".to_owned()),
        ("org.criu.checkpoint.engine.version", env!("CARGO_PKG_VERSION").to_owned()),
    ] {
        all.insert(key.to_owned(), json!(value));
    }
    all
}

/// In the names of CRI's messages.
fn status(container: &Container, facts: &Facts) -> Value {
    json!({
        "id": container.id.to_string(),
        "metadata": {"name": container.name.name, "attempt": container.name.attempt},
        "state": 1,
        "created_at": container.created_at.0,
        "started_at": container.started_at().0,
        "image": {"image": container.asked.image.clone().unwrap_or_default().image},
        "image_ref": facts.image_ref,
        "labels": container.asked.labels,
        "annotations": container.asked.annotations,
        "log_path": facts.log_path,
    })
}

fn times(container: &Container) -> Value {
    let pid = container.life().born.as_ref().map_or(0, |born| born.pid);
    json!({
        "CreatedAt": container.created_at.0,
        "StartedAt": container.started_at().0,
        "FinishedAt": 0,
        "ExitCode": 0,
        "Pid": pid,
        "Reason": "",
        "Message": "",
    })
}

/// As podman writes it: of a network, its interfaces and their addresses.
fn network(container: &Container) -> Value {
    let addresses = container.pod.made().map(|made| made.addresses.clone()).unwrap_or_default();
    let subnets: Vec<Value> =
        addresses.iter().map(|address| json!({"ipnet": address.to_string(), "gateway": ""})).collect();
    if subnets.is_empty() {
        return json!({});
    }
    json!({"pod": {"interfaces": {"eth0": {"subnets": subnets, "mac_address": ""}}}})
}

/// As CRI-O writes it. What cannot be looked at is left out: a volume's server may be dead.
fn binds(container: &Container) -> Value {
    let bind = |mount: &orlop_proto::runtime::v1::Mount| {
        json!({
            "source": mount.host_path,
            "destination": mount.container_path,
            "file_type": if Path::new(&mount.host_path).is_file() { "file" } else { "directory" },
            "permissions": 0o755,
        })
    };
    Value::Array(container.asked.mounts.iter().filter(|mount| mount.image.is_none()).map(bind).collect())
}
