//! Ids, beginnings of ids and names become one thing.
//!
//! A whole id outweighs a name, a name the beginning of an id. Names are NAME, POD/NAME and NAMESPACE/POD/NAME of a container,
//! NAME and NAMESPACE/NAME of a pod, tags and digests of an image, in whatever form they are written. Kubernetes makes a new
//! container under the same name when one has ended: among those of one name in one pod, the name means the newest.
//!
//! *Invariant:* nothing is guessed. What fits several is refused with the list of them.

use orlop_model::reference::Reference;
use orlop_proto::runtime::v1::{Container, ContainerState, Image, PodSandbox, PodSandboxState};

use crate::args::Kind;
use crate::client::Daemon;
use crate::failure::Failure;
use crate::render::text::{escape, short};

/// A thing that an id or a name may mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// What it is.
    pub(crate) kind: Kind,
    /// Its whole id.
    pub(crate) id: String,
    /// Whether removing it takes something that lives.
    pub(crate) alive: bool,
    names: Vec<String>,
    /// What all attempts of one name have in common.
    series: String,
    created_at: i64,
    described: String,
}

impl Candidate {
    /// The names of an image that are tags.
    pub(crate) fn tags(&self) -> Vec<String> {
        self.names.iter().filter(|name| !name.contains('@')).cloned().collect()
    }
}

/// The state of a container in a word.
pub(crate) fn container_state(state: ContainerState) -> &'static str {
    match state {
        ContainerState::ContainerCreated => "created",
        ContainerState::ContainerRunning => "running",
        ContainerState::ContainerExited => "exited",
        ContainerState::ContainerUnknown => "unknown",
    }
}

/// The state of a pod in a word.
pub(crate) fn pod_state(state: PodSandboxState) -> &'static str {
    match state {
        PodSandboxState::SandboxReady => "ready",
        PodSandboxState::SandboxNotready => "not ready",
    }
}

/// Namespace and name of the pod `id` among `pods`; empty if it is not there.
pub(crate) fn pod_name<'a>(pods: &'a [PodSandbox], id: &str) -> (&'a str, &'a str) {
    pods.iter()
        .find(|pod| pod.id == id)
        .and_then(|pod| pod.metadata.as_ref())
        .map_or(("", ""), |metadata| (&metadata.namespace, &metadata.name))
}

fn of_container(container: &Container, pods: &[PodSandbox]) -> Candidate {
    let name = container.metadata.as_ref().map_or("", |metadata| &metadata.name);
    let (namespace, pod) = pod_name(pods, &container.pod_sandbox_id);
    let state = container_state(container.state());
    let whole = format!("{namespace}/{pod}/{name}");
    Candidate {
        kind: Kind::Container,
        id: container.id.clone(),
        alive: container.state() == ContainerState::ContainerRunning,
        names: vec![name.to_owned(), format!("{pod}/{name}"), whole.clone()],
        series: whole.clone(),
        created_at: container.created_at,
        described: escape(&format!("container {}  {whole}, {state}", short(&container.id))),
    }
}

fn of_pod(pod: &PodSandbox) -> Candidate {
    let (namespace, name) =
        pod.metadata.as_ref().map_or(("", ""), |metadata| (&*metadata.namespace, &*metadata.name));
    let whole = format!("{namespace}/{name}");
    Candidate {
        kind: Kind::Pod,
        id: pod.id.clone(),
        alive: pod.state() == PodSandboxState::SandboxReady,
        names: vec![name.to_owned(), whole.clone()],
        series: whole.clone(),
        created_at: pod.created_at,
        described: escape(&format!("pod       {}  {whole}, {}", short(&pod.id), pod_state(pod.state()))),
    }
}

fn of_image(image: &Image) -> Candidate {
    let names: Vec<String> = image.repo_tags.iter().chain(&image.repo_digests).cloned().collect();
    Candidate {
        kind: Kind::Image,
        id: image.id.clone(),
        alive: false,
        described: escape(&format!("image     {}  {}", short(&image.id), names.join(", "))),
        names,
        series: image.id.clone(),
        created_at: 0,
    }
}

/// Whether an image that is called `name` is meant by `given`: `busybox` means `docker.io/library/busybox:latest`.
fn is_same_image(name: &str, given: &Reference) -> bool {
    name.parse::<Reference>().is_ok_and(|name| match (given.digest(), name.digest()) {
        (Some(given_digest), Some(digest)) => given.name() == name.name() && given_digest == digest,
        (None, None) => given.by_tag() == name.by_tag(),
        (Some(_), None) | (None, Some(_)) => false,
    })
}

/// The one among `candidates` that `given` means.
///
/// # Errors
/// `NoSuch`, `Ambiguous`.
pub(crate) fn pick(given: &str, kinds: &[Kind], candidates: &[Candidate]) -> Result<Candidate, Failure> {
    let by_id: Vec<&Candidate> = candidates.iter().filter(|candidate| candidate.id == given).collect();
    if let [only] = by_id[..] {
        return Ok(only.clone());
    }
    let reference = given.parse::<Reference>().ok();
    let is_called_so = |candidate: &&Candidate| {
        candidate.names.iter().any(|name| match (&reference, candidate.kind) {
            (Some(reference), Kind::Image) => name == given || is_same_image(name, reference),
            (_, Kind::Container | Kind::Pod | Kind::Image) => name == given,
        })
    };
    let named: Vec<Candidate> = candidates.iter().filter(is_called_so).cloned().collect();
    if !given.is_empty() && !named.is_empty() {
        return only(given, newest_of_each_series(named));
    }
    let digits = given.strip_prefix("sha256:").unwrap_or(given);
    let begin = |candidate: &&Candidate| {
        let id = candidate.id.strip_prefix("sha256:").unwrap_or(&candidate.id);
        !digits.is_empty() && id.starts_with(digits)
    };
    let beginning: Vec<Candidate> = candidates.iter().filter(begin).cloned().collect();
    if beginning.is_empty() {
        return Err(no_such(given, kinds));
    }
    only(given, beginning)
}

fn newest_of_each_series(candidates: Vec<Candidate>) -> Vec<Candidate> {
    let mut newest: Vec<Candidate> = Vec::new();
    for candidate in candidates {
        match newest.iter_mut().find(|other| other.kind == candidate.kind && other.series == candidate.series)
        {
            Some(other) if other.created_at < candidate.created_at => *other = candidate,
            Some(_) => {}
            None => newest.push(candidate),
        }
    }
    newest
}

fn only(given: &str, mut fitting: Vec<Candidate>) -> Result<Candidate, Failure> {
    if fitting.len() == 1 {
        return Ok(fitting.remove(0));
    }
    let mut candidates: Vec<String> = fitting.into_iter().map(|candidate| candidate.described).collect();
    candidates.sort();
    Err(Failure::Ambiguous { given: given.to_owned(), candidates })
}

fn no_such(given: &str, kinds: &[Kind]) -> Failure {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    let advice = match kinds {
        [Kind::Image] => "`orlop images` lists what is here",
        [Kind::Pod] => "`orlop pods` lists what is here",
        [Kind::Container] => "`orlop ps -a` lists what is here, also what has ended",
        _ => "`orlop ps -a`, `orlop pods` and `orlop images` list what is here",
    };
    Failure::NoSuch { kinds: names.join(" or "), given: given.to_owned(), advice }
}

/// What things there are, of some kinds, at one point in time.
pub(crate) struct Catalogue {
    kinds: Vec<Kind>,
    candidates: Vec<Candidate>,
}

impl Catalogue {
    /// Asks `daemon` for all things of `kinds`.
    ///
    /// # Errors
    /// As the daemon says.
    pub(crate) async fn read(daemon: &Daemon, kinds: &[Kind]) -> Result<Self, Failure> {
        let mut candidates = Vec::new();
        let (containers, pods) = (kinds.contains(&Kind::Container), kinds.contains(&Kind::Pod));
        if containers || pods {
            let list = daemon.list_pods().await?;
            if containers {
                candidates.extend(daemon.list_containers().await?.iter().map(|one| of_container(one, &list)));
            }
            if pods {
                candidates.extend(list.iter().map(of_pod));
            }
        }
        if kinds.contains(&Kind::Image) {
            candidates.extend(daemon.list_images().await?.iter().map(of_image));
        }
        Ok(Catalogue { kinds: kinds.to_vec(), candidates })
    }

    /// The one that `given` means.
    ///
    /// # Errors
    /// `NoSuch`, `Ambiguous`.
    pub(crate) fn find(&self, given: &str) -> Result<Candidate, Failure> {
        pick(given, &self.kinds, &self.candidates)
    }
}

/// The container that `given` means.
///
/// # Errors
/// As [`Catalogue::find`], and as the daemon says.
pub(crate) async fn container(daemon: &Daemon, given: &str) -> Result<String, Failure> {
    Ok(Catalogue::read(daemon, &[Kind::Container]).await?.find(given)?.id)
}

/// The pod that `given` means.
///
/// # Errors
/// As [`Catalogue::find`], and as the daemon says.
pub(crate) async fn pod(daemon: &Daemon, given: &str) -> Result<String, Failure> {
    Ok(Catalogue::read(daemon, &[Kind::Pod]).await?.find(given)?.id)
}

#[cfg(test)]
mod tests;
