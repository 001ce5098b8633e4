//! Orlop's own service: what CRI has no call for.
//!
//! *Invariant:* looks, except for a pull and an audit that is asked to fix.

use std::sync::Arc;

use orlop_model::reference::Reference;
use orlop_model::report::Report;
use orlop_proto::orlop::v1::orlop_server::Orlop;
use orlop_proto::orlop::v1::pull_progress::Event;
use orlop_proto::orlop::v1::{
    AuditRequest, AuditResponse, Event as NumberedEvent, EventsRequest, ExplainRequest, ExplainResponse,
    JournalEvent, LayerProgress, LayerState, PullProgress, PullRequest, ThingKind,
};
use orlop_registry::{Auth, Fields, LayerStatus, Stage, Ticket};
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

use crate::cri::container::events::of_journal;
use crate::cri::status::status;
use crate::events;
use crate::pods::Core;

/// How often a watched pull is looked at.
const PULSE: std::time::Duration = std::time::Duration::from_millis(100);

/// Serves it.
pub(crate) struct Own {
    core: Arc<Core>,
}

impl Own {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Own { core }
    }
}

#[tonic::async_trait]
impl Orlop for Own {
    type PullStream = BoxStream<PullProgress>;
    type EventsStream = BoxStream<NumberedEvent>;

    async fn pull(&self, request: Request<PullRequest>) -> Result<Response<Self::PullStream>, Status> {
        let request = request.into_inner();
        let reference: Reference =
            request.image.parse().map_err(|error| status(&Report::field("image", &request.image, error)))?;
        let fields = Fields { username: &request.username, password: &request.password, ..Fields::default() };
        let auth = Auth::from_fields(&fields, reference.registry())
            .map_err(|error| status(&error.report(&request.image)))?;
        let ticket = self.core.images.pulls.pull(&reference, auth);
        let (said, heard) = mpsc::channel(64);
        tokio::spawn(async move { watch(&ticket, &said).await });
        Ok(Response::new(Box::pin(ReceiverStream::new(heard).map(Ok))))
    }

    async fn explain(&self, request: Request<ExplainRequest>) -> Result<Response<ExplainResponse>, Status> {
        let request = request.into_inner();
        crate::explain::explain(&self.core, &request.id, request.plan)
            .await
            .map(Response::new)
            .map_err(|report| status(&report))
    }

    async fn audit(&self, request: Request<AuditRequest>) -> Result<Response<AuditResponse>, Status> {
        crate::audit::audit(&self.core, request.into_inner().fix)
            .await
            .map(Response::new)
            .map_err(|report| status(&report))
    }

    async fn events(&self, request: Request<EventsRequest>) -> Result<Response<Self::EventsStream>, Status> {
        let request = request.into_inner();
        let events = &self.core.events;
        let newest = events.now().await;
        let after = events.after(request.since, newest).map_err(|report| status(&report))?;
        let until = (!request.follow).then_some(newest);
        let heard = events::listen(&self.core, std::future::ready(after), until);
        let shape =
            |event: Result<JournalEvent, Report>| event.and_then(numbered).map_err(|report| status(&report));
        Ok(Response::new(Box::pin(ReceiverStream::new(heard).map(shape))))
    }
}

fn numbered(event: JournalEvent) -> Result<NumberedEvent, Report> {
    let told = of_journal(&event)?;
    let kind = if event.id == event.pod_id { ThingKind::Pod } else { ThingKind::Container };
    Ok(NumberedEvent {
        number: event.number,
        kind: kind.into(),
        pod_id: event.pod_id,
        name: event.name,
        event: Some(told),
    })
}

/// Tells how far a pull is, whenever that has changed, to its end. Whoever listens may leave; the pull goes on.
async fn watch(ticket: &Ticket, said: &mpsc::Sender<PullProgress>) {
    let mut outcome = std::pin::pin!(ticket.clone().outcome());
    let mut told = Vec::new();
    let event = loop {
        let ended = tokio::time::timeout(PULSE, &mut outcome).await;
        let now = ticket.progress().layers();
        for (_, layer) in now.iter().enumerate().filter(|(number, layer)| told.get(*number) != Some(*layer)) {
            let event = Event::Layer(shape(layer));
            if said.send(PullProgress { event: Some(event) }).await.is_err() {
                return;
            }
        }
        told = now;
        match ended {
            Ok(Ok(pulled)) => break Event::ImageId(pulled.image.id.to_string()),
            Ok(Err(error)) => {
                break Event::Failure(error.report(&ticket.reference().to_string()).to_string());
            }
            Err(_) => {}
        }
    };
    let _ = said.send(PullProgress { event: Some(event) }).await;
}

fn shape(layer: &LayerStatus) -> LayerProgress {
    let whole = matches!(layer.stage, Stage::Done | Stage::Shared);
    LayerProgress {
        digest: layer.blob.to_string(),
        total_bytes: layer.size,
        downloaded_bytes: layer.fetched,
        unpacked_bytes: layer.unpacked,
        state: match layer.stage {
            Stage::Waiting => LayerState::Waiting,
            Stage::Fetching if layer.fetched < layer.size => LayerState::Fetching,
            Stage::Fetching => LayerState::Unpacking,
            Stage::Done | Stage::Shared => LayerState::Done,
        }
        .into(),
        verified: whole,
        shared: layer.stage == Stage::Shared,
    }
}
