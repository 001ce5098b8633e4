//! Files of hook directories: which program is run for which containers, in the format that podman and CRI-O read (oci-hooks(5),
//! 1.0.0).
//!
//! ```json
//! {"version": "1.0.0", "hook": {"path": "/usr/bin/tool", "args": ["tool", "--on"]},
//!  "when": {"annotations": {"^vendor\\.com/wants$": "^tool$"}}, "stages": ["createContainer"]}
//! ```
//!
//! *Invariant:* a file that is broken is so by itself, with its line, and takes nothing from the others.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Hook, Hooks, Spec};
use orlop_wire::hook::Point;
use regex::Regex;
use serde::Deserialize;

/// A file as it was found: where, and its bytes or why they cannot be read.
pub type Source = (PathBuf, Result<Vec<u8>, String>);

/// The hooks of some files.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    /// By the files' names, as they are run.
    all: Vec<(PathBuf, Rule)>,
    faults: Vec<String>,
}

impl PartialEq for Registry {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&(PathBuf, Rule), &(PathBuf, Rule))| {
            one.0 == other.0 && one.1.text == other.1.text
        };
        self.faults == other.faults
            && self.all.len() == other.all.len()
            && self.all.iter().zip(&other.all).all(same)
    }
}

/// One hook, when it is run, and for whom.
#[derive(Debug, Clone)]
struct Rule {
    hook: Hook,
    points: Vec<Point>,
    when: When,
    /// As it was written.
    text: String,
}

#[derive(Debug, Clone)]
struct When {
    always: Option<bool>,
    bind_mounts: Option<bool>,
    annotations: Vec<(Regex, Regex)>,
    commands: Vec<Regex>,
    /// Whether one condition is enough.
    or: bool,
}

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    version: String,
    hook: FileHook,
    when: FileWhen,
    stages: Vec<String>,
}

#[derive(Deserialize)]
struct FileHook {
    path: PathBuf,
    args: Option<Vec<String>>,
    env: Option<Vec<String>>,
    timeout: Option<i64>,
}

#[derive(Deserialize)]
struct FileWhen {
    always: Option<bool>,
    #[serde(rename = "hasBindMounts")]
    bind_mounts: Option<bool>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(default)]
    commands: Vec<String>,
    #[serde(default)]
    or: bool,
}

/// What of a container decides which hooks it gets, beside its spec.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Its annotations.
    pub annotations: &'a BTreeMap<String, String>,
    /// Whether directories or files of the node were asked for to be mounted.
    pub bind_mounts: bool,
}

impl Registry {
    /// Whether a file's name says that it is one.
    #[must_use]
    pub fn takes(name: &Path) -> bool {
        name.extension().is_some_and(|extension| extension == "json")
    }

    /// Of these files, those of the directory that counts most last: of two with one name the last counts.
    #[must_use]
    pub fn new(sources: Vec<Source>) -> Self {
        let mut registry = Registry::default();
        let mut by_name: BTreeMap<(String, String), (PathBuf, Rule)> = BTreeMap::new();
        for (path, bytes) in sources {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            match bytes
                .map_err(|error| format!("{}: {error}", path.display()))
                .and_then(|bytes| rule(&path, &bytes))
            {
                Ok(rule) => {
                    by_name.insert((name.to_lowercase(), name), (path, rule));
                }
                Err(fault) => registry.faults.push(fault),
            }
        }
        registry.all = by_name.into_values().collect();
        registry
    }

    /// What is wrong with files, each with its path and line.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The files, in the order in which their hooks are run.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        self.all.iter().map(|(path, _)| path.as_path())
    }

    /// Adds the hooks that a container gets, behind those that its spec has; from which files they are.
    pub fn apply(&self, spec: &mut Spec, subject: Subject<'_>) -> Vec<&Path> {
        let command = spec.process().as_ref().and_then(|process| process.args().as_ref()?.first().cloned());
        let command = command.unwrap_or_default();
        let due: Vec<_> = self.all.iter().filter(|(_, rule)| rule.when.is_met(&command, subject)).collect();
        if due.is_empty() {
            return Vec::new();
        }
        let mut hooks = spec.hooks().clone().unwrap_or_default();
        for (_, rule) in &due {
            for point in &rule.points {
                of_point(&mut hooks, *point).get_or_insert_default().push(rule.hook.clone());
            }
        }
        spec.set_hooks(Some(hooks));
        due.into_iter().map(|(path, _)| path.as_path()).collect()
    }
}

fn of_point(hooks: &mut Hooks, point: Point) -> &mut Option<Vec<Hook>> {
    match point {
        Point::Prestart => hooks.prestart_mut(),
        Point::CreateRuntime => hooks.create_runtime_mut(),
        Point::CreateContainer => hooks.create_container_mut(),
        Point::StartContainer => hooks.start_container_mut(),
        Point::Poststart => hooks.poststart_mut(),
        Point::Poststop => hooks.poststop_mut(),
    }
}

impl When {
    /// Whether all conditions that there are hold, or one of them where one is enough. Of commands one is always enough.
    fn is_met(&self, command: &str, subject: Subject<'_>) -> bool {
        let annotated = |(key, value): &(Regex, Regex)| {
            subject.annotations.iter().any(|(name, text)| key.is_match(name) && value.is_match(text))
        };
        let mut conditions = Vec::new();
        conditions.extend(self.always);
        conditions.extend(self.bind_mounts.map(|wanted| wanted && subject.bind_mounts));
        conditions.extend(self.annotations.iter().map(annotated));
        if !self.commands.is_empty() {
            conditions.push(self.commands.iter().any(|pattern| pattern.is_match(command)));
        }
        match (conditions.is_empty(), self.or) {
            (true, _) => false,
            (false, true) => conditions.contains(&true),
            (false, false) => !conditions.contains(&false),
        }
    }
}

fn rule(path: &Path, bytes: &[u8]) -> Result<Rule, String> {
    let text = String::from_utf8_lossy(bytes).into_owned();
    let shown = path.display();
    let file: File =
        serde_json::from_slice(bytes).map_err(|error| format!("{shown}:{}: {error}", error.line()))?;
    // The line in which a value stands, as far as its text tells it.
    let fault = |needle: &str, cause: String| {
        let line = text.lines().position(|line| line.contains(needle)).map_or(1, |line| line + 1);
        format!("{shown}:{line}: {cause}")
    };
    if file.version != "1.0.0" {
        return Err(fault("\"version\"", format!("version: {:?} must be \"1.0.0\"", file.version)));
    }
    if !file.hook.path.is_absolute() {
        let cause = format!("hook.path: {:?} must be absolute", file.hook.path.display().to_string());
        return Err(fault("\"path\"", cause));
    }
    if file.hook.timeout.is_some_and(|seconds| seconds < 1) {
        return Err(fault("\"timeout\"", "hook.timeout: must be 1 or more".into()));
    }
    let pattern = |place: &str, pattern: &str| {
        let quoted = serde_json::Value::from(pattern).to_string();
        Regex::new(pattern)
            .map_err(|error| fault(&quoted, format!("{place}: {pattern:?} is no pattern: {error}")))
    };
    let mut annotations = Vec::new();
    for (key, value) in &file.when.annotations {
        annotations.push((pattern("when.annotations", key)?, pattern("when.annotations", value)?));
    }
    let commands: Result<_, String> =
        file.when.commands.iter().map(|command| pattern("when.commands", command)).collect();
    let mut points = Vec::new();
    for stage in &file.stages {
        let point = Point::ALL.into_iter().find(|point| point.name() == stage);
        let unknown = || {
            let known: Vec<&str> = Point::ALL.iter().map(|point| point.name()).collect();
            fault(&format!("{stage:?}"), format!("stages: {stage:?} must be one of {}", known.join(", ")))
        };
        points.push(point.ok_or_else(unknown)?);
    }
    let mut hook = Hook::default();
    hook.set_path(file.hook.path)
        .set_args(file.hook.args)
        .set_env(file.hook.env)
        .set_timeout(file.hook.timeout);
    let when = When {
        always: file.when.always,
        bind_mounts: file.when.bind_mounts,
        annotations,
        commands: commands?,
        or: file.when.or,
    };
    Ok(Rule { hook, points, when, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, when: &str, stages: &str) -> Source {
        let text = format!(
            "{{\"version\": \"1.0.0\",\n \"hook\": {{\"path\": \"/bin/{name}\"}},\n \"when\": {when},\n \"stages\": {stages}}}"
        );
        (format!("/d/{name}.json").into(), Ok(text.into_bytes()))
    }

    fn due(
        sources: Vec<Source>,
        command: &str,
        annotations: &[(&str, &str)],
        bind_mounts: bool,
    ) -> Vec<String> {
        let registry = Registry::new(sources);
        assert_eq!(registry.faults(), &[] as &[String]);
        let mut process = oci_spec::runtime::Process::default();
        process.set_args(Some(vec![command.to_owned()]));
        let mut spec = Spec::default();
        spec.set_process(Some(process));
        let annotations =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let files = registry.apply(&mut spec, Subject { annotations: &annotations, bind_mounts });
        files.iter().map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect()
    }

    #[test]
    fn all_conditions_have_to_hold_and_none_is_never_met() {
        let all = "[\"prestart\"]";
        let cases = [
            ("always", "{\"always\": true}"),
            ("never", "{\"always\": false}"),
            ("empty", "{}"),
            ("binds", "{\"hasBindMounts\": true}"),
            ("nobinds", "{\"hasBindMounts\": false}"),
            ("command", "{\"commands\": [\"^/sbin/\", \"/init$\"]}"),
            ("annotated", "{\"annotations\": {\"^a\\\\.b$\": \"^1\"}}"),
            ("both", "{\"annotations\": {\"^a\\\\.b$\": \"^1\"}, \"commands\": [\"init\"]}"),
            ("two", "{\"annotations\": {\"^a\": \".\", \"^z\": \".\"}}"),
            ("either", "{\"annotations\": {\"^z\": \".\"}, \"commands\": [\"init\"], \"or\": true}"),
            ("neverand", "{\"always\": false, \"commands\": [\"init\"]}"),
        ];
        let files = || cases.iter().map(|(name, when)| file(name, when, all)).collect::<Vec<_>>();
        assert_eq!(due(files(), "/bin/sh", &[], false), ["always"]);
        assert_eq!(due(files(), "/bin/sh", &[], true), ["always", "binds"]);
        assert_eq!(due(files(), "/lib/init", &[], false), ["always", "command", "either"]);
        assert_eq!(due(files(), "sh", &[("a.b", "12")], false), ["always", "annotated"]);
        assert_eq!(due(files(), "sh", &[("a.b", "2"), ("axb", "1")], false), ["always"]);
        assert_eq!(
            due(files(), "/lib/init", &[("a.b", "12"), ("zz", "1")], false),
            ["always", "annotated", "both", "command", "either", "two"]
        );
    }

    #[test]
    fn hooks_are_run_by_their_files_names_and_a_later_directory_counts() {
        let mut sources = vec![
            file("b", "{\"always\": true}", "[\"poststop\"]"),
            file("C", "{\"always\": true}", "[\"poststop\"]"),
        ];
        let (_, bytes) = file("a", "{\"always\": true}", "[\"poststop\", \"prestart\"]");
        sources.push(("/d/b.json".into(), bytes.clone()));
        sources.push(("/e/10.json".into(), bytes));
        let registry = Registry::new(sources);
        let mut spec = Spec::default();
        let annotations = BTreeMap::new();
        registry.apply(&mut spec, Subject { annotations: &annotations, bind_mounts: false });
        let hooks = spec.hooks().clone().expect("hooks");
        let paths = |hooks: &Option<Vec<Hook>>| -> Vec<String> {
            hooks.iter().flatten().map(|hook| hook.path().display().to_string()).collect()
        };
        assert_eq!(paths(hooks.poststop()), ["/bin/a", "/bin/a", "/bin/C"]);
        assert_eq!(paths(hooks.prestart()), ["/bin/a", "/bin/a"]);
    }

    #[test]
    fn what_is_broken_is_told_with_its_line() {
        let good = "{\"version\": \"1.0.0\",\n\"hook\": {\n\"path\": \"/a\",\n\"timeout\": 3},\n\"when\": {\"commands\": [\n\"x\"]},\n\"stages\": [\n\"prestart\"]}";
        let cases = [
            (good.replace("1.0.0", "0.1.0"), 1, "version: \"0.1.0\""),
            (good.replace("/a", "a"), 3, "hook.path: \"a\" must be absolute"),
            (good.replace('3', "0"), 4, "hook.timeout"),
            (good.replace("\"x\"", "\"x(\""), 6, "when.commands: \"x(\" is no pattern"),
            (good.replace("prestart", "preStart"), 8, "stages: \"preStart\" must be one of prestart, "),
            (good.replace("\"x\"]", "\"x\"},"), 6, "expected"),
            (good.replace("\"stages\"", "\"stage\""), 8, "missing field `stages`"),
        ];
        for (text, line, words) in cases {
            let registry = Registry::new(vec![
                ("/d/a.json".into(), Ok(text.clone().into_bytes())),
                ("/d/b.json".into(), Ok(good.as_bytes().to_vec())),
            ]);
            let fault = registry.faults().first().unwrap_or_else(|| panic!("{text}"));
            assert!(fault.starts_with(&format!("/d/a.json:{line}: ")) && fault.contains(words), "{fault}");
            assert_eq!(registry.files().count(), 1);
        }
    }
}
