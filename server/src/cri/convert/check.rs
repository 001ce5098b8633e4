//! What a text, a path, a number may be.
//!
//! *Invariant:* each function names the field that it was given, and looks at nothing but the value.

use std::collections::BTreeMap;

use orlop_model::report::Report;

/// The longest path that the kernel takes, without the ending NUL: `PATH_MAX`.
const PATH_MAX: usize = 4095;
/// The longest file name: `NAME_MAX`.
const NAME_MAX: usize = 255;
/// The longest argument or `NAME=value` that execve(2) takes, without the ending NUL: `MAX_ARG_STRLEN`.
pub(super) const ARGUMENT_MAX: usize = 128 * 1024 - 1;
/// Labels or annotations of one thing: Kubernetes takes 256 KiB of a pod, and adds to them.
const MAP_MAX: usize = 512 * 1024;
/// The longest name of an object in Kubernetes.
const OBJECT_NAME_MAX: usize = 253;

/// A text without NUL and other control characters, of up to `max` bytes.
pub(super) fn text<'t>(field: &str, text: &'t str, max: usize) -> Result<&'t str, Report> {
    if text.len() > max {
        return Err(Report::field(field, text, format_args!("it has {} bytes of {max} at most", text.len())));
    }
    if text.chars().any(char::is_control) {
        return Err(Report::field(field, text, "it has a control character"));
    }
    Ok(text)
}

/// A name that is safe as a file name: not empty, without `/`, not `.` or `..`.
pub(super) fn name(field: &str, name: &str) -> Result<String, Report> {
    if name.is_empty() {
        return Err(Report::field(field, name, "it is empty"));
    }
    text(field, name, OBJECT_NAME_MAX)?;
    if name.contains('/') || name == "." || name == ".." {
        return Err(Report::field(field, name, "it has a / or is a directory's own name"));
    }
    Ok(name.to_owned())
}

fn path<'t>(field: &str, path: &'t str) -> Result<&'t str, Report> {
    text(field, path, PATH_MAX)?;
    if path.split('/').any(|part| part.len() > NAME_MAX) {
        return Err(Report::field(field, path, format_args!("a part of it has over {NAME_MAX} bytes")));
    }
    Ok(path)
}

/// An absolute path, as it is.
pub(super) fn absolute(field: &str, text: &str) -> Result<String, Report> {
    if path(field, text)?.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(Report::field(field, text, "it is no absolute path").advise("begin it with a /"))
    }
}

/// An absolute path in a container, without empty, `.` and `..` parts; `..` does not lead above the root.
pub(super) fn inside(field: &str, text: &str) -> Result<String, Report> {
    absolute(field, text)?;
    let mut parts = Vec::new();
    for part in text.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            other => parts.push(other),
        }
    }
    Ok(format!("/{}", parts.join("/")))
}

/// A path without `..` parts.
pub(super) fn no_climbing(field: &str, text: &str) -> Result<(), Report> {
    if text.split('/').any(|part| part == "..") {
        return Err(Report::field(field, text, "it has a .. in it"));
    }
    Ok(())
}

/// A path below `what`.
pub(super) fn below(field: &str, text: &str, what: &str) -> Result<String, Report> {
    path(field, text)?;
    no_climbing(field, text)?;
    if text.starts_with('/') {
        return Err(
            Report::field(field, text, "it is absolute").advise(format!("make it relative to {what}"))
        );
    }
    Ok(text.to_owned())
}

/// A path of a file below `what`.
pub(super) fn file_below(field: &str, text: &str, what: &str) -> Result<String, Report> {
    below(field, text, what)?;
    if text.ends_with('/') || text.rsplit('/').next() == Some(".") {
        return Err(Report::field(field, text, "it names a directory, not a file"));
    }
    Ok(text.to_owned())
}

/// A cgroup's path from the root, with a leading slash and none at the end.
pub(super) fn cgroup(field: &str, text: &str) -> Result<String, Report> {
    no_climbing(field, path(field, text)?)?;
    inside(field, &format!("/{text}"))
}

/// A number of `range`.
pub(super) fn within(field: &str, number: i64, range: std::ops::RangeInclusive<i64>) -> Result<i64, Report> {
    if range.contains(&number) {
        Ok(number)
    } else {
        let cause = format_args!("it is not within {} to {}", range.start(), range.end()).to_string();
        Err(Report::field(field, number, cause))
    }
}

/// A user or group id; the last number means "none" to the kernel.
pub(super) fn id(field: &str, number: i64) -> Result<u32, Report> {
    within(field, number, 0..=i64::from(u32::MAX) - 1)?;
    u32::try_from(number).map_err(|error| Report::field(field, number, error))
}

/// Labels or annotations, as they are.
pub(super) fn map(field: &str, map: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Report> {
    let bytes: usize = map.iter().map(|(key, value)| key.len() + value.len()).sum();
    if bytes > MAP_MAX {
        return Err(Report::field(field, "", format_args!("they have {bytes} bytes of {MAP_MAX} at most")));
    }
    if map.contains_key("") {
        return Err(Report::field(field, "", "a key is empty"));
    }
    Ok(map.clone())
}

/// A program's arguments: no NUL, none longer than the kernel takes. May be empty.
///
/// # Errors
/// A report that names the field and the argument's place.
pub(crate) fn command(field: &str, arguments: &[String]) -> Result<Vec<String>, Report> {
    for (at, argument) in arguments.iter().enumerate() {
        let field = || format!("{field}[{at}]");
        if argument.contains('\0') {
            return Err(Report::field(field(), "", "it has a NUL in it"));
        }
        if argument.len() > ARGUMENT_MAX {
            let cause = format_args!("it has {} bytes of {ARGUMENT_MAX} at most", argument.len()).to_string();
            return Err(Report::field(field(), "", cause));
        }
    }
    Ok(arguments.to_vec())
}

/// Program and arguments of a process beside the first, the program named.
///
/// # Errors
/// A report that names the field and what is wrong with it.
pub(crate) fn program(field: &str, command_line: &[String]) -> Result<Vec<String>, Report> {
    let command = command(field, command_line)?;
    if command.first().is_none_or(String::is_empty) {
        return Err(Report::field(field, "", "names no program; give at least its path or name"));
    }
    Ok(command)
}
