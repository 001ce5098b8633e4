//! What a refusal has to be: a code, a message that people can read, and nothing left.
//!
//! *Invariant:* what a daemon has is asked of it and of its directories, not remembered.

use std::collections::BTreeSet;
use std::path::Path;

use tonic::{Code, Status};

use crate::cri::Client;
use crate::daemon::Daemon;

/// What is wrong with an answer, if something is: the code, a word that it lacks, something that is no language.
#[must_use]
pub fn said(name: &str, code: Code, words: &[String], status: &Status) -> Option<String> {
    let message = status.message();
    let lacks = words.iter().find(|word| !message.contains(word.as_str()));
    let fault = if status.code() != code {
        format!("the code is {:?}, not {code:?}", status.code())
    } else if let Some(word) = lacks {
        format!("the message lacks {word:?}")
    } else if let Some(dump) = dumped(message) {
        format!("the message has a dump ({dump:?})")
    } else if message.chars().any(char::is_control) {
        "the message has a control character".into()
    } else {
        return None;
    };
    Some(format!("{name}: {fault}: {message}"))
}

/// Marks of Rust's `{:?}` in what people read.
fn dumped(message: &str) -> Option<&'static str> {
    let marks = [
        "Some(", "None", "Ok(", "Err(", "Error {", "Error(", "Os {", "kind:", "source:", " { ", "\\\"",
        "PathBuf", "::",
    ];
    marks.into_iter().find(|mark| message.contains(mark))
}

/// All that a daemon has on behalf of requests: what it lists, and what lies in its directories and cgroups.
///
/// # Panics
/// If it cannot be asked.
pub async fn kept(daemon: &Daemon, client: &mut Client) -> BTreeSet<String> {
    let pods = client.pods().await.expect("a list of pods").into_iter().map(|pod| format!("pod {}", pod.id));
    let mut kept: BTreeSet<String> = pods.collect();
    let containers = client.containers().await.expect("a list of containers");
    kept.extend(containers.into_iter().map(|container| format!("container {}", container.id)));
    let (state, root) = (daemon.state(), daemon.root());
    let places =
        [state.join("pods"), state.join("containers"), state.join("network"), root.join("containers")];
    for place in places.iter().chain(&[root.join("trash"), root.join("images/ingest")]) {
        entries(place, 2, &mut kept);
    }
    for hierarchy in names(Path::new("/sys/fs/cgroup")) {
        entries(&Path::new("/sys/fs/cgroup").join(hierarchy).join(&daemon.traces.cgroup), 2, &mut kept);
    }
    kept
}

/// Directories, and files of a level less, down to `depth`.
fn entries(place: &Path, depth: usize, kept: &mut BTreeSet<String>) {
    for name in names(place) {
        let path = place.join(name);
        if path.is_dir() {
            if depth > 1 {
                entries(&path, depth - 1, kept);
            }
        } else if path.starts_with("/sys") {
            continue;
        }
        kept.insert(path.display().to_string());
    }
}

fn names(place: &Path) -> Vec<std::ffi::OsString> {
    std::fs::read_dir(place)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.file_name())
        .collect()
}
