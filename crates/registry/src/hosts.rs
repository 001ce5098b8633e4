//! Where a registry is reached: `certs.d/<host[:port]>/hosts.toml`, in containerd's format.
//!
//! ```toml
//! server = "https://registry.example"            # the registry itself, asked last
//! [host."http://127.0.0.1:5000"]                 # a mirror, or another way to it; asked in this order
//!   capabilities = ["pull", "resolve"]           # resolve: it may say what a tag means
//!   ca = "ca.crt"                                # or a list; relative to the directory
//!   client = [["client.crt", "client.key"]]      # or one file that holds both
//!   skip_verify = false
//!   override_path = false                        # whether the URL's path already has what others get by adding /v2
//!   [host."http://127.0.0.1:5000".header]
//!     x-custom = ["value"]
//! ```
//! Without a file (nor one in `certs.d/_default`) it is `https://<host>`.
//!
//! *Invariant:* http without TLS is spoken only where a URL in such a file says `http://`.

use std::path::{Path, PathBuf};

use orlop_model::reference::DEFAULT_REGISTRY;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;

use crate::error::Error;

/// How TLS is spoken with a host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(crate) struct Tls {
    /// PEM files of certificate authorities, beside the system's.
    pub(crate) authorities: Vec<PathBuf>,
    /// PEM files of our own certificate and its key.
    pub(crate) client: Vec<PathBuf>,
    /// Whether any certificate will do.
    pub(crate) skip_verify: bool,
}

/// One place at which a registry is reached.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Up to and with `/v2/`.
    pub(crate) base: Url,
    /// Whether it may say what a tag means.
    pub(crate) resolves: bool,
    pub(crate) tls: Tls,
    pub(crate) headers: HeaderMap,
    /// Whether it is the registry itself, which credentials are for, and no mirror of it.
    pub(crate) own: bool,
}

impl Endpoint {
    /// Its host and port, as they are told.
    pub(crate) fn host(&self) -> String {
        host_of(&self.base)
    }
}

/// Host and port of a URL, without anything else of it.
pub(crate) fn host_of(url: &Url) -> String {
    match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    }
}

#[derive(Deserialize)]
struct File {
    server: Option<String>,
    #[serde(default)]
    host: toml::Table,
    #[serde(flatten)]
    own: Settings,
}

#[derive(Deserialize, Default)]
struct Settings {
    capabilities: Option<Vec<String>>,
    ca: Option<OneOrMany>,
    client: Option<Clients>,
    #[serde(default)]
    skip_verify: bool,
    #[serde(default)]
    override_path: bool,
    #[serde(default)]
    header: std::collections::BTreeMap<String, OneOrMany>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Clients {
    One(String),
    Many(Vec<String>),
    Pairs(Vec<Vec<String>>),
}

/// Where `registry` is reached, in the order in which it is tried. Read anew each time: the files are small.
pub(crate) fn endpoints(certs: &Path, registry: &str) -> Result<Vec<Endpoint>, Error> {
    for name in [registry, "_default"] {
        let directory = certs.join(name);
        let path = directory.join("hosts.toml");
        let failed = |why: String| Error::Hosts { path: path.display().to_string(), why };
        match std::fs::read_to_string(&path) {
            Ok(text) => return read(&text, &directory, registry).map_err(failed),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error.to_string())),
        }
    }
    read("", certs, registry).map_err(|why| Error::Hosts { path: registry.to_owned(), why })
}

fn read(text: &str, directory: &Path, registry: &str) -> Result<Vec<Endpoint>, String> {
    let file: File = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    let itself = if registry == DEFAULT_REGISTRY { "registry-1.docker.io" } else { registry };
    let server = url(file.server.as_deref().unwrap_or(itself))?;
    let mut endpoints = Vec::new();
    for (address, settings) in file.host {
        let settings = settings
            .try_into::<Settings>()
            .map_err(|error| format!("host \"{address}\": {}", error.message()))?;
        let base = url(&address)?;
        // Another way to the registry itself: as the registry's name says, or as `server` does.
        let own = [host_of(&server), itself.to_owned(), registry.to_owned()].contains(&host_of(&base));
        endpoints.extend(endpoint(base, settings, directory, own)?);
    }
    let last = endpoint(server, file.own, directory, true)?;
    if let Some(last) = last.filter(|last| endpoints.iter().all(|other| other.base != last.base)) {
        endpoints.push(last);
    }
    Ok(endpoints)
}

/// An endpoint, if images may be pulled from it.
fn endpoint(
    mut base: Url,
    settings: Settings,
    directory: &Path,
    own: bool,
) -> Result<Option<Endpoint>, String> {
    let can = |what: &str| settings.capabilities.as_ref().is_none_or(|can| can.iter().any(|can| can == what));
    let (pulls, resolves) = (can("pull"), can("resolve"));
    let path = base.path().trim_end_matches('/').to_owned();
    let path = if settings.override_path || path.ends_with("/v2") { path } else { path + "/v2" };
    base.set_path(&(path + "/"));
    let tls = Tls {
        authorities: settings
            .ca
            .map(OneOrMany::list)
            .unwrap_or_default()
            .iter()
            .map(|ca| directory.join(ca))
            .collect(),
        client: settings
            .client
            .map(Clients::list)
            .unwrap_or_default()
            .iter()
            .map(|file| directory.join(file))
            .collect(),
        skip_verify: settings.skip_verify,
    };
    let mut headers = HeaderMap::new();
    for (name, values) in settings.header {
        let header =
            HeaderName::try_from(&name).map_err(|_| format!("header \"{}\" is none", name.escape_debug()))?;
        for value in values.list() {
            let mut value = HeaderValue::try_from(value)
                .map_err(|_| format!("header {header} has a value that is none"))?;
            value.set_sensitive(true);
            headers.append(header.clone(), value);
        }
    }
    Ok(pulls.then_some(Endpoint { base, resolves, tls, headers, own }))
}

fn url(address: &str) -> Result<Url, String> {
    let full = if address.contains("://") { address.to_owned() } else { format!("https://{address}") };
    let url = Url::parse(&full).map_err(|error| format!("\"{}\": {error}", address.escape_debug()))?;
    let bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if matches!(url.scheme(), "http" | "https") && bare && url.has_host() {
        Ok(url)
    } else {
        Err(format!("\"{}\" is no http or https address of a host", full.escape_debug()))
    }
}

impl OneOrMany {
    fn list(self) -> Vec<String> {
        match self {
            OneOrMany::One(one) => vec![one],
            OneOrMany::Many(many) => many,
        }
    }
}

impl Clients {
    fn list(self) -> Vec<String> {
        match self {
            Clients::One(one) => vec![one],
            Clients::Many(many) => many,
            Clients::Pairs(pairs) => pairs.concat(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases(text: &str, registry: &str) -> Vec<(String, bool, bool)> {
        let endpoints = read(text, Path::new("/certs"), registry).unwrap();
        endpoints.into_iter().map(|e| (e.base.to_string(), e.own, e.resolves)).collect()
    }

    #[test]
    fn without_a_file_it_is_https() {
        let directory = tempfile::tempdir().unwrap();
        let base = |registry| endpoints(directory.path(), registry).unwrap()[0].base.to_string();
        assert_eq!(base("docker.io"), "https://registry-1.docker.io/v2/");
        assert_eq!(base("localhost:5000"), "https://localhost:5000/v2/");
        assert_eq!(base("[::1]:5000"), "https://[::1]:5000/v2/");
    }

    #[test]
    fn mirrors_come_first_in_their_order_and_the_registry_last() {
        let text = r#"
            server = "https://registry.example"
            [host."https://z.mirror"]
            [host."https://a.mirror/path/"]
            capabilities = ["pull"]
            override_path = true
            [host."http://registry.example"]
            [host."https://push.only"]
            capabilities = ["push"]
        "#;
        let expected = [
            ("https://z.mirror/v2/", false, true),
            ("https://a.mirror/path/", false, false),
            ("http://registry.example/v2/", true, true),
            ("https://registry.example/v2/", true, true),
        ];
        let expected: Vec<_> =
            expected.iter().map(|(base, own, can)| ((*base).to_owned(), *own, *can)).collect();
        assert_eq!(bases(text, "registry.example"), expected);
        let plain = r#"[host."http://127.0.0.1:5000"]"#;
        let first = &bases(plain, "127.0.0.1:5000")[0];
        assert_eq!(first, &("http://127.0.0.1:5000/v2/".into(), true, true));
        assert!(!bases(plain, "docker.io")[0].1, "a mirror gets no credentials");
    }

    #[test]
    fn tls_and_headers_are_read_in_all_their_forms() {
        let text = r#"
            ca = "/abs/ca.crt"
            [host."https://m"]
            ca = ["one.crt", "two.crt"]
            client = [["c.crt", "c.key"], ["d.pem"]]
            skip_verify = true
            dial_timeout = "5s"
            [host."https://m".header]
            x-one = "1"
            x-two = ["2", "3"]
        "#;
        let endpoints = read(text, Path::new("/certs/r"), "r").unwrap();
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        let first = &endpoints[0];
        assert_eq!(first.tls.authorities, paths(&["/certs/r/one.crt", "/certs/r/two.crt"]));
        assert_eq!(first.tls.client, paths(&["/certs/r/c.crt", "/certs/r/c.key", "/certs/r/d.pem"]));
        assert!(first.tls.skip_verify && first.headers.get_all("x-two").iter().count() == 2);
        assert_eq!(endpoints[1].tls.authorities, paths(&["/abs/ca.crt"]));
    }

    #[test]
    fn a_bad_file_says_what_is_wrong() {
        for (text, word) in [
            ("server = 5", "server"),
            ("server = \"ftp://x\"", "ftp"),
            ("[host.\"https://u:p@x\"]", "no http"),
            ("[host.\"https://x\"]\nskip_verify = 3", "boolean"),
            ("[host.\"https://x\".header]\n\"a b\" = \"1\"", "a b"),
            ("[host", "host"),
        ] {
            let error = read(text, Path::new("/"), "r").err().unwrap();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}
