//! Registries that say no: kubelet can tell why.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use orlop_tests::daemon::{Daemon, stock};
use tonic::Code;

/// Gives the same answer to everyone, until it is dropped.
struct Surly {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Surly {
    /// `answer`: status line and headers, without the empty line; empty: the connection is closed without a word.
    fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("its address");
        let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                count.fetch_add(1, Ordering::Relaxed);
                let mut lines = BufReader::new(stream.try_clone().expect("a descriptor")).lines();
                while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
                if !answer.is_empty() {
                    let head = format!("HTTP/1.1 {answer}\r\nconnection: close\r\ncontent-length: 4\r\n\r\n");
                    // Who leaves early has heard enough.
                    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(b"why?"));
                }
            }
        });
        plainly(&address.to_string());
        Surly { address, stop, asked }
    }
}

impl Drop for Surly {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(self.address));
    }
}

/// Has the daemons of this program speak plain http to `address`.
fn plainly(address: &str) {
    let directory = stock::certs_directory().join(address);
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("hosts.toml"), format!("server = \"http://{address}\"\n")).expect("a file");
}

const REGISTRY: &str = "RegistryUnavailable: pull ";

#[tokio::test]
async fn each_refusal_of_a_registry_is_told_from_the_others() {
    let daemon = Daemon::start("refusals").await;
    let table: [(&str, Code, &[&str]); 9] = [
        ("404 Not Found", Code::NotFound, &["404"]),
        ("401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"", Code::PermissionDenied, &["pull secret"]),
        ("403 Forbidden", Code::PermissionDenied, &["403", "pull secret"]),
        ("429 Too Many Requests\r\nretry-after: 0", Code::ResourceExhausted, &["429", "limits how often"]),
        ("500 Internal Server Error", Code::Unknown, &[REGISTRY, "500"]),
        ("503 Service Unavailable", Code::Unknown, &[REGISTRY, "503"]),
        ("418 Teapot", Code::Unknown, &[REGISTRY, "418", "why?"]),
        ("302 Found\r\nlocation: ftp://127.0.0.1/", Code::Unknown, &[REGISTRY, "redirects"]),
        ("", Code::Unknown, &[REGISTRY]),
    ];
    // All at once: a registry that is asked again and again holds up nobody else.
    let mut asking = Vec::new();
    for (answer, code, words) in table {
        let (mut client, registry) = (daemon.client().await, Surly::start(answer));
        asking.push(tokio::spawn(async move {
            let name = format!("{}/a/b:1", registry.address);
            let error = client.pull(&name).await.expect_err(answer);
            assert_eq!(error.code(), code, "{answer}: {error}");
            assert!(error.message().contains(&name), "{answer}: {error}");
            for word in words {
                assert!(error.message().contains(word), "{answer}: {word:?} is not in {error}");
            }
            assert_eq!(error.message().starts_with(REGISTRY), code == Code::Unknown, "{answer}: {error}");
            assert!(registry.asked.load(Ordering::Relaxed) > 0);
        }));
    }
    for one in asking {
        one.await.expect("it was told");
    }
    daemon.end().await;
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_unavailable() {
    let daemon = Daemon::start("nobody").await;
    let mut client = daemon.client().await;
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("its address").to_string()
    };
    plainly(&closed);
    // Nobody said that it may be spoken to without TLS, and it speaks none.
    let plain = Surly::start("404 Not Found");
    std::fs::remove_dir_all(stock::certs_directory().join(plain.address.to_string())).expect("removed");
    for (registry, word) in [(closed, "refused"), (plain.address.to_string(), "")] {
        let error = client.pull(&format!("{registry}/a/b:1")).await.expect_err("nobody is there");
        // This code alone makes kubelet read the word.
        assert_eq!(error.code(), Code::Unknown, "{error}");
        let begins = format!("{REGISTRY}{registry}/a/b:1: ");
        assert!(error.message().starts_with(&begins) && error.message().contains(word), "{error}");
    }
    let error = client.pull("Not A Name").await.expect_err("no name");
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");
    drop(client);
    daemon.end().await;
}
