//! How a test listens.
//!
//! *Invariant:* waits for what has to come, with a deadline; what has not come by then is a failure.

use std::collections::BTreeMap;
use std::time::Duration;

use orlop_proto::orlop::v1::orlop_client::OrlopClient;
use orlop_proto::orlop::v1::{Event, EventsRequest};
use orlop_proto::runtime::v1::{
    ContainerEventResponse, ContainerEventType, ContainerStatus, GetEventsRequest,
};
use orlop_tests::cri::Client;
use orlop_tests::daemon::{Daemon, PATIENCE};
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

pub(crate) use ContainerEventType::{
    ContainerCreatedEvent as Created, ContainerDeletedEvent as Deleted, ContainerStartedEvent as Started,
    ContainerStoppedEvent as Stopped,
};

/// Orlop's own service of a daemon.
pub(crate) async fn own(daemon: &Daemon) -> OrlopClient<Channel> {
    let address = format!("unix://{}", daemon.socket().display());
    let channel =
        Endpoint::from_shared(address).expect("an address").connect().await.expect("orlopd listens");
    OrlopClient::new(channel).max_decoding_message_size(16 << 20)
}

/// The events after `since`, on and on.
pub(crate) async fn follow(daemon: &Daemon, since: u64) -> Streaming<Event> {
    let request = EventsRequest { since: Some(since), follow: true };
    own(daemon).await.events(request).await.expect("it is kept").into_inner()
}

/// The events that there are after `since`; all that are kept without it.
pub(crate) async fn kept(daemon: &Daemon, since: Option<u64>) -> Result<Vec<Event>, Status> {
    let mut stream = own(daemon).await.events(EventsRequest { since, follow: false }).await?.into_inner();
    let mut all = Vec::new();
    while let Some(event) = stream.message().await? {
        all.push(event);
    }
    Ok(all)
}

/// What CRI tells from now on.
pub(crate) async fn listen(client: &mut Client) -> Streaming<ContainerEventResponse> {
    client.runtime.get_container_events(GetEventsRequest {}).await.expect("a stream").into_inner()
}

/// The next message of a stream.
pub(crate) async fn next<M>(stream: &mut Streaming<M>) -> M {
    let message = tokio::time::timeout(PATIENCE, stream.message()).await.expect("it comes in time");
    message.expect("no failure").expect("not the end")
}

/// The next `count` of CRI's events.
pub(crate) async fn take(
    stream: &mut Streaming<ContainerEventResponse>,
    count: usize,
) -> Vec<ContainerEventResponse> {
    let mut all = Vec::new();
    while all.len() < count {
        all.push(next(stream).await);
    }
    all
}

/// That nothing comes any more: what was to come has come, so a moment is enough.
pub(crate) async fn nothing_more<M: std::fmt::Debug>(stream: &mut Streaming<M>) {
    let more = tokio::time::timeout(Duration::from_millis(300), stream.message()).await;
    assert!(more.is_err(), "told besides: {more:?}");
}

/// What an event says, in short.
pub(crate) fn said(event: &ContainerEventResponse) -> (&str, ContainerEventType) {
    (&event.container_id, event.container_event_type())
}

/// What numbered events say, in short.
pub(crate) fn short(events: &[Event]) -> Vec<(String, ContainerEventType)> {
    let told = events.iter().map(|event| event.event.as_ref().expect("an event"));
    told.map(|told| (told.container_id.clone(), told.container_event_type())).collect()
}

/// How `id` stood when the event came.
pub(crate) fn status<'e>(event: &'e ContainerEventResponse, id: &str) -> Option<&'e ContainerStatus> {
    event.containers_statuses.iter().find(|status| status.id == id)
}

/// What was told of each id, in the order of telling. Numbers rise.
pub(crate) fn by_id(events: &[Event]) -> BTreeMap<String, Vec<ContainerEventType>> {
    assert!(events.windows(2).all(|two| two[0].number < two[1].number), "numbers rise");
    let mut all: BTreeMap<String, Vec<ContainerEventType>> = BTreeMap::new();
    for (id, what) in short(events) {
        all.entry(id).or_default().push(what);
    }
    all
}
