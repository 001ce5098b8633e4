//! `orlop`: the command line on the node.
//!
//! | room | what it is for |
//! | --- | --- |
//! | [`args`] | what was typed |
//! | [`client`] | the daemon, as seen from here |
//! | [`commands`] | one verb a file |
//! | [`resolve`] | ids, beginnings of ids and names become one thing |
//! | [`logfile`] | a container's log file, followed through rotations |
//! | [`password`] | a password, asked for |
//! | [`session`] | exec, attach and port-forward: what goes to and from the daemon's streaming port |
//! | [`shape`] | answers of the daemon become JSON |
//! | [`render`] | tables, trees, bars, times and sizes for people |
//! | [`failure`] | what went wrong, what to do, with which exit code to end |
//!
//! *Invariant:* the exit code is chosen from a verb's answer here and nowhere else. What goes to standard output is what was
//! asked for, and all else goes to standard error. No text of the daemon reaches a terminal with its control characters.

mod args;
mod client;
mod commands;
mod failure;
mod logfile;
mod password;
mod render;
mod resolve;
mod session;
mod shape;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;

use crate::failure::Failure;

fn main() -> ExitCode {
    let typed = match args::Typed::try_parse() {
        Ok(typed) => typed,
        Err(error) => {
            // Nobody is left to be told that it cannot be printed.
            let _ = error.print();
            return ExitCode::from(args::usage_code(&error, std::env::args_os().skip(1)));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(typed)),
        Err(error) => Err(Failure::Start(error)),
    };
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            if !failure.is_silent() {
                let _ = writeln!(std::io::stderr(), "orlop: {}", failure.tell());
            }
            ExitCode::from(failure.code())
        }
    }
}
