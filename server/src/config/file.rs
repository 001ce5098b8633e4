//! Files found, read, and taken apart with their lines.
//!
//! *Invariant:* what is read is bounded, and a file that is not there is an error only if somebody named it.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, KEYS};
use super::{Config, Fault, handlers};

/// More than any configuration has.
const MAX_BYTES: u64 = 1 << 20;

/// Reads `file` and its drop-ins. A file that is not there is none, unless it is `named`: then it has to be there.
///
/// # Errors
/// The first [`Fault`], in the order in which files are read and lines stand in them.
pub(crate) fn read(file: &Path, named: bool) -> Result<Config, Fault> {
    let mut config = Config::default();
    match contents(file) {
        Ok(text) => apply(&mut config, file, &text)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => {}
        Err(error) => return Err(whole(file, &error)),
    }
    for drop_in in drop_ins(file)? {
        let text = contents(&drop_in).map_err(|error| whole(&drop_in, &error))?;
        apply(&mut config, &drop_in, &text)?;
    }
    handlers::complete(&config, file)?;
    Ok(config)
}

/// `config.d/*.toml` beside `config.toml`, by name.
fn drop_ins(file: &Path) -> Result<Vec<PathBuf>, Fault> {
    let directory = file.with_extension("d");
    let entries = match fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(whole(&directory, &error)),
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| whole(&directory, &error))?.path();
        if path.extension() == Some(OsStr::new("toml")) {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn contents(file: &Path) -> io::Result<String> {
    // Asked before it is opened: opening a FIFO waits for a writer.
    if !fs::metadata(file)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut text = String::new();
    fs::File::open(file)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it has more than 1 MiB"));
    }
    Ok(text)
}

fn whole(file: &Path, cause: &dyn std::fmt::Display) -> Fault {
    Fault {
        file: file.to_owned(),
        line: None,
        key: String::new(),
        cause: cause.to_string(),
        allowed: String::new(),
    }
}

/// Takes all keys of one file into the configuration.
pub(super) fn apply(config: &mut Config, file: &Path, text: &str) -> Result<(), Fault> {
    let fault = |at: usize, key: &str, cause: String, allowed: &str| Fault {
        file: file.to_owned(),
        line: Some(text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1),
        key: key.to_owned(),
        cause,
        allowed: allowed.to_owned(),
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        fault(at, "", error.message().to_owned(), "")
    })?;
    for (section, value) in by_line(table.get_ref()) {
        let known = keys::of_section(section.get_ref());
        let at = section.span().start;
        let named = section.get_ref() == "handlers";
        if known.is_empty() && !named {
            let sections = format!("[{}], [handlers]", keys::sections().join("], ["));
            return Err(fault(at, &shown(section.get_ref()), "there is no such section".into(), &sections));
        }
        let DeValue::Table(table) = value.get_ref() else {
            let cause = format!("{} where a section belongs", value.get_ref().type_str());
            return Err(fault(at, section.get_ref(), cause, &format!("[{}]", section.get_ref())));
        };
        if named {
            handlers::apply(config, table, &fault)?;
            continue;
        }
        for (name, value) in by_line(table) {
            let full = format!("{}.{}", section.get_ref(), shown(name.get_ref()));
            let Some(key) = KEYS.iter().find(|key| key.name == full) else {
                let cause = "there is no such key".into();
                return Err(fault(name.span().start, &full, cause, &known.join(", ")));
            };
            (key.set)(config, value.get_ref())
                .map_err(|wrong| fault(value.span().start, &full, wrong, key.allowed))?;
        }
    }
    Ok(())
}

/// A table's entries in the order in which they stand in the file.
pub(super) fn by_line<'t, 'i>(
    table: &'t DeTable<'i>,
) -> Vec<(&'t Spanned<std::borrow::Cow<'i, str>>, &'t Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A name as far as an error message has room for it.
pub(super) fn shown(name: &str) -> String {
    name.chars().take(64).flat_map(char::escape_debug).collect()
}
