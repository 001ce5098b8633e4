//! Exec and attach, in every form: what a client sends arrives, what a process says comes back, and how it ended is told.
//!
//! *Invariant:* each promise is tried in all the forms in which it can be kept.

mod world;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use orlop_stream::Limits;
use orlop_stream::session::{End, Running, Size, Streams};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{mpsc, oneshot};
use world::client::{Client, FORMS, Form};
use world::wire::{Frame, Spdy, WebSocket, control};
use world::{ALL, OUT, Process, TTY, World, ended, played, running, soon};

/// A path whose process is played by the test, and that process once it begins.
fn stage(world: &World, streams: Streams, size: usize) -> (String, oneshot::Receiver<Process>) {
    let (tell, told) = oneshot::channel();
    let path = world.exec(streams, move || {
        let (running, process) = played(size);
        let _ = tell.send(process);
        Ok(running)
    });
    (path, told)
}

async fn begun(process: oneshot::Receiver<Process>) -> Process {
    soon("the command begins", process).await.expect("it begins")
}

#[tokio::test]
async fn input_arrives_outputs_come_back_apart_and_success_is_told() {
    let world = World::new().await;
    for form in FORMS {
        let (path, process) = stage(&world, ALL, 1 << 20);
        let mut client = Client::connect(&world, &path, form, ALL).await;
        client.stdin(b"some ").await;
        client.stdin(b"input").await;
        let mut process = begun(process).await;
        let mut input = [0; 10];
        soon("input", process.stdin.read_exact(&mut input)).await.expect("input");
        assert_eq!(&input, b"some input");
        process.stdout.take().unwrap().write_all(b"out").await.expect("a pipe");
        process.stderr.take().unwrap().write_all(b"err").await.expect("a pipe");
        process.end.take().unwrap().send(End::Exited(0)).expect("it is waited for");
        let outcome = client.finish().await;
        assert_eq!(
            (&outcome.stdout[..], &outcome.stderr[..], outcome.clean),
            (&b"out"[..], &b"err"[..], true),
            "{form:?}"
        );
        let told = if form.fields { "Success" } else { "" };
        assert!(
            outcome.error.contains(told) && outcome.error.is_empty() != form.fields,
            "{form:?}: {outcome:?}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn an_exit_code_is_told_as_clients_read_it() {
    let world = World::new().await;
    for form in FORMS {
        let path = world.exec(OUT, || Ok(ended(End::Exited(42))));
        let outcome = Client::connect(&world, &path, form, OUT).await.finish().await;
        assert!(outcome.clean, "{form:?}: {outcome:?}");
        if form.fields {
            let status: serde_json::Value = serde_json::from_str(&outcome.error).expect("JSON");
            assert_eq!(
                (&status["status"], &status["reason"]),
                (&"Failure".into(), &"NonZeroExitCode".into())
            );
            assert_eq!(status["details"]["causes"][0]["reason"], "ExitCode");
            assert_eq!(status["details"]["causes"][0]["message"], "42");
        } else {
            assert_eq!(outcome.error, "command terminated with non-zero exit code: 42");
        }
    }
}

#[tokio::test]
async fn a_command_that_does_not_begin_says_why() {
    let world = World::new().await;
    for form in FORMS {
        let path = world.attach(ALL, || Err("the container is gone".into()));
        let outcome = Client::connect(&world, &path, form, ALL).await.finish().await;
        assert!(outcome.clean && outcome.error.contains("the container is gone"), "{form:?}: {outcome:?}");
        assert_eq!(outcome.error.contains("InternalError"), form.fields);
    }
}

#[tokio::test]
async fn the_end_of_the_input_reaches_the_process_and_output_goes_on() {
    let world = World::new().await;
    for form in FORMS.into_iter().filter(|form| form.ends) {
        let (path, process) = stage(&world, ALL, 1 << 20);
        let mut client = Client::connect(&world, &path, form, ALL).await;
        client.stdin(b"all of it").await;
        client.end().await;
        let mut process = begun(process).await;
        let mut input = Vec::new();
        soon("the end of input", process.stdin.read_to_end(&mut input)).await.expect("a pipe");
        assert_eq!(input, b"all of it", "{form:?}");
        let mut stdout = process.stdout.take().unwrap();
        stdout.write_all(b"after ").await.expect("a pipe");
        assert_eq!(client.stdout(6).await, b"after ", "{form:?}");
        stdout.write_all(b"the end").await.expect("a pipe");
        drop(stdout);
        process.end.take().unwrap().send(End::Exited(0)).expect("it is waited for");
        assert_eq!(client.finish().await.stdout, b"after the end", "{form:?}");
    }
}

#[tokio::test]
async fn sizes_of_the_terminal_are_told_in_order() {
    let world = World::new().await;
    for form in FORMS.into_iter().filter(|form| form.resize) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let path = world.exec(TTY, move || {
            let resize = Box::new(move |size: Size| {
                let _ = tell.send((size.width, size.height));
            });
            Ok(Running { resize: Some(resize), ..running() })
        });
        let mut client = Client::connect(&world, &path, form, TTY).await;
        client.resize("{\"Width\":80,\"Height\":24}\n{\"Width\":1").await;
        client.resize("32,\"Height\":43}\n").await;
        assert_eq!(soon("a size", told.recv()).await, Some((80, 24)), "{form:?}");
        assert_eq!(soon("a size", told.recv()).await, Some((132, 43)), "{form:?}");
    }
}

#[tokio::test]
async fn a_process_that_closed_its_input_is_not_disturbed_by_more() {
    let world = World::new().await;
    for form in FORMS {
        let (path, process) = stage(&world, ALL, 64);
        let mut client = Client::connect(&world, &path, form, ALL).await;
        let Process { stdin, stdout, mut end, .. } = begun(process).await;
        drop(stdin);
        for _ in 0..40 {
            client.stdin(&vec![b'x'; 30_000]).await;
        }
        stdout.unwrap().write_all(b"fine").await.expect("a pipe");
        end.take().unwrap().send(End::Exited(0)).expect("it is waited for");
        assert_eq!(client.finish().await.stdout, b"fine", "{form:?}");
    }
}

#[tokio::test]
async fn an_output_that_a_grandchild_keeps_open_is_not_waited_for() {
    let world = World::new().await;
    for form in FORMS {
        let (path, process) = stage(&world, ALL, 1 << 20);
        let client = Client::connect(&world, &path, form, ALL).await;
        let mut process = begun(process).await;
        let long: Vec<u8> = (0..=255).cycle().take(700_000).collect();
        process.stdout.as_mut().unwrap().write_all(&long).await.expect("a pipe");
        process.end.take().unwrap().send(End::Exited(7)).expect("it is waited for");
        // The process's ends stay open until the client has its answer.
        let outcome = client.finish().await;
        assert!(outcome.stdout == long && outcome.clean, "{form:?}: {} bytes", outcome.stdout.len());
        assert!(outcome.error.contains('7'), "{form:?}: {}", outcome.error);
        drop(process);
    }
}

#[tokio::test]
async fn a_grandchild_that_writes_for_ever_is_cut_off() {
    let world = World::new().await;
    let (tell, told) = oneshot::channel();
    let path = world.exec(OUT, move || {
        let (reader, writer) = tokio::io::duplex(65536);
        let _ = tell.send(writer);
        Ok(Running { stdout: Some(Box::new(reader)), ..ended(End::Exited(0)) })
    });
    let client = Client::connect(&world, &path, FORMS[0], OUT).await;
    let mut writer = soon("the command begins", told).await.expect("it begins");
    let endless = tokio::spawn(async move { while writer.write_all(&vec![b'y'; 65536]).await.is_ok() {} });
    let outcome = client.finish().await;
    assert!(outcome.clean && outcome.error.contains("Success"), "{}", outcome.error);
    soon("its pipe is closed", endless).await.expect("it does not panic");
}

/// Is dropped with what holds it.
struct Held(Arc<AtomicBool>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn dropped(flag: &AtomicBool) {
    soon("what was behind the client is dropped", async {
        while !flag.load(Ordering::SeqCst) {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// A command that never ends, does not read its input, and says when it is dropped.
fn endless(world: &World) -> (String, Arc<AtomicBool>, oneshot::Receiver<Process>) {
    let (flag, (tell, told)) = (Arc::new(AtomicBool::new(false)), oneshot::channel());
    let held = Held(Arc::clone(&flag));
    let path = world.exec(ALL, move || {
        let (mut running, process) = played(64);
        running.end = Box::pin(async move {
            let _held = held;
            std::future::pending().await
        });
        let _ = tell.send(process);
        Ok(running)
    });
    (path, flag, told)
}

#[tokio::test]
async fn a_client_that_leaves_drops_what_was_behind_it() {
    let world = World::new().await;
    for form in FORMS {
        let (path, flag, process) = endless(&world);
        let client = Client::connect(&world, &path, form, ALL).await;
        let process = begun(process).await;
        assert!(!flag.load(Ordering::SeqCst));
        drop(client);
        dropped(&flag).await;
        drop(process);
    }
}

#[tokio::test]
async fn a_client_that_leaves_while_its_input_is_stuck_is_noticed() {
    let world = World::new().await;
    for form in [FORMS[0], FORMS[4]] {
        let (path, flag, process) = endless(&world);
        let mut client = Client::connect(&world, &path, form, ALL).await;
        let process = begun(process).await;
        // More than all buffers on the way hold, so that some is never read.
        let stuck = tokio::spawn(async move {
            let block = vec![b'x'; 1 << 18];
            for _ in 0..64 {
                let send = client.stdin(&block);
                if tokio::time::timeout(std::time::Duration::from_millis(300), send).await.is_err() {
                    return true;
                }
            }
            false
        });
        assert!(
            soon("the input is stuck", stuck).await.expect("it does not panic"),
            "{form:?}: it was held back"
        );
        dropped(&flag).await;
        drop(process);
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_process_back_and_gets_all_later() {
    let world = World::new().await;
    for form in [FORMS[0], FORMS[4], FORMS[6]] {
        let (path, process) = stage(&world, ALL, 4096);
        let client = Client::connect(&world, &path, form, ALL).await;
        let mut process = begun(process).await;
        let written = Arc::new(Mutex::new(0_usize));
        let count = Arc::clone(&written);
        let total = 64 << 20;
        let writer = tokio::spawn(async move {
            let mut stdout = process.stdout.take().unwrap();
            let block: Vec<u8> = (0..=250).cycle().take(251 * 64).collect();
            let mut sent = 0;
            while sent < total {
                let now = block.len().min(total - sent);
                stdout.write_all(&block[..now]).await.expect("it is read");
                sent += now;
                *count.lock().expect("no panic before") = sent;
            }
            process.end.take().unwrap().send(End::Exited(0)).expect("it is waited for");
        });
        // It stops by itself, when all buffers on the way are full.
        let mut before = usize::MAX;
        soon("the process is held back", async {
            loop {
                tokio::time::sleep(std::time::Duration::from_millis(300)).await;
                let now = *written.lock().expect("no panic before");
                if now == before {
                    break;
                }
                before = now;
            }
        })
        .await;
        assert!(before < total, "{form:?}: {before} bytes went nowhere");
        let outcome = client.finish().await;
        soon("all is written", writer).await.expect("it does not panic");
        assert!(outcome.clean && outcome.stdout.len() == total, "{form:?}: {}", outcome.stdout.len());
        assert!(
            outcome.stdout.iter().zip((0..=250).cycle()).all(|(got, sent)| *got == sent),
            "{form:?}: in order"
        );
    }
}

#[tokio::test]
async fn a_token_is_good_once_and_for_one_thing() {
    let world = World::new().await;
    let upgrade = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io")];
    let path = world.exec(OUT, || Ok(ended(End::Exited(0))));
    let elsewhere = path.replace("exec", "attach");
    let (_, status, wrong) = world::wire::upgrade(&world, &elsewhere, &upgrade).await;
    assert_eq!(status, 404);
    assert!(world.has(&path), "a wrong path does not use it up");
    let bad = [("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v9.channel.k8s.io")];
    assert_eq!(world::wire::upgrade(&world, &path, &bad).await.1, 403);
    assert!(world.has(&path), "nor does a protocol that is not known");
    let outcome = Client::connect(&world, &path, FORMS[0], OUT).await.finish().await;
    assert!(outcome.clean);
    let (_, status, used) = world::wire::upgrade(&world, &path, &upgrade).await;
    let (_, _, never) = world::wire::upgrade(&world, "/exec/never-was-one", &upgrade).await;
    let dateless = |head: &str| head.lines().filter(|line| !line.starts_with("date")).collect::<String>();
    assert_eq!((status, dateless(&used)), (404, dateless(&never)), "there is no hint");
    assert_eq!(dateless(&used), dateless(&wrong));
}

#[tokio::test]
async fn streams_that_were_not_asked_for_are_refused_and_pings_answered() {
    let world = World::new().await;
    let path = world.exec(OUT, || Ok(ended(End::Exited(0))));
    let mut client = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
    let error = client.opened(&[("streamtype", "error")]).await;
    for refused in ["stdin", "resize", "error", "other"] {
        let stream = client.open(&[("streamtype", refused)]).await;
        assert_eq!(client.frame().await, Some(Frame::Reset(stream, 3)), "{refused}");
    }
    let stream = client.open(&[]).await;
    assert_eq!(client.frame().await, Some(Frame::Reset(stream, 3)));
    client.raw(&control(6, 0, &7_u32.to_be_bytes())).await;
    assert_eq!(client.frame().await, Some(Frame::Ping(7)));
    // Settings, window updates and data on what was refused mean nothing.
    client.raw(&control(4, 0, &[0; 4])).await;
    client.raw(&control(9, 0, &[0, 0, 0, 1, 0, 1, 0, 0])).await;
    client.send(stream, b"lost", false).await;
    let stdout = client.opened(&[("streamtype", "stdout")]).await;
    let heard = client.rest().await;
    assert_eq!((heard.ends, heard.goodbye), (vec![stdout, error], Some((stdout, 0))));
}

#[tokio::test]
async fn websockets_answer_pings_and_close_as_they_are_closed() {
    let world = World::new().await;
    let (path, flag, process) = endless(&world);
    let mut client = WebSocket::connect(&world, &path, "v5.channel.k8s.io").await;
    assert_eq!(client.message().await, Some((2, vec![1])), "the connection is made");
    client.send(0x89, b"are you there?").await;
    assert_eq!(client.message().await, Some((10, b"are you there?".to_vec())));
    client.send(0x8a, b"nobody asked").await;
    // A text for a channel, in three parts with a ping between, and an empty message.
    client.send(0x01, b"\0sp").await;
    client.send(0x00, b"li").await;
    client.send(0x89, b"").await;
    client.send(0x80, b"t").await;
    client.send(0x82, b"").await;
    assert_eq!(client.message().await, Some((10, vec![])));
    let mut process = begun(process).await;
    let mut input = [0; 5];
    soon("input", process.stdin.read_exact(&mut input)).await.expect("input");
    assert_eq!(&input, b"split");
    client.send(0x88, b"\x0f\xa0bye").await;
    assert_eq!(client.message().await, Some((8, vec![0x0f, 0xa0])), "the same code");
    assert_eq!(client.message().await, None);
    dropped(&flag).await;
}

#[tokio::test]
async fn an_output_that_the_client_resets_is_closed() {
    let world = World::new().await;
    let (path, process) = stage(&world, ALL, 64);
    let mut client = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
    let mut streams = Vec::new();
    for kind in ["error", "stdin", "stdout", "stderr"] {
        streams.push(client.opened(&[("streamtype", kind)]).await);
    }
    let mut process = begun(process).await;
    client.reset(streams[2]).await;
    client.raw(&control(6, 0, &1_u32.to_be_bytes())).await;
    assert_eq!(client.frame().await, Some(Frame::Ping(1)), "it has heard the reset");
    let mut stdout = process.stdout.take().unwrap();
    soon("the pipe breaks", async { while stdout.write_all(&[0; 64]).await.is_ok() {} }).await;
    process.stderr.take().unwrap().write_all(b"still here").await.expect("a pipe");
    process.end.take().unwrap().send(End::Exited(0)).expect("it is waited for");
    let heard = client.rest().await;
    assert_eq!(heard.data.get(&streams[3]).map(Vec::as_slice), Some(&b"still here"[..]));
    assert_eq!((heard.data.get(&streams[2]), heard.goodbye), (None, Some((streams[3], 0))));
}

#[tokio::test]
async fn streams_have_to_come_in_time_and_silence_ends() {
    let short = std::time::Duration::from_millis(100);
    let world = World::with(Limits { streams: short, ..Limits::default() }, None).await;
    let path = world.exec(OUT, || panic!("it does not begin"));
    let mut client = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
    client.opened(&[("streamtype", "error")]).await;
    assert_eq!(client.rest().await.goodbye, Some((1, 1)));

    let world = World::with(Limits { idle: short, ..Limits::default() }, None).await;
    for form in [FORMS[0], FORMS[4]] {
        let (path, flag, _process) = endless(&world);
        let outcome = Client::connect(&world, &path, form, ALL).await.finish().await;
        assert_eq!(outcome.error, "", "{form:?}");
        dropped(&flag).await;
    }
}

#[tokio::test]
async fn a_server_that_stops_says_goodbye() {
    let world = World::new().await;
    let (path, flag, process) = endless(&world);
    let mut spdy = Spdy::connect(&world, &path, "v4.channel.k8s.io").await;
    for kind in ["error", "stdin", "stdout", "stderr"] {
        spdy.opened(&[("streamtype", kind)]).await;
    }
    let _process = begun(process).await;
    let (path, _, _process) = endless(&world);
    let mut socket = WebSocket::connect(&world, &path, "v4.channel.k8s.io").await;
    assert_eq!(socket.message().await, Some((2, vec![1])));
    let stop = tokio::spawn(world.stop());
    assert_eq!(spdy.rest().await.goodbye, Some((7, 0)));
    assert_eq!(socket.message().await, Some((8, 1001_u16.to_be_bytes().to_vec())));
    drop((spdy, socket));
    soon("the server stops", stop).await.expect("it does not panic");
    assert!(flag.load(Ordering::SeqCst));
}

/// So that the list of forms is not shortened by accident.
#[test]
fn every_form_is_tried() {
    let count = |has: fn(&Form) -> bool| FORMS.iter().filter(|form| has(form)).count();
    assert_eq!((FORMS.len(), count(|form| form.spdy), count(|form| form.fields)), (10, 4, 4));
}
