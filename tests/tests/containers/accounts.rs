//! Who runs it, as the image's own files say; and files that say nothing good.

use orlop_proto::runtime::v1::{ContainerConfig, Int64Value, SupplementalGroupsPolicy};
use orlop_tests::busybox;
use orlop_tests::cri::container;
use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::{Stage, security};
use orlop_tests::daemon::stock;
use orlop_tests::image::{Flavour, Image};
use orlop_tests::layer::{Packing, Tree};
use serde_json::json;
use tonic::Code;

/// What a row of a table changes of a good request.
type Change = fn(&mut ContainerConfig);

const PASSWD: &str =
    "root:x:0:0:root:/root:/bin/sh\nsailor:x:1001:2001::/home/sailor:/bin/sh\nempty:x::5:::\n";
const GROUP: &str =
    "root:x:0:\ncrew:x:2001:\nwatch:x:2002:sailor,other\ndeck:x:2003:sailor\nguests:x:2004:other\n";

/// Pushes busybox with a layer over it, and pulls it; its name.
async fn image(stage: &mut Stage, tag: &str, layer: Tree, user: &str) -> String {
    let image = Image::new(Flavour::Oci, vec![busybox::layer(Packing::Gzip), layer.pack(Packing::Plain)])
        .with("User", json!(user))
        .with("Env", json!(["PATH=/bin"]));
    stock::registry().push("accounts", tag, &image);
    let name = format!("{}/accounts:{tag}", stock::registry().address);
    stage.client.pull(&name).await.expect("pulled");
    name
}

fn crew() -> Tree {
    Tree::new().directory("etc", 0o755).file("etc/passwd", 0o644, PASSWD).file("etc/group", 0o644, GROUP)
}

fn number(value: i64) -> Int64Value {
    Int64Value { value }
}

/// uid, gid, all groups in order, HOME.
const WHO: &str = "id -u; id -g; id -G | tr ' ' '\\n' | sort -n | tr '\\n' ' '; echo; echo $HOME";

#[tokio::test]
async fn users_and_groups_are_who_the_image_and_the_request_say() {
    let mut stage = Stage::new("users").await;
    let plain = image(&mut stage, "plain", crew(), "").await;
    let named = image(&mut stage, "named", crew(), "sailor").await;
    let grouped = image(&mut stage, "grouped", crew(), "1001:deck").await;
    let strict = |config: &mut ContainerConfig| {
        security(config).supplemental_groups_policy = SupplementalGroupsPolicy::Strict.into();
    };
    let table: [(&str, &String, Change, &str); 10] = [
        ("root", &plain, |_| {}, "0 0 0 /root"),
        ("image", &named, |_| {}, "1001 2001 2001 2002 2003 /home/sailor"),
        ("group", &grouped, |_| {}, "1001 2003 2002 2003 /home/sailor"),
        (
            "name",
            &plain,
            |c| security(c).run_as_username = "sailor".into(),
            "1001 2001 2001 2002 2003 /home/sailor",
        ),
        (
            "number",
            &plain,
            |c| security(c).run_as_user = Some(number(1001)),
            "1001 2001 2001 2002 2003 /home/sailor",
        ),
        ("unknown", &named, |c| security(c).run_as_user = Some(number(4711)), "4711 0 0 /"),
        ("zero", &named, |c| security(c).run_as_user = Some(number(0)), "0 0 0 /root"),
        (
            "both",
            &plain,
            |c| {
                security(c).run_as_user = Some(number(4711));
                security(c).run_as_group = Some(number(815));
            },
            "4711 815 815 /",
        ),
        (
            "more",
            &named,
            |c| security(c).supplemental_groups = vec![3000, 2002, 3000],
            "1001 2001 2001 2002 2003 3000 /home/sailor",
        ),
        (
            "strict",
            &named,
            |c| security(c).supplemental_groups = vec![3000],
            "1001 2001 2001 3000 /home/sailor",
        ),
    ];
    for (name, image, change, expected) in table {
        let mut config = container(name, image, &["sh", "-c", WHO]);
        change(&mut config);
        if name == "strict" {
            strict(&mut config);
        }
        let (status, said) = stage.to_end(&config).await;
        let words: Vec<&str> = said.split_whitespace().collect();
        assert_eq!((status.exit_code, words.join(" ")), (0, expected.to_owned()), "{name}");
        let user = status.user.and_then(|user| user.linux).expect("a user");
        assert_eq!([user.uid.to_string(), user.gid.to_string()], [words[0], words[1]], "{name}");
        let mut groups = user.supplemental_groups;
        groups.sort_unstable();
        let groups: Vec<String> = groups.iter().map(ToString::to_string).collect();
        assert_eq!(groups, words[2..words.len() - 1], "{name}");
    }
    stage.end().await;
}

#[tokio::test]
async fn who_nobody_knows_is_refused() {
    let mut stage = Stage::new("nobody").await;
    let plain = image(&mut stage, "nobody", crew(), "").await;
    for name in ["stranger", "empty", "4294967295"] {
        let mut config = container("c", &plain, &["id"]);
        security(&mut config).run_as_username = name.into();
        let error = stage.create(&config).await.expect_err(name);
        assert!(matches!(error.code(), Code::InvalidArgument | Code::FailedPrecondition), "{error}");
        assert!(error.message().contains(name), "{error}");
    }
    let mut config = container("c", &plain, &["id"]);
    security(&mut config).run_as_group = Some(number(5));
    assert_eq!(stage.create(&config).await.expect_err("a group alone").code(), Code::InvalidArgument);
    assert!(stage.client.containers().await.expect("a list").is_empty());
    stage.end().await;
}

#[tokio::test]
async fn account_files_that_are_none_are_refused_and_hang_nobody() {
    let mut stage = Stage::new("hostile").await;
    let etc = || Tree::new().directory("etc", 0o755);
    let large = "x".repeat(10 << 20);
    let table = [
        ("fifo", etc().without("etc/passwd"), Tree::new().directory("etc", 0o755).fifo("etc/passwd")),
        ("large", etc(), etc().file("etc/passwd", 0o644, large)),
        ("directory", etc().without("etc/passwd"), etc().directory("etc/passwd", 0o755)),
        ("loop", etc().without("etc/passwd"), etc().symlink("etc/passwd", "passwd")),
    ];
    for (name, first, second) in table {
        let layers =
            vec![busybox::layer(Packing::Gzip), first.pack(Packing::Plain), second.pack(Packing::Plain)];
        let image = Image::new(Flavour::Oci, layers).with("User", json!("root"));
        stock::registry().push("accounts", name, &image);
        let image = format!("{}/accounts:{name}", stock::registry().address);
        stage.client.pull(&image).await.expect("pulled");
        let config = container(name, &image, &["/bin/id"]);
        let error = stage.create(&config).await.expect_err(name);
        assert!(error.message().contains("passwd"), "{name}: {error}");
        assert!(!matches!(error.code(), Code::Unknown | Code::Internal), "{name}: {error}");
    }
    // Where nobody has to be looked up, no file is needed.
    let absent =
        image(&mut stage, "absent", etc().without("etc/passwd").without("etc/group"), "1001:7").await;
    let config = container("absent", &absent, &["sh", "-c", "id -u; id -g"]);
    assert_eq!(stage.to_end(&config).await.1, "1001\n7\n");
    // A link within the image is followed, in the image alone.
    let linked = etc().without("etc/passwd").directory("usr", 0o755).file("usr/users", 0o644, PASSWD);
    let linked = linked.symlink("etc/passwd", "/usr/users");
    let linked = Image::new(Flavour::Oci, vec![busybox::layer(Packing::Gzip), linked.pack(Packing::Plain)]);
    stock::registry().push("accounts", "linked", &linked.with("User", json!("sailor")));
    let linked = format!("{}/accounts:linked", stock::registry().address);
    stage.client.pull(&linked).await.expect("pulled");
    let config = container("linked", &linked, &["/bin/sh", "-c", "/bin/id -u"]);
    assert_eq!(stage.to_end(&config).await.1, "1001\n");
    stage.end().await;
}

#[tokio::test]
async fn whoever_runs_it_opens_its_own_streams_anew() {
    let mut stage = Stage::new("anew").await;
    let script = "echo out >/dev/stdout && echo err >/dev/stderr && [ -w /proc/self/fd/1 ] && sleep 1000";
    for (name, terminal) in [("pipes", false), ("terminal", true)] {
        let mut config = stage.script(name, script);
        config.tty = terminal;
        security(&mut config).run_as_username = "nobody".into();
        let id = stage.start(&config).await;
        let said = |line: &str, stage: &Stage| stage.log(name).iter().any(|has| has.text.trim_end() == line);
        eventually("it has written", async || said("out", &stage) && said("err", &stage)).await;
        let answer =
            stage.client.exec(&id, &["sh", "-c", "echo again >/dev/stdout"], 60).await.expect("exec");
        assert_eq!((&*answer.stdout, answer.exit_code), (&b"again\n"[..], 0));
    }
    stage.end().await;
}
