//! What the reference implementation makes of the same files, devices and spec: `tests/clients/cdi`, which is built of its Go module.
//!
//! Each file of `tests/files` is one case for each of its devices, and one for all of them together; the spec that comes out is compared
//! as a whole. What the reference refuses is refused here, and nothing else is.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use oci_spec::runtime::Spec;
use orlop_cdi::{HostNode, Registry, Source, apply};
use serde_json::{Value, json};

/// Cases by file: names of devices that are asked for together.
const CASES: &[(&str, &[&[&str]])] = &[
    ("env.yaml", &[&["vendor.com/env=one"], &["vendor.com/env=two", "vendor.com/env=one"]]),
    (
        "node-from-host.json",
        &[
            &["vendor.com/node=null"],
            &["vendor.com/node=renamed", "vendor.com/node=typed"],
            &["vendor.com/node=wrong"],
            &["vendor.com/node=gone"],
            &["vendor.com/node=directory"],
        ],
    ),
    (
        "node-said.yaml",
        &[
            &["vendor.com/said=whole", "vendor.com/said=block"],
            &["vendor.com/said=none"],
            &["vendor.com/said=fifo", "vendor.com/said=unbuffered"],
        ],
    ),
    ("node-twice.json", &[&["vendor.com/twice=a"], &["vendor.com/twice=b"]]),
    (
        "mounts.yaml",
        &[
            &["vendor.com/mounts=deep"],
            &["vendor.com/mounts=replaces", "vendor.com/mounts=fresh"],
            &["vendor.com/mounts=plain"],
        ],
    ),
    ("hooks.yaml", &[&["vendor.com/hooks=all"], &["vendor.com/hooks=more", "vendor.com/hooks=all"]]),
    ("gids.yaml", &[&["vendor.com/gids=a"], &["vendor.com/gids=b"]]),
    ("rdt.json", &[&["vendor.com/rdt=gold"], &["vendor.com/rdt=root"]]),
    ("rdt-newer.yaml", &[&["vendor.com/rdt-newer=watched"], &["vendor.com/rdt-newer=quiet"]]),
    ("net.yaml", &[&["vendor.com/net=nic"]]),
    ("annotated.json", &[&["vendor.com/class.with.dots=0"]]),
    ("anchors.yaml", &[&["vendor.com/anchors=a", "vendor.com/anchors=b", "vendor.com/anchors=c"]]),
    (
        "names.yaml",
        &[
            &["Vendor-1.example_x/Class_2-y=0", "Vendor-1.example_x/Class_2-y=GPU:0.1_a-b"],
            &["Vendor-1.example_x/Class_2-y=y"],
            &["Vendor-1.example_x/class_2-y=x"],
        ],
    ),
    ("texts.yaml", &[&["vendor.com/texts=odd"]]),
    (
        "everything.json",
        &[&["vendor.com/gpu=gpu0", "vendor.com/gpu=gpu1"], &["vendor.com/gpu=all"], &["vendor.com/gpu=gpu2"]],
    ),
    ("bad-version.yaml", &[&["vendor.com/bad=a"]]),
    ("bad-too-new.yaml", &[&["vendor.com/bad=a"]]),
    ("bad-unknown.yaml", &[&["vendor.com/bad=a"]]),
    ("bad-empty-device.json", &[&["vendor.com/bad=a"]]),
    ("bad-twice.json", &[&["vendor.com/bad=a"]]),
    ("bad-digit.yaml", &[&["vendor.com/bad=0a"]]),
    ("bad-hook.yaml", &[&["vendor.com/bad=a"]]),
    ("bad-monitoring.yaml", &[&["vendor.com/bad=a"]]),
    ("bad-net.yaml", &[&["vendor.com/bad=a"]]),
    ("bad-permissions.yaml", &[&["vendor.com/bad=a"]]),
];

fn spec(uid: u32, user_namespace: bool) -> Value {
    let mut namespaces = vec![json!({"type": "mount"}), json!({"type": "pid"})];
    if user_namespace {
        namespaces.push(json!({"type": "user"}));
    }
    json!({
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": uid, "gid": uid, "additionalGids": [109]},
            "args": ["/bin/true"], "cwd": "/",
            "env": ["PATH=/bin", "A=before", "A=twice"],
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid"]},
            {"destination": "/dev/shm", "type": "bind", "source": "/shm", "options": ["rbind"]},
            {"destination": "/etc/hosts", "type": "bind", "source": "/run/hosts", "options": ["rbind"]},
        ],
        "hooks": {"createContainer": [{"path": "/usr/bin/earlier"}]},
        "linux": {
            "namespaces": namespaces,
            "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229}],
            "resources": {"devices": [{"allow": false, "access": "rwm"}]},
        },
    })
}

fn files() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/files")
}

/// As the node is.
fn look(path: &Path) -> Result<HostNode, String> {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let metadata = std::fs::symlink_metadata(path).map_err(|error| error.to_string())?;
    let kind = match metadata.file_type() {
        kind if kind.is_char_device() => 'c',
        kind if kind.is_block_device() => 'b',
        kind if kind.is_fifo() => 'p',
        _ => return Err("it is no device".into()),
    };
    let device = metadata.rdev();
    // makedev(3), for numbers that are not beyond what these files speak of.
    let (major, minor) = ((device >> 8) & 0xfff, device & 0xff);
    Ok(HostNode {
        kind,
        major: u32::try_from(major).expect("small"),
        minor: u32::try_from(minor).expect("small"),
        mode: metadata.mode() & 0o7777,
    })
}

fn ours(directory: &Path, devices: &[&str], spec: &Value) -> Result<Spec, String> {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(directory).expect("there").map(|entry| entry.expect("read").path()).collect();
    paths.sort();
    let source = |path: PathBuf| Source {
        bytes: std::fs::read(&path).map_err(|error| error.to_string()),
        path,
        directory: 0,
    };
    let registry = Registry::new(paths.into_iter().map(source).collect());
    let edits = registry
        .edits(devices)
        .map_err(|(at, why)| format!("{}: {why} ({:?})", devices[at], registry.faults()))?;
    let mut spec: Spec = serde_json::from_value(spec.clone()).expect("a spec");
    apply(&edits, &mut spec, &look).map_err(|cannot| cannot.to_string())?;
    Ok(spec)
}

fn reference(requests: &[Value]) -> Vec<Value> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/clients/cdi");
    let room = tempfile::tempdir().expect("a directory");
    let program = room.path().join("cdi");
    let mut go = Command::new("go");
    go.args(["build", "-o"]).arg(&program).arg(".").current_dir(tests).env("CGO_ENABLED", "0");
    let built = go.output().expect("go is on PATH: the feature says so");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut child =
        Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    input.write_all(&serde_json::to_vec(requests).expect("JSON")).expect("it reads");
    drop(input);
    let said = child.wait_with_output().expect("it ends");
    serde_json::from_slice(&said.stdout).expect("answers")
}

/// As the reference writes it, and as it is read here: a rule that grants nothing is none, and what is empty is not there.
fn normal(mut spec: Spec) -> Value {
    if let Some(linux) = spec.linux_mut()
        && let Some(resources) = linux.resources_mut()
        && let Some(rules) = resources.devices_mut()
    {
        rules.retain(|rule| rule.access().as_ref().is_some_and(|access| !access.is_empty()));
    }
    let mut value = serde_json::to_value(spec).expect("JSON");
    prune(&mut value);
    value
}

fn prune(value: &mut Value) {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        Value::Object(all) => all.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    match value {
        Value::Object(all) => {
            all.values_mut().for_each(prune);
            all.retain(|_, value| !is_empty(value));
        }
        Value::Array(all) => all.iter_mut().for_each(prune),
        _ => {}
    }
}

#[test]
fn the_same_comes_out_as_of_the_reference_implementation() {
    let room = tempfile::tempdir().expect("a directory");
    let mut cases = Vec::new();
    for (file, requests) in CASES {
        // A directory of its own: several are of one kind.
        let directory = room.path().join(file.replace('.', "-"));
        std::fs::create_dir(&directory).expect("made");
        std::fs::copy(files().join(file), directory.join(file)).expect("copied");
        for devices in *requests {
            for spec in [spec(0, false), spec(1000, false), spec(0, true)] {
                cases.push((*file, directory.clone(), *devices, spec));
            }
        }
    }
    let asked: Vec<Value> = cases
        .iter()
        .map(|(_, directory, devices, spec)| json!({"directories": [directory], "devices": devices, "spec": spec}))
        .collect();
    let answers = reference(&asked);
    assert_eq!(answers.len(), cases.len());
    let (mut made, mut refused) = (0, 0);
    for ((file, directory, devices, spec), answer) in cases.iter().zip(answers) {
        let ours = ours(directory, devices, spec);
        if let Some(theirs) = answer.get("spec") {
            let theirs: Spec = serde_json::from_value(theirs.clone()).expect("a spec");
            let ours = ours.unwrap_or_else(|why| panic!("{file} {devices:?}: {why}"));
            assert_eq!(normal(ours), normal(theirs), "{file} {devices:?}");
            made += 1;
        } else {
            assert!(ours.is_err(), "{file} {devices:?}: {}", answer["error"]);
            refused += 1;
        }
    }
    // Of each kind there are many, so that neither side is always the same.
    assert!(made >= 60 && refused >= 30, "{made} made, {refused} refused");
    let used: std::collections::BTreeSet<String> = CASES.iter().map(|(file, _)| (*file).to_owned()).collect();
    let there: std::collections::BTreeSet<String> = std::fs::read_dir(files())
        .expect("there")
        .map(|entry| entry.expect("read").file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(used, there, "each file is a case");
}
