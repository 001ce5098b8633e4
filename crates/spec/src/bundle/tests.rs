//! What a runtime of others is told, and what it says.
//!
//! *Invariant:* pure: no runtime is run here.

use super::*;

const STATE: &str = "/run/orlop/containers/c";

fn foreign(hidden: Option<&Path>) -> Foreign<'_> {
    Foreign {
        name: "other",
        program: Path::new("/bin/other"),
        arguments: &[],
        state: Path::new(STATE),
        hidden,
    }
}

fn names(operations: &[Operation]) -> Vec<&'static str> {
    operations.iter().map(Operation::name).collect()
}

#[test]
fn what_a_runtime_said_last_is_found_in_any_log() {
    let pretty = "{\n  \"msg\": \"first\"\n}\n{\n  \"msg\": \"a {brace} and \\\"word\\\"\",\n  \"level\": \"error\"\n}\n";
    assert_eq!(last_said(pretty), "a {brace} and \"word\"");
    assert_eq!(last_said("cut\":1}\n{\"level\":\"error\",\"msg\":\"line\"}\n"), "line");
    assert_eq!(last_said(" no JSON\n"), "no JSON");
    assert_eq!(last_said(""), "");
}

#[test]
fn an_exec_stays_in_its_cgroup_or_names_it() {
    let process = br#"{"user":{"uid":0,"gid":0},"args":["a"],"env":["A=b"],"cwd":"/","oomScoreAdj":7}"#;
    let own: Process = serde_json::from_slice(process).expect("a process");
    let command = ["sh".to_owned(), "-c".to_owned()];
    let hidden = Path::new("/sys/fs/cgroup/unified");
    for (hidden, first, named) in [(Some(hidden), "enter cgroup", false), (None, "exec", true)] {
        let pattern = exec_pattern(&own, &foreign(hidden)).expect("a pattern");
        let asked = Asked {
            number: 5,
            container: "c",
            command: &command,
            terminal: true,
            cgroup: Some(c"/cg/c/exec-5"),
        };
        let made = exec(process, &pattern, &asked).expect("made");
        orlop_wire::order::check(&made.operations).expect("an order that can work");
        assert!(names(&made.operations).contains(&first), "{:?}", names(&made.operations));
        let Some(Operation::Execute { arguments, .. }) = made.operations.last() else { panic!("an exec") };
        assert_eq!(arguments.iter().any(|argument| argument.as_c_str() == c"--cgroup"), named);
        assert!(!arguments.iter().any(|argument| argument.to_bytes() == file::LOG.as_bytes()));
        let written: serde_json::Value = serde_json::from_slice(&made.process).expect("JSON");
        assert_eq!(written["args"], serde_json::json!(["sh", "-c"]));
        assert_eq!(written["env"], serde_json::json!(["A=b", "TERM=xterm"]));
        assert_eq!(
            (made.file.as_str(), made.leaves.console.as_deref()),
            ("exec-5.json", Some(c"exec-5.sock"))
        );
    }
}

#[test]
fn an_argument_with_a_nul_is_refused() {
    let asked =
        Asked { number: 1, container: "c", command: &["a\0".to_owned()], terminal: false, cgroup: None };
    assert!(exec(b"{}", &[], &asked).expect_err("a NUL").to_string().contains("cmd"));
}
