//! A small world for one test: a node, pods, and somebody outside, each a network namespace with a thread of its own.
//!
//! ```text
//!   outside 192.0.2.2, 2001:db8::2  ---  up0 192.0.2.1, 2001:db8::1  node  BRIDGE  ---  pods
//! ```
//! Outside knows no way to the pods: it answers whom it sees.
//!
//! *Invariant:* nothing here touches the machine's own network: every link is made in a namespace that ends with the test.
#![allow(dead_code, reason = "each test program uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a world that cannot be made is a test that failed")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use orlop_network::{Attached, Bridge, Lease, PodSocket, Settings};

const SOON: Duration = Duration::from_secs(3);

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace with a thread in it.
pub(crate) struct Space {
    netns: OwnedFd,
    socket: PodSocket,
    thread: i32,
    jobs: Sender<Job>,
}

impl Space {
    /// A new one, empty.
    pub(crate) fn new() -> Self {
        let (jobs, todo) = channel::<Job>();
        let (tell, told) = channel();
        std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
                .expect("tests of the network run as root");
            let netns = OwnedFd::from(File::open("/proc/thread-self/ns/net").unwrap());
            tell.send((netns, PodSocket::open().unwrap(), nix::unistd::gettid().as_raw())).unwrap();
            for job in todo {
                job();
            }
        });
        let (netns, socket, thread) = told.recv().unwrap();
        Space { netns, socket, thread, jobs }
    }

    pub(crate) fn netns(&self) -> BorrowedFd<'_> {
        self.netns.as_fd()
    }

    pub(crate) fn socket(&self) -> &PodSocket {
        &self.socket
    }

    /// Does something in it.
    pub(crate) fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (tell, told) = channel();
        self.jobs.send(Box::new(move || drop(tell.send(job())))).unwrap();
        told.recv().expect("the job panicked")
    }

    /// Runs a command line of simple words in it; its output.
    pub(crate) fn sh(&self, line: &str) -> String {
        let line = line.to_owned();
        self.run(move || {
            let output = Command::new("sh").args(["-c", &line]).output().unwrap();
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{line}: {error}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Answers everybody who connects or sends, at a free port, with the address it sees; `name` stands before it.
    pub(crate) fn serve(&self, name: &'static str, at: &str) -> u16 {
        let at: IpAddr = at.parse().unwrap();
        self.run(move || {
            let (tcp, udp) = loop {
                let tcp = TcpListener::bind((at, 0)).unwrap();
                if let Ok(udp) = UdpSocket::bind((at, tcp.local_addr().unwrap().port())) {
                    break (tcp, udp);
                }
            };
            let port = tcp.local_addr().unwrap().port();
            // Threads are born into the namespace of their parent.
            std::thread::spawn(move || {
                for client in tcp.incoming() {
                    let mut client = client.unwrap();
                    let seen = client.peer_addr().unwrap().ip().to_canonical();
                    let _ = write!(client, "{name} {seen}");
                }
            });
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok((_, client)) = udp.recv_from(&mut buffer) {
                    let seen = client.ip().to_canonical();
                    let _ = udp.send_to(format!("{name} {seen}").as_bytes(), client);
                }
            });
            port
        })
    }

    /// What a server answers over TCP; none if it cannot be reached.
    pub(crate) fn tcp(&self, to: &str, port: u16) -> Option<String> {
        let to = SocketAddr::new(to.parse().unwrap(), port);
        self.run(move || {
            let mut stream = TcpStream::connect_timeout(&to, SOON).ok()?;
            stream.set_read_timeout(Some(SOON)).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).ok()?;
            Some(text)
        })
    }

    /// What a server answers over UDP; none if it cannot be reached.
    pub(crate) fn udp(&self, to: &str, port: u16) -> Option<String> {
        let to: IpAddr = to.parse().unwrap();
        self.run(move || {
            let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
            ask_udp(&UdpSocket::bind(any).unwrap(), SocketAddr::new(to, port))
        })
    }

    /// What a server answers over both, which must be the same.
    pub(crate) fn both(&self, to: &str, port: u16) -> Option<String> {
        let tcp = self.tcp(to, port);
        assert_eq!(self.udp(to, port), tcp, "udp and tcp to {to} {port}");
        tcp
    }

    /// The same over one protocol where an answer is not expected: nobody waits twice.
    pub(crate) fn refused(&self, to: &str, port: u16) -> bool {
        let to = SocketAddr::new(to.parse().unwrap(), port);
        self.run(move || TcpStream::connect_timeout(&to, Duration::from_millis(700)).is_err())
    }
}

impl Space {
    /// Whether somebody says at once that nobody listens there.
    pub(crate) fn refused_at_once(&self, to: &str, port: u16) -> bool {
        let to = SocketAddr::new(to.parse().unwrap(), port);
        let error = self.run(move || TcpStream::connect_timeout(&to, SOON).unwrap_err());
        error.kind() == std::io::ErrorKind::ConnectionRefused
    }
}

/// Sends one datagram and reads one.
pub(crate) fn ask_udp(socket: &UdpSocket, to: SocketAddr) -> Option<String> {
    socket.set_read_timeout(Some(SOON / 3)).unwrap();
    socket.send_to(b"?", to).ok()?;
    let mut buffer = [0; 64];
    let (length, _) = socket.recv_from(&mut buffer).ok()?;
    Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// A node, its way out, and where its bridge keeps its state.
pub(crate) struct World {
    pub(crate) node: Space,
    pub(crate) outside: Space,
    state: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let state = std::env::temp_dir().join(format!("orlop-network-{}-{number}", std::process::id()));
        let world = World { node: Space::new(), outside: Space::new(), state };
        world.node.sh(&format!(
            "ip link set lo up; ip link add up0 type veth peer name up0 netns {}; ip link set up0 up;
             ip addr add 192.0.2.1/24 dev up0; ip addr add 2001:db8::1/64 dev up0 nodad",
            world.outside.thread
        ));
        world.outside.sh("ip link set lo up; ip link set up0 up;
             ip addr add 192.0.2.2/24 dev up0; ip addr add 2001:db8::2/64 dev up0 nodad");
        world.node.sh("ip route add default via 192.0.2.2; ip route add default via 2001:db8::2");
        world
    }

    pub(crate) fn settings(&self, bridge: &str) -> Settings {
        Settings {
            bridge: bridge.to_owned(),
            subnet: "10.77.0.0/24".parse().unwrap(),
            subnet6: Some("fd77::/64".parse().unwrap()),
            state_dir: self.state.join(bridge),
            tag: "test".to_owned(),
        }
    }

    /// The node's bridge `br0`.
    pub(crate) fn bridge(&self) -> Bridge {
        self.bridge_of(self.settings("br0"))
    }

    pub(crate) fn bridge_of(&self, settings: Settings) -> Bridge {
        self.node.run(|| Bridge::new(settings)).unwrap()
    }

    /// Does something with a bridge, on the node.
    pub(crate) fn on<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        // The bridge's sockets are in the node's namespace already; only `ensure` looks where it is called.
        std::thread::scope(|scope| {
            let netns = self.node.netns();
            let inside = scope.spawn(move || {
                nix::sched::setns(netns, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
                job()
            });
            inside.join().expect("the job panicked")
        })
    }

    /// A pod with a network.
    pub(crate) fn pod(&self, bridge: &Bridge, id: &str) -> Pod {
        let space = Space::new();
        let (lease, attached) = self.on(|| {
            let lease = bridge.lease(id).unwrap();
            (lease, bridge.attach(id, &lease, space.netns(), space.socket()).unwrap())
        });
        Pod { space, lease, attached, id: id.to_owned() }
    }

    /// The links of the node, sorted, but loopback and uplink.
    pub(crate) fn links(&self) -> Vec<String> {
        let text = self.node.sh("ip -o link show");
        let names =
            text.lines().filter_map(|line| line.split(": ").nth(1)?.split('@').next().map(str::to_owned));
        let mut names: Vec<String> = names.filter(|name| !matches!(name.as_str(), "lo" | "up0")).collect();
        names.sort();
        names
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.state);
    }
}

/// A pod with a network.
pub(crate) struct Pod {
    pub(crate) space: Space,
    pub(crate) lease: Lease,
    pub(crate) attached: Attached,
    pub(crate) id: String,
}

impl Pod {
    pub(crate) fn v4(&self) -> String {
        self.lease.v4.to_string()
    }

    pub(crate) fn v6(&self) -> String {
        self.lease.v6.unwrap().to_string()
    }
}

/// An id like the real ones.
pub(crate) fn id(number: u32) -> String {
    format!("{number:08x}").repeat(8)
}
