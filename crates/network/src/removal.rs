//! Deleting links, many at once.
//!
//! The kernel waits some 20 ms before a link is really gone, with one lock over all links held for most of it: sixty, one after
//! the other, take 1.3 s; sixty in one request take 36 ms. So whoever comes while a deletion is under way joins the next.
//!
//! ```text
//!   remove(a) ---- deletes a -----------------.
//!   remove(b) ---- waits ---------------------+-- deletes b, c, d --.
//!   remove(c), remove(d) ---- wait ------------------------------- done
//! ```
//!
//! *Invariant:* a call returns after its link is gone.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::io::Errno;

use crate::netlink::{Refused, Request, Socket};

/// Of one's own, among the kernel's groups of links; a link is in it only between two messages of one request.
const GROUP: u32 = 0x6f72_6c70;

/// A link that is to go, and how that went.
#[derive(Debug)]
struct Waiting {
    link: String,
    done: OnceLock<Result<(), Refused>>,
}

/// Deletes links.
#[derive(Debug)]
pub(crate) struct Removals {
    /// Locked while a deletion is under way.
    socket: Mutex<Socket>,
    waiting: Mutex<Vec<Arc<Waiting>>>,
}

impl Removals {
    /// None under way.
    pub(crate) fn new(socket: Socket) -> Self {
        Removals { socket: Mutex::new(socket), waiting: Mutex::default() }
    }

    /// Deletes a link, if it is there.
    pub(crate) fn remove(&self, link: &str) -> Result<(), Refused> {
        let own = Arc::new(Waiting { link: link.to_owned(), done: OnceLock::new() });
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&own));
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(done) = own.done.get() {
            return done.clone();
        }
        let all = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        let names: Vec<&str> = all.iter().map(|waiting| waiting.link.as_str()).collect();
        let result = delete(&socket, &names);
        for waiting in &all {
            // Each is set once: it was taken off the list.
            let _ = waiting.done.set(result.clone());
        }
        result
    }

    /// Deletes these links, those that are there.
    pub(crate) fn remove_all(&self, links: &[String]) -> Result<(), Refused> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        delete(&socket, &links.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

fn delete(socket: &Socket, links: &[&str]) -> Result<(), Refused> {
    let request = if let [link] = links {
        Request::new().delete(link)
    } else {
        let all = links.iter().fold(Request::new(), |request, link| request.group(link, GROUP));
        all.delete_group(GROUP)
    };
    // ENODEV: it is gone, or none of them was there.
    socket.ask(request)?.except(Errno::NODEV).map(drop)
}
