//! Requests that can be and requests that cannot.
//!
//! *Invariant:* a row of a table changes one thing of a request that is good, so that what is refused is that.

mod container;
mod filter;
mod pod;
mod refused;

use std::collections::BTreeMap;

use orlop_model::pod::{AppArmor, PodConfig, Selinux};
use orlop_model::report::{Kind, Report};
use orlop_proto::runtime::v1;

use super::{Node, container_config, pod_config};

const NODE: Node = Node { apparmor: false, user_namespaces: true, selinux: false };

/// A pod as kubelet asks for it.
fn good_pod() -> v1::PodSandboxConfig {
    v1::PodSandboxConfig {
        metadata: Some(v1::PodSandboxMetadata {
            name: "web-0".into(),
            uid: "6f1d6d6e-0000-4000-8000-000000000000".into(),
            namespace: "default".into(),
            attempt: 2,
        }),
        hostname: "web-0".into(),
        log_directory: "/var/log/pods/default_web-0_6f1d".into(),
        linux: Some(v1::LinuxPodSandboxConfig {
            cgroup_parent: "/kubepods/burstable/pod6f1d".into(),
            security_context: Some(v1::LinuxSandboxSecurityContext::default()),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// A container as kubelet asks for it.
fn good_container() -> v1::ContainerConfig {
    v1::ContainerConfig {
        metadata: Some(v1::ContainerMetadata { name: "web".into(), attempt: 1 }),
        image: Some(v1::ImageSpec {
            image: format!("sha256:{}", "a".repeat(64)),
            user_specified_image: "nginx:1".into(),
            ..Default::default()
        }),
        log_path: "web/0.log".into(),
        linux: Some(v1::LinuxContainerConfig {
            resources: Some(v1::LinuxContainerResources::default()),
            security_context: Some(v1::LinuxContainerSecurityContext::default()),
        }),
        ..Default::default()
    }
}

fn pod() -> PodConfig {
    pod_config(&good_pod(), "", NODE).expect("a good pod")
}

fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// A report names the field first, has the kind that decides the code, and says why.
fn assert_names(report: &Report, kind: Kind, field: &str, words: &str) {
    assert_eq!((report.kind, report.stage.as_str()), (kind, field), "{report}");
    assert!(report.to_string().contains(words), "{words:?} in {report}");
}
