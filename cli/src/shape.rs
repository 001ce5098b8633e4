//! Answers of the daemon become JSON: CRI's messages with the names that its JSON has, orlop's own likewise.
//!
//! *Invariant:* the forms are stable: a field is added, never renamed or taken away. Times are RFC 3339, "" for what has not
//! happened; states of lists are in a word, those of a status as CRI names them.

pub(crate) mod container;
pub(crate) mod event;
pub(crate) mod image;
pub(crate) mod own;
pub(crate) mod pod;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// What a daemon adds to a status; values that are JSON are taken as such.
fn info(info: &BTreeMap<String, String>) -> Value {
    let parsed = info.iter().map(|(key, text)| {
        let value = serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()));
        (key.clone(), value)
    });
    Value::Object(parsed.collect::<Map<_, _>>())
}
