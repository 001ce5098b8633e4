//! gRPC on the socket: connections come, are served, and end with the daemon.
//!
//! Not by tonic's own server: that one measures a client's deadline itself, and answers CANCELLED when it has passed. kubelet takes
//! only DEADLINE_EXCEEDED for a probe that failed. Here the client measures it, and says so by leaving its stream.
//!
//! *Invariant:* one connection's end is nobody else's. Once the daemon is asked to end no call begins, and those under way are
//! waited for a while.

use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tonic::service::Routes;

/// A client that is gone without having said so is noticed after this long, twice.
const PULSE: Duration = Duration::from_mins(1);
/// After an error of accept(2): too many descriptors are open, and closing some takes others a moment.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `asked` is; connections then have `patience` to end.
pub(crate) async fn serve(
    listener: UnixListener,
    routes: Routes,
    asked: impl Future<Output = ()>,
    patience: Duration,
) {
    let routes = TowerToHyperService::new(routes.prepare());
    let (closing, closes) = watch::channel(false);
    // Each connection holds an end of it: when all are gone there is none.
    let (held, mut gone) = mpsc::channel::<()>(1);
    let mut asked = std::pin::pin!(asked);
    loop {
        tokio::select! {
            () = &mut asked => break,
            came = listener.accept() => match came {
                Ok((stream, _)) => {
                    tokio::spawn(connection(stream, routes.clone(), closes.clone(), held.clone()));
                }
                Err(error) => {
                    tracing::warn!("a client could not be taken: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
    drop((listener, held));
    let _ = closing.send(true);
    let _ = tokio::time::timeout(patience, gone.recv()).await;
}

async fn connection(
    stream: UnixStream,
    routes: TowerToHyperService<Routes>,
    mut closes: watch::Receiver<bool>,
    held: mpsc::Sender<()>,
) {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new()).keep_alive_interval(PULSE).keep_alive_timeout(PULSE);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), routes));
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = async { drop(closes.wait_for(|closing| *closing).await) } => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a client's connection ended: {error}");
    }
    drop(held);
}
