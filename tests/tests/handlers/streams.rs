//! Logs, exec, attach, terminals.

use orlop_tests::daemon::stage::{Stage, text};
use orlop_tests::daemon::{PATIENCE, eventually};
use orlop_tests::session::{STDIN, Session, V5};
use tonic::Code;

use crate::Handler;

async fn soon<T>(what: &str, comes: impl Future<Output = T>) -> T {
    let came = tokio::time::timeout(PATIENCE, comes).await;
    came.unwrap_or_else(|_| panic!("not within {PATIENCE:?}: {what}"))
}

async fn attach(stage: &mut Stage, id: &str, streams: &str) -> Session {
    let url = stage.client.attach_url(id, streams).await.expect("a URL");
    Session::open(&url, V5).await.expect("a session")
}

pub(crate) async fn lines(stage: &mut Stage, _: Handler) {
    let config = stage.script("c", "echo out; echo err >&2; printf 'no end'");
    stage.to_end(&config).await;
    let log = stage.log("c");
    assert_eq!((&*text(&log, "stdout"), &*text(&log, "stderr")), ("out\nno end", "err\n"));
}

pub(crate) async fn large(stage: &mut Stage, _: Handler) {
    let config = stage.script("c", "yes 0123456789abcde | head -n 65536");
    let (status, said) = stage.to_end(&config).await;
    assert_eq!((status.exit_code, said.len()), (0, 1 << 20));
}

pub(crate) async fn reopened(stage: &mut Stage, _: Handler) {
    let id =
        stage.run("c", "echo first; while ! [ -e /go ]; do sleep 0.02; done; echo second; sleep 1000").await;
    eventually("its first line", async || text(&stage.log("c"), "stdout") == "first\n").await;
    let path = format!("{}/c/0.log", stage.pod.log_directory);
    std::fs::rename(&path, format!("{path}.1")).expect("renamed");
    stage.client.reopen_log(&id).await.expect("reopened");
    stage.client.exec(&id, &["touch", "/go"], 60).await.expect("exec");
    eventually("the line after it", async || text(&stage.log("c"), "stdout") == "second\n").await;
}

pub(crate) async fn terminal(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "test -t 0 && test -t 1 && test -t 2 && tty; echo err >&2; exit 3");
    config.tty = true;
    let id = stage.start(&config).await;
    assert_eq!(stage.client.ended(&id).await.exit_code, 3);
    let said = text(&stage.log("c"), "stdout").replace('\r', "");
    assert_eq!(said, "/dev/pts/0\nerr\n");
}

pub(crate) async fn stdin_once(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "cat; echo end");
    (config.stdin, config.stdin_once) = (true, true);
    let id = stage.start(&config).await;
    let mut session = attach(stage, &id, "io").await;
    session.outgoing.send(STDIN, b"hello\n").await;
    soon("the echo", session.incoming.until(|said| said == "hello\n")).await;
    session.outgoing.end(STDIN).await;
    let outcome = soon("its end", session.finish()).await;
    assert_eq!(outcome.text(), "end\n");
    assert_eq!(stage.client.ended(&id).await.exit_code, 0);
    assert_eq!(text(&stage.log("c"), "stdout"), "hello\nend\n");
}

pub(crate) async fn attached(stage: &mut Stage, _: Handler) {
    let mut config = stage.script("c", "exec sh");
    (config.stdin, config.tty) = (true, true);
    let id = stage.start(&config).await;
    let mut session = attach(stage, &id, "iot").await;
    session.outgoing.resize(111, 44).await;
    eventually("its size is set", async || {
        stage.client.sh(&id, "stty size < /dev/console").await == "44 111\n"
    })
    .await;
    session.outgoing.send(STDIN, b"echo $((40 + 2)); exit 8\n").await;
    let outcome = soon("its end", session.finish()).await;
    assert!(outcome.text().contains("42\r\n"), "{outcome:?}");
    assert_eq!(stage.client.ended(&id).await.exit_code, 8);
}

pub(crate) async fn exec(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    for (script, stdout, stderr, code) in [
        ("echo out; echo err >&2; exit 3", "out\n", "err\n", 3),
        ("true", "", "", 0),
        ("kill -9 $$", "", "", 137),
        ("cat; echo nothing to read", "nothing to read\n", "", 0),
        ("sleep 5000 & echo left", "left\n", "", 0),
    ] {
        let answer = stage.client.exec(&id, &["sh", "-c", script], 60).await.expect("exec");
        let said = (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        assert_eq!((&*said.0, &*said.1, answer.exit_code), (stdout, stderr, code), "{script}");
    }
    let directory = stage.daemon.state().join("containers").join(&id);
    eventually("nothing of them is left on disk", async || {
        let entries = std::fs::read_dir(&directory).expect("its directory").filter_map(Result::ok);
        !entries.map(|entry| entry.file_name()).any(|name| name.to_string_lossy().starts_with("exec-"))
    })
    .await;
}

pub(crate) async fn exec_not_there(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    for program in ["no-such-program", "/no/such/program", "/etc/passwd"] {
        let error = stage.client.exec(&id, &[program], 60).await.expect_err(program);
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains(program), "{error}");
    }
}

pub(crate) async fn exec_deadline(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let script = "setsid sleep 5001 & (sleep 5002 & sleep 0.01); trap '' TERM; sleep 5003";
    let error = stage.client.exec(&id, &["sh", "-c", script], 1).await.expect_err("it takes too long");
    assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
    eventually("all of it is gone", async || !stage.client.sh(&id, "ps -o args").await.contains("sleep 500"))
        .await;
    assert!(stage.client.sh(&id, "ps -o args").await.contains("sleep 1000"), "and nothing else is");
}

pub(crate) async fn exec_many(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let mut calls = Vec::new();
    for number in 0..20 {
        let (mut client, id) = (stage.daemon.client().await, id.clone());
        calls.push(tokio::spawn(async move {
            let script = format!("echo {number}; exit {number}");
            let answer = client.exec(&id, &["sh", "-c", &script], 60).await.expect("exec");
            assert_eq!((answer.stdout, answer.exit_code), (format!("{number}\n").into_bytes(), number));
        }));
    }
    for call in calls {
        call.await.expect("the right answer");
    }
    let seen = stage.client.sh(&id, "ps -o stat,args").await;
    assert!(!seen.lines().any(|line| line.trim_start().starts_with('Z')), "{seen}");
}

pub(crate) async fn exec_streams(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let url =
        stage.client.exec_url(&id, &["sh", "-c", "cat; echo err >&2; exit 4"], "ioe").await.expect("a URL");
    let mut session = Session::open(&url, V5).await.expect("a session");
    session.outgoing.send(STDIN, b"through\n").await;
    session.outgoing.end(STDIN).await;
    let outcome = soon("its end", session.finish()).await;
    assert_eq!((outcome.text(), &*outcome.stderr, outcome.code()), ("through\n", &b"err\n"[..], 4));
}

pub(crate) async fn exec_terminal(stage: &mut Stage, _: Handler) {
    let id = stage.run("c", "exec sleep 1000").await;
    let url = stage.client.exec_url(&id, &["sh"], "iot").await.expect("a URL");
    let mut session = Session::open(&url, V5).await.expect("a session");
    session.outgoing.resize(99, 33).await;
    session
        .outgoing
        .send(STDIN, b"while [ \"$(stty size)\" != '33 99' ]; do sleep 0.02; done; tty; echo $TERM; exit 5\n")
        .await;
    let outcome = soon("its end", session.finish()).await;
    assert!(outcome.text().contains("/dev/pts/") && outcome.text().contains("xterm\r\n"), "{outcome:?}");
    assert_eq!(outcome.code(), 5);
}
