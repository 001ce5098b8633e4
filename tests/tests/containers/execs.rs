//! Processes beside the first.

use orlop_proto::runtime::v1::ContainerState;
use orlop_tests::daemon::stage::{Stage, security};
use orlop_tests::daemon::{PATIENCE, eventually};
use tonic::Code;

#[tokio::test]
async fn output_and_errors_come_apart_with_the_exit_code() {
    let mut stage = Stage::new("apart").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for (script, stdout, stderr, code) in [
        ("echo out; echo err >&2; exit 3", "out\n", "err\n", 3),
        ("true", "", "", 0),
        ("no-such-program", "", "sh: no-such-program: not found\n", 127),
        ("/etc/passwd", "", "sh: /etc/passwd: Permission denied\n", 126),
        ("kill -9 $$", "", "", 137),
        ("kill -TERM $$; sleep 1000", "", "", 143),
        ("cat; echo nothing to read", "nothing to read\n", "", 0),
        ("printf 'a\\nb'", "a\nb", "", 0),
        ("exit 255", "", "", 255),
    ] {
        let answer = stage.client.exec(&id, &["sh", "-c", script], 60).await.expect("exec");
        let (said, errors) =
            (String::from_utf8_lossy(&answer.stdout), String::from_utf8_lossy(&answer.stderr));
        assert_eq!((&*said, &*errors, answer.exit_code), (stdout, stderr, code), "{script}");
    }
    stage.end().await;
}

#[tokio::test]
async fn what_cannot_be_run_is_said_with_its_name() {
    let mut stage = Stage::new("cannot").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for program in ["no-such-program", "/no/such/program", "/etc/passwd", "/etc"] {
        let error = stage.client.exec(&id, &[program], 60).await.expect_err(program);
        assert_eq!(error.code(), Code::InvalidArgument, "{error}");
        assert!(error.message().contains(program), "{error}");
    }
    let error = stage.client.exec(&id, &[], 60).await.expect_err("no program");
    assert_eq!(error.code(), Code::InvalidArgument);
    let config = stage.script("created", "true");
    let created = stage.create(&config).await.expect("created");
    assert_eq!(
        stage.client.exec(&created, &["true"], 60).await.expect_err("it does not run").code(),
        Code::FailedPrecondition
    );
    stage.client.stop(&id, 0).await.expect("stopped");
    assert_eq!(
        stage.client.exec(&id, &["true"], 60).await.expect_err("it has ended").code(),
        Code::FailedPrecondition
    );
    stage.end().await;
}

#[tokio::test]
async fn an_exec_is_as_the_container_is() {
    let mut stage = Stage::new("alike").await;
    let mut config = stage.script("c", "exec sleep 1000");
    config.working_dir = "/www".into();
    config.envs.push(orlop_proto::runtime::v1::KeyValue { key: "WORD".into(), value: "said".into() });
    security(&mut config).run_as_username = "nobody".into();
    let id = stage.start(&config).await;
    let script = "pwd; echo $WORD; id -u; id -g; hostname; cat /proc/self/cgroup | cut -d: -f3 | sort -u; ls /proc/self/fd | wc -l";
    let said = stage.client.sh(&id, script).await;
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[..5], ["/www", "said", "65534", "65534", "pod"]);
    // Its own descriptors, and the one by which `ls` reads them.
    assert_eq!(lines.last(), Some(&"4"), "{said}");
    stage.end().await;
}

/// Whether a `sleep` of one of these lengths runs in the container.
async fn sleeps(stage: &mut Stage, id: &str, length: &str) -> bool {
    let seen = stage.client.sh(id, "ps -o args").await;
    seen.lines().any(|line| line.trim_start().starts_with(&format!("sleep {length}")))
}

#[tokio::test]
async fn a_deadline_ends_all_that_an_exec_has_started() {
    for (name, shared) in [("shared", true), ("own", false)] {
        let mut stage = Stage::with(&format!("deadline-{name}"), |pod| {
            if shared {
                pod.linux = None;
            }
        })
        .await;
        let id = stage.run("c", "exec sleep 1000").await;
        let script = "setsid sleep 5001 & (sleep 5002 & sleep 0.01) ; sh -c 'setsid sh -c \"sleep 5003 & exec sleep 5004\" &'; \
                      trap '' TERM; echo begun; sleep 5005";
        let error = stage.client.exec(&id, &["sh", "-c", script], 1).await.expect_err("it takes too long");
        assert_eq!(error.code(), Code::DeadlineExceeded, "{error}");
        eventually("all of it is gone", async || !sleeps(&mut stage, &id, "500").await).await;
        assert!(sleeps(&mut stage, &id, "1000").await, "and nothing else is");
        assert_eq!(
            stage.client.status(&id).await.expect("its status").state(),
            ContainerState::ContainerRunning
        );
        stage.end().await;
    }
}

#[tokio::test]
async fn a_child_in_the_background_delays_no_answer() {
    let mut stage = Stage::new("background").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let command = ["sh", "-c", "sleep 5000 & echo done"];
    let answer = tokio::time::timeout(PATIENCE, stage.client.exec(&id, &command, 0)).await;
    let answer = answer.expect("an answer, though its output is held open").expect("exec");
    assert_eq!((&*answer.stdout, answer.exit_code), (&b"done\n"[..], 0));
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.end().await;
}

#[tokio::test]
async fn a_mebibyte_of_output_comes_whole() {
    let mut stage = Stage::new("mebibyte").await;
    let id = stage.run("c", "exec sleep 1000").await;
    let script = "head -c 1048576 /dev/zero | tr '\\0' y; head -c 524288 /dev/zero | tr '\\0' z >&2";
    let answer = stage.client.exec(&id, &["sh", "-c", script], 60).await.expect("exec");
    assert!(answer.stdout.len() == 1 << 20 && answer.stdout.iter().all(|&byte| byte == b'y'));
    assert!(answer.stderr.len() == 1 << 19 && answer.stderr.iter().all(|&byte| byte == b'z'));
    stage.end().await;
}

#[tokio::test]
async fn many_at_once_are_each_answered_and_none_is_left_as_a_zombie() {
    for (name, shared) in [("shared", true), ("own", false)] {
        let mut stage = Stage::with(&format!("many-{name}"), |pod| {
            if shared {
                pod.linux = None;
            }
        })
        .await;
        let id = stage.run("c", "exec sleep 1000").await;
        let mut calls = Vec::new();
        for number in 0..20 {
            let (mut client, id) = (stage.daemon.client().await, id.clone());
            calls.push(tokio::spawn(async move {
                let script = format!("echo {number}; sleep 0.1; exit {number}");
                let answer = client.exec(&id, &["sh", "-c", &script], 60).await.expect("exec");
                assert_eq!((answer.stdout, answer.exit_code), (format!("{number}\n").into_bytes(), number));
            }));
        }
        for call in calls {
            call.await.expect("a call");
        }
        let facts = stage.client.facts(&id).await.expect("facts");
        let (pid, shim) = (facts["pid"].to_string(), facts["shim"].to_string());
        eventually("the shim has but the container", async || {
            let children = std::fs::read_to_string(format!("/proc/{shim}/task/{shim}/children"));
            children.expect("its children").trim() == pid
        })
        .await;
        let seen = stage.client.sh(&id, "ps -o stat,args").await;
        assert!(!seen.lines().any(|line| line.trim_start().starts_with('Z')), "{seen}");
        stage.end().await;
    }
}

/// What a process has open.
fn open_files(pid: &str) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/fd")).expect("it lives").count()
}

/// A hundred at once, of all sorts: those that answer, those that fail, those that are not there, those that leave somebody who
/// holds their output, those that take too long and have hidden what they started.
#[tokio::test]
async fn a_storm_of_probes_is_answered_one_by_one_and_leaves_nothing() {
    let mut stage = Stage::with("storm", |pod| pod.linux = None).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let shim = stage.client.facts(&id).await.expect("facts")["shim"].to_string();
    let before = open_files(&shim);
    let mut calls = Vec::new();
    for number in 0..100 {
        let (mut client, id) = (stage.daemon.client().await, id.clone());
        calls.push(tokio::spawn(async move {
            let (script, timeout) = match number % 5 {
                0 => (format!("echo {number}"), 60),
                1 => (format!("echo {number} >&2; exit 7"), 60),
                2 => ("sleep 7000 & echo left".to_owned(), 60),
                3 => ("trap '' TERM; (setsid sleep 7001 &); sleep 7002".to_owned(), 1),
                _ => (String::new(), 60),
            };
            let shell = ["sh", "-c", &script];
            let command: &[&str] = if script.is_empty() { &["no-such-program"] } else { &shell };
            let answer = client.exec(&id, command, timeout).await;
            let said = answer.map(|answer| (answer.stdout, answer.stderr, answer.exit_code));
            let words = format!("{number}\n").into_bytes();
            match number % 5 {
                0 => assert_eq!(said.expect("exec"), (words, vec![], 0)),
                1 => assert_eq!(said.expect("exec"), (vec![], words, 7)),
                2 => assert_eq!(said.expect("exec"), (b"left\n".to_vec(), vec![], 0)),
                3 => assert_eq!(said.expect_err("too long").code(), Code::DeadlineExceeded),
                _ => assert_eq!(said.expect_err("not there").code(), Code::InvalidArgument),
            }
        }));
    }
    for call in calls {
        tokio::time::timeout(PATIENCE, call).await.expect("an answer").expect("the right one");
    }
    eventually("what took too long is gone with all of its own", async || {
        !sleeps(&mut stage, &id, "7001").await && !sleeps(&mut stage, &id, "7002").await
    })
    .await;
    let seen = stage.client.sh(&id, "ps -o stat,args").await;
    assert!(!seen.lines().any(|line| line.trim_start().starts_with('Z')), "{seen}");
    eventually("its shim holds nothing of them", async || open_files(&shim) == before).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    stage.end().await;
}

/// kubelet takes messages of 16 MiB.
#[tokio::test]
async fn output_without_end_is_cut_where_kubelet_can_take_it() {
    let mut stage = Stage::new("endless").await;
    let id = stage.run("c", "exec sleep 1000").await;
    for script in [
        "head -c 33554432 /dev/zero; exit 3",
        "head -c 20971520 /dev/zero >&2; exit 3",
        "head -c 12582912 /dev/zero & head -c 12582912 /dev/zero >&2; wait; exit 3",
    ] {
        let answer = stage.client.exec(&id, &["sh", "-c", script], 60).await.expect(script);
        assert_eq!((answer.stdout.len() + answer.stderr.len(), answer.exit_code), ((16 << 20) - 64, 3));
    }
    stage.end().await;
}

#[tokio::test]
async fn a_stop_ends_what_an_exec_runs() {
    let mut stage = Stage::with("stop-exec", |pod| pod.linux = None).await;
    let id = stage.run("c", "exec sleep 1000").await;
    let call = {
        let (mut client, id) = (stage.daemon.client().await, id.clone());
        tokio::spawn(async move { client.exec(&id, &["sleep", "5000"], 0).await })
    };
    eventually("it runs", async || sleeps(&mut stage, &id, "5000").await).await;
    stage.client.stop(&id, 0).await.expect("stopped");
    let answer = tokio::time::timeout(PATIENCE, call).await.expect("an answer").expect("a call");
    match answer {
        Ok(answer) => assert_eq!(answer.exit_code, 137),
        Err(status) => assert_eq!(status.code(), Code::FailedPrecondition, "{status}"),
    }
    stage.end().await;
}
