//! Units of systemd: what has to be one is asked for over D-Bus; everything below it is files.
//!
//! ```text
//!  a process that holds the place ─▶ StartTransientUnit(orlop-ID.scope) ─▶ JobRemoved: done ─▶ shim, which clones into the scope
//!            └─ ends when the shim has let go of the pipe that it reads, or nobody is left who has it
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | `properties` | limits as systemd has them |
//! | `place` | the process that a scope is made of |
//!
//! *Invariant:* without the systemd driver nothing here is ever asked, and no connection is made. Each question has a deadline. A
//! scope without processes ends by itself (`CollectMode`), so a daemon that dies leaves none behind.
//!
//! Sources: org.freedesktop.systemd1(5), systemd.resource-control(5), systemd's `CONTROL_GROUP_INTERFACE` and `CGROUP_DELEGATION`.

mod place;
mod properties;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use orlop_model::container::Resources;
use orlop_model::report::{Kind, Report};
use tokio::sync::oneshot;
use tokio_stream::StreamExt as _;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, MatchRule, MessageStream, message};

pub(crate) use place::Place;

/// Where the system's bus listens.
pub(crate) const BUS: &str = "/run/dbus/system_bus_socket";
const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long systemd may take for one unit.
const PATIENCE: Duration = Duration::from_secs(20);
/// Answers that wait to be read, at most.
const QUEUE: usize = 256;

/// What systemd is to call a unit's limits: names and values.
type Properties = Vec<(&'static str, Value<'static>)>;
/// Who waits for a unit's job, by the unit's name.
type Jobs = Arc<Mutex<HashMap<String, oneshot::Sender<String>>>>;

/// The way to systemd; made when it is first needed, and again if it broke.
#[derive(Default)]
pub(crate) struct Units {
    bus: tokio::sync::Mutex<Option<Bus>>,
}

#[derive(Clone)]
struct Bus {
    connection: Connection,
    jobs: Jobs,
}

fn failed(unit: &str, cause: impl std::fmt::Display) -> Report {
    Report::new(Kind::Failed, "systemd unit", unit, cause)
}

impl Units {
    async fn bus(&self) -> Result<Bus, Report> {
        let mut kept = self.bus.lock().await;
        if let Some(bus) = kept.as_ref().filter(|bus| Arc::strong_count(&bus.jobs) > 1) {
            return Ok(bus.clone());
        }
        let made = tokio::time::timeout(PATIENCE, connect()).await;
        let bus = made
            .map_err(|_| failed("", "its bus does not answer"))?
            .map_err(|error| Report::new(Kind::Failed, "connect to systemd", BUS, error))?;
        *kept = Some(bus.clone());
        Ok(bus)
    }

    /// Makes the way, so that it is there when it is needed.
    ///
    /// # Errors
    /// If it cannot be made; it is tried again when it is needed.
    pub(crate) async fn begin_to_speak(&self) -> Result<(), Report> {
        self.bus().await.map(drop)
    }

    /// Has systemd make the scope of a container in `slice`, of the process `pid`; it is there when this returns.
    ///
    /// # Errors
    /// What systemd says.
    pub(crate) async fn scope(
        &self,
        name: &str,
        slice: &str,
        pid: u32,
        limits: &Resources,
    ) -> Result<(), Report> {
        let mut all: Properties = vec![
            ("Description", Value::from(format!("container {name}"))),
            ("Slice", Value::from(slice.to_owned())),
            ("PIDs", Value::from(vec![pid])),
            // All controllers, and what is below is ours.
            ("Delegate", Value::from(true)),
            // It is ended by us, not by the machine's shutdown before its kubelet.
            ("DefaultDependencies", Value::from(false)),
            ("CollectMode", Value::from("inactive-or-failed")),
        ];
        all.extend(properties::of(limits, true));
        self.begin(name, all).await
    }

    /// Has systemd make a slice with limits; one that is there gets them.
    ///
    /// # Errors
    /// What systemd says.
    pub(crate) async fn slice(&self, name: &str, limits: &Resources) -> Result<(), Report> {
        let own = properties::of(limits, false);
        let mut all: Properties = vec![
            ("Description", Value::from("a pod")),
            ("DefaultDependencies", Value::from(false)),
            ("CollectMode", Value::from("inactive-or-failed")),
        ];
        all.extend(properties::of(limits, false));
        match self.begin(name, all).await {
            Ok(()) => Ok(()),
            Err(_) => self.set(name, own).await,
        }
    }

    async fn begin(&self, name: &str, properties: Properties) -> Result<(), Report> {
        let auxiliary: Vec<(&str, Vec<(&str, Value<'_>)>)> = Vec::new();
        let said = self.job(name, "StartTransientUnit", &(name, "fail", properties, auxiliary)).await?;
        if said == "done" { Ok(()) } else { Err(failed(name, format!("its start is {said}"))) }
    }

    /// Has systemd end a unit; one that is not there has ended.
    ///
    /// # Errors
    /// What systemd says.
    pub(crate) async fn stop(&self, name: &str) -> Result<(), Report> {
        match self.job(name, "StopUnit", &(name, "replace")).await {
            Ok(_) => Ok(()),
            Err(report) if report.cause.contains("NoSuchUnit") => Ok(()),
            Err(report) => Err(report),
        }
    }

    /// Tells systemd of a unit's new limits, which it would else put back when it writes them anew.
    ///
    /// # Errors
    /// What systemd says.
    pub(crate) async fn limit(&self, name: &str, limits: &Resources) -> Result<(), Report> {
        self.set(name, properties::of(limits, name.strip_suffix(".scope").is_some())).await
    }

    async fn set(&self, name: &str, properties: Properties) -> Result<(), Report> {
        if properties.is_empty() {
            return Ok(());
        }
        let bus = self.bus().await?;
        let body = (name, true, properties);
        let asked = bus.connection.call_method(Some(NAME), PATH, Some(MANAGER), "SetUnitProperties", &body);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        answer.map_err(|_| late(name))?.map(drop).map_err(|error| failed(name, error))
    }

    /// Calls what begins a job, and waits for its end; how that was.
    async fn job<B>(&self, name: &str, method: &str, body: &B) -> Result<String, Report>
    where
        B: serde::ser::Serialize + zbus::zvariant::DynamicType + Sync,
    {
        let bus = self.bus().await?;
        let (ended, hears) = oneshot::channel();
        // Before the call: the job may have ended when its answer is read.
        lock(&bus.jobs).insert(name.to_owned(), ended);
        let outcome = async {
            let asked = bus.connection.call_method(Some(NAME), PATH, Some(MANAGER), method, body).await;
            let answer = asked.map_err(|error| failed(name, error))?;
            answer.body().deserialize::<OwnedObjectPath>().map_err(|error| failed(name, error))?;
            hears.await.map_err(|_| failed(name, "the way to systemd broke"))
        };
        let outcome = tokio::time::timeout(PATIENCE, outcome).await.unwrap_or_else(|_| Err(late(name)));
        lock(&bus.jobs).remove(name);
        outcome
    }
}

fn late(name: &str) -> Report {
    Report::new(Kind::TimedOut, "systemd unit", name, "systemd does not answer in time")
}

fn lock(jobs: &Jobs) -> std::sync::MutexGuard<'_, HashMap<String, oneshot::Sender<String>>> {
    jobs.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn connect() -> zbus::Result<Bus> {
    let connection = zbus::connection::Builder::address(format!("unix:path={BUS}").as_str())?.build().await?;
    let rule = MatchRule::builder()
        .msg_type(message::Type::Signal)
        .sender(NAME)?
        .interface(MANAGER)?
        .member("JobRemoved")?
        .build();
    let mut news = MessageStream::for_match_rule(rule, &connection, Some(QUEUE)).await?;
    // Without it systemd tells nobody.
    connection.call_method(Some(NAME), PATH, Some(MANAGER), "Subscribe", &()).await?;
    let jobs = Jobs::default();
    let waiting = Arc::clone(&jobs);
    // The second who has the jobs; gone when the connection is.
    tokio::spawn(async move {
        while let Some(Ok(message)) = news.next().await {
            let body = message.body();
            if let Ok((_, _, unit, result)) = body.deserialize::<(u32, OwnedObjectPath, String, String)>()
                && let Some(waits) = lock(&waiting).remove(&unit)
            {
                let _ = waits.send(result);
            }
        }
        lock(&waiting).clear();
    });
    Ok(Bus { connection, jobs })
}
