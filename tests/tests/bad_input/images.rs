//! Images that are not there, are not given, or are not what they say.

use orlop_proto::runtime::v1::*;
use orlop_tests::busybox;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::daemon::{Daemon, stock};
use orlop_tests::hash::{base64, digest};
use orlop_tests::image::{Flavour, Image};
use orlop_tests::layer::{Packing, Tree};
use orlop_tests::registry::{PASSWORD, Registry, USER};
use serde_json::json;
use tonic::Code;

use crate::call::Call;
use crate::row::{Row, judge};

fn pull(name: &str, auth: Option<AuthConfig>) -> Call {
    let image = Some(ImageSpec { image: name.into(), ..ImageSpec::default() });
    Call::Pull(Box::new(PullImageRequest { image, auth, sandbox_config: None }))
}

/// Has the daemons of this program speak plain http to `address`.
fn plainly(address: &str) {
    let directory = stock::certs_directory().join(address);
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("hosts.toml"), format!("server = \"http://{address}\"\n")).expect("a file");
}

/// Names that are none, and what each has.
const NAMES: &[(&str, &str)] = &[
    ("nothing", ""),
    ("a space", "busy box"),
    ("capitals", "BusyBox"),
    ("a URL", "http://localhost/busybox"),
    ("an empty part", "localhost:5000//busybox"),
    ("a part that climbs", "localhost:5000/../busybox"),
    ("two tags", "busybox:1:2"),
    ("an empty tag", "busybox:"),
    (
        "a tag of 129 letters",
        "busybox:ttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt",
    ),
    ("half a digest", "busybox@sha256:abcd"),
    ("a digest of nothing known", "busybox@md5:d41d8cd98f00b204e9800998ecf8427e"),
    ("an escape", "busy\u{1b}[31mbox"),
    ("a port that is none", "localhost:port/busybox"),
];

#[tokio::test]
async fn a_name_that_is_none_is_refused() {
    let daemon = Daemon::start("badnames").await;
    let mut client = daemon.client().await;
    let mut rows = Vec::new();
    for (what, name) in NAMES {
        let invalid = Code::InvalidArgument;
        rows.push(Row::new(format!("pull: {what}"), pull(name, None), invalid, &["image.image"]));
        rows.push(Row::new(
            format!("status: {what}"),
            Call::ImageStatus((*name).into()),
            invalid,
            &["image.image"],
        ));
        rows.push(Row::new(
            format!("removal: {what}"),
            Call::RemoveImage((*name).into()),
            invalid,
            &["image.image"],
        ));
        // A filter that says nothing fits all.
        if !name.is_empty() {
            let request = Call::Images((*name).into());
            rows.push(Row::new(format!("list: {what}"), request, invalid, &["filter.image.image"]));
        }
    }
    judge(&daemon, &mut client, rows).await;
    // What is not there is no error to look for, nor to remove.
    for call in [
        Call::ImageStatus("no/such:1".into()),
        Call::RemoveImage("no/such:1".into()),
        Call::Images("no/such:1".into()),
    ] {
        call.send(&mut client).await.expect("an answer");
    }
    drop(client);
    daemon.end().await;
}

/// An image of one file.
fn small() -> Image {
    Image::new(Flavour::Oci, vec![Tree::new().file("a", 0o644, "a").pack(Packing::Gzip)])
}

#[tokio::test]
async fn a_registry_that_gives_nothing_is_named_and_why() {
    let daemon = Daemon::start("badpulls").await;
    let mut client = daemon.client().await;
    let at = stock::registry().address.as_str();
    stock::registry().push("plain", "1", &small());
    let nobody = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("its address").to_string()
    };
    plainly(&nobody);
    let unknown = digest(b"nothing that is there");
    let row = |name, image: String, code, words: &[&str]| Row::new(name, pull(&image, None), code, words);
    let absent = Code::NotFound;
    let rows = vec![
        row("no such repository", format!("{at}/no/such:1"), absent, &["pull", "no/such", at]),
        row("no such tag", format!("{at}/plain:9"), absent, &["pull", "plain:9", at]),
        row("no such digest", format!("{at}/plain@{unknown}"), absent, &["pull", &unknown]),
        row(
            "nobody there",
            format!("{nobody}/plain:1"),
            Code::Unknown,
            &["RegistryUnavailable: pull", &nobody, "refused"],
        ),
    ];
    judge(&daemon, &mut client, rows).await;
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn a_guarded_registry_gives_to_nobody_else() {
    let daemon = Daemon::start("badwords").await;
    let mut client = daemon.client().await;
    let guarded = Registry::start_guarded();
    guarded.push("secret", "1", &small());
    plainly(&guarded.address);
    let secret = format!("{}/secret:1", guarded.address);
    let password = |user: &str, password: &str| AuthConfig {
        username: user.into(),
        password: password.into(),
        ..AuthConfig::default()
    };
    let form = |auth: &str| AuthConfig { auth: auth.into(), ..AuthConfig::default() };
    let elsewhere = AuthConfig { server_address: "registry.example".into(), ..password(USER, PASSWORD) };
    let token = AuthConfig { registry_token: "t0ken".into(), ..AuthConfig::default() };
    let row = |name, auth, code, words: &[&str]| Row::new(name, pull(&secret, auth), code, words);
    let (denied, invalid) = (Code::PermissionDenied, Code::InvalidArgument);
    let rows = vec![
        row("no credentials", None, denied, &["pull", &secret, "pull secret"]),
        row("a wrong password", Some(password(USER, "wrong")), denied, &["pull", &secret]),
        row("a wrong name", Some(password("stowaway", PASSWORD)), denied, &["pull", &secret]),
        row("credentials of another registry", Some(elsewhere), denied, &["pull", &secret]),
        row("a token that is none", Some(token), denied, &["pull", &secret]),
        row("auth that is no base64", Some(form("*")), invalid, &["credentials", "base64"]),
        row("auth without a colon", Some(form(&base64(b"sailor"))), invalid, &["credentials", "colon"]),
    ];
    judge(&daemon, &mut client, rows).await;
    for auth in [password(USER, PASSWORD), form(&base64(format!("{USER}:{PASSWORD}").as_bytes()))] {
        pull(&secret, Some(auth)).send(&mut client).await.expect("it is given to who knows the word");
    }
    drop(client);
    daemon.end().await;
}

#[tokio::test]
async fn an_image_that_lies_is_refused_and_leaves_nothing() {
    let daemon = Daemon::start("badimages").await;
    let mut client = daemon.client().await;
    let registry = stock::registry();
    let layer = || Tree::new().file("hello", 0o644, "hello").pack(Packing::Gzip);
    let mut other = layer();
    other.diff_id = digest(b"something else");
    registry.push("lies", "diffid", &Image::new(Flavour::Oci, vec![other]));
    let mut nothing = layer();
    nothing.bytes = b"this is no gzip".to_vec();
    registry.push("lies", "layer", &Image::new(Flavour::Oci, vec![nothing]));
    let mut foreign = Image::new(Flavour::Oci, vec![layer()]);
    foreign.architecture = "riscv64".into();
    registry.push("lies", "platform", &foreign);
    let media = Flavour::Oci.manifest();
    registry.push_manifest(
        "lies",
        "index",
        Flavour::Oci.index(),
        &orlop_tests::image::index(Flavour::Oci, &[foreign]),
    );
    let config = b"[]".to_vec();
    registry.push_blob("lies", &config);
    registry.push_blob("lies", &layer().bytes);
    let manifest = json!({
        "schemaVersion": 2, "mediaType": media,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": digest(&layer().bytes), "size": layer().bytes.len()}],
    });
    registry.push_manifest("lies", "config", media, manifest.to_string().as_bytes());
    let at = |tag: &str| format!("{}/lies:{tag}", registry.address);
    let row =
        |tag: &str, code, word: &str| Row::new(tag, pull(&at(tag), None), code, &["pull", &at(tag), word]);
    let rows = vec![
        row("diffid", Code::DataLoss, "sha256:"),
        row("layer", Code::DataLoss, "gzip"),
        row("platform", Code::NotFound, "riscv64"),
        row("index", Code::NotFound, "riscv64"),
        row("config", Code::DataLoss, "config"),
    ];
    judge(&daemon, &mut client, rows).await;
    drop(client);
    daemon.end().await;
}

/// Pushes an image of busybox that is changed, and pulls it; its name.
async fn changed(stage: &mut Stage, tag: &str, change: impl FnOnce(Image) -> Image) -> String {
    let image = change(busybox::image(Flavour::Oci, Packing::Gzip));
    stock::registry().push("odd", tag, &image);
    let name = format!("{}/odd:{tag}", stock::registry().address);
    stage.client.pull(&name).await.expect("it is an image");
    name
}

#[tokio::test]
async fn what_an_image_asks_for_is_checked_too() {
    let mut stage = Stage::new("badwish").await;
    let user = changed(&mut stage, "user", |image| image.with("User", json!("neptune"))).await;
    let group = changed(&mut stage, "group", |image| image.with("User", json!("root:mermaids"))).await;
    let directory =
        changed(&mut stage, "directory", |image| image.with("WorkingDir", json!("srv\u{0}"))).await;
    let silent = changed(&mut stage, "silent", |image| image.with("Cmd", json!([]))).await;
    let fifo = changed(&mut stage, "fifo", |mut image| {
        image.layers.push(Tree::new().fifo("etc/passwd").pack(Packing::Gzip));
        image
    })
    .await;
    let huge = changed(&mut stage, "huge", |mut image| {
        let passwd = vec![b'#'; (1 << 20) + 1];
        image.layers.push(Tree::new().file("etc/passwd", 0o644, passwd).pack(Packing::Gzip));
        image
    })
    .await;
    let accounts = stage.daemon.place().put("passwd", "neptune:x:7:7:::\n").display().to_string();
    let outside = changed(&mut stage, "outside", |mut image| {
        image.layers.push(Tree::new().symlink("etc/passwd", &accounts).pack(Packing::Gzip));
        image.with("User", json!("neptune"))
    })
    .await;
    let create = |image: &str, command: &[&str]| {
        let config = orlop_tests::cri::container("bad", image, command);
        Call::Create(Box::new(CreateContainerRequest {
            pod_sandbox_id: stage.pod_id.clone(),
            config: Some(config),
            sandbox_config: Some(stage.pod.clone()),
        }))
    };
    let (invalid, run) = (Code::InvalidArgument, ["true"]);
    let rows = vec![
        Row::new("a user that is not there", create(&user, &run), invalid, &["neptune", "/etc/passwd"]),
        Row::new("a group that is not there", create(&group, &run), invalid, &["mermaids", "/etc/group"]),
        Row::new("a directory with a NUL", create(&directory, &run), invalid, &["WorkingDir", "NUL"]),
        Row::new("nothing to run", create(&silent, &[]), invalid, &["config.command"]),
        Row::new("accounts that are a FIFO", create(&fifo, &run), Code::DataLoss, &["/etc/passwd", "pipe"]),
        Row::new(
            "accounts of more than 1 MiB",
            create(&huge, &run),
            Code::DataLoss,
            &["/etc/passwd", "larger"],
        ),
        Row::new("accounts that are elsewhere", create(&outside, &run), invalid, &["neptune", "/etc/passwd"]),
    ];
    judge(&stage.daemon, &mut stage.client, rows).await;
    stage.end().await;
}
