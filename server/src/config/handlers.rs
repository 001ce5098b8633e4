//! `[handlers]`: runtimes of others, by the names that runtime classes call them by.
//!
//! ```text
//!  [handlers]
//!  default = "native"
//!  [handlers.runc]
//!  type = "oci"
//!  path = "/usr/bin/runc"
//! ```
//!
//! *Invariant:* as everywhere in a configuration: what is not known is a fault with its line. Whether a program is there is seen by who
//! runs it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::file::{by_line, shown};
use super::value::{self, Wrong};
use super::{Config, Fault};

/// `[handlers]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Handlers {
    /// The one of pods that name none; none: the built-in one.
    pub(crate) default: Option<String>,
    /// Those that are not built in.
    pub(crate) named: BTreeMap<String, Handler>,
}

/// `[handlers.NAME]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Handler {
    /// How it is spoken to.
    pub(crate) kind: HandlerKind,
    /// Its program.
    pub(crate) path: PathBuf,
    /// What goes before each of its commands.
    pub(crate) arguments: Vec<String>,
}

/// How a runtime of others is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum HandlerKind {
    /// By the command line of OCI runtimes.
    #[default]
    Oci,
}

/// The built-in one.
pub(crate) const NATIVE: &str = "native";
const KEYS: &str = "type, path, arguments";
const PATH: &str = "an absolute path without ..";

/// Where a fault is, and what about.
type At<'f> = &'f dyn Fn(usize, &str, String, &str) -> Fault;

/// Takes the section into the configuration.
pub(super) fn apply(config: &mut Config, table: &DeTable<'_>, fault: At<'_>) -> Result<(), Fault> {
    for (name, value) in by_line(table) {
        let full = format!("handlers.{}", shown(name.get_ref()));
        let wrong = |cause: Wrong, allowed: &str| fault(value.span().start, &full, cause, allowed);
        if name.get_ref() == "default" {
            config.handlers.default =
                Some(word(value.get_ref()).map_err(|cause| wrong(cause, "the name of a handler"))?);
            continue;
        }
        let DeValue::Table(keys) = value.get_ref() else {
            let cause = format!("{} where a handler belongs", value.get_ref().type_str());
            return Err(wrong(cause, &format!("default, [handlers.NAME] with {KEYS}")));
        };
        if name.get_ref() == NATIVE {
            return Err(wrong("it is built in".into(), "any other name"));
        }
        check_name(name.get_ref()).map_err(|cause| wrong(cause, "letters, digits, - and ., up to 63"))?;
        let handler = config.handlers.named.entry(name.get_ref().clone().into_owned()).or_default();
        one(handler, &full, keys, fault)?;
    }
    Ok(())
}

fn one(handler: &mut Handler, full: &str, keys: &DeTable<'_>, fault: At<'_>) -> Result<(), Fault> {
    for (key, value) in by_line(keys) {
        let name = format!("{full}.{}", shown(key.get_ref()));
        let wrong = |allowed: &'static str| {
            let (name, at) = (name.clone(), value.span().start);
            move |cause: Wrong| fault(at, &name, cause, allowed)
        };
        match key.get_ref().as_ref() {
            "type" => handler.kind = kind(value.get_ref()).map_err(wrong("\"oci\""))?,
            "path" => handler.path = value::path(value.get_ref()).map_err(wrong(PATH))?,
            "arguments" => {
                handler.arguments = words(value.get_ref()).map_err(wrong("a list of strings"))?;
            }
            _ => return Err(fault(key.span().start, &name, "there is no such key".into(), KEYS)),
        }
    }
    Ok(())
}

fn kind(value: &DeValue<'_>) -> Result<HandlerKind, Wrong> {
    match word(value)?.as_str() {
        "oci" => Ok(HandlerKind::Oci),
        "shim-v2" => Err("\"shim-v2\" is not served by this version".into()),
        other => Err(format!("{other:?} is not known")),
    }
}

fn word(value: &DeValue<'_>) -> Result<String, Wrong> {
    let text = value.as_str().ok_or_else(|| format!("{} where a string belongs", value.type_str()))?;
    if text.is_empty() || text.len() > 256 || text.chars().any(char::is_control) {
        return Err("it is empty, longer than 256 bytes, or has a control character".into());
    }
    Ok(text.to_owned())
}

fn words(value: &DeValue<'_>) -> Result<Vec<String>, Wrong> {
    let array =
        value.as_array().ok_or_else(|| format!("{} where a list of strings belongs", value.type_str()))?;
    array.iter().map(|item| word(item.get_ref())).collect()
}

/// What Kubernetes takes as the handler of a runtime class: a label of DNS, and dots as other runtimes' names have them.
fn check_name(name: &str) -> Result<(), Wrong> {
    let good = (1..=63).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'));
    if good { Ok(()) } else { Err("it is no name of a handler".into()) }
}

/// What only all files together can say.
///
/// # Errors
/// A handler without a program, a default that is none.
pub(super) fn complete(config: &Config, file: &Path) -> Result<(), Fault> {
    let fault = |key: String, cause: &str, allowed: String| Fault {
        file: file.to_owned(),
        line: None,
        key,
        cause: cause.to_owned(),
        allowed,
    };
    let handlers = &config.handlers;
    if let Some((name, _)) = handlers.named.iter().find(|(_, handler)| handler.path.as_os_str().is_empty()) {
        return Err(fault(format!("handlers.{name}.path"), "it is missing", PATH.into()));
    }
    match &handlers.default {
        Some(name) if name != NATIVE && !handlers.named.contains_key(name) => {
            let known: Vec<&str> =
                std::iter::once(NATIVE).chain(handlers.named.keys().map(String::as_str)).collect();
            Err(fault("handlers.default".into(), &format!("there is no handler {name:?}"), known.join(", ")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Handlers, Fault> {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("config.toml");
        std::fs::write(&file, text).expect("written");
        super::super::read(&file, true).map(|config| config.handlers)
    }

    #[test]
    fn handlers_are_read_by_name() {
        let text = "[handlers]\ndefault = 'c.2'\n[handlers.runc]\ntype = 'oci'\npath = '/usr/bin/runc'\n\
                    [handlers.'c.2']\npath = '/bin/crun'\narguments = ['--debug']\n";
        let handlers = read(text).expect("understood");
        assert_eq!(handlers.default.as_deref(), Some("c.2"));
        assert_eq!(handlers.named["runc"].path, Path::new("/usr/bin/runc"));
        assert_eq!(handlers.named["c.2"].arguments, ["--debug"]);
        assert_eq!(read(""), Ok(Handlers::default()));
        assert_eq!(read("handlers.default = 'native'").expect("built in").default.as_deref(), Some(NATIVE));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        for (text, line, key, words) in [
            ("handlers = 3\n", Some(1), "handlers", "integer where a section belongs"),
            ("[handlers]\nrunc = 3\n", Some(2), "handlers.runc", "where a handler belongs"),
            ("[handlers.native]\npath = '/x'\n", Some(1), "handlers.native", "built in"),
            ("[handlers.'a b']\npath = '/x'\n", Some(1), "handlers.a b", "no name of a handler"),
            ("[handlers.a]\n", None, "handlers.a.path", "is missing"),
            ("[handlers.a]\npath = 'x'\n", Some(2), "handlers.a.path", "no absolute path"),
            ("[handlers.a]\npath = '/x'\nroot = '/y'\n", Some(3), "handlers.a.root", "no such key"),
            ("[handlers.a]\npath = '/x'\ntype = 'vm'\n", Some(3), "handlers.a.type", "not known"),
            ("[handlers.a]\npath = '/x'\narguments = '-v'\n", Some(3), "handlers.a.arguments", "a list"),
            ("[handlers]\ndefault = 'b'\n", None, "handlers.default", "no handler \"b\""),
            ("[handlers]\ndefault = ''\n", Some(2), "handlers.default", "empty"),
        ] {
            let fault = read(text).expect_err(text);
            assert_eq!((fault.line, fault.key.as_str()), (line, key), "{text}");
            assert!(fault.to_string().contains(words), "{fault}");
        }
    }
}
