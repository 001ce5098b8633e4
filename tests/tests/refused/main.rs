//! Combinations that cannot be, each good by its parts: refused at `RunPodSandbox` or `CreateContainer` by the field that is in the
//! way, and nothing is left.
//!
//! | room | what it is for |
//! | --- | --- |
//! | `pods` | of a pod by itself |
//! | `containers` | of a container with itself, its pod, its image, the node |
//!
//! *Invariant:* a row is judged by itself: whatever it left would be seen before the next. Rows are counted: there are at least 60.

mod containers;
mod pods;

use orlop_proto::runtime::v1::{
    ContainerConfig, CreateContainerRequest, PodSandboxConfig, RunPodSandboxRequest, SecurityProfile,
};
use orlop_tests::cri;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, namespaces};
use orlop_tests::refusal::{kept, said};
use tonic::{Code, Status};

/// What is wrong, and what the answer has to say: the field first.
type Row<T> = (&'static str, fn(&mut T), Code, &'static [&'static str]);

/// A request that cannot be done.
const NO: Code = Code::InvalidArgument;
/// One that this node cannot do.
const NOT_HERE: Code = Code::Unimplemented;

fn profile(number: i32, reference: &str) -> SecurityProfile {
    SecurityProfile { profile_type: number, localhost_ref: reference.into() }
}

/// Pods for containers to be refused in.
struct Pods {
    /// As kubelet asks for it; privileged; all namespaces the node's.
    plain: (String, PodSandboxConfig),
    privileged: (String, PodSandboxConfig),
    node: (String, PodSandboxConfig),
}

async fn pods(stage: &mut Stage) -> Pods {
    let mut all = Vec::new();
    for name in ["privileged", "node"] {
        let mut pod = cri::pod(name, &stage.daemon.logs(name));
        if name == "node" {
            let options = namespaces(&mut pod);
            (options.network, options.ipc, options.pid) = (2, 2, 2);
        }
        let context = pod.linux.get_or_insert_default().security_context.get_or_insert_default();
        context.privileged = name == "privileged";
        all.push((stage.client.run_pod(&pod).await.expect(name), pod));
    }
    let node = all.pop().expect("two");
    let privileged = all.pop().expect("one");
    Pods { plain: (stage.pod_id.clone(), stage.pod.clone()), privileged, node }
}

/// What is wrong with an answer, if something is.
fn judge(name: &str, code: Code, words: &[&str], answer: Result<(), Status>) -> Option<String> {
    let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    match answer {
        Ok(()) => Some(format!("{name}: it was done")),
        Err(status) => said(name, code, &words, &status),
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_by_its_field_and_leaves_nothing() {
    let mut stage = Stage::new("refused").await;
    let pods = pods(&mut stage).await;
    let before = kept(&stage.daemon, &mut stage.client).await;
    let (mut rows, mut faults) = (0, Vec::new());
    for (name, change, code, words) in pods::ROWS {
        let mut config = cri::pod("refused", &stage.daemon.logs("refused"));
        change(&mut config);
        let handler = config.annotations.remove(pods::HANDLER).unwrap_or_default();
        let request = RunPodSandboxRequest { config: Some(config), runtime_handler: handler };
        let answer = stage.client.runtime.run_pod_sandbox(request).await.map(drop);
        faults.extend(judge(name, *code, words, answer));
        left(&mut stage, name, &before).await;
        rows += 1;
    }
    // The same in a privileged pod: that lifts none of it.
    for (pod, table, again) in [
        (&pods.plain, containers::ANYWHERE, false),
        (&pods.plain, containers::IN_A_PLAIN_POD, false),
        (&pods.privileged, containers::ANYWHERE, true),
        (&pods.node, containers::IN_A_NODE_S_POD, false),
    ] {
        for (name, change, code, words) in table {
            let mut config = stage.script("refused", "true");
            change(&mut config);
            containers::settle(&stage, &mut config);
            let answer = create(&mut stage, pod, config).await;
            faults.extend(judge(name, *code, words, answer));
            left(&mut stage, name, &before).await;
            rows += usize::from(!again);
        }
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    assert!(rows >= 60, "{rows} rows");
    containers::unsettle(&stage);
    stage.end().await;
}

async fn left(stage: &mut Stage, name: &str, before: &std::collections::BTreeSet<String>) {
    eventually(&format!("nothing is left of: {name}"), async || {
        kept(&stage.daemon, &mut stage.client).await == *before
    })
    .await;
}

async fn create(
    stage: &mut Stage,
    pod: &(String, PodSandboxConfig),
    config: ContainerConfig,
) -> Result<(), Status> {
    let request = CreateContainerRequest {
        pod_sandbox_id: pod.0.clone(),
        config: Some(config),
        sandbox_config: Some(pod.1.clone()),
    };
    stage.client.runtime.create_container(request).await.map(drop)
}
