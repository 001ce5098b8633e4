//! A program run with an input, or on a terminal, to its end.
//!
//! *Invariant:* a program that does not read its input, or ends before it has, hangs nobody.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

/// Runs it with `input`.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn fed(command: &mut Command, input: &[u8]) -> Output {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("started");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let feeding = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ends");
    // It may have ended before it read all.
    let _ = feeding.join().expect("fed");
    output
}

/// Runs it on a terminal of 41 rows and 113 columns, at which `input` is typed; what the terminal shows. By way of script(1).
///
/// # Panics
/// If script cannot be started.
#[must_use]
pub fn on_a_terminal(words: &[&str], input: &[u8]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let line = format!("stty rows 41 cols 113; {}", quoted.join(" "));
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &line, "/dev/null"]);
    String::from_utf8_lossy(&fed(&mut command, input).stdout).into_owned()
}

/// A program that goes on until this is dropped.
pub struct Going(pub Child);

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
