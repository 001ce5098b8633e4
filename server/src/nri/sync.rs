//! A plugin is told what there is, and is asked from then on.
//!
//! *Invariant:* nothing that plugins have heard of is half made meanwhile: so what there is, and what is heard of afterwards, is all
//! that there is. What a plugin wants changed is done once others can work again.

use std::sync::Arc;

use orlop_model::report::{Kind, Report};
use orlop_proto::nri::v1alpha1::{
    Container, ContainerUpdate, PodSandbox, SynchronizeRequest, SynchronizeResponse,
};
use prost::Message as _;

use super::plugin::{Failure, Plugin};
use super::{show, update};
use crate::pods::Core;

/// Bytes of one message: half of what ttrpc takes, so that one large container more is no harm.
const MESSAGE: usize = orlop_ttrpc::MESSAGE_LIMIT / 2;

/// Takes a plugin in.
///
/// # Errors
/// If it does not take what it is told, or leaves.
pub(super) async fn join(core: &Arc<Core>, plugin: Arc<Plugin>) -> Result<(), Report> {
    let updates = {
        let _nothing_is_made = core.nri.making.write().await;
        let (pods, containers) = show::everything(core).await;
        let updates = synchronize(core, &plugin, pods, containers).await.inspect_err(|_| plugin.let_go())?;
        core.nri.add(Arc::clone(&plugin));
        updates
    };
    tracing::info!(plugin = %plugin.name, "an NRI plugin is asked from now on");
    let (watching, left) = (Arc::clone(core), Arc::clone(&plugin));
    tokio::spawn(async move {
        left.gone().await;
        watching.nri.remove(&left);
        tracing::info!(plugin = %left.name, "an NRI plugin is gone");
    });
    for report in update::all(core, &updates).await.into_iter().filter_map(|(_, report)| report) {
        tracing::warn!(plugin = %plugin.name, "an update was not done: {report}");
    }
    Ok(())
}

async fn synchronize(
    core: &Core,
    plugin: &Plugin,
    pods: Vec<PodSandbox>,
    containers: Vec<Container>,
) -> Result<Vec<ContainerUpdate>, Report> {
    let failed = |cause: String| {
        Report::new(Kind::Unavailable, "synchronize NRI plugin", plugin.name.to_string(), cause)
    };
    let mut messages = pack(pods, containers);
    let last = messages.pop().unwrap_or_default();
    for mut message in messages {
        message.more = true;
        let answer = call(core, plugin, &message).await.map_err(failed)?;
        if !answer.more || !answer.update.is_empty() {
            return Err(failed("it does not take what there is in several messages".into()));
        }
    }
    Ok(call(core, plugin, &last).await.map_err(failed)?.update)
}

async fn call(
    core: &Core,
    plugin: &Plugin,
    message: &SynchronizeRequest,
) -> Result<SynchronizeResponse, String> {
    // It is not asked yet: this belongs to its coming.
    let settings = &core.nri.settings;
    let patience = settings.registration_timeout.max(settings.request_timeout);
    let answered = plugin.call("Synchronize", message, patience).await;
    answered.map_err(|failure| match failure {
        Failure::Refused(cause) | Failure::Lost { cause, .. } => cause,
    })
}

/// All of it, in messages that are not too long.
fn pack(pods: Vec<PodSandbox>, containers: Vec<Container>) -> Vec<SynchronizeRequest> {
    let mut messages = Vec::new();
    let mut message = SynchronizeRequest::default();
    let mut length = 0;
    let full = |length: &mut usize, more: usize, message: &mut SynchronizeRequest, messages: &mut Vec<_>| {
        if *length > 0 && *length + more > MESSAGE {
            messages.push(std::mem::take(message));
            *length = 0;
        }
        *length += more;
    };
    for pod in pods {
        full(&mut length, pod.encoded_len() + 8, &mut message, &mut messages);
        message.pods.push(pod);
    }
    for container in containers {
        full(&mut length, container.encoded_len() + 8, &mut message, &mut messages);
        message.containers.push(container);
    }
    messages.push(message);
    messages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_one_message_or_in_several_that_are_short_enough() {
        assert_eq!(pack(Vec::new(), Vec::new()), [SynchronizeRequest::default()]);
        let pod = |number: usize| PodSandbox { id: number.to_string(), ..PodSandbox::default() };
        let container = |number: usize| Container {
            id: number.to_string(),
            args: vec!["x".repeat(10_000)],
            ..Container::default()
        };
        let (pods, containers): (Vec<_>, Vec<_>) =
            ((0..10).map(pod).collect(), (0..1000).map(container).collect());
        let messages = pack(pods.clone(), containers.clone());
        assert!(messages.len() > 4);
        assert!(messages.iter().all(|message| message.encoded_len() <= MESSAGE + 16));
        let all = |of: fn(&SynchronizeRequest) -> usize| messages.iter().map(of).sum::<usize>();
        assert_eq!((all(|one| one.pods.len()), all(|one| one.containers.len())), (10, 1000));
        assert_eq!(messages.iter().flat_map(|one| one.containers.clone()).collect::<Vec<_>>(), containers);
    }
}
