//! A pod is restored: made as any pod, then its containers, created and not yet run.
//!
//! *Invariant:* all of it comes about, or nothing: what was made is removed before the error is told.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use orlop_model::container::ContainerConfig;
use orlop_model::pod::PodConfig;
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{ContainerConfig as Asked, PodSandboxConfig};
use serde_json::Value;

use super::export::of_pod;
use super::note;
use crate::pods::container::Container;
use crate::pods::create::{self, From};
use crate::pods::pod::Pod;
use crate::pods::{Core, up};

/// Which archives a pod's checkpoint has, by the names of its containers.
///
/// # Errors
/// If the directory has no checkpoint of a pod.
pub(crate) fn archives(directory: &Path) -> Result<BTreeMap<String, PathBuf>, Report> {
    const FIELD: &str = "checkpoint_path";
    let bad = |cause: String| Report::field(FIELD, directory.display(), cause);
    if !directory.is_dir() {
        return Err(bad("there is no such directory".into()));
    }
    let bytes = note::read(directory, of_pod::OPTIONS)?;
    let bytes = bytes
        .ok_or_else(|| bad(format!("it has no checkpoint of a pod: {} is not there", of_pod::OPTIONS)))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| bad(error.to_string()))?;
    if value["version"].as_u64() != Some(of_pod::VERSION) {
        return Err(bad(format!("{} is of another version", of_pod::OPTIONS)));
    }
    let names = value["containers"]
        .as_object()
        .ok_or_else(|| bad(format!("{} names no containers", of_pod::OPTIONS)))?;
    let mut all = BTreeMap::new();
    for name in names.keys() {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\0']) {
            return Err(bad(format!("{} names a container that cannot be", of_pod::OPTIONS)));
        }
        let archive = directory.join(format!("{name}.tar"));
        if !std::fs::symlink_metadata(&archive).is_ok_and(|metadata| metadata.is_file()) {
            return Err(bad(format!("{name}.tar is not there")));
        }
        all.insert(name.clone(), archive);
    }
    Ok(all)
}

/// Makes the pod and its containers, each from its archive.
///
/// # Errors
/// What could not be; then nothing is left.
pub(crate) async fn restore(
    core: &Arc<Core>,
    config: PodConfig,
    asked: PodSandboxConfig,
    containers: Vec<(ContainerConfig, Asked, PathBuf)>,
) -> Result<(Arc<Pod>, Vec<Arc<Container>>), Report> {
    let pod = up::run_new(core, config, asked).await?;
    let mut made = Vec::new();
    for (config, asked, archive) in containers {
        let name = config.name.name.clone();
        match create::run(core, &pod, config, asked, From::PodArchive(archive)).await {
            Ok(container) => made.push(container),
            Err(mut report) => {
                report.stage = format!("container {name}: {}", report.stage);
                if let Err(left) = pod.remove(core).await {
                    tracing::warn!(pod = pod.id.short(), "not restored, and not removed yet: {left}");
                }
                return Err(report);
            }
        }
        crate::failpoint::pass("checkpoint.restored");
    }
    Ok((pod, made))
}

/// Whether every name is there once, and these names are those of the checkpoint.
///
/// # Errors
/// Which is not.
pub(crate) fn same_names(names: &[String], archives: &BTreeMap<String, PathBuf>) -> Result<(), Report> {
    const FIELD: &str = "container_configs";
    if names.is_empty() {
        return Err(Report::field(FIELD, "", "names no container"));
    }
    for (at, name) in names.iter().enumerate() {
        let field = format!("{FIELD}[{at}].metadata.name");
        if names[..at].contains(name) {
            return Err(Report::field(field, name, "stands there twice"));
        }
        if !archives.contains_key(name) {
            return Err(Report::field(field, name, "the checkpoint has no such container"));
        }
    }
    match archives.keys().find(|name| !names.contains(name)) {
        Some(lost) => Err(Report::new(
            Kind::BadRequest,
            FIELD,
            lost.clone(),
            "the checkpoint has it, the request has not",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_exactly_those_of_the_checkpoint() {
        let archives: BTreeMap<String, PathBuf> =
            ["a", "b"].map(|name| (name.to_owned(), PathBuf::from(name))).into();
        let check = |names: &[&str]| {
            same_names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>(), &archives)
        };
        assert_eq!(check(&["b", "a"]), Ok(()));
        for wrong in [&[][..], &["a"], &["a", "a"], &["a", "b", "c"], &["a", "b", "b"]] {
            assert_eq!(check(wrong).expect_err("refused").kind, Kind::BadRequest, "{wrong:?}");
        }
    }

    #[test]
    fn a_directory_without_a_checkpoint_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        let put = |text: &str| std::fs::write(directory.path().join(of_pod::OPTIONS), text).expect("written");
        assert!(archives(Path::new("/no/such/directory")).is_err());
        assert!(archives(directory.path()).is_err());
        for text in [
            "",
            "{}",
            r#"{"version": 2, "containers": {}}"#,
            r#"{"version": 1}"#,
            r#"{"version": 1, "containers": {"../../etc/x": ""}}"#,
            r#"{"version": 1, "containers": {"a": ""}}"#,
        ] {
            put(text);
            assert!(archives(directory.path()).is_err(), "{text}");
        }
        std::fs::write(directory.path().join("a.tar"), "").expect("written");
        assert_eq!(archives(directory.path()).expect("read").len(), 1);
    }
}
