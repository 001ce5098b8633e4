//! Connections into a pod.
//!
//! *Invariant:* a socket is made in the pod's network namespace by a thread that ends with it, so no thread of the runtime is ever
//! anywhere but in the node's own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use orlop_model::life::pod::State;
use orlop_model::report::{Kind, Report};
use orlop_stream::session::{Boxed, Duplex, Ports};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpSocket, TcpStream};

use crate::observe::Session;
use crate::pods::Places;
use crate::pods::pod::Pod;

/// Where a pod's `localhost` leads, in the order in which it is tried.
const LOCALHOST: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
/// How long a port may take to accept: over loopback only one whose queue is full takes any time at all.
const PATIENCE: Duration = Duration::from_secs(10);

/// A pod's ports.
pub(super) struct PodPorts {
    pub(super) pod: Arc<Pod>,
    pub(super) asked: Vec<u16>,
    pub(super) _session: Session,
}

impl Ports for PodPorts {
    fn asked(&self) -> Vec<u16> {
        self.asked.clone()
    }

    fn connect(&self, port: u16) -> Boxed<'_, Result<Box<dyn Duplex>, String>> {
        Box::pin(async move {
            let failed = |cause: String| {
                let object = format!("to port {port} of pod {}", self.pod.id.short());
                Report::new(Kind::Unavailable, "connect", object, cause).to_string()
            };
            if self.pod.state() != State::Ready {
                return Err(failed("the pod is not ready".into()));
            }
            let own = !self.pod.config.namespaces.host_network;
            let place = own.then(|| Places::netns(&self.pod.id));
            let mut causes = Vec::new();
            for address in LOCALHOST {
                match connect(place.as_deref(), SocketAddr::new(address, port)).await {
                    Ok(stream) => return Ok(Box::new(stream) as Box<dyn Duplex>),
                    Err(cause) => causes.push(format!("{address}: {cause}")),
                }
            }
            Err(failed(causes.join("; ")))
        })
    }
}

/// Connects in the network namespace that is pinned at `place`; none: in the node's.
async fn connect(place: Option<&Path>, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = match place {
        Some(place) => socket_in(place, address).await?,
        None => socket(address)?,
    };
    let socket = TcpSocket::from_std_stream(std::net::TcpStream::from(socket));
    let late = || std::io::Error::from(std::io::ErrorKind::TimedOut);
    let stream = tokio::time::timeout(PATIENCE, socket.connect(address)).await.map_err(|_| late())??;
    // What the client sends byte by byte is passed on byte by byte.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn socket(address: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(family, SocketType::STREAM, flags, None)
}

/// A socket that a thread of its own makes there.
async fn socket_in(place: &Path, address: SocketAddr) -> std::io::Result<OwnedFd> {
    let namespace = rustix::fs::open(place, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let (made, socket_made) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().name("socket".into()).stack_size(64 << 10).spawn(move || {
        let enter = move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network));
        let _ = made.send(enter.and_then(|()| socket(address)));
    })?;
    let gone = |_| std::io::Error::other("its thread ended");
    Ok(socket_made.await.map_err(gone)??)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// A network namespace of the test's own, held by a thread that went there, with its loopback up.
    fn namespace() -> std::path::PathBuf {
        let (told, hears) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            orlop_sys::namespace::unshare(u64::from(libc::CLONE_NEWNET.cast_unsigned())).expect("root");
            let up = std::process::Command::new("ip").args(["link", "set", "lo", "up"]).status();
            assert!(up.is_ok_and(|status| status.success()), "iproute2");
            let six = std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 600)).expect("a port");
            let thread = rustix::thread::gettid().as_raw_nonzero();
            told.send(format!("/proc/self/task/{thread}/ns/net").into()).expect("heard");
            while let Ok((mut stream, _)) = six.accept() {
                std::io::Write::write_all(&mut stream, b"six").expect("said");
            }
        });
        hears.recv().expect("a namespace")
    }

    #[tokio::test]
    async fn a_connection_is_made_in_the_namespace_and_the_caller_stays() {
        let place = namespace();
        let before = std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace");
        let six = SocketAddr::new(LOCALHOST[1], 600);
        let mut said = String::new();
        let mut stream = connect(Some(&place), six).await.expect("connected");
        stream.read_to_string(&mut said).await.expect("read");
        assert_eq!(said, "six");
        let four = connect(Some(&place), SocketAddr::new(LOCALHOST[0], 600)).await;
        assert_eq!(four.map_err(|error| error.kind()).err(), Some(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(std::fs::read_link("/proc/thread-self/ns/net").expect("a namespace"), before);
        assert!(connect(Some(Path::new("/run/netns/none-of-this-name")), six).await.is_err());
    }

    #[tokio::test]
    async fn without_a_namespace_it_is_the_node_s() {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port");
        let address = listener.local_addr().expect("its number");
        let (connected, accepted) = tokio::join!(connect(None, address), listener.accept());
        let (mut ours, (mut theirs, _)) = (connected.expect("connected"), accepted.expect("accepted"));
        ours.write_all(b"x").await.expect("sent");
        assert_eq!(theirs.read_u8().await.expect("received"), b'x');
    }
}
