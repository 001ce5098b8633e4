//! What a request asks for, and the answer to it.
//!
//! ```text
//!  path ─▶ method ─▶ upgrade ─▶ protocol ─▶ (token) ─▶ 101
//!   404     405       426, 400    403         404
//! ```
//!
//! The token is looked at last, and only by who knows it: a request that could not have gone well says nothing about its token, and does
//! not use it up; clients that try WebSocket first and SPDY then do so with the same URL.
//!
//! A page in a browser may connect here from anywhere: `Origin` is not looked at, because nothing that a browser sends by itself counts
//! for anything; what counts is the token, which is in the URL, and a page that knows it is who was given it.
//!
//! *Invariant:* nothing of the request is repeated in an answer but a protocol's name that we know, too.

use hyper::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, Request, Response, StatusCode};

use crate::connection::Agreed;
use crate::outbox::Form;
use crate::session::Kind;
use crate::talk::ports::MOST;
use crate::websocket::accept;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const STREAM_PROTOCOLS: HeaderName = HeaderName::from_static("x-accepted-stream-protocol-versions");
const SPDY: &str = "SPDY/3.1";
const WEBSOCKET: &str = "websocket";

/// The longest token.
const TOKEN: usize = 128;

/// Protocols by form: name, form, version of the commands' protocol. The first that a client names and that is here is taken.
type Protocols = &'static [(&'static str, Form, u8)];

const COMMAND_SPDY: Protocols = &[
    ("v4.channel.k8s.io", Form::Spdy, 4),
    ("v3.channel.k8s.io", Form::Spdy, 3),
    ("v2.channel.k8s.io", Form::Spdy, 2),
    ("channel.k8s.io", Form::Spdy, 1),
];
const COMMAND_WEBSOCKET: Protocols = &[
    ("v5.channel.k8s.io", Form::Channels, 5),
    ("v4.channel.k8s.io", Form::Channels, 4),
    ("v4.base64.channel.k8s.io", Form::Base64, 4),
    ("channel.k8s.io", Form::Channels, 1),
    ("base64.channel.k8s.io", Form::Base64, 1),
    ("", Form::Channels, 1),
];
const PORTS_SPDY: Protocols = &[("portforward.k8s.io", Form::Spdy, 0)];
const PORTS_WEBSOCKET: Protocols = &[
    ("SPDY/3.1+portforward.k8s.io", Form::Tunnel, 0),
    ("v4.channel.k8s.io", Form::Channels, 0),
    ("v4.base64.channel.k8s.io", Form::Base64, 0),
    ("", Form::Channels, 0),
];

/// A request that would go well with the right token.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) kind: Kind,
    pub(crate) token: String,
    pub(crate) agreed: Agreed,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Wanted {
    /// The answer that switches protocols.
    pub(crate) fn answer(&self) -> Response<String> {
        let mut response = Response::new(String::new());
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().extend(self.headers.iter().cloned());
        response
    }
}

/// A request that does not go well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    status: StatusCode,
    words: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refused {
    /// No such path, and no such token.
    pub(crate) fn not_found() -> Self {
        refused(StatusCode::NOT_FOUND, "there is nothing here")
    }

    /// There are too many sessions.
    pub(crate) fn busy() -> Self {
        refused(StatusCode::SERVICE_UNAVAILABLE, "there are too many sessions")
    }

    /// Who gave the token out and who redeems it do not agree.
    pub(crate) fn confused() -> Self {
        refused(StatusCode::INTERNAL_SERVER_ERROR, "the token is for something else")
    }

    /// A WebSocket of the older form has to know its ports.
    pub(crate) fn portless() -> Self {
        refused(StatusCode::BAD_REQUEST, "the query names no port, or too many")
    }

    /// The answer that says so and ends the connection.
    pub(crate) fn answer(self) -> Response<String> {
        let mut response = Response::new(format!("{}\n", self.words));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.append(CONNECTION, HeaderValue::from_static("close"));
        response
    }
}

fn refused(status: StatusCode, words: &'static str) -> Refused {
    Refused { status, words, headers: Vec::new() }
}

fn bad(words: &'static str) -> Refused {
    refused(StatusCode::BAD_REQUEST, words)
}

/// Reads a request.
pub(crate) fn read<B>(request: &Request<B>) -> Result<Wanted, Refused> {
    let (kind, token) = target(request.uri().path()).ok_or_else(Refused::not_found)?;
    let headers = request.headers();
    if request.method() != Method::GET && request.method() != Method::POST {
        let allow = vec![(ALLOW, HeaderValue::from_static("GET, POST"))];
        return Err(Refused { headers: allow, ..refused(StatusCode::METHOD_NOT_ALLOWED, "GET or POST") });
    }
    if headers.contains_key(TRANSFER_ENCODING)
        || headers.get(CONTENT_LENGTH).is_some_and(|length| length != "0")
    {
        return Err(bad("an upgrade has no body"));
    }
    let upgrades = has(headers, &CONNECTION, "upgrade");
    let (agreed, headers) = if upgrades && has(headers, &UPGRADE, WEBSOCKET) {
        websocket(kind, request)?
    } else if upgrades && has(headers, &UPGRADE, SPDY) {
        spdy(kind, headers)?
    } else {
        let known = HeaderValue::from_static("SPDY/3.1, websocket");
        let headers = vec![(UPGRADE, known), (CONNECTION, HeaderValue::from_static("upgrade"))];
        let words = "only an upgrade to SPDY/3.1 or websocket is served here";
        return Err(Refused { headers, ..refused(StatusCode::UPGRADE_REQUIRED, words) });
    };
    Ok(Wanted { kind, token: token.to_owned(), agreed, headers })
}

fn target(path: &str) -> Option<(Kind, &str)> {
    let (kind, token) = path.strip_prefix('/')?.split_once('/')?;
    let kind = match kind {
        "exec" => Kind::Exec,
        "attach" => Kind::Attach,
        "portforward" => Kind::PortForward,
        _ => return None,
    };
    let plain = token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte));
    (plain && (1..=TOKEN).contains(&token.len())).then_some((kind, token))
}

/// The words of a header that is a list.
fn list<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

fn has(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    list(headers, name).any(|one| one.eq_ignore_ascii_case(word))
}

type Answer = (Agreed, Vec<(HeaderName, HeaderValue)>);

fn spdy(kind: Kind, headers: &HeaderMap) -> Result<Answer, Refused> {
    let known = if kind == Kind::PortForward { PORTS_SPDY } else { COMMAND_SPDY };
    let asked: Vec<&str> = list(headers, &STREAM_PROTOCOL).collect();
    if asked.is_empty() {
        return Err(bad("the header X-Stream-Protocol-Version is missing"));
    }
    let Some((name, agreed)) = choose(known, &asked) else {
        let names =
            known.iter().map(|(name, ..)| (STREAM_PROTOCOLS, HeaderValue::from_static(name))).collect();
        let words = "no protocol in X-Stream-Protocol-Version is known";
        return Err(Refused { headers: names, ..refused(StatusCode::FORBIDDEN, words) });
    };
    let headers = vec![
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(SPDY)),
        (STREAM_PROTOCOL, HeaderValue::from_static(name)),
    ];
    Ok((agreed, headers))
}

fn websocket<B>(kind: Kind, request: &Request<B>) -> Result<Answer, Refused> {
    let headers = request.headers();
    if request.method() != Method::GET {
        let allow = vec![(ALLOW, HeaderValue::from_static("GET"))];
        return Err(Refused {
            headers: allow,
            ..refused(StatusCode::METHOD_NOT_ALLOWED, "a WebSocket begins with GET")
        });
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let known = vec![(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"))];
        return Err(Refused {
            headers: known,
            ..refused(StatusCode::UPGRADE_REQUIRED, "WebSocket of version 13")
        });
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).and_then(|key| accept(key.as_bytes()));
    let key =
        key.and_then(|key| HeaderValue::try_from(key).ok()).ok_or(bad("Sec-WebSocket-Key is no key"))?;
    let known = if kind == Kind::PortForward { PORTS_WEBSOCKET } else { COMMAND_WEBSOCKET };
    let asked: Vec<&str> = list(headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    let chosen = if asked.is_empty() { choose(known, &[""]) } else { choose(known, &asked) };
    let Some((name, mut agreed)) = chosen else {
        return Err(refused(StatusCode::FORBIDDEN, "no protocol in Sec-WebSocket-Protocol is known"));
    };
    if kind == Kind::PortForward {
        agreed.ports = ports(request.uri().query().unwrap_or_default()).ok_or_else(Refused::portless)?;
    }
    let mut answer = vec![
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static(WEBSOCKET)),
        (SEC_WEBSOCKET_ACCEPT, key),
    ];
    if !name.is_empty() {
        answer.push((SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(name)));
    }
    Ok((agreed, answer))
}

fn choose(known: Protocols, asked: &[&str]) -> Option<(&'static str, Agreed)> {
    let (name, form, version) =
        asked.iter().find_map(|asked| known.iter().find(|(name, ..)| name == asked))?;
    Some((name, Agreed { form: *form, version: *version, ports: Vec::new() }))
}

/// The ports in a query: `port=1&port=2,3`, also called `ports`; none if it names none.
fn ports(query: &str) -> Option<Vec<u16>> {
    let values = query.split('&').filter_map(|pair| pair.split_once('='));
    let lists = values.filter(|(name, _)| *name == "port" || *name == "ports").map(|(_, list)| list);
    let texts = lists.map(|list| list.replace("%2C", ",").replace("%2c", ",")).collect::<Vec<_>>();
    let ports =
        texts.iter().flat_map(|list| list.split(',')).map(|port| port.parse().ok().filter(|port| *port > 0));
    ports.collect::<Option<Vec<u16>>>().filter(|ports| ports.len() <= MOST)
}

#[cfg(test)]
mod tests;
