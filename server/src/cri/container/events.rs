//! `GetContainerEvents`: what happens to pods and containers from now on.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::orlop::v1::JournalEvent;
use orlop_proto::runtime::v1::ContainerEventResponse;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::BoxStream;

use crate::cri::status::status;
use crate::events;
use crate::pods::Core;

pub(crate) fn answer(core: &Arc<Core>) -> Result<BoxStream<ContainerEventResponse>, Report> {
    let heard = events::listen(core, core.events.now(), None);
    let shape = |event: Result<JournalEvent, Report>| {
        event.and_then(|event| of_journal(&event)).map_err(|report| status(&report))
    };
    Ok(Box::pin(ReceiverStream::new(heard).map(shape)))
}

/// An event as the interface has it.
///
/// # Errors
/// If its bytes are none.
pub(crate) fn of_journal(event: &JournalEvent) -> Result<ContainerEventResponse, Report> {
    ContainerEventResponse::decode(&*event.event)
        .map_err(|error| Report::new(Kind::Corrupt, "read event", event.number.to_string(), error))
}
