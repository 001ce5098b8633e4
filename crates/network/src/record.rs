//! Small files that are whole or not there.
//!
//! *Invariant:* a file that is being written has a name that begins with a dot, and is swept when its directory is read.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::Error;

/// Checks that `owner` can name a file.
pub(crate) fn check_owner(owner: &str) -> Result<(), Error> {
    let good = (1..=64).contains(&owner.len())
        && owner.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if good {
        Ok(())
    } else {
        Err(Error::Owner(owner.chars().take(128).flat_map(char::escape_debug).collect()))
    }
}

/// Writes `text` to a file of this name, in place of any other.
pub(crate) fn put(directory: &Path, name: &str, text: &str) -> Result<(), Error> {
    let hidden = write_hidden(directory, name, text)?;
    let path = directory.join(name);
    fs::rename(hidden, &path).map_err(Error::file("write", path))
}

/// Writes `text` to a file of this name; false if there is one already.
pub(crate) fn put_new(directory: &Path, name: &str, text: &str) -> Result<bool, Error> {
    let hidden = write_hidden(directory, name, text)?;
    let path = directory.join(name);
    // A link, unlike a rename, never replaces; and the name appears with all of the content.
    let linked = fs::hard_link(&hidden, &path);
    let swept = fs::remove_file(&hidden);
    match linked {
        Ok(()) => swept.map(|()| true).map_err(Error::file("remove", hidden)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(Error::file("write", path)(error)),
    }
}

fn write_hidden(directory: &Path, name: &str, text: &str) -> Result<PathBuf, Error> {
    // No two writers share a hidden file, not even two daemons that ran for a moment side by side.
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let hidden = directory.join(format!(".{name}-{}-{number}", std::process::id()));
    match fs::write(&hidden, text) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(directory).map_err(Error::file("create", directory))?;
            fs::write(&hidden, text).map_err(Error::file("write", &hidden))?;
        }
        written => written.map_err(Error::file("write", &hidden))?,
    }
    Ok(hidden)
}

/// Removes a file; it may be absent.
pub(crate) fn remove(directory: &Path, name: &str) -> Result<(), Error> {
    let path = directory.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path)(error)),
        _ => Ok(()),
    }
}

/// All files of a directory, name and text; none if there is no directory. What was left half-written is swept.
pub(crate) fn all(directory: &Path) -> Result<Vec<(String, String)>, Error> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(Error::file("read", directory))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::file("read", directory))?.file_name();
        let Some(name) = name.to_str() else { continue };
        if name.starts_with('.') {
            remove(directory, name)?;
            continue;
        }
        let path = directory.join(name);
        match fs::read_to_string(&path) {
            Ok(text) => found.push((name.to_owned(), text)),
            // One file that cannot be read must not stop all others: it is listed with nothing in it.
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "a record of the network cannot be read");
                found.push((name.to_owned(), String::new()));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_name_files_and_nothing_else() {
        assert!(check_owner(&"0a".repeat(32)).is_ok());
        for bad in ["", ".", "..", "a/b", "A", "a b", ".hidden", "ä", &"a".repeat(65), "a\0"] {
            assert!(check_owner(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_is_taken_once() {
        let directory = std::env::temp_dir().join(format!("orlop-record-{}", std::process::id()));
        assert!(put_new(&directory, "a", "1").unwrap());
        assert!(!put_new(&directory, "a", "2").unwrap());
        fs::write(directory.join(".half"), "x").unwrap();
        assert_eq!(all(&directory).unwrap(), [("a".to_owned(), "1".to_owned())]);
        assert!(!directory.join(".half").exists());
        put(&directory, "a", "3").unwrap();
        assert_eq!(all(&directory).unwrap(), [("a".to_owned(), "3".to_owned())]);
        remove(&directory, "a").unwrap();
        remove(&directory, "a").unwrap();
        assert!(all(&directory).unwrap().is_empty());
        fs::remove_dir_all(directory).unwrap();
    }
}
