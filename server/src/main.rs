//! The daemon.

mod config;

use clap::Parser as _;

fn main() -> std::process::ExitCode {
    let flags = config::Flags::parse();
    match flags.configuration() {
        Ok(_) => std::process::ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("orlopd: {fault}");
            std::process::ExitCode::FAILURE
        }
    }
}
