//! What a URL stands for, once.
//!
//! A token is 256 random bits. It is good for one connection of its kind, for a minute, and while this daemon lives. At most
//! [`MOST`] wait at once; one more is refused, so that whoever was given a URL can rely on its minute.
//!
//! *Invariant:* a token is never logged, and none of a container or pod is kept by one: it holds names, which are looked up when it
//! is redeemed.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant};

use orlop_model::id::{ContainerId, PodId};
use orlop_model::report::{Kind as Class, Report};
use orlop_stream::session::{Kind, Streams};

/// How long a client may take from the URL to its connection: as kubelet's own library has it.
const LIFE: Duration = Duration::from_mins(1);
/// How many may wait for their clients.
const MOST: usize = 1000;

/// What is to be done for whoever brings a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Run a process.
    Exec {
        /// In which container.
        container: ContainerId,
        /// Program and arguments.
        command: Vec<String>,
        /// Its streams.
        streams: Streams,
    },
    /// Attach to the first process.
    Attach {
        /// Of which container.
        container: ContainerId,
        /// Its streams.
        streams: Streams,
    },
    /// Connect to ports.
    Ports {
        /// Of which pod.
        pod: PodId,
        /// Those that were named; it may be none.
        ports: Vec<u16>,
    },
}

impl Asked {
    /// What it is called in a URL.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Asked::Exec { .. } => "exec",
            Asked::Attach { .. } => "attach",
            Asked::Ports { .. } => "portforward",
        }
    }

    fn kind(&self) -> Kind {
        match self {
            Asked::Exec { .. } => Kind::Exec,
            Asked::Attach { .. } => Kind::Attach,
            Asked::Ports { .. } => Kind::PortForward,
        }
    }
}

/// Tokens that wait for their clients.
pub(crate) struct Tokens {
    base: String,
    waiting: Mutex<HashMap<String, (Asked, Instant)>>,
}

impl Tokens {
    /// For URLs that lead to `address`.
    pub(crate) fn new(address: SocketAddr, tls: bool) -> Self {
        let scheme = if tls { "https" } else { "http" };
        Tokens { base: format!("{scheme}://{address}"), waiting: Mutex::default() }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<String, (Asked, Instant)>> {
        self.waiting.lock().expect("invariant: nothing panics while it holds the tokens")
    }

    /// A URL for what is asked.
    ///
    /// # Errors
    /// `Exhausted` if too many wait.
    pub(crate) fn url(&self, asked: Asked, now: Instant) -> Result<String, Report> {
        let path = asked.name();
        let mut waiting = self.waiting();
        if waiting.len() >= MOST {
            waiting.retain(|_, (_, until)| *until > now);
        }
        if waiting.len() >= MOST {
            let cause = format!("{MOST} URLs wait for their clients already");
            return Err(Report::new(Class::Exhausted, "streaming", path, cause).advise("try again"));
        }
        let mut token = String::with_capacity(64);
        for byte in crate::pods::random() {
            // Writing to a String cannot fail.
            let _ = write!(token, "{byte:02x}");
        }
        let url = format!("{}/{path}/{token}", self.base);
        waiting.insert(token, (asked, now + LIFE));
        Ok(url)
    }

    /// What a token stands for: `None` if nothing, nothing of this kind, or no longer. It stands for nothing from then on.
    pub(crate) fn redeem(&self, kind: Kind, token: &str, now: Instant) -> Option<Asked> {
        let mut waiting = self.waiting();
        waiting.retain(|_, (_, until)| *until > now);
        if waiting.get(token)?.0.kind() != kind {
            return None;
        }
        waiting.remove(token).map(|(asked, _)| asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked() -> Asked {
        Asked::Ports { pod: PodId::from_random([7; 32]), ports: vec![80] }
    }

    fn tokens() -> Tokens {
        Tokens::new(([127, 0, 0, 1], 80).into(), false)
    }

    fn token(url: &str) -> &str {
        url.rsplit('/').next().expect("a last part")
    }

    #[test]
    fn a_url_is_absolute_and_its_token_has_256_bits() {
        let now = Instant::now();
        let url = tokens().url(asked(), now).expect("a URL");
        assert!(url.starts_with("http://127.0.0.1:80/portforward/"), "{url}");
        assert_eq!(token(&url).len(), 64);
        let streams = Streams { stdin: true, stdout: true, stderr: true, tty: false };
        let attach = Asked::Attach { container: ContainerId::from_random([1; 32]), streams };
        let six = Tokens::new((std::net::Ipv6Addr::LOCALHOST, 81).into(), true).url(attach, now);
        assert!(six.as_ref().is_ok_and(|url| url.starts_with("https://[::1]:81/attach/")), "{six:?}");
    }

    #[test]
    fn a_token_is_good_once_for_its_kind_and_its_time() {
        let (tokens, now) = (tokens(), Instant::now());
        let url = tokens.url(asked(), now).expect("a URL");
        assert_eq!(tokens.redeem(Kind::Exec, token(&url), now), None, "another kind");
        assert_eq!(tokens.redeem(Kind::PortForward, &token(&url)[1..], now), None, "a part of it");
        assert_eq!(tokens.redeem(Kind::PortForward, token(&url), now), Some(asked()));
        assert_eq!(tokens.redeem(Kind::PortForward, token(&url), now), None, "once");
        let url = tokens.url(asked(), now).expect("a URL");
        assert_eq!(tokens.redeem(Kind::PortForward, token(&url), now + LIFE), None, "too late");
        let other = tokens.url(asked(), now).expect("a URL");
        assert_ne!(url, other);
    }

    #[test]
    fn too_many_are_refused_until_some_are_old() {
        let (tokens, now) = (tokens(), Instant::now());
        let first = tokens.url(asked(), now).expect("a URL");
        for _ in 1..MOST {
            tokens.url(asked(), now).expect("a URL");
        }
        let refused = tokens.url(asked(), now).expect_err("one too many");
        assert_eq!(refused.kind, Class::Exhausted);
        assert!(
            tokens.redeem(Kind::PortForward, token(&first), now).is_some(),
            "the first is as good as ever"
        );
        tokens.url(asked(), now).expect("its place is free");
        tokens.url(asked(), now + LIFE).expect("all have gone");
        assert_eq!(tokens.waiting().len(), 1);
    }
}
