//! What is given to orlopd in confidence is told to nobody: not to its log at any level, not in an error, not to a file that lasts.
//!
//! *Invariant:* a secret is looked for in every form that it takes on its way: as it is, in base64, as an HTTP header.

use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use orlop_proto::runtime::v1::*;
use orlop_tests::busybox;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, stock};
use orlop_tests::hash::base64;
use orlop_tests::image::Flavour;
use orlop_tests::layer::Packing;
use orlop_tests::registry::{PASSWORD, Registry, USER};

const WRONG: &str = "canary-wrong-password";
const IDENTITY: &str = "canary-identity-token";
const BEARER: &str = "canary-registry-token";
const VALUE: &str = "canary-of-an-environment";
const ARGUMENT: &str = "canary-of-an-argument";

/// All that must not be found, in all forms.
fn secrets() -> Vec<String> {
    let mut all: Vec<String> = [PASSWORD, WRONG, IDENTITY, BEARER].map(str::to_owned).into();
    for password in [PASSWORD, WRONG] {
        all.push(base64(format!("{USER}:{password}").as_bytes()));
    }
    for token in [IDENTITY, BEARER] {
        all.push(base64(token.as_bytes()).trim_end_matches('=').to_owned());
    }
    all
}

/// Whether `text` stands in `bytes`: by its first byte, since layers are looked through, too.
fn has(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == text[0]) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}

/// Fails if `bytes` have one of the secrets.
fn clean(what: &str, bytes: &[u8], secrets: &[String]) {
    let found = secrets.iter().find(|secret| has(bytes, secret));
    if let Some(secret) = found {
        let text = String::from_utf8_lossy(bytes);
        let line = text.lines().find(|line| line.contains(secret.as_str())).unwrap_or_default();
        panic!("{what} has {secret:?}: {line}");
    }
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// Each way of being let in, or not, and whether it opens the door.
fn ways() -> Vec<(&'static str, AuthConfig, bool)> {
    let password = |password: &str| AuthConfig {
        username: USER.into(),
        password: password.into(),
        ..AuthConfig::default()
    };
    let form = |text: String| AuthConfig { auth: base64(text.as_bytes()), ..AuthConfig::default() };
    vec![
        ("a wrong password", password(WRONG), false),
        ("a wrong password in auth", form(format!("{USER}:{WRONG}")), false),
        ("no colon in auth", form(WRONG.into()), false),
        ("auth as it is", AuthConfig { auth: WRONG.into(), ..AuthConfig::default() }, false),
        ("an identity token", AuthConfig { identity_token: IDENTITY.into(), ..AuthConfig::default() }, false),
        ("a registry token", AuthConfig { registry_token: BEARER.into(), ..AuthConfig::default() }, false),
        ("the password", password(PASSWORD), true),
        ("the password in auth", form(format!("{USER}:{PASSWORD}")), true),
    ]
}

async fn pulls_tell_nothing(level: &str) {
    let registry = Registry::start_guarded();
    registry.push("secret", "1", &busybox::image(Flavour::Oci, Packing::Gzip));
    let hosts = stock::certs_directory().join(&registry.address);
    std::fs::create_dir_all(&hosts).expect("a directory");
    std::fs::write(hosts.join("hosts.toml"), format!("server = \"http://{}\"\n", registry.address))
        .expect("a file");
    let image = format!("{}/secret:1", registry.address);
    let daemon = Daemon::build(&format!("secrets-{level}")).level(level).start().await;
    let secrets = secrets();

    let mut client = daemon.client().await;
    for (name, auth, opens) in ways() {
        let request = PullImageRequest {
            image: Some(ImageSpec { image: image.clone(), ..ImageSpec::default() }),
            auth: Some(auth),
            sandbox_config: None,
        };
        let answer = client.images.pull_image(request).await;
        assert_eq!(answer.is_ok(), opens, "{name}: {answer:?}");
        if let Err(status) = answer {
            clean(&format!("the error for {name}"), format!("{status:?}").as_bytes(), &secrets);
        }
        let request =
            RemoveImageRequest { image: Some(ImageSpec { image: image.clone(), ..Default::default() }) };
        client.images.remove_image(request).await.expect("removed, so that the next pull asks again");
    }
    drop(client);
    for (password, opens) in [(WRONG, false), (PASSWORD, true)] {
        let mut command = daemon.orlop(&["pull", "--username", USER, "--password-stdin", &image]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().expect("orlop");
        process.stdin.take().expect("a pipe").write_all(password.as_bytes()).expect("the password");
        let output = process.wait_with_output().expect("its end");
        assert_eq!(output.status.success(), opens, "{}", String::from_utf8_lossy(&output.stderr));
        clean("orlop's stdout", &output.stdout, &secrets);
        clean("orlop's stderr", &output.stderr, &secrets);
    }

    let log = daemon.log();
    assert!(log.contains("PullImage"), "the log is no log of these pulls:\n{log}");
    clean("the log", log.as_bytes(), &secrets);
    for file in [daemon.root(), daemon.state().to_owned()].iter().flat_map(|directory| files(directory)) {
        clean(&file.display().to_string(), &std::fs::read(&file).unwrap_or_default(), &secrets);
    }
    daemon.end().await;
    std::fs::remove_dir_all(hosts).expect("its own directory");
}

#[tokio::test]
async fn credentials_are_nowhere_after_pulls_at_level_debug() {
    pulls_tell_nothing("debug").await;
}

#[tokio::test]
async fn credentials_are_nowhere_after_pulls_at_level_trace() {
    pulls_tell_nothing("trace").await;
}

/// Whether a user of this machine who is nobody in particular can read a file of `top`.
fn is_open(top: &Path, file: &Path) -> bool {
    let mode = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
    let way = file.ancestors().skip(1).take_while(|directory| directory.starts_with(top));
    mode(file) & 0o004 != 0 && way.into_iter().all(|directory| mode(directory) & 0o001 != 0)
}

#[tokio::test]
async fn an_environment_is_for_its_container_alone() {
    let daemon = Daemon::build("secrets-env").level("trace").start().await;
    let mut stage = Stage::on(daemon, |_| {}).await;
    let mut config = stage.script("quiet", "sleep 1000");
    config.envs.push(KeyValue { key: "TOKEN".into(), value: VALUE.into() });
    let id = stage.start(&config).await;
    assert_eq!(stage.client.sh(&id, "echo $TOKEN").await, format!("{VALUE}\n"));
    for command in [&["sh", "-c", "exit 3", ARGUMENT][..], &["no-such-program", ARGUMENT]] {
        let _ = stage.client.exec(&id, command, 20).await;
    }
    let timed_out =
        stage.client.exec(&id, &["sh", "-c", "sleep 1000", ARGUMENT], 1).await.expect_err("it lasts");
    let log = stage.daemon.log();
    let secrets = [VALUE.to_owned(), ARGUMENT.to_owned()];
    clean("the log", log.as_bytes(), &secrets);
    clean("the error", timed_out.message().as_bytes(), &secrets);
    // The plan has it, since the shim needs it: for root alone.
    let mut held = 0;
    for top in [stage.daemon.state().to_owned(), stage.daemon.root()] {
        for file in files(&top) {
            let content = std::fs::read(&file).unwrap_or_default();
            if has(&content, VALUE) {
                held += 1;
                assert!(!is_open(&top, &file), "everybody can read {}", file.display());
            }
        }
    }
    assert!(held > 0, "no file has it, so nothing was looked at");
    let layer = stage.daemon.root().join("containers");
    let mode = std::fs::metadata(layer).expect("layers of containers").mode();
    assert_eq!(mode & 0o077, 0, "a program in a container's layer can be run by anybody");
    stage.end().await;
}
