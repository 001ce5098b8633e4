//! The daemon.

mod config;
#[allow(dead_code, unused_imports, reason = "called once the services are there")]
mod cri;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let flags = config::Flags::parse();
    let understood = flags.socket().and_then(|_| flags.configuration().map_err(|fault| fault.to_string()));
    match understood {
        Ok(_) => std::process::ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("orlopd: {fault}");
            std::process::ExitCode::FAILURE
        }
    }
}
