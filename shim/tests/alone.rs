//! A shim by itself: plans made by hand, the protocol spoken by hand, no server.
//!
//! *Invariant:* needs root, Debian's static busybox, and leaves no process, mount or cgroup.

mod trial;

use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use orlop_wire::message::{Answer, FromShim, News, Request};
use orlop_wire::plan::Operation;
use orlop_wire::record::file;
use trial::{Trial, c, operations};

#[test]
fn output_is_in_the_log_when_the_end_is_told() {
    let mut trial = Trial::new(&["/bin/sh", "-c", "echo out; echo err >&2; exit 7"], |_, _| {});
    assert!(trial.born() > 0);
    let exited = trial.exited();
    assert_eq!((exited.code, exited.signal, exited.oom_killed, exited.failure), (7, 0, false, None));
    let log = trial.log();
    assert!(log.lines().any(|line| line.ends_with(" stdout F out")), "{log}");
    assert!(log.lines().any(|line| line.ends_with(" stderr F err")), "{log}");
    trial.gone();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(
        !mounts.contains(&trial.directory.path().display().to_string()),
        "nothing of it in the node's mounts"
    );
}

#[test]
fn a_failing_operation_is_named() {
    let mut trial = Trial::new(&["/bin/nothing"], |_, _| {});
    let failure = trial.exited().failure.expect("it never ran");
    assert_eq!(
        (failure.stage.as_str(), failure.object.as_str(), failure.errno),
        ("exec", "/bin/nothing", libc::ENOENT)
    );
    trial.gone();

    let bind = Operation::Bind {
        source: c("/nowhere/at/all"),
        target: c("mnt"),
        how: orlop_wire::plan::BindHow::default(),
    };
    let mut trial = Trial::new(&["/bin/true"], |plan, directory| {
        plan.operations = operations(directory, &["/bin/true"], vec![bind]);
    });
    let failure = trial.exited().failure.expect("it never ran");
    assert_eq!((failure.stage.as_str(), failure.errno), ("bind mount", libc::ENOENT));
    trial.gone();
}

#[test]
fn a_signal_is_its_code_and_a_kill_is_no_want_of_memory() {
    let mut trial = Trial::new(&["/bin/sleep", "1000"], |_, _| {});
    trial.born();
    trial.send(&Request::KillAll);
    assert!(matches!(trial.hear(), (_, FromShim::Answer { answer: Answer::Done })));
    let exited = trial.exited();
    assert_eq!((exited.code, exited.signal, exited.oom_killed), (137, 9, false));
    trial.gone();
}

#[test]
fn an_exec_runs_in_the_container_and_says_its_code() {
    let mut trial = Trial::new(&["/bin/sleep", "1000"], |_, _| {});
    trial.born();
    let null = OwnedFd::from(std::fs::File::open("/dev/null").expect("null"));
    let (mut ours, theirs) = std::io::pipe().expect("a pipe");
    let theirs = OwnedFd::from(theirs);
    let answer =
        trial.exec(5, &["/bin/sh", "-c", "echo $$; cat /proc/1/cmdline; exit 3"], [&null, &theirs, &theirs]);
    assert!(matches!(answer, Answer::ExecStarted { .. }), "{answer:?}");
    drop(theirs);
    assert_eq!(trial.news(), News::ExecEnded { exec: 5, code: 3 });
    let mut output = String::new();
    ours.read_to_string(&mut output).expect("read");
    assert!(output.contains("sleep\x001000"), "process 1 is the container's: {output:?}");

    let answer = trial.exec(6, &["/bin/nothing"], [&null, &null, &null]);
    let Answer::Refused { failure } = answer else { panic!("{answer:?}") };
    assert_eq!((failure.stage.as_str(), failure.errno), ("exec", libc::ENOENT));
    trial.send(&Request::KillAll);
    trial.hear();
    trial.exited();
    trial.gone();
}

#[test]
fn a_container_outlives_its_server_and_a_second_one_hears_of_its_end() {
    let mut trial =
        Trial::new(&["/bin/sh", "-c", "while [ ! -e /go ]; do sleep 0.01; done; exit 9"], |_, _| {});
    let pid = trial.born();
    let socket = trial.state().join(file::SOCKET);
    let (other, _) = UnixStream::pair().expect("a pair");
    trial.control = other;
    trial.received.clear();
    let place =
        rustix::fs::open(trial.state(), rustix::fs::OFlags::PATH, rustix::fs::Mode::empty()).expect("opened");
    let number = std::os::fd::AsRawFd::as_raw_fd(&place);
    trial.control =
        UnixStream::connect(format!("/proc/self/fd/{number}/{}", file::SOCKET)).expect("connected");
    trial.control.set_read_timeout(Some(Duration::from_secs(20))).expect("set");
    trial.send(&Request::Hello);
    assert!(matches!(trial.news(), News::Born { .. }));
    assert!(matches!(trial.hear(), (_, FromShim::Answer { answer: Answer::Done })));
    std::fs::write(format!("/proc/{pid}/root/go"), "").expect("written");
    assert_eq!(trial.exited().code, 9);
    trial.gone();
    assert!(!socket.exists());
}

#[test]
fn four_million_lines_come_whole() {
    let mut trial = Trial::new(&["/bin/sh", "-c", "yes | head -c 8000000"], |_, _| {});
    trial.born();
    assert_eq!(trial.exited().code, 0);
    let log = trial.log();
    assert_eq!(log.lines().count(), 4_000_000);
    assert!(log.lines().all(|line| line.ends_with(" stdout F y")));
    trial.gone();
}

/// One line of 16 MiB: cut into parts, whole when they are joined, and the shim no larger for it.
#[test]
fn a_line_without_end_is_cut_into_parts_and_takes_no_memory() {
    let script = "head -c 16777216 /dev/zero | busybox tr '\\0' x; while [ ! -e /go ]; do sleep 0.01; done";
    let mut trial = Trial::new(&["/bin/sh", "-c", script], |plan, directory| {
        let device = Operation::Device {
            target: c("dev/zero"),
            mode: libc::S_IFCHR | 0o666,
            major: 1,
            minor: 5,
            uid: 0,
            gid: 0,
        };
        plan.operations = operations(directory, &["/bin/sh", "-c", script], vec![device]);
    });
    let pid = trial.born();
    let began = Instant::now();
    while std::fs::metadata(trial.directory.path().join("log")).expect("a log").len() < 16 << 20 {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", trial.shim.pid)).expect("it lives");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    assert!(peak.expect("a peak") < 4096, "{peak:?} KiB at most");
    std::fs::write(format!("/proc/{pid}/root/go"), "").expect("written");
    assert_eq!(trial.exited().code, 0);
    let log = trial.log();
    let joined: usize = log.lines().map(|line| line.split(" stdout P ").nth(1).expect("a part").len()).sum();
    assert_eq!((log.lines().count(), joined), (1024, 16 << 20));
    trial.gone();
}

#[test]
fn a_reopened_log_is_there_when_the_answer_comes() {
    let mut trial = Trial::new(
        &["/bin/sh", "-c", "echo one; while [ ! -e /go ]; do sleep 0.01; done; echo two"],
        |_, _| {},
    );
    let pid = trial.born();
    let log = trial.directory.path().join("log");
    let began = Instant::now();
    while !trial.log().contains("one") {
        assert!(began.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(1));
    }
    std::fs::rename(&log, trial.directory.path().join("log.1")).expect("renamed");
    trial.send(&Request::Reopen);
    assert!(matches!(trial.hear(), (_, FromShim::Answer { answer: Answer::Done })));
    assert!(log.exists());
    std::fs::write(format!("/proc/{pid}/root/go"), "").expect("written");
    assert_eq!(trial.exited().code, 0);
    assert!(trial.log().contains("two") && !trial.log().contains("one"));
    trial.gone();
}

/// Pipes for an attachment's stdout and stderr: our ends, and the shim's.
fn two_pipes() -> ([std::io::PipeReader; 2], [OwnedFd; 2]) {
    let ((out, out_end), (error, error_end)) =
        (std::io::pipe().expect("a pipe"), std::io::pipe().expect("a pipe"));
    ([out, error], [OwnedFd::from(out_end), OwnedFd::from(error_end)])
}

#[test]
fn whoever_attaches_gets_the_output_from_then_on_and_who_does_not_read_stops_nobody() {
    let script = "while read line; do echo $line; echo $line >&2; \
                  [ $line = much ] && head -c 8000000 /bin/busybox; [ $line = end ] && exit 3; done";
    let mut trial = Trial::new(&["/bin/sh", "-c", script], |plan, _| plan.stdio.stdin = true);
    trial.born();
    let ([mut out, mut errors], pipes) = two_pipes();
    let input = trial.attach(1, true, pipes).expect("it has stdin");
    let mut input = std::fs::File::from(input);
    input.write_all(b"one\n").expect("written");
    let mut line = [0; 4];
    for pipe in [&mut out, &mut errors] {
        pipe.read_exact(&mut line).expect("copied");
        assert_eq!(&line, b"one\n");
    }
    // The second comes later, and reads nothing until the end.
    let ([mut late, mut late_errors], pipes) = two_pipes();
    let _second = trial.attach(2, true, pipes).expect("it has stdin still");
    input.write_all(b"much\nend\n").expect("written");
    let reading = std::thread::spawn(move || {
        let (mut all, mut said) = (Vec::new(), String::new());
        out.read_to_end(&mut all).expect("read");
        errors.read_to_string(&mut said).expect("read");
        (all, said)
    });
    let passed_over = |trial: &mut Trial, expected| match trial.news() {
        News::Detached { attachment, passed_over } if attachment == expected => passed_over,
        other => panic!("{other:?}"),
    };
    let fast = passed_over(&mut trial, 1);
    let slow = passed_over(&mut trial, 2);
    assert_eq!(trial.exited().code, 3);
    let size = std::fs::metadata("/bin/busybox").expect("there").len().min(8_000_000);
    let (all, said) = reading.join().expect("read");
    assert_eq!(all.len() as u64 + fast, "much\nend\n".len() as u64 + size);
    assert_eq!(said, "much\nend\n");
    let (mut some, mut said) = (vec![], String::new());
    late.read_to_end(&mut some).expect("read");
    late_errors.read_to_string(&mut said).expect("read");
    assert!(slow > 0 && some.starts_with(b"much\n"), "{slow}");
    assert_eq!(some.len() as u64 + slow, "much\nend\n".len() as u64 + size);
    assert_eq!(said, "much\nend\n");
    trial.gone();
}

#[test]
fn stdin_for_one_attachment_ends_with_it_and_a_detached_one_hears_no_more() {
    let script = "cat; echo over; while [ ! -e /go ]; do sleep 0.01; done";
    let mut trial = Trial::new(&["/bin/sh", "-c", script], |plan, _| {
        plan.stdio.stdin = true;
        plan.stdio.stdin_once = true;
    });
    let pid = trial.born();
    let ([mut out, _errors], pipes) = two_pipes();
    let input = trial.attach(1, true, pipes).expect("the first has stdin");
    let ([mut other, _others_errors], pipes) = two_pipes();
    assert!(trial.attach(2, true, pipes).is_none(), "the second has none");
    let mut input = std::fs::File::from(input);
    input.write_all(b"said\n").expect("written");
    let mut said = [0; 5];
    other.read_exact(&mut said).expect("copied");
    assert_eq!(&said, b"said\n");
    trial.send(&Request::Detach { attachment: 2 });
    assert_eq!(trial.news(), News::Detached { attachment: 2, passed_over: 0 });
    assert!(matches!(trial.hear(), (_, FromShim::Answer { answer: Answer::Done })));
    drop(input);
    let mut all = [0; 10];
    out.read_exact(&mut all).expect("copied");
    assert_eq!(&all, b"said\nover\n");
    let mut nothing = String::new();
    other.read_to_string(&mut nothing).expect("its end");
    assert_eq!(nothing, "");
    // One that has gone is not told again; one that takes a number twice is refused.
    trial.send(&Request::Detach { attachment: 2 });
    assert!(matches!(trial.hear(), (_, FromShim::Answer { answer: Answer::Done })));
    let (_ours, pipes) = two_pipes();
    let again = Request::Attach { attachment: 1, stdin: false, stdout: true, stderr: true };
    let answer = trial.ask(&again, &[&pipes[0], &pipes[1]]).0;
    assert!(matches!(answer, Answer::Refused { failure } if failure.errno == libc::EEXIST));
    std::fs::write(format!("/proc/{pid}/root/go"), "").expect("written");
    assert_eq!(trial.news(), News::Detached { attachment: 1, passed_over: 0 });
    assert_eq!(trial.exited().code, 0);
    trial.gone();
}
