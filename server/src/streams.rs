//! What is behind the streaming URLs: exec, attach and port-forward.
//!
//! ```text
//!  Exec, Attach, PortForward (CRI) ─▶ a token ─▶ URL ─▶ connection ─▶ redeemed ─▶ process, attachment, ports
//! ```
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`tokens`] | what a URL stands for, once |
//! | [`door`] | where the URLs lead: the listener, and what a redeemed token begins |
//! | [`exec`] | a process with streams |
//! | [`attach`] | a container's own streams |
//! | [`ports`] | connections into a pod |
//! | [`descriptor`] | pipe ends and terminals as streams |
//!
//! The data goes from the client's connection to the process's pipe or terminal: no shim is in between, and no protocol is known
//! here (`orlop_stream` speaks those).
//!
//! *Invariant:* a token is never logged. What a client that leaves has begun is ended.

mod attach;
mod descriptor;
mod door;
mod exec;
mod ports;
pub(crate) mod tokens;

use std::os::fd::OwnedFd;

use orlop_model::report::{Kind, Report};
use orlop_stream::session::{Boxed, Running, Size};
use orlop_wire::message::Request;
use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

pub(crate) use door::Door;

use crate::shims::Link;

/// A pipe of `size` bytes, or as large as the kernel gives: the end that reads, the end that writes.
///
/// # Errors
/// `Exhausted` if there is none to be had.
fn pipe(stage: &'static str, size: usize) -> Result<(OwnedFd, OwnedFd), Report> {
    let (reads, writes) =
        pipe_with(PipeFlags::CLOEXEC).map_err(|errno| Report::new(Kind::Exhausted, stage, "pipes", errno))?;
    // What is above /proc/sys/fs/pipe-max-size takes CAP_SYS_RESOURCE. Smaller is slower, not wrong.
    if fcntl_setpipe_size(&writes, size).is_err() {
        let _ = fcntl_setpipe_size(&writes, size.min(1 << 20));
    }
    Ok((reads, writes))
}

/// Begins by a task of its own: a client that leaves meanwhile stops it half-way nowhere, and what comes of it is dropped.
fn outliving(
    work: impl Future<Output = Result<Running, Report>> + Send + 'static,
) -> Boxed<'static, Result<Running, String>> {
    Box::pin(async move {
        match tokio::spawn(work).await {
            Ok(begun) => begun.map_err(|report| report.to_string()),
            Err(error) => Err(error.to_string()),
        }
    })
}

/// Tells a shim a terminal's sizes, the last at the latest; `exec` none: that of the container's own.
fn resizes(link: Link, exec: Option<u64>) -> Box<dyn FnMut(Size) + Send> {
    let (sizes, mut heard) = tokio::sync::watch::channel(Size { width: 0, height: 0 });
    tokio::spawn(async move {
        while heard.changed().await.is_ok() {
            let Size { width, height } = *heard.borrow_and_update();
            let request = Request::Resize { exec, rows: height, columns: width };
            if let Err(report) = link.ask(request, Vec::new()).await {
                tracing::debug!("size of a terminal: {report}");
            }
        }
    });
    // Where the shim is gone nobody hears it.
    Box::new(move |size| _ = sizes.send(size))
}
