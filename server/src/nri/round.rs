//! All plugins are asked, one after the other.
//!
//! *Invariant:* a plugin that does not answer is let go, unless it asked to stay; what it was asked about goes on without it, unless it
//! has to be there or asked for that. What a plugin refuses is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_nri::event::method;
use orlop_proto::nri::v1alpha1::{Container, Event, PodSandbox, StateChangeEvent};
use prost::Message;
use tokio::sync::MutexGuard;

use super::Nri;
use super::plugin::{Failure, Plugin};

/// One thing that all are asked about.
pub(super) struct Round<'a> {
    nri: &'a Nri,
    _turn: MutexGuard<'a, ()>,
    event: Event,
    /// What the report of a failure is about.
    object: String,
    /// Those without whom it cannot be.
    required: Vec<String>,
}

impl Nri {
    /// Begins to ask about `object`, when it is its turn.
    pub(super) async fn round(&self, event: Event, object: &str) -> Round<'_> {
        let turn = self.turn.lock().await;
        Round { nri: self, _turn: turn, event, object: object.to_owned(), required: Vec::new() }
    }

    /// As [`Nri::round`], of something that is not made without the plugins that the node or the pod requires.
    pub(super) async fn strict_round(
        &self,
        event: Event,
        object: &str,
        annotations: &BTreeMap<String, String>,
        container: &str,
    ) -> Result<Round<'_>, Report> {
        let required = self.settings.rules.required(annotations, container).map_err(|(key, value)| {
            Report::field(format!("config.annotations[{key:?}]"), value, "it cannot be read")
        })?;
        let round = Round { required, ..self.round(event, object).await };
        round.nobody_is_missing()?;
        Ok(round)
    }
}

impl Round<'_> {
    /// Those that are there and want to hear of it.
    pub(super) fn plugins(&self) -> Vec<Arc<Plugin>> {
        self.of(self.event)
    }

    /// Those that are there and want to hear of another event.
    pub(super) fn of(&self, event: Event) -> Vec<Arc<Plugin>> {
        let there = self.all().into_iter();
        there.filter(|plugin| plugin.events.has(event)).collect()
    }

    /// Those that are there.
    pub(super) fn all(&self) -> Vec<Arc<Plugin>> {
        let list = self.nri.list();
        list.iter().filter(|plugin| plugin.is_there()).cloned().collect()
    }

    fn requires(&self, plugin: &Plugin) -> bool {
        self.required.iter().any(|called| plugin.name.is(called))
    }

    /// # Errors
    /// Which plugin is not there and has to be.
    pub(super) fn nobody_is_missing(&self) -> Result<(), Report> {
        let there = self.all();
        let missing = self.required.iter().find(|called| there.iter().all(|plugin| !plugin.name.is(called)));
        missing.map_or(Ok(()), |called| {
            let cause = format!("the required NRI plugin {called} is not there");
            Err(Report::new(Kind::Unavailable, self.stage(), self.object.clone(), cause)
                .advise("start it; nothing is made without it"))
        })
    }

    fn stage(&self) -> String {
        format!("NRI {}", method(self.event).unwrap_or_default())
    }

    /// A report of what a plugin refuses or does not answer.
    pub(super) fn refused(&self, kind: Kind, cause: impl std::fmt::Display) -> Report {
        Report::new(kind, self.stage(), self.object.clone(), cause)
    }

    /// Asks one of them; `None` if it does not answer and need not.
    ///
    /// # Errors
    /// What it refuses; that it does not answer and has to.
    pub(super) async fn ask<Q: Message, A: Message + Default>(
        &self,
        plugin: &Arc<Plugin>,
        event: Event,
        request: &Q,
    ) -> Result<Option<A>, Report> {
        let Some(method) = method(event) else { return Ok(None) };
        let answered = plugin.call(method, request, self.nri.settings.request_timeout).await;
        self.judge(plugin, answered)
    }

    /// Tells all of them of what changes nothing; what one refuses stops it.
    ///
    /// # Errors
    /// As [`Round::ask`].
    pub(super) async fn tell<Q: Message>(
        &self,
        request: &Q,
        pod: Option<&PodSandbox>,
        container: Option<&Container>,
    ) -> Result<(), Report> {
        for plugin in self.plugins() {
            self.tell_one(&plugin, request, pod, container).await?;
        }
        self.nobody_is_missing()
    }

    /// Tells all of them of what has happened already: what one refuses is reported.
    pub(super) async fn announce<Q: Message>(
        &self,
        request: &Q,
        pod: Option<&PodSandbox>,
        container: Option<&Container>,
    ) {
        for plugin in self.plugins() {
            if let Err(report) = self.tell_one(&plugin, request, pod, container).await {
                tracing::warn!("{report}");
            }
        }
    }

    async fn tell_one<Q: Message>(
        &self,
        plugin: &Arc<Plugin>,
        request: &Q,
        pod: Option<&PodSandbox>,
        container: Option<&Container>,
    ) -> Result<(), Report> {
        let old = || StateChangeEvent {
            event: self.event.into(),
            pod: pod.cloned(),
            container: container.cloned(),
        };
        let told = plugin.tell(self.event, request, old, self.nri.settings.request_timeout).await;
        self.judge(plugin, told).map(|_| ())
    }

    /// What follows from an answer, or from none.
    fn judge<A>(&self, plugin: &Arc<Plugin>, answered: Result<A, Failure>) -> Result<Option<A>, Report> {
        let (cause, late) = match answered {
            Ok(answer) => return Ok(Some(answer)),
            Err(Failure::Refused(cause)) => {
                return Err(self.refused(Kind::Denied, format_args!("plugin {}: {cause}", plugin.name)));
            }
            Err(Failure::Lost { cause, late }) => (cause, late),
        };
        let report = self.refused(Kind::Unavailable, format_args!("plugin {}: {cause}", plugin.name));
        if late && plugin.stays_when_late() {
            tracing::warn!("{report}");
        } else {
            tracing::error!("{report}; it is asked nothing more");
            self.nri.remove(plugin);
        }
        if plugin.fails_request() || self.requires(plugin) { Err(report) } else { Ok(None) }
    }
}
