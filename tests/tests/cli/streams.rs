//! `exec`, `attach` and `port-forward`: this program's streams are the container's.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use orlop_tests::daemon::eventually;
use orlop_tests::daemon::stage::Stage;
use orlop_tests::http;
use orlop_tests::run::{Going, fed, on_a_terminal};

use crate::said::{Said, orlop};

#[tokio::test]
async fn exec_passes_on_what_goes_in_and_out() {
    let mut stage = Stage::new("cli-io").await;
    stage.run("c", "exec sleep 1000").await;
    let daemon = &stage.daemon;
    let mut command = daemon.orlop(&["exec", "-i", "c", "sh", "-c", "cat; echo over; echo err >&2; exit 9"]);
    let said = fed(&mut command, b"one\n\xfftwo\n");
    assert_eq!((&*said.stdout, &*said.stderr), (&b"one\n\xfftwo\nover\n"[..], &b"err\n"[..]));
    assert_eq!(said.status.code(), Some(9));
    // Without -i there is nothing to read.
    assert_eq!(orlop(daemon, &["exec", "c", "sh", "-c", "cat; echo none"]).out, "none\n");
    // More than an answer of ExecSync could hold.
    let many = fed(&mut daemon.orlop(&["exec", "c", "head", "-c", "67108864", "/dev/zero"]), b"");
    assert!(many.stdout.len() == 64 << 20 && many.stdout.iter().all(|&byte| byte == 0));
    stage.end().await;
}

#[tokio::test]
async fn a_terminal_at_both_ends_is_one() {
    let mut stage = Stage::new("cli-tty").await;
    stage.run("c", "exec sleep 1000").await;
    let script = "until [ -n \"$(stty size 2>&-)\" ]; do sleep 0.01; done; stty size; tty; read word; echo got $word; exit 4";
    let command = stage.daemon.orlop(&["exec", "-it", "c", "sh", "-c", script]);
    let words: Vec<&str> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(|word| word.to_str().expect("text"))
        .collect();
    let said = on_a_terminal(&words, b"hello\n");
    for word in ["41 113", "/dev/pts/", "got hello"] {
        assert!(said.contains(word), "{word} in {said:?}");
    }
    stage.end().await;
}

#[tokio::test]
async fn attach_talks_to_a_shell_and_leaves_a_terminal() {
    let mut stage = Stage::new("cli-attach").await;
    let mut config = stage.script("once", "exec sh");
    (config.stdin, config.stdin_once) = (true, true);
    let id = stage.start(&config).await;
    let said = fed(&mut stage.daemon.orlop(&["attach", "-i", "once"]), b"echo hello\necho oops >&2\n");
    assert_eq!((&*said.stdout, &*said.stderr), (&b"hello\n"[..], &b"oops\n"[..]));
    assert!(said.status.success());
    assert_eq!(stage.client.ended(&id).await.exit_code, 0);

    let mut config = stage.script("screen", "exec sh");
    (config.stdin, config.tty) = (true, true);
    let id = stage.start(&config).await;
    let mut command = stage.daemon.orlop(&["attach", "-i", "-t", "screen"]);
    // Ctrl-P, Ctrl-Q; the input goes on, and this ends.
    let said = fed(&mut command, b"echo begun >/begun\n\x10\x11");
    assert!(said.status.success(), "{said:?}");
    eventually("it was typed", async || {
        stage.client.exec(&id, &["test", "-e", "/begun"], 60).await.is_ok_and(|a| a.exit_code == 0)
    })
    .await;
    let refused = Said::of(&mut stage.daemon.orlop(&["attach", "-t", "once"]));
    assert_eq!(refused.code, 1);
    stage.end().await;
}

#[tokio::test]
async fn port_forward_leads_a_port_of_loopback_to_the_pod_s() {
    let mut stage = Stage::new("cli-ports").await;
    stage.run("web", "exec httpd -f -p 127.0.0.1:8000 -h /www").await;
    let mut command = stage.daemon.orlop(&["port-forward", "pod", "0:8000", "0:8001"]);
    let mut child = Going(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("started"));
    let mut said = BufReader::new(child.0.stdout.take().expect("piped")).lines();
    let mut address =
        || said.next().expect("a line").expect("text").split_once(" -> ").expect("an arrow").0.to_owned();
    let (web, nobody) = (address(), address());
    let page = |address: &str| http::send(address, "GET", "/", &[], b"");
    eventually("the page is served", async || page(&web).is_ok_and(|answer| answer.status == 200)).await;
    assert!(page(&nobody).is_err(), "nobody is there");
    let errors = BufReader::new(child.0.stderr.take().expect("piped")).lines();
    // Before the web server was there its port was refused, too.
    let line = errors.map_while(Result::ok).find(|line| line.contains("8001")).expect("a line of it");
    assert!(line.contains("refused"), "{line}");
    drop(child);
    stage.end().await;
}
