//! What was attached, and with what: one file a pod, on a disk that outlives a boot.
//!
//! *Invariant:* a file is whole or not there. It is there before the first plugin runs and until the last DEL has succeeded, so who
//! finds none has nothing to undo.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::list::List;
use super::outcome::Outcome;
use super::version::Version;
use crate::error::Error;
use crate::record;

/// What DEL needs to know.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Record {
    pub(crate) id: String,
    pub(crate) ifname: String,
    pub(crate) netns: PathBuf,
    /// The configuration as it was in force.
    pub(crate) list: List,
    /// The version that was spoken.
    pub(crate) version: Version,
    pub(crate) arguments: Vec<(String, String)>,
    pub(crate) told: Map<String, Value>,
    /// What ADD brought; none: it had not ended.
    pub(crate) outcome: Option<Outcome>,
}

/// All records.
#[derive(Debug)]
pub(crate) struct Records {
    directory: PathBuf,
}

impl Records {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Records { directory }
    }

    /// Where the record of a pod is.
    pub(crate) fn path(&self, id: &str) -> PathBuf {
        self.directory.join(id)
    }

    /// Writes a record, and has it on the disk before it returns.
    ///
    /// # Errors
    /// [`Error::Owner`], [`Error::File`].
    pub(crate) fn put(&self, of: &Record) -> Result<(), Error> {
        record::check_owner(&of.id)?;
        let path = self.path(&of.id);
        let hidden = self.directory.join(format!(".{}", of.id));
        let text = to_value(of).to_string();
        let write = || {
            let mut file = fs::File::options().write(true).create(true).truncate(true).open(&hidden)?;
            file.write_all(text.as_bytes())?;
            // What a plugin keeps on the disk may outlive a power cut: so must what undoes it.
            file.sync_data()?;
            fs::rename(&hidden, &path)
        };
        match write() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make(&self.directory)?;
                write()
            }
            written => written,
        }
        .map_err(Error::file("write", path))
    }

    /// The record of a pod, if there is one.
    ///
    /// # Errors
    /// [`Error::Owner`], [`Error::File`] also for one that cannot be understood.
    pub(crate) fn get(&self, id: &str) -> Result<Option<Record>, Error> {
        record::check_owner(id)?;
        let path = self.path(id);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        parse(&text).map(Some).map_err(|wrong| Error::file("read", path)(io::Error::other(wrong)))
    }

    /// Removes the record of a pod; it may be absent.
    ///
    /// # Errors
    /// [`Error::Owner`], [`Error::File`].
    pub(crate) fn remove(&self, id: &str) -> Result<(), Error> {
        record::check_owner(id)?;
        record::remove(&self.directory, id)
    }

    /// Removes what a daemon that was killed was about to write. Before anything is written.
    pub(crate) fn sweep(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        for entry in entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b".")) {
            let _ = fs::remove_file(entry.path());
        }
    }

    /// The ids of all records.
    pub(crate) fn ids(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().filter_map(Result::ok);
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.filter(|name| record::check_owner(name).is_ok()).collect()
    }
}

/// For root alone: annotations may hold what others are not to see.
fn make(directory: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(Error::file("create", directory))
}

/// Version of these files.
const VERSION: u64 = 1;

fn to_value(of: &Record) -> Value {
    json!({
        "record": VERSION, "id": of.id, "ifname": of.ifname, "netns": of.netns.display().to_string(),
        "list": of.list.to_value(), "version": of.version.name(), "arguments": of.arguments, "told": of.told,
        "result": of.outcome.as_ref().map(Outcome::value),
    })
}

fn parse(text: &[u8]) -> Result<Record, String> {
    let value: Value = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if value["record"].as_u64() != Some(VERSION) {
        return Err("it is of another version".into());
    }
    let string = |key: &str| value[key].as_str().map(str::to_owned).ok_or_else(|| format!("it has no {key}"));
    let arguments = serde_json::from_value(value["arguments"].clone()).map_err(|error| error.to_string())?;
    Ok(Record {
        id: string("id")?,
        ifname: string("ifname")?,
        netns: string("netns")?.into(),
        list: List::from_value(&value["list"])?,
        version: Version::parse(&string("version")?).ok_or("its version is not known")?,
        arguments,
        told: value["told"].as_object().cloned().unwrap_or_default(),
        outcome: match &value["result"] {
            Value::Null => None,
            result => Some(Outcome::from_value(result)?),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(outcome: Option<Outcome>) -> Record {
        let text = br#"{"cniVersion":"0.4.0","name":"n","plugins":[{"type":"p","x":{"y":[1]}}]}"#;
        Record {
            id: "abc".into(),
            ifname: "eth0".into(),
            netns: "/run/netns/abc".into(),
            list: List::parse(text, |_| Ok(Vec::new())).unwrap(),
            version: Version::V040,
            arguments: vec![("K8S_POD_NAME".into(), "web".into())],
            told: json!({"dns": {}}).as_object().unwrap().clone(),
            outcome,
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let directory = std::env::temp_dir().join(format!("orlop-cni-record-{}", std::process::id()));
        let records = Records::new(directory.join("deep"));
        assert!(records.ids().is_empty() && records.get("abc").unwrap().is_none());
        let outcome = Outcome::parse(br#"{"ips":[{"address":"10.0.0.2/24"}]}"#, Version::V040).unwrap();
        for of in [record(None), record(Some(outcome))] {
            records.put(&of).unwrap();
            assert_eq!(records.get("abc").unwrap().unwrap(), of);
        }
        fs::write(directory.join("deep/.def"), "half").unwrap();
        records.sweep();
        assert_eq!(fs::read_dir(directory.join("deep")).unwrap().count(), 1);
        assert_eq!(records.ids(), ["abc"]);
        for bad in ["", "{}", "{\"record\":2}", "{\"record\":1,\"id\":\"abc\"}"] {
            fs::write(records.path("abc"), bad).unwrap();
            assert!(records.get("abc").is_err(), "{bad}");
        }
        records.remove("abc").unwrap();
        records.remove("abc").unwrap();
        assert!(records.get("../abc").is_err());
        fs::remove_dir_all(directory).unwrap();
    }
}
