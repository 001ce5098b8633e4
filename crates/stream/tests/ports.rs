//! Port-forward: over SPDY, in a tunnel, and over the older channels of WebSocket.
//!
//! *Invariant:* what is promised of SPDY is promised of the tunnel, and tried in both.

mod world;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use orlop_stream::Limits;
use orlop_stream::session::Duplex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::sync::mpsc;
use world::wire::{Frame, Heard, Spdy, WebSocket, control, data};
use world::{World, soon};

/// A path whose ports are played by the test: each connection to one, with the port.
fn harbour(
    world: &World,
    asked: &[u16],
    size: usize,
) -> (String, mpsc::UnboundedReceiver<(u16, DuplexStream)>) {
    let (tell, told) = mpsc::unbounded_channel();
    let path = world.ports(asked, move |port| {
        let (ours, theirs) = duplex(size);
        let _ = tell.send((port, theirs));
        Ok(Box::new(ours) as Box<dyn Duplex>)
    });
    (path, told)
}

/// A path whose ports send back what they get, and end when that ends.
fn echo(world: &World, asked: &[u16]) -> String {
    world.ports(asked, |_| {
        let (ours, theirs) = duplex(4096);
        tokio::spawn(async move {
            let (mut read, mut write) = tokio::io::split(theirs);
            let _ = tokio::io::copy(&mut read, &mut write).await;
            let _ = write.shutdown().await;
        });
        Ok(Box::new(ours) as Box<dyn Duplex>)
    })
}

async fn client(world: &World, path: &str, tunnel: bool) -> Spdy {
    if tunnel {
        Spdy::tunnel(world, path).await
    } else {
        Spdy::connect(world, path, "portforward.k8s.io").await
    }
}

/// Opens a pair of streams as clients do: error first, which they end at once.
async fn pair(client: &mut Spdy, port: u16, request: usize) -> (u32, u32) {
    let (port, request) = (port.to_string(), request.to_string());
    let error = client.open(&[("streamtype", "error"), ("port", &port), ("requestid", &request)]).await;
    client.send(error, b"", true).await;
    let data = client.open(&[("streamtype", "data"), ("port", &port), ("requestid", &request)]).await;
    (error, data)
}

/// Reads until all of `streams` have ended.
async fn until_ended(client: &mut Spdy, heard: &mut Heard, streams: &[u32]) {
    while !streams.iter().all(|stream| heard.ends.contains(stream)) {
        assert!(Spdy::hear(heard, client.frame().await), "the connection ended after {:?}", heard.ends);
    }
}

#[tokio::test]
async fn many_connections_go_over_one_and_none_is_mixed_up() {
    let world = World::new().await;
    for tunnel in [false, true] {
        let path = echo(&world, &[]);
        let mut client = client(&world, &path, tunnel).await;
        let mut pairs = Vec::new();
        for request in 0..100 {
            pairs.push(pair(&mut client, 8000, request).await);
        }
        let sent =
            |data: u32, part: usize| format!("{data}: {part} {}", "x".repeat(part * 37 % 2000)).into_bytes();
        for part in 0..5 {
            for (_, data) in &pairs {
                client.send(*data, &sent(*data, part), false).await;
            }
        }
        for (_, data) in &pairs {
            client.send(*data, b"", true).await;
        }
        let mut heard = Heard::default();
        let all: Vec<u32> = pairs.iter().flat_map(|(error, data)| [*error, *data]).collect();
        until_ended(&mut client, &mut heard, &all).await;
        for (error, data) in pairs {
            let expected: Vec<u8> = (0..5).flat_map(|part| sent(data, part)).collect();
            assert!(heard.data[&data] == expected, "stream {data}, tunnel: {tunnel}");
            assert!(heard.data[&error].is_empty());
        }
        assert!(heard.resets.is_empty());
    }
    world.stop().await;
}

#[tokio::test]
async fn each_side_may_say_all_first() {
    let world = World::new().await;
    for tunnel in [false, true] {
        let (path, mut ports) = harbour(&world, &[], 64);
        let mut client = client(&world, &path, tunnel).await;
        // The client first: the port still answers.
        let (error, stream) = pair(&mut client, 81, 0).await;
        client.send(stream, b"a request", true).await;
        let (port, mut target) = soon("a connection", ports.recv()).await.expect("one");
        assert_eq!(port, 81);
        let mut request = Vec::new();
        soon("the whole request", target.read_to_end(&mut request)).await.expect("a pipe");
        assert_eq!(request, b"a request");
        target.write_all(b"an answer").await.expect("a pipe");
        drop(target);
        let mut heard = Heard::default();
        until_ended(&mut client, &mut heard, &[error, stream]).await;
        assert_eq!(heard.data[&stream], b"an answer");
        // The port first: it still hears the client.
        let (error, stream) = pair(&mut client, 82, 1).await;
        let (_, mut target) = soon("a connection", ports.recv()).await.expect("one");
        target.write_all(b"a greeting").await.expect("a pipe");
        target.shutdown().await.expect("a pipe");
        until_ended(&mut client, &mut heard, &[error, stream]).await;
        assert_eq!(heard.data[&stream], b"a greeting");
        client.send(stream, b"the rest", true).await;
        let mut rest = Vec::new();
        soon("the rest", target.read_to_end(&mut rest)).await.expect("a pipe");
        assert_eq!(rest, b"the rest", "tunnel: {tunnel}");
    }
}

#[tokio::test]
async fn a_port_that_nobody_listens_on_is_told_and_harms_no_other() {
    let world = World::new().await;
    for tunnel in [false, true] {
        let path = world.ports(&[], |port| match port {
            80 => {
                let (ours, mut theirs) = duplex(64);
                tokio::spawn(async move { theirs.write_all(b"fine").await });
                Ok(Box::new(ours) as Box<dyn Duplex>)
            }
            _ => Err(format!("port {port}: connection refused")),
        });
        let mut client = client(&world, &path, tunnel).await;
        let (refused, lost) = pair(&mut client, 9, 0).await;
        let (error, stream) = pair(&mut client, 80, 1).await;
        let mut heard = Heard::default();
        until_ended(&mut client, &mut heard, &[refused, error, stream]).await;
        while !heard.resets.contains_key(&lost) {
            assert!(Spdy::hear(&mut heard, client.frame().await));
        }
        assert_eq!(heard.data[&refused], b"port 9: connection refused");
        assert_eq!((&heard.data[&stream][..], heard.resets[&lost]), (&b"fine"[..], 5));
    }
}

#[tokio::test]
async fn a_port_that_breaks_its_connection_breaks_one_stream_without_a_word() {
    let world = World::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let path = world.ports(&[], move |_| {
        let stream = std::net::TcpStream::connect(address).map_err(|error| error.to_string())?;
        stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        let stream = tokio::net::TcpStream::from_std(stream).map_err(|error| error.to_string())?;
        Ok(Box::new(stream) as Box<dyn Duplex>)
    });
    let mut client = client(&world, &path, false).await;
    let (error, stream) = pair(&mut client, 80, 0).await;
    client.send(stream, b"something that is never read", false).await;
    let (target, _) = soon("a connection", listener.accept()).await.expect("one");
    soon("it is there", target.peek(&mut [0; 64])).await.expect("a socket");
    // Closed with unread bytes, a socket is reset.
    drop(target);
    let mut heard = Heard::default();
    until_ended(&mut client, &mut heard, &[error]).await;
    assert_eq!((heard.resets.get(&stream), heard.data[&error].len()), (Some(&5), 0), "{heard:?}");
    let (_, again) = pair(&mut client, 80, 1).await;
    let (mut target, _) = soon("another connection", listener.accept()).await.expect("one");
    target.write_all(b"still here").await.expect("a socket");
    while heard.data.get(&again).is_none_or(|data| data.len() < 10) {
        assert!(Spdy::hear(&mut heard, client.frame().await));
    }
}

#[tokio::test]
async fn a_stream_that_the_client_resets_drops_its_connection_alone() {
    let world = World::new().await;
    for tunnel in [false, true] {
        let (path, mut ports) = harbour(&world, &[], 64);
        let mut client = client(&world, &path, tunnel).await;
        let (error, stream) = pair(&mut client, 80, 0).await;
        let (_, mut first) = soon("a connection", ports.recv()).await.expect("one");
        let (_, other) = pair(&mut client, 80, 1).await;
        let (_, mut second) = soon("a connection", ports.recv()).await.expect("one");
        client.reset(stream).await;
        let mut nothing = Vec::new();
        soon("its end", first.read_to_end(&mut nothing)).await.expect("a pipe");
        // Clients wait for the end of the error stream.
        let mut heard = Heard::default();
        until_ended(&mut client, &mut heard, &[error]).await;
        // What is still under way for it is nobody's.
        client.send(stream, b"late", false).await;
        client.send(other, b"here", false).await;
        let mut got = [0; 4];
        soon("the other's", second.read_exact(&mut got)).await.expect("a pipe");
        assert_eq!(&got, b"here", "tunnel: {tunnel}");
    }
}

#[tokio::test]
async fn a_port_that_reads_slowly_gets_all() {
    let world = World::with(Limits { stall: Duration::from_secs(2), ..Limits::default() }, None).await;
    let (path, mut ports) = harbour(&world, &[], 1024);
    let mut client = client(&world, &path, false).await;
    let (_, stream) = pair(&mut client, 80, 0).await;
    let (_, mut target) = soon("a connection", ports.recv()).await.expect("one");
    let sent: Vec<u8> = (0..=250).cycle().take(3 << 20).collect();
    let expected = sent.clone();
    let sender = tokio::spawn(async move {
        for piece in sent.chunks(50_000) {
            client.send(stream, piece, false).await;
        }
        client.send(stream, b"", true).await;
        client
    });
    let (mut got, mut piece) = (Vec::new(), vec![0; 700]);
    loop {
        let read = soon("more", target.read(&mut piece)).await.expect("a pipe");
        got.extend_from_slice(&piece[..read]);
        if read == 0 {
            break;
        }
        if got.len() % 64 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert!(got == expected);
    drop(soon("all is sent", sender).await);
}

#[tokio::test]
async fn a_port_that_reads_nothing_loses_its_stream_and_the_others_go_on() {
    let world = World::with(Limits { stall: Duration::from_millis(300), ..Limits::default() }, None).await;
    for tunnel in [false, true] {
        let (path, mut ports) = harbour(&world, &[], 16);
        let mut client = client(&world, &path, tunnel).await;
        let (stuck_error, stuck) = pair(&mut client, 80, 0).await;
        let (_, deaf) = soon("a connection", ports.recv()).await.expect("one");
        let (_, stream) = pair(&mut client, 81, 1).await;
        let (_, mut target) = soon("a connection", ports.recv()).await.expect("one");
        // What fits into its queue holds up nobody.
        client.send(stuck, &vec![b'x'; 60_000], false).await;
        client.send(stream, b"first", false).await;
        let mut got = [0; 5];
        soon("the other's bytes", target.read_exact(&mut got)).await.expect("a pipe");
        // What does not, does so for as long as Limits::stall.
        client.send(stuck, &vec![b'x'; 200_000], false).await;
        client.send(stream, b"again", false).await;
        soon("the other's bytes", target.read_exact(&mut got)).await.expect("a pipe");
        assert_eq!(&got, b"again");
        let mut heard = Heard::default();
        until_ended(&mut client, &mut heard, &[stuck_error]).await;
        assert_eq!(heard.resets, [(stuck, 7)].into(), "tunnel: {tunnel}");
        drop(deaf);
    }
}

#[tokio::test]
async fn a_client_that_leaves_drops_all_connections() {
    let world = World::new().await;
    for tunnel in [false, true] {
        let (path, mut ports) = harbour(&world, &[], 64);
        let mut client = client(&world, &path, tunnel).await;
        let mut targets = Vec::new();
        for request in 0..10 {
            pair(&mut client, 80, request).await;
            targets.push(soon("a connection", ports.recv()).await.expect("one").1);
        }
        drop(client);
        for mut target in targets {
            soon("its end", target.read_to_end(&mut Vec::new())).await.expect("a pipe");
        }
    }
}

#[tokio::test]
async fn pairs_that_lie_are_refused() {
    let limits = Limits { forwards: 3, streams: Duration::from_millis(300), ..Limits::default() };
    let world = World::with(limits, None).await;
    let (path, mut ports) = harbour(&world, &[], 64);
    let mut client = client(&world, &path, false).await;
    let long = "1".repeat(65);
    let bad: [&[(&str, &str)]; 9] = [
        &[],
        &[("streamtype", "data"), ("requestid", "0")],
        &[("port", "80"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "0"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "65536"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "-1"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", ""), ("requestid", "0")],
        &[("streamtype", "stdin"), ("port", "80"), ("requestid", "0")],
        &[("streamtype", "data"), ("port", "80"), ("requestid", &long)],
    ];
    for headers in bad {
        let stream = client.open(headers).await;
        assert_eq!(client.frame().await, Some(Frame::Reset(stream, 1)), "{headers:?}");
    }
    // A second stream of the same kind, and one with another port.
    let error = client.opened(&[("streamtype", "error"), ("port", "80"), ("requestid", "7")]).await;
    for headers in [("error", "80"), ("data", "81")] {
        let stream = client.open(&[("streamtype", headers.0), ("port", headers.1), ("requestid", "7")]).await;
        assert_eq!(client.frame().await, Some(Frame::Reset(stream, 1)), "{headers:?}");
    }
    // Too many pairs, complete or not.
    client.opened(&[("streamtype", "data"), ("port", "80"), ("requestid", "8")]).await;
    let (_, whole) = pair(&mut client, 80, 9).await;
    let over = client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "10")]).await;
    let mut heard = Heard::default();
    while heard.resets.is_empty() {
        assert!(Spdy::hear(&mut heard, client.frame().await));
    }
    assert_eq!(heard.resets, [(over, 3)].into());
    // Those that are never complete end by themselves, and make room.
    until_ended(&mut client, &mut heard, &[error]).await;
    assert_eq!(heard.data[&error], b"the data stream of this connection did not come");
    while heard.resets.len() < 2 {
        assert!(Spdy::hear(&mut heard, client.frame().await));
    }
    let (_, mut target) = soon("the whole one", ports.recv()).await.expect("one");
    client.send(whole, b"works", false).await;
    let mut got = [0; 5];
    soon("its bytes", target.read_exact(&mut got)).await.expect("a pipe");
    pair(&mut client, 80, 11).await;
    soon("another", ports.recv()).await.expect("there is room");
}

#[tokio::test]
async fn streams_without_a_request_are_paired_by_their_numbers() {
    let world = World::new().await;
    let path = echo(&world, &[]);
    let mut client = client(&world, &path, false).await;
    let error = client.opened(&[("streamtype", "error"), ("port", "80")]).await;
    let stream = client.opened(&[("streamtype", "data"), ("port", "80")]).await;
    client.send(stream, b"as of old", true).await;
    let mut heard = Heard::default();
    until_ended(&mut client, &mut heard, &[error, stream]).await;
    assert_eq!(heard.data[&stream], b"as of old");
}

#[tokio::test]
async fn a_client_that_says_goodbye_keeps_what_it_has_and_gets_nothing_new() {
    let world = World::new().await;
    let path = echo(&world, &[]);
    let mut client = client(&world, &path, false).await;
    let (_, stream) = pair(&mut client, 80, 0).await;
    client.raw(&control(7, 0, &[0; 8])).await;
    client.send(stream, b"still", true).await;
    let late = client.open(&[("streamtype", "error"), ("port", "80"), ("requestid", "1")]).await;
    let mut heard = Heard::default();
    until_ended(&mut client, &mut heard, &[stream]).await;
    while heard.resets.is_empty() {
        assert!(Spdy::hear(&mut heard, client.frame().await));
    }
    assert_eq!((&heard.data[&stream][..], heard.resets), (&b"still"[..], [(late, 1)].into()));
}

#[tokio::test]
async fn pings_of_websocket_are_answered_in_a_tunnel_and_frames_may_be_cut_anywhere() {
    let world = World::new().await;
    let path = echo(&world, &[]);
    let mut client = Spdy::tunnel(&world, &path).await;
    let (error, stream) = pair(&mut client, 80, 0).await;
    let frame = data(stream, b"byte by byte", true);
    for byte in frame {
        client.raw(&[byte]).await;
    }
    let mut heard = Heard::default();
    until_ended(&mut client, &mut heard, &[error, stream]).await;
    assert_eq!(heard.data[&stream], b"byte by byte");
    let path = echo(&world, &[]);
    let mut socket = WebSocket::connect(&world, &path, "SPDY/3.1+portforward.k8s.io").await;
    socket.send(0x89, b"hello").await;
    assert_eq!(socket.message().await, Some((10, b"hello".to_vec())));
    socket.send(0x82, &control(6, 0, &3_u32.to_be_bytes())).await;
    assert_eq!(socket.message().await, Some((2, control(6, 0, &3_u32.to_be_bytes()))));
    socket.send(0x88, &1000_u16.to_be_bytes()).await;
    assert_eq!(socket.message().await, Some((8, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(socket.message().await, None);
}

#[tokio::test]
async fn channels_begin_with_their_port_and_go_both_ways() {
    let world = World::new().await;
    for (asked, query, protocol) in [
        (&[80, 8443][..], "", "v4.channel.k8s.io"),
        (&[], "?port=80&port=8443", "v4.channel.k8s.io"),
        (&[], "?ports=80,8443", ""),
        (&[80, 8443], "?port=1", "v4.channel.k8s.io"),
    ] {
        let (path, mut ports) = harbour(&world, asked, 64);
        let mut socket = WebSocket::connect(&world, &format!("{path}{query}"), protocol).await;
        for (channel, port) in [(0, 80_u16), (1, 80), (2, 8443), (3, 8443)] {
            let first = [&[channel], &port.to_le_bytes()[..]].concat();
            assert_eq!(socket.message().await, Some((2, first)), "{query}");
        }
        let mut targets = Vec::new();
        for _ in 0..2 {
            targets.push(soon("a connection", ports.recv()).await.expect("one"));
        }
        targets.sort_by_key(|(port, _)| *port);
        socket.send(0x82, b"\x02to the second").await;
        socket.send(0x82, b"\0to the first").await;
        // Nobody listens to these.
        socket.send(0x82, b"\x01error").await;
        socket.send(0x82, b"\x09what?").await;
        for ((_, target), expected) in targets.iter_mut().zip([&b"to the first"[..], b"to the second"]) {
            let mut got = vec![0; expected.len()];
            soon("its bytes", target.read_exact(&mut got)).await.expect("a pipe");
            assert_eq!(got, expected);
        }
        targets[1].1.write_all(b"answer").await.expect("a pipe");
        assert_eq!(socket.message().await, Some((2, b"\x02answer".to_vec())));
        // When both ports have ended, so has the connection.
        drop(targets);
        assert_eq!(socket.message().await, Some((8, 1000_u16.to_be_bytes().to_vec())));
    }
}

#[tokio::test]
async fn channels_tell_what_could_not_be_connected_and_what_does_not_read() {
    let world = World::with(Limits { stall: Duration::from_millis(300), ..Limits::default() }, None).await;
    let path = world.ports(&[9], |port| Err(format!("port {port}: connection refused")));
    let mut socket = WebSocket::connect(&world, &path, "v4.base64.channel.k8s.io").await;
    assert_eq!(socket.message().await, Some((1, b"0CQA=".to_vec())));
    assert_eq!(socket.message().await, Some((1, b"1CQA=".to_vec())));
    assert_eq!(socket.message().await, Some((1, b"1cG9ydCA5OiBjb25uZWN0aW9uIHJlZnVzZWQ=".to_vec())));
    assert_eq!(socket.message().await, Some((8, 1000_u16.to_be_bytes().to_vec())));

    let held = Arc::new(Mutex::new(Vec::new()));
    let keep = Arc::clone(&held);
    let path = world.ports(&[80], move |_| {
        let (ours, theirs) = duplex(16);
        keep.lock().expect("no panic before").push(theirs);
        Ok(Box::new(ours) as Box<dyn Duplex>)
    });
    let mut socket = WebSocket::connect(&world, &path, "v4.channel.k8s.io").await;
    socket.send(0x82, &[&[0][..], &vec![b'x'; 200_000]].concat()).await;
    let mut said = Vec::new();
    while let Some((opcode, payload)) = socket.message().await {
        said.push((opcode, payload));
    }
    assert_eq!(
        said[2..],
        [(2, b"\x01the port does not read".to_vec()), (8, 1000_u16.to_be_bytes().to_vec())]
    );
}

#[tokio::test]
async fn channels_without_ports_are_refused() {
    let world = World::new().await;
    let key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
    let headers = [("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"), key];
    let path = echo(&world, &[]);
    assert_eq!(world::wire::upgrade(&world, &path, &headers).await.1, 400);
    let path = echo(&world, &[80; 33]);
    assert_eq!(world::wire::upgrade(&world, &path, &headers).await.1, 400);
}
