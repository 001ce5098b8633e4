//! What no pod and no container can have, refused by the field's name; nothing is left of it.

use orlop_proto::runtime::v1::{
    ContainerConfig, IdMapping, Int64Value, MountPropagation, NamespaceMode, PodSandboxConfig, UserNamespace,
};
use orlop_tests::cri;
use orlop_tests::daemon::Daemon;
use orlop_tests::daemon::stage::{Stage, namespaces, security};
use tonic::Code;

use super::{GID, LENGTH, UID, ask, map, stage, user, volume};

type Pod = fn(&mut PodSandboxConfig);

fn options(pod: &mut PodSandboxConfig) -> &mut UserNamespace {
    ask(pod);
    namespaces(pod).userns_options.as_mut().expect("just asked for")
}

const PODS: &[(&str, &str, Pod)] = &[
    ("uids", "exactly one mapping", |pod| {
        options(pod).uids.push(IdMapping { host_id: 1, container_id: 9, length: 1 });
    }),
    ("gids", "exactly one mapping", |pod| {
        options(pod).gids.push(IdMapping { host_id: 1, container_id: 9, length: 1 });
    }),
    ("uids", "exactly one mapping", |pod| options(pod).uids.clear()),
    ("gids", "exactly one mapping", |pod| options(pod).gids.clear()),
    ("uids[0].length", "maps nothing", |pod| options(pod).uids[0].length = 0),
    ("gids[0].length", "maps nothing", |pod| options(pod).gids[0].length = 0),
    ("uids[0].container_id", "begin with 0", |pod| options(pod).uids[0].container_id = 1),
    ("gids[0].container_id", "begin with 0", |pod| options(pod).gids[0].container_id = 1),
    ("uids[0].host_id", "the node's own root", |pod| options(pod).uids[0].host_id = 0),
    ("gids[0].host_id", "the node's own root", |pod| options(pod).gids[0].host_id = 0),
    ("uids[0].length", "the last id of a node", |pod| options(pod).uids[0].length = u32::MAX),
    ("gids[0].length", "the last id of a node", |pod| options(pod).gids[0].host_id = u32::MAX - 1),
    ("mode", "allowed: POD, NODE", |pod| options(pod).mode = NamespaceMode::Container.into()),
    ("mode", "allowed: POD, NODE", |pod| options(pod).mode = NamespaceMode::Target.into()),
    ("mode", "\"17\"", |pod| options(pod).mode = 17),
    ("userns_options", "mappings belong to mode POD", |pod| options(pod).mode = NamespaceMode::Node.into()),
    ("userns_options", "own network namespace", |pod| {
        ask(pod);
        pod.hostname.clear();
        namespaces(pod).network = NamespaceMode::Node.into();
    }),
    ("userns_options", "own IPC namespace", |pod| {
        ask(pod);
        namespaces(pod).ipc = NamespaceMode::Node.into();
    }),
    ("userns_options", "own PID namespace", |pod| {
        ask(pod);
        namespaces(pod).pid = NamespaceMode::Node.into();
    }),
];

#[tokio::test]
async fn a_pod_that_cannot_be_is_refused_by_its_field() {
    let daemon = Daemon::start("userns-bad-pods").await;
    let mut client = daemon.client().await;
    for (field, words, change) in PODS {
        let mut pod = cri::pod("pod", &daemon.logs("pod"));
        change(&mut pod);
        let refused = client.run_pod(&pod).await.expect_err(words);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let path = "config.linux.security_context.namespace_options.userns_options";
        let field = if *field == "userns_options" { path.to_owned() } else { format!("{path}.{field}") };
        assert!(refused.message().starts_with(&format!("{field} ")), "{field}: {refused}");
        assert!(refused.message().contains(words), "{words}: {refused}");
    }
    assert_eq!(client.pods().await.expect("a list").len(), 0);
    drop(client);
    daemon.end().await;
}

type Container = fn(&mut ContainerConfig);

fn asked(config: &mut ContainerConfig) -> &mut UserNamespace {
    let options = security(config).namespace_options.get_or_insert_default();
    options.pid = NamespaceMode::Container.into();
    options.userns_options.insert(user())
}

fn mounted(config: &mut ContainerConfig) -> &mut orlop_proto::runtime::v1::Mount {
    config.mounts.push(volume(std::path::Path::new("/tmp"), "/data"));
    config.mounts.last_mut().expect("just put there")
}

fn runs_as(config: &mut ContainerConfig, uid: i64, gid: i64) {
    let own = security(config);
    own.run_as_user = Some(Int64Value { value: uid });
    own.run_as_group = Some(Int64Value { value: gid });
}

const OPTIONS: &str = "config.linux.security_context.namespace_options.userns_options";

const CONTAINERS: &[(&str, &str, Container)] = &[
    ("mode", "its pod has a user namespace", |c| {
        *asked(c) = UserNamespace { mode: NamespaceMode::Node.into(), ..Default::default() };
    }),
    ("uids", "not its pod's, which is 0 196608 65536", |c| asked(c).uids = map(UID + LENGTH)),
    ("gids", "not its pod's, which is 0 393216 65536", |c| asked(c).gids[0].length -= 1),
    ("uids", "exactly one mapping", |c| asked(c).uids.clear()),
    ("config.mounts[0].uidMappings", "not its pod's", |c| mounted(c).uid_mappings = map(GID)),
    ("config.mounts[0].gidMappings", "not its pod's", |c| mounted(c).gid_mappings = map(UID)),
    ("config.mounts[0].gidMappings", "exactly one mapping", |c| mounted(c).gid_mappings.clear()),
    ("config.mounts[0].uidMappings[0].container_id", "begin with 0", |c| {
        mounted(c).uid_mappings[0].container_id = 3;
    }),
    ("config.mounts[0].propagation", "does not travel to the node", |c| {
        mounted(c).propagation = MountPropagation::PropagationBidirectional.into();
    }),
    ("config.linux.security_context.run_as_user", "ids 0 to 65535 only", |c| runs_as(c, 65536, 0)),
    ("config.linux.security_context.run_as_group", "ids 0 to 65535 only", |c| runs_as(c, 0, 100_000)),
    ("config.linux.security_context.supplemental_groups", "ids 0 to 65535 only", |c| {
        security(c).supplemental_groups = vec![5, 65536];
    }),
];

#[tokio::test]
async fn a_container_that_cannot_be_is_refused_by_its_field() {
    let mut stage = stage("userns-bad-containers").await;
    for (number, (field, words, change)) in CONTAINERS.iter().enumerate() {
        let mut config = stage.script(&format!("c{number}"), "true");
        change(&mut config);
        let refused = stage.create(&config).await.expect_err(words);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        let field = if field.contains('.') { (*field).to_owned() } else { format!("{OPTIONS}.{field}") };
        assert!(refused.message().starts_with(&format!("{field} ")), "{field}: {refused}");
        assert!(refused.message().contains(words), "{words}: {refused}");
    }
    assert_eq!(stage.client.containers().await.expect("a list").len(), 0);
    // What says the same as the pod, or nothing, is fine.
    let mut config = stage.script("same", "true");
    asked(&mut config);
    mounted(&mut config);
    stage.create(&config).await.expect("the same maps");
    stage.end().await;
}

#[tokio::test]
async fn maps_belong_to_pods_with_a_user_namespace() {
    let mut stage = Stage::new("userns-none").await;
    let rows: [(&str, &str, Container); 3] = [
        (
            "config.linux.security_context.namespace_options.userns_options.mode",
            "its pod has no user namespace",
            |c| {
                asked(c);
            },
        ),
        ("config.mounts[0].uidMappings", "its pod has none", |c| {
            mounted(c);
        }),
        ("config.mounts[0].uidMappings", "exactly one mapping", |c| mounted(c).uid_mappings.clear()),
    ];
    for (number, (field, words, change)) in rows.into_iter().enumerate() {
        let mut config = stage.script(&format!("c{number}"), "true");
        change(&mut config);
        let refused = stage.create(&config).await.expect_err(words);
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
        assert!(refused.message().starts_with(field) && refused.message().contains(words), "{refused}");
    }
    stage.end().await;
}
