//! Plugins that are installed on the node: found in a directory, started by the daemon, in the order of their indices.
//!
//! A plugin's file is called `INDEX-NAME` and can be executed. What `INDEX-NAME.conf` or `NAME.conf` in the directory of
//! configurations says, it is told. Its connection is descriptor 3.
//!
//! *Invariant:* before the daemon serves, each has been synchronised, or was reported and is not there. The environment of the daemon
//! is not handed on.

use std::ffi::CString;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_nri::name::Name;
use orlop_sys::process::spawn;
use rustix::fs::{Mode, OFlags};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use super::plugin::{Installed, Plugin, admit};
use crate::pods::Core;

/// The most that a plugin's configuration may have.
const CONFIG: u64 = 1 << 20;

/// Starts all of them at once, and takes them in by their order.
pub(super) async fn start(core: &Arc<Core>) {
    let settings = &core.nri.settings;
    let mut starting = JoinSet::new();
    for (name, path) in found(&settings.plugin_path) {
        let core = Arc::clone(core);
        starting.spawn(async move {
            let started = start_one(&core, &name, &path).await;
            (name, started)
        });
    }
    let mut started: Vec<(Name, Arc<Plugin>)> = Vec::new();
    while let Some(done) = starting.join_next().await {
        match done {
            Ok((name, Ok(plugin))) => started.push((name, plugin)),
            Ok((name, Err(report))) => tracing::error!(plugin = %name, "not started: {report}"),
            Err(error) => tracing::error!("an NRI plugin was not started: {error}"),
        }
    }
    started.sort_by(|one, other| one.0.cmp(&other.0));
    for (name, plugin) in started {
        if let Err(report) = super::sync::join(core, plugin).await {
            tracing::error!(plugin = %name, "not taken in: {report}");
        }
    }
}

/// The plugins in a directory, by their order.
fn found(directory: &Path) -> Vec<(Name, PathBuf)> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.path();
        let executable = std::fs::metadata(&path)
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0);
        if !executable {
            continue;
        }
        match Name::of_file(&entry.file_name().to_string_lossy()) {
            Ok(name) => found.push((name, path)),
            Err(wrong) => tracing::error!(path = %path.display(), "not started: {wrong}"),
        }
    }
    found.sort();
    found
}

async fn start_one(core: &Arc<Core>, name: &Name, path: &Path) -> Result<Arc<Plugin>, Report> {
    let failed = |cause: &dyn std::fmt::Display| {
        Report::new(Kind::Failed, "start NRI plugin", path.display().to_string(), cause)
    };
    let config = config(&core.nri.settings.plugin_config_path, name).map_err(|error| failed(&error))?;
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().map_err(|error| failed(&error))?;
    ours.set_nonblocking(true).map_err(|error| failed(&error))?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed(&errno))?;
    let text = |bytes: &[u8]| CString::new(bytes).map_err(|error| failed(&error));
    let program = text(path.as_os_str().as_bytes())?;
    let environment = [
        format!("NRI_PLUGIN_NAME={}", name.base),
        format!("NRI_PLUGIN_IDX={}", name.index),
        "NRI_PLUGIN_SOCKET=3".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    ];
    let environment =
        environment.iter().map(|one| text(one.as_bytes())).collect::<Result<Vec<CString>, Report>>()?;
    let own = std::io::stderr();
    let stderr = own.as_fd();
    let process = spawn(
        &program,
        std::slice::from_ref(&program),
        &environment,
        [null.as_fd(), stderr, stderr],
        &[theirs.as_fd()],
    )
    .map_err(|errno| failed(&errno))?;
    drop(theirs);
    let stream = UnixStream::from_std(ours).map_err(|error| failed(&error))?;
    admit(core, stream, Some(Installed { name: name.clone(), config, process })).await
}

/// What a plugin is told; nothing where there is no file.
fn config(directory: &Path, name: &Name) -> std::io::Result<String> {
    for file in [format!("{name}.conf"), format!("{}.conf", name.base)] {
        let path = directory.join(file);
        match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() && metadata.len() <= CONFIG => {
                return std::fs::read_to_string(path);
            }
            Ok(_) => return Err(std::io::Error::other("it is no regular file of up to 1 MiB")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_by_their_order_and_others_passed_over() {
        let directory = tempfile::tempdir().expect("a directory");
        let put = |name: &str, mode| {
            let path = directory.path().join(name);
            std::fs::write(&path, "").expect("written");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("set");
        };
        put("20-b", 0o755);
        put("10-z", 0o755);
        put("10-a", 0o755);
        put("30-not-executable", 0o644);
        put("no-index", 0o755);
        std::fs::create_dir(directory.path().join("40-directory")).expect("made");
        let names: Vec<String> =
            found(directory.path()).into_iter().map(|(name, _)| name.to_string()).collect();
        assert_eq!(names, ["10-a", "10-z", "20-b"]);
        assert!(found(&directory.path().join("absent")).is_empty());
    }

    #[test]
    fn the_nearest_configuration_counts() {
        let directory = tempfile::tempdir().expect("a directory");
        let name = Name::of_file("10-a").expect("a name");
        let read = || config(directory.path(), &name).expect("read");
        assert_eq!(read(), "");
        std::fs::write(directory.path().join("a.conf"), "general").expect("written");
        assert_eq!(read(), "general");
        std::fs::write(directory.path().join("10-a.conf"), "own").expect("written");
        assert_eq!(read(), "own");
    }
}
