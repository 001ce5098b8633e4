//! Listens, and takes each connection to its upgrade.
//!
//! ```text
//!  accept ─▶ stranger: TLS, one request, within Limits::greeting ─▶ redeemed ─▶ session
//!            at most Limits::strangers                                          at most Limits::sessions
//! ```
//!
//! *Invariant:* who has no token takes no place of those who have one, and no longer than the greeting lasts. When [`serve`] returns,
//! nothing that it began goes on.

use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use crate::connection::{Agreed, Connection};
use crate::limits::Limits;
use crate::outbox::Form;
use crate::pulse::Pulse;
use crate::request::{self, Refused, Wanted};
use crate::session::{Backend, Kind, Work};
use crate::socket::Socket;
use crate::source::Source;
use crate::talk::ports::MOST;

/// The longest request line and headers, and the most headers.
const HEAD: usize = 16 << 10;
const HEADERS: usize = 64;

/// How long nothing is accepted after that failed: descriptors may be free again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long sessions are given to say goodbye when the server stops.
const STOP: Duration = Duration::from_secs(2);

/// Serves what `backend` gives for the tokens that clients of `listener` bring, until `shutdown`. `tls`: how connections are encrypted,
/// if they are.
pub async fn serve(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    backend: Arc<dyn Backend>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) {
    let (stop, stopped) = watch::channel(false);
    let server = Arc::new(Server {
        tls: tls.map(TlsAcceptor::from),
        backend,
        limits,
        strangers: Arc::new(Semaphore::new(limits.strangers)),
        sessions: Arc::new(Semaphore::new(limits.sessions)),
        stop: stopped,
    });
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                if let Err(error) = ended {
                    warn!("a streaming connection failed: {error}");
                }
            }
            (stranger, stream) = server.accept(&listener) => {
                connections.spawn(Arc::clone(&server).receive(stranger, stream));
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let goodbyes = async { while connections.join_next().await.is_some() {} };
    // Who does not read its goodbye goes without, as the set of connections is dropped.
    let _ = tokio::time::timeout(STOP, goodbyes).await;
}

struct Server {
    tls: Option<TlsAcceptor>,
    backend: Arc<dyn Backend>,
    limits: Limits,
    strangers: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
}

/// A request that was answered with an upgrade.
struct Redeemed {
    upgrade: OnUpgrade,
    agreed: Agreed,
    work: Work,
    /// Its place among the sessions.
    place: OwnedSemaphorePermit,
}

/// An upgraded connection.
struct Upgraded {
    connection: Connection,
    agreed: Agreed,
    work: Work,
    place: OwnedSemaphorePermit,
}

impl Server {
    /// The next connection, once there is a place for it.
    async fn accept(&self, listener: &TcpListener) -> (Option<OwnedSemaphorePermit>, TcpStream) {
        // The semaphore is never closed.
        let stranger = Arc::clone(&self.strangers).acquire_owned().await.ok();
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stranger, stream),
                Err(error) => {
                    warn!("accepting a streaming connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn receive(self: Arc<Self>, stranger: Option<OwnedSemaphorePermit>, stream: TcpStream) {
        let mut stop = self.stop.clone();
        let greeted = tokio::select! {
            greeted = tokio::time::timeout(self.limits.greeting, self.greet(Socket::new(stream))) => greeted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        drop(stranger);
        match greeted {
            Ok(Some(Upgraded { connection, agreed, work, place })) => {
                connection.run(agreed, work).await;
                drop(place);
            }
            Ok(None) => {}
            Err(_) => debug!("a streaming connection did not come to its request in time"),
        }
    }

    async fn greet(&self, socket: Socket) -> Option<Upgraded> {
        let Some(tls) = &self.tls else {
            return self.converse(socket.clone(), socket, |io| (Box::new(io.clone()), Box::new(io))).await;
        };
        match tls.accept(socket.clone()).await {
            Ok(stream) => {
                self.converse(stream, socket, |io| {
                    let (read, write) = tokio::io::split(io);
                    (Box::new(read), Box::new(write))
                })
                .await
            }
            Err(error) => {
                debug!("a streaming connection failed in its TLS handshake: {error}");
                None
            }
        }
    }

    /// Answers requests until one is upgraded.
    async fn converse<I: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        io: I,
        peer: Socket,
        split: impl FnOnce(I) -> (Box<dyn AsyncRead + Send + Unpin>, Box<dyn AsyncWrite + Send + Unpin>),
    ) -> Option<Upgraded> {
        let redeemed = Mutex::new(None);
        let service = service_fn(|request| {
            let answer = self.answer(request, &redeemed);
            async { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.greeting)
            .max_buf_size(HEAD)
            .max_headers(HEADERS)
            .serve_connection(TokioIo::new(io), service);
        if let Err(error) = connection.with_upgrades().await {
            debug!("a streaming request failed: {error}");
        }
        let Redeemed { upgrade, agreed, work, place } =
            redeemed.into_inner().unwrap_or_else(PoisonError::into_inner)?;
        let parts = upgrade.await.ok()?.downcast::<TokioIo<I>>().ok()?;
        let (reader, sink) = split(parts.io.into_inner());
        let pulse = Arc::new(Pulse::new());
        let source = Source::new(reader, &parts.read_buf, peer, Arc::clone(&pulse));
        let connection = Connection { source, sink, pulse, limits: self.limits, stop: self.stop.clone() };
        Some(Upgraded { connection, agreed, work, place })
    }

    fn answer(&self, mut request: Request<Incoming>, redeemed: &Mutex<Option<Redeemed>>) -> Response<String> {
        match request::read(&request).and_then(|wanted| self.redeem(wanted)) {
            Err(refused) => refused.answer(),
            Ok((wanted, work, place)) => {
                let answer = wanted.answer();
                let upgrade = hyper::upgrade::on(&mut request);
                let new = Redeemed { upgrade, agreed: wanted.agreed, work, place };
                *redeemed.lock().unwrap_or_else(PoisonError::into_inner) = Some(new);
                answer
            }
        }
    }

    fn redeem(&self, wanted: Wanted) -> Result<(Wanted, Work, OwnedSemaphorePermit), Refused> {
        let place = Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| Refused::busy())?;
        let work = self.backend.redeem(wanted.kind, &wanted.token).ok_or_else(Refused::not_found)?;
        match (&work, wanted.kind) {
            (Work::Command(..), Kind::Exec | Kind::Attach) => {}
            (Work::Ports(ports), Kind::PortForward) => {
                let channels = matches!(wanted.agreed.form, Form::Channels | Form::Base64);
                let (asked, named) = (ports.asked().len(), wanted.agreed.ports.len());
                if channels && !(1..=MOST).contains(&if asked == 0 { named } else { asked }) {
                    return Err(Refused::portless());
                }
            }
            _ => return Err(Refused::confused()),
        }
        Ok((wanted, work, place))
    }
}
