//! Peers that lie, flood or dawdle: each harms its own connection, and what it holds is bounded.
//!
//! *Invariant:* what is random here depends on nothing but the numbers in here.

mod world;

use std::time::Duration;

use orlop_stream::Limits;
use orlop_stream::session::{Duplex, End};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use world::client::{Client, FORMS};
use world::wire::{Frame, Spdy, WebSocket, answer, connect, control, data, masked};
use world::{ALL, OUT, World, ended, played, soon};

/// That the server still does what it should.
async fn serves(world: &World) {
    for form in [FORMS[0], FORMS[4]] {
        let path = world.exec(OUT, || Ok(ended(End::Exited(0))));
        let outcome = Client::connect(world, &path, form, OUT).await.finish().await;
        assert!(outcome.clean && outcome.error.contains("Success"), "{outcome:?}");
    }
}

/// A path to a command that waits for ever.
fn waiting(world: &World) -> String {
    world.exec(ALL, || {
        let (running, process) = played(1 << 16);
        tokio::spawn(async move {
            let _process = process;
            tokio::time::sleep(world::PATIENCE).await;
        });
        Ok(running)
    })
}

/// A path to ports that swallow what they get.
fn swallowing(world: &World) -> String {
    world.ports(&[], |_| {
        let (ours, mut theirs) = duplex(4096);
        tokio::spawn(async move { tokio::io::copy(&mut theirs, &mut tokio::io::sink()).await });
        Ok(Box::new(ours) as Box<dyn Duplex>)
    })
}

#[tokio::test]
async fn faults_in_spdy_end_the_connection_with_a_goodbye_that_says_so() {
    let world = World::new().await;
    let deflate = || flate2::Compress::new(flate2::Compression::best(), true);
    let bomb = |size: usize| {
        let mut packed = Vec::with_capacity(size / 100 + 1000);
        deflate()
            .compress_vec(&vec![0; size], &mut packed, flate2::FlushCompress::Sync)
            .expect("there is room");
        control(1, 0, &[&1_u32.to_be_bytes()[..], &[0; 6], &packed].concat())
    };
    let faults: Vec<(&str, Vec<u8>)> = vec![
        ("data for no stream", data(9, b"x", false)),
        ("data for stream 0", data(0, b"x", false)),
        ("a bomb", bomb(1 << 20)),
        ("a bomb in a short frame", bomb(10 << 20)),
        ("headers that are not zlib", control(1, 0, &[&1_u32.to_be_bytes()[..], &[0xff; 60]].concat())),
        ("a long control frame", vec![0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff]),
        ("another version", vec![0x80, 2, 0, 1, 0, 0, 0, 0]),
        ("a reply", control(2, 0, &[0; 10])),
        ("a reset of no stream", control(3, 0, &[0, 0, 0, 9, 0, 0, 0, 5])),
        ("HTTP", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
    ];
    for (what, bytes) in faults {
        let path = waiting(&world);
        let mut client = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
        client.raw(&bytes).await;
        assert_eq!(client.rest().await.goodbye, Some((0, 1)), "{what}");
    }
    // An opening that was heard before.
    let path = waiting(&world);
    let mut client = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
    let frame = client.opening(1, false, &[("streamtype", "error")]);
    client.raw(&frame).await;
    client.raw(&frame).await;
    assert_eq!(client.rest().await.goodbye, Some((1, 1)));
    serves(&world).await;
}

#[tokio::test]
async fn faults_in_websocket_end_the_connection_with_their_code() {
    let world = World::new().await;
    let long = |first: u8, length: u64| [&[first, 0xff], &length.to_be_bytes()[..], &[0; 4]].concat();
    let faults: Vec<(&str, Vec<u8>, u16)> = vec![
        ("not masked", vec![0x82, 1, 0], 1002),
        ("an extension", masked(0xc2, b"\0x"), 1002),
        ("an opcode that is not known", masked(0x83, b"\0x"), 1002),
        ("a ping in parts", masked(0x09, b""), 1002),
        ("a long ping", masked(0x89, &[0; 126]), 1002),
        ("a part of nothing", masked(0x80, b"x"), 1002),
        ("half a close code", masked(0x88, b"\x03"), 1002),
        ("a close code that is none", masked(0x88, &[0, 5]), 1002),
        ("a long message", long(0x82, 1 << 40), 1009),
        ("the longest length", long(0x82, u64::MAX), 1009),
        ("an end of two channels", masked(0x82, &[255, 0, 1]), 1002),
        ("SPDY", control(6, 0, &[0, 0, 0, 1]), 1002),
    ];
    for (what, bytes, code) in faults {
        let path = waiting(&world);
        let mut client = WebSocket::connect(&world, &path, "v5.channel.k8s.io").await;
        assert_eq!(client.message().await, Some((2, vec![1])));
        client.io.write_all(&bytes).await.expect("a socket");
        assert_eq!(client.message().await, Some((8, code.to_be_bytes().to_vec())), "{what}");
        assert_eq!(client.message().await, None, "{what}");
    }
    let path = waiting(&world);
    let mut client = WebSocket::connect(&world, &path, "v4.base64.channel.k8s.io").await;
    assert_eq!(client.message().await, Some((1, b"1".to_vec())));
    client.send(0x81, b"0not base64").await;
    assert_eq!(client.message().await, Some((8, 1007_u16.to_be_bytes().to_vec())));
    serves(&world).await;
}

/// A generator (xorshift64).
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).expect("31 bits") % end
    }

    /// A few bytes changed, put in or cut out.
    fn spoil(&mut self, whole: &[u8]) -> Vec<u8> {
        let mut bytes = whole.to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(bytes.len());
            match self.below(3) {
                0 => bytes[at] = u8::try_from(self.below(256)).expect("a byte"),
                1 => drop(bytes.remove(at)),
                _ => bytes.insert(at, u8::try_from(self.below(256)).expect("a byte")),
            }
            if bytes.is_empty() {
                return bytes;
            }
        }
        bytes
    }
}

#[tokio::test]
async fn spoiled_conversations_harm_nobody_else() {
    let world = World::new().await;
    let mut chance = Chance(0x0bad_5eed);
    for round in 0..300 {
        let spdy = round % 3 == 0;
        let (mut io, whole) = if spdy {
            let ports = round % 2 == 0;
            let path = if ports { swallowing(&world) } else { waiting(&world) };
            let mut client =
                Spdy::connect(&world, &path, if ports { "portforward.k8s.io" } else { "v4.channel.k8s.io" })
                    .await;
            let mut whole = Vec::new();
            for (at, kind) in ["error", "data", "stdin", "stdout", "stderr"].iter().enumerate() {
                let stream = u32::try_from(2 * at + 1).expect("few");
                whole.extend(client.opening(
                    stream,
                    false,
                    &[("streamtype", kind), ("port", "80"), ("requestid", "0")],
                ));
            }
            whole.extend(data(3, b"some data", false));
            whole.extend(control(6, 0, &[0, 0, 0, 1]));
            whole.extend(data(3, b"", true));
            whole.extend(control(3, 0, &[0, 0, 0, 5, 0, 0, 0, 5]));
            (client.io, whole)
        } else {
            let path = if round % 3 == 1 { waiting(&world) } else { swallowing(&world) };
            let protocol = if round % 3 == 1 { "v5.channel.k8s.io" } else { "SPDY/3.1+portforward.k8s.io" };
            let whole = [
                masked(0x82, b"\0some input"),
                masked(0x02, b"\x04{\"Width\":80,"),
                masked(0x89, b"ping"),
                masked(0x80, b"\"Height\":24}"),
                masked(0x82, &control(6, 0, &[0, 0, 0, 1])),
                masked(0x82, &[255, 0]),
            ];
            (WebSocket::connect(&world, &path, protocol).await.io, whole.concat())
        };
        for piece in chance.spoil(&whole).chunks(20) {
            // The server may have had enough.
            if io.write_all(piece).await.is_err() {
                break;
            }
        }
        let _ = io.shutdown().await;
        soon("the server ends the connection", io.read_to_end(&mut Vec::new())).await.ok();
    }
    serves(&world).await;
}

#[tokio::test]
async fn made_up_requests_are_answered_or_cut_off() {
    let world = World::new().await;
    let mut chance = Chance(0x5ca1_ab1e);
    let good = "GET /exec/token HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n\r\n";
    for _ in 0..300 {
        let mut io = connect(&world).await;
        let _ = io.write_all(&chance.spoil(good.as_bytes())).await;
        let _ = io.shutdown().await;
        let mut said = Vec::new();
        soon("the server ends the connection", io.read_to_end(&mut said)).await.ok();
        assert!(!said.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&said));
    }
    serves(&world).await;
}

#[tokio::test]
async fn endless_and_slow_heads_are_cut_off() {
    let world = World::with(Limits { greeting: Duration::from_millis(500), ..Limits::default() }, None).await;
    // Long: answered before it ends.
    let mut io = connect(&world).await;
    let _ = io.write_all(b"GET /exec/a HTTP/1.1\r\n").await;
    let line = format!("X-More: {}\r\n", "a".repeat(1000));
    let mut sent = 0;
    while sent < 1 << 20 && io.write_all(line.as_bytes()).await.is_ok() {
        sent += line.len();
    }
    assert!(sent < 1 << 20 || matches!(answer(&mut io).await.0, 0 | 431), "{sent}");
    // Many.
    let mut io = connect(&world).await;
    let many = "X: y\r\n".repeat(100);
    io.write_all(format!("GET /exec/a HTTP/1.1\r\n{many}\r\n").as_bytes()).await.expect("a request");
    assert!(matches!(answer(&mut io).await.0, 0 | 400 | 431));
    // Slow, and silent.
    let mut slow = connect(&world).await;
    let mut silent = connect(&world).await;
    let dawdle = async {
        for byte in b"GET /exec/a HTTP/1.1\r\nHost: a\r\n".iter().cycle() {
            if slow.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    soon("the slow one is cut off", dawdle).await;
    soon("the silent one is cut off", silent.read_to_end(&mut Vec::new())).await.ok();
    serves(&world).await;
}

#[tokio::test]
async fn strangers_take_no_place_of_sessions_and_wait_for_their_own() {
    let limits =
        Limits { strangers: 2, sessions: 1, greeting: Duration::from_millis(500), ..Limits::default() };
    let world = World::with(limits, None).await;
    let _strangers = [connect(&world).await, connect(&world).await, connect(&world).await];
    // It waits until they have had their time.
    let path = waiting(&world);
    let session = WebSocket::connect(&world, &path, "v5.channel.k8s.io").await;
    let path = world.exec(OUT, || Ok(ended(End::Exited(0))));
    let upgrade = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")];
    assert_eq!(world::wire::upgrade(&world, &path, &upgrade).await.1, 503);
    assert!(world.has(&path), "a token is kept for later");
    drop(session);
    soon("there is a place again", async {
        while world::wire::upgrade(&world, &path, &upgrade).await.1 != 101 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}

/// What this process holds in memory, in KiB.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

#[tokio::test]
async fn floods_of_every_kind_hold_little() {
    let world = World::with(Limits { stall: Duration::from_mins(1), ..Limits::default() }, None).await;
    let before = resident();
    // Streams: each costs the client a frame, and most are refused.
    let path = swallowing(&world);
    let mut client = Spdy::connect(&world, &path, "portforward.k8s.io").await;
    for request in 0..20_000_u32 {
        let frame = client.opening(
            2 * request + 1,
            false,
            &[("streamtype", "data"), ("port", "80"), ("requestid", &request.to_string())],
        );
        client.raw(&frame).await;
        let heard = client.frame().await.expect("an answer");
        let expected =
            if request < 512 { Frame::Reply(2 * request + 1) } else { Frame::Reset(2 * request + 1, 3) };
        assert_eq!(heard, expected);
    }
    drop(client);
    // Input that nobody takes, in the smallest pieces that there are, and pings whose answers nobody reads.
    let mut floods = Vec::new();
    for form in 0..4 {
        let path = if form == 2 { swallowing(&world) } else { waiting(&world) };
        let mut io = match form {
            0 | 1 => {
                let mut client = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
                for kind in ["error", "stdin", "stdout", "stderr"] {
                    client.opened(&[("streamtype", kind)]).await;
                }
                client.io
            }
            2 => WebSocket::connect(&world, &path, "SPDY/3.1+portforward.k8s.io").await.io,
            _ => WebSocket::connect(&world, &path, "v5.channel.k8s.io").await.io,
        };
        let piece = match form {
            0 => data(3, b"x", false),
            1 => control(6, 0, &[0, 0, 0, 1]),
            2 => masked(0x89, &[b'p'; 125]),
            _ => masked(0x82, b"\0x"),
        };
        let block = piece.repeat((1 << 16) / piece.len());
        let mut sent = 0;
        while let Ok(Ok(())) = tokio::time::timeout(Duration::from_millis(500), io.write_all(&block)).await {
            sent += block.len();
            assert!(sent < 256 << 20, "flood {form} was never held back");
        }
        floods.push(io);
    }
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 10, "{grown} KiB for one connection each");
    drop(floods);
    serves(&world).await;
}
