//! Which configuration is in force.
//!
//! Of the files of the directory that end in `.conflist`, `.conf` or `.json` the first by name that can be understood is. Once one
//! is in force it stays so while its file is there and cannot be understood (it may be half written), and so does an earlier one
//! that was never good: a broken file takes no node's network away.
//!
//! *Invariant:* pure but for the reading of files, which is bounded.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::list::{List, Plugin};

/// More than any configuration has.
const MOST: u64 = 1 << 20;

/// A file of the directory.
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    /// What it says, or what is wrong with it.
    pub(crate) list: Result<List, String>,
}

/// All of them by name.
///
/// # Errors
/// If the directory cannot be read.
pub(crate) fn scan(directory: &Path) -> io::Result<Vec<Found>> {
    let mut all = Vec::new();
    for name in names(directory, &["conflist", "conf", "json"])? {
        let others = |network: &str| others(directory, network);
        let list = contents(&directory.join(&name)).and_then(|text| List::parse(&text, others));
        all.push(Found { name, list });
    }
    Ok(all)
}

/// Names of files that end so, in order. Those that begin with a dot are being written.
fn names(directory: &Path, endings: &[&str]) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        let ending = Path::new(&name).extension().and_then(OsStr::to_str);
        if !name.starts_with('.') && ending.is_some_and(|ending| endings.contains(&ending)) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Plugins of a network that lie in files of their own, in a directory of the network's name.
fn others(directory: &Path, network: &str) -> Result<Vec<Plugin>, String> {
    let directory = directory.join(network);
    let names = match names(&directory, &["conf"]) {
        Ok(names) => names,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(format!("{}: {error}", directory.display())),
    };
    let read = |name: &String| -> Result<Plugin, String> {
        let text = contents(&directory.join(name))?;
        let raw: Map<String, Value> = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        Plugin::of(raw)
    };
    names.iter().map(|name| read(name).map_err(|wrong| format!("{network}/{name}: {wrong}"))).collect()
}

fn contents(file: &Path) -> Result<Vec<u8>, String> {
    let read = || -> io::Result<Vec<u8>> {
        // Asked before it is opened: opening a FIFO waits for a writer.
        if !fs::metadata(file)?.is_file() {
            return Err(io::Error::other("it is no regular file"));
        }
        let mut text = Vec::new();
        fs::File::open(file)?.take(MOST + 1).read_to_end(&mut text)?;
        if text.len() as u64 > MOST {
            return Err(io::Error::other("it has more than 1 MiB"));
        }
        Ok(text)
    };
    read().map_err(|error| error.to_string())
}

/// A configuration that is in force.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InForce {
    /// The name of its file.
    pub(crate) file: String,
    pub(crate) list: Arc<List>,
}

/// What follows from the files.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Choice {
    /// What is in force now; none: nothing is.
    pub(crate) in_force: Option<InForce>,
    /// Whether it is so though its file no longer says it.
    pub(crate) kept: bool,
    /// Files that come before it, or are all that there is, and what is wrong with them.
    pub(crate) faults: Vec<String>,
}

/// Chooses, when `before` was in force.
pub(crate) fn choose(before: Option<&InForce>, all: Vec<Found>) -> Choice {
    let mut choice = Choice::default();
    for Found { name, list } in all {
        match list {
            Ok(list) => {
                choice.in_force = Some(InForce { file: name, list: Arc::new(list) });
                return choice;
            }
            Err(wrong) => {
                choice.faults.push(format!("{name}: {wrong}"));
                if let Some(before) = before.filter(|before| before.file == name) {
                    choice.in_force = Some(before.clone());
                    choice.kept = true;
                    return choice;
                }
            }
        }
    }
    choice
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, network: Option<&str>) -> Found {
        let text =
            |name: &str| format!(r#"{{"cniVersion":"1.0.0","name":"{name}","plugins":[{{"type":"p"}}]}}"#);
        let list = match network {
            Some(network) => List::parse(text(network).as_bytes(), |_| Ok(Vec::new())),
            None => Err("bad".into()),
        };
        Found { name: name.into(), list }
    }

    fn chosen(before: Option<&InForce>, all: Vec<Found>) -> (String, bool, usize, Option<InForce>) {
        let choice = choose(before, all);
        let name = choice.in_force.as_ref().map(|of| of.list.name.clone()).unwrap_or_default();
        (name, choice.kept, choice.faults.len(), choice.in_force)
    }

    #[test]
    fn the_first_good_one_is_in_force_and_stays_while_its_file_is_broken() {
        let (name, kept, faults, now) =
            chosen(None, vec![found("0.conf", None), found("1.conf", Some("a")), found("2.conf", Some("b"))]);
        assert_eq!((name.as_str(), kept, faults), ("a", false, 1));
        let now = now.as_ref();
        // Its own file is half written.
        let (name, kept, faults, _) = chosen(now, vec![found("1.conf", None), found("2.conf", Some("b"))]);
        assert_eq!((name.as_str(), kept, faults), ("a", true, 1));
        // A file that comes before it is.
        let (name, kept, ..) = chosen(now, vec![found("0.conf", None), found("1.conf", Some("c"))]);
        assert_eq!((name.as_str(), kept), ("c", false));
        // One that comes before it is good.
        assert_eq!(chosen(now, vec![found("0.conf", Some("z")), found("1.conf", Some("a"))]).0, "z");
        // Its file is gone.
        assert_eq!(chosen(now, vec![found("2.conf", Some("b"))]).0, "b");
        assert_eq!(chosen(now, vec![found("2.conf", None)]).0, "");
        assert_eq!(chosen(now, vec![]).0, "");
    }

    #[test]
    fn files_are_found_by_their_endings_and_read_with_bounds() {
        let directory = std::env::temp_dir().join(format!("orlop-cni-scan-{}", std::process::id()));
        assert!(scan(&directory).is_err());
        fs::create_dir_all(directory.join("n")).unwrap();
        let good = r#"{"cniVersion":"1.0.0","name":"n","plugins":[{"type":"p"}]}"#;
        for name in ["b.conflist", "a.json", "c.conf", ".d.conf", "e.txt", "f.conflist.swp"] {
            fs::write(directory.join(name), good).unwrap();
        }
        fs::write(directory.join("n/1.conf"), r#"{"type":"q"}"#).unwrap();
        fs::create_dir(directory.join("g.conf")).unwrap();
        fs::write(directory.join("h.conf"), " ".repeat((1 << 20) + 1)).unwrap();
        std::os::unix::fs::symlink("nowhere", directory.join("i.conf")).unwrap();
        let all = scan(&directory).unwrap();
        let names: Vec<&str> = all.iter().map(|found| found.name.as_str()).collect();
        assert_eq!(names, ["a.json", "b.conflist", "c.conf", "g.conf", "h.conf", "i.conf"]);
        let plugins = all.iter().map(|found| found.list.as_ref().map_or(0, |list| list.plugins.len()));
        assert_eq!(plugins.collect::<Vec<_>>(), [2, 2, 2, 0, 0, 0]);
        fs::write(directory.join("n/1.conf"), "{").unwrap();
        assert!(scan(&directory).unwrap()[0].list.as_ref().unwrap_err().starts_with("n/1.conf: "));
        fs::remove_dir_all(directory).unwrap();
    }
}
