//! What plugins may not do where the node's owner says so, and whom a pod cannot do without.
//!
//! *Invariant:* each rule is tried with its setting and without.

use std::collections::BTreeMap;

use orlop_nri::creation::Creation;
use orlop_nri::rules::{REQUIRED, Rules};
use orlop_proto::nri::v1alpha1::security_profile::ProfileType;
use orlop_proto::nri::v1alpha1::*;

fn wanted(profile: Option<ProfileType>, adjust: ContainerAdjustment) -> ValidateContainerAdjustmentRequest {
    let seccomp_profile =
        profile.map(|kind| SecurityProfile { profile_type: kind.into(), localhost_ref: String::new() });
    let linux = LinuxContainer { seccomp_profile, ..LinuxContainer::default() };
    let container = Container { id: "c".into(), linux: Some(linux), ..Container::default() };
    let mut creation = Creation::new(CreateContainerRequest {
        container: Some(container),
        ..CreateContainerRequest::default()
    });
    let response = CreateContainerResponse { adjust: Some(adjust), ..CreateContainerResponse::default() };
    creation.apply("10-a", &response).expect("applied");
    creation.validation()
}

fn linux(linux: LinuxContainerAdjustment) -> ContainerAdjustment {
    ContainerAdjustment { linux: Some(linux), ..ContainerAdjustment::default() }
}

#[test]
fn each_rule_refuses_what_it_is_about_and_names_the_plugin() {
    let own = LinuxContainerAdjustment::default;
    let seccomp =
        || linux(LinuxContainerAdjustment { seccomp_policy: Some(LinuxSeccomp::default()), ..own() });
    let hooks = Hooks { prestart: vec![Hook::default()], ..Hooks::default() };
    let hooks = ContainerAdjustment { hooks: Some(hooks), ..ContainerAdjustment::default() };
    let namespaces = vec![LinuxNamespace { r#type: "-ipc".into(), path: String::new() }];
    let namespaces = linux(LinuxContainerAdjustment { namespaces, ..own() });
    let sysctl = linux(LinuxContainerAdjustment { sysctl: [("a.b".into(), "1".into())].into(), ..own() });
    let none = Rules::default;
    let cases = [
        (Rules { reject_oci_hooks: true, ..none() }, None, hooks),
        (Rules { reject_unconfined_seccomp: true, ..none() }, None, seccomp()),
        (Rules { reject_unconfined_seccomp: true, ..none() }, Some(ProfileType::Unconfined), seccomp()),
        (
            Rules { reject_runtime_default_seccomp: true, ..none() },
            Some(ProfileType::RuntimeDefault),
            seccomp(),
        ),
        (Rules { reject_custom_seccomp: true, ..none() }, Some(ProfileType::Localhost), seccomp()),
        (Rules { reject_namespaces: true, ..none() }, None, namespaces),
        (Rules { reject_sysctls: true, ..none() }, None, sysctl),
    ];
    for (at, (rules, profile, adjust)) in cases.iter().enumerate() {
        let wanted = wanted(*profile, adjust.clone());
        let refused = rules.check(&wanted).expect_err("a rule");
        assert!(refused.contains("plugin 10-a ") && refused.contains("[nri] reject_"), "{refused}");
        assert_eq!(Rules::default().check(&wanted), Ok(()), "without a setting");
        for (other, (rules, _, _)) in cases.iter().enumerate() {
            if rules != &cases[at].0 {
                assert_eq!(rules.check(&wanted), Ok(()), "rule {other} is not about {at}");
            }
        }
    }
}

fn annotated(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn a_pods_annotation_adds_plugins_for_itself_or_for_one_container() {
    let rules = Rules { required: vec!["a".into()], ..Rules::default() };
    let of = |key: String, value: &str, container| rules.required(&annotated(&[(&key, value)]), container);
    assert_eq!(rules.required(&BTreeMap::new(), "c"), Ok(vec!["a".into()]));
    for value in ["[ b, \"c\" ]", "- b\n- 'c'\n", "[b,c]"] {
        for key in [REQUIRED.to_owned(), format!("{REQUIRED}/pod"), format!("{REQUIRED}/container.c")] {
            assert_eq!(of(key, value, "c"), Ok(vec!["a".into(), "b".into(), "c".into()]), "{value}");
        }
        assert_eq!(of(format!("{REQUIRED}/container.other"), value, "c"), Ok(vec!["a".into()]));
    }
    assert_eq!(of(REQUIRED.to_owned(), "[]", "c"), Ok(vec!["a".into()]));
    for wrong in ["b", "[b", "b: c"] {
        assert!(of(REQUIRED.to_owned(), wrong, "c").is_err(), "fails closed: {wrong}");
    }
    let both = annotated(&[(REQUIRED, "[pod]"), (&format!("{REQUIRED}/container.c"), "[own]")]);
    assert_eq!(rules.required(&both, "c"), Ok(vec!["a".into(), "own".into()]), "the nearest counts");
}

#[test]
fn who_may_do_without_says_so_by_the_key_that_the_node_names() {
    let key = "tolerate.example.org";
    let rules = Rules { required: vec!["a".into()], tolerate_missing: Some(key.into()), ..Rules::default() };
    let none: Vec<String> = Vec::new();
    assert_eq!(rules.required(&annotated(&[(key, "true")]), "c"), Ok(none));
    assert_eq!(rules.required(&annotated(&[(key, "false")]), "c"), Ok(vec!["a".into()]));
    assert!(rules.required(&annotated(&[(key, "maybe")]), "c").is_err());
    let without = Rules { tolerate_missing: None, ..rules };
    assert_eq!(without.required(&annotated(&[(key, "true")]), "c"), Ok(vec!["a".into()]));
}
