//! All behaviours, and where a runtime differs with its reason.
//!
//! *Invariant:* every row is run for every handler; a row that fails is named and the others are run all the same.

use std::pin::Pin;

use orlop_proto::runtime::v1::PodSandboxConfig;
use orlop_tests::daemon::stage::{Stage, namespaces};

use crate::{Handler, confinement, daemon, limits, lives, seen, set, stage, streams};

/// What is run on a stage whose pod is of the handler.
type Run = for<'s> fn(&'s mut Stage, Handler) -> Pin<Box<dyn Future<Output = ()> + 's>>;

/// A behaviour.
struct Row {
    name: &'static str,
    pod: fn(&mut PodSandboxConfig),
    run: Run,
}

/// Where a runtime of others differs from the built-in one, and why. What a row expects there is in the row.
pub(crate) const DIFFERS: &[(Handler, &str, &str)] = &[
    (
        Handler::Runc,
        "a-program-that-is-not-there",
        "that it is the request's fault stands only in its words: Internal",
    ),
    (
        Handler::Crun,
        "a-program-that-is-not-there",
        "that it is the request's fault stands only in its words: Internal",
    ),
    (
        Handler::Runc,
        "bytes-in-the-environment",
        "its spec is JSON, which holds no bytes that are no UTF-8: refused",
    ),
    (
        Handler::Crun,
        "bytes-in-the-environment",
        "its spec is JSON, which holds no bytes that are no UTF-8: refused",
    ),
    (
        Handler::Runc,
        "limits-changed-while-it-runs",
        "gives an exec the oom_score_adj that the container began with; the shim puts it right a moment later",
    ),
];

/// Whether the handler differs in this row.
pub(crate) fn differs(handler: Handler, row: &str) -> bool {
    DIFFERS.iter().any(|(of, name, reason)| *of == handler && *name == row && !reason.is_empty())
}

macro_rules! rows {
    ($($name:literal $pod:ident $room:ident :: $run:ident;)*) => {
        const TABLE: &[Row] = &[$(Row {
            name: $name,
            pod: $pod,
            run: |stage, handler| Box::pin($room::$run(stage, handler)),
        }),*];
    };
}

fn plain(_: &mut PodSandboxConfig) {}

fn shared_pid(pod: &mut PodSandboxConfig) {
    namespaces(pod).set_pid(orlop_proto::runtime::v1::NamespaceMode::Pod);
}

fn sysctls(pod: &mut PodSandboxConfig) {
    let linux = pod.linux.get_or_insert_default();
    linux.sysctls.insert("net.ipv4.ip_local_port_range".into(), "20000 20100".into());
    linux.sysctls.insert("kernel.shm_rmid_forced".into(), "1".into());
}

fn host_network(pod: &mut PodSandboxConfig) {
    pod.hostname = String::new();
    namespaces(pod).set_network(orlop_proto::runtime::v1::NamespaceMode::Node);
}

fn privileged(pod: &mut PodSandboxConfig) {
    pod.linux.get_or_insert_default().security_context.get_or_insert_default().privileged = true;
}

rows! {
    "a-start-and-its-facts" plain lives::starts;
    "exit-codes" plain lives::exit_codes;
    "death-by-a-signal" plain lives::signal;
    "a-stop-with-grace" plain lives::graceful;
    "the-end-of-grace" plain lives::ungraceful;
    "another-stop-signal" plain lives::stop_signal;
    "out-of-memory" plain lives::out_of_memory;
    "a-program-that-is-not-there" plain lives::not_there;
    "a-directory-as-program" plain lives::not_executable;
    "a-removal-while-it-runs" plain lives::removed;
    "many-short-lives" plain lives::short;
    "events-of-a-life" plain lives::events;
    "a-restart-of-orlopd" plain lives::restart;
    "orlopd-killed-and-an-end-meanwhile" plain lives::killed;
    "a-shim-that-is-killed" plain lives::shim_killed;
    "a-shim-killed-while-orlopd-is-gone" plain lives::both_killed;
    "lines-of-both-streams" plain streams::lines;
    "a-mebibyte-of-log" plain streams::large;
    "a-log-that-is-reopened" plain streams::reopened;
    "a-terminal" plain streams::terminal;
    "stdin-for-one" plain streams::stdin_once;
    "an-attachment" plain streams::attached;
    "exec-and-its-code" plain streams::exec;
    "an-exec-that-is-not-there" plain streams::exec_not_there;
    "the-deadline-of-an-exec" plain streams::exec_deadline;
    "twenty-execs-at-once" plain streams::exec_many;
    "an-exec-with-streams" plain streams::exec_streams;
    "an-exec-with-a-terminal" plain streams::exec_terminal;
    "environment-and-directory" plain confinement::environment;
    "bytes-in-the-environment" plain confinement::bytes;
    "user-and-groups" plain confinement::user;
    "capabilities" plain confinement::capabilities;
    "no-new-privileges" plain confinement::no_new_privileges;
    "a-filter-of-system-calls" plain confinement::seccomp;
    "masked-and-read-only-paths" plain confinement::paths;
    "a-root-that-is-read-only" plain confinement::read_only_root;
    "privileged" privileged confinement::privileged;
    "mounts-of-the-node" plain seen::mounts;
    "a-source-that-is-not-there" plain seen::missing_source;
    "read-only-with-all-below" plain seen::recursive;
    "propagation-to-the-container" plain seen::to_container;
    "propagation-to-the-node" privileged seen::to_node;
    "devices" plain seen::devices;
    "sysctls" sysctls seen::sysctls;
    "hostname-and-files-of-the-pod" plain seen::pod_files;
    "the-pods-shared-memory" plain seen::shared_memory;
    "the-nodes-network" host_network seen::host_network;
    "one-pid-namespace" shared_pid seen::shared_pid;
    "the-pid-namespace-of-a-target" plain seen::target_pid;
    "limits" plain limits::limits;
    "limits-changed-while-it-runs" plain limits::updated;
    "limits-changed-before-it-starts" plain limits::updated_before;
    "figures" plain limits::figures;
}

/// Runs them all, each with a pod of its own.
pub(crate) async fn run(handler: Handler) {
    tokio::task::LocalSet::new().run_until(Box::pin(run_all(handler))).await;
}

async fn run_all(handler: Handler) {
    let mut failed = Vec::new();
    let mut free = None;
    for row in TABLE {
        let mut on = match free.take() {
            Some(stage) => stage,
            None => stage(daemon(handler, &format!("handler-{}", handler.name())).start().await).await,
        };
        let done = tokio::task::spawn_local(async move {
            set(&mut on, handler, row.name, row.pod).await;
            (row.run)(&mut on, handler).await;
            on.client.remove_pod(&on.pod_id).await.expect("its pod is removed");
            on
        });
        match done.await {
            Ok(stage) => free = Some(stage),
            Err(error) => failed.push(format!("{}: {error}", row.name)),
        }
    }
    assert!(failed.is_empty(), "{}: {} of {} fail: {failed:#?}", handler.name(), failed.len(), TABLE.len());
    if let Some(stage) = free {
        stage.end().await;
    }
}
