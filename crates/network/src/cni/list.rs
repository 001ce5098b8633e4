//! A network's configuration, and the request that is derived from it for one plugin.
//!
//! *Invariant:* what is not of the protocol is passed on to the plugin as it stands in the file.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::version::Version;

/// A configuration: plugins in the order in which they are called for ADD.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct List {
    /// The network's name.
    pub(crate) name: String,
    /// Versions that it may be spoken in, each once, the oldest first; never empty.
    pub(crate) versions: Vec<Version>,
    /// CHECK is not to be called.
    pub(crate) disable_check: bool,
    /// GC is not to be called.
    pub(crate) disable_gc: bool,
    /// Never empty.
    pub(crate) plugins: Vec<Plugin>,
}

/// A plugin's part of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plugin {
    /// Name of its program.
    pub(crate) kind: String,
    /// Name of the program that it has addresses from, if it says so.
    pub(crate) ipam: Option<String>,
    /// What it wants to be told of.
    pub(crate) capabilities: BTreeSet<String>,
    /// As it stands in the file.
    raw: Map<String, Value>,
}

/// What is wrong with a configuration.
pub(crate) type Wrong = String;

impl List {
    /// Reads the text of a file: a list, or one plugin by itself (as it was before 1.0.0). `others` are plugins that lie in files
    /// of their own, asked for by the network's name; a list may forbid them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(
        text: &[u8],
        others: impl FnOnce(&str) -> Result<Vec<Plugin>, Wrong>,
    ) -> Result<Self, Wrong> {
        if text.iter().all(u8::is_ascii_whitespace) {
            return Err("it is empty".into());
        }
        let raw: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let name = string(&raw, "name")?.ok_or("it has no name")?;
        check_network_name(&name)?;
        let single = raw.contains_key("type") && !raw.contains_key("plugins");
        let mut plugins = match raw.get("plugins") {
            _ if single => vec![Plugin::of(raw.clone())?],
            Some(Value::Array(plugins)) => plugins.iter().map(Plugin::read).collect::<Result<_, _>>()?,
            Some(_) => return Err("plugins: it is no list".into()),
            None => Vec::new(),
        };
        if !single && !flag(&raw, "loadOnlyInlinedPlugins")? {
            plugins.extend(others(&name)?);
        }
        if plugins.is_empty() {
            return Err("it has no plugins".into());
        }
        Ok(List {
            versions: versions(&raw)?,
            disable_check: flag(&raw, "disableCheck")?,
            disable_gc: flag(&raw, "disableGC")?,
            name,
            plugins,
        })
    }

    /// The same as one value, to be kept: with it [`List::from_value`] makes this list again.
    pub(crate) fn to_value(&self) -> Value {
        let versions: Vec<&str> = self.versions.iter().map(|version| version.name()).collect();
        let plugins: Vec<&Map<String, Value>> = self.plugins.iter().map(|plugin| &plugin.raw).collect();
        serde_json::json!({
            "name": self.name, "cniVersions": versions, "plugins": plugins, "loadOnlyInlinedPlugins": true,
            "disableCheck": self.disable_check, "disableGC": self.disable_gc,
        })
    }

    /// What [`List::to_value`] made.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn from_value(value: &Value) -> Result<Self, Wrong> {
        List::parse(value.to_string().as_bytes(), |_| Ok(Vec::new()))
    }

    /// Whether any of its plugins wants to be told of this.
    pub(crate) fn wants(&self, capability: &str) -> bool {
        self.plugins.iter().any(|plugin| plugin.capabilities.contains(capability))
    }

    /// The newest version that it may be spoken in.
    pub(crate) fn newest(&self) -> Version {
        self.versions.last().copied().unwrap_or(Version::V030)
    }
}

impl Plugin {
    fn read(value: &Value) -> Result<Self, Wrong> {
        let raw = value.as_object().ok_or("plugins: one of them is no object")?;
        Plugin::of(raw.clone())
    }

    /// A plugin's part.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn of(raw: Map<String, Value>) -> Result<Self, Wrong> {
        let kind = string(&raw, "type")?.ok_or("a plugin has no type")?;
        check_program(&kind)?;
        let ipam = match raw.get("ipam") {
            Some(Value::Object(ipam)) => string(ipam, "type")?,
            _ => None,
        };
        if let Some(ipam) = &ipam {
            check_program(ipam)?;
        }
        let capabilities = match raw.get("capabilities") {
            None | Some(Value::Null) => BTreeSet::new(),
            Some(Value::Object(all)) => all
                .iter()
                .filter(|(_, wanted)| **wanted == Value::Bool(true))
                .map(|(name, _)| name.clone())
                .collect(),
            Some(_) => return Err(format!("plugin {kind}: capabilities: it is no object")),
        };
        Ok(Plugin { kind, ipam, capabilities, raw })
    }

    /// What the plugin is given on stdin. `told` are the capabilities that there is something to tell of; `extra` what the command
    /// adds (`prevResult`, the valid attachments).
    pub(crate) fn request(
        &self,
        network: &str,
        version: Version,
        told: &Map<String, Value>,
        extra: &[(&str, Value)],
    ) -> Vec<u8> {
        let mut request = self.raw.clone();
        request.retain(|key, _| {
            !key.starts_with("cni.dev/")
                && !["capabilities", "cniVersions", "prevResult", "runtimeConfig"].contains(&key.as_str())
        });
        request.insert("cniVersion".into(), version.name().into());
        request.insert("name".into(), network.into());
        let told: Map<String, Value> = told
            .iter()
            .filter(|(name, _)| self.capabilities.contains(*name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        if !told.is_empty() {
            request.insert("runtimeConfig".into(), told.into());
        }
        for (key, value) in extra {
            request.insert((*key).into(), value.clone());
        }
        Value::Object(request).to_string().into_bytes()
    }
}

/// The versions that a file names, of those that this client speaks.
fn versions(raw: &Map<String, Value>) -> Result<Vec<Version>, Wrong> {
    let mut named: Vec<String> = string(raw, "cniVersion")?.into_iter().collect();
    match raw.get("cniVersions") {
        None | Some(Value::Null) => {}
        Some(Value::Array(all)) => {
            for one in all {
                named.push(one.as_str().ok_or("cniVersions: one of them is no string")?.to_owned());
            }
        }
        Some(_) => return Err("cniVersions: it is no list".into()),
    }
    if named.is_empty() {
        return Err("it has no cniVersion".into());
    }
    let known: BTreeSet<Version> = named.iter().filter_map(|name| Version::parse(name)).collect();
    if known.is_empty() {
        let shown = super::failure::shown(&named.join(", "));
        return Err(format!("cniVersion {shown}: 0.3.0, 0.3.1, 0.4.0, 1.0.0 and 1.1.0 are served"));
    }
    Ok(known.into_iter().collect())
}

fn string(raw: &Map<String, Value>, key: &str) -> Result<Option<String>, Wrong> {
    match raw.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.is_empty() => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(format!("{key}: it is no string")),
    }
}

/// The specification says boolean; files in use have strings.
fn flag(raw: &Map<String, Value>, key: &str) -> Result<bool, Wrong> {
    match raw.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(set)) => Ok(*set),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("true") => Ok(true),
        Some(Value::String(text)) if text.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(format!("{key}: it is neither true nor false")),
    }
}

/// A network's name also names files.
fn check_network_name(name: &str) -> Result<(), Wrong> {
    let good = name.len() <= 128
        && name.bytes().next().is_some_and(|first| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
    if good {
        return Ok(());
    }
    let shown = super::failure::shown(name);
    Err(format!("name \"{shown}\": it is made of letters, digits, _, . and -, the first a letter or a digit"))
}

/// A program's name: the name of a file in a directory, and nothing that leads out of it.
fn check_program(name: &str) -> Result<(), Wrong> {
    let good = name.len() <= 255
        && !name.starts_with('.')
        && !name.contains(|letter: char| letter == '/' || letter == '\\' || letter.is_control());
    if good {
        Ok(())
    } else {
        Err(format!("type \"{}\": it is no name of a program", super::failure::shown(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<List, Wrong> {
        List::parse(text.as_bytes(), |_| Ok(Vec::new()))
    }

    #[test]
    fn a_list_and_a_plugin_by_itself_are_read() {
        let list = parse(
            r#"{"cniVersion":"0.4.0","cniVersions":["1.0.0","9.9.9","0.4.0"],"name":"n.1","disableCheck":"TRUE","disableGC":true,
                "plugins":[{"type":"bridge","ipam":{"type":"host-local"},"own":{"x":1}},
                           {"type":"portmap","capabilities":{"portMappings":true,"dns":false}}]}"#,
        )
        .unwrap();
        assert_eq!((list.name.as_str(), list.newest()), ("n.1", Version::V100));
        assert_eq!(list.versions, [Version::V040, Version::V100]);
        assert!(list.disable_check && list.disable_gc && list.wants("portMappings") && !list.wants("dns"));
        assert_eq!(list.plugins[0].ipam.as_deref(), Some("host-local"));
        assert_eq!(List::from_value(&list.to_value()).unwrap(), list);

        let single = parse(r#"{"cniVersion":"0.3.1","name":"n","type":"ptp"}"#).unwrap();
        assert_eq!(single.plugins.len(), 1);
        let request = single.plugins[0].request("n", Version::V031, &Map::new(), &[]);
        assert_eq!(request, br#"{"cniVersion":"0.3.1","name":"n","type":"ptp"}"#);
    }

    #[test]
    fn plugins_in_files_of_their_own_come_last() {
        let more = |name: &str| {
            assert_eq!(name, "n");
            let raw = serde_json::json!({"type": "tuning"});
            Ok(vec![Plugin::of(raw.as_object().unwrap().clone()).unwrap()])
        };
        let text = br#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"ptp"}]}"#;
        let kinds: Vec<String> =
            List::parse(text, more).unwrap().plugins.into_iter().map(|plugin| plugin.kind).collect();
        assert_eq!(kinds, ["ptp", "tuning"]);
        let only =
            br#"{"cniVersion":"1.1.0","name":"n","loadOnlyInlinedPlugins":true,"plugins":[{"type":"ptp"}]}"#;
        assert_eq!(List::parse(only, more).unwrap().plugins.len(), 1);
        assert_eq!(List::parse(br#"{"cniVersion":"1.1.0","name":"n"}"#, more).unwrap().plugins.len(), 1);
    }

    #[test]
    fn the_request_has_what_the_plugin_wants_and_nothing_reserved() {
        let list = parse(
            r#"{"cniVersion":"1.1.0","name":"n","plugins":[{"type":"p","capabilities":{"portMappings":true,"mac":true},
                "cni.dev/x":1,"prevResult":{},"runtimeConfig":{"old":1},"keep":[1,2]}]}"#,
        )
        .unwrap();
        let told = serde_json::json!({"portMappings": [{"hostPort": 1}], "dns": {}});
        let told = told.as_object().unwrap();
        let request = list.plugins[0].request("n", Version::V110, told, &[("prevResult", Value::Bool(true))]);
        let request: Value = serde_json::from_slice(&request).unwrap();
        let expected = serde_json::json!({
            "cniVersion": "1.1.0", "name": "n", "type": "p", "keep": [1, 2], "prevResult": true,
            "runtimeConfig": {"portMappings": [{"hostPort": 1}]},
        });
        assert_eq!(request, expected);
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, expected) in [
            ("", "it is empty"),
            (" \n", "it is empty"),
            ("{\"cniVersion\":", "EOF while parsing"),
            ("[]", "invalid type: sequence"),
            (r#"{"cniVersion":"1.0.0","plugins":[{"type":"p"}]}"#, "it has no name"),
            (r#"{"name":"../n","cniVersion":"1.0.0","plugins":[{"type":"p"}]}"#, "made of letters"),
            (r#"{"name":"n","plugins":[{"type":"p"}]}"#, "it has no cniVersion"),
            (r#"{"name":"n","cniVersion":"0.2.0","type":"p"}"#, "are served"),
            (r#"{"name":"n","cniVersion":1,"type":"p"}"#, "cniVersion: it is no string"),
            (r#"{"name":"n","cniVersion":"1.0.0"}"#, "it has no plugins"),
            (r#"{"name":"n","cniVersion":"1.0.0","plugins":[]}"#, "it has no plugins"),
            (r#"{"name":"n","cniVersion":"1.0.0","plugins":{}}"#, "plugins: it is no list"),
            (r#"{"name":"n","cniVersion":"1.0.0","plugins":[1]}"#, "one of them is no object"),
            (r#"{"name":"n","cniVersion":"1.0.0","plugins":[{}]}"#, "a plugin has no type"),
            (r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"../sh"}]}"#, "no name of a program"),
            (r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a/b"}]}"#, "no name of a program"),
            (
                r#"{"name":"n","cniVersion":"1.0.0","plugins":[{"type":"a","ipam":{"type":".."}}]}"#,
                "no name of a program",
            ),
            (
                r#"{"name":"n","cniVersion":"1.0.0","disableGC":"x","plugins":[{"type":"a"}]}"#,
                "neither true nor false",
            ),
        ] {
            let wrong = parse(text).unwrap_err();
            assert!(wrong.contains(expected), "{text}: {wrong}");
        }
    }
}
