//! No message shows a secret, whatever contains it.
//!
//! *Invariant:* the secrets are set here, so that a message that shows nothing at all is not taken for a good one: that a secret
//! is there has to be seen.

use std::fmt::Debug;

use orlop_proto::{orlop, runtime};
use runtime::v1;

const CANARY: &str = "canary-4f1d";

fn secret() -> String {
    CANARY.to_owned()
}

fn config() -> v1::ContainerConfig {
    let value = v1::KeyValue { key: "TOKEN".into(), value: secret().into_bytes() };
    v1::ContainerConfig { envs: vec![value], ..Default::default() }
}

fn auth() -> v1::AuthConfig {
    v1::AuthConfig {
        username: "user".into(),
        password: secret(),
        auth: secret(),
        server_address: "example.org".into(),
        identity_token: secret(),
        registry_token: secret(),
    }
}

/// `{:?}` and `{:#?}` of `message` show `shown`, and the secret neither as text nor as a list of bytes.
fn check(message: &dyn Debug, shown: &str) {
    let bytes: Vec<String> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    for text in [format!("{message:?}"), format!("{message:#?}")] {
        let flat: String = text.split_whitespace().collect();
        assert!(!flat.contains(CANARY) && !flat.contains(&bytes.join(",")), "{text}");
        assert!(text.contains(shown), "{shown} in {text}");
    }
}

#[test]
fn what_a_registry_is_told_is_not_shown() {
    check(&auth(), "[redacted]");
    check(&auth(), "example.org");
    check(&v1::PullImageRequest { auth: Some(auth()), ..Default::default() }, "[redacted]");
    let pull =
        orlop::v1::PullRequest { image: "busybox".into(), username: "user".into(), password: secret() };
    check(&pull, "[redacted]");
}

#[test]
fn an_environment_is_not_shown() {
    check(&config().envs[0], "[11 bytes]");
    check(&config(), "TOKEN");
    check(&v1::CreateContainerRequest { config: Some(config()), ..Default::default() }, "TOKEN");
    check(&v1::RestorePodRequest { container_configs: vec![config()], ..Default::default() }, "TOKEN");
    let record = orlop::v1::ContainerRecord {
        id: "an-id".into(),
        config: Some(config()),
        exec_operations: secret().into_bytes(),
        ..Default::default()
    };
    check(&record, "an-id");
}

#[test]
fn an_address_with_a_token_is_not_shown() {
    let url = || format!("http://127.0.0.1:1/exec/{CANARY}");
    check(&v1::ExecResponse { url: url() }, "[redacted]");
    check(&v1::AttachResponse { url: url() }, "[redacted]");
    check(&v1::PortForwardResponse { url: url() }, "[redacted]");
}

#[test]
fn that_a_secret_is_not_given_is_seen() {
    let text = format!("{:?}", v1::AuthConfig::default());
    assert!(!text.contains("[redacted]"), "{text}");
}

#[test]
fn what_plugins_are_shown_is_not() {
    use orlop_proto::nri::v1alpha1 as nri;
    let container =
        nri::Container { name: "a-name".into(), env: vec![format!("TOKEN={CANARY}")], ..Default::default() };
    check(&container, "a-name");
    check(&nri::CreateContainerRequest { container: Some(container), pod: None }, "a-name");
    let adjust = nri::ContainerAdjustment {
        env: vec![nri::KeyValue { key: "TOKEN".into(), value: secret() }],
        ..Default::default()
    };
    check(&adjust, "TOKEN");
    check(&nri::ConfigureRequest { config: secret(), ..Default::default() }, "[11 bytes]");
}
