//! NRI: plugins of others that hear of pods and containers, and change them.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`mux`] | two connections in one |
//! | [`plugin`] | one plugin: registered, configured, asked |
//! | [`launch`], [`listen`] | those that are installed, those that come by themselves |
//! | [`sync`] | a plugin is told what there is, and is asked from then on |
//! | [`round`] | all of them are asked, one after the other |
//! | [`pod`], [`container`] | when they are asked, and what follows |
//! | [`show`] | pods and containers in the protocol's words |
//! | [`adjust`], [`limits`] | what they want, in the spec's words |
//! | [`update`] | what they want of containers that there are |
//!
//! ```text
//!  a plugin comes ─▶ admitted ─▶ nothing is made ─▶ told what there is ─▶ one of them ─▶ things are made again
//!  a container is made: spec ─▶ plugin by plugin, each sees what those before it want ─▶ rules ─▶ spec and limits
//! ```
//!
//! How several wishes become one is a matter of `orlop_nri`.
//!
//! *Invariant:* without a plugin a deed looks once whether there is one. Reads never wait for a plugin. A pod or container is in what a
//! plugin is told there is, or the plugin hears of its making: what makes one holds [`Nri::block`] from the moment that plugins are
//! asked until it can be seen. Without a plugin that has to be there nothing is made.

mod adjust;
pub(crate) mod container;
mod launch;
mod limits;
mod listen;
mod mux;
mod plugin;
pub(crate) mod pod;
mod round;
mod show;
mod sync;
mod update;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, Weak};
use std::time::Duration;

use orlop_nri::rules::{REQUIRED, Rules};
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::pods::Core;
use plugin::Plugin;

/// Where plugins look for the socket.
pub(crate) const SOCKET: &str = "/var/run/nri/nri.sock";

/// What the daemon was told of plugins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) enabled: bool,
    /// Whether plugins may come by themselves.
    pub(crate) external: bool,
    pub(crate) socket: PathBuf,
    pub(crate) plugin_path: PathBuf,
    pub(crate) plugin_config_path: PathBuf,
    pub(crate) registration_timeout: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) rules: Rules,
}

/// The plugins.
pub(crate) struct Nri {
    settings: Settings,
    /// Whether anybody is to be asked: there is a plugin, or has to be one.
    active: AtomicBool,
    /// By their order.
    plugins: Mutex<Vec<Arc<Plugin>>>,
    /// Held while plugins are asked: one thing after the other, as they are used to.
    turn: tokio::sync::Mutex<()>,
    /// Held for reading while something is made that plugins have heard of and nobody can see yet; for writing while a plugin is told
    /// what there is.
    making: Arc<RwLock<()>>,
    /// Whom it is of; unset before it begins.
    core: OnceLock<Weak<Core>>,
}

/// While it is there no plugin is told what there is.
pub(crate) type Block = OwnedRwLockReadGuard<()>;

impl Nri {
    pub(crate) fn new(settings: Settings) -> Self {
        Nri {
            active: AtomicBool::new(settings.enabled && !settings.rules.required.is_empty()),
            settings,
            plugins: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            making: Arc::default(),
            core: OnceLock::new(),
        }
    }

    /// Whether anybody is to be asked.
    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::Acquire)
    }

    /// Whether anybody is to be asked of a pod with these annotations: one may ask for a plugin by itself.
    fn is_asked_for(&self, annotations: &BTreeMap<String, String>) -> bool {
        let asks = || {
            annotations.range(REQUIRED.to_owned()..).next().is_some_and(|(key, _)| key.starts_with(REQUIRED))
        };
        self.is_active() || (self.settings.enabled && asks())
    }

    /// Keeps plugins from being told what there is.
    pub(crate) async fn block(&self) -> Block {
        Arc::clone(&self.making).read_owned().await
    }

    fn core(&self) -> Option<Arc<Core>> {
        self.core.get().and_then(Weak::upgrade)
    }

    fn list(&self) -> MutexGuard<'_, Vec<Arc<Plugin>>> {
        self.plugins.lock().expect("invariant: nothing panics while it holds the plugins")
    }

    /// One more is asked from now on.
    fn add(&self, plugin: Arc<Plugin>) {
        let mut list = self.list();
        list.push(plugin);
        list.sort_by(|one, other| one.name.cmp(&other.name));
        self.active.store(true, Ordering::Release);
    }

    /// One is asked no more.
    fn remove(&self, plugin: &Arc<Plugin>) {
        plugin.let_go();
        let mut list = self.list();
        list.retain(|other| !Arc::ptr_eq(other, plugin));
        self.active.store(!list.is_empty() || !self.settings.rules.required.is_empty(), Ordering::Release);
    }
}

/// Starts the plugins that are installed, and listens for others. What cannot be is reported: a plugin that has to be there is missed
/// when something is made.
pub(crate) async fn begin(core: &Arc<Core>) {
    let settings = &core.nri.settings;
    if !settings.enabled {
        return;
    }
    let _ = core.nri.core.set(Arc::downgrade(core));
    launch::start(core).await;
    if settings.external
        && let Err(report) = listen::begin(core)
    {
        tracing::error!("{report}");
    }
}

/// Lets all plugins go, and the socket with them.
pub(crate) fn end(core: &Core) {
    let settings = &core.nri.settings;
    let plugins = std::mem::take(&mut *core.nri.list());
    for plugin in plugins {
        plugin.let_go();
    }
    if settings.enabled && settings.external {
        let _ = std::fs::remove_file(&settings.socket);
    }
}
