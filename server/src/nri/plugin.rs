//! One plugin: it connects, says who it is, is told how it is set up, and is asked from then on.
//!
//! ```text
//!  connected ─ RegisterPlugin ─▶ named ─ Configure ─▶ subscribed ─ Synchronize ─▶ among those that are asked
//!      └───────────────────────────┴──── late, refused, gone ───────────┴──▶ let go
//! ```
//!
//! *Invariant:* every step has a deadline. A plugin that was let go is asked nothing more; its process, if it is ours, is killed.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use orlop_model::report::{Kind, Report};
use orlop_nri::event::{Events, method};
use orlop_nri::name::Name;
use orlop_proto::nri::v1alpha1::{
    ConfigureRequest, ConfigureResponse, Empty, Event, FailurePolicy, RegisterPluginRequest,
    StateChangeEvent, UpdateContainersRequest,
};
use orlop_sys::process::Spawned;
use orlop_ttrpc::server::Answering;
use orlop_ttrpc::{Call, Client, Code, Error, Options, Service, Status};
use prost::Message;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::Settings;
use crate::pods::Core;

/// What a plugin serves.
const PLUGIN: &str = "nri.pkg.api.v1alpha1.Plugin";
/// What it calls.
const RUNTIME: &str = "nri.pkg.api.v1alpha1.Runtime";
/// The release whose protocol is spoken.
const VERSION: &str = "v0.12.5";

/// A plugin that has registered.
pub(super) struct Plugin {
    pub(super) name: Name,
    client: Client,
    pub(super) events: Events,
    policy: FailurePolicy,
    /// It is told of what changes nothing in the way of older versions.
    old: AtomicBool,
    serving: AbortHandle,
    process: Mutex<Option<Spawned>>,
}

/// Why there is no answer.
pub(super) enum Failure {
    /// The plugin says no, and why.
    Refused(String),
    /// It says nothing, in time or ever.
    Lost {
        /// Why.
        cause: String,
        /// Whether it has only taken too long.
        late: bool,
    },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            // It has the same deadline, and may have been a little faster.
            Error::Status(status) if status.code == Code::DeadlineExceeded => {
                Failure::Lost { cause: status.message, late: true }
            }
            Error::Status(status) => Failure::Refused(status.message),
            Error::Late(_) => Failure::Lost { cause: error.to_string(), late: true },
            Error::Closed | Error::TooLong(_) | Error::Malformed(_) => {
                Failure::Lost { cause: error.to_string(), late: false }
            }
        }
    }
}

/// A plugin that the daemon has started: who it is by its file, and what its configuration says.
pub(super) struct Installed {
    pub(super) name: Name,
    pub(super) config: String,
    pub(super) process: Spawned,
}

/// Hears a plugin out over a new connection.
///
/// # Errors
/// If it does not register or is not configured in time.
pub(super) async fn admit<T>(
    core: &Arc<Core>,
    trunk: T,
    installed: Option<Installed>,
) -> Result<Arc<Plugin>, Report>
where
    T: AsyncRead + AsyncWrite + Send + 'static,
{
    let settings = &core.nri.settings;
    let (to_plugin, from_plugin) = super::mux::multiplex(trunk);
    let client = Client::new(to_plugin);
    let (registered, registration) = oneshot::channel();
    let runtime = Runtime { core: Arc::clone(core), registered: Mutex::new(Some(registered)) };
    let serving = tokio::spawn(orlop_ttrpc::serve(from_plugin, Arc::new(runtime))).abort_handle();
    let (given, config, process) = match installed {
        Some(installed) => (Some(installed.name), installed.config, Some(installed.process)),
        None => (None, String::new(), None),
    };
    let mut plugin = Plugin {
        name: given.clone().unwrap_or_else(|| Name { index: "??".into(), base: "plugin".into() }),
        client,
        events: Events::ALL,
        policy: FailurePolicy::default(),
        old: AtomicBool::new(false),
        serving,
        process: Mutex::new(process),
    };
    // Dropped on any way out of here, and let go with that.
    plugin.register(settings, given, registration).await?;
    plugin.configure(settings, config).await?;
    Ok(Arc::new(plugin))
}

impl Plugin {
    fn report(&self, stage: &str, cause: impl std::fmt::Display) -> Report {
        Report::new(Kind::Unavailable, stage, self.name.to_string(), cause)
    }

    async fn register(
        &mut self,
        settings: &Settings,
        given: Option<Name>,
        registration: oneshot::Receiver<RegisterPluginRequest>,
    ) -> Result<(), Report> {
        let stage = "register NRI plugin";
        let patience = settings.registration_timeout;
        let heard = tokio::time::timeout(patience, async {
            tokio::select! {
                heard = registration => heard.ok(),
                () = self.client.closed() => None,
            }
        });
        let heard = heard
            .await
            .map_err(|_| self.report(stage, format_args!("nothing within {} s", patience.as_secs())))?
            .ok_or_else(|| self.report(stage, "it left"))?;
        if given.is_none() {
            self.name = Name::new(&heard.plugin_idx, &heard.plugin_name)
                .map_err(|wrong| self.report(stage, wrong))?;
        }
        Ok(())
    }

    async fn configure(&mut self, settings: &Settings, config: String) -> Result<(), Report> {
        let millis = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
        let request = ConfigureRequest {
            config,
            runtime_name: "orlop".into(),
            runtime_version: env!("CARGO_PKG_VERSION").into(),
            registration_timeout: millis(settings.registration_timeout),
            request_timeout: millis(settings.request_timeout),
            nri_version: VERSION.into(),
        };
        let stage = "configure NRI plugin";
        let answer: ConfigureResponse = self
            .call("Configure", &request, settings.request_timeout)
            .await
            .map_err(|failure| match failure {
                Failure::Refused(cause) | Failure::Lost { cause, .. } => self.report(stage, cause),
            })?;
        self.events = Events::asked(answer.events).ok_or_else(|| {
            self.report(stage, format_args!("it asks for unknown events: {:#x}", answer.events))
        })?;
        self.policy = answer.failure_policy.unwrap_or_default();
        Ok(())
    }

    /// Calls a method of it.
    pub(super) async fn call<Q: Message, A: Message + Default>(
        &self,
        method: &str,
        request: &Q,
        patience: Duration,
    ) -> Result<A, Failure> {
        self.client.call(PLUGIN, method, request, &Options::within(patience)).await.map_err(Failure::from)
    }

    /// Tells it of an event that changes nothing; in the way that it understands.
    pub(super) async fn tell<Q: Message>(
        &self,
        event: Event,
        request: &Q,
        in_old_words: impl FnOnce() -> StateChangeEvent,
        patience: Duration,
    ) -> Result<(), Failure> {
        let Some(method) = method(event) else { return Ok(()) };
        if !self.old.load(Ordering::Relaxed) {
            let options = Options::within(patience);
            match self.client.call::<Q, Empty>(PLUGIN, method, request, &options).await {
                Err(Error::Status(status)) if status.code == Code::Unimplemented => {
                    self.old.store(true, Ordering::Relaxed);
                }
                done => return done.map(drop).map_err(Failure::from),
            }
        }
        self.call::<_, Empty>("StateChange", &in_old_words(), patience).await.map(drop)
    }

    /// Whether a request fails that it does not answer.
    pub(super) fn fails_request(&self) -> bool {
        self.policy.fail_request
    }

    /// Whether it stays although it was late.
    pub(super) fn stays_when_late(&self) -> bool {
        self.policy.keep_connected
    }

    /// Whether it is there.
    pub(super) fn is_there(&self) -> bool {
        !self.client.is_closed()
    }

    /// Waits until it is gone.
    pub(super) async fn gone(&self) {
        self.client.closed().await;
    }

    /// Lets it go. Can be said again.
    pub(super) fn let_go(&self) {
        self.client.close();
        self.serving.abort();
        let process = self.process.lock().ok().and_then(|mut process| process.take());
        if let Some(process) = process {
            let _ = orlop_sys::signal::send(process.pidfd.as_fd(), libc::SIGKILL);
            tokio::task::spawn_blocking(move || {
                let options = rustix::process::WaitIdOptions::EXITED;
                let _ =
                    rustix::process::waitid(rustix::process::WaitId::PidFd(process.pidfd.as_fd()), options);
            });
        }
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.let_go();
    }
}

/// What a plugin can call.
struct Runtime {
    core: Arc<Core>,
    registered: Mutex<Option<oneshot::Sender<RegisterPluginRequest>>>,
}

impl Runtime {
    fn register(&self, call: &Call) -> Result<Vec<u8>, Status> {
        let request: RegisterPluginRequest = call.request()?;
        let waiting = self.registered.lock().ok().and_then(|mut waiting| waiting.take());
        let wrong = Name::new(&request.plugin_idx, &request.plugin_name).err();
        match waiting {
            // Who was started by the daemon may say nothing of itself.
            Some(waiting) => {
                let said = !request.plugin_name.is_empty() || !request.plugin_idx.is_empty();
                let _ = waiting.send(request);
                match wrong.filter(|_| said) {
                    Some(wrong) => Err(Status::new(Code::InvalidArgument, wrong.to_string())),
                    None => Ok(Empty {}.encode_to_vec()),
                }
            }
            None => Err(Status::new(Code::FailedPrecondition, "it has registered before")),
        }
    }
}

impl Service for Runtime {
    fn call(&self, call: Call) -> Answering {
        let answer = match (call.service.as_str(), call.method.as_str()) {
            (RUNTIME, "RegisterPlugin") => self.register(&call),
            (RUNTIME, "UpdateContainers") => {
                let core = Arc::clone(&self.core);
                return Box::pin(async move {
                    let request: UpdateContainersRequest = call.request()?;
                    // Finished whether the plugin stays or not.
                    let done = tokio::spawn(async move { super::update::unasked(&core, request).await });
                    let answer =
                        done.await.map_err(|error| Status::new(Code::Internal, error.to_string()))?;
                    Ok(answer.encode_to_vec())
                });
            }
            _ => Err(Status::unimplemented(&call.service, &call.method)),
        };
        Box::pin(async move { answer })
    }
}
