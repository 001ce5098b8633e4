//! All files: which device is whose, and what is in whose way.
//!
//! A later directory's device stands for an earlier one's of the same name. Two of one directory stand in each other's way: neither is
//! to be had, until one of the files goes.
//!
//! *Invariant:* a file that is broken takes nothing from the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::file::{Content, Edits, Fault};
use crate::name;

/// A file, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where.
    pub path: PathBuf,
    /// Of which directory, in their order: the last one counts most.
    pub directory: usize,
    /// Its bytes, or why they cannot be read.
    pub bytes: Result<Vec<u8>, String>,
}

/// The devices that there are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Registry {
    files: Vec<(PathBuf, Content)>,
    /// By full name: file and device in it.
    devices: BTreeMap<String, (usize, usize)>,
    /// Why files, or devices of them, are not to be had.
    faults: Vec<String>,
    /// Names that several files of a directory have: which files.
    conflicts: BTreeMap<String, Vec<PathBuf>>,
}

impl Registry {
    /// Whether a file's name says that it is one.
    #[must_use]
    pub fn takes(name: &Path) -> bool {
        name.extension().is_some_and(|extension| extension == "json" || extension == "yaml")
    }

    /// Of these files.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        let mut registry = Registry::default();
        let mut directories = Vec::new();
        for Source { path, directory, bytes } in sources {
            let shown = path.display();
            match bytes.map_err(|error| format!("{shown}: {error}")).and_then(|bytes| parse(&path, &bytes)) {
                Ok(content) => {
                    registry.files.push((path, content));
                    directories.push(directory);
                }
                Err(fault) => registry.faults.push(fault),
            }
        }
        registry.settle(&directories);
        registry
    }

    /// Decides whose each device is.
    fn settle(&mut self, directories: &[usize]) {
        let mut claims: BTreeMap<String, Vec<(usize, usize)>> = BTreeMap::new();
        for (file, (_, content)) in self.files.iter().enumerate() {
            for (device, one) in content.devices.iter().enumerate() {
                claims.entry(format!("{}={}", content.kind, one.name)).or_default().push((file, device));
            }
        }
        for (name, claims) in claims {
            let highest = claims.iter().map(|(file, _)| directories[*file]).max();
            let mut first = claims.iter().filter(|(file, _)| Some(directories[*file]) == highest);
            if let (Some(only), None) = (first.next(), first.next()) {
                self.devices.insert(name, *only);
            } else {
                let all = claims.iter().filter(|(file, _)| Some(directories[*file]) == highest);
                let paths: Vec<PathBuf> = all.map(|(file, _)| self.files[*file].0.clone()).collect();
                self.faults.push(format!("{name} is of none: {} describe it", list(&paths)));
                self.conflicts.insert(name, paths);
            }
        }
    }

    /// Why files, or devices of them, are not to be had: each with its file, and the line where there is one.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// Full names of all devices that are to be had.
    pub fn devices(&self) -> impl Iterator<Item = &str> {
        self.devices.keys().map(String::as_str)
    }

    /// The files that describe devices.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|(path, _)| path.as_path())
    }

    /// What a container needs that is to have these devices, each once: a file's common part, before the first of its devices, and
    /// the devices' own, in the order in which they are asked for.
    ///
    /// # Errors
    /// The place of the first that is not to be had, and why.
    pub fn edits(&self, names: &[&str]) -> Result<Edits, (usize, String)> {
        let mut edits = Edits::default();
        let (mut files, mut seen) = (BTreeSet::new(), BTreeSet::new());
        for (at, name) in names.iter().enumerate() {
            let (file, device) = *self.devices.get(*name).ok_or_else(|| (at, self.missing(name)))?;
            if !seen.insert(name) {
                continue;
            }
            let content = &self.files[file].1;
            if files.insert(file) {
                edits.append(&content.edits);
            }
            edits.append(&content.devices[device].edits);
        }
        Ok(edits)
    }

    fn missing(&self, name: &str) -> String {
        if let Some(paths) = self.conflicts.get(name) {
            return format!("several files of one directory describe it: {}", list(paths));
        }
        let kind =
            name::parse(name).map(|name| format!("{}/{}", name.vendor, name.class)).unwrap_or_default();
        let mut same =
            self.files.iter().filter(|(_, content)| content.kind == kind).map(|(path, _)| path.clone());
        let paths: Vec<PathBuf> = same.by_ref().collect();
        if paths.is_empty() {
            format!("no CDI file describes a {kind}")
        } else {
            format!("there is no such device in {}", list(&paths))
        }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Content, String> {
    Content::parse(bytes).map_err(|Fault { line, place, cause }| {
        let gap = if place.is_empty() { "" } else { ": " };
        format!("{}:{line}: {place}{gap}{cause}", path.display())
    })
}
