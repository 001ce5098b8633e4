//! Files that are not understood, and one that is.
//!
//! *Invariant:* every key of the table is set here to something that is not its default, where it has another value.

use std::fs;
use std::path::Path;

use clap::Parser as _;

use super::keys::KEYS;
use super::*;

fn apply(text: &str) -> Result<Config, Fault> {
    let mut config = Config::default();
    file::apply(&mut config, Path::new("/etc/orlop/config.toml"), text).map(|()| config)
}

/// A file, the line and key of its fault, and words of the message.
const BAD: &[(&str, usize, &str, &str)] = &[
    ("[network\n", 1, "", ""),
    ("[network]\nmode = \n", 2, "", ""),
    ("[log]\nlevel = \"info\"\nlevel = \"warn\"\n", 3, "", "duplicate"),
    ("[netwrok]\n", 1, "netwrok", "[registry], [network]"),
    ("mode = \"bridge\"\n", 1, "mode", "no such section"),
    ("network = 5\n", 1, "network", "integer where a section belongs; allowed: [network]"),
    ("[[network]]\nmode = \"bridge\"\n", 1, "network", "array where a section belongs"),
    ("\n\n[network]\n# why\nbrige = \"x\"\n", 5, "network.brige", "allowed: mode, bridge, subnet"),
    ("[log]\n\"le\\nvel\" = \"info\"\n", 2, "log.le\\nvel", "no such key"),
    ("network.mode = \"host\"\n", 1, "network.mode", "\"host\" is not known; allowed: \"bridge\", \"cni\""),
    ("[network]\nmode = \"\"\n", 2, "network.mode", "not known"),
    ("[network]\nmode = [\"bridge\"]\n", 2, "network.mode", "array where a string belongs"),
    ("[network]\nbridge = \"\"\n", 2, "network.bridge", "no name of an interface; allowed: 1 to 15"),
    ("[network]\nbridge = \"sixteen-bytes-xx\"\n", 2, "network.bridge", "sixteen-bytes-xx"),
    ("[network]\nbridge = \"..\"\n", 2, "network.bridge", "no name"),
    ("[network]\nbridge = \"a/b\"\n", 2, "network.bridge", "no name"),
    ("[network]\nbridge = \"a b\"\n", 2, "network.bridge", "no name"),
    ("[network]\nsubnet = \"10.88.0.0\"\n", 2, "network.subnet", "not ADDRESS/LENGTH"),
    ("[network]\nsubnet = \"10.88.0.0/+16\"\n", 2, "network.subnet", "not ADDRESS/LENGTH"),
    ("[network]\nsubnet = \"10.88.0.0/31\"\n", 2, "network.subnet", "prefix of 31 bits"),
    ("[network]\nsubnet = \"10.88.0.0/300\"\n", 2, "network.subnet", "not ADDRESS/LENGTH"),
    ("[network]\nsubnet = \"10.88.0.1/16\"\n", 2, "network.subnet", "the network is 10.88.0.0/16"),
    ("[network]\nsubnet = \"127.0.0.0/8\"\n", 2, "network.subnet", "no addresses for pods"),
    ("[network]\nsubnet = \"fd00::/64\"\n", 2, "network.subnet", "IPv4"),
    ("[network]\nsubnet6 = \"10.88.0.0/16\"\n", 2, "network.subnet6", "IPv6"),
    ("[network]\nsubnet6 = \"fd00::1/64\"\n", 2, "network.subnet6", "the network is fd00::/64"),
    ("[network]\nsubnet6 = \"fe80::/64\"\n", 2, "network.subnet6", "no addresses for pods"),
    ("[network]\nsubnet6 = \"fd00::/127\"\n", 2, "network.subnet6", "prefix of 127 bits"),
    ("[network]\ncni_conf_dir = \"net.d\"\n", 2, "network.cni_conf_dir", "no absolute path"),
    ("[network]\ncni_bin_dirs = \"/opt/cni/bin\"\n", 2, "network.cni_bin_dirs", "list of strings"),
    ("[network]\ncni_bin_dirs = []\n", 2, "network.cni_bin_dirs", "empty"),
    ("[network]\ncni_bin_dirs = [\n  \"/a\",\n  7,\n]\n", 2, "network.cni_bin_dirs", "integer"),
    ("[network]\ncni_timeout = 0\n", 2, "network.cni_timeout", "0 seconds"),
    ("[network]\ncni_timeout = 3601\n", 2, "network.cni_timeout", "3601 seconds"),
    ("[network]\ncni_timeout = \"60s\"\n", 2, "network.cni_timeout", "string where a number belongs"),
    ("[registry]\ncerts_dir = \"\"\n", 2, "registry.certs_dir", "no absolute path"),
    ("[registry]\ncerts_dir = \"/etc/../x\"\n", 2, "registry.certs_dir", "a .. in it"),
    ("[registry]\ncerts_dir = \"/a\\u0000b\"\n", 2, "registry.certs_dir", "control character"),
    ("[registry]\ncerts_dir = true\n", 2, "registry.certs_dir", "boolean where a string belongs"),
    ("[registry]\npinned = \"busybox\"\n", 2, "registry.pinned", "list of strings"),
    ("[registry]\npinned = [\"busybox\", \"Busy Box\"]\n", 2, "registry.pinned", "no name of an image"),
    ("[streaming]\naddress = \"localhost\"\n", 2, "streaming.address", "not ADDRESS:PORT"),
    ("[streaming]\naddress = \"127.0.0.1:65536\"\n", 2, "streaming.address", "not ADDRESS:PORT"),
    ("[streaming]\naddress = \"0.0.0.0:0\"\n", 2, "streaming.address", "leads nowhere"),
    ("[streaming]\naddress = \"\"\n", 2, "streaming.address", "not ADDRESS:PORT"),
    ("[streaming]\ntls_cert = \"cert.pem\"\n", 2, "streaming.tls_cert", "no absolute path"),
    ("[streaming]\ntls_key = \"/etc/../key.pem\"\n", 2, "streaming.tls_key", "a .. in it"),
    ("[metrics]\naddress = \"unix:run/x\"\n", 2, "metrics.address", "no absolute path"),
    ("[metrics]\naddress = \":9090\"\n", 2, "metrics.address", "not ADDRESS:PORT"),
    ("[cgroup]\nparent = \"/\"\n", 2, "cgroup.parent", "below the root"),
    ("[cgroup]\nparent = \"a/../b\"\n", 2, "cgroup.parent", "below the root"),
    (
        "[cgroup]\ndriver = \"openrc\"\n",
        2,
        "cgroup.driver",
        "\"openrc\" is not known; allowed: \"auto\", \"cgroupfs\", \"systemd\"",
    ),
    ("[storage]\ndriver = \"btrfs\"\n", 2, "storage.driver", "allowed: \"overlay\""),
    ("[log]\nlevel = \"loud\"\n", 2, "log.level", "\"loud\" is not known; allowed: \"error\""),
    ("[log]\nlevel = 3\n", 2, "log.level", "integer where a string belongs"),
    ("[seccomp]\ndefault_profile = \"default.json\"\n", 2, "seccomp.default_profile", "no absolute path"),
    ("[log]\ncontainer_cap = \"1 MB\"\n", 2, "log.container_cap", "no size; allowed: bytes"),
    ("[log]\ncontainer_cap = -1\n", 2, "log.container_cap", "no number of bytes"),
    ("[log]\ncontainer_cap = \"99999999999GiB\"\n", 2, "log.container_cap", "no size"),
    ("[shim]\npath = \"orlop-shim\"\n", 2, "shim.path", "no absolute path"),
    ("[cdi]\ndirectories = [\"cdi\"]\n", 2, "cdi.directories", "no absolute path"),
    ("[cdi]\ndirectories = \"/etc/cdi\"\n", 2, "cdi.directories", "list of strings"),
    ("[checkpoint]\ncriu = \"bin/criu\"\n", 2, "checkpoint.criu", "no absolute path"),
    ("[checkpoint]\ncriu = \"\"\n", 2, "checkpoint.criu", "names no program"),
    ("[hooks]\ndirectories = [\"/a\", \"/b/../c\"]\n", 2, "hooks.directories", "a .. in it"),
    ("[hooks]\ntimeout = 0\n", 2, "hooks.timeout", "0 seconds"),
    ("[cli]\ncgroup_parent = \"\"\n", 2, "cli.cgroup_parent", "below the root"),
    ("[cli]\nuserns_remap = \"a:b:c\"\n", 2, "cli.userns_remap", "not USER or USER:GROUP"),
];

#[test]
fn a_bad_file_is_a_fault_with_line_key_and_what_is_allowed() {
    for (text, line, key, words) in BAD {
        let fault = apply(text).expect_err(text);
        assert_eq!((fault.line, fault.key.as_str()), (Some(*line), *key), "{text:?}: {fault}");
        let message = fault.to_string();
        assert!(message.starts_with(&format!("/etc/orlop/config.toml:{line}: {key}")), "{message}");
        assert!(message.contains(words), "{words:?} in {message}");
    }
}

/// A value for every key that is not its default.
const OTHER: &str = r#"
[registry]
certs_dir = "/srv//certs.d/"
pinned = ["busybox", "host:5000/pause:3.10"]
[network]
mode = "cni"
bridge = "br-x"
subnet = "192.168.64.0/20"
subnet6 = "fd00:88::/64"
cni_conf_dir = "/c"
cni_bin_dirs = ["/b", "/d"]
cni_timeout = 0x1e
[streaming]
address = "[::1]:7"
tls_cert = "/etc/cert.pem"
tls_key = "/etc/key.pem"
[metrics]
address = "unix:/run/m.sock"
[cgroup]
parent = "/node//orlop"
driver = "systemd"
[storage]
driver = "overlay"
[log]
level = "debug"
container_cap = "64MiB"
[seccomp]
default_profile = "/etc/seccomp.json"
[checkpoint]
criu = "/usr/sbin/criu"
timeout = 30
[shim]
path = "/usr/libexec/orlop-shim"
[cdi]
directories = ["/d", "/e"]
[hooks]
directories = []
timeout = 5
[cli]
cgroup_parent = "people"
userns_remap = "nobody:nogroup"
[nri]
enabled = false
external = false
socket = "/run/n.sock"
plugin_path = "/p"
plugin_config_path = "/pc"
registration_timeout = 6
request_timeout = 7
required_plugins = ["a", "10-b"]
tolerate_missing_annotation = "tolerate.example.org"
reject_oci_hooks = true
reject_runtime_default_seccomp = true
reject_unconfined_seccomp = true
reject_custom_seccomp = true
reject_namespaces = true
reject_sysctls = true
"#;

fn nri() -> Nri {
    Nri {
        enabled: false,
        external: false,
        socket: Some("/run/n.sock".into()),
        plugin_path: "/p".into(),
        plugin_config_path: "/pc".into(),
        registration_timeout: Duration::from_secs(6),
        request_timeout: Duration::from_secs(7),
        required_plugins: vec!["a".into(), "10-b".into()],
        tolerate_missing_annotation: Some("tolerate.example.org".into()),
        reject_oci_hooks: true,
        reject_runtime_default_seccomp: true,
        reject_unconfined_seccomp: true,
        reject_custom_seccomp: true,
        reject_namespaces: true,
        reject_sysctls: true,
    }
}

#[test]
fn every_key_sets_its_own_field() {
    let expected = Config {
        registry: Registry {
            certs_dir: "/srv/certs.d".into(),
            pinned: ["busybox", "host:5000/pause:3.10"].map(|name| name.parse().expect("a name")).into(),
        },
        network: Network {
            mode: NetworkMode::Cni,
            bridge: "br-x".into(),
            subnet: Subnet { address: [192, 168, 64, 0].into(), prefix: 20 },
            subnet6: Some(Subnet { address: [0xfd00, 0x88, 0, 0, 0, 0, 0, 0].into(), prefix: 64 }),
            cni_conf_dir: "/c".into(),
            cni_bin_dirs: vec!["/b".into(), "/d".into()],
            cni_timeout: Duration::from_secs(30),
        },
        streaming: Streaming {
            address: (Ipv6Addr::LOCALHOST, 7).into(),
            tls_cert: Some("/etc/cert.pem".into()),
            tls_key: Some("/etc/key.pem".into()),
        },
        metrics: Metrics { address: Some(Listen::Unix("/run/m.sock".into())) },
        cgroup: Cgroup { parent: "node/orlop".into(), driver: CgroupDriver::Systemd },
        storage: Storage { driver: StorageDriver::Overlay },
        log: Log { level: Level::Debug, container_cap: 64 << 20 },
        seccomp: Seccomp { default_profile: Some("/etc/seccomp.json".into()) },
        checkpoint: Checkpoint { criu: "/usr/sbin/criu".into(), timeout: Duration::from_secs(30) },
        shim: Shim { path: Some("/usr/libexec/orlop-shim".into()) },
        cdi: Cdi { directories: vec!["/d".into(), "/e".into()] },
        hooks: Hooks { directories: Vec::new(), timeout: Duration::from_secs(5) },
        cli: Cli { cgroup_parent: "people".into(), userns_remap: Some("nobody:nogroup".into()) },
        nri: nri(),
        // Has names of its own: see its room.
        handlers: Handlers::default(),
    };
    assert_eq!(apply(OTHER), Ok(expected));
    // Each key of the table is a line of the text: a new one has to be added to both.
    assert_eq!(OTHER.lines().filter(|line| line.contains('=')).count(), KEYS.len());
}

#[test]
fn empty_texts_mean_none_where_that_is_allowed() {
    let none = "network.subnet6 = ''\nmetrics.address = ''\nseccomp.default_profile = ''\nshim.path = ''\n\
                cli.userns_remap = ''\n";
    assert_eq!(apply(none), Ok(Config::default()));
    assert_eq!(apply(""), Ok(Config::default()));
    let tcp = apply("metrics.address = '127.0.0.1:9'").unwrap().metrics.address;
    assert_eq!(tcp, Some(Listen::Tcp(([127, 0, 0, 1], 9).into())));
}

#[test]
fn a_later_file_wins_key_by_key() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("config.toml");
    let drop_ins = room.path().join("config.d");
    fs::create_dir(&drop_ins).unwrap();
    fs::write(&file, "[network]\nbridge = 'a'\nmode = 'cni'\n[log]\nlevel = 'warn'\n").unwrap();
    fs::write(drop_ins.join("20.toml"), "network.bridge = 'c'\n").unwrap();
    fs::write(drop_ins.join("10.toml"), "network.bridge = 'b'\nlog.level = 'debug'\n").unwrap();
    fs::write(drop_ins.join("30.toml.bak"), "nonsense").unwrap();
    let config = read(&file, true).unwrap();
    assert_eq!(config.network.bridge, "c");
    assert_eq!(config.network.mode, NetworkMode::Cni);
    assert_eq!(config.log.level, Level::Debug);

    fs::write(drop_ins.join("20.toml"), "\nnetwork.bridge = 7\n").unwrap();
    let fault = read(&file, true).unwrap_err();
    assert_eq!((fault.file, fault.line), (drop_ins.join("20.toml"), Some(2)));

    // Drop-ins count without the file beside them.
    fs::remove_file(&file).unwrap();
    fs::remove_file(drop_ins.join("20.toml")).unwrap();
    assert_eq!(read(&file, false).unwrap().network.bridge, "b");
}

#[test]
fn a_file_that_cannot_be_read_is_a_fault() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("config.toml");
    assert_eq!(read(&file, false), Ok(Config::default()));
    let missing = read(&file, true).unwrap_err().to_string();
    assert!(missing.contains("config.toml: No such file"), "{missing}");

    fs::create_dir(&file).unwrap();
    assert!(read(&file, false).unwrap_err().cause.contains("no regular file"));
    fs::remove_dir(&file).unwrap();

    fs::write(&file, b"[log]\nlevel = '\xff'\n").unwrap();
    assert!(read(&file, false).unwrap_err().cause.contains("UTF-8"));
    fs::write(&file, "# ".repeat(1 << 20)).unwrap();
    assert!(read(&file, false).unwrap_err().cause.contains("1 MiB"));
}

#[test]
fn flags_override_and_resolve() {
    let flags = Flags::try_parse_from(["orlopd"]).unwrap();
    assert_eq!(flags.root, Path::new("/var/lib/orlop"));
    assert_eq!(flags.socket(), Ok("/run/orlop/orlop.sock".into()));

    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("config.toml");
    fs::write(&file, "log.level = 'warn'\n").unwrap();
    let file = file.to_str().unwrap();
    let flags =
        Flags::try_parse_from(["orlopd", "--config", file, "--log-level", "trace", "--state", "s"]).unwrap();
    assert_eq!(flags.configuration().unwrap().log.level, Level::Trace);
    assert!(flags.state.is_absolute());
    assert_eq!(flags.socket(), Ok(std::env::current_dir().unwrap().join("s/orlop.sock")));

    for bad in [&["--log-level", "loud"][..], &["--root", ""], &["--rot", "/x"], &["stray"]] {
        assert!(Flags::try_parse_from([&["orlopd"], bad].concat()).is_err(), "{bad:?}");
    }
    let long = format!("/{}", "x".repeat(120));
    let flags = Flags::try_parse_from(["orlopd", "--state", &long]).unwrap();
    assert!(flags.socket().unwrap_err().contains("107 bytes"));
}
