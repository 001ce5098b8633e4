//! Requests, and what is answered.
//!
//! *Invariant:* nothing is sent.

use hyper::{Request, StatusCode};

use super::{Refused, Wanted, read};
use crate::connection::Agreed;
use crate::outbox::Form;
use crate::session::Kind;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn ask(line: &str, headers: &[(&str, &str)]) -> Result<Wanted, Refused> {
    let (method, target) = line.split_once(' ').expect("a request line");
    let builder = Request::builder().method(method).uri(target);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    read(&builder.body(()).expect("a request"))
}

fn spdy(line: &str, protocols: &str) -> Result<Wanted, Refused> {
    ask(line, &[("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", protocols)])
}

fn websocket(line: &str, more: &[(&str, &str)]) -> Result<Wanted, Refused> {
    let mut headers =
        vec![("Connection", "keep-alive, upgrade"), ("Upgrade", "WebSocket"), ("Sec-WebSocket-Key", KEY)];
    headers.extend(more);
    if !more.iter().any(|(name, _)| *name == "Sec-WebSocket-Version") {
        headers.push(("Sec-WebSocket-Version", "13"));
    }
    ask(line, &headers)
}

fn agreed(form: Form, version: u8) -> Agreed {
    Agreed { form, version, ports: Vec::new() }
}

#[test]
fn spdy_takes_the_first_protocol_that_it_knows() {
    for (protocols, expected) in [
        ("v4.channel.k8s.io, v3.channel.k8s.io", 4),
        ("v9.channel.k8s.io,v2.channel.k8s.io,v4.channel.k8s.io", 2),
        ("channel.k8s.io", 1),
    ] {
        let wanted = spdy("POST /exec/abc", protocols).expect("a protocol that is known");
        assert_eq!(
            (wanted.kind, &*wanted.token, &wanted.agreed),
            (Kind::Exec, "abc", &agreed(Form::Spdy, expected))
        );
        let answer = wanted.answer();
        assert_eq!(
            (answer.status(), &answer.headers()["upgrade"]),
            (StatusCode::SWITCHING_PROTOCOLS, &"SPDY/3.1".parse().unwrap())
        );
        assert!(protocols.contains(answer.headers()["x-stream-protocol-version"].to_str().unwrap()));
    }
    let wanted = spdy("GET /portforward/abc", "portforward.k8s.io").expect("ports");
    assert_eq!((wanted.kind, wanted.agreed), (Kind::PortForward, agreed(Form::Spdy, 0)));
    assert_eq!(spdy("GET /attach/abc", "v4.channel.k8s.io").expect("attach").kind, Kind::Attach);
}

#[test]
fn websocket_takes_the_first_protocol_that_it_knows() {
    for (protocols, form, version) in [
        ("v5.channel.k8s.io", Form::Channels, 5),
        ("v9.channel.k8s.io, v4.channel.k8s.io, v5.channel.k8s.io", Form::Channels, 4),
        ("v4.base64.channel.k8s.io", Form::Base64, 4),
        ("base64.channel.k8s.io", Form::Base64, 1),
        ("channel.k8s.io", Form::Channels, 1),
    ] {
        let wanted = websocket("GET /exec/abc", &[("Sec-WebSocket-Protocol", protocols)])
            .expect("a protocol that is known");
        assert_eq!(wanted.agreed, agreed(form, version));
        let answer = wanted.answer();
        assert_eq!(answer.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert!(protocols.contains(answer.headers()["sec-websocket-protocol"].to_str().unwrap()));
    }
    let wanted = websocket("GET /exec/abc", &[]).expect("no protocol is one");
    assert_eq!(wanted.agreed, agreed(Form::Channels, 1));
    assert!(!wanted.answer().headers().contains_key("sec-websocket-protocol"));
    let tunnel = [("Sec-WebSocket-Protocol", "SPDY/3.1+portforward.k8s.io")];
    assert_eq!(websocket("GET /portforward/abc", &tunnel).expect("a tunnel").agreed, agreed(Form::Tunnel, 0));
}

#[test]
fn ports_of_the_older_form_stand_in_the_query() {
    for (query, expected) in [
        ("", Some(vec![])),
        ("?port=80", Some(vec![80])),
        ("?port=80&port=81,65535&x=y", Some(vec![80, 81, 65535])),
        ("?ports=80%2C81%2c82", Some(vec![80, 81, 82])),
        ("?port=0", None),
        ("?port=65536", None),
        ("?port=", None),
        ("?port=80,", None),
        ("?port=http", None),
    ] {
        let wanted = websocket(
            &format!("GET /portforward/abc{query}"),
            &[("Sec-WebSocket-Protocol", "v4.channel.k8s.io")],
        );
        assert_eq!(wanted.map(|wanted| wanted.agreed.ports).ok(), expected, "{query}");
    }
    let many = vec!["80"; 33].join(",");
    let refused = websocket(&format!("GET /portforward/abc?port={many}"), &[]).expect_err("too many");
    assert_eq!(refused, Refused::portless());
}

#[test]
fn an_origin_makes_no_difference() {
    let origin = [("Origin", "https://elsewhere.example"), ("Sec-WebSocket-Protocol", "v4.channel.k8s.io")];
    assert_eq!(
        websocket("GET /exec/abc", &origin).expect("the token decides").agreed,
        agreed(Form::Channels, 4)
    );
}

#[test]
fn what_is_no_upgrade_that_we_know_is_refused() {
    let status = |asked: Result<Wanted, Refused>| asked.expect_err("a refusal").answer().status().as_u16();
    let v4 = "v4.channel.k8s.io";
    for path in
        ["/", "/exec", "/exec/", "/exec/a/b", "/exec/a%41", "/exec/a:b", "//exec/a", "/logs/a", "/Exec/a"]
    {
        assert_eq!(status(spdy(&format!("GET {path}"), v4)), 404, "{path}");
    }
    assert_eq!(status(spdy(&format!("GET /exec/{}", "a".repeat(129)), v4)), 404);
    assert_eq!(status(spdy("PUT /exec/a", v4)), 405);
    assert_eq!(status(ask("GET /exec/a", &[])), 426);
    assert_eq!(status(ask("GET /exec/a", &[("Upgrade", "SPDY/3.1")])), 426);
    assert_eq!(status(ask("GET /exec/a", &[("Connection", "upgrade"), ("Upgrade", "h2c")])), 426);
    assert_eq!(status(spdy("GET /exec/a", "")), 400);
    assert_eq!(status(spdy("GET /exec/a", "v9.channel.k8s.io")), 403);
    assert_eq!(status(spdy("GET /portforward/a", v4)), 403);
    assert_eq!(status(websocket("POST /exec/a", &[])), 405);
    assert_eq!(status(websocket("GET /exec/a", &[("Sec-WebSocket-Version", "8")])), 426);
    assert_eq!(status(websocket("GET /exec/a", &[("Sec-WebSocket-Protocol", "chat")])), 403);
    assert_eq!(
        status(websocket("GET /portforward/a", &[("Sec-WebSocket-Protocol", "v5.channel.k8s.io")])),
        403
    );
    let keyless = [("Connection", "upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13")];
    assert_eq!(status(ask("GET /exec/a", &keyless)), 400);
    let body = [
        ("Connection", "upgrade"),
        ("Upgrade", "SPDY/3.1"),
        ("X-Stream-Protocol-Version", v4),
        ("Content-Length", "5"),
    ];
    assert_eq!(status(ask("POST /exec/a", &body)), 400);
    let empty = [body[0], body[1], body[2], ("Content-Length", "0")];
    assert!(ask("POST /exec/a", &empty).is_ok(), "clients send this");
}
