//! What ids and names mean.

use super::*;
use orlop_proto::runtime::v1::{ContainerMetadata, PodSandboxMetadata};

const ALL: [Kind; 3] = [Kind::Container, Kind::Pod, Kind::Image];

fn pod(id: &str, namespace: &str, name: &str, created_at: i64) -> PodSandbox {
    let metadata =
        PodSandboxMetadata { name: name.into(), namespace: namespace.into(), ..Default::default() };
    PodSandbox { id: id.into(), metadata: Some(metadata), created_at, ..PodSandbox::default() }
}

fn container(id: &str, pod: &str, name: &str, created_at: i64) -> Container {
    let metadata = ContainerMetadata { name: name.into(), attempt: 0 };
    Container {
        id: id.into(),
        pod_sandbox_id: pod.into(),
        metadata: Some(metadata),
        created_at,
        ..Container::default()
    }
}

fn world() -> Vec<Candidate> {
    let pods = [
        pod("aa11", "default", "shop", 1),
        pod("aa22", "test", "shop", 2),
        pod("bb33", "test", "deed", 3),
        pod("bb44", "test", "deed", 4),
    ];
    let containers = [
        container("c001", "aa11", "web", 1),
        container("c002", "aa22", "web", 2),
        container("c0ff", "aa11", "db", 3),
        container("c0fe", "aa11", "db", 9),
        container("dead", "bb33", "c001", 1),
        container("d00d", "bb33", "deed", 1),
    ];
    let image = Image {
        id: format!("sha256:{}", "e".repeat(64)),
        repo_tags: vec!["docker.io/library/busybox:latest".into(), "localhost:5000/b:1".into()],
        repo_digests: vec![format!("docker.io/library/busybox@sha256:{}", "f".repeat(64))],
        ..Image::default()
    };
    let containers = containers.iter().map(|container| of_container(container, &pods));
    containers.chain(pods.iter().map(of_pod)).chain([of_image(&image)]).collect()
}

fn meant(given: &str) -> Result<String, Failure> {
    pick(given, &ALL, &world()).map(|candidate| candidate.id)
}

fn refused(given: &str) -> String {
    meant(given).unwrap_err().tell()
}

#[test]
fn a_whole_id_outweighs_a_name_and_a_name_the_beginning_of_an_id() {
    assert_eq!(meant("c001").unwrap(), "c001", "though another is called so");
    assert_eq!(meant("dea").unwrap(), "dead");
    assert_eq!(meant("bb3").unwrap(), "bb33");
}

#[test]
fn names_may_be_said_in_full() {
    assert_eq!(meant("default/shop/web").unwrap(), "c001");
    assert_eq!(meant("test/shop/web").unwrap(), "c002");
    assert_eq!(meant("test/shop").unwrap(), "aa22");
}

#[test]
fn a_name_means_its_newest_attempt() {
    assert_eq!(meant("db").unwrap(), "c0fe");
    assert_eq!(meant("test/deed").unwrap(), "bb44");
}

#[test]
fn what_fits_several_is_refused_with_all_of_them() {
    let said = refused("web");
    assert!(
        said.starts_with("\"web\" fits 2 things:\n  container c001  default/shop/web, created\n"),
        "{said}"
    );
    assert!(said.contains("container c002  test/shop/web"), "{said}");
    assert!(refused("deed").contains("pod       bb44"), "a pod and a container of one name");
    assert!(refused("c0").contains("fits 4 things"), "{}", refused("c0"));
    assert!(refused("shop/web").contains("fits 2 things"));
}

#[test]
fn what_fits_nothing_is_refused_with_what_lists_them() {
    for given in ["nothing", "", "c001x", "sha256:", "/", "web/", "ää"] {
        let said = refused(given);
        let expected =
            format!("no container or pod or image has the name or an id that begins with \"{given}\"");
        assert!(said.starts_with(&expected), "{said}");
    }
    let said = pick("x\u{1b}", &[Kind::Image], &[]).unwrap_err().tell();
    assert!(said.contains(r#""x\u{1b}""#) && said.contains("`orlop images`"), "{said}");
}

#[test]
fn an_image_is_known_by_every_form_of_its_names() {
    let id = format!("sha256:{}", "e".repeat(64));
    let digest = "f".repeat(64);
    let by_digest = format!("busybox@sha256:{digest}");
    for given in
        ["busybox", "library/busybox:latest", "localhost:5000/b:1", &by_digest, "eeee", "sha256:ee", &id]
    {
        assert_eq!(meant(given).unwrap(), id, "{given}");
    }
    assert!(meant("busybox:1").is_err());
    assert!(meant("localhost:5000/b").is_err(), "that means :latest");
}

#[test]
fn a_long_list_of_candidates_is_cut() {
    let pods: Vec<Candidate> =
        (0..40).map(|n| of_pod(&pod(&format!("ab{n}"), "n", &format!("p{n}"), 1))).collect();
    let said = pick("ab", &ALL, &pods).unwrap_err().tell();
    assert!(said.contains("fits 40 things") && said.contains("and 28 more"), "{said}");
}
