//! Runtime handlers: the built-in one, and runtimes of others by configuration.
//!
//! What such a runtime can do it says itself (`features` of the OCI runtime specification); it is asked when its program is new, in
//! the background or by whoever runs a pod with it, and remembered until the program is another.
//!
//! *Invariant:* reads answer from memory. A program that hangs is killed, and holds up nobody but a pod that wants it.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1::{RuntimeHandler, RuntimeHandlerFeatures};
use tokio::io::AsyncReadExt as _;

use crate::config::{self, HandlerKind, NATIVE};

/// How long a program may take to say what it can do.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than any says.
const MOST: u64 = 1 << 20;
/// Programs are looked at again after this, when somebody asks for the status.
const FRESH: Duration = Duration::from_secs(10);

/// All of them.
#[derive(Debug)]
pub(crate) struct Handlers {
    default: String,
    all: BTreeMap<String, Arc<Handler>>,
    looked: Mutex<Option<Instant>>,
}

/// One that is not built in.
#[derive(Debug)]
pub(crate) struct Handler {
    /// What runtime classes call it.
    pub(crate) name: String,
    /// How it is spoken to.
    pub(crate) kind: HandlerKind,
    /// Its program.
    pub(crate) path: PathBuf,
    /// What goes before each of its commands.
    pub(crate) arguments: Vec<String>,
    known: Mutex<Option<Known>>,
    /// Held while its program is asked.
    asking: tokio::sync::Mutex<()>,
}

/// Which file a program is: device, inode, time of its last change.
type Stamp = (u64, u64, i64, i64);

#[derive(Debug, Clone)]
struct Known {
    stamp: Stamp,
    said: Result<Features, String>,
}

/// What a runtime can do of that which a pod may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Features {
    /// Mounts that are read-only with all below them.
    pub(crate) recursive_read_only_mounts: bool,
    /// The newest version of the OCI runtime specification that it knows.
    pub(crate) version: String,
}

impl Features {
    /// Of what `features` prints: `mountOptions`, `ociVersionMax` (features.md of the OCI runtime specification).
    fn read(json: &[u8]) -> Result<Self, String> {
        let value: serde_json::Value = serde_json::from_slice(json)
            .map_err(|error| format!("what it says of its features is no JSON: {error}"))?;
        let options = value.get("mountOptions").and_then(serde_json::Value::as_array);
        let recursive = options.is_some_and(|options| options.iter().any(|option| option == "rro"));
        let version = value.get("ociVersionMax").and_then(serde_json::Value::as_str).unwrap_or_default();
        Ok(Features { recursive_read_only_mounts: recursive, version: version.to_owned() })
    }
}

impl Handlers {
    /// As configured.
    pub(crate) fn new(config: &config::Handlers) -> Self {
        let handler = |(name, handler): (&String, &config::Handler)| {
            let handler = Handler {
                name: name.clone(),
                kind: handler.kind,
                path: handler.path.clone(),
                arguments: handler.arguments.clone(),
                known: Mutex::new(None),
                asking: tokio::sync::Mutex::new(()),
            };
            (name.clone(), Arc::new(handler))
        };
        Handlers {
            default: config.default.clone().unwrap_or_else(|| NATIVE.to_owned()),
            all: config.named.iter().map(handler).collect(),
            looked: Mutex::new(None),
        }
    }

    /// The handler that a pod is to have that asks for `name`: the default one for none. Empty: the built-in one.
    pub(crate) fn named(&self, name: String) -> String {
        match name.as_str() {
            "" if self.default != NATIVE => self.default.clone(),
            _ => name,
        }
    }

    /// The handler of this name; `None`: it is the built-in one.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn find(&self, field: &str, name: &str) -> Result<Option<&Arc<Handler>>, Report> {
        if matches!(name, "" | NATIVE) {
            return Ok(None);
        }
        self.all.get(name).map(Some).ok_or_else(|| {
            let others: Vec<&str> = self.all.keys().map(String::as_str).collect();
            let known = [&["\"\"", NATIVE], &others[..]].concat();
            let (last, rest) = known.split_last().unwrap_or((&NATIVE, &[]));
            Report::field(field, name, "there is no such handler on this node")
                .advise(format!("known are {} and {last}", rest.join(", ")))
        })
    }

    /// The same, and its program can be run.
    ///
    /// # Errors
    /// There is none of this name, or why its program cannot be run.
    pub(crate) async fn ready(&self, field: &str, name: &str) -> Result<(), Report> {
        let Some(handler) = self.find(field, name)? else { return Ok(()) };
        handler.look().await.map(drop).map_err(|cause| {
            Report::new(Kind::Failed, field, format!("\"{name}\""), cause)
                .advise(format!("see to {}", handler.path.display()))
        })
    }

    /// All with their features, as far as they are known, the built-in one with or without user namespaces; kubelet looks for the default one under the empty name.
    pub(crate) fn status(self: &Arc<Self>, user_namespaces: bool) -> Vec<RuntimeHandler> {
        self.look_again();
        let native = RuntimeHandlerFeatures { recursive_read_only_mounts: true, user_namespaces };
        let mut all = vec![RuntimeHandler { name: NATIVE.into(), features: Some(native) }];
        for handler in self.all.values() {
            let features = handler.known().clone().and_then(|known| known.said.ok());
            let features = features.map(|features| RuntimeHandlerFeatures {
                recursive_read_only_mounts: features.recursive_read_only_mounts,
                user_namespaces: false,
            });
            all.push(RuntimeHandler { name: handler.name.clone(), features });
        }
        let default = all.iter().find(|handler| handler.name == self.default).cloned();
        let default = RuntimeHandler { name: String::new(), ..default.unwrap_or_default() };
        [vec![default], all].concat()
    }

    /// What there is to say of them to people.
    pub(crate) fn facts(&self) -> serde_json::Value {
        let one = |handler: &Arc<Handler>| {
            let known = handler.known().clone();
            let (version, trouble) = match known.map(|known| known.said) {
                Some(Ok(features)) => (features.version, String::new()),
                Some(Err(trouble)) => (String::new(), trouble),
                None => (String::new(), "not asked yet".to_owned()),
            };
            let facts = serde_json::json!({
                "type": handler.kind.name(),
                "path": handler.path,
                "ociVersion": version,
                "trouble": trouble,
            });
            (handler.name.clone(), facts)
        };
        let all: serde_json::Map<String, serde_json::Value> = self.all.values().map(one).collect();
        serde_json::json!({ "default": self.default, "others": all })
    }

    /// Asks programs that are new, behind the caller's back.
    pub(crate) fn look_again(self: &Arc<Self>) {
        {
            let mut looked = self.looked.lock().expect("invariant: nothing panics while it holds the time");
            if self.all.is_empty() || looked.is_some_and(|looked| looked.elapsed() < FRESH) {
                return;
            }
            *looked = Some(Instant::now());
        }
        for handler in self.all.values() {
            let handler = Arc::clone(handler);
            tokio::spawn(async move {
                if let Err(cause) = handler.look().await {
                    tracing::warn!(handler = handler.name, "cannot be used: {cause}");
                }
            });
        }
    }
}

impl HandlerKind {
    /// As it is configured.
    pub(crate) fn name(self) -> &'static str {
        match self {
            HandlerKind::Oci => "oci",
        }
    }
}

impl Handler {
    fn known(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().expect("invariant: nothing panics while it holds what is known")
    }

    /// What it was last known to be able to do.
    pub(crate) fn features(&self) -> Features {
        self.known().clone().and_then(|known| known.said.ok()).unwrap_or_default()
    }

    /// What it can do; asked if its program is new.
    async fn look(&self) -> Result<Features, String> {
        let _asking = self.asking.lock().await;
        let path = self.path.clone();
        let stamp = crate::blocking::blocking("look at handler", move || stamp(&path)).await;
        let stamp = stamp.map_err(|report| report.cause)?.map_err(|error| error.to_string());
        let stamp = match stamp {
            Ok(stamp) => stamp,
            Err(cause) => {
                *self.known() = Some(Known { stamp: Stamp::default(), said: Err(cause.clone()) });
                return Err(cause);
            }
        };
        if let Some(known) = self.known().clone().filter(|known| known.stamp == stamp) {
            return known.said;
        }
        let said = match tokio::time::timeout(PATIENCE, ask(&self.path)).await {
            Ok(said) => said,
            Err(_) => Err(format!("it does not say its features within {} s", PATIENCE.as_secs())),
        };
        *self.known() = Some(Known { stamp, said: said.clone() });
        said
    }
}

fn stamp(path: &Path) -> std::io::Result<Stamp> {
    let metadata = std::fs::metadata(path)?;
    Ok((metadata.dev(), metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
}

/// Runs `PROGRAM features`; it is killed if this is given up.
async fn ask(program: &Path) -> Result<Features, String> {
    let mut child = tokio::process::Command::new(program)
        .arg("features")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it cannot be run: {error}"))?;
    let mut said = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(MOST).read_to_end(&mut said).await.map_err(|error| error.to_string())?;
    }
    let status = child.wait().await.map_err(|error| error.to_string())?;
    if !status.success() {
        // One from before there was such a command.
        return Ok(Features::default());
    }
    Features::read(&said)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handlers(path: &Path, default: Option<&str>) -> Arc<Handlers> {
        let handler = config::Handler { path: path.to_owned(), ..config::Handler::default() };
        let named = BTreeMap::from([("other".to_owned(), handler)]);
        Arc::new(Handlers::new(&config::Handlers { default: default.map(str::to_owned), named }))
    }

    fn program(path: &Path, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let new = path.with_extension("new");
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o755)).expect("set");
        std::fs::rename(&new, path).expect("renamed");
    }

    #[tokio::test]
    async fn a_program_is_asked_once_and_again_when_it_is_another() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("runtime");
        let count = place.path().join("count");
        let said = r#"{"ociVersionMax":"1.2.1","mountOptions":["ro","rro"]}"#;
        program(&path, &format!("echo x >> {}; echo '{said}'", count.display()));
        let handlers = handlers(&path, Some("other"));
        let asked = || std::fs::read_to_string(&count).unwrap_or_default().lines().count();
        for _ in 0..3 {
            handlers.ready("f", "other").await.expect("ready");
        }
        assert_eq!(asked(), 1);
        let all = handlers.status(true);
        let names: Vec<&str> = all.iter().map(|handler| handler.name.as_str()).collect();
        assert_eq!(names, ["", "native", "other"]);
        assert!(all[0].features.is_some_and(|features| features.recursive_read_only_mounts));
        assert_eq!(handlers.named(String::new()), "other");
        program(&path, &format!("echo x >> {}; echo '{{}}'", count.display()));
        handlers.ready("f", "other").await.expect("ready");
        assert_eq!(
            (asked(), handlers.find("f", "other").expect("there").expect("it").features()),
            (2, Features::default())
        );
    }

    #[tokio::test]
    async fn what_cannot_be_used_is_said() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("runtime");
        let handlers = handlers(&path, None);
        let refused = handlers.ready("f", "other").await.expect_err("no program").to_string();
        assert!(refused.contains("No such file"), "{refused}");
        program(&path, "echo x");
        let refused = handlers.ready("f", "other").await.expect_err("it cannot be read").to_string();
        assert!(refused.contains("no JSON"), "{refused}");
        program(&path, "exit 3");
        handlers.ready("f", "other").await.expect("an old one");
        let refused = handlers.ready("f", "third").await.expect_err("unknown").to_string();
        assert!(refused.contains("known are \"\", native and other"), "{refused}");
        assert_eq!(handlers.named(String::new()), "");
    }
}
