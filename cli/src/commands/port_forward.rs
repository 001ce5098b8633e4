//! `orlop port-forward`: ports of this machine's loopback lead to a pod's.
//!
//! *Invariant:* it listens on loopback alone. Each connection has a session of its own, and harms no other by its end.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;

use clap::Args;
use orlop_proto::runtime::v1::PortForwardRequest;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::client::{Daemon, question};
use crate::failure::Failure;
use crate::resolve;
use crate::session::{INPUT, Message, OUTPUT, PORTS, open};

/// Its flags.
#[derive(Debug, Args)]
#[command(after_help = "Goes on until Ctrl-C.\n\nExample: orlop port-forward web 8080:80")]
pub(crate) struct PortForward {
    /// A pod
    pub(crate) id: String,
    /// A port of the pod, and before it the one here that leads to it, where that is another; 0: any
    #[arg(required = true, value_name = "[LOCAL:]PORT", value_parser = pair)]
    pub(crate) ports: Vec<(u16, u16)>,
}

/// The port here and the pod's.
fn pair(text: &str) -> Result<(u16, u16), String> {
    let number = |text: &str| text.parse::<u16>().map_err(|_| format!("\"{text}\" is no port"));
    let (here, there) = text.split_once(':').unwrap_or((text, text));
    match (number(here)?, number(there)?) {
        (_, 0) => Err("a pod's port is not 0".into()),
        pair => Ok(pair),
    }
}

impl PortForward {
    pub(super) async fn run(self, daemon: &Daemon) -> Result<u8, Failure> {
        let pod = resolve::pod(daemon, &self.id).await?;
        let mut listeners = JoinSet::new();
        for (here, there) in self.ports {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, here)).await;
            let failed = |source| Failure::Session { what: format!("listen on 127.0.0.1:{here}"), source };
            let listener = listener.map_err(failed)?;
            let address = listener.local_addr().map_err(failed)?;
            writeln!(io::stdout(), "{address} -> {there}")?;
            listeners.spawn(accept(daemon.clone(), pod.clone(), listener, there));
        }
        // They end with this program.
        while listeners.join_next().await.is_some() {}
        Ok(0)
    }
}

async fn accept(daemon: Daemon, pod: String, listener: TcpListener, port: u16) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                let (daemon, pod) = (daemon.clone(), pod.clone());
                connections.spawn(async move {
                    if let Err(failure) = forward(&daemon, pod, stream, port).await {
                        // Nobody is left to be told that it cannot be told.
                        let _ = writeln!(io::stderr(), "orlop: {}", failure.tell());
                    }
                });
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(daemon: &Daemon, pod: String, mut stream: TcpStream, port: u16) -> Result<(), Failure> {
    let what = format!("port-forward {port}");
    let request = PortForwardRequest { pod_sandbox_id: pod, port: vec![port.into()] };
    let answer = daemon.runtime().port_forward(question(request)).await;
    let url = answer.map_err(|status| daemon.refused(&what, &status))?.into_inner().url;
    let broken = |source| Failure::Session { what: what.clone(), source };
    let (mut incoming, mut outgoing) = open(&url, PORTS).await.map_err(broken)?;
    let (mut reads, mut writes) = stream.split();
    let mut buffer = vec![0; 32 << 10];
    // Each channel says its port first.
    let mut heads = [true; 2];
    let mut ours_ended = false;
    loop {
        tokio::select! {
            message = incoming.next() => match message.map_err(broken)? {
                Some(Message::Data(data)) => {
                    let (channel, mut bytes) = data.parts();
                    if heads.get_mut(usize::from(channel)).is_some_and(std::mem::take) {
                        bytes = bytes.get(2..).unwrap_or_default();
                    }
                    if channel == INPUT {
                        writes.write_all(bytes).await.map_err(broken)?;
                    } else if channel == OUTPUT && !bytes.is_empty() {
                        let said = crate::render::text::escape(&String::from_utf8_lossy(bytes));
                        return Err(Failure::Refused { what, code: tonic::Code::Unavailable, said });
                    }
                }
                Some(Message::Ping(payload)) => outgoing.answer_ping(&payload).await.map_err(broken)?,
                None => return Ok(()),
            },
            count = reads.read(&mut buffer), if !ours_ended => match count {
                Ok(count @ 1..) => outgoing.send(INPUT, &buffer[..count]).await.map_err(broken)?,
                // This protocol has no word for half an end: what the pod still has to say is waited for.
                Ok(_) => ours_ended = true,
                Err(_) => return Ok(()),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_and_pairs_of_them() {
        assert_eq!(pair("80"), Ok((80, 80)));
        assert_eq!(pair("8080:80"), Ok((8080, 80)));
        assert_eq!(pair("0:80"), Ok((0, 80)));
        for wrong in ["", "0", "a", "80:", ":80", "80:0", "65536", "1:2:3", "-1"] {
            assert!(pair(wrong).is_err(), "{wrong}");
        }
    }
}
