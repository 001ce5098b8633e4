//! What is asked of checkpoints.
//!
//! *Invariant:* an option that is not known is refused, whatever its value: it may have been meant to matter.

use std::collections::BTreeMap;
use std::path::PathBuf;

use orlop_model::report::Report;

use super::check;

/// A path of the node that something is written to or read from.
///
/// # Errors
/// If it is not absolute, or leads up.
pub(crate) fn place(field: &str, text: &str) -> Result<PathBuf, Report> {
    let path = check::absolute(field, text)?;
    check::no_climbing(field, &path)?;
    let path: PathBuf = PathBuf::from(path).components().collect();
    if path.file_name().is_none() {
        return Err(Report::field(field, text, "it is the root directory"));
    }
    Ok(path)
}

/// Options of a checkpoint or a restore: this handler has none.
///
/// # Errors
/// Which it is asked for.
pub(crate) fn no_options(options: &BTreeMap<String, String>) -> Result<(), Report> {
    match options.keys().next() {
        Some(key) => {
            Err(Report::field("options", key, "the handler has no such option").advise("leave it out"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_absolute_and_plain() {
        assert_eq!(place("f", "/a//b/").expect("a path"), PathBuf::from("/a/b"));
        for wrong in ["", "a", "./a", "/a/../b", "/", "/.", "/a\0"] {
            assert!(place("f", wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn every_option_is_unknown() {
        no_options(&BTreeMap::new()).expect("none");
        let report = no_options(&BTreeMap::from([("tcp".into(), String::new())])).expect_err("unknown");
        assert!(report.to_string().contains("tcp"), "{report}");
    }
}
