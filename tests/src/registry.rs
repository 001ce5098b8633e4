//! Debian's docker-registry on a free port, and how an image gets into it.
//!
//! *Invariant:* it listens on loopback alone, keeps all in a directory that goes with it, and ends when it is dropped.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::hash::{base64, digest};
use crate::http::{self, Answer};
use crate::image::{Flavour, Image, index};
use crate::place::Place;

/// Who may, where a registry asks.
pub const USER: &str = "sailor";
/// With this.
pub const PASSWORD: &str = "sesame";
/// bcrypt of [`PASSWORD`]: the only hash that docker-registry takes.
const HASH: &str = "$2b$04$cdikKDck2Se0iwvJBBfIe.7Yh.sjYd4IJtjR5qgyBJewlmGTi4yIa";

/// A registry that runs somewhere.
#[derive(Debug, Clone)]
pub struct Remote {
    /// `host:port`.
    pub address: String,
    /// Value of the `Authorization` header, where it asks for one.
    pub authorization: Option<String>,
}

#[expect(clippy::must_use_candidate, reason = "most who push want no digest")]
impl Remote {
    /// One that asks nobody who they are.
    #[must_use]
    pub fn open(address: impl Into<String>) -> Self {
        Remote { address: address.into(), authorization: None }
    }

    /// Puts an image into `repository` under `tag`; gives back the manifest's digest.
    ///
    /// # Panics
    /// If the registry does not take it.
    pub fn push(&self, repository: &str, tag: &str, image: &Image) -> String {
        self.push_blobs(repository, image);
        self.push_manifest(repository, tag, image.flavour.manifest(), &image.manifest())
    }

    /// Puts images, one an architecture, and the index of them under `tag`; gives back the index's digest.
    ///
    /// # Panics
    /// If the registry does not take it.
    pub fn push_index(&self, repository: &str, tag: &str, flavour: Flavour, images: &[Image]) -> String {
        for image in images {
            let manifest = image.manifest();
            self.push_blobs(repository, image);
            self.push_manifest(repository, &digest(&manifest), image.flavour.manifest(), &manifest);
        }
        self.push_manifest(repository, tag, flavour.index(), &index(flavour, images))
    }

    /// Puts the blobs of an image there.
    ///
    /// # Panics
    /// If the registry does not take one.
    pub fn push_blobs(&self, repository: &str, image: &Image) {
        for blob in image.blobs() {
            self.push_blob(repository, &blob);
        }
    }

    /// Puts a blob there, in one piece (distribution-spec, "Pushing a blob monolithically").
    ///
    /// # Panics
    /// If the registry does not take it.
    pub fn push_blob(&self, repository: &str, blob: &[u8]) {
        let name = digest(blob);
        if self.send("HEAD", &format!("/v2/{repository}/blobs/{name}"), &[], b"").status == 200 {
            return;
        }
        let begun = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], b"");
        let place = begun.header("location").expect("a place to put it").to_owned();
        // It may be absolute.
        let path = place.split_once(&self.address).map_or(&place[..], |(_, path)| path);
        let mark = if path.contains('?') { '&' } else { '?' };
        let kind = [("Content-Type", "application/octet-stream")];
        let put = self.send("PUT", &format!("{path}{mark}digest={name}"), &kind, blob);
        assert_eq!(put.status, 201, "{}", String::from_utf8_lossy(&put.body));
    }

    /// Puts a manifest there, whatever it says; gives back its digest.
    ///
    /// # Panics
    /// If the registry does not take it.
    pub fn push_manifest(&self, repository: &str, tag: &str, media_type: &str, manifest: &[u8]) -> String {
        let kind = [("Content-Type", media_type)];
        let put = self.send("PUT", &format!("/v2/{repository}/manifests/{tag}"), &kind, manifest);
        assert_eq!(put.status, 201, "{}", String::from_utf8_lossy(&put.body));
        digest(manifest)
    }

    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut headers = headers.to_vec();
        headers.extend(self.authorization.as_deref().map(|value| ("Authorization", value)));
        http::send(&self.address, method, path, &headers, body).expect("the registry answers")
    }
}

/// A registry of one's own.
pub struct Registry {
    remote: Remote,
    process: Child,
    place: Place,
}

impl std::ops::Deref for Registry {
    type Target = Remote;
    fn deref(&self) -> &Remote {
        &self.remote
    }
}

impl Registry {
    /// Starts one that asks nobody who they are.
    ///
    /// # Panics
    /// If docker-registry is not there or does not start: `make deps` installs it.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with("", None)
    }

    /// Starts one that asks for [`USER`] and [`PASSWORD`], by HTTP basic authentication.
    ///
    /// # Panics
    /// As [`Registry::start`].
    #[must_use]
    pub fn start_guarded() -> Self {
        let authorization = format!("Basic {}", base64(format!("{USER}:{PASSWORD}").as_bytes()));
        Self::start_with(
            "auth: {htpasswd: {realm: orlop-tests, path: DIRECTORY/htpasswd}}\n",
            Some(authorization),
        )
    }

    fn start_with(settings: &str, authorization: Option<String>) -> Self {
        let place = Place::new("registry");
        place.put("htpasswd", format!("{USER}:{HASH}\n"));
        let directory = place.path().display().to_string();
        let config = "version: 0.1\nlog: {level: info, accesslog: {disabled: true}}\n\
                      storage: {filesystem: {rootdirectory: DIRECTORY/data}, delete: {enabled: true}}\n\
                      http: {addr: \"127.0.0.1:0\"}\n";
        let config = place.put("config.yml", format!("{config}{settings}").replace("DIRECTORY", &directory));
        let log = std::fs::File::create(place.join("log")).expect("a file");
        let mut command = Command::new("docker-registry");
        command
            .arg("serve")
            .arg(config)
            .stdin(Stdio::null())
            .stderr(log.try_clone().expect("a descriptor"))
            .stdout(log);
        // Its own settings come from the environment, too.
        command.env_remove("REGISTRY_HTTP_ADDR").env("OTEL_TRACES_EXPORTER", "none");
        let process = command.spawn().expect("docker-registry is installed");
        let mut registry =
            Registry { remote: Remote { address: String::new(), authorization }, process, place };
        registry.remote.address = registry.wait();
        registry
    }

    /// The port is the kernel's choice; the log tells which.
    fn wait(&mut self) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let log = std::fs::read_to_string(self.place.join("log")).unwrap_or_default();
            let port = log
                .split("listening on 127.0.0.1:")
                .nth(1)
                .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
            if let Some(Some(port)) = port.filter(|_| log.ends_with('\n')) {
                return format!("127.0.0.1:{port}");
            }
            let ended = self.process.try_wait().expect("its own child");
            assert!(ended.is_none() && Instant::now() < deadline, "docker-registry did not start:\n{log}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A `certs.d` directory that says it speaks plain http: what `[registry] certs_dir` of orlopd's configuration names.
    #[must_use]
    pub fn certs_directory(&self) -> PathBuf {
        let address = &self.address;
        let hosts = format!(
            "server = \"http://{address}\"\n\n[host.\"http://{address}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"
        );
        self.place.put(format!("certs.d/{address}/hosts.toml"), hosts);
        self.place.join("certs.d")
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
